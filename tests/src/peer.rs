//! Other people's tools, as a person would call them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::run::Run;
use crate::site::{eventually, finish};
use crate::text::words;

/// `skopeo` with the words of a line; loopback is plain HTTP for it, and no signature is asked for.
pub fn skopeo(line: &str) -> Run {
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").args(words(line));
    start(command, line)
}

/// `buildah` over storage in `home`.
pub fn buildah(home: &Path, line: &str) -> Run {
    let policy = home.join("policy.json");
    if !policy.exists() {
        std::fs::create_dir_all(home).expect("make buildah's folder");
        std::fs::write(&policy, "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}")
            .expect("write a policy");
    }
    let mut command = Command::new("buildah");
    command
        .arg("--root")
        .arg(home.join("lib"))
        .arg("--runroot")
        .arg(home.join("run"))
        .args(["--storage-driver", "vfs"])
        .args(words(line))
        .env("BUILDAH_ISOLATION", "chroot");
    start(command, line)
}

/// `podman` over storage in `home`.
pub fn podman(home: &Path, line: &str) -> Run {
    std::fs::create_dir_all(home).expect("make podman's folder");
    let policy = home.join("policy.json");
    std::fs::write(&policy, "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}")
        .expect("write a policy");
    let conf = home.join("containers.conf");
    let text = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
    std::fs::write(&conf, text).expect("write podman's configuration");
    let mut command = Command::new("podman");
    command
        .arg("--root")
        .arg(home.join("lib"))
        .arg("--runroot")
        .arg(home.join("run"))
        .args(["--storage-driver", "vfs"])
        .args(words(line))
        .env("CONTAINERS_CONF", conf);
    start(command, line)
}

/// A dockerd with a root of its own, without a bridge and without rules in the firewall, until it is dropped.
pub struct Dockerd {
    child: Child,
    run: TempDir,
    _home: TempDir,
}

impl Dockerd {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        let home = TempDir::with_prefix("wherry-dockerd-").expect("make a temporary folder");
        // A socket's path is limited to 107 bytes: it must be short.
        let run = TempDir::with_prefix_in("wd-", "/run").expect("make a run folder");
        let log = std::fs::File::create(home.path().join("log")).expect("make a log");
        let child = Command::new("dockerd")
            .arg(format!("--data-root={}", home.path().join("data").display()))
            .arg(format!("--exec-root={}", run.path().join("exec").display()))
            .arg(format!("--pidfile={}", run.path().join("pid").display()))
            .arg(format!("--host=unix://{}", run.path().join("s").display()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg("--storage-driver=vfs")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log)
            .spawn()
            .expect("start dockerd");
        let dockerd = Dockerd { child, run, _home: home };
        let answers =
            eventually(Duration::from_secs(60), || dockerd.run("version").code == Some(0));
        assert!(answers, "dockerd answers: {}", dockerd.run("version"));
        dockerd
    }

    /// Debian's client with the words of a line.
    pub fn run(&self, line: &str) -> Run {
        let mut command = Command::new("/usr/bin/docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.run.path().join("s").display()))
            .args(words(line))
            .env("DOCKER_CONFIG", self.run.path());
        start(command, line)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It takes its containerd along only where it is asked to end.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn start(mut command: Command, line: &str) -> Run {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    finish(child, format!("{program} {line}"))
}
