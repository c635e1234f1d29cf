//! The life of a container as its user sees it.

mod support;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use runtime::{
    AttachEnd, AttachOptions, Changes, DetachKeys, Error, HealthStatus, LogQuery, Removal,
    RestartPolicy, Signal, SignalProxy, Status, StopTimeout, WaitCondition,
};
use support::{Collected, Machine, can_run_containers, cgroup_dirs, processes_naming, until};

const WAIT_FOR_TERM: &str =
    "trap 'echo got term; exit 5' TERM; echo ready; while :; do sleep 0.05; done";

/// Covers: B07-01, B07-12, RUN-22
#[test]
fn an_attached_run_gives_output_and_exit_code() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    assert_eq!(
        machine.run("echo out; echo err >&2; exit 3", |_| {}),
        (3, "out\n".into(), "err\n".into())
    );
    assert_eq!(
        machine.run("kill -9 $$", |_| {}).0,
        0,
        "the first process is immune to signals from inside"
    );
    assert_eq!(machine.run("exec true", |options| options.auto_remove = true).0, 0);
}

/// Covers: RUN-22, B07-11
#[test]
fn commands_that_cannot_run_have_dockers_codes_and_texts() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let table: [(&str, u8, &str); 5] = [
        ("nosuch", 127, "exec: \"nosuch\": executable file not found in $PATH"),
        ("/nosuch", 127, "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
        ("/etc/plain", 126, "exec: \"/etc/plain\": permission denied"),
        ("/script", 127, "exec /script: no such file or directory"),
    ];
    std::fs::write(machine.image().join("script"), "#!/no/interpreter\n").unwrap();
    std::fs::set_permissions(
        machine.image().join("script"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    for (command, code, text) in table {
        let id = machine.try_create("bad", &[command], |_| {}).unwrap();
        let error = machine.run_attached(&id).unwrap_err();
        assert_eq!(error.run_exit_code(), code, "{command}: {error}");
        assert!(error.to_string().contains(text), "{command}: {error}");
        let state = machine.runtime.get(&id).unwrap().state;
        assert_eq!(
            (state.status, state.exit_code),
            (Status::Created, i32::from(code)),
            "{command}"
        );
        assert!(cgroup_dirs(id.as_str()).is_empty(), "{command} left control groups");
        let run_dir = machine.path(&format!("run/containers/{id}"));
        until("the run files to be gone", || !run_dir.exists());
        let detached = machine.runtime.start(&id).unwrap_err();
        assert_eq!(detached.run_exit_code(), code);
        machine.runtime.remove("bad", Removal::OnlyStopped).unwrap();
    }
    let unknown = machine
        .try_create("bad", &["true"], |options| options.user = Some("nobody".into()))
        .unwrap();
    let error = machine.run_attached(&unknown).unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nobody: no matching entries in passwd file");
    assert_eq!(error.run_exit_code(), 125);
}

/// Covers: B07-03, B07-16, B07-18, B07-19, B07-32, B07-25
#[test]
fn a_detached_container_stops_starts_again_and_keeps_its_files() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let script = format!("echo x >> /tmp/starts; {WAIT_FOR_TERM}");
    let id = machine.create("web", &script, |_| {});
    let created = machine.runtime.get(&id).unwrap();
    assert_eq!(created.state.status, Status::Created);
    machine.runtime.start(&id).unwrap();
    machine.runtime.start(&id).expect("starting what runs is no error");
    machine.wait_for_log(&id, "ready");
    let running = machine.runtime.get(&id).unwrap();
    assert_eq!(running.state.status, Status::Running);
    assert!(running.state.pid.unwrap() > 0);
    machine.runtime.stop(&id, StopTimeout::OfContainer, None).unwrap();
    let stopped = machine.runtime.get(&id).unwrap();
    assert_eq!((stopped.state.status, stopped.state.exit_code), (Status::Exited, 5));
    assert!(stopped.state.finished_at.unwrap() >= stopped.state.started_at.unwrap());
    assert!(machine.log(&id).ends_with("got term\n"));
    assert!(cgroup_dirs(id.as_str()).is_empty());
    machine
        .runtime
        .stop(&id, StopTimeout::OfContainer, None)
        .expect("stopping what is stopped is no error");

    machine.runtime.restart(&id, StopTimeout::OfContainer, None).unwrap();
    let again = machine.runtime.get(&id).unwrap();
    assert_eq!(again.record.created, created.record.created);
    let (code, out, _) = machine.exec(&id, &["cat", "/tmp/starts"]).unwrap();
    assert_eq!((code, out.as_str()), (0, "x\nx\n"), "the file of the first run is there");
    machine.runtime.remove("web", Removal::Force).unwrap();
    assert!(matches!(machine.runtime.get(&id), Err(Error::NoSuchContainer { .. })));
}

/// Covers: B07-22, B07-23, RUN-21, S-01
#[test]
fn stop_waits_its_time_and_then_kills() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.try_create("deaf", &["sleep", "1000"], |_| {}).unwrap();
    machine.runtime.start(&id).unwrap();
    let begin = Instant::now();
    machine.runtime.stop(&id, StopTimeout::Seconds(1), None).unwrap();
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(8), "{took:?}");
    let state = machine.runtime.get(&id).unwrap().state;
    assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
}

/// Covers: B07-21, B07-20, RUN-22
#[test]
fn kill_and_forced_removal_send_sigkill_at_once() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("aa", WAIT_FOR_TERM, |_| {});
    machine.runtime.start(&id).unwrap();
    machine.wait_for_log(&id, "ready");
    let refused = machine.runtime.remove("aa", Removal::OnlyStopped).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot remove container \"aa\": container is running: stop the container before removing or force remove"
    );
    machine.runtime.kill(&id, Signal::KILL).unwrap();
    assert_eq!(machine.runtime.get(&id).unwrap().state.exit_code, 137);
    assert!(!machine.log(&id).contains("got term"));
    let error = machine.runtime.kill(&id, Signal::KILL).unwrap_err();
    assert_eq!(error.to_string(), format!("container {id} is not running"));
    machine.runtime.start(&id).unwrap();
    machine.runtime.remove("aa", Removal::Force).unwrap();
    let other = machine.create("bb", WAIT_FOR_TERM, |_| {});
    machine.runtime.start(&other).unwrap();
    machine.wait_for_log(&other, "ready");
    machine.runtime.kill(&other, "HUP".parse().unwrap()).unwrap();
    machine.runtime.kill(&other, Signal::TERM).unwrap();
    assert_eq!(machine.runtime.wait(&other, WaitCondition::NotRunning).unwrap(), 5);
}

/// Covers: B07-15, B07-24, B07-38
#[test]
fn names_ids_and_prefixes_resolve_and_conflicts_are_dockers() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let first = machine.create("web", "true", |_| {});
    let text = machine.try_create("web", &["true"], |_| {}).unwrap_err().to_string();
    assert_eq!(
        text,
        format!(
            "Conflict. The container name \"/web\" is already in use by container \"{first}\". You have to remove (or rename) that container to be able to reuse that name."
        )
    );
    for reference in ["web", "/web", first.as_str(), first.short(), &first.as_str()[..20]] {
        assert_eq!(machine.runtime.resolve(reference).unwrap(), first);
    }
    assert_eq!(machine.runtime.resolve("nope").unwrap_err().to_string(), "No such container: nope");
    let mut ids = vec![first.clone()];
    while ids.iter().all(|id| id.as_str()[..1] != first.as_str()[..1] || *id == first) {
        ids.push(machine.create(&format!("more{}", ids.len()), "true", |_| {}));
    }
    let prefix = &first.as_str()[..1];
    let text = machine.runtime.resolve(prefix).unwrap_err().to_string();
    assert_eq!(text, format!("Multiple IDs found with provided prefix: {prefix}"));
    machine.runtime.rename(&first, "db").unwrap();
    assert_eq!(machine.runtime.resolve("db").unwrap(), first);
    assert!(machine.runtime.resolve("web").is_err());
    assert!(matches!(machine.runtime.rename(&first, "more1"), Err(Error::NameInUse { .. })));
    assert!(matches!(machine.runtime.rename(&first, "no good"), Err(Error::InvalidName { .. })));
    let listed = machine.runtime.list().unwrap();
    assert_eq!(listed.len(), ids.len());
    assert_eq!(listed.last().unwrap().record.name, "db", "the oldest comes last");
}

/// Covers: RUN-26
#[test]
fn stdin_reaches_the_program_and_its_end_too() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine
        .try_create("cat", &["cat"], |options| {
            (options.open_stdin, options.stdin_once) = (true, true)
        })
        .unwrap();
    let big: Vec<u8> = (0..3_000_000u32).map(|n| b"abcdefgh\n"[n as usize % 9]).collect();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (streams, collected) = Collected::start(Some(OwnedFd::from(reader)));
    let sent = big.clone();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sent).unwrap());
    let attach =
        AttachOptions { streams, detach_keys: DetachKeys::default(), signals: SignalProxy::Keep };
    assert_eq!(machine.runtime.start_attached(&id, attach).unwrap(), AttachEnd::Exited(0));
    feeder.join().unwrap();
    let (out, _) = collected.finish();
    assert!(out.as_bytes() == big, "{} bytes came back of {}", out.len(), big.len());
}

/// Covers: RUN-20
#[test]
fn signals_to_an_attached_command_reach_the_container() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("box", WAIT_FOR_TERM, |_| {});
    let mut command = machine.host_program();
    command.arg("start").args(machine.state_args()).arg(id.as_str());
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    until("the container to run", || {
        machine.runtime.get(&id).unwrap().state.status == Status::Running
    });
    machine.wait_for_log(&id, "ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

/// Covers: RUN-65
#[test]
fn a_container_outlives_the_command_that_started_it() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("box", WAIT_FOR_TERM, |_| {});
    let mut command = machine.host_program();
    command.arg("start").args(machine.state_args()).arg(id.as_str());
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    until("the container to run", || {
        machine.runtime.get(&id).unwrap().state.status == Status::Running
    });
    child.kill().unwrap();
    child.wait().unwrap();
    machine.wait_for_log(&id, "ready");
    assert_eq!(machine.runtime.get(&id).unwrap().state.status, Status::Running);
    machine.runtime.stop(&id, StopTimeout::OfContainer, None).unwrap();
    assert_eq!(
        machine.runtime.get(&id).unwrap().state.exit_code,
        5,
        "its exit status is known although its starter is gone"
    );
}

/// Covers: RUN-65
#[test]
fn when_a_monitor_is_killed_the_state_tells_the_truth() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("box", WAIT_FOR_TERM, |_| {});
    machine.runtime.start(&id).unwrap();
    let pid = machine.runtime.get(&id).unwrap().state.pid.unwrap();
    let monitors = processes_naming(id.as_str());
    assert_eq!(monitors.len(), 1, "{monitors:?}");
    let monitor: i32 = monitors[0].split(' ').next().unwrap().parse().unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    until("the state to be true", || {
        machine.runtime.get(&id).unwrap().state.status == Status::Exited
    });
    let state = machine.runtime.get(&id).unwrap().state;
    assert_eq!(
        (state.exit_code, state.error.as_str()),
        (137, "the monitor of the container ended unexpectedly")
    );
    until("its first process to be gone", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    assert!(cgroup_dirs(id.as_str()).is_empty());
    machine.runtime.start(&id).expect("it can be started again");
    assert_eq!(machine.runtime.get(&id).unwrap().state.status, Status::Running);
}

/// Covers: B07-13, B07-39, RUN-28, B07-14
#[test]
fn exec_runs_beside_the_first_process_in_the_same_namespaces() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("box", WAIT_FOR_TERM, |options| {
        options.env = vec!["A=container".into(), "B=b".into()]
    });
    let error = machine.exec(&id, &["true"]).unwrap_err();
    assert_eq!(error.to_string(), format!("container {id} is not running"));
    machine.runtime.start(&id).unwrap();
    let script = "hostname; pwd; id -u; echo $A $B $HOME; ps | grep -c '[w]hile'; cat /proc/self/status | grep -E 'CapEff|^Seccomp:'; exit 7";
    let (code, out, err) = machine.exec(&id, &["sh", "-c", script]).unwrap();
    assert_eq!((code, err.as_str()), (7, ""));
    let expected = format!(
        "{}\n/\n0\ncontainer b /root\n1\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n",
        id.short()
    );
    assert_eq!(out, expected);
    let (_, out, _) = machine
        .exec_with(&id, &["sh", "-c", "pwd; id -u; id -G; echo $A $B $HOME"], |request| {
            request.user = Some("web".into());
            request.workdir = Some("/tmp".into());
            request.env = vec!["A=mine".into(), "B".into()];
        })
        .unwrap();
    assert_eq!(out, "/tmp\n1000\n1000 29\nmine /home/web\n");
    let error = machine.exec(&id, &["bash"]).unwrap_err();
    assert_eq!(error.run_exit_code(), 127);
    assert!(error.to_string().contains("OCI runtime exec failed: exec failed: unable to start container process: exec: \"bash\": executable file not found in $PATH"), "{error}");
    let error = machine
        .exec_with(&id, &["true"], |request| request.workdir = Some("/gone".into()))
        .unwrap_err();
    assert_eq!(error.run_exit_code(), 127);
    assert_eq!(
        machine.runtime.get(&id).unwrap().state.status,
        Status::Running,
        "the end of an exec ends nothing else"
    );
    let process =
        machine.exec_with(&id, &["sh", "-c", "echo $$ > /tmp/pid; exec sleep 1000"], |request| {
            request.connection = runtime::ExecConnection::Detached;
        });
    assert_eq!(process.unwrap().0, -1);
    until("the detached process to run", || {
        machine.exec(&id, &["test", "-s", "/tmp/pid"]).unwrap().0 == 0
    });
    machine.runtime.kill(&id, Signal::KILL).unwrap();
    until("all processes of the container to be gone", || cgroup_dirs(id.as_str()).is_empty());
}

/// Covers: RUN-37, B07-25
#[test]
fn a_paused_container_stands_still_and_goes_on() {
    if !can_run_containers() || !support::has_controller("freezer") {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("box", WAIT_FOR_TERM, |_| {});
    assert!(matches!(machine.runtime.pause(&id), Err(Error::NotRunning { .. })));
    machine.runtime.start(&id).unwrap();
    machine.wait_for_log(&id, "ready");
    machine.runtime.pause(&id).unwrap();
    assert_eq!(machine.runtime.get(&id).unwrap().state.status, Status::Paused);
    assert_eq!(
        machine.runtime.pause(&id).unwrap_err().to_string(),
        format!("container {id} is already paused")
    );
    let error = machine.exec(&id, &["true"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("container {id} is paused, unpause the container before exec")
    );
    machine.runtime.unpause(&id).unwrap();
    assert!(matches!(machine.runtime.unpause(&id), Err(Error::NotPaused { .. })));
    assert_eq!(machine.exec(&id, &["true"]).unwrap().0, 0);
    machine.runtime.pause(&id).unwrap();
    machine.runtime.stop(&id, StopTimeout::OfContainer, None).expect("stop thaws");
    assert_eq!(machine.runtime.get(&id).unwrap().state.exit_code, 5);
    machine.runtime.start(&id).unwrap();
    machine.runtime.pause(&id).unwrap();
    machine.runtime.kill(&id, Signal::KILL).expect("a frozen container can be killed");
    assert_eq!(machine.runtime.get(&id).unwrap().state.status, Status::Exited);
}

/// Covers: B07-27, B07-28, B07-31, RUN-30
#[test]
fn policies_restart_with_a_growing_pause_and_a_count() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("crash", "echo run; exit 4", |options| {
        options.restart = RestartPolicy::OnFailure(2)
    });
    let begin = Instant::now();
    machine.runtime.start(&id).unwrap();
    until("the policy to give up", || {
        machine.runtime.get(&id).unwrap().state.status == Status::Exited
    });
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "100 ms and then 200 ms lie between the runs"
    );
    let state = machine.runtime.get(&id).unwrap().state;
    assert_eq!((state.restart_count, state.exit_code), (2, 4));
    assert_eq!(machine.log(&id), "run\nrun\nrun\n");
    let good =
        machine.create("good", "exit 0", |options| options.restart = RestartPolicy::OnFailure(0));
    machine.runtime.start(&good).unwrap();
    assert_eq!(machine.runtime.wait(&good, WaitCondition::NotRunning).unwrap(), 0);
    until("no restart", || machine.runtime.get(&good).unwrap().state.status == Status::Exited);
    assert_eq!(machine.runtime.get(&good).unwrap().state.restart_count, 0);
}

/// Covers: B07-29, B07-30, S-02, RUN-30
#[test]
fn what_the_user_stopped_stays_stopped_until_a_boot_and_unless_stopped_even_then() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let policies = [("always", RestartPolicy::Always), ("unless", RestartPolicy::UnlessStopped)];
    let ids = policies.map(|(name, policy)| {
        machine.create(name, WAIT_FOR_TERM, |options| options.restart = policy)
    });
    for id in &ids {
        machine.runtime.start(id).unwrap();
        machine.wait_for_log(id, "ready");
        machine.runtime.stop(id, StopTimeout::OfContainer, None).unwrap();
        assert_eq!(machine.runtime.get(id).unwrap().state.status, Status::Exited);
    }
    let failed = machine.reopen().boot().unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(machine.runtime.get(&ids[0]).unwrap().state.status, Status::Running);
    assert_eq!(machine.runtime.get(&ids[1]).unwrap().state.status, Status::Exited);
}

/// Covers: B07-27, RUN-30
#[test]
fn a_restarting_container_can_be_stopped_in_its_pause() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("loop", "exit 1", |options| options.restart = RestartPolicy::Always);
    machine.runtime.start(&id).unwrap();
    until("a long pause", || {
        let state = machine.runtime.get(&id).unwrap().state;
        state.status == Status::Restarting && state.restart_count >= 3
    });
    machine.runtime.stop(&id, StopTimeout::Seconds(1), None).unwrap();
    assert_eq!(machine.runtime.get(&id).unwrap().state.status, Status::Exited);
}

/// Covers: RUN-29
#[test]
fn waiting_for_removal_gives_the_exit_code_after_rm() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create(
        "gone",
        "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done",
        |options| options.auto_remove = true,
    );
    machine.runtime.start(&id).unwrap();
    machine.wait_for_log(&id, "ready");
    let other = machine.reopen();
    let waited = id.clone();
    let waiter = std::thread::spawn(move || other.wait(&waited, WaitCondition::Removed));
    machine
        .runtime
        .restart(&id, StopTimeout::OfContainer, None)
        .expect("a restart does not remove");
    machine.wait_for_log(&id, "ready\nready\n");
    machine.runtime.kill(&id, Signal::TERM).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap(), 9);
    assert!(matches!(machine.runtime.get(&id), Err(Error::NoSuchContainer { .. })));
    assert!(!machine.path(&format!("layers/{id}")).exists(), "its layer went with it");
}

/// Covers: RUN-33
#[test]
fn following_a_log_ends_with_the_container() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create(
        "talk",
        "for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done; printf last",
        |_| {},
    );
    machine.runtime.start(&id).unwrap();
    let mut lines = Vec::new();
    let query = LogQuery { follow: true, ..LogQuery::default() };
    machine
        .runtime
        .logs(&id, &query, &mut |entry| {
            lines.push(String::from_utf8(entry.line).unwrap());
            Ok(())
        })
        .unwrap();
    assert_eq!(lines, ["line 1\n", "line 2\n", "line 3\n", "line 4\n", "line 5\n", "last"]);
}

/// Covers: B07-38, B07-28
#[test]
fn inspect_has_dockers_keys() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("box", "sleep 1000", |options| {
        options.labels.extend([("a".to_owned(), "b".to_owned())])
    });
    machine.runtime.start(&id).unwrap();
    let document = machine.runtime.inspect(&id).unwrap();
    assert_eq!(document["Name"], "/box");
    assert_eq!(document["State"]["Status"], "running");
    assert_eq!(document["State"]["Running"], true);
    assert_eq!(document["Path"], "sh");
    assert_eq!(document["Config"]["Cmd"][2], "sleep 1000");
    assert_eq!(document["Config"]["Labels"]["a"], "b");
    assert_eq!(document["HostConfig"]["NetworkMode"], "none");
    assert_eq!(document["HostConfig"]["RestartPolicy"]["Name"], "no");
    assert_eq!(document["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
    let table = machine.runtime.top(&id, &[]).unwrap();
    assert!(table.rows.iter().any(|row| row.last().unwrap().contains("sleep 1000")), "{table:?}");
    let usage = machine.runtime.usage(&id).unwrap();
    assert!(usage.pids >= 1 && usage.cpu_system > 0);
}

/// Covers: RUN-31
#[test]
fn probes_make_a_container_healthy_and_unhealthy() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("probed", "sleep 1000", |options| {
        options.health.test =
            ["CMD-SHELL", "echo looked; test -e /tmp/ok"].map(str::to_owned).to_vec();
        options.health.interval = 50_000_000;
        options.health.retries = 2;
    });
    machine.runtime.start(&id).unwrap();
    let health = || machine.runtime.get(&id).unwrap().state.health.unwrap();
    assert_eq!(health().status, HealthStatus::Starting);
    until("two failures", || health().status == HealthStatus::Unhealthy);
    let last = health().log.last().unwrap().clone();
    assert_eq!((last.exit_code, last.output.as_str()), (1, "looked\n"));
    machine.exec(&id, &["touch", "/tmp/ok"]).unwrap();
    until("a success", || health().status == HealthStatus::Healthy);
    until("five results and no more", || health().log.len() == 5);
    assert_eq!(machine.runtime.inspect(&id).unwrap()["State"]["Health"]["Status"], "healthy");
    let slow = machine.create("slow", "sleep 1000", |options| {
        options.health.test = ["CMD", "sleep", "98761"].map(str::to_owned).to_vec();
        (options.health.interval, options.health.timeout, options.health.retries) =
            (10_000_000, 200_000_000, 1);
    });
    machine.runtime.start(&slow).unwrap();
    let health = || machine.runtime.get(&slow).unwrap().state.health.unwrap();
    until("a probe to take too long", || health().status == HealthStatus::Unhealthy);
    let last = health().log[0].clone();
    assert_eq!(
        (last.exit_code, last.output.as_str()),
        (-1, "Health check exceeded timeout (200ms)")
    );
    machine.runtime.kill(&slow, Signal::KILL).unwrap();
    until("no probe to be left", || processes_naming("sleep\x0098761").is_empty());
}

/// Covers: RUN-42
#[test]
fn update_changes_limits_and_policy_of_what_runs() {
    if !can_run_containers()
        || !support::has_controller("memory")
        || !support::has_controller("pids")
    {
        return;
    }
    let machine = Machine::new();
    let id =
        machine.create("box", WAIT_FOR_TERM, |options| options.resources.memory = Some(64 << 20));
    machine.runtime.start(&id).unwrap();
    let limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true";
    assert_eq!(machine.exec(&id, &["sh", "-c", limits]).unwrap().1, "67108864\nmax\n");
    let mut changes = Changes { restart: Some(RestartPolicy::OnFailure(3)), ..Changes::default() };
    (changes.resources.memory, changes.resources.memory_swap) = (Some(32 << 20), Some(64 << 20));
    changes.resources.pids = Some(30);
    machine.runtime.update(&id, &changes).unwrap();
    assert_eq!(machine.exec(&id, &["sh", "-c", limits]).unwrap().1, "33554432\n30\n");
    let document = machine.runtime.inspect(&id).unwrap();
    assert_eq!(document["HostConfig"]["Memory"], 32 << 20);
    assert_eq!(document["HostConfig"]["RestartPolicy"]["Name"], "on-failure");
    let mut bad = Changes::default();
    bad.resources.memory = Some(1);
    assert!(machine.runtime.update(&id, &bad).is_err());
    assert_eq!(
        machine.runtime.inspect(&id).unwrap()["HostConfig"]["Memory"],
        32 << 20,
        "a refused change changes nothing"
    );
    machine.exec(&id, &["kill", "-TERM", "1"]).unwrap();
    until("the new policy to restart it", || {
        machine.runtime.get(&id).unwrap().state.restart_count == 1
    });
    until("it to run", || machine.runtime.get(&id).unwrap().state.status == Status::Running);
    assert_eq!(
        machine.exec(&id, &["sh", "-c", limits]).unwrap().1,
        "33554432\n30\n",
        "limits outlive a restart"
    );
}

/// Covers: RUN-5
#[test]
fn a_monitor_keeps_nothing_open_that_its_command_had_open() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("box", "echo ready; sleep 1000", |_| {});
    let kept = machine.path("kept-open");
    let program = machine.host_program();
    let [state, run] = machine.state_args();
    let script = format!(
        "exec 9>{}; exec {} start {} {} {id}",
        kept.display(),
        program.get_program().display(),
        state.display(),
        run.display(),
    );
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", &script])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null());
    let mut child = shell.spawn().unwrap();
    machine.wait_for_log(&id, "ready");
    let monitors = processes_naming(id.as_str());
    let monitor = monitors.iter().find(|line| line.contains("monitor")).unwrap();
    let fds = format!("/proc/{}/fd", monitor.split(' ').next().unwrap());
    let open: Vec<_> = std::fs::read_dir(fds)
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .collect();
    assert!(!open.contains(&kept), "{open:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}
