//! The rules of `docs/style.md` and `docs/architecture.md` that a program can check.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::shell::{self, Context, Failure, Result};
use source::Source;

mod bans;
mod coverage;
mod dead;
mod edges;
mod leftovers;
mod lengths;
mod links;
mod source;

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the workspace root.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The rule and what to do about it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// A text file of the tree.
pub struct File {
    /// Its path from the workspace root.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Everything that the checks look at.
pub struct Tree {
    /// The workspace root.
    pub root: PathBuf,
    /// Rust files.
    pub rust: Vec<(PathBuf, Source)>,
    /// All text files, Rust files included.
    pub text: Vec<File>,
}

/// Runs every check; findings are printed, one a line.
pub fn main(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let metadata = shell::read(&mut shell::command(
        root,
        "cargo",
        &["metadata", "--format-version", "1", "--no-deps", "--offline"],
    ))?;
    let mut findings = edges::check(&tree, &metadata)?;
    findings.extend(lengths::check(&tree)?);
    findings.extend(bans::check(&tree));
    findings.extend(dead::check(&tree));
    findings.extend(links::check(&tree));
    findings.extend(leftovers::check(&tree));
    findings.extend(coverage::check(&tree));
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing to complain about", tree.text.len());
        return Ok(());
    }
    Err(Failure::new(format!("tidy: {} findings", findings.len())))
}

impl Tree {
    /// Reads all text files under `root` that version control keeps, or could keep.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Tree { root: root.to_path_buf(), rust: Vec::new(), text: Vec::new() };
        tree.read_folder(Path::new(""))?;
        tree.text.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path) -> Result<()> {
        let full = self.root.join(folder);
        for entry in std::fs::read_dir(&full).context(format_args!("list {}", full.display()))? {
            let entry = entry.context(format_args!("list {}", full.display()))?;
            let name = entry.file_name();
            let path = folder.join(&name);
            let kind = entry.file_type().context(format_args!("look at {}", path.display()))?;
            if kind.is_dir() && !matches!(name.to_str(), Some(".git" | "target" | "corpus")) {
                self.read_folder(&path)?;
            } else if kind.is_file() && is_text(&path) {
                self.add(path)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let bytes = std::fs::read(self.root.join(&path))
            .context(format_args!("read {}", path.display()))?;
        // A fixture may be deliberately broken text: it is then not for these checks.
        if let Ok(text) = String::from_utf8(bytes) {
            if path.extension().is_some_and(|e| e == "rs") {
                self.rust.push((path.clone(), Source::new(text.clone())));
            }
            self.text.push(File { path, text });
        }
        Ok(())
    }

    /// The package folder of a path: its first component.
    pub fn package(path: &Path) -> &str {
        path.components().next().and_then(|c| c.as_os_str().to_str()).unwrap_or("")
    }
}

fn is_text(path: &Path) -> bool {
    let known = ["rs", "md", "toml", "sh", "yml", "yaml", "json", "txt", "c", "h"];
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    known.contains(&extension) || matches!(name, "Dockerfile" | "run" | "LICENSE" | ".dockerignore")
}

/// Whether a whole file is test code by its place.
pub fn is_test_file(path: &Path) -> bool {
    let mut components = path.components().map(|c| c.as_os_str().to_string_lossy());
    let package = components.next().unwrap_or_default().into_owned();
    let rest: Vec<_> = components.collect();
    let in_folder = rest.iter().any(|c| matches!(c.as_ref(), "tests" | "benches" | "examples"));
    let name = rest.last().map_or("", |c| c.as_ref());
    matches!(package.as_str(), "tests" | "fuzz")
        || in_folder
        || matches!(name, "tests.rs" | "suite.rs" | "build.rs")
        || name.ends_with("_tests.rs")
        || name.ends_with("_test.rs")
}

#[cfg(test)]
mod fixture {
    use super::*;

    /// A tree of literal files, for the checks' own tests.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree { root: PathBuf::from("/nowhere"), rust: Vec::new(), text: Vec::new() };
        for (path, text) in files {
            let path = PathBuf::from(path);
            if path.extension().is_some_and(|e| e == "rs") {
                tree.rust.push((path.clone(), Source::new((*text).to_owned())));
            }
            tree.text.push(File { path, text: (*text).to_owned() });
        }
        tree
    }

    /// Findings as `file:line: message` lines.
    pub(super) fn print(findings: &[Finding]) -> String {
        findings.iter().map(|f| format!("{f}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_are_known_by_their_place() {
        for path in [
            "tests/src/lib.rs",
            "store/tests/gc.rs",
            "oci/src/digest/tests.rs",
            "store/src/snapshot/suite.rs",
        ] {
            assert!(is_test_file(Path::new(path)), "{path}");
        }
        for path in ["store/src/lib.rs", "xtask/src/suite_of.rs", "engine/src/latest.rs"] {
            assert!(!is_test_file(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn the_tree_skips_what_is_built() {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::create_dir_all(dir.path().join("target/debug")).expect("folder");
        std::fs::create_dir_all(dir.path().join("a/src")).expect("folder");
        std::fs::write(dir.path().join("target/debug/x.rs"), "").expect("file");
        std::fs::write(dir.path().join("a/src/lib.rs"), "").expect("file");
        std::fs::write(dir.path().join("a/broken.md"), [0xff, 0xfe]).expect("file");
        let tree = Tree::read(dir.path()).expect("readable");
        let paths: Vec<_> = tree.text.iter().map(|f| f.path.display().to_string()).collect();
        assert_eq!(paths, ["a/src/lib.rs"]);
    }
}
