//! How long a large store takes to list and to collect.

use std::fmt::Write as _;
use std::path::Path;

use super::{Findings, fill, number};
use crate::bench::{Tool, fresh, report, take_turns, wherry_command};
use crate::shell::{self, Context, Failure, Result};

/// Blobs of the store that is collected; fewer while the bench itself is worked on.
const BLOBS: usize = 100_000;
const DEAD: usize = 1_000;
const NAMES: usize = 1_000;

pub(super) fn measure(
    root: &Path,
    wherry: &Path,
    disk: &Path,
    rounds: usize,
    found: &mut Findings,
) -> Result<()> {
    let rounds = rounds.max(3);
    println!("== upkeep");
    let listed = fresh(disk, "listed")?;
    fill::fill(root, &listed.join("lib"), 0, NAMES, NAMES)?;
    // Its layers are no archives, so nothing has unpacked them; the records say so to nobody.
    let rows = shell::read(&mut wherry_command(wherry, &listed, &["images", "-q"]))?;
    check("names listed", rows.lines().count(), NAMES)?;

    let images = number("WHERRY_BENCH_BLOBS", BLOBS) / fill::BLOBS_PER_IMAGE;
    let dead = (DEAD / fill::BLOBS_PER_IMAGE).min(images);
    let collected = fresh(disk, "collected")?;
    let store = collected.join("lib");
    fill::fill(root, &store, 0, images, images - dead)?;
    let said = shell::read(&mut wherry_command(wherry, &collected, &["store", "gc"]))?;
    let expected = format!("Removed: {} blobs and layers", dead * fill::BLOBS_PER_IMAGE);
    if !said.contains(&expected) {
        return Err(Failure::new(format!("store gc said {said:?}, not {expected:?}")));
    }
    let tools = [
        Tool {
            name: format!("wherry images, {NAMES} names"),
            prepare: Box::new(|| Ok(())),
            command: Box::new(|| wherry_command(wherry, &listed, &["images"])),
        },
        Tool {
            name: format!(
                "wherry store gc, {} dead of {} blobs",
                dead * fill::BLOBS_PER_IMAGE,
                images * fill::BLOBS_PER_IMAGE
            ),
            prepare: Box::new(|| fill::fill(root, &store, images - dead, images, 0)),
            command: Box::new(|| wherry_command(wherry, &collected, &["store", "gc"])),
        },
    ];
    let measured = take_turns(&tools, rounds);
    let _ = write!(
        found.text,
        "\n### upkeep of a large store, ext4\n\n| what | median, seconds |\n|---|---|\n"
    );
    for tool in &measured {
        let seconds = tool.outcome.as_ref().map(|s| format!("{:.3}", report::median(s)));
        let _ =
            writeln!(found.text, "| {} | {} |", tool.name, seconds.unwrap_or_else(Clone::clone));
    }
    found.json.insert("upkeep".to_owned(), super::figures(&measured));
    std::fs::remove_dir_all(&collected).context("remove the large store")
}

fn check(what: &str, found: usize, expected: usize) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Failure::new(format!("{found} {what}, not {expected}"))),
    }
}
