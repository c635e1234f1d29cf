//! Verbs about containers beyond their life: `cp`, `events`, what is mounted, what is shared.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use tests::site::eventually;
use tests::{Need, Site, have};

/// A site with busybox, or none where containers cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::with_busybox)
}

/// Covers: RUN-39
#[test]
fn cp_copies_both_ways_whether_the_container_runs_or_not() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --network none -v data:/data busybox sleep 1000").ok();
    site.write("tree/inner/leaf", "from the host");
    let tree = site.path().join("tree");
    site.run(&["cp", &tree.display().to_string(), "c1:/data/tree"]).ok();
    assert_eq!(site.wherry("exec c1 cat /data/tree/inner/leaf").ok().out(), "from the host");
    site.wherry("exec c1 sh -c 'echo running > /made'").ok();
    site.wherry("cp c1:/made made-1").ok();
    assert_eq!(fs::read_to_string(site.path().join("made-1")).expect("copied"), "running\n");
    site.wherry("stop -t 0 c1").ok();
    site.wherry("cp c1:/data/tree/. stopped").ok();
    let leaf = site.path().join("stopped/inner/leaf");
    assert_eq!(fs::read_to_string(leaf).expect("a volume of a stopped one"), "from the host");
    site.write("late", "written while it was stopped");
    site.wherry("cp late c1:/late").ok();
    site.wherry("start c1").ok();
    assert_eq!(site.wherry("exec c1 cat /late").ok().out(), "written while it was stopped");
    let stat = site.wherry("exec c1 stat -c '%u:%g' /late").ok();
    assert_eq!(stat.out(), "0:0", "a copy belongs to root in the container");
    site.wherry("cp c1:/no/such/file .").fails_with(&["Could not find the file", "c1"]);
    site.wherry("cp c1:/late nobody:/late").fails_with(&["between containers"]);
    site.wherry("cp late late2").fails_with(&["at least one container"]);
    site.wherry("cp late c1:/no/folder/late").fails_with(&["/no/folder"]);
    site.wherry("cp late c1:/late/").fails_with(&["/late"]);
}

/// Covers: RUN-39
#[test]
fn cp_speaks_tar_on_its_streams() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --network none busybox sleep 1000").ok();
    site.shell("mkdir -p t/in; echo streamed > t/in/file; tar -C t -cf - in | wherry cp - c1:/tmp")
        .ok();
    assert_eq!(site.wherry("exec c1 cat /tmp/in/file").ok().out(), "streamed");
    let listed = site.shell("wherry cp c1:/tmp/in - | tar -tf -").ok();
    assert_eq!(listed.stdout, "in/\nin/file\n");
    site.shell("tar -C t -cf - in | wherry cp - c1:/etc/passwd").fails_with(&["directory"]);
}

/// Covers: RUN-39, RUN-7
#[test]
fn cp_is_not_led_out_of_a_hostile_container() {
    let Some(site) = site() else { return };
    let outside = site.path().join("outside");
    fs::create_dir(&outside).expect("make");
    fs::write(outside.join("secret"), "of the host").expect("write");
    let target = outside.display();
    let script = format!(
        "ln -s {target} /way; ln -s /proc/1/root{target} /way2; ln -s ../../../../../..{target} /way3; sleep 1000"
    );
    site.run(&["run", "-d", "--name", "c1", "--network", "none", "busybox", "sh", "-c", &script])
        .ok();
    assert!(eventually(Duration::from_secs(10), || {
        site.wherry("exec c1 readlink /way3").code == Some(0)
    }));
    site.write("file", "planted");
    for way in ["way", "way2", "way3"] {
        for stopped in [false, true] {
            if stopped {
                site.wherry("pause c1").ok();
            }
            let out = site.run(&["cp", "-L", &format!("c1:/{way}/secret"), "stolen"]);
            assert_ne!(out.code, Some(0), "{out}");
            let inward = site.run(&["cp", "file", &format!("c1:/{way}/planted")]);
            assert_ne!(inward.code, Some(0), "{inward}");
            if stopped {
                site.wherry("unpause c1").ok();
            }
        }
    }
    assert!(!outside.join("planted").exists() && !site.path().join("stolen").exists());
    // A link on the host is the host's.
    symlink("file", site.path().join("link")).expect("link");
    site.wherry("cp -L link c1:/followed").ok();
    assert_eq!(site.wherry("exec c1 cat /followed").ok().out(), "planted");
}

/// Covers: RUN-39
#[test]
fn cp_a_keeps_owners() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --network none busybox sleep 1000").ok();
    site.wherry("exec c1 sh -c 'echo x > /f; chown 1234:4321 /f; chmod 640 /f'").ok();
    site.wherry("cp c1:/f plain").ok();
    site.wherry("cp -a c1:/f kept").ok();
    let of = |name: &str| fs::metadata(site.path().join(name)).expect("copied");
    assert_eq!((of("plain").uid(), of("plain").mode() & 0o777), (0, 0o640));
    assert_eq!((of("kept").uid(), of("kept").gid()), (1234, 4321));
    site.wherry("cp -a kept c1:/back").ok();
    assert_eq!(site.wherry("exec c1 stat -c '%u:%g' /back").ok().out(), "1234:4321");
}

/// Covers: RUN-32
#[test]
fn events_tell_a_container_s_life_in_its_order() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --label tier=front --network none busybox sleep 1000").ok();
    site.wherry("exec c1 true").ok();
    site.wherry("pause c1").ok();
    site.wherry("unpause c1").ok();
    site.wherry("rename c1 c2").ok();
    site.wherry("stop -t 0 c2").ok();
    site.wherry("start c2").ok();
    site.wherry("rm -f c2").ok();
    let words = |more: &str| {
        let run =
            site.wherry(&format!("events --since 1h --until 0s --format '{{{{.Action}}}}' {more}"));
        run.ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        words("--filter type=container"),
        [
            "create",
            "start",
            "exec_create: true",
            "exec_start: true",
            "exec_die",
            "pause",
            "unpause",
            "rename",
            "kill",
            "kill",
            "die",
            "stop",
            "start",
            "kill",
            "die",
            "destroy"
        ]
    );
    assert_eq!(words("--filter event=die --filter event=destroy"), ["die", "die", "destroy"]);
    assert_eq!(words("--filter container=nobody"), Vec::<String>::new());
    assert_eq!(words("--filter label=tier=front --filter event=create"), ["create"]);
    let die = site.wherry("events --since 1h --until 0s --filter event=die").ok();
    let line = die.stdout.lines().next().expect("it died");
    assert!(line.contains(" container die "), "{line}");
    assert!(line.contains("exitCode=137") && line.contains("image=busybox"), "{line}");
    site.wherry("events --filter colour=red").fails_with(&["filters of events"]);
}

/// Covers: RUN-32
#[test]
fn events_follow_what_happens_until_they_are_ended() {
    let Some(site) = site() else { return };
    let mut follower = site.spawn("events --filter type=container --format '{{json .}}'");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    // The follower shows what comes after it has looked: containers are made until it has seen one.
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(move || lines.next().expect("a line").expect("text"));
        while !reader.is_finished() {
            site.wherry("run --rm --network none busybox true").ok();
        }
        reader.join().expect("the reader")
    });
    follower.kill().expect("end the follower");
    follower.wait().expect("wait for it");
    let event: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!(event["Type"], "container");
    assert_eq!(event["Actor"]["Attributes"]["image"], "busybox");
    assert!(event["timeNano"].as_i64().is_some_and(|nanos| nanos > 0), "{event}");
}

/// Covers: RUN-33, B11-29, B11-30, B11-31, N3-060, N3-063
#[test]
fn syslog_gets_the_lines_and_logs_still_shows_them() {
    let Some(site) = site() else { return };
    let socket = std::os::unix::net::UnixDatagram::bind(site.path().join("log")).expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let address = format!("syslog-address=unixgram://{}", site.path().join("log").display());
    let script = "echo to the log; echo bad news >&2";
    site.run(&[
        "run",
        "--name",
        "c1",
        "--network",
        "none",
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "--log-opt",
        "tag={{.Name}}",
        "busybox",
        "sh",
        "-c",
        script,
    ])
    .ok();
    let mut lines: Vec<String> = (0..2)
        .map(|_| {
            let mut buffer = [0; 1024];
            let count = socket.recv(&mut buffer).expect("a line");
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        })
        .collect();
    lines.sort();
    assert!(lines[0].starts_with("<27>") && lines[0].ends_with(": bad news"), "{lines:?}");
    assert!(lines[1].starts_with("<30>") && lines[1].contains(" c1["), "{lines:?}");
    let logs = site.wherry("logs c1").ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("to the log\n", "bad news\n"));
    assert_eq!(site.inspect("c1")["HostConfig"]["LogConfig"]["Type"], "syslog");
    site.run(&["run", "--name", "c2", "--network", "none", "busybox", "sh", "-c", script]).ok();
    let logs = site.wherry("logs c2").ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("to the log\n", "bad news\n"));
    assert_eq!(site.inspect("c2")["HostConfig"]["LogConfig"]["Type"], "json-file");
    site.wherry("run --rm --network none --log-driver syslog --log-opt syslog-address=unixgram:///no/such busybox true")
        .exits(125)
        .fails_with(&["failed to initialize logging driver"]);
    site.wherry("run --rm --log-driver splunk busybox true").exits(125).fails_with(&["splunk"]);
}
