//! `cargo xtask ci`: what `.ci/run` runs, in the order in which a mistake shows soonest.

use std::path::Path;

use crate::shell::{self, Result};
use crate::{suite, tidy};

/// Formatting, tidy, clippy, then every test.
pub fn main(root: &Path) -> Result<()> {
    heading("cargo fmt --check");
    shell::run(&mut shell::command(root, "cargo", &["fmt", "--all", "--check"]))?;
    heading("cargo xtask tidy");
    tidy::main(root)?;
    heading("cargo clippy -D warnings");
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    shell::run(&mut shell::command(root, "cargo", &clippy))?;
    heading("cargo xtask test");
    suite::main(root, &[])
}

fn heading(text: &str) {
    println!("==> {text}");
}
