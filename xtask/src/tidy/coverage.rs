//! The comments that name covered rows: they stand above a test, and name each row once per test.

use super::{Finding, Tree, is_test_file};

/// What starts the list of rows (split, so that this file does not find itself).
const TAG: &str = concat!("Covers", ":");

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in &tree.rust {
        for (at, _) in source.text.match_indices(TAG) {
            let comment = source.text[..at].rsplit('\n').next().unwrap_or("").trim_start();
            if !comment.starts_with("//") {
                continue;
            }
            let in_test = is_test_file(path) || source.is_test(at);
            let message = if !in_test {
                "rows are covered by tests, and this is none"
            } else if !above_a_test(&source.text[at..]) {
                "the next item is no test"
            } else {
                continue;
            };
            let line = source.line_of(at);
            findings.push(Finding {
                file: path.clone(),
                line,
                message: format!("'{TAG}' {message}"),
            });
        }
    }
    findings
}

/// Whether comments and attributes after the tag lead to a function that a test harness calls.
fn above_a_test(text: &str) -> bool {
    let mut attributes = String::new();
    for line in text.lines().skip(1) {
        let line = line.trim();
        if line.starts_with("//") || line.is_empty() {
            continue;
        }
        if line.starts_with("#[") || line.starts_with("proptest!") {
            attributes.push_str(line);
            continue;
        }
        let function = line.split_whitespace().any(|word| word == "fn");
        return function && (attributes.contains("test") || line.contains("fn "));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{print, tree};
    use super::*;

    #[test]
    fn a_tag_above_a_test_passes() {
        let text = format!("/// {TAG} B06-01\n/// More.\n#[test]\nfn a() {{}}\n");
        assert_eq!(print(&check(&tree(&[("a/tests/t.rs", &text)]))), "");
    }

    #[test]
    fn a_tag_above_something_else_is_found() {
        let text = format!("// {TAG} B06-01\nuse x;\n#[test]\nfn a() {{}}\n");
        assert!(
            print(&check(&tree(&[("a/tests/t.rs", &text)]))).contains("the next item is no test")
        );
    }

    #[test]
    fn a_tag_outside_tests_is_found() {
        let text = format!("/// {TAG} B06-01\nfn a() {{}}\n");
        assert!(print(&check(&tree(&[("a/src/lib.rs", &text)]))).contains("this is none"));
    }
}
