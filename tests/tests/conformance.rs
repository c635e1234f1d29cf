//! The tables of clauses and of peers: each line is held by a test that exists, or left out with a reason.

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

#[derive(Deserialize)]
struct Peers {
    pair: Vec<Pair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    client: String,
    registry: String,
    #[serde(default)]
    tests: Vec<String>,
    skip: Option<String>,
}

const REGISTRY: &str = include_str!("../conformance/registry.toml");
const CLIENT: &str = include_str!("../conformance/client.toml");
const PEERS: &str = include_str!("../conformance/peers.toml");

fn table(text: &str) -> Table {
    toml::from_str(text).expect("a table")
}

/// Every test of the rooms that the tables speak of.
fn all_tests() -> BTreeSet<String> {
    let root = xtask::shell::workspace_root();
    let mut found = BTreeSet::new();
    for folder in ["registry", "registry-client", "tests/tests", "engine"] {
        tests_of(&root.join(folder), &mut found);
    }
    found
}

fn held_or_left_out(what: &str, tests: &[String], skip: Option<&str>, known: &BTreeSet<String>) {
    match skip {
        None => assert!(!tests.is_empty(), "{what} has no test"),
        Some(reason) => assert!(tests.is_empty() && reason.len() > 10, "{what}"),
    }
    for test in tests {
        assert!(known.contains(test), "{what}: there is no test {test}");
    }
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
    let known = all_tests();
    for text in [REGISTRY, CLIENT] {
        let mut ids = BTreeSet::new();
        for clause in table(text).clause {
            assert!(ids.insert(clause.id.clone()), "{} stands twice", clause.id);
            assert!(["MUST", "SHOULD", "MAY"].contains(&clause.level.as_str()), "{}", clause.id);
            assert!(!clause.text.is_empty(), "{}", clause.id);
            held_or_left_out(&clause.id, &clause.tests, clause.skip.as_deref(), &known);
        }
    }
}

#[test]
fn every_pair_of_client_and_registry_names_tests_that_exist_or_a_reason() {
    let known = all_tests();
    let peers: Peers = toml::from_str(PEERS).expect("a table");
    for pair in peers.pair {
        let what = format!("{} and {}", pair.client, pair.registry);
        held_or_left_out(&what, &pair.tests, pair.skip.as_deref(), &known);
    }
}

#[test]
fn no_must_is_left_out() {
    let skipped = |text| {
        let clauses = table(text).clause.into_iter();
        let skipped = clauses.filter(|c| c.level == "MUST" && c.skip.is_some());
        skipped.map(|c| c.id).collect::<Vec<_>>()
    };
    // It binds registries that gained the API later; this one began with it.
    assert_eq!(skipped(REGISTRY), ["referrers-8"]);
    assert_eq!(skipped(CLIENT), Vec::<String>::new());
}

#[test]
fn every_endpoint_and_error_code_of_the_specification_has_a_clause() {
    let table = table(REGISTRY);
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
