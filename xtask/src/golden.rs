//! `cargo xtask golden`: rewrite the expectations, and show what changed, because a golden that nobody reads proves nothing.

use std::path::Path;

use crate::shell::{self, Result};

/// Reruns the tests with `UPDATE_EXPECT=1` (or those that match the arguments), then prints the difference.
pub fn main(root: &Path, filters: &[String]) -> Result<()> {
    let tests = match filters.split_first() {
        Some((first, rest)) if first == "corpus" => record_corpus(root, rest),
        _ => rewrite(root, filters),
    };
    let paths = shell::read(&mut shell::command(root, "git", &["status", "--porcelain"]))?;
    print!(
        "{}",
        shell::read(&mut shell::command(root, "git", &["--no-pager", "diff", "--stat", "-p"]))?
    );
    for line in paths.lines().filter(|line| line.starts_with("??")) {
        println!("new: {}", line.trim_start_matches("?? "));
    }
    println!("Read the difference above: name the change in the commit message.");
    tests
}

/// What peers make of the differential corpus: their word, never ours.
fn record_corpus(root: &Path, words: &[String]) -> Result<()> {
    let mut args: Vec<String> =
        ["run", "--quiet", "-p", "tests", "--bin", "record_corpus", "--"].map(str::to_owned).into();
    args.extend(words.iter().cloned());
    shell::run(&mut shell::command(root, "cargo", &args))
}

fn rewrite(root: &Path, filters: &[String]) -> Result<()> {
    let mut args = vec!["test".to_owned(), "--workspace".to_owned(), "--quiet".to_owned()];
    args.extend(filters.iter().cloned());
    let mut command = shell::command(root, "cargo", &args);
    command.env("UPDATE_EXPECT", "1").env("INSTA_UPDATE", "always").env("INSTA_FORCE_PASS", "1");
    shell::run(&mut command)
}
