//! A network namespace that stands for a host, so that tests of networks neither see nor disturb each other.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::run::Run;

/// A host of its own, with a loopback device that is up and nothing else. It is gone with the value, and with it whatever
/// was left in it.
pub struct Host {
    name: String,
}

impl Host {
    /// Makes one.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let host = Self { name: format!("wtest-{}-{count}", std::process::id()) };
        ip(&["netns", "add", &host.name]);
        host.shell("ip link set lo up").ok();
        host
    }

    /// The namespace as a file.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// The name that `ip netns` knows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program on this host, not started.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a script of `sh` on this host.
    pub fn shell(&self, script: &str) -> Run {
        let output = self.command("sh").args(["-euc", script]).output().expect("start sh");
        Run::new(script.to_owned(), &output)
    }

    /// Connects this host with another by a cable; both ends have the name and the addresses that are given.
    pub fn cable(&self, device: &str, address: &str, other: &Self, other_address: &str) {
        let (one, two) = (format!("{device}-a"), format!("{device}-b"));
        ip(&["-n", &self.name, "link", "add", &one, "type", "veth", "peer", "name", &two]);
        ip(&["-n", &self.name, "link", "set", &two, "netns", &other.name]);
        for (host, end, address) in [(self, &one, address), (other, &two, other_address)] {
            ip(&["-n", &host.name, "link", "set", end, "name", device]);
            ip(&["-n", &host.name, "address", "add", address, "dev", device]);
            ip(&["-n", &host.name, "link", "set", device, "up"]);
        }
    }

    /// Names of the devices on this host, sorted.
    pub fn devices(&self) -> Vec<String> {
        let run = self.shell("ip -o link show").ok();
        let name = |line: &str| {
            let name = line.split(": ").nth(1)?.split('@').next()?;
            Some(name.to_owned())
        };
        let mut names: Vec<String> = run.stdout.lines().filter_map(name).collect();
        names.sort();
        names
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["netns", "delete", &self.name]).status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("the network namespace {} is left", self.name);
        }
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("start ip");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
