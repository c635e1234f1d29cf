//! `oci-runtime`: the life cycle and error rules of the runtime specification, and Debian's podman and docker as callers.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use support::{Machine, can_run_containers, has, until};

/// A bundle of the busybox image, and the command line of the runtime.
struct Oci {
    machine: Machine,
}

impl Oci {
    fn new() -> Self {
        Self { machine: Machine::new() }
    }

    fn bundle(&self, change: impl FnOnce(&mut Value)) -> PathBuf {
        let dir = self.machine.path("bundle");
        fs::create_dir_all(&dir).unwrap();
        let _ = fs::remove_file(dir.join("config.json"));
        assert!(self.run(&["spec", "--bundle", dir.to_str().unwrap()]).status.success());
        let mut spec: Value =
            serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        spec["root"] = json!({ "path": self.machine.image() });
        spec["process"]["terminal"] = json!(false);
        spec["process"]["rlimits"] = json!([]);
        spec["linux"]["cgroupsPath"] =
            json!(format!("/wherry/oci-test-{}", support::fast_random()));
        change(&mut spec);
        fs::write(dir.join("config.json"), spec.to_string()).unwrap();
        dir
    }

    fn script(&self, text: &str) -> PathBuf {
        self.bundle(|spec| spec["process"]["args"] = json!(["sh", "-c", text]))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.machine.host_program();
        command.arg("oci-runtime").arg("--root").arg(self.machine.path("oci")).args(args);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Without pipes that a container would hold open.
    fn ok(&self, args: &[&str]) {
        let log = self.machine.path("log.json");
        let mut command = self.machine.host_program();
        command
            .arg("oci-runtime")
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json", "--root"])
            .arg(self.machine.path("oci"));
        let status = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{args:?}: {}", fs::read_to_string(&log).unwrap_or_default());
    }

    fn fails(&self, args: &[&str], text: &str) {
        let output = self.run(args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        assert!(message.contains(text), "{args:?}: {message}");
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_slice(&self.run(&["state", id]).stdout).unwrap()
    }

    fn await_status(&self, id: &str, status: &str) {
        until(status, || self.state(id)["status"] == status);
    }
}

/// Covers: RUN-1, RUN-2
#[test]
fn the_life_cycle_has_its_states_and_refuses_what_does_not_fit() {
    if !can_run_containers() {
        return;
    }
    let oci = Oci::new();
    let bundle = oci.script("echo started > /tmp/started; sleep 1000");
    let bundle = bundle.to_str().unwrap();
    oci.fails(&["state", "one"], "does not exist");
    oci.fails(&["start", "one"], "does not exist");
    oci.ok(&[
        "create",
        "--bundle",
        bundle,
        "--pid-file",
        oci.machine.path("pid").to_str().unwrap(),
        "one",
    ]);
    let state = oci.state("one");
    assert_eq!(
        (&state["status"], &state["id"], &state["bundle"]),
        (&json!("created"), &json!("one"), &json!(bundle))
    );
    assert_eq!(fs::read_to_string(oci.machine.path("pid")).unwrap(), state["pid"].to_string());
    assert!(!oci.machine.image().join("tmp/started").exists(), "created is not started");
    oci.fails(&["create", "--bundle", bundle, "one"], "already exists");
    oci.ok(&["start", "one"]);
    oci.await_status("one", "running");
    until("the program", || oci.machine.image().join("tmp/started").exists());
    oci.fails(&["start", "one"], "cannot start an already running container");
    oci.fails(&["delete", "one"], "not stopped");
    let listed: Value =
        serde_json::from_slice(&oci.run(&["list", "--format", "json"]).stdout).unwrap();
    assert_eq!(listed[0]["id"], "one");
    let pids: Vec<i64> =
        serde_json::from_slice(&oci.run(&["ps", "--format", "json", "one"]).stdout).unwrap();
    assert!(pids.contains(&state["pid"].as_i64().unwrap()));
    oci.ok(&["pause", "one"]);
    assert_eq!(oci.state("one")["status"], "paused");
    oci.fails(&["exec", "one", "true"], "cannot exec in a paused container");
    oci.ok(&["resume", "one"]);
    assert_eq!(oci.run(&["exec", "one", "sh", "-c", "echo here; exit 5"]).status.code(), Some(5));
    oci.ok(&["kill", "one", "KILL"]);
    oci.await_status("one", "stopped");
    assert_eq!(oci.state("one")["pid"], 0);
    oci.fails(&["kill", "one", "KILL"], "container not running");
    oci.fails(&["start", "one"], "cannot start a container that has stopped");
    oci.ok(&["delete", "one"]);
    oci.fails(&["delete", "one"], "does not exist");
    oci.ok(&["delete", "--force", "one"]);
    assert_eq!(fs::read_dir(oci.machine.path("oci")).unwrap().count(), 0);
}

/// Covers: RUN-1, RUN-9, RUN-10
#[test]
fn run_gives_the_exit_code_and_applies_capabilities_and_filter() {
    if !can_run_containers() {
        return;
    }
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["sh", "-c", "grep -E '^(CapEff|CapAmb|Seccomp:|NoNewPrivs)' /proc/self/status; mkdir /tmp/no 2>&1; exit 6"]);
        spec["process"]["capabilities"] = json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
        });
        spec["process"]["noNewPrivileges"] = json!(false);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30 }],
        });
    });
    let output = oci.run(&["run", "--bundle", bundle.to_str().unwrap(), "caps"]);
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "CapEff:\t0000000000000020\nCapAmb:\t0000000000000020\nNoNewPrivs:\t0\nSeccomp:\t2\nmkdir: can't create directory '/tmp/no': Read-only file system\n"
    );
    let missing = oci.bundle(|spec| spec["process"]["args"] = json!(["nosuch"]));
    oci.fails(
        &["create", "--bundle", missing.to_str().unwrap(), "missing"],
        "exec: \"nosuch\": executable file not found in $PATH",
    );
    assert_eq!(
        fs::read_dir(oci.machine.path("oci")).unwrap().count(),
        0,
        "a create that fails leaves nothing"
    );
    oci.fails(
        &["create", "--bundle", bundle.to_str().unwrap(), "../../escape"],
        "invalid container id",
    );
    oci.fails(&["checkpoint", "x"], "is not supported");
}

/// Covers: RUN-3
#[test]
fn hooks_run_in_the_order_of_the_specification() {
    if !can_run_containers() {
        return;
    }
    let oci = Oci::new();
    let trace = oci.machine.path("trace");
    let outside = |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat > /dev/null; echo {name} >> {}", trace.display())] }]);
    let inside = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null; echo startContainer >> /shared/trace"] }]);
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["sh", "-c", "echo program >> /shared/trace"]);
        spec["hooks"] = json!({
            "prestart": outside("prestart"), "createRuntime": outside("createRuntime"),
            "createContainer": outside("createContainer"), "startContainer": inside,
            "poststop": outside("poststop"),
        });
        spec["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/shared", "type": "bind", "source": oci.machine.dir.path(), "options": ["rbind", "rw"],
        }));
    });
    let output = oci.run(&["run", "--bundle", bundle.to_str().unwrap(), "hooks"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        fs::read_to_string(&trace).unwrap(),
        "prestart\ncreateRuntime\ncreateContainer\nstartContainer\nprogram\npoststop\n"
    );
}

/// Peers call a runtime by one path: a script with the subcommand in it.
fn wrapper(machine: &Machine) -> PathBuf {
    let path = machine.path("oci-runtime");
    fs::write(
        &path,
        format!(
            "#!/bin/sh\nexec {} oci-runtime \"$@\"\n",
            env!("CARGO_BIN_EXE_wherry-runtime-test-host")
        ),
    )
    .unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn image_archive(machine: &Machine) -> PathBuf {
    let archive = machine.path("image.tar");
    let status = Command::new("tar")
        .arg("-C")
        .arg(machine.image())
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status()
        .unwrap();
    assert!(status.success());
    archive
}

/// The same walk through a peer's verbs, whoever the peer is.
fn walk(peer: &dyn Fn(&[&str]) -> (i32, String)) {
    let probe = "grep -E '^(CapEff|Seccomp:)' /proc/self/status; exit 7";
    let (code, out) = peer(&["run", "--rm", "bb", "sh", "-c", probe]);
    assert_eq!((code, out.as_str()), (7, "CapEff:\t00000000a80425fb\nSeccomp:\t2\n"));
    assert_eq!(peer(&["run", "--rm", "bb", "nosuch"]).0, 127);
    assert_eq!(
        peer(&[
            "run",
            "-d",
            "--name",
            "box",
            "--memory",
            "64m",
            "--pids-limit",
            "30",
            "bb",
            "sleep",
            "1000"
        ])
        .0,
        0
    );
    assert_eq!(peer(&["exec", "box", "sh", "-c", "echo inside; exit 9"]), (9, "inside\n".into()));
    let limits = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max 2>/dev/null; true";
    assert_eq!(peer(&["exec", "box", "sh", "-c", limits]), (0, "30\n67108864\n".into()));
    assert_eq!(peer(&["exec", "-u", "web", "box", "id", "-u"]), (0, "1000\n".into()));
    assert_eq!(peer(&["pause", "box"]).0, 0);
    assert_eq!(peer(&["unpause", "box"]).0, 0);
    assert_eq!(peer(&["kill", "box"]).0, 0);
    assert_eq!(peer(&["wait", "box"]), (0, "137\n".into()));
    assert_eq!(peer(&["start", "box"]).0, 0);
    assert_eq!(peer(&["stop", "-t", "1", "box"]).0, 0);
    assert_eq!(peer(&["rm", "box"]).0, 0);
    let (code, out) = peer(&["run", "--rm", "-t", "bb", "sh", "-c", "test -t 0 && tty"]);
    assert_eq!((code, out.trim()), (0, "/dev/pts/0"));
}

#[test]
fn podman_runs_its_containers_on_it() {
    if !can_run_containers() || !has("podman") || !has("conmon") {
        return;
    }
    let machine = Machine::new();
    let (runtime, archive) = (wrapper(&machine), image_archive(&machine));
    let config = machine.path("containers.conf");
    // Without the right to raise limits podman's own defaults are refused by the kernel.
    fs::write(&config, "[engine]\nevents_logger=\"none\"\n[containers]\ndefault_ulimits=[\"nofile=1024:2048\",\"nproc=1024:2048\"]\n").unwrap();
    let podman = |args: &[&str]| -> (i32, String) {
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", &config)
            .arg("--root")
            .arg(machine.path("podman"))
            .arg("--runroot")
            .arg(machine.path("podman-run"));
        command
            .arg("--runtime")
            .arg(&runtime)
            .args(["--cgroup-manager", "cgroupfs"])
            .args(&args[..1]);
        if args[0] == "run" {
            command.args(["--network", "none"]);
        }
        let output = command.args(&args[1..]).stdin(Stdio::null()).output().unwrap();
        eprintln!("podman {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(podman(&["import", archive.to_str().unwrap(), "bb"]).0, 0);
    walk(&podman);
    podman(&["rmi", "-f", "bb"]);
    unmount_below(machine.dir.path());
}

/// A dockerd of the test's own, ended with it.
struct Dockerd {
    child: Child,
    socket: String,
}

impl Dockerd {
    fn start(machine: &Machine, runtime: &Path) -> Self {
        let socket = format!("unix://{}", machine.path("docker.sock").display());
        let mut command = Command::new("dockerd");
        command
            .arg("--data-root")
            .arg(machine.path("docker"))
            .arg("--exec-root")
            .arg(machine.path("docker-run"));
        command.arg("--pidfile").arg(machine.path("docker.pid")).args([
            "-H",
            &socket,
            "--bridge",
            "none",
            "--iptables=false",
        ]);
        command
            .arg("--add-runtime")
            .arg(format!("wherry={}", runtime.display()))
            .args(["--default-runtime", "wherry"]);
        let log = fs::File::create(machine.path("docker.log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let dockerd = Self { child, socket };
        until("dockerd to answer", || dockerd.docker(&["version"]).0 == 0);
        dockerd
    }

    fn docker(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]).args(&args[..1]);
        if args[0] == "run" {
            command.args(["--network", "none"]);
        }
        let output = command.args(&args[1..]).stdin(Stdio::null()).output().unwrap();
        if args[0] != "version" {
            eprintln!("docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _ = self.child.wait();
    }
}

#[test]
fn docker_runs_its_containers_on_it() {
    if !can_run_containers() || !has("dockerd") || !has("docker") {
        return;
    }
    let machine = Machine::new();
    let (runtime, archive) = (wrapper(&machine), image_archive(&machine));
    let dockerd = Dockerd::start(&machine, &runtime);
    assert_eq!(dockerd.docker(&["import", archive.to_str().unwrap(), "bb"]).0, 0);
    walk(&|args| dockerd.docker(args));
    assert_eq!(dockerd.docker(&["run", "-d", "--name", "two", "bb", "sleep", "1000"]).0, 0);
    assert_eq!(dockerd.docker(&["update", "--memory", "32m", "--memory-swap", "32m", "two"]).0, 0);
    let (_, out) = dockerd.docker(&["exec", "two", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"]);
    assert_eq!(out, "33554432\n");
    assert!(dockerd.docker(&["top", "two"]).1.contains("sleep 1000"));
    assert_eq!(dockerd.docker(&["rm", "-f", "two"]).0, 0);
    drop(dockerd);
    unmount_below(machine.dir.path());
}

/// What a peer's storage leaves mounted is the peer's, but it must not fail the check for our own.
fn unmount_below(dir: &Path) {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let targets = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|target| target.starts_with(dir.to_str().unwrap()));
    for target in targets.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").arg("-l").arg(target).status();
    }
}
