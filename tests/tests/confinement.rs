//! What keeps a container apart from its host and from others: namespaces, control groups, capabilities and the filter of system
//! calls, each with its default and each the user's to change; and where a container's output goes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tests::site::eventually;
use tests::{Need, Run, Site, have};

const SECONDS: Duration = Duration::from_secs(20);

/// Docker's names of capabilities, as the manual page counts them.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
];

fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::with_busybox)
}

/// Runs a script in a container of its own.
fn inside(site: &Site, flags: &str, script: &str) -> Run {
    let mut args: Vec<&str> = vec!["run", "--rm", "--network", "none"];
    args.extend(flags.split_whitespace());
    args.extend(["busybox", "sh", "-c", script]);
    site.run(&args)
}

/// The namespaces of a process, by kind.
fn namespaces(lines: &str) -> BTreeMap<String, String> {
    let pairs = lines.lines().filter_map(|line| line.trim().split_once(":["));
    pairs.map(|(kind, inode)| (kind.to_owned(), inode.to_owned())).collect()
}

/// A field of `/proc/self/status` as a container sees it.
fn status(site: &Site, flags: &str, field: &str) -> String {
    let run = inside(site, flags, "cat /proc/self/status").ok();
    let line = run.stdout.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_else(|| panic!("no {field}: {run}")).trim_start_matches(':').trim().to_owned()
}

/// Covers: N3-202, N3-209
#[test]
fn one_run_makes_the_whole_set_of_namespaces() {
    let Some(site) = site() else { return };
    let kinds = ["ipc", "mnt", "net", "pid", "uts"];
    let script = "for n in ipc mnt net pid uts; do readlink /proc/self/ns/$n; done";
    let own = |lines: &str| namespaces(lines);
    let host: String = kinds
        .map(|kind| {
            format!("{}\n", fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display())
        })
        .concat();
    let (host, one) = (own(&host), own(&inside(&site, "", script).ok().stdout));
    site.wherry("run -d --name other --network none busybox sleep 1000").ok();
    let other = own(&site.run(&["exec", "other", "sh", "-c", script]).ok().stdout);
    for kind in kinds {
        // The inodes of namespaces that are gone may come back: both are compared with what lives.
        assert_ne!(host[kind], one[kind], "{kind}");
        assert_ne!(host[kind], other[kind], "{kind}");
    }
    let second = inside(&site, "", script).ok();
    for kind in kinds {
        assert_ne!(other[kind], own(&second.stdout)[kind], "{kind}");
    }
}

/// Covers: N3-203, N3-205, N3-208
#[test]
fn processes_mounts_and_names_of_the_host_and_of_others_are_not_seen() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name other --network none --hostname neighbour busybox sleep 12345").ok();
    let processes = inside(&site, "", "ps; echo pid=$$").ok();
    assert!(processes.stdout.contains("pid=1"), "{processes}");
    assert!(!processes.stdout.contains("sleep 12345"), "{processes}");
    assert!(processes.stdout.lines().count() <= 4, "{processes}");
    let mounts = inside(&site, "", "cat /proc/self/mountinfo").ok();
    // Where the layers and the container's own three files lie is told with their mounts, as in Docker; no other mount tells.
    let root = site.path().display().to_string();
    let own = ["/", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
    for line in mounts.stdout.lines().filter(|line| line.contains(&root)) {
        let place = line.split(' ').nth(4).unwrap();
        assert!(own.contains(&place), "{line}");
    }
    fs::write("/tmp/wherry-confinement-probe", "host").unwrap();
    inside(&site, "", "ls /tmp/wherry-confinement-probe").exits(1);
    fs::remove_file("/tmp/wherry-confinement-probe").unwrap();
    let names = inside(&site, "--hostname mine", "hostname; hostname other-name; hostname");
    // The name is the container's own; without CAP_SYS_ADMIN it cannot even change that.
    assert_eq!(names.lines(), ["mine", "mine"], "{names}");
    assert_eq!(site.wherry("exec other hostname").ok().out(), "neighbour");
}

/// Covers: N3-206
#[test]
fn shared_memory_is_the_containers_own_unless_it_is_shared() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name first --network none --ipc shareable busybox sleep 1000").ok();
    site.wherry("exec first sh -c 'echo secret > /dev/shm/segment'").ok();
    inside(&site, "", "cat /dev/shm/segment").exits(1);
    let joined = inside(&site, "--ipc container:first", "cat /dev/shm/segment").ok();
    assert_eq!(joined.out(), "secret");
}

/// Covers: N3-204
#[test]
fn two_servers_listen_on_one_port_of_one_host() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::on_own_host();
    for name in ["one", "two"] {
        site.run(&[
            "run",
            "-d",
            "--name",
            name,
            "busybox",
            "sh",
            "-c",
            "mkdir /www; hostname > /www/index.html; exec busybox httpd -f -p 443 -h /www",
        ])
        .ok();
    }
    let mut addresses = Vec::new();
    for name in ["one", "two"] {
        let format = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
        let address = site.run(&["inspect", "-f", format, name]).ok().out().to_owned();
        let hostname = site.run(&["inspect", "-f", "{{.Config.Hostname}}", name]).ok();
        let mut page = String::new();
        let answers = eventually(SECONDS, || {
            page = site.host().shell(&format!("curl -sS -m 3 http://{address}:443/")).stdout;
            !page.is_empty()
        });
        assert!(answers, "{address} does not answer");
        assert_eq!(page.trim(), hostname.out());
        let devices = site.run(&["exec", name, "ls", "/sys/class/net"]).ok();
        assert_eq!(devices.lines(), ["eth0", "lo"], "{devices}");
        addresses.push(address);
    }
    assert_ne!(addresses[0], addresses[1]);
}

/// Covers: N3-193, N3-211, N3-212, N3-213
#[test]
fn capabilities_are_dropped_and_given_one_by_one_and_never_come_back() {
    let Some(site) = site() else { return };
    let only = "--cap-drop ALL --cap-add NET_BIND_SERVICE";
    for field in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(&site, only, field), "0000000000000400", "{field}");
    }
    inside(&site, only, "timeout 0.2 nc -l -p 80; test $? = 143").ok();
    inside(&site, only, "touch /x && chown 1:1 /x").exits(1);
    inside(&site, only, "mount -t tmpfs none /mnt").exits(1);
    // A program that is owned by root and sets its user id gains nothing that the bounding set does not have.
    let script = "cp /bin/busybox /busybox-suid && chmod 4755 /busybox-suid && /busybox-suid grep CapEff /proc/self/status";
    assert!(inside(&site, only, script).ok().stdout.contains("0000000000000400"));
    // What the host itself does not have, it cannot give.
    let host = fs::read_to_string("/proc/self/status").unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    let host = u64::from_str_radix(host.trim(), 16).unwrap();
    for (bit, name) in CAPABILITIES.iter().enumerate().filter(|(bit, _)| host >> bit & 1 == 1) {
        let bits = status(&site, &format!("--cap-drop ALL --cap-add {name}"), "CapEff");
        let bits = u64::from_str_radix(&bits, 16).unwrap();
        assert_eq!(bits, 1 << bit, "{name}");
    }
    let bits = status(&site, "--cap-drop ALL --cap-add CAP_CHOWN", "CapEff");
    assert_eq!(bits, "0000000000000001", "with its prefix too");
    inside(&site, "--cap-add NET_EVERYTHING", "true").exits(125).fails_with(&["NET_EVERYTHING"]);
}

/// Covers: N3-196, N3-215
#[test]
fn the_filter_of_system_calls_is_the_default_the_users_or_none() {
    let Some(site) = site() else { return };
    assert_eq!(status(&site, "", "Seccomp"), "2");
    assert_eq!(status(&site, "--security-opt seccomp=unconfined", "Seccomp"), "0");
    // The default refuses new namespaces and the kernel's keys and modules.
    inside(&site, "", "unshare -m true").exits(1);
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}]}"#;
    let own = format!("--security-opt seccomp={}", site.write("own.json", profile).display());
    inside(&site, &own, "mkdir /new").exits(1).fails_with(&["quota exceeded"]);
    inside(&site, &own, "touch /new").ok();
    let bad = format!("--security-opt seccomp={}", site.write("bad.json", "{").display());
    inside(&site, &bad, "true").exits(125).fails_with(&["decoding seccomp profile failed"]);
}

/// Covers: N3-210
#[test]
fn a_container_cannot_take_more_than_it_was_given() {
    let Some(site) = site() else { return };
    let greedy = "x=a; while :; do x=$x$x; done";
    let run = site.run(&[
        "run",
        "--name",
        "fat",
        "--network",
        "none",
        "-m",
        "32m",
        "busybox",
        "sh",
        "-c",
        greedy,
    ]);
    assert_eq!(run.code, Some(137), "{run}");
    assert_eq!(site.inspect("fat")["State"]["OOMKilled"], true);
    let forks = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all";
    let run = inside(&site, "--pids-limit 5", forks);
    assert!(run.stderr.contains("can't fork"), "{run}");
}

/// Covers: N3-058, N3-060, N3-061, N3-063, N3-064
#[test]
fn what_a_program_prints_is_its_log_and_the_driver_says_where_it_goes() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nRUN mkdir /var/log && ln -s /dev/stdout /var/log/access && ln -s /dev/stderr /var/log/error\n");
    site.build("server", "");
    let script = "echo page > /var/log/access; echo trouble > /var/log/error; echo direct";
    for driver in ["json-file", "local"] {
        let flags = format!(
            "run --name {driver} --network none --log-driver {driver} --log-opt max-size=1m server"
        );
        let mut args: Vec<&str> = flags.split(' ').collect();
        args.extend(["sh", "-c", script]);
        site.run(&args).ok();
        let logs = site.wherry(&format!("container logs {driver}")).ok();
        assert_eq!(logs.stdout, "page\ndirect\n", "{driver}");
        assert_eq!(logs.stderr, "trouble\n", "{driver}");
        assert_eq!(site.inspect(driver)["HostConfig"]["LogConfig"]["Type"], driver);
    }
    site.wherry("run --name default --network none busybox true").ok();
    assert_eq!(site.inspect("default")["HostConfig"]["LogConfig"]["Type"], "json-file");
    site.wherry("run --name silent --network none --log-driver none busybox echo gone").ok();
    site.wherry("logs silent").fails_with(&["reading the log is not supported", "none"]);
    site.wherry("run --network none --log-driver splunk busybox true")
        .exits(125)
        .fails_with(&["splunk"]);
}
