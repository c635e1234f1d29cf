//! The peers, run by hand: a dockerd of our own, podman and buildah with roots of their own, bare runtimes on a bundle.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::images;
use crate::shell::{self, Context, Failure, Result};

/// Debian's client: it knows BuildKit without a plugin.
const DOCKER: &str = "/usr/bin/docker";

/// A dockerd with a root of its own, without a bridge and without rules in the firewall.
pub(super) struct Dockerd {
    child: Child,
    socket: PathBuf,
}

impl Dockerd {
    pub(super) fn start(disk: &Path) -> Result<Self> {
        let no_network = ["--bridge=none", "--iptables=false", "--ip6tables=false"];
        Self::start_with(disk, &[], &no_network)
    }

    /// One with its bridge and its rules, on a host of its own: `wrapper` are the words that bring a command there.
    pub(super) fn start_on(disk: &Path, wrapper: &[String]) -> Result<Self> {
        Self::start_with(disk, wrapper, &[])
    }

    fn start_with(disk: &Path, wrapper: &[String], flags: &[&str]) -> Result<Self> {
        let home = super::fresh(disk, "docker")?;
        // A socket's path is limited to 107 bytes: it must be short.
        let run = PathBuf::from(format!("/run/wherry-bench-{}", std::process::id()));
        fs::create_dir_all(&run).context("make the run folder of dockerd")?;
        let socket = run.join("docker.sock");
        let log = File::create(home.join("log")).context("make the log of dockerd")?;
        let mut words = wrapper.iter().map(String::as_str).chain(["dockerd"]);
        let mut command = Command::new(words.next().unwrap_or("dockerd"));
        let child = command
            .args(words)
            .arg(format!("--data-root={}", home.join("data").display()))
            .arg(format!("--exec-root={}", run.join("exec").display()))
            .arg(format!("--pidfile={}", run.join("pid").display()))
            .arg(format!("--host=unix://{}", socket.display()))
            .arg("--storage-driver=overlay2")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log of dockerd")?)
            .stderr(log)
            .spawn()
            .context("start dockerd")?;
        let dockerd = Dockerd { child, socket };
        dockerd.wait_until_it_answers(&home.join("log"))?;
        Ok(dockerd)
    }

    fn wait_until_it_answers(&self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if shell::read(&mut self.docker(&["version"])).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        Err(Failure::new(format!("dockerd does not answer:\n{said}")))
    }

    /// The client of this daemon.
    pub(super) fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new(DOCKER);
        command.arg("--host").arg(format!("unix://{}", self.socket.display())).args(args);
        command.env("DOCKER_BUILDKIT", "1");
        command
    }

    pub(super) fn version(&self) -> Result<String> {
        let mut command = self.docker(&["version", "--format", "{{.Server.Version}}"]);
        Ok(shell::read(&mut command)?.trim().to_owned())
    }

    pub(super) fn import(&self, root: &Path, base: images::Base, name: &str) -> Result<()> {
        let tar = images::ensure(root, base)?.to_string_lossy().into_owned();
        let mut args = vec!["import"];
        for change in base.changes() {
            args.extend(["--change", *change]);
        }
        args.extend([tar.as_str(), name]);
        shell::read(&mut self.docker(&args)).map(drop)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").arg(&pid).status().is_ok_and(|status| status.success());
        if !asked {
            eprintln!("cannot ask dockerd ({pid}) to stop");
        }
        let _ = self.child.wait();
        if let Some(run) = self.socket.parent() {
            let _ = fs::remove_dir_all(run);
        }
    }
}

/// podman or buildah with a root of its own and limits that this kind of machine allows.
pub(super) struct Containers {
    program: &'static str,
    home: PathBuf,
}

impl Containers {
    pub(super) fn new(program: &'static str, disk: &Path) -> Result<Self> {
        let home = super::fresh(disk, program)?;
        let config = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=20000:20000\"]\n\
                      [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
                      runtime = \"runc\"\n";
        fs::write(home.join("containers.conf"), config).context("write containers.conf")?;
        let policy = "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}\n";
        fs::write(home.join("policy.json"), policy).context("write policy.json")?;
        Ok(Containers { program, home })
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command
            .arg("--root")
            .arg(self.home.join("lib"))
            .arg("--runroot")
            .arg(self.home.join("run"))
            .args(["--storage-driver", "overlay"])
            .args(args)
            .env("CONTAINERS_CONF", self.home.join("containers.conf"));
        command
    }

    /// The words that make a build or a pull accept unsigned local images.
    pub(super) fn policy(&self) -> String {
        format!("--signature-policy={}", self.home.join("policy.json").display())
    }

    pub(super) fn version(&self) -> Result<String> {
        let said = shell::read(Command::new(self.program).arg("--version"))?;
        Ok(said.split_whitespace().nth(2).unwrap_or("?").to_owned())
    }
}

/// A runtime bundle of the busybox image whose process is `true`, with the default capabilities of a container.
pub(super) fn bundle(root: &Path, disk: &Path) -> Result<PathBuf> {
    let bundle = super::fresh(disk, "bundle")?;
    let rootfs = bundle.join("rootfs");
    fs::create_dir_all(&rootfs).context("make the root of the bundle")?;
    let tar = images::ensure(root, images::Base::Busybox)?.to_string_lossy().into_owned();
    let into = rootfs.to_string_lossy().into_owned();
    shell::read(&mut shell::command(root, "tar", &["-C", into.as_str(), "-xf", tar.as_str()]))?;
    shell::read(&mut shell::command(&bundle, "runc", &["spec"]))?;
    let path = bundle.join("config.json");
    let text = fs::read_to_string(&path).context("read the bundle's config.json")?;
    let mut config: serde_json::Value = serde_json::from_str(&text).context("parse config.json")?;
    config["process"]["args"] = serde_json::json!(["true"]);
    config["process"]["terminal"] = serde_json::json!(false);
    fs::write(&path, config.to_string()).context("write the bundle's config.json")?;
    Ok(bundle)
}
