//! Area `transfer`: pull with unpacking, and commit with compression and push, of an image of many small files; the
//! limit that two processors set; memory; and how long a large store takes to list and to collect.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::peers::{Containers, Dockerd};
use super::{Measured, Tool, fresh, report, take_turns, wherry_command, wherry_import};
use crate::images::Base;
use crate::shell::{self, Context, Result};

mod containerd;
pub(super) mod fill;
pub(super) mod floor;
mod ground;
mod memory;
mod plot;
mod registry;
mod upkeep;
mod work;

use containerd::Containerd;
use ground::Ground;
use registry::Registry;

const LAYERS: usize = 5;
const NAME: &str = "bench/many-files:1";

/// Files in each of the layers above debian's; fewer while the bench itself is worked on.
fn files_per_layer() -> usize {
    number("WHERRY_BENCH_FILES", 5_000)
}

/// A number of the environment.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What the page and the plots are made of.
#[derive(Default)]
struct Findings {
    text: String,
    json: serde_json::Map<String, Value>,
    plots: Vec<(String, String)>,
}

impl Findings {
    /// One table, with its figures and its plot.
    fn table(&mut self, key: &str, title: &str, measured: &[Measured], limit: Option<f64>) {
        let _ = write!(self.text, "\n### {title}\n\n{}", report::table(measured));
        let file = format!("transfer-{key}.svg");
        let _ = write!(self.text, "\n![{title}](benchmarks/{file})\n");
        self.plots.push((file, plot::bars(title, measured, limit)));
        self.json.insert(key.to_owned(), figures(measured));
    }
}

fn figures(measured: &[Measured]) -> Value {
    let row = |tool: &Measured| match &tool.outcome {
        Ok(seconds) => json!({"tool": tool.name, "seconds": seconds}),
        Err(reason) => json!({"tool": tool.name, "failed": reason}),
    };
    measured.iter().map(row).collect()
}

pub(super) fn measure(root: &Path, wherry: &Path, disk: &Path, rounds: usize) -> Result<String> {
    let memory = Ground::tmpfs(root)?;
    let registry = Registry::start(memory.path())?;
    let remote = format!("{}/{NAME}", registry.address());
    let maker = fresh(memory.path(), "maker")?;
    let files = fresh(memory.path(), "files")?;
    publish(root, wherry, &files, &maker, &remote)?;

    let mut found = Findings::default();
    let layers = registry.layers()?;
    let bytes = floor::uncompressed_bytes(&layers)?;
    let _ = write!(
        found.text,
        "`cargo xtask bench transfer {rounds}`: debian:bookworm and {LAYERS} layers of {} small files, gzip, {} MB\n\
         uncompressed; docker-registry on loopback with its files in memory; every pull starts from nothing; {rounds} rounds.\n{}.\n",
        files_per_layer(),
        bytes / 1_000_000,
        report::machine()
    );
    for ground in [Ground::at("tmpfs", memory.path()), Ground::at("ext4", disk)] {
        let site =
            Site { root, wherry, remote: &remote, files: &files, layers: &layers, ground: &ground };
        site.measure(rounds, &mut found)?;
    }
    drop(registry);
    memory::measure(wherry, memory.path(), &mut found)?;
    upkeep::measure(root, wherry, disk, rounds, &mut found)?;
    write_out(root, found)
}

fn write_out(root: &Path, found: Findings) -> Result<String> {
    let folder = root.join("docs/benchmarks");
    fs::create_dir_all(&folder).context("make docs/benchmarks")?;
    for (file, svg) in &found.plots {
        fs::write(folder.join(file), svg).context(format_args!("write {file}"))?;
    }
    let json = serde_json::to_string_pretty(&Value::Object(found.json)).context("write figures")?;
    fs::write(folder.join("transfer.json"), json + "\n").context("write transfer.json")?;
    Ok(found.text)
}

/// One file system, with every tool's things on it.
struct Site<'a> {
    root: &'a Path,
    wherry: &'a Path,
    remote: &'a str,
    files: &'a Path,
    layers: &'a [PathBuf],
    ground: &'a Ground,
}

impl Site<'_> {
    fn measure(&self, rounds: usize, found: &mut Findings) -> Result<()> {
        let (at, on) = (self.ground.path(), self.ground.name());
        let dockerd = Dockerd::start(at)?;
        let containerd = Containerd::start(at)?;
        let podman = Containers::new("podman", at)?;
        let peers = Peers { dockerd: &dockerd, containerd: &containerd, podman: &podman };

        println!("== {on}: the limit");
        let limit = floor::measure(self.root, self.layers, at, rounds)?;
        println!("== {on}: pull and unpack");
        let measured = take_turns(&self.pulls(&peers)?, rounds);
        let title = format!("pull and unpack, {on}");
        found.table(&format!("pull-{on}"), &title, &measured, Some(limit.seconds()));
        let _ = write!(found.text, "\n{}", limit.text(&measured));
        found.json.insert(format!("limit-{on}"), limit.json());

        println!("== {on}: commit, compress and push");
        let measured = take_turns(&work::tools(self, &peers)?, rounds);
        let title = format!("commit, compress and push, {on}");
        found.table(&format!("push-{on}"), &title, &measured, None);
        Ok(())
    }

    fn place(&self, name: &str) -> PathBuf {
        self.ground.path().join(name)
    }

    fn pulls<'a>(&'a self, peers: &'a Peers<'a>) -> Result<Vec<Tool<'a>>> {
        let Peers { dockerd, containerd, podman } = peers;
        Ok(vec![
            Tool {
                name: "wherry pull".to_owned(),
                prepare: Box::new(|| fresh(self.ground.path(), "pull").map(drop)),
                command: Box::new(|| {
                    wherry_command(self.wherry, &self.place("pull"), &["pull", "-q", self.remote])
                }),
            },
            Tool {
                name: "skopeo copy and umoci unpack".to_owned(),
                prepare: Box::new(|| fresh(self.ground.path(), "umoci").map(drop)),
                command: Box::new(|| self.umoci()),
            },
            Tool {
                name: format!("podman {} pull", podman.version()?),
                prepare: Box::new(|| forget(&mut podman.command(&["rmi", "-f", self.remote]))),
                command: Box::new(|| {
                    let policy = podman.policy();
                    podman.command(&["pull", "-q", "--tls-verify=false", &policy, self.remote])
                }),
            },
            Tool {
                name: format!("docker {} pull", dockerd.version()?),
                prepare: Box::new(|| forget(&mut dockerd.docker(&["rmi", "-f", self.remote]))),
                command: Box::new(|| dockerd.docker(&["pull", "-q", self.remote])),
            },
            Tool {
                name: format!("containerd {} ctr pull", containerd.version()?),
                prepare: Box::new(|| containerd.forget(self.remote)),
                command: Box::new(|| {
                    containerd.ctr(&["images", "pull", "--plain-http", self.remote])
                }),
            },
        ])
    }

    fn umoci(&self) -> Command {
        let mut command = Command::new("sh");
        let script = "skopeo copy -q --insecure-policy --src-tls-verify=false \"docker://$1\" \"oci:$0/layout:x\" \
                      && umoci unpack --image \"$0/layout:x\" \"$0/bundle\"";
        command.args(["-c", script]).arg(self.place("umoci")).arg(self.remote);
        command
    }
}

struct Peers<'a> {
    dockerd: &'a Dockerd,
    containerd: &'a Containerd,
    podman: &'a Containers,
}

/// Removes an image that may not be there.
fn forget(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().context("start the removal").map(drop)
}

/// Builds the image and pushes it; pushes its base alone, too.
fn publish(root: &Path, wherry: &Path, files: &Path, maker: &Path, remote: &str) -> Result<()> {
    wherry_import(root, wherry, maker, Base::Debian, "debian:bookworm")?;
    let mut dockerfile = String::from("FROM debian:bookworm\n");
    for layer in 0..LAYERS {
        write_files(&files.join(format!("layer{layer}")), layer)?;
        let _ = writeln!(dockerfile, "COPY layer{layer}/ /srv/layer{layer}/");
    }
    fs::write(files.join("Dockerfile"), dockerfile).context("write the Dockerfile")?;
    let context = files.to_string_lossy().into_owned();
    let base = work::base(remote);
    let lines: [&[&str]; 4] = [
        &["build", "-q", "-t", remote, &context],
        &["push", "-q", remote],
        &["tag", "debian:bookworm", &base],
        &["push", "-q", &base],
    ];
    lines
        .iter()
        .try_for_each(|args| shell::read(&mut wherry_command(wherry, maker, args)).map(drop))
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
    for file in 0..files_per_layer() {
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
