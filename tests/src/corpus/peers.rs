//! Builders of other people, asked for what they make of a case.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask::images::Base;

use super::image::{self, Image};
use super::{Case, Laid};
use crate::run::Run;
use crate::site::{base_tar, finish};

/// What kind of builder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// BuildKit, through a docker client.
    BuildKit,
    /// buildah.
    Buildah,
}

impl Family {
    /// The family of a peer by its name.
    pub fn of(name: &str) -> Self {
        if name.starts_with("BuildKit") { Family::BuildKit } else { Family::Buildah }
    }
}

/// A builder with storage of its own.
#[derive(Debug)]
pub struct Peer {
    /// Its name with its version.
    pub name: String,
    /// Its kind.
    pub family: Family,
    program: PathBuf,
    home: PathBuf,
}

impl Peer {
    /// Asks the program for its version, and gives it the base image.
    pub fn start(family: Family, program: &Path, home: &Path) -> Result<Self, String> {
        fs::create_dir_all(home).expect("make the peer's folder");
        let mut peer = Peer {
            name: String::new(),
            family,
            program: program.to_owned(),
            home: home.to_owned(),
        };
        peer.name = match family {
            Family::BuildKit => {
                let format = "{{.Server.Version}}";
                let said = succeeded(peer.run(&["version", "--format", format]))?;
                format!("BuildKit in dockerd {}", said.out())
            }
            Family::Buildah => {
                let said = succeeded(peer.run(&["--version"]))?;
                format!("buildah {}", said.out().split(' ').nth(2).unwrap_or("?"))
            }
        };
        peer.take_base()?;
        Ok(peer)
    }

    fn take_base(&self) -> Result<(), String> {
        // A copy: a peer may see no more of the machine than its folder.
        let context = self.home.join("base");
        fs::create_dir_all(&context).expect("make a folder");
        let tar = context.join("busybox.tar");
        fs::copy(base_tar(Base::Busybox), &tar).expect("copy the base image");
        let change = Base::Busybox.changes()[0];
        if self.family == Family::BuildKit {
            let tar = tar.display().to_string();
            return succeeded(self.run(&["import", "--change", change, &tar, "busybox"])).map(drop);
        }
        let dockerfile = context.join("Dockerfile");
        let text = format!("FROM scratch\nADD busybox.tar /\n{change}\n");
        fs::write(&dockerfile, text).expect("write a Dockerfile");
        let laid = Laid { parent: None, dockerfile, context, args: Vec::new() };
        self.build_one(&laid.dockerfile, "docker.io/library/busybox:latest", &laid)
    }

    /// Builds a case.
    pub fn build(&self, case: &Case, laid: &Laid) -> Result<(), String> {
        if let Some((dockerfile, name)) = &laid.parent {
            self.build_one(dockerfile, name, laid)?;
        }
        self.build_one(&laid.dockerfile, &case.tag(), laid)
    }

    fn build_one(&self, dockerfile: &Path, tag: &str, laid: &Laid) -> Result<(), String> {
        let (dockerfile, context) =
            (dockerfile.display().to_string(), laid.context.display().to_string());
        let mut args = match self.family {
            Family::BuildKit => vec!["build", "--quiet", "--network=none"],
            Family::Buildah => {
                vec!["bud", "--quiet", "--isolation=chroot", "--format=docker", "--layers=false"]
            }
        };
        args.extend(["-t", tag, "-f", &dockerfile]);
        args.extend(laid.args.iter().map(String::as_str));
        args.push(&context);
        succeeded(self.run(&args)).map(drop)
    }

    /// The image of a case that was built. There are some that a peer cannot write to an archive.
    pub fn image(&self, case: &Case) -> Result<Image, String> {
        let folder = tempfile::tempdir_in(&self.home).expect("make a folder");
        let archive = folder.path().join("image.tar");
        let path = archive.display().to_string();
        let tag = case.tag();
        succeeded(match self.family {
            Family::BuildKit => self.run(&["save", "-o", &path, &tag]),
            Family::Buildah => {
                let target = format!("docker-archive:{path}");
                self.run(&["push", "--quiet", "--disable-compression", &tag, &target])
            }
        })?;
        let unpacked = folder.path().join("unpacked");
        fs::create_dir(&unpacked).expect("make a folder");
        let mut tar = tar::Archive::new(fs::File::open(&archive).expect("open the archive"));
        tar.unpack(&unpacked).expect("unpack the archive");
        let mut image = image::of_saved(&unpacked);
        // buildah signs its images with its version.
        if let Some(labels) = image.config["config"]["Labels"].as_object_mut() {
            labels.remove("io.buildah.version");
        }
        Ok(image)
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command = Command::new(&self.program);
        match self.family {
            Family::BuildKit => command.env("DOCKER_BUILDKIT", "1"),
            Family::Buildah => {
                let policy = self.home.join("policy.json");
                if !policy.exists() {
                    let text = "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}";
                    fs::write(&policy, text).expect("write a policy");
                }
                command.arg("--root").arg(self.home.join("lib"));
                command.arg("--runroot").arg(self.home.join("run"));
                command.args(["--storage-driver", "overlay"])
            }
        };
        command.arg(args[0]);
        if self.family == Family::Buildah && matches!(args[0], "bud" | "push") {
            command.arg("--signature-policy").arg(self.home.join("policy.json"));
        }
        command.args(&args[1..]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = format!("{} {}", self.program.display(), args.join(" "));
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        finish(child, line)
    }
}

fn succeeded(run: Run) -> Result<Run, String> {
    if run.code == Some(0) { Ok(run) } else { Err(run.to_string()) }
}
