//! What a container can see and do: identity, files, limits, capabilities, system calls, and the known ways out.

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use runtime::{
    Access, MissingSource, MountKind, MountRequest, NamespaceMode, NetworkMode, RunOptions,
    SeccompChoice,
};
use support::{Machine, can_run_containers, has_controller};

fn bind(source: std::path::PathBuf, target: &str, access: Access) -> MountRequest {
    MountRequest {
        kind: MountKind::Bind { source, missing: MissingSource::Create },
        target: target.into(),
        access,
        propagation: "rprivate".into(),
    }
}

/// Covers: RUN-9, RUN-10, RUN-12, B07-05
#[test]
fn the_default_filter_and_capabilities_are_in_force() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let probe = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; unshare -U true 2>&1; mount -t tmpfs x /tmp 2>&1; mknod /tmp/n c 1 3 && echo node; chown 1000 /tmp && echo chown";
    let (_, out, _) = machine.run(probe, |_| {});
    assert_eq!(
        out,
        "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\nunshare: unshare(0x10000000): Operation not permitted\nmount: permission denied (are you root?)\nnode\nchown\n"
    );
    let (_, out, _) = machine.run(
        "grep -E '^(CapEff|Seccomp:)' /proc/self/status; unshare -U echo made",
        |options| {
            options.seccomp = SeccompChoice::Unconfined;
        },
    );
    assert_eq!(
        out, "CapEff:\t00000000a80425fb\nSeccomp:\t0\nmade\n",
        "without the filter a user namespace can be made"
    );
    let (_, out, _) = machine.run("mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status", |options| {
        options.seccomp = SeccompChoice::Profile(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#.into(),
        );
    });
    assert_eq!(
        out, "mkdir: can't create directory '/tmp/x': Permission denied\nSeccomp:\t2\n",
        "the user's own profile rules"
    );
}

/// Covers: RUN-9, RUN-12
#[test]
fn users_other_than_root_have_no_effective_capabilities() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let script = "id -u; id -G; grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp:)' /proc/self/status; echo $HOME; echo x > /dev/stdout";
    let (code, out, err) = machine.run(script, |options| options.user = Some("web".into()));
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            0,
            "1000\n1000 29\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n/home/web\nx\n",
            ""
        )
    );
    let (_, out, _) = machine.run(script, |options| {
        options.user = Some("4000:4001".into());
        options.no_new_privileges = true;
        options.cap_drop = vec!["ALL".into()];
    });
    assert_eq!(
        out,
        "4000\n4001\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n/\nx\n"
    );
    let (_, out, _) = machine.run("grep -E '^(CapEff|NoNewPrivs)' /proc/self/status", |options| {
        options.cap_add = vec!["SYS_ADMIN".into()];
        options.cap_drop = vec!["CHOWN".into()];
    });
    assert_eq!(out, "CapEff:\t00000000a82425fa\nNoNewPrivs:\t0\n");
}

/// Covers: RUN-6
#[test]
fn masked_and_read_only_paths_cannot_be_used() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let script = "cat /proc/keys /proc/timer_list /proc/interrupts; ls /sys/firmware /proc/acpi; for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/power/state /proc/sys/kernel/core_pattern; do echo x > $f; done";
    let (_, out, err) = machine.run(script, |_| {});
    assert!(out.lines().all(|line| line.is_empty() || line.starts_with('/')), "{out}");
    assert!(!err.contains("core_pattern: Permission") || err.contains("Read-only"), "{err}");
    assert_eq!(
        err.matches("Read-only file system").count() + err.matches("nonexistent directory").count(),
        4,
        "{err}"
    );
    let (_, out, _) = machine
        .run("wc -c < /proc/timer_list; echo $(ls /sys/firmware | wc -l)", |options| {
            options.privileged = true
        });
    assert_ne!(out.lines().next(), Some("0"), "privileged is not masked: {out}");
}

/// A container with write access to its own groups could lift every limit.
///
/// Covers: RUN-15
#[test]
fn control_groups_inside_are_read_only() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let script = "find=0; for f in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/*/memory.limit_in_bytes; do if [ -e $f ]; then find=1; (echo 0 > $f) 2>&1; fi; done; for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/x 2>&1; done; echo found $find";
    let (_, out, _) = machine.run(script, |_| {});
    assert!(out.contains("found 1"), "{out}");
    for line in out.lines().filter(|line| !line.starts_with("found")) {
        assert!(line.contains("Read-only file system"), "{line}");
    }
}

/// Covers: RUN-5
#[test]
fn no_descriptor_of_the_host_is_open_inside() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("fds", "ls -l /proc/self/fd /proc/1/fd; sleep 1000", |options| {
        options.open_stdin = true
    });
    machine.runtime.start(&id).unwrap();
    let list = "for p in 1 self; do for f in /proc/$p/fd/*; do echo $p ${f##*/} $(readlink $f); done; done";
    let (_, out, _) = machine.exec(&id, &["sh", "-c", list]).unwrap();
    for line in out.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let harmless = words.len() < 3
            || words[1].parse::<u32>().is_ok_and(|number| number <= 2)
            || words[2].starts_with("/proc/") && words[0] == "self";
        assert!(harmless, "an open descriptor leads out: {line}\n{out}");
    }
}

/// CVE-2019-5736: a program that opens the executable it was started from, for writing.
///
/// Covers: RUN-8
#[test]
fn the_program_of_the_host_cannot_be_overwritten_from_inside() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let before = fs::read(env!("CARGO_BIN_EXE_wherry-runtime-test-host")).unwrap();
    // The command is a link to the program that is running at this moment, as in the published exploit.
    symlink("/proc/self/exe", machine.image().join("bin/self")).unwrap();
    let id = machine.try_create("self", &["self"], |_| {}).unwrap();
    let _ = machine.run_attached(&id);
    let runner = machine.create("runner", "sleep 1000", |_| {});
    machine.runtime.start(&runner).unwrap();
    let _ = machine.exec(&runner, &["self"]);
    // With --init this program stays as the first process, so its executable can be tried at leisure and by root.
    let script = "(echo x >> /proc/1/exe) 2>&1; readlink /proc/1/exe";
    let (_, out, _) = machine.run(script, |options| options.init = true);
    assert!(
        out.contains("Read-only file system")
            || out.contains("Permission denied")
            || out.contains("Text file busy"),
        "{out}"
    );
    assert_eq!(fs::read(env!("CARGO_BIN_EXE_wherry-runtime-test-host")).unwrap(), before);
    let (_, out, _) = machine.run("(echo x >> /proc/1/exe) 2>&1", |options| {
        options.init = true;
        options.privileged = true;
    });
    assert!(!out.is_empty(), "even a privileged container cannot: {out}");
    assert_eq!(fs::read(env!("CARGO_BIN_EXE_wherry-runtime-test-host")).unwrap(), before);
}

/// CVE-2024-21626: a working folder that is an open descriptor of the runtime, leading out to the host.
///
/// Covers: RUN-5
#[test]
fn a_working_folder_cannot_lead_out_through_a_descriptor() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    fs::write(machine.path("host-secret"), "secret").unwrap();
    for number in 0..40 {
        let workdir = format!("/proc/self/fd/{number}");
        let id = machine.create(
            "way-out",
            "pwd; cat host-secret ../host-secret ../../../../host-secret; ls",
            |options| {
                options.workdir = Some(workdir.clone());
            },
        );
        if let Ok((_, out, _)) = machine.run_attached(&id) {
            assert!(!out.contains("secret"), "{workdir}: {out}");
            assert!(
                !out.contains("state\n") && !out.contains("layers\n"),
                "{workdir} leads to the host: {out}"
            );
        }
        machine.runtime.remove("way-out", runtime::Removal::Force).unwrap();
    }
    let id = machine.create("inside", "sleep 1000", |_| {});
    machine.runtime.start(&id).unwrap();
    for number in 3..20 {
        let result = machine.exec_with(&id, &["ls"], |request| {
            request.workdir = Some(format!("/proc/self/fd/{number}"))
        });
        if let Ok((_, out, _)) = result {
            assert!(!out.contains("layers"), "fd {number}: {out}");
        }
    }
}

/// CVE-2025-31133, 52565 and 52881: the image prepares links where masks, the console and labels are going to be mounted.
///
/// Covers: RUN-6, RUN-7
#[test]
fn links_of_a_hostile_image_redirect_no_mount() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let outside = machine.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "host").unwrap();
    let image = machine.image();
    symlink(&outside, image.join("dev")).unwrap();
    symlink(&outside, image.join("sys")).unwrap();
    fs::remove_file(image.join("etc/hosts")).ok();
    symlink(outside.join("file"), image.join("etc/hosts")).unwrap();
    symlink("../../../../../../../..", image.join("up")).unwrap();
    let id = machine.create(
        "hostile",
        "echo started; echo x > /proc/sysrq-trigger; ls -l /dev/null",
        |options| {
            options.mounts =
                vec![bind(machine.path("shared"), "/up/tmp/escaped", Access::ReadWrite)];
        },
    );
    let outcome = machine.run_attached(&id);
    if let Ok((_, out, err)) = &outcome {
        assert!(out.contains("started") && err.contains("Read-only file system"), "{out} {err}");
    }
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "host");
    let left: Vec<_> =
        fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"], "nothing was made outside");
    assert!(!std::path::Path::new("/tmp/escaped").exists());
    machine.runtime.remove("hostile", runtime::Removal::Force).unwrap();

    let second = Machine::new();
    symlink("/etc", second.image().join("proc")).unwrap();
    let id = second.create("proc-link", "ls /proc/self/status", |_| {});
    match second.run_attached(&id) {
        Err(error) => assert_eq!(error.run_exit_code(), 125, "{error}"),
        Ok((_, out, err)) => assert!(out.contains("/proc/self/status"), "{out} {err}"),
    }
}

/// Covers: RUN-51, B07-39
#[test]
fn host_name_hosts_and_resolver_are_the_containers_own() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("names", "hostname; cat /etc/hostname; tail -1 /etc/hosts; echo added >> /etc/hosts; tail -1 /etc/resolv.conf", |options| {
        options.extra_hosts = vec!["db:10.1.2.3".into()];
        options.dns = vec!["9.9.9.9".into()];
    });
    let short = id.short().to_owned();
    let (code, out, err) = machine.run_attached(&id).unwrap();
    let last = out.replace("tail: ", "");
    assert_eq!(code, 0, "{err}");
    assert!(last.starts_with(&format!("{short}\n{short}\n10.1.2.3\tdb\n")), "{out}");
    assert!(last.ends_with("nameserver 9.9.9.9\n"), "{out}");
    let (_, out, _) = machine.run_attached(&id).unwrap();
    assert!(
        out.contains("\nadded\n"),
        "what was written to /etc/hosts is there at the next start: {out}"
    );
    let (_, out, _) = machine.run("hostname; hostname -f 2>/dev/null; true", |options| {
        options.hostname = Some("box".into())
    });
    assert!(out.starts_with("box\n"));
}

/// Covers: RUN-45, RUN-46
#[test]
fn mounts_are_made_with_their_access_and_sizes() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let (data, fixed) = (machine.path("data"), machine.path("fixed"));
    fs::create_dir(&fixed).unwrap();
    fs::write(fixed.join("file"), "ro").unwrap();
    let script = "echo new > /data/file; cat /fixed/file; echo x > /fixed/y; grep -E ' /(tmp2|dev/shm) ' /proc/mounts; touch /memory/x && ls /memory";
    let (_, out, err) = machine.run(script, |options| {
        options.mounts = vec![
            bind(data.clone(), "/data", Access::ReadWrite),
            bind(fixed.clone(), "/fixed", Access::ReadOnly),
            runtime::parse_tmpfs("/tmp2:size=1m").unwrap(),
            runtime::parse_tmpfs("/memory").unwrap(),
        ];
        options.shm_size = Some(1 << 20);
    });
    assert_eq!(
        fs::read_to_string(data.join("file")).unwrap(),
        "new\n",
        "a missing source of -v is made"
    );
    assert!(err.contains("can't create /fixed/y: Read-only file system"), "{err}");
    assert!(out.starts_with("ro"), "{out}");
    assert!(out.contains("/tmp2 tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k"), "{out}");
    assert!(out.contains("/dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k"), "{out}");
    let refused = machine.try_create("no", &["true"], |options| {
        options.mounts = vec![MountRequest {
            kind: MountKind::Bind {
                source: machine.path("nowhere"),
                missing: MissingSource::Refuse,
            },
            target: "/x".into(),
            access: Access::ReadWrite,
            propagation: "rprivate".into(),
        }];
    });
    assert!(refused.unwrap_err().to_string().contains("bind source path does not exist"));
    let (_, _, err) =
        machine.run("echo x > /file; echo y > /tmp3/file && cat /tmp3/file >&2", |options| {
            options.read_only = true;
            options.mounts = vec![runtime::parse_tmpfs("/tmp3").unwrap()];
        });
    assert!(
        err.contains("can't create /file: Read-only file system") && err.ends_with("y\n"),
        "{err}"
    );
}

/// Covers: RUN-59
#[test]
fn networks_are_none_host_or_anothers() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let (_, out, _) = machine
        .run("ip -o link | wc -l; ip -o addr show lo; cat /proc/sys/net/ipv4/ip_forward", |_| {});
    assert!(
        out.starts_with("1\n") && out.contains("127.0.0.1/8"),
        "only a loopback that is up: {out}"
    );
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let own = |change: fn(&mut RunOptions)| {
        machine.run("readlink /proc/self/ns/net", change).1.trim().to_owned()
    };
    assert_eq!(own(|options| options.network = NetworkMode::Host), host.to_str().unwrap());
    assert_ne!(own(|_| {}), host.to_str().unwrap());
    let id = machine.create("first", "sleep 1000", |_| {});
    machine.runtime.start(&id).unwrap();
    let (_, theirs, _) = machine.exec(&id, &["readlink", "/proc/self/ns/net"]).unwrap();
    let (_, joined, _) = machine.run("readlink /proc/self/ns/net", |options| {
        options.network = NetworkMode::Container("first".into());
    });
    assert_eq!(joined, theirs);
    let (_, out, _) = machine.run("ps | grep -c '[s]leep 1000'", |options| {
        options.pid = NamespaceMode::Container("first".into())
    });
    assert_eq!(out, "1\n");
}

/// Covers: RUN-15, RUN-16, RUN-17, RUN-23
#[test]
fn limits_are_written_and_enforced() {
    if !can_run_containers()
        || !has_controller("pids")
        || !has_controller("cpu")
        || !has_controller("memory")
    {
        return;
    }
    let machine = Machine::new();
    let script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 3 & done; wait";
    let (_, out, err) = machine.run(script, |options| options.resources.pids = Some(5));
    assert!(out.starts_with("5\n"), "{out}");
    assert!(err.contains("can't fork"), "{err}");
    let script = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; ulimit -n; ulimit -c";
    let (_, out, _) = machine.run(script, |options| {
        options.resources.nano_cpus = Some(500_000_000);
        options.resources.memory = Some(64 << 20);
        options.ulimits = vec!["nofile=256:512".parse().unwrap(), "core=0".parse().unwrap()];
    });
    assert!(out.starts_with("50000"), "{out}");
    assert!(out.contains("67108864\n256\n0\n"), "{out}");
    let eater = machine.try_create(
        "eater",
        &["sh", "-c", "x=$(yes 12345678901234567890 | head -c 300000000); echo $x | wc -c"],
        |options| {
            options.resources.memory = Some(16 << 20);
            options.resources.memory_swap = Some(16 << 20);
        },
    );
    let id = eater.unwrap();
    let (code, out, _) = machine.run_attached(&id).unwrap();
    let state = machine.runtime.get(&id).unwrap().state;
    assert!(state.oom_killed, "exit code {code}, output {out}");
}

/// Covers: RUN-18
#[test]
fn devices_that_were_not_given_cannot_be_used() {
    if !can_run_containers() || !has_controller("devices") {
        return;
    }
    let machine = Machine::new();
    let script = "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk; mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; mknod /tmp/fuse c 10 229 && head -c 1 /tmp/fuse; head -c 2 /dev/zero | wc -c; ls /dev/net 2>/dev/null";
    let (_, out, err) = machine.run(script, |_| {});
    assert_eq!(err.matches("Operation not permitted").count(), 3, "{err}");
    assert_eq!(out, "2\n");
    let (_, out, err) =
        machine.run("stat -c %t:%T /dev/net/tun; echo x > /dev/net/tun", |options| {
            options.devices = vec!["/dev/net/tun:/dev/net/tun:rw".parse().unwrap()];
        });
    assert_eq!(out, "a:c8\n", "{err}");
    assert!(!err.contains("Operation not permitted"), "{err}");
}

/// Covers: RUN-19
#[test]
fn init_forwards_signals_and_ends_as_the_program_ended() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    assert_eq!(
        machine.run("echo $$; exit 6", |options| options.init = true),
        (6, "2\n".into(), String::new())
    );
    let id =
        machine.try_create("plain", &["sleep", "1000"], |options| options.init = true).unwrap();
    machine.runtime.start(&id).unwrap();
    machine.runtime.stop(&id, runtime::StopTimeout::OfContainer, None).unwrap();
    assert_eq!(
        machine.runtime.get(&id).unwrap().state.exit_code,
        143,
        "with init SIGTERM ends a plain sleep"
    );
    let missing =
        machine.try_create("missing", &["nosuch"], |options| options.init = true).unwrap();
    assert_eq!(machine.run_attached(&missing).unwrap_err().run_exit_code(), 127);
}

/// Covers: RUN-50
#[test]
fn a_hostile_user_database_is_bounded_and_stays_inside() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let passwd = machine.image().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    symlink("/proc/self/environ", &passwd).unwrap();
    let id = machine.create("link", "true", |options| options.user = Some("web".into()));
    assert!(machine.run_attached(&id).unwrap_err().to_string().contains("unable to find user web"));
    fs::remove_file(&passwd).unwrap();
    let file = fs::File::create(&passwd).unwrap();
    file.set_len(1 << 40).unwrap();
    let id = machine.create("huge", "true", |_| {});
    let error = machine.run_attached(&id).unwrap_err();
    assert!(error.to_string().contains("the file is longer than"), "{error}");
}
