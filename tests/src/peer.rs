//! Other people's tools, as a person would call them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::Run;
use crate::site::finish;
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

fn start(mut command: Command, line: &str) -> Run {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    finish(child, format!("{program} {line}"))
}
