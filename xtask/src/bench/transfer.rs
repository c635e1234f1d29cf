//! Area `transfer`: pull with unpacking, and import with push, of an image of many small files.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::peers::{Containers, Dockerd};
use super::{Tool, fresh, report, take_turns, wherry_command, wherry_import};
use crate::images::Base;
use crate::shell::{self, Context, Failure, Result};

const LAYERS: usize = 5;
const FILES_PER_LAYER: usize = 5_000;
const NAME: &str = "bench/many-files:1";

pub(super) fn measure(root: &Path, wherry: &Path, disk: &Path, rounds: usize) -> Result<String> {
    let registry = Registry::start(disk)?;
    let remote = format!("{}/{NAME}", registry.address);
    let maker = fresh(disk, "maker")?;
    publish(root, wherry, disk, &maker, &remote)?;
    let tar = disk.join("flat.tar");
    flatten(wherry, &maker, &remote, &tar)?;
    let dockerd = Dockerd::start(disk)?;
    let podman = Containers::new("podman", disk)?;
    let bench =
        Bench { wherry, disk, dockerd: &dockerd, podman: &podman, remote: &remote, tar: &tar };

    let mut text = format!(
        "`cargo xtask bench transfer {rounds}`: debian:bookworm and {LAYERS} layers of {FILES_PER_LAYER} small files, gzip, {} MB\n\
         uncompressed; docker-registry on loopback; every pull starts from nothing; {rounds} rounds.\n{}.\n",
        fs::metadata(&tar).map_or(0, |meta| meta.len() / 1_000_000),
        report::machine()
    );
    println!("== pull and unpack");
    let measured = take_turns(&bench.pulls()?, rounds);
    let _ = write!(text, "\n### pull and unpack\n\n{}", report::table(&measured));
    println!("== import, compress and push");
    let measured = take_turns(&bench.pushes()?, rounds);
    let _ = write!(
        text,
        "\n### import of the flat tar, compress and push\n\n{}",
        report::table(&measured)
    );
    let _ = write!(text, "\n### memory\n\n{}", bench.memory()?);
    Ok(text)
}

struct Bench<'a> {
    wherry: &'a Path,
    disk: &'a Path,
    dockerd: &'a Dockerd,
    podman: &'a Containers,
    remote: &'a str,
    tar: &'a Path,
}

impl Bench<'_> {
    fn pulls(&self) -> Result<Vec<Tool<'_>>> {
        Ok(vec![
            Tool {
                name: "wherry pull".to_owned(),
                prepare: Box::new(|| fresh(self.disk, "pull").map(drop)),
                command: Box::new(|| {
                    wherry_command(
                        self.wherry,
                        &self.disk.join("pull"),
                        &["pull", "-q", self.remote],
                    )
                }),
            },
            Tool {
                name: "skopeo copy and umoci unpack".to_owned(),
                prepare: Box::new(|| fresh(self.disk, "umoci").map(drop)),
                command: Box::new(|| self.umoci()),
            },
            Tool {
                name: format!("podman {} pull", self.podman.version()?),
                prepare: Box::new(|| forget(&mut self.podman.command(&["rmi", "-f", self.remote]))),
                command: Box::new(|| {
                    let policy = self.podman.policy();
                    self.podman.command(&["pull", "-q", "--tls-verify=false", &policy, self.remote])
                }),
            },
            Tool {
                name: format!("docker {} pull", self.dockerd.version()?),
                prepare: Box::new(|| forget(&mut self.dockerd.docker(&["rmi", "-f", self.remote]))),
                command: Box::new(|| self.dockerd.docker(&["pull", "-q", self.remote])),
            },
        ])
    }

    fn umoci(&self) -> Command {
        let mut command = Command::new("sh");
        let script = "skopeo copy -q --insecure-policy --src-tls-verify=false \"docker://$1\" \"oci:$0/layout:x\" \
                      && umoci unpack --image \"$0/layout:x\" \"$0/bundle\"";
        command.args(["-c", script]).arg(self.disk.join("umoci")).arg(self.remote);
        command
    }

    fn pushes(&self) -> Result<Vec<Tool<'_>>> {
        let tar = self.tar.to_string_lossy().into_owned();
        let target = self.remote.replace("many-files", "imported");
        let both = |first: Command, second: Command| {
            let script = format!("{} && {}", shell::describe(&first), shell::describe(&second));
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            for (name, value) in first.get_envs().filter_map(|(name, value)| Some((name, value?))) {
                command.env(name, value);
            }
            command
        };
        let (tar2, target2, tar3, target3) = (
            tar.clone(),
            target.replace("imported", "imported-docker"),
            tar.clone(),
            target.replace("imported", "imported-podman"),
        );
        Ok(vec![
            Tool {
                name: "wherry import and push".to_owned(),
                prepare: Box::new(|| fresh(self.disk, "push").map(drop)),
                command: Box::new(move || {
                    let at = self.disk.join("push");
                    both(
                        wherry_command(self.wherry, &at, &["import", "-q", &tar, &target]),
                        wherry_command(self.wherry, &at, &["push", "-q", &target]),
                    )
                }),
            },
            Tool {
                name: format!("docker {} import and push", self.dockerd.version()?),
                prepare: Box::new(|| Ok(())),
                command: Box::new(move || {
                    both(
                        self.dockerd.docker(&["import", &tar2, &target2]),
                        self.dockerd.docker(&["push", "-q", &target2]),
                    )
                }),
            },
            Tool {
                name: format!("podman {} import and push", self.podman.version()?),
                prepare: Box::new(|| Ok(())),
                command: Box::new(move || {
                    both(
                        self.podman.command(&["import", "-q", &tar3, &target3]),
                        self.podman.command(&[
                            "push",
                            "-q",
                            "--tls-verify=false",
                            &self.podman.policy(),
                            &target3,
                        ]),
                    )
                }),
            },
        ])
    }

    /// The largest resident set of a pull and of a push, as GNU time sees it.
    fn memory(&self) -> Result<String> {
        let mut table = String::from("| command | largest resident set, MiB |\n|---|---|\n");
        fresh(self.disk, "pull")?;
        let pull =
            wherry_command(self.wherry, &self.disk.join("pull"), &["pull", "-q", self.remote]);
        let target = self.remote.replace("many-files", "again");
        let tag = ["tag", self.remote, &target];
        let kib = resident(&pull)?;
        let _ = writeln!(table, "| wherry pull | {} |", kib / 1024);
        shell::read(&mut wherry_command(self.wherry, &self.disk.join("pull"), &tag))?;
        let push = wherry_command(self.wherry, &self.disk.join("pull"), &["push", "-q", &target]);
        let _ = writeln!(table, "| wherry push | {} |", resident(&push)? / 1024);
        Ok(table)
    }
}

fn resident(command: &Command) -> Result<u64> {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        timed.env(name, value);
    }
    let output = shell::output(&mut timed)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.trim_end().lines().next_back().unwrap_or("").to_owned();
    last.parse().map_err(|_| Failure::new(format!("time said {last:?}")))
}

/// Removes an image that may not be there.
fn forget(command: &mut Command) -> Result<()> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().context("start the removal").map(drop)
}

/// Builds the image and pushes it.
fn publish(root: &Path, wherry: &Path, disk: &Path, maker: &Path, remote: &str) -> Result<()> {
    wherry_import(root, wherry, maker, Base::Debian, "debian:bookworm")?;
    let context = fresh(disk, "many")?;
    let mut dockerfile = String::from("FROM debian:bookworm\n");
    for layer in 0..LAYERS {
        write_files(&context.join(format!("layer{layer}")), layer)?;
        let _ = writeln!(dockerfile, "COPY layer{layer}/ /srv/layer{layer}/");
    }
    fs::write(context.join("Dockerfile"), dockerfile).context("write the Dockerfile")?;
    let context = context.to_string_lossy().into_owned();
    shell::read(&mut wherry_command(wherry, maker, &["build", "-q", "-t", remote, &context]))?;
    shell::read(&mut wherry_command(wherry, maker, &["push", "-q", remote])).map(drop)
}

/// Files of 2 to 26 kB of words, which compress as source text does.
fn write_files(folder: &Path, layer: usize) -> Result<()> {
    const WORDS: [&str; 16] = [
        "harbour", "layer", "return", "static", "const", "struct", "registry", "digest", "0x1f",
        "();\n", "let", "match", "manifest", "// see", "{", "}\n",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ layer as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for file in 0..FILES_PER_LAYER {
        let dir = folder.join(format!("d{}", file % 50));
        fs::create_dir_all(&dir).context("make a folder of the image")?;
        let words = 300 + next() as usize % 3_700;
        let mut text = String::with_capacity(words * 7);
        for _ in 0..words {
            text.push_str(WORDS[next() as usize % WORDS.len()]);
            let _ = write!(text, " {:x} ", next() % 4096);
        }
        fs::write(dir.join(format!("f{file}.txt")), text).context("write a file of the image")?;
    }
    Ok(())
}

/// The image's files as one tar: what `import` gets.
fn flatten(wherry: &Path, maker: &Path, remote: &str, tar: &Path) -> Result<()> {
    let create = ["create", "--name", "flat", "--network", "none", remote, "true"];
    shell::read(&mut wherry_command(wherry, maker, &create))?;
    let out = tar.to_string_lossy().into_owned();
    shell::read(&mut wherry_command(wherry, maker, &["export", "-o", &out, "flat"])).map(drop)
}

/// Debian's registry on a port of its own.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(disk: &Path) -> Result<Self> {
        let home: PathBuf = fresh(disk, "registry")?;
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        let address = listener.local_addr().context("find a free port")?.to_string();
        drop(listener);
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            home.join("data").display()
        );
        let path = home.join("config.yml");
        fs::write(&path, config).context("write the registry's configuration")?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry")?;
        let registry = Registry { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.address).is_err() {
            if Instant::now() > deadline {
                return Err(Failure::new("docker-registry does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
