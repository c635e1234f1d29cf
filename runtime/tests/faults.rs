//! Failures at every step, deaths at any moment, and many at once: a clear error, a true state, and nothing left behind.
//! What is left behind is checked by the machine of each test when it is dropped.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use runtime::{ContainerId, Error, Removal, Runtime, Status, StopTimeout};
use rustix::process::{Pid, Signal as KernelSignal, kill_process};
use support::{
    Machine, can_run_containers, cgroup_dirs, fast_random, has, processes_naming, until,
};

/// Calls of the kernel that a start depends on, and how often each is made to fail, one after the other.
const FAILING_CALLS: [(&str, usize); 20] = [
    ("mount", 4),
    ("fsopen", 2),
    ("fsconfig", 3),
    ("fsmount", 3),
    ("move_mount", 6),
    ("open_tree", 4),
    ("mount_setattr", 2),
    ("unshare", 4),
    ("clone3", 2),
    ("pivot_root", 1),
    ("mkdir", 6),
    ("mkdirat", 3),
    ("rename", 4),
    ("openat2", 4),
    ("pipe2", 3),
    ("capset", 2),
    ("seccomp", 1),
    ("execve", 3),
    ("pidfd_open", 1),
    ("flock", 2),
];

fn start_command(machine: &Machine, id: &ContainerId) -> Command {
    let mut command = machine.host_program();
    command.arg("start").args(machine.state_args()).arg(id.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a container with the n-th call of every process failing; what strace saw tells whether there was one.
fn start_with_failure(
    machine: &Machine,
    id: &ContainerId,
    call: &str,
    nth: usize,
) -> (Output, bool) {
    let trace = machine.path("trace");
    let start = start_command(machine, id);
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={call}:error=EIO:when={nth}"),
    ]);
    command
        .arg("-o")
        .arg(&trace)
        .arg(start.get_program())
        .args(start.get_args())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let injected = fs::read_to_string(&trace).unwrap_or_default().contains("(INJECTED)");
    (output, injected)
}

/// Covers: RUN-1, RUN-22
#[test]
fn whichever_call_fails_the_start_fails_cleanly_and_can_be_tried_again() {
    if !can_run_containers() || !has("strace") {
        return;
    }
    let machine = Machine::new();
    let mut failures = 0;
    for (call, times) in FAILING_CALLS {
        for nth in 1..=times {
            let id = machine.create(&format!("{}-{nth}", call.replace('_', "-")), "exit 3", |_| {});
            let (output, injected) = start_with_failure(&machine, &id, call, nth);
            let code = output.status.code();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let cleanly =
                code == Some(3) || matches!(code, Some(101 | 125..=127)) && !text.trim().is_empty();
            assert!(cleanly, "{call} {nth}: {code:?} {text}");
            failures += usize::from(injected && code != Some(3));
            until("the monitor to be gone", || processes_naming(id.as_str()).is_empty());
            let status = machine.runtime.get(&id).unwrap().state.status;
            assert!(
                matches!(status, Status::Created | Status::Exited),
                "{call} {nth}: {status:?} after {text}"
            );
            assert!(
                cgroup_dirs(id.as_str()).is_empty(),
                "{call} {nth} left control groups: {text}"
            );
            let (code, _, _) = machine.run_attached(&id).unwrap();
            assert_eq!(code, 3, "{call} {nth}: it starts when nothing fails");
            machine.runtime.remove(id.as_str(), Removal::OnlyStopped).unwrap();
        }
    }
    assert!(failures >= 25, "only {failures} starts failed: the injection does not work");
}

fn wait_a_random_while(longest: Duration) {
    let random = u32::from_str_radix(&fast_random()[..6], 16).unwrap();
    let share = f64::from(random) / f64::from(0x00ff_ffff);
    std::thread::sleep(longest.mul_f64(share));
}

fn kill_hard(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, KernelSignal::KILL);
    }
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// Covers: RUN-65
#[test]
fn a_command_killed_at_any_moment_of_a_start_leaves_a_true_state() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    for turn in 0..25 {
        let id = machine.create(&format!("turn{turn}"), "sleep 1000", |_| {});
        let mut child = start_command(&machine, &id).spawn().unwrap();
        wait_a_random_while(Duration::from_millis(80));
        kill_hard(pid_of(&child));
        child.wait().unwrap();
        // The monitor either never came to be, or finishes what it began.
        until("a state at rest", || match machine.runtime.get(&id).unwrap().state.status {
            Status::Running => true,
            _ => processes_naming(id.as_str()).is_empty(),
        });
        let state = machine.runtime.get(&id).unwrap().state;
        let runs = state.pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
        assert_eq!(state.status == Status::Running, runs);
        machine.runtime.remove(id.as_str(), Removal::Force).unwrap();
        assert!(cgroup_dirs(id.as_str()).is_empty());
    }
}

/// Covers: RUN-65
#[test]
fn a_monitor_killed_at_any_moment_leaves_a_true_state_and_a_container_that_can_be_removed() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    for turn in 0..25 {
        let id = machine.create(&format!("turn{turn}"), "sleep 1000", |_| {});
        let mut child = start_command(&machine, &id).spawn().unwrap();
        wait_a_random_while(Duration::from_millis(80));
        for line in processes_naming(id.as_str()) {
            if line.contains("monitor") {
                kill_hard(line.split(' ').next().unwrap().parse().unwrap());
            }
        }
        kill_hard(pid_of(&child));
        child.wait().unwrap();
        until("no process that is named after the container", || {
            for line in processes_naming(id.as_str()) {
                kill_hard(line.split(' ').next().unwrap().parse().unwrap());
            }
            processes_naming(id.as_str()).is_empty()
        });
        // A process that is ending loses its name before its lock.
        until("the lock to be free", || {
            matches!(
                machine.runtime.get(&id).unwrap().state.status,
                Status::Created | Status::Exited
            )
        });
        machine.runtime.remove(id.as_str(), Removal::Force).unwrap();
        let left = cgroup_dirs(id.as_str());
        let inside = |dir: &std::path::PathBuf| fs::read_to_string(dir.join("cgroup.procs"));
        assert!(
            left.is_empty(),
            "turn {turn}: {:?}",
            left.iter().map(|dir| (dir, inside(dir))).collect::<Vec<_>>()
        );
    }
}

#[test]
fn after_a_reboot_everything_is_down_and_starts_again() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let id = machine.create("box", "echo run >> /tmp/runs; cat /tmp/runs; sleep 1000", |_| {});
    machine.runtime.start(&id).unwrap();
    machine.wait_for_log(&id, "run\n");
    for line in processes_naming(id.as_str()) {
        kill_hard(line.split(' ').next().unwrap().parse().unwrap());
    }
    until("its processes to be gone", || processes_naming(id.as_str()).is_empty());
    fs::remove_dir_all(machine.path("run")).unwrap();
    let after = machine.reopen();
    until("the state to be true", || after.get(&id).unwrap().state.status == Status::Exited);
    after.start(&id).unwrap();
    machine.wait_for_log(&id, "run\nrun\nrun\n");
    after.stop(&id, StopTimeout::Seconds(0), None).unwrap();
}

/// Covers: B07-04
#[test]
fn many_containers_start_and_end_at_the_same_time() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let machine = &machine;
            scope.spawn(move || {
                for turn in 0..6 {
                    let name = format!("many-{thread}-{turn}");
                    let id =
                        machine.create(&name, &format!("echo {name}; exit {turn}"), |options| {
                            options.auto_remove = true
                        });
                    let outcome = machine.run_attached(&id).unwrap();
                    assert_eq!(outcome, (turn, format!("{name}\n"), String::new()));
                }
            });
        }
    });
    let ids: Vec<ContainerId> =
        (0..100).map(|n| machine.create(&format!("idle{n}"), "sleep 1000", |_| {})).collect();
    ids.iter().for_each(|id| machine.runtime.start(id).unwrap());
    assert_eq!(
        machine
            .runtime
            .list()
            .unwrap()
            .iter()
            .filter(|c| c.state.status == Status::Running)
            .count(),
        100
    );
    std::thread::scope(|scope| {
        for id in &ids {
            let runtime: &Runtime = &machine.runtime;
            scope.spawn(move || runtime.remove(id.as_str(), Removal::Force).unwrap());
        }
    });
}

#[test]
fn one_name_goes_to_one_of_many() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| machine.try_create("wanted", &["true"], |_| {})))
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(
            results.iter().all(|result| matches!(result, Ok(_) | Err(Error::NameInUse { .. }))),
            "{results:?}"
        );
        results.iter().filter(|result| result.is_ok()).count()
    });
    assert_eq!(won, 1);
    assert_eq!(machine.runtime.list().unwrap().len(), 1, "those that lost left no record");
    let id = machine.runtime.resolve("wanted").unwrap();
    let started = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| machine.run_attached(&id))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(Result::is_ok).count()
    });
    assert!(started >= 1);
}

#[test]
fn a_full_disk_is_an_error_and_does_not_stop_who_runs() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let state = machine.path("small");
    fs::create_dir(&state).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&state)
        .status()
        .unwrap();
    assert!(mount.success());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let config = runtime::RuntimeConfig {
            state_dir: state.clone(),
            run_dir: machine.path("run2"),
            self_exe: env!("CARGO_BIN_EXE_wherry-runtime-test-host").into(),
            networks: None,
        };
        let small = Runtime::open(config).unwrap();
        let id = ContainerId::generate().unwrap();
        let request = |id: &ContainerId, script: &str| runtime::CreateRequest {
            id: id.clone(),
            name: None,
            image: "busybox".into(),
            image_id: String::new(),
            image_config: Default::default(),
            options: runtime::RunOptions {
                command: ["sh", "-c", script].map(str::to_owned).to_vec(),
                ..runtime::RunOptions::default()
            },
            rootfs: runtime::RootFs::Path { path: machine.image() },
            cleanup: Vec::new(),
        };
        small.create(request(&id, "yes 0123456789 | head -c 2000000; exit 4")).unwrap();
        small.start(&id).unwrap();
        assert_eq!(
            small.wait(&id, runtime::WaitCondition::NotRunning).unwrap(),
            4,
            "the program ends although its log is full"
        );
        let ended = small.get(&id).unwrap().state;
        assert_eq!((ended.status, ended.exit_code), (Status::Exited, 4));
        let other = ContainerId::generate().unwrap();
        let error = small.create(request(&other, "true")).unwrap_err();
        assert!(error.to_string().contains("No space left on device"), "{error}");
        assert!(matches!(small.get(&other), Err(Error::NoSuchContainer { .. })));
        small.remove(id.as_str(), Removal::Force).unwrap();
        small.create(request(&other, "true")).expect("with room again it works");
        small.remove(other.as_str(), Removal::OnlyStopped).unwrap();
    }));
    assert!(Command::new("umount").arg(&state).status().unwrap().success());
    fs::remove_dir_all(machine.path("run2")).unwrap();
    outcome.unwrap();
}
