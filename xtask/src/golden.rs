//! `cargo xtask golden`: rewrite the expectations, and show what changed, because a golden that nobody reads proves nothing.

use std::path::Path;

use crate::shell::{self, Result};

/// Reruns the tests with `UPDATE_EXPECT=1` (or those that match the arguments), then prints the difference.
pub fn main(root: &Path, filters: &[String]) -> Result<()> {
    let mut args = vec!["test".to_owned(), "--workspace".to_owned(), "--quiet".to_owned()];
    args.extend(filters.iter().cloned());
    let mut command = shell::command(root, "cargo", &args);
    command.env("UPDATE_EXPECT", "1").env("INSTA_UPDATE", "always").env("INSTA_FORCE_PASS", "1");
    let tests = shell::run(&mut command);
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
