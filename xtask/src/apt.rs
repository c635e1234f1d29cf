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

/// What `cargo xtask test` and `cargo xtask quickstart` install.
pub const PACKAGES: &[Package] = &[
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
];

/// What `cargo xtask bench` installs in addition, because it compares with them.
pub const PEERS: &[Package] = &[
    Package { name: "docker.io", program: "dockerd", reason: "peer: BuildKit and docker run" },
    Package { name: "podman", program: "podman", reason: "peer: podman run" },
    Package { name: "crun", program: "crun", reason: "peer: the floor of container start" },
    Package {
        name: "time",
        program: "/usr/bin/time",
        reason: "the largest resident set of a command",
    },
    Package { name: "umoci", program: "umoci", reason: "peer: unpacks what skopeo pulled" },
    Package { name: "runc", program: "runc", reason: "peer: the runtime below docker" },
];

/// The package list as text: name and reason, one a line.
pub fn describe() -> String {
    let mut text = String::new();
    for (heading, packages) in [("tests", PACKAGES), ("bench", PEERS)] {
        for package in packages {
            text.push_str(&format!("{heading:<6} {:<16} {}\n", package.name, package.reason));
        }
    }
    text
}

/// Installs what is missing of `packages`. Without root it says what to install and goes on: the tests that need it
/// are skipped and counted.
pub fn ensure(root: &Path, packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().filter(|p| !p.is_there()).map(|p| p.name).collect();
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
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").stdin(Stdio::null());
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
        for package in PACKAGES.iter().chain(PEERS) {
            assert!(package.reason.len() > 10, "{} has no reason", package.name);
        }
        assert!(describe().contains("skopeo"));
    }
}
