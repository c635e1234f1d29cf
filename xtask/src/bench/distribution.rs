//! Area `distribution`: mirrors from registry to registry, and what a registry costs its machine.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Tool, fresh, report, take_turns, wherry_command};
use crate::shell::{Failure, Result};

mod http;
mod seed;
mod server;

use http::Connection;
use server::Server;

/// Tags of the mirror that is filled, and of the one in which nothing is new.
const TAGS: usize = 20;
const MANY_TAGS: usize = 1_000;
/// Readers of one blob at a time.
const PULLERS: usize = 200;
/// Connections that ask for a manifest, and for how long.
const ASKERS: usize = 16;
const ASKING: Duration = Duration::from_secs(5);

/// A size of the environment in MiB; smaller while the bench itself is worked on.
fn mebibytes(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
    given.unwrap_or(default) << 20
}

pub(super) fn measure(_: &Path, wherry: &Path, disk: &Path, rounds: usize) -> Result<String> {
    let bench = Bench { wherry, disk };
    let blob = mebibytes("WHERRY_BENCH_BLOB_MIB", 1024);
    let mut text = format!(
        "`cargo xtask bench distribution {rounds}`: everything on loopback, registries on ext4; {rounds} rounds.\n{}.\n",
        report::machine()
    );
    let _ = write!(
        text,
        "\n### mirror of {TAGS} tags that share six layers\n\n{}",
        bench.mirror(rounds)?
    );
    let _ = write!(
        text,
        "\n### the same mirror again: {MANY_TAGS} tags, nothing new\n\n{}",
        bench.nothing_new(rounds)?
    );
    let _ = write!(
        text,
        "\n### a registry serves a blob of {} MiB\n\n{}",
        blob >> 20,
        bench.blob(rounds, blob)?
    );
    let _ = write!(
        text,
        "\n### {PULLERS} pullers of one blob at a time\n\n{}",
        bench.pullers(blob / 16)?
    );
    let _ = write!(
        text,
        "\n### one manifest, {ASKERS} connections, {} seconds\n\n{}",
        ASKING.as_secs(),
        bench.manifests()?
    );
    Ok(text)
}

struct Bench<'a> {
    wherry: &'a Path,
    disk: &'a Path,
}

impl Bench<'_> {
    fn sync(&self, source: &str, target: &str) -> Command {
        let mut command =
            wherry_command(self.wherry, &self.disk.join("client"), &["sync", source, target]);
        command.env("WHERRY_CONFIG_DIR", self.disk.join("client/config"));
        command
    }

    fn skopeo(&self, source: &str, target: &str) -> Command {
        let parent = target.rsplit_once('/').map_or(target, |(parent, _)| parent);
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "sync", "--src", "docker", "--dest", "docker"]);
        command.args(["--src-tls-verify=false", "--dest-tls-verify=false", source, parent]);
        command
    }

    /// From docker-registry into an empty docker-registry.
    fn mirror(&self, rounds: usize) -> Result<String> {
        println!("== mirror of {TAGS} tags");
        fresh(self.disk, "client")?;
        let from = Server::docker(&fresh(self.disk, "from")?)?;
        let layer = mebibytes("WHERRY_BENCH_LAYER_MIB", 16);
        seed::family(from.address(), "bench/family", TAGS, layer)?;
        let source = from.name("bench/family");
        let target: RefCell<Option<Server>> = RefCell::default();
        let empty = || -> Result<()> {
            // The old one ends before its files go.
            drop(target.take());
            target.replace(Some(Server::docker(&fresh(self.disk, "to")?)?));
            Ok(())
        };
        let name = || match &*target.borrow() {
            Some(server) => server.name("mirror/family"),
            None => String::new(),
        };
        let tools = [
            Tool {
                name: "wherry sync".to_owned(),
                prepare: Box::new(empty),
                command: Box::new(|| self.sync(&source, &name())),
            },
            Tool {
                name: format!("skopeo {} sync", skopeo_version()?),
                prepare: Box::new(empty),
                command: Box::new(|| self.skopeo(&source, &name())),
            },
        ];
        Ok(report::table(&take_turns(&tools, rounds)))
    }

    fn nothing_new(&self, rounds: usize) -> Result<String> {
        println!("== {MANY_TAGS} tags, nothing new");
        let from = Server::docker(&fresh(self.disk, "from")?)?;
        let to = Server::docker(&fresh(self.disk, "to")?)?;
        seed::family(from.address(), "bench/many", MANY_TAGS, 64 * 1024)?;
        // What a mirror would have made, at both targets' names.
        seed::family(to.address(), "ours/many", MANY_TAGS, 64 * 1024)?;
        seed::family(to.address(), "theirs/many", MANY_TAGS, 64 * 1024)?;
        let source = from.name("bench/many");
        let (ours, theirs) = (to.name("ours/many"), to.name("theirs/many"));
        let tools = [
            Tool {
                name: "wherry sync".to_owned(),
                prepare: Box::new(|| Ok(())),
                command: Box::new(|| self.sync(&source, &ours)),
            },
            Tool {
                name: format!("skopeo {} sync", skopeo_version()?),
                prepare: Box::new(|| Ok(())),
                command: Box::new(|| self.skopeo(&source, &theirs)),
            },
        ];
        Ok(report::table(&take_turns(&tools, rounds)))
    }

    /// Both registries over empty folders, ours first.
    fn registries(&self) -> Result<[(&'static str, Server); 2]> {
        Ok([
            ("wherry registry serve", Server::wherry(self.wherry, &fresh(self.disk, "ours")?)?),
            ("docker-registry", Server::docker(&fresh(self.disk, "theirs")?)?),
        ])
    }

    /// What a second of the server's processor time carries.
    fn blob(&self, rounds: usize, size: u64) -> Result<String> {
        println!("== a blob of {} MiB", size >> 20);
        let servers = self.registries()?;
        let mut rates: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); servers.len()];
        let mut digests = Vec::new();
        for (_, server) in &servers {
            digests.push(seed::blob(server.address(), "bench/blob", 7, size)?);
        }
        for _ in 0..rounds {
            for (index, (name, server)) in servers.iter().enumerate() {
                let path = format!("/v2/bench/blob/blobs/{}", digests[index]);
                let (before, start) = (server.cpu_seconds()?, Instant::now());
                let read = Connection::open(server.address())?.get(&path)?.body_length;
                let wall = start.elapsed().as_secs_f64();
                let cpu = server.cpu_seconds()? - before;
                if read != size {
                    return Err(Failure::new(format!("{name} sent {read} bytes of {size}")));
                }
                let mib = (size >> 20) as f64;
                // A tick of the clock is the least that is seen.
                rates[index].0.push(mib / cpu.max(0.01));
                rates[index].1.push(mib / wall);
                println!("{name}: {cpu:.2} CPU seconds, {wall:.2} s");
            }
        }
        let mut table = String::from(
            "| registry | MiB in a CPU second, median | MiB in a second, median | CPU ratio |\n|---|---|---|---|\n",
        );
        let first = report::median(&rates[0].0);
        for ((name, _), (by_cpu, by_wall)) in servers.iter().zip(&rates) {
            let (cpu, wall) = (report::median(by_cpu), report::median(by_wall));
            let _ = writeln!(table, "| {name} | {cpu:.0} | {wall:.0} | {:.2} |", first / cpu);
        }
        Ok(table)
    }

    fn pullers(&self, size: u64) -> Result<String> {
        println!("== {PULLERS} pullers");
        let mut table = String::from(
            "| registry | memory before, MiB | most, MiB | seconds |\n|---|---|---|---|\n",
        );
        for (name, mut server) in self.registries()? {
            let digest = seed::blob(server.address(), "bench/blob", 9, size)?;
            // What the upload took is no part of what pulls take.
            server.restart()?;
            let path = format!("/v2/bench/blob/blobs/{digest}");
            let before = server.memory_kib("VmRSS")? / 1024;
            let start = Instant::now();
            let failed = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..PULLERS {
                    scope.spawn(|| {
                        let read = Connection::open(server.address())
                            .and_then(|mut connection| connection.get(&path));
                        if !read.is_ok_and(|answer| answer.body_length == size) {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            let seconds = start.elapsed().as_secs_f64();
            if failed.into_inner() > 0 {
                return Err(Failure::new(format!("{name}: a puller did not get the blob")));
            }
            let most = server.memory_kib("VmHWM")? / 1024;
            let _ = writeln!(table, "| {name} | {before} | {most} | {seconds:.1} |");
        }
        let _ = writeln!(table, "\nEach puller reads {} MiB.", size >> 20);
        Ok(table)
    }

    fn manifests(&self) -> Result<String> {
        println!("== manifests");
        let mut table = String::from(
            "| registry | GETs in a CPU second of the server | GETs in a second | p50, ms | p99, ms |\n|---|---|---|---|---|\n",
        );
        for (name, server) in self.registries()? {
            seed::family(server.address(), "bench/one", 1, 1024)?;
            let before = server.cpu_seconds()?;
            let (mut waits, seconds) = ask(server.address(), "/v2/bench/one/manifests/v0000")?;
            let cpu = server.cpu_seconds()? - before;
            waits.sort_unstable();
            let at = |part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1000.0;
            let count = waits.len() as f64;
            let _ = writeln!(
                table,
                "| {name} | {:.0} | {:.0} | {:.2} | {:.2} |",
                count / cpu.max(0.01),
                count / seconds,
                at(50),
                at(99)
            );
        }
        Ok(table)
    }
}

/// Asks for one path on several connections for a while; gives how long each answer took.
fn ask(address: &str, path: &str) -> Result<(Vec<Duration>, f64)> {
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let outcomes: Vec<Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let asker = || {
            let mut connection = Connection::open(address)?;
            let mut waits = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = connection.get(path)?;
                if answer.status != 200 {
                    return Err(Failure::new(format!("GET {path}: {}", answer.status)));
                }
                waits.push(asked.elapsed());
            }
            Ok(waits)
        };
        let askers: Vec<_> = (0..ASKERS).map(|_| scope.spawn(asker)).collect();
        std::thread::sleep(ASKING);
        over.store(true, Ordering::Relaxed);
        let join = |asker: std::thread::ScopedJoinHandle<'_, _>| {
            asker.join().unwrap_or_else(|_| Err(Failure::new("an asker panicked")))
        };
        askers.into_iter().map(join).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut waits = Vec::new();
    for outcome in outcomes {
        waits.extend(outcome?);
    }
    match waits.is_empty() {
        true => Err(Failure::new(format!("{address} answered nothing"))),
        false => Ok((waits, seconds)),
    }
}

fn skopeo_version() -> Result<String> {
    let said = crate::shell::read(Command::new("skopeo").arg("--version"))?;
    Ok(said.split_whitespace().last().unwrap_or("?").to_owned())
}
