//! The table of clauses: each is held by a test that exists, or left out with a reason.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    clause: Vec<Clause>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    id: String,
    level: String,
    text: String,
    #[serde(default)]
    tests: Vec<String>,
    skip: Option<String>,
}

fn table() -> Table {
    toml::from_str(include_str!("clauses.toml")).expect("a table")
}

fn tests_of(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_of(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).expect("a file");
            let mut test = false;
            for line in text.lines().map(str::trim) {
                if let Some((name, _)) = line
                    .trim_start_matches("async ")
                    .strip_prefix("fn ")
                    .and_then(|l| l.split_once('('))
                {
                    if test {
                        found.insert(name.to_owned());
                    }
                    test = false;
                } else {
                    test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                }
            }
        }
    }
}

#[test]
fn every_clause_names_tests_that_exist_or_a_reason() {
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut tests);
    }
    let mut ids = BTreeSet::new();
    for clause in table().clause {
        assert!(ids.insert(clause.id.clone()), "{} stands twice", clause.id);
        assert!(["MUST", "SHOULD", "MAY"].contains(&clause.level.as_str()), "{}", clause.id);
        assert!(!clause.text.is_empty(), "{}", clause.id);
        match &clause.skip {
            None => assert!(!clause.tests.is_empty(), "{} has no test", clause.id),
            Some(reason) => assert!(clause.tests.is_empty() && reason.len() > 10, "{}", clause.id),
        }
        for test in &clause.tests {
            assert!(tests.contains(test), "{}: there is no test {test}", clause.id);
        }
    }
}

#[test]
fn no_must_of_the_server_is_left_out() {
    let skipped: Vec<_> = table()
        .clause
        .into_iter()
        .filter(|c| c.level == "MUST" && c.skip.is_some())
        .map(|c| c.id)
        .collect();
    // It binds registries that gained the API later; this one began with it.
    assert_eq!(skipped, ["referrers-8"]);
}

#[test]
fn every_endpoint_and_error_code_of_the_specification_has_a_clause() {
    let table = table();
    let text: String = table.clause.iter().map(|c| format!("{} {}\n", c.id, c.text)).collect();
    let endpoints = [
        "end-1", "end-2", "end-3", "end-4a", "end-4b", "end-5", "end-6", "end-7", "end-8a",
        "end-8b", "end-9", "end-10", "end-11", "end-12a", "end-12b", "end-13", "end-14",
    ];
    let codes = (1..=14).map(|n| format!("code-{n}"));
    for wanted in endpoints.iter().map(|e| (*e).to_owned()).chain(codes) {
        assert!(
            text.lines().any(|line| line.split_whitespace().next() == Some(&wanted)),
            "{wanted}"
        );
    }
}
