//! The limit that two processors set to a pull: inflating, two hashes and extraction of the same layers, each measured
//! alone on one thread, from memory.
//!
//! It is measured by this program built for release, in a process of its own: `cargo xtask bench floor INTO ROUNDS LAYER…`.

use std::fs::{self, File, OpenOptions};
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::bench::{Measured, report};
use crate::shell::{self, Context, Failure, Result};

/// The parts, each the median of its rounds.
pub(super) struct Limit {
    inflate: f64,
    hash_compressed: f64,
    hash_uncompressed: f64,
    extract: f64,
    sync: f64,
    /// The inflation of the largest layer, which cannot be split.
    longest: f64,
}

impl Limit {
    /// What two processors need at least, without waiting for the disk.
    pub(super) fn seconds(&self) -> f64 {
        let work = self.inflate + self.hash_compressed + self.hash_uncompressed + self.extract;
        (work / 2.0).max(self.longest)
    }

    /// The parts, and our median against their sum.
    pub(super) fn text(&self, measured: &[Measured]) -> String {
        let ours = measured.first().and_then(|first| first.outcome.as_ref().ok());
        let ours = ours.map_or(f64::NAN, |seconds| report::median(seconds));
        format!(
            "The limit of two processors for the same layers is {:.3} s: inflating {:.3}, hashing what comes {:.3} and what \
             is in it {:.3}, extraction {:.3}, all on one processor, divided by two. Wherry's median is {:.2} times that; \
             with what `syncfs` takes after it ({:.3} s), {:.2} times.\n",
            self.seconds(),
            self.inflate,
            self.hash_compressed,
            self.hash_uncompressed,
            self.extract,
            ours / self.seconds(),
            self.sync,
            ours / (self.seconds() + self.sync),
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "seconds": self.seconds(), "inflate": self.inflate, "hash_compressed": self.hash_compressed,
            "hash_uncompressed": self.hash_uncompressed, "extract": self.extract, "syncfs": self.sync,
            "longest_inflate": self.longest,
        })
    }
}

/// Bytes of the layers without compression.
pub(super) fn uncompressed_bytes(layers: &[PathBuf]) -> Result<u64> {
    let mut command = Command::new("sh");
    command.args(["-c", "zcat \"$@\" | wc -c", "sh"]).args(layers);
    let said = shell::read(&mut command)?;
    said.trim().parse().context("read the length of the layers")
}

/// An errand of this program built for release: itself, where it is.
pub(super) fn optimised(root: &Path, errand: &str) -> Result<Command> {
    if cfg!(debug_assertions) {
        let run = ["run", "--release", "--quiet", "--package", "xtask", "--", "bench", errand];
        return Ok(shell::command(root, "cargo", &run));
    }
    let this = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(this);
    command.args(["bench", errand]);
    Ok(command)
}

/// Measures in a process that was built for release.
pub(super) fn measure(root: &Path, layers: &[PathBuf], at: &Path, rounds: usize) -> Result<Limit> {
    let into = at.join("floor").to_string_lossy().into_owned();
    let mut command = optimised(root, "floor")?;
    command.arg(&into).arg(rounds.to_string()).args(layers);
    let said: Value =
        serde_json::from_str(&shell::read(&mut command)?).context("read the limit")?;
    let part = |name: &str| {
        said[name].as_f64().ok_or_else(|| Failure::new(format!("the limit has no {name}")))
    };
    Ok(Limit {
        inflate: part("inflate")?,
        hash_compressed: part("hash_compressed")?,
        hash_uncompressed: part("hash_uncompressed")?,
        extract: part("extract")?,
        sync: part("sync")?,
        longest: part("longest")?,
    })
}

/// The process that measures.
pub(in crate::bench) fn main(args: &[String]) -> Result<()> {
    let [into, rounds, layers @ ..] = args else {
        return Err(Failure::new("usage: bench floor INTO ROUNDS LAYER…"));
    };
    let rounds: usize = rounds.parse().context("read the number of rounds")?;
    let mut layers_read = Vec::new();
    for layer in layers {
        layers_read.push(fs::read(layer).context(format_args!("read {layer}"))?);
    }
    let mut parts: [Vec<f64>; 6] = Default::default();
    for round in 0..rounds.max(1) {
        let into = Path::new(into).join(round.to_string());
        for (part, seconds) in parts.iter_mut().zip(once(&layers_read, &into)?) {
            part.push(seconds);
        }
    }
    let [inflate, hash_compressed, hash_uncompressed, extract, sync, longest] =
        parts.map(|part| report::median(&part));
    println!(
        "{}",
        json!({
            "inflate": inflate, "hash_compressed": hash_compressed, "hash_uncompressed": hash_uncompressed,
            "extract": extract, "sync": sync, "longest": longest,
        })
    );
    Ok(())
}

fn once(layers: &[Vec<u8>], into: &Path) -> Result<[f64; 6]> {
    let (mut inflate, mut longest) = (0.0, 0.0_f64);
    let mut tars = Vec::new();
    for layer in layers {
        let inflated = |tar: &mut Vec<u8>| {
            let mut decoder = flate2::read::MultiGzDecoder::new(layer.as_slice());
            decoder.read_to_end(tar).context("inflate a layer")
        };
        // The memory is there before the clock starts: a pull inflates into buffers that it has already.
        let mut tar = Vec::new();
        inflated(&mut tar)?;
        tar.clear();
        let start = Instant::now();
        inflated(&mut tar)?;
        let seconds = start.elapsed().as_secs_f64();
        inflate += seconds;
        longest = longest.max(seconds);
        tars.push(tar);
    }
    let hash = |all: &[Vec<u8>]| {
        let start = Instant::now();
        let digests: Vec<_> = all.iter().map(Sha256::digest).collect();
        // Printed nowhere, but not left out by the compiler either.
        std::hint::black_box(digests);
        start.elapsed().as_secs_f64()
    };
    let (hash_compressed, hash_uncompressed) = (hash(layers), hash(&tars));
    let mut extraction = 0.0;
    for (index, tar) in tars.iter().enumerate() {
        extraction += extract(tar, &into.join(index.to_string()))?;
    }
    let start = Instant::now();
    let at = into.to_string_lossy().into_owned();
    shell::read(Command::new("sync").args(["--file-system", at.as_str()]))?;
    let sync = start.elapsed().as_secs_f64();
    fs::remove_dir_all(into).context("remove what was extracted")?;
    Ok([inflate, hash_compressed, hash_uncompressed, extraction, sync, longest])
}

/// The least that puts the files there: no check of any path, so it must see no foreign archive.
fn extract(tar: &[u8], into: &Path) -> Result<f64> {
    fs::create_dir_all(into).context("make a folder to extract into")?;
    let start = Instant::now();
    let mut archive = tar::Archive::new(Cursor::new(tar));
    for entry in archive.entries().context("read a layer")? {
        let entry = entry.context("read a layer")?;
        put(&entry, tar, into).context("extract a layer")?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn put(entry: &tar::Entry<'_, Cursor<&[u8]>>, tar: &[u8], into: &Path) -> std::io::Result<()> {
    let path = into.join(entry.path()?);
    let header = entry.header();
    let (uid, gid) = (Some(header.uid()? as u32), Some(header.gid()? as u32));
    let mode = fs::Permissions::from_mode(header.mode()?);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(header.mtime()?);
    let link = || entry.link_name().map(|name| name.unwrap_or_default().into_owned());
    match header.entry_type() {
        tar::EntryType::Directory => {
            fs::create_dir_all(&path)?;
            let dir = File::open(&path)?;
            fchown(&dir, uid, gid)?;
            dir.set_permissions(mode)
        }
        tar::EntryType::Symlink => {
            symlink(link()?, &path)?;
            lchown(&path, uid, gid)
        }
        tar::EntryType::Link => fs::hard_link(into.join(link()?), &path),
        tar::EntryType::Regular => {
            let at = entry.raw_file_position() as usize;
            let bytes = &tar[at..at + entry.size() as usize];
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            fchown(&file, uid, gid)?;
            file.set_permissions(mode)?;
            file.set_modified(time)
        }
        _ => Ok(()),
    }
}
