//! Volumes: their options, parts of them, those of other containers, and what is never written.

use std::fs;

use tests::{Need, Site, have};

/// A site with busybox, or none where containers cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::with_busybox)
}

/// Covers: RUN-44, RUN-7
#[test]
fn a_part_of_a_volume_is_looked_up_inside_it() {
    let Some(site) = site() else { return };
    let fill =
        "mkdir -p /v/a/b; echo part > /v/a/b/file; ln -s / /v/out; ln -s ../../../../etc /v/up";
    site.run(&["run", "--rm", "--network", "none", "-v", "data:/v", "busybox", "sh", "-c", fill])
        .ok();
    let mounted = |subpath: &str, command: &str| {
        let mount = format!("type=volume,source=data,target=/part,volume-subpath={subpath}");
        site.run(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--mount",
            &mount,
            "busybox",
            "sh",
            "-c",
            command,
        ])
    };
    assert_eq!(mounted("a/b", "cat /part/file").ok().out(), "part");
    assert_eq!(mounted("a/b/file", "cat /part").ok().out(), "part");
    mounted("a/b", "echo more >> /part/file").ok();
    assert_eq!(mounted("a", "cat /part/b/file").ok().stdout, "part\nmore\n");
    // The root of the volume is the root of everything: its links lead to itself.
    assert_eq!(mounted("out", "ls /part").ok().stdout, "a\nout\nup\n");
    mounted("up", "true").exits(125).fails_with(&["No such file"]);
    mounted("no/such", "true").exits(125).fails_with(&["No such file"]);
    mounted("../up", "true").exits(125).fails_with(&["volume-subpath"]);
    let volume = site.wherry("volume inspect -f '{{.Mountpoint}}' data").ok();
    let file = format!("{}/a/b/file", volume.out());
    assert_eq!(fs::read_to_string(file).expect("the volume is whole"), "part\nmore\n");
}

/// Covers: RUN-45, B13-07
#[test]
fn the_local_driver_takes_a_folder_of_the_host() {
    let Some(site) = site() else { return };
    let folder = site.path().join("srv");
    fs::create_dir(&folder).expect("make");
    fs::write(folder.join("file"), "of the host").expect("write");
    let device = format!("device={}", folder.display());
    site.run(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "srv"]).ok();
    let cat = site.wherry("run --rm --network none -v srv:/srv busybox cat /srv/file").ok();
    assert_eq!(cat.out(), "of the host");
    let options = site.wherry("volume inspect -f '{{.Options.o}}' srv").ok();
    assert_eq!(options.out(), "bind");
    site.wherry("volume rm srv").ok();
    assert!(folder.join("file").exists(), "the folder is the host's");
    // One that a container made for itself, and took with it.
    let mount = format!(
        "type=volume,target=/srv,volume-opt=type=none,volume-opt=o=bind,volume-opt={device}"
    );
    site.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--mount",
        &mount,
        "busybox",
        "cat",
        "/srv/file",
    ])
    .ok();
    assert!(folder.join("file").exists(), "also then");
    assert_eq!(site.wherry("volume ls -q").ok().stdout, "");
    for (options, words) in [
        ("-o colour=red x", "invalid option"),
        ("-o type=none -o o=bind x", "missing device"),
        ("-o type=tmpfs -o device=tmpfs x", "--tmpfs"),
    ] {
        site.wherry(&format!("volume create {options}")).fails_with(&[words]);
    }
    fs::remove_dir_all(&folder).expect("remove");
    site.run(&["volume", "create", "-o", "o=bind", "-o", &device, "gone"]).ok();
    site.wherry("run --rm --network none -v gone:/x busybox true")
        .exits(125)
        .fails_with(&["failed to mount local volume"]);
}

/// Covers: RUN-45
#[test]
fn read_only_holds_for_what_is_mounted_below_too() {
    let Some(site) = site() else { return };
    let below = site.path().join("outer/inner");
    fs::create_dir_all(&below).expect("make");
    let script = format!(
        "mount -t tmpfs tmpfs {0}; trap 'umount {0}' EXIT; wherry run --rm --network none -v {1}:/x:ro busybox sh -c 'touch /x/inner/file || echo refused'",
        below.display(),
        site.path().join("outer").display()
    );
    // In a mount namespace of its own, so that nothing is left of it.
    let run = site.shell(&format!("unshare -m sh -euc \"{script}\"")).ok();
    assert!(run.stdout.contains("refused"), "{run}");
}

/// Covers: B13-18
#[test]
fn volumes_come_from_another_container() {
    let Some(site) = site() else { return };
    site.wherry("create --name keeper -v data:/data -v /keep busybox true").ok();
    site.wherry("run --rm --network none --volumes-from keeper busybox sh -c 'echo kept > /data/file; echo own > /keep/file'").ok();
    let cat = site.wherry("run --rm --network none --volumes-from keeper:ro busybox sh -c 'cat /data/file /keep/file; touch /data/x || echo refused'").ok();
    assert_eq!(cat.stdout, "kept\nown\nrefused\n");
    site.wherry("run --rm --volumes-from nobody busybox true").exits(125).fails_with(&["nobody"]);
    site.wherry("run --rm --volumes-from keeper:sideways busybox true")
        .exits(125)
        .fails_with(&["invalid mode"]);
}

/// Covers: RUN-43, RUN-32, B13-14
#[test]
fn volumes_are_told_in_events_and_kept_while_they_are_used() {
    let Some(site) = site() else { return };
    site.wherry("create --name user -v data:/data busybox true").ok();
    site.wherry("volume create data").ok();
    site.wherry("volume rm data").fails_with(&["volume is in use"]);
    site.wherry("rm user").ok();
    site.wherry("volume rm data").ok();
    let told = site
        .wherry("events --since 1h --until 0s --filter type=volume --format '{{.Action}} {{.Actor.ID}}'")
        .ok();
    assert_eq!(told.stdout, "create data\ndestroy data\n");
}

/// Covers: RUN-18
#[test]
fn devices_annotations_and_chosen_streams_reach_the_container() {
    let Some(site) = site() else { return };
    let run = "run --rm --network none";
    site.wherry(&format!("{run} busybox sh -c 'mknod /d c 10 229 && head -c0 /d'")).exits(1);
    site.wherry(&format!(
        "{run} --device-cgroup-rule 'c 10:229 rwm' busybox sh -c 'mknod /d c 10 229 && head -c0 /d'"
    ))
    .ok();
    let only = site.wherry(&format!("{run} -a stderr busybox sh -c 'echo out; echo err >&2'")).ok();
    assert_eq!((only.stdout.as_str(), only.stderr.as_str()), ("", "err\n"));
    site.wherry(&format!("{run} -a stdwhat busybox true")).exits(125).fails_with(&["STDIN"]);
    site.wherry(&format!("{run} -d -a stdout busybox true")).exits(125).fails_with(&["--detach"]);
    site.wherry("create --name noted --annotation tier=front busybox true").ok();
    assert_eq!(site.inspect("noted")["HostConfig"]["Annotations"]["tier"], "front");
    let ports = site
        .wherry(&format!(
            "{run} --user 1000 busybox sh -c 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start'"
        ))
        .ok();
    assert_eq!(ports.out(), "0");
}
