//! Steps of a build.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use runtime::{
    Access, Error, ExitStatus, MissingSource, MountKind, MountRequest, OutputStream, Resources,
    RootFs, StepNetwork, StepRequest,
};
use support::{Machine, can_run_containers, processes_naming, until};

fn request(machine: &Machine, name: &str, script: &str) -> StepRequest {
    let layers = machine.path("layers").join(name);
    StepRequest {
        rootfs: RootFs::Overlay {
            lowers: vec![machine.image()],
            upper: layers.join("upper"),
            work: layers.join("work"),
        },
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["A=b".into()],
        workdir: "/srv/app".into(),
        user: String::new(),
        mounts: Vec::new(),
        network: StepNetwork::None,
        resources: Resources::default(),
        hostname: "builder".into(),
        insecure: false,
        extra_hosts: Vec::new(),
        groups: Vec::new(),
        shm_size: None,
        ulimits: Vec::new(),
        stop: None,
    }
}

fn run(machine: &Machine, request: &StepRequest) -> Result<(i32, String, String), Error> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status: ExitStatus =
        machine.runtime.run_step(request, &mut |stream, bytes| match stream {
            OutputStream::Stdout => out.extend_from_slice(bytes),
            OutputStream::Stderr => err.extend_from_slice(bytes),
        })?;
    Ok((status.code(), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap()))
}

/// All paths below a folder, without those that only lead to others.
fn files(dir: PathBuf) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.clone()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path.clone());
            }
            found.push(path.strip_prefix(&dir).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

fn clear_layers(machine: &Machine) {
    fs::remove_dir_all(machine.path("layers")).unwrap();
}

/// Covers: BLD-26
#[test]
fn a_step_changes_only_what_its_command_changes() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let script = "echo $A $HOME $HOSTNAME; pwd; id -u; echo err >&2; echo made > file; rm /etc/plain; sleep 98765 & exit 5";
    let outcome = run(&machine, &request(&machine, "one", script)).unwrap();
    assert_eq!(outcome, (5, "b /root builder\n/srv/app\n0\n".into(), "err\n".into()));
    until("a process left behind to be killed", || processes_naming("sleep\x0098765").is_empty());
    let upper = machine.path("layers/one/upper");
    assert_eq!(
        files(upper.clone()),
        ["etc", "etc/plain", "srv", "srv/app", "srv/app/file"],
        "no mount point stays"
    );
    let whiteout = fs::symlink_metadata(upper.join("etc/plain")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::rdev(&whiteout), 0);
    let quiet = run(&machine, &request(&machine, "two", "true")).unwrap();
    assert_eq!(quiet.0, 0);
    assert_eq!(
        files(machine.path("layers/two/upper")),
        ["srv", "srv/app"],
        "only the working folder"
    );
    clear_layers(&machine);
}

#[test]
fn a_step_that_cannot_start_says_why() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let mut missing = request(&machine, "one", "");
    missing.args = vec!["/no/such".into()];
    let error = run(&machine, &missing).unwrap_err();
    assert_eq!(error.run_exit_code(), 127, "{error}");
    assert!(error.to_string().contains("exec: \"/no/such\""), "{error}");
    let mut user = request(&machine, "one", "true");
    user.user = "ghost".into();
    assert!(run(&machine, &user).unwrap_err().to_string().contains("unable to find user ghost"));
    let mut empty = request(&machine, "one", "true");
    empty.args.clear();
    assert!(matches!(run(&machine, &empty), Err(Error::NoCommand)));
    clear_layers(&machine);
}

/// Covers: BLD-32
#[test]
fn mounts_of_a_step_leave_nothing_in_the_layer() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let (cache, secret) = (machine.path("cache"), machine.path("secret"));
    fs::create_dir(&cache).unwrap();
    fs::write(&secret, "hush").unwrap();
    let bind = |source: &PathBuf, target: &str, access| MountRequest {
        kind: MountKind::Bind { source: source.clone(), missing: MissingSource::Refuse },
        target: target.into(),
        access,
        propagation: "rprivate".into(),
    };
    let mut step = request(
        &machine,
        "one",
        "cat /run/secrets/token; echo kept > /root/.cache/x; echo gone > /scratch/y; echo > /run/secrets/token",
    );
    step.mounts = vec![
        bind(&cache, "/root/.cache", Access::ReadWrite),
        bind(&secret, "/run/secrets/token", Access::ReadOnly),
        runtime::parse_tmpfs("/scratch").unwrap(),
    ];
    step.workdir = "/".into();
    let (_, out, err) = run(&machine, &step).unwrap();
    assert_eq!(out, "hush");
    assert!(err.contains("Read-only file system"), "{err}");
    assert_eq!(fs::read_to_string(cache.join("x")).unwrap(), "kept\n");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hush");
    let left = files(machine.path("layers/one/upper"));
    assert!(left.iter().all(|path| path == "root"), "{left:?}");
    clear_layers(&machine);
}

/// Covers: BLD-35
#[test]
fn steps_have_the_hosts_network_or_none() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let mut step = request(&machine, "one", "readlink /proc/self/ns/net; cat /etc/resolv.conf");
    step.network = StepNetwork::Host;
    let (_, out, _) = run(&machine, &step).unwrap();
    let (namespace, resolver) = out.split_once('\n').unwrap();
    assert_eq!(namespace, fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap());
    assert_eq!(resolver, fs::read_to_string("/etc/resolv.conf").unwrap());
    let (_, out, _) = run(&machine, &request(&machine, "two", "ip -o link | wc -l")).unwrap();
    assert_eq!(out, "1\n");
    clear_layers(&machine);
}

#[test]
fn many_steps_run_at_the_same_time() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let machine = &machine;
            scope.spawn(move || {
                for turn in 0..4 {
                    let text = format!("{number}-{turn}");
                    let outcome =
                        run(machine, &request(machine, &text, &format!("echo {text}; hostname")))
                            .unwrap();
                    assert_eq!(outcome, (0, format!("{text}\nbuilder\n"), String::new()));
                }
            });
        }
    });
    clear_layers(&machine);
}

#[test]
fn a_step_dies_with_its_builder_and_leaves_nothing() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    // A number of this test's own: other tests, and people, sleep at the same time.
    let nap = format!("1000.{}", std::process::id());
    let mut command = machine.host_program();
    command.arg("step").args(machine.state_args()).arg(machine.image());
    command
        .args(["sh", "-c", &format!("echo ready; sleep {nap}")])
        .stdout(std::process::Stdio::piped());
    let mut builder = command.spawn().unwrap();
    let mut first = [0; 6];
    std::io::Read::read_exact(builder.stdout.as_mut().unwrap(), &mut first).unwrap();
    builder.kill().unwrap();
    builder.wait().unwrap();
    until("the step to be gone", || fs::read_dir(machine.path("run/steps")).unwrap().count() == 0);
    until("its processes to be gone", || processes_naming(&nap).is_empty());
}

#[test]
fn what_a_killed_helper_left_is_swept_by_the_next_runtime() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let mut command = machine.host_program();
    command.arg("step").args(machine.state_args()).arg(machine.image());
    command.args(["sh", "-c", "echo ready; sleep 1000"]).stdout(std::process::Stdio::piped());
    let mut builder = command.spawn().unwrap();
    let mut first = [0; 6];
    std::io::Read::read_exact(builder.stdout.as_mut().unwrap(), &mut first).unwrap();
    let root = machine.dir.path().to_str().unwrap().to_owned();
    let helper =
        processes_naming(&root).into_iter().find(|line| line.contains("runtime-helper")).unwrap();
    let pid =
        rustix::process::Pid::from_raw(helper.split(' ').next().unwrap().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(builder.wait().unwrap().code(), Some(125));
    let steps = || fs::read_dir(machine.path("run/steps")).unwrap().count();
    assert_eq!(steps(), 1);
    until("the sweep", || {
        machine.reopen();
        steps() == 0
    });
}

#[test]
fn output_is_handed_over_while_the_step_runs() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let fifo = machine.path("go");
    fs::create_dir(&fifo).unwrap();
    let mut step = request(
        &machine,
        "one",
        "echo first; while [ ! -e /go/now ]; do sleep 0.02; done; echo second",
    );
    step.mounts = vec![MountRequest {
        kind: MountKind::Bind { source: fifo.clone(), missing: MissingSource::Refuse },
        target: "/go".into(),
        access: Access::ReadWrite,
        propagation: "rprivate".into(),
    }];
    let mut seen = Vec::new();
    let begin = Instant::now();
    let status = machine
        .runtime
        .run_step(&step, &mut |_, bytes| {
            seen.push(String::from_utf8_lossy(bytes).into_owned());
            fs::write(fifo.join("now"), "").unwrap();
        })
        .unwrap();
    assert!(status.success() && begin.elapsed().as_secs() < 20);
    assert_eq!(
        seen,
        ["first\n", "second\n"],
        "the second line is written only after the first was handed over"
    );
    clear_layers(&machine);
}
