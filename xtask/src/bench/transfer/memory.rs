//! The largest resident set of a pull and of a push of one large layer.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::registry::Registry;
use super::{Findings, number};
use crate::bench::{fresh, wherry_command};
use crate::shell::{self, Context, Failure, Result};

/// Megabytes of the layer; fewer while the bench itself is worked on.
const MEGABYTES: usize = 2_048;

pub(super) fn measure(wherry: &Path, at: &Path, found: &mut Findings) -> Result<()> {
    println!("== memory");
    let megabytes = number("WHERRY_BENCH_LAYER_MB", MEGABYTES);
    let home = fresh(at, "large")?;
    let registry = Registry::start(&home)?;
    let tar = home.join("large.tar");
    write_tar(&home, &tar, megabytes)?;
    let name = format!("{}/bench/large:1", registry.address());
    let site = home.join("site");
    let import = ["import", &tar.to_string_lossy(), &name];
    shell::read(&mut wherry_command(wherry, &site, &import))?;
    fs::remove_file(&tar).context("remove the large tar")?;
    let push = resident(&wherry_command(wherry, &site, &["push", "-q", &name]))?;
    fs::remove_dir_all(&site).context("remove the site that pushed")?;
    let pull = resident(&wherry_command(wherry, &site, &["pull", "-q", &name]))?;
    let _ = write!(
        found.text,
        "\n### memory: one layer of {megabytes} MB\n\n| command | largest resident set, MiB |\n|---|---|\n\
         | wherry pull | {} |\n| wherry push | {} |\n",
        pull / 1024,
        push / 1024
    );
    found.json.insert(
        "memory".to_owned(),
        json!({"layer_mb": megabytes, "pull_mib": pull / 1024, "push_mib": push / 1024}),
    );
    fs::remove_dir_all(&home).context("remove the large image")
}

/// A tar of one file that hardly compresses: a block of random bytes again and again, farther apart than any window.
fn write_tar(home: &Path, tar: &Path, megabytes: usize) -> Result<()> {
    let (folder, mut block) = (home.join("tree"), vec![0; 1 << 20]);
    fs::create_dir(&folder).context("make the large tree")?;
    let mut random = File::open("/dev/urandom").context("open /dev/urandom")?;
    let mut file = File::create(folder.join("large")).context("make the large file")?;
    std::io::Read::read_exact(&mut random, &mut block).context("read /dev/urandom")?;
    for megabyte in 0..megabytes {
        block[0] = megabyte as u8;
        file.write_all(&block).context("write the large file")?;
    }
    let (from, to) = (folder.to_string_lossy(), tar.to_string_lossy());
    let args = ["-C", from.as_ref(), "-cf", to.as_ref(), "large"];
    shell::read(Command::new("tar").args(args))?;
    fs::remove_dir_all(&folder).context("remove the large tree")
}

/// As GNU time sees it, in KiB.
fn resident(command: &Command) -> Result<u64> {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        timed.env(name, value);
    }
    let output = shell::output(&mut timed)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.trim_end().lines().next_back().unwrap_or("").to_owned();
    match output.status.success() {
        true => last.parse().map_err(|_| Failure::new(format!("time said {last:?}"))),
        false => Err(Failure::new(format!("{}: {said}", shell::describe(command)))),
    }
}
