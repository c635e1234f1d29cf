//! The packages' edges: `docs/architecture.md` says what may be, `cargo metadata` says what is.
//!
//! The page has a section `## Edges` with a table of two columns, `package` and `may depend on`. The second column holds
//! package names separated by commas, `nobody`, or `anything`. Dev-dependencies are free: a test may use what it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Finding, Tree};
use crate::shell::{Context, Result};

const PAGE: &str = "docs/architecture.md";

/// What a package may depend on.
#[derive(Debug, PartialEq, Eq)]
enum Allowed {
    Anything,
    These(BTreeSet<String>),
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    allowed: Allowed,
}

pub(super) fn check(tree: &Tree, metadata: &str) -> Result<Vec<Finding>> {
    let edges = read_metadata(metadata)?;
    let Some(page) = tree.text.iter().find(|f| f.path.as_path() == Path::new(PAGE)) else {
        return Ok(vec![finding(1, "the page with the table of edges is missing".to_owned())]);
    };
    let table = read_table(&page.text);
    if table.is_empty() {
        let message = "no table with rows '| package | may depend on |' under '## Edges'";
        return Ok(vec![finding(1, message.to_owned())]);
    }
    Ok(compare(&table, &edges))
}

fn finding(line: usize, message: String) -> Finding {
    Finding { file: PathBuf::from(PAGE), line, message }
}

fn compare(
    table: &BTreeMap<String, Row>,
    edges: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, dependencies) in edges {
        let Some(row) = table.get(package) else {
            findings
                .push(finding(1, format!("package '{package}' has no row in the table of edges")));
            continue;
        };
        let Allowed::These(allowed) = &row.allowed else { continue };
        for dependency in dependencies.difference(allowed) {
            findings.push(finding(
                row.line,
                format!("'{package}' depends on '{dependency}', which the table does not allow"),
            ));
        }
        for unknown in allowed.iter().filter(|name| !edges.contains_key(*name)) {
            findings.push(finding(row.line, format!("'{unknown}' is no package of the workspace")));
        }
    }
    for (package, row) in table.iter().filter(|(package, _)| !edges.contains_key(*package)) {
        findings.push(finding(row.line, format!("there is no package '{package}'")));
    }
    findings
}

/// Package name → names of workspace packages that it depends on (normal and build dependencies).
fn read_metadata(metadata: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let metadata: serde_json::Value =
        serde_json::from_str(metadata).context("read the answer of cargo metadata")?;
    let mut edges = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let inside = dependencies
            .filter(|d| d["path"].is_string() && d["kind"].as_str() != Some("dev"))
            .filter_map(|d| d["name"].as_str().map(str::to_owned))
            .collect();
        edges.insert(name, inside);
    }
    Ok(edges)
}

fn read_table(page: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let mut inside = false;
    for (index, line) in page.lines().enumerate() {
        if line.starts_with('#') {
            inside = line.trim_start_matches('#').trim().eq_ignore_ascii_case("edges");
        }
        let Some(cells) = line.trim().strip_prefix('|').filter(|_| inside) else { continue };
        let cells: Vec<String> = cells.split('|').map(|c| c.trim().replace('`', "")).collect();
        let [package, allowed, ..] = cells.as_slice() else { continue };
        if package == "package" || package.starts_with('-') || package.starts_with(':') {
            continue;
        }
        rows.insert(package.clone(), Row { line: index + 1, allowed: read_allowed(allowed) });
    }
    rows
}

fn read_allowed(cell: &str) -> Allowed {
    match cell {
        "anything" => Allowed::Anything,
        "nobody" | "" | "-" | "–" => Allowed::These(BTreeSet::new()),
        names => Allowed::These(names.split(',').map(|name| name.trim().to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{print, tree};
    use super::*;

    const METADATA: &str = r#"{"packages":[
        {"name":"oci","dependencies":[{"name":"serde","kind":null}]},
        {"name":"store","dependencies":[{"name":"oci","path":"/x/oci","kind":null},{"name":"tests","path":"/x/tests","kind":"dev"}]},
        {"name":"tests","dependencies":[{"name":"store","path":"/x/store","kind":null}]}]}"#;

    fn check_page(page: &str) -> String {
        print(&check(&tree(&[(PAGE, page)]), METADATA).expect("metadata parses"))
    }

    #[test]
    fn a_table_that_says_what_is_passes() {
        let page = "# A\n## Edges\n| package | may depend on |\n|---|---|\n| `oci` | nobody |\n| store | `oci` |\n| tests | anything |\n## More\n| x | y |\n";
        assert_eq!(check_page(page), "");
    }

    #[test]
    fn an_edge_that_the_table_does_not_allow_is_found() {
        let page = "## Edges\n| package | may depend on |\n|---|---|\n| oci | nobody |\n| store | nobody |\n| tests | anything |\n";
        assert_eq!(
            check_page(page),
            "docs/architecture.md:5: 'store' depends on 'oci', which the table does not allow\n"
        );
    }

    #[test]
    fn a_package_without_a_row_and_a_row_without_a_package_are_found() {
        let page = "## Edges\n| package | may depend on |\n|---|---|\n| oci | nobody |\n| store | oci |\n| api | nobody |\n";
        let said = check_page(page);
        assert!(said.contains("package 'tests' has no row"), "{said}");
        assert!(said.contains("there is no package 'api'"), "{said}");
    }

    #[test]
    fn a_page_without_the_table_is_found() {
        assert!(check_page("# Architecture\n").contains("no table"));
    }
}
