//! Length as a ratchet: nothing new over the limits, and what is over them may only shrink.
//!
//! `xtask/tidy-baseline.txt` lists the old offenders as `function PATH NAME LINES` and `file PATH LINES`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Finding, Tree};
use crate::shell::{Failure, Result};

/// The longest function that may be added.
const FUNCTION_LINES: usize = 70;
/// The longest file that may be added.
const FILE_LINES: usize = 800;

const BASELINE: &str = "xtask/tidy-baseline.txt";

/// What is measured: a function of a file, or a file.
type Subject = (PathBuf, Option<String>);

pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let text = tree.text.iter().find(|f| f.path.as_path() == Path::new(BASELINE));
    let baseline = read_baseline(text.map_or("", |f| &f.text))?;
    Ok(compare(&measure(tree), &baseline))
}

/// Subject → (line, lines, limit), only those over their limit.
fn measure(tree: &Tree) -> BTreeMap<Subject, (usize, usize, usize)> {
    let mut over = BTreeMap::new();
    for (path, source) in &tree.rust {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            over.insert((path.clone(), None), (1, lines, FILE_LINES));
        }
        for function in source.functions().into_iter().filter(|f| f.lines > FUNCTION_LINES) {
            over.insert(
                (path.clone(), Some(function.name)),
                (function.line, function.lines, FUNCTION_LINES),
            );
        }
    }
    over
}

fn compare(
    over: &BTreeMap<Subject, (usize, usize, usize)>,
    baseline: &BTreeMap<Subject, (usize, usize)>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (subject, (line, lines, limit)) in over {
        let allowed = baseline.get(subject).map_or(*limit, |(_, lines)| *lines);
        if *lines > allowed {
            let what = subject.1.as_ref().map_or("file".to_owned(), |name| format!("fn {name}"));
            let message = format!("{what} has {lines} lines, more than {allowed}: split it");
            findings.push(Finding { file: subject.0.clone(), line: *line, message });
        }
    }
    for (subject, (line, _)) in baseline.iter().filter(|(subject, _)| !over.contains_key(*subject))
    {
        let name = subject.1.as_deref().unwrap_or("file");
        let message =
            format!("{} {name} is within the limit now: delete this line", subject.0.display());
        findings.push(Finding { file: PathBuf::from(BASELINE), line: *line, message });
    }
    findings
}

/// Subject → (line of the baseline, lines allowed).
fn read_baseline(text: &str) -> Result<BTreeMap<Subject, (usize, usize)>> {
    let mut baseline = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (subject, lines) = match words.as_slice() {
            [] => continue,
            ["function", path, name, lines] => {
                ((PathBuf::from(path), Some((*name).to_owned())), lines)
            }
            ["file", path, lines] => ((PathBuf::from(path), None), lines),
            _ => {
                return Err(Failure::new(format!(
                    "{BASELINE}:{}: cannot read '{line}'",
                    index + 1
                )));
            }
        };
        let lines = lines.parse().map_err(|_| {
            Failure::new(format!("{BASELINE}:{}: '{lines}' is no number", index + 1))
        })?;
        baseline.insert(subject, (index + 1, lines));
    }
    Ok(baseline)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{print, tree};
    use super::*;

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_at_the_limit_passes_and_one_line_more_does_not() {
        let ok = function_of(FUNCTION_LINES);
        assert_eq!(print(&check(&tree(&[("a/src/lib.rs", &ok)])).expect("no baseline")), "");
        let long = function_of(FUNCTION_LINES + 1);
        assert_eq!(
            print(&check(&tree(&[("a/src/lib.rs", &long)])).expect("no baseline")),
            "a/src/lib.rs:1: fn long has 71 lines, more than 70: split it\n"
        );
    }

    #[test]
    fn a_long_file_is_found() {
        let long = "// x\n".repeat(FILE_LINES + 1);
        let said = print(&check(&tree(&[("a/src/lib.rs", &long)])).expect("no baseline"));
        assert_eq!(said, "a/src/lib.rs:1: file has 801 lines, more than 800: split it\n");
    }

    #[test]
    fn an_old_offender_may_stay_but_not_grow() {
        let baseline = "# why\nfunction a/src/lib.rs long 80\n";
        let at = |lines| {
            let text = function_of(lines);
            print(&check(&tree(&[("a/src/lib.rs", &text), (BASELINE, baseline)])).expect("parses"))
        };
        assert_eq!(at(80), "");
        assert_eq!(at(81), "a/src/lib.rs:1: fn long has 81 lines, more than 80: split it\n");
        assert!(at(60).contains("delete this line"));
    }

    #[test]
    fn a_baseline_that_cannot_be_read_is_an_error() {
        assert!(check(&tree(&[(BASELINE, "function a b\n")])).is_err());
        assert!(check(&tree(&[(BASELINE, "file a many\n")])).is_err());
    }
}
