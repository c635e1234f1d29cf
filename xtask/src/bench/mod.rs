//! `cargo xtask bench AREA`: Wherry and its peers measured in one run, each tool in turn, on the same file system.
//!
//! The tools take turns (A B C, A B C …), so that whatever else the machine does falls on all of them; the figure to
//! quote is the median of the ratios round by round. Roots are on a journaled ext4 in a loop device: a delete-and-recreate
//! loop on a file system without a journal would measure the allocator of that file system.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::shell::{self, Context, Failure, Result};
use crate::{apt, images};

mod build;
mod disk;
mod distribution;
mod network;
mod peers;
mod report;
mod run;
mod transfer;

/// Measures one area and writes its section of `docs/benchmarks.md`: `bench AREA [ROUNDS] [BINARY]`, where a binary
/// that is named is measured instead of one that is built now.
pub fn main(root: &Path, args: &[String]) -> Result<()> {
    let area = args.first().map_or("", String::as_str);
    match area {
        // Errands of the area `transfer` in processes that were built for release.
        "floor" => return transfer::floor::main(&args[1..]),
        "fill" => return transfer::fill::main(&args[1..]),
        // Errands of the area `network` on both ends of a wire.
        "serve" => return network::serve(&args[1..]),
        "connect" => return network::connect(&args[1..]),
        "stream" => return network::stream(&args[1..]),
        _ => {}
    }
    let rounds = match args.get(1).map(|rounds| rounds.parse::<usize>()) {
        None => None,
        Some(Ok(rounds)) if rounds > 0 => Some(rounds),
        Some(_) => return Err(Failure::new("the number of rounds is a positive number")),
    };
    if !matches!(area, "build" | "distribution" | "network" | "run" | "transfer") {
        let usage =
            "usage: cargo xtask bench build|distribution|network|run|transfer [ROUNDS] [BINARY]";
        return Err(Failure::new(format!("no area '{area}'; {usage}")));
    }
    if !shell::is_root() {
        return Err(Failure::new(
            "the bench mounts file systems and starts containers: run it as root",
        ));
    }
    apt::ensure(root, &[apt::NEEDED, apt::TESTS, apt::BENCH])?;
    let wherry = match args.get(2) {
        Some(binary) => std::path::absolute(binary).context("find the binary")?,
        None => release_binary(root)?,
    };
    let disk = disk::Disk::new(root)?;
    let section = match area {
        "build" => build::measure(root, &wherry, disk.path(), rounds.unwrap_or(5))?,
        "distribution" => distribution::measure(root, &wherry, disk.path(), rounds.unwrap_or(5))?,
        "network" => network::measure(root, &wherry, disk.path(), rounds.unwrap_or(10))?,
        "transfer" => transfer::measure(root, &wherry, disk.path(), rounds.unwrap_or(3))?,
        _ => run::measure(root, &wherry, disk.path(), rounds.unwrap_or(20))?,
    };
    println!("\n{section}");
    report::write_section(&root.join("docs/benchmarks.md"), area, &section)
}

/// The release binary, built now.
pub fn release_binary(root: &Path) -> Result<std::path::PathBuf> {
    let build = ["build", "--release", "--package", "cli", "--bin", "wherry"];
    shell::run(&mut shell::command(root, "cargo", &build))?;
    Ok(shell::target_dir(root).join("release/wherry"))
}

/// A tool that does one workload.
struct Tool<'a> {
    /// How the table calls it.
    name: String,
    /// Puts the world into the state that the workload starts from; not measured.
    prepare: Box<dyn Fn() -> Result<()> + 'a>,
    /// The measured command.
    command: Box<dyn Fn() -> Command + 'a>,
}

/// Seconds of every round of one tool, or why it does not run here.
struct Measured {
    name: String,
    outcome: std::result::Result<Vec<f64>, String>,
}

/// Runs all tools in turn. A tool that fails is left out of the further rounds and its row says why.
fn take_turns(tools: &[Tool<'_>], rounds: usize) -> Vec<Measured> {
    let mut measured: Vec<Measured> = tools
        .iter()
        .map(|tool| Measured { name: tool.name.clone(), outcome: Ok(Vec::new()) })
        .collect();
    for round in 0..rounds {
        for (tool, measured) in tools.iter().zip(&mut measured) {
            let Ok(seconds) = &mut measured.outcome else { continue };
            match once(tool) {
                Ok(second) => {
                    seconds.push(second);
                    println!("round {} {:<32} {second:.3} s", round + 1, tool.name);
                }
                Err(failure) => {
                    println!("round {} {:<32} {failure}", round + 1, tool.name);
                    measured.outcome = Err(failure.to_string());
                }
            }
        }
    }
    measured
}

fn once(tool: &Tool<'_>) -> Result<f64> {
    (tool.prepare)()?;
    let mut command = (tool.command)();
    let shown = shell::describe(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output().context(format_args!("start {shown}"))?;
    let seconds = start.elapsed().as_secs_f64();
    if output.status.success() {
        return Ok(seconds);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim_end().lines().next_back().unwrap_or("").to_owned();
    Err(Failure::new(format!("{}: {last}", output.status)))
}

/// A folder below `parent`, empty.
fn fresh(parent: &Path, name: &str) -> Result<std::path::PathBuf> {
    let path = parent.join(name);
    if path.exists() {
        fs::remove_dir_all(&path).context(format_args!("clear {}", path.display()))?;
    }
    fs::create_dir_all(&path).context(format_args!("make {}", path.display()))?;
    Ok(path)
}

/// Wherry over a root of its own.
fn wherry_command(binary: &Path, root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command
        .args(args)
        .env("WHERRY_ROOT", root.join("lib"))
        .env("WHERRY_RUN_ROOT", root.join("run"));
    command
}

/// Imports a base image into a root of Wherry.
fn wherry_import(
    root: &Path,
    binary: &Path,
    at: &Path,
    base: images::Base,
    name: &str,
) -> Result<()> {
    let tar = images::ensure(root, base)?;
    let tar = tar.to_string_lossy().into_owned();
    let mut args = vec!["import"];
    for change in base.changes() {
        args.extend(["--change", *change]);
    }
    args.extend([tar.as_str(), name]);
    shell::read(&mut wherry_command(binary, at, &args)).map(drop)
}
