//! Area `build`: twelve instructions in two stages over a context of 200 files and 50 MB.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::peers::{Containers, Dockerd};
use super::{Tool, report, take_turns, wherry_command, wherry_import};
use crate::images::Base;
use crate::shell::{self, Context, Result};

const DOCKERFILE: &str = "\
FROM debian:bookworm AS build
WORKDIR /src
COPY src/ ./src/
RUN cat src/text-*.txt | sort -u | head -n 2000 > words.txt
RUN sha256sum src/* > sums.txt
FROM debian:bookworm
ENV APP_HOME=/app
WORKDIR /app
COPY conf/ ./conf/
COPY --from=build /src/words.txt /src/sums.txt ./data/
RUN chmod -R go-w conf data && ls -l data > listing.txt
CMD [\"cat\", \"listing.txt\"]
";

const TEXT_FILES: usize = 150;
const RANDOM_FILES: usize = 45;
const CONF_FILES: usize = 5;

/// What changed since the last build.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Noop,
    Cold,
    Late,
    Early,
}

impl Scenario {
    const ALL: [(Scenario, &'static str); 4] = [
        (Scenario::Noop, "nothing changed"),
        (Scenario::Cold, "cold: no cache"),
        (Scenario::Late, "one file of the last COPY from the context changed"),
        (Scenario::Early, "one file of the first COPY changed"),
    ];
}

pub(super) fn measure(root: &Path, wherry: &Path, disk: &Path, rounds: usize) -> Result<String> {
    let context = super::fresh(disk, "context")?;
    write_context(&context)?;
    let ours = super::fresh(disk, "wherry")?;
    wherry_import(root, wherry, &ours, Base::Debian, "debian:bookworm")?;
    let dockerd = Dockerd::start(disk)?;
    dockerd.import(root, Base::Debian, "debian:bookworm")?;
    let buildah = Containers::new("buildah", disk)?;
    buildah_base(root, &buildah)?;
    let bench = Bench {
        root,
        wherry,
        disk,
        context: &context,
        dockerd: &dockerd,
        buildah: &buildah,
        changes: Cell::new(0),
    };

    let mut text = format!(
        "`cargo xtask bench build {rounds}`: 12 instructions, 2 stages, {} files and 50 MB of context, debian:bookworm from\n\
         the local store, RUN on the host network, {rounds} rounds.\n{}.\n",
        TEXT_FILES + RANDOM_FILES + CONF_FILES,
        report::machine()
    );
    for (scenario, title) in Scenario::ALL {
        println!("== {title}");
        for tool in bench.tools(Scenario::Noop)? {
            super::once(&tool)?;
        }
        let measured = take_turns(&bench.tools(scenario)?, rounds);
        text.push_str(&format!("\n### {title}\n\n{}", report::table(&measured)));
    }
    Ok(text)
}

/// Everything that a scenario needs.
struct Bench<'a> {
    root: &'a Path,
    wherry: &'a Path,
    disk: &'a Path,
    context: &'a Path,
    dockerd: &'a Dockerd,
    buildah: &'a Containers,
    changes: Cell<u32>,
}

impl Bench<'_> {
    fn tools(&self, scenario: Scenario) -> Result<Vec<Tool<'_>>> {
        let context = self.context.to_string_lossy().into_owned();
        let (for_docker, for_buildah) = (context.clone(), context.clone());
        Ok(vec![
            Tool {
                name: "wherry build".to_owned(),
                prepare: Box::new(move || self.prepare_wherry(scenario)),
                command: Box::new(move || {
                    wherry_command(
                        self.wherry,
                        &self.disk.join("wherry"),
                        &["build", "-t", "bench", &context],
                    )
                }),
            },
            Tool {
                name: format!("BuildKit in dockerd {}", self.dockerd.version()?),
                prepare: Box::new(move || self.prepare_docker(scenario)),
                command: Box::new(move || {
                    self.dockerd.docker(&["build", "--network", "host", "-t", "bench", &for_docker])
                }),
            },
            Tool {
                name: format!("buildah {} build --layers", self.buildah.version()?),
                prepare: Box::new(move || self.prepare_buildah(scenario)),
                command: Box::new(move || self.buildah_build(&for_buildah)),
            },
        ])
    }

    fn buildah_build(&self, context: &str) -> Command {
        let policy = self.buildah.policy();
        self.buildah.command(&[
            "build",
            "--runtime",
            "runc",
            "--layers",
            "--pull-never",
            "--network",
            "host",
            "--ulimit",
            "nproc=20000:20000",
            &policy,
            "-t",
            "bench",
            context,
        ])
    }

    fn prepare_wherry(&self, scenario: Scenario) -> Result<()> {
        if scenario == Scenario::Cold {
            let home = super::fresh(self.disk, "wherry")?;
            wherry_import(self.root, self.wherry, &home, Base::Debian, "debian:bookworm")?;
        }
        self.change(scenario)
    }

    fn prepare_docker(&self, scenario: Scenario) -> Result<()> {
        if scenario == Scenario::Cold {
            shell::read(&mut self.dockerd.docker(&["builder", "prune", "-af"]))?;
            shell::output(&mut self.dockerd.docker(&["rmi", "-f", "bench"]))?;
            shell::read(&mut self.dockerd.docker(&["image", "prune", "-f"]))?;
        }
        self.change(scenario)
    }

    fn prepare_buildah(&self, scenario: Scenario) -> Result<()> {
        if scenario == Scenario::Cold {
            shell::read(&mut self.buildah.command(&["rmi", "-a", "-f"]))?;
            buildah_base(self.root, self.buildah)?;
        }
        self.change(scenario)
    }

    /// A change that no tool has seen before, for each tool anew.
    fn change(&self, scenario: Scenario) -> Result<()> {
        let file = match scenario {
            Scenario::Noop | Scenario::Cold => return Ok(()),
            Scenario::Late => "conf/conf-0.ini",
            Scenario::Early => "src/text-0.txt",
        };
        self.changes.set(self.changes.get() + 1);
        let path = self.context.join(file);
        let text = format!("changed {} times\n", self.changes.get());
        fs::write(&path, text).context(format_args!("change {}", path.display()))
    }
}

fn buildah_base(root: &Path, buildah: &Containers) -> Result<()> {
    let tar = crate::images::ensure(root, Base::Debian)?.to_string_lossy().into_owned();
    let name = shell::read(&mut buildah.command(&["from", "scratch"]))?.trim().to_owned();
    shell::read(&mut buildah.command(&["add", &name, &tar, "/"]))?;
    shell::read(&mut buildah.command(&[
        "commit",
        "--rm",
        &name,
        "docker.io/library/debian:bookworm",
    ]))?;
    Ok(())
}

/// Text that compresses like text, bytes that do not compress, and a few small files; the same in every run.
fn write_context(at: &Path) -> Result<()> {
    for folder in ["src", "conf"] {
        fs::create_dir_all(at.join(folder)).context("make the context")?;
    }
    let mut numbers = Numbers(0x5eed);
    for n in 0..TEXT_FILES {
        let text: String = (0..20_000).map(|_| numbers.word()).collect();
        write(at, &format!("src/text-{n}.txt"), text.as_bytes())?;
    }
    for n in 0..RANDOM_FILES {
        let bytes: Vec<u8> = (0..90_000).flat_map(|_| numbers.next().to_le_bytes()).collect();
        write(at, &format!("src/random-{n}.bin"), &bytes)?;
    }
    for n in 0..CONF_FILES {
        write(
            at,
            &format!("conf/conf-{n}.ini"),
            format!("[part-{n}]\nkey = {}\n", numbers.next()).as_bytes(),
        )?;
    }
    write(at, "Dockerfile", DOCKERFILE.as_bytes())
}

fn write(at: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    fs::write(at.join(name), bytes).context(format_args!("write {name}"))
}

/// A splitmix sequence: the context needs no better randomness, but the same one every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn word(&mut self) -> String {
        let n = self.next();
        let end = if n.is_multiple_of(9) { '\n' } else { ' ' };
        let letters = (0..3 + n % 8).map(|i| char::from(b'a' + ((n >> (i * 5 + 4)) % 19) as u8));
        letters.chain(std::iter::once(end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_what_the_report_says() {
        let dir = tempfile::tempdir().expect("temporary folder");
        write_context(dir.path()).expect("written");
        let mut files = 0;
        let mut bytes = 0;
        for folder in ["src", "conf"] {
            for entry in fs::read_dir(dir.path().join(folder)).expect("folder") {
                files += 1;
                bytes += entry.expect("entry").metadata().expect("metadata").len();
            }
        }
        assert_eq!(files, 200);
        assert!((48_000_000..58_000_000).contains(&bytes), "{bytes}");
        let instructions =
            DOCKERFILE.lines().filter(|line| line.starts_with(char::is_uppercase)).count();
        assert_eq!(instructions, 12);
    }
}
