//! Rust files that no target reaches.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::source::Source;
use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for (path, _) in tree.rust.iter().filter(|(path, _)| is_target(path)) {
        reach(tree, path, true, &mut reached);
    }
    tree.rust
        .iter()
        .filter(|(path, _)| !reached.contains(path) && !path.starts_with("testdata"))
        .map(|(path, _)| Finding {
            file: path.clone(),
            line: 1,
            message: "no module declares this file: delete it or declare it".to_owned(),
        })
        .collect()
}

/// Whether cargo takes the file as the root of a target.
fn is_target(path: &Path) -> bool {
    let parts: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy()).collect();
    let parts: Vec<&str> = parts.iter().map(|p| p.as_ref()).collect();
    matches!(
        parts.as_slice(),
        [_, "build.rs"]
            | [_, "src", "lib.rs" | "main.rs"]
            | [_, "src", "bin", _]
            | [_, "tests" | "benches" | "examples" | "fuzz_targets", _]
            | [_, "tests" | "benches" | "examples", _, "main.rs"]
    )
}

/// Follows `mod name;` from a file. `root` files and `mod.rs` look beside themselves, others in a folder of their name.
fn reach(tree: &Tree, path: &Path, root: bool, reached: &mut BTreeSet<PathBuf>) {
    let Some((_, source)) = tree.rust.iter().find(|(known, _)| known == path) else { return };
    if !reached.insert(path.to_path_buf()) {
        return;
    }
    let beside = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let is_mod = path.file_name().is_some_and(|name| name == "mod.rs");
    let folder = if root || is_mod { beside.clone() } else { path.with_extension("") };
    for candidate in candidates(source, &beside, &folder) {
        reach(tree, &candidate, false, reached);
    }
}

fn candidates(source: &Source, beside: &Path, folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (name, path) in source.module_files() {
        match path {
            Some(path) => found.push(beside.join(path)),
            None => {
                found.push(folder.join(format!("{name}.rs")));
                found.push(folder.join(name).join("mod.rs"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{print, tree};
    use super::*;

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        let tree = tree(&[
            ("a/src/lib.rs", "mod b;\nmod c;\n"),
            ("a/src/b.rs", "mod d;"),
            ("a/src/b/d.rs", ""),
            ("a/src/c/mod.rs", "mod e;"),
            ("a/src/c/e.rs", ""),
            ("a/src/lost.rs", ""),
            ("a/tests/t.rs", ""),
        ]);
        let said = print(&check(&tree));
        assert_eq!(
            said,
            "a/src/lost.rs:1: no module declares this file: delete it or declare it\n"
        );
    }

    #[test]
    fn a_module_in_a_comment_declares_nothing() {
        let tree = tree(&[("a/src/lib.rs", "// mod b;\n"), ("a/src/b.rs", "")]);
        assert_eq!(check(&tree).len(), 1);
    }

    #[test]
    fn a_path_attribute_is_followed() {
        let tree =
            tree(&[("a/src/lib.rs", "#[path = \"odd.rs\"]\nmod b;\n"), ("a/src/odd.rs", "")]);
        assert_eq!(check(&tree).len(), 0);
    }
}
