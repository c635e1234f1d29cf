//! Calls that have one place, and everywhere else are a mistake.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::Source;
use super::{Finding, Tree, is_test_file};

/// Calls that are allowed only in some places.
struct Ban {
    needles: &'static [&'static str],
    /// Path prefixes where the calls are at home.
    home: &'static [&'static str],
    advice: &'static str,
}

/// What is banned, where it is at home, and what to do instead. Test code is free.
const BANS: &[Ban] = &[
    Ban {
        needles: &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"],
        home: &[
            "engine/",
            "cli/",
            "xtask/",
            "registry/src/clock.rs",
            "registry-client/src/clock.rs",
            "runtime/src/clock.rs",
        ],
        advice: "reads the clock: take the time as an argument (clocks live in engine, cli and a crate's clock.rs)",
    },
    Ban {
        needles: &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        home: &["cli/", "xtask/"],
        advice: "prints: only cli and xtask speak to the terminal",
    },
    Ban {
        needles: &[".unwrap()", "panic!", "todo!", "unimplemented!", ".unwrap_err()"],
        home: &[],
        advice: "may panic: return an error of the crate",
    },
    Ban {
        needles: &[
            "env::var",
            "env::var_os",
            "env::vars",
            "env::vars_os",
            "env::args",
            "env::args_os",
            "env::current_dir",
            "env::home_dir",
            "env::temp_dir",
        ],
        home: &["engine/", "cli/", "xtask/"],
        advice: "reads the environment: only engine and cli do",
    },
    Ban { needles: &["unsafe"], home: &["runtime/"], advice: "is allowed in runtime only" },
];

/// Writes to the store's names, which belong to one file.
const NAME_WRITES: &[&str] = &["set", "remove", "rename", "swap", "put", "insert", "update"];
const NAMES_HOME: &str = "engine/src/images/admit.rs";
/// Packages that hold the names themselves, or serve other names than the user's.
const NAMES_OWNERS: &[&str] = &["store", "registry", "xtask"];

/// Reasoned `expect`s that a package may have in a thousand lines.
const EXPECTS_PER_KLOC: usize = 2;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut expects: BTreeMap<String, (usize, Vec<Finding>)> = BTreeMap::new();
    for (path, source) in tree.rust.iter().filter(|(path, _)| !is_test_file(path)) {
        for ban in BANS.iter().filter(|ban| !ban.home.iter().any(|home| path.starts_with(home))) {
            findings.extend(apply(ban, path, source));
        }
        findings.extend(name_writes(path, source));
        let package = expects.entry(Tree::package(path).to_owned()).or_default();
        package.0 += source.text.lines().count();
        package.1.extend(expects_of(path, source));
    }
    findings.extend(expects.into_values().filter_map(over_budget).flatten());
    findings
}

fn apply(ban: &Ban, path: &Path, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for needle in ban.needles {
        for at in source.find(needle) {
            findings.push(Finding {
                file: path.to_path_buf(),
                line: source.line_of(at),
                message: format!("'{needle}' {}", ban.advice),
            });
        }
    }
    findings
}

fn name_writes(path: &Path, source: &Source) -> Vec<Finding> {
    if path == Path::new(NAMES_HOME) || NAMES_OWNERS.contains(&Tree::package(path)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for at in source.find("names()") {
        let rest = source.code[at + "names()".len()..].trim_start();
        let Some(call) = rest.strip_prefix('.') else { continue };
        let method: String = call
            .trim_start()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        if NAME_WRITES.contains(&method.as_str()) {
            findings.push(Finding {
                file: path.to_path_buf(),
                line: source.line_of(at),
                message: format!("'names().{method}' writes a name: only {NAMES_HOME} may"),
            });
        }
    }
    findings
}

/// `expect`s with a literal sentence: a method called `expect` of a parser takes no literal.
fn expects_of(path: &Path, source: &Source) -> Vec<Finding> {
    source
        .find(".expect(")
        .into_iter()
        .filter(|at| source.code[at + ".expect(".len()..].trim_start().starts_with('"'))
        .map(|at| Finding {
            file: path.to_path_buf(),
            line: source.line_of(at),
            message: format!(
                "'.expect' over the package's budget of {EXPECTS_PER_KLOC} per thousand lines"
            ),
        })
        .collect()
}

fn over_budget((lines, findings): (usize, Vec<Finding>)) -> Option<Vec<Finding>> {
    let budget = (lines * EXPECTS_PER_KLOC).div_ceil(1000);
    (findings.len() > budget).then_some(findings)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{print, tree};
    use super::*;

    fn check_file(path: &str, text: &str) -> String {
        print(&check(&tree(&[(path, text)])))
    }

    #[test]
    fn clocks_are_found_outside_their_home() {
        let text = "fn f() { let t = std::time::Instant::now(); }\n";
        assert!(
            check_file("store/src/lib.rs", text)
                .contains("store/src/lib.rs:1: 'Instant::now' reads the clock")
        );
        assert_eq!(check_file("engine/src/lib.rs", text), "");
        assert_eq!(check_file("registry/src/clock.rs", text), "");
    }

    #[test]
    fn printing_is_found_outside_cli() {
        let text = "fn f() { println!(\"x\"); }\n";
        assert!(check_file("oci/src/lib.rs", text).contains("'println!' prints"));
        assert_eq!(check_file("cli/src/main.rs", text), "");
    }

    #[test]
    fn panics_are_found_outside_tests() {
        let text = "fn f() { x.unwrap(); panic!(\"y\"); }\n#[cfg(test)]\nmod tests { fn g() { z.unwrap() } }\n";
        let said = check_file("oci/src/lib.rs", text);
        assert_eq!(said.lines().count(), 2, "{said}");
        assert_eq!(check_file("oci/tests/a.rs", text), "");
    }

    #[test]
    fn a_catch_unwind_or_unwrap_or_is_no_panic() {
        assert_eq!(
            check_file("oci/src/lib.rs", "fn f() { x.unwrap_or(1); std::panic::catch_unwind(g); }"),
            ""
        );
    }

    #[test]
    fn the_environment_is_found_outside_engine_and_cli() {
        let text = "fn f() { std::env::var(\"X\"); env!(\"CARGO_PKG_VERSION\"); }\n";
        assert!(check_file("trust/src/lib.rs", text).contains("reads the environment"));
        assert_eq!(check_file("cli/src/main.rs", text), "");
        assert_eq!(
            check_file("trust/src/lib.rs", "const V: &str = env!(\"CARGO_PKG_VERSION\");"),
            ""
        );
    }

    #[test]
    fn unsafe_is_found_outside_runtime() {
        let text = "#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        assert_eq!(
            check_file("store/src/lib.rs", text),
            "store/src/lib.rs:2: 'unsafe' is allowed in runtime only\n"
        );
        assert_eq!(check_file("runtime/src/lib.rs", text), "");
    }

    #[test]
    fn a_name_is_written_in_one_file_only() {
        let text = "fn f() { store.names()\n  .set(a, b); store.names().get(a); }\n";
        assert!(
            check_file("engine/src/images/pull.rs", text).contains("'names().set' writes a name")
        );
        assert_eq!(check_file(NAMES_HOME, text), "");
        assert_eq!(check_file("store/src/names.rs", text), "");
    }

    #[test]
    fn expects_have_a_budget() {
        let one = "fn f() { a.expect(\"proved above\"); }\n";
        assert_eq!(check_file("oci/src/lib.rs", one), "");
        let three = one.repeat(3);
        assert_eq!(check_file("oci/src/lib.rs", &three).lines().count(), 3);
        let parser = "fn f(p: &mut Parser) { p.expect(Token::Comma); }\n".repeat(9);
        assert_eq!(check_file("oci/src/lib.rs", &parser), "");
    }
}
