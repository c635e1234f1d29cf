//! What a test needs of the machine, and the counted skip when it is not there.

use std::fs::OpenOptions;
use std::io::Write;

/// Something that a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To mount, to make namespaces, to own files of other users.
    Root,
    /// skopeo, as a peer.
    Skopeo,
    /// Debian's docker-registry, as a peer.
    DockerRegistry,
    /// buildah, as a peer.
    Buildah,
    /// podman, as a peer.
    Podman,
    /// dockerd and Debian's client, as peers; root to run them.
    Dockerd,
    /// mmdebstrap, for the debian:bookworm base image.
    Mmdebstrap,
    /// The network of Debian's mirrors, for RUN steps that install packages.
    Mirror,
    /// git, whose repositories are built from.
    Git,
    /// script(1), for tests on a terminal.
    Script,
    /// The kernel runs arm64 binaries through binfmt_misc.
    EmulationArm64,
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Need::Root => xtask::shell::is_root(),
            Need::Skopeo => xtask::shell::has_program("skopeo"),
            Need::DockerRegistry => xtask::shell::has_program("docker-registry"),
            Need::Buildah => xtask::shell::has_program("buildah"),
            Need::Podman => xtask::shell::has_program("podman"),
            Need::Dockerd => {
                xtask::shell::is_root()
                    && xtask::shell::has_program("dockerd")
                    && std::path::Path::new("/usr/bin/docker").exists()
            }
            Need::Mmdebstrap => xtask::shell::has_program("mmdebstrap"),
            Need::Git => xtask::shell::has_program("git"),
            Need::Script => xtask::shell::has_program("script"),
            Need::Mirror => {
                use std::net::ToSocketAddrs;
                ("deb.debian.org", 80)
                    .to_socket_addrs()
                    .is_ok_and(|mut found| found.next().is_some())
            }
            Need::EmulationArm64 => {
                std::fs::read_to_string("/proc/sys/fs/binfmt_misc/qemu-aarch64")
                    .is_ok_and(|text| text.starts_with("enabled"))
                    || std::env::consts::ARCH == "aarch64"
            }
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Need::Root => "needs root",
            Need::Skopeo => "needs skopeo",
            Need::DockerRegistry => "needs docker-registry",
            Need::Buildah => "needs buildah",
            Need::Podman => "needs podman",
            Need::Dockerd => "needs root, dockerd and /usr/bin/docker",
            Need::Mmdebstrap => "needs mmdebstrap",
            Need::Mirror => "needs Debian's mirror",
            Need::Git => "needs git",
            Need::Script => "needs script(1)",
            Need::EmulationArm64 => "needs binfmt_misc for arm64",
        }
    }
}

/// Whether all needs are met. If not, the skip of the running test is recorded: `if !have(&[Need::Root]) { return; }`.
#[must_use]
pub fn have(needs: &[Need]) -> bool {
    let Some(missing) = needs.iter().find(|need| !need.is_met()) else { return true };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {test} {}", missing.reason());
    if let Some(log) = std::env::var_os(xtask::suite::SKIP_LOG) {
        let line = format!("{test}\t{}\n", missing.reason());
        let mut log =
            OpenOptions::new().append(true).create(true).open(log).expect("open the list of skips");
        log.write_all(line.as_bytes()).expect("record the skip");
    }
    false
}
