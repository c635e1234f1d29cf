//! What the tests need from Debian, each with its reason, and how it gets onto a fresh machine.

use std::path::Path;
use std::process::Stdio;

use crate::shell::{self, Failure, Result};

/// A Debian package that some test or errand uses.
pub struct Package {
    /// The name of the package in Debian 12.
    pub name: &'static str,
    /// A program or an absolute path that it brings: its presence stands for the package.
    pub program: &'static str,
    /// What it is used for.
    pub reason: &'static str,
}

impl Package {
    fn is_there(&self) -> bool {
        shell::has_program(self.program)
    }
}

/// What `cargo xtask quickstart` and everything else installs.
pub const NEEDED: &[Package] = &[
    Package {
        name: "mmdebstrap",
        program: "mmdebstrap",
        reason: "makes the debian:bookworm base image without a hub",
    },
    Package {
        name: "debian-archive-keyring",
        program: "/usr/share/keyrings/debian-archive-keyring.gpg",
        reason: "the keys that the packages of the base images are checked with",
    },
    Package {
        name: "curl",
        program: "curl",
        reason: "README fetches the application's page with it",
    },
];

/// What `cargo xtask test` installs in addition. A test that does not find its peer is skipped and counted.
pub const TESTS: &[Package] = &[
    Package {
        name: "busybox-static",
        program: "/var/lib/dpkg/info/busybox-static.list",
        reason: "the root file system of the runtime's tests",
    },
    Package {
        name: "nftables",
        program: "nft",
        reason: "reads the packet filter that our network room wrote without it",
    },
    Package {
        name: "iproute2",
        program: "ip",
        reason: "looks at interfaces and routes, makes the other machine on the wire",
    },
    Package {
        name: "bind9-dnsutils",
        program: "dig",
        reason: "asks the embedded DNS server as any resolver would",
    },
    Package {
        name: "git",
        program: "git",
        reason: "serves the repositories that builds take their contexts and files from",
    },
    Package {
        name: "procps",
        program: "ps",
        reason: "`wherry top` shows the processes as ps(1) does, as `docker top`",
    },
    Package {
        name: "strace",
        program: "strace",
        reason: "makes the n-th call of the kernel fail, to see what a start leaves behind",
    },
    Package {
        name: "skopeo",
        program: "skopeo",
        reason: "peer: copies to and from our registry, reads our store as an OCI layout",
    },
    Package {
        name: "docker-registry",
        program: "docker-registry",
        reason: "peer: our client pushes to it and pulls from it",
    },
    Package {
        name: "buildah",
        program: "buildah",
        reason: "peer: builds the same Dockerfiles for comparison, pulls what we pushed",
    },
    Package {
        name: "docker.io",
        program: "dockerd",
        reason: "peer: runs its containers on our OCI runtime",
    },
    Package {
        name: "podman",
        program: "podman",
        reason: "peer: runs its containers on our OCI runtime",
    },
];

/// What `cargo xtask bench` installs in addition, because it compares with them.
pub const BENCH: &[Package] = &[
    Package { name: "crun", program: "crun", reason: "peer: the floor of container start" },
    Package {
        name: "time",
        program: "/usr/bin/time",
        reason: "the largest resident set of a command",
    },
    Package { name: "umoci", program: "umoci", reason: "peer: unpacks what skopeo pulled" },
    Package { name: "runc", program: "runc", reason: "peer: the runtime below docker" },
    Package {
        name: "e2fsprogs",
        program: "mkfs.ext4",
        reason: "makes the file system that every tool is measured on",
    },
];

const GROUPS: [(&str, &[Package]); 3] = [("all", NEEDED), ("tests", TESTS), ("bench", BENCH)];

/// The package list as text: name and reason, one a line.
pub fn describe() -> String {
    let mut text = String::new();
    for (heading, packages) in GROUPS {
        for package in packages {
            text.push_str(&format!("{heading:<6} {:<24} {}\n", package.name, package.reason));
        }
    }
    text
}

/// Installs what is missing of these groups. Without root it says what to install and goes on: the tests that need it
/// are skipped and counted.
pub fn ensure(root: &Path, groups: &[&[Package]]) -> Result<()> {
    let packages = groups.iter().copied().flatten();
    let missing: Vec<&str> = packages.filter(|p| !p.is_there()).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::has_program("apt-get") || !shell::is_root() {
        eprintln!("not installed (needs root and apt-get): apt-get install {}", missing.join(" "));
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    quiet(root, &["update"])?;
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(&missing);
    quiet(root, &args)
}

/// Runs apt-get; its output is shown only when it fails. No service is started by an installation.
fn quiet(root: &Path, args: &[&str]) -> Result<()> {
    let mut command = shell::command(root, "apt-get", args);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    // Without these a peer's installation starts it as a service of the machine, on a port that somebody wants.
    command.env("RUNLEVEL", "1").env("SYSTEMD_OFFLINE", "1");
    let output = shell::output(&mut command)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "apt-get {}: {}\n{}{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_says_why_it_is_needed() {
        let mut names: Vec<&str> = Vec::new();
        for package in GROUPS.iter().flat_map(|(_, packages)| *packages) {
            assert!(package.reason.len() > 10, "{} has no reason", package.name);
            assert!(!names.contains(&package.name), "{} stands twice", package.name);
            names.push(package.name);
        }
        assert!(describe().contains("skopeo"));
    }
}
