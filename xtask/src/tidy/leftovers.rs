//! What was meant to be temporary: marks without a home, and paths of somebody's machine.

use super::{Finding, Tree};

/// Marks that must name an ADR or an issue (split, so that this file does not find itself).
const MARKS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/home", "/user")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.text {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(message) = problem(line) {
                findings.push(Finding { file: file.path.clone(), line: index + 1, message });
            }
        }
    }
    findings
}

fn problem(line: &str) -> Option<String> {
    let mark = MARKS.iter().find(|mark| has_word(line, mark));
    if let Some(mark) = mark.filter(|_| !names_a_home(line)) {
        return Some(format!("'{mark}' without an ADR or an issue number"));
    }
    let path = MACHINE_PATHS.iter().find(|path| line.contains(**path))?;
    Some(format!("'{path}' is a path of somebody's machine"))
}

fn names_a_home(line: &str) -> bool {
    let number = |after: &str| {
        line.split(after).skip(1).any(|s| s.trim_start().starts_with(|c: char| c.is_ascii_digit()))
    };
    number("ADR") || number("#") || number("issue")
}

fn has_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{print, tree};
    use super::*;

    #[test]
    fn a_mark_needs_an_adr_or_an_issue() {
        let mark = MARKS[0];
        let bare = format!("// {mark}: later\n");
        assert!(print(&check(&tree(&[("a/src/lib.rs", &bare)]))).contains("without an ADR"));
        for home in ["ADR 4", "#12", "issue 3"] {
            let text = format!("// {mark} ({home}): later\n");
            assert_eq!(print(&check(&tree(&[("a/src/lib.rs", &text)]))), "", "{home}");
        }
    }

    #[test]
    fn a_word_that_contains_a_mark_is_none() {
        let text = format!("mktemp /tmp/{}{}\n", MARKS[2], MARKS[2]);
        assert_eq!(print(&check(&tree(&[("a.sh", &text)]))), "");
    }

    #[test]
    fn a_path_of_a_machine_is_found() {
        let text = format!("see {}notes\n", MACHINE_PATHS[0]);
        assert!(print(&check(&tree(&[("a.md", &text)]))).contains("somebody's machine"));
    }
}
