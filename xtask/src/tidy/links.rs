//! Links in the documents: the file must be there, and so must the heading.

use std::path::{Component, Path, PathBuf};

use super::{File, Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.text.iter().filter(|f| is_markdown(&f.path)) {
        for (line, target) in links(&file.text) {
            if let Some(message) = problem(tree, file, &target) {
                findings.push(Finding { file: file.path.clone(), line, message });
            }
        }
    }
    findings
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "md")
}

/// Why the link leads nowhere, if it does. Links to other hosts are not followed.
fn problem(tree: &Tree, file: &File, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(p, a)| (p, Some(a)));
    let full = if path.is_empty() { file.path.clone() } else { resolve(&file.path, path) };
    let known = tree.text.iter().find(|f| f.path == full);
    if known.is_none() && !tree.root.join(&full).exists() && !is_folder(tree, &full) {
        return Some(format!("broken link: there is no '{}'", full.display()));
    }
    let (anchor, page) = (anchor?, known?);
    let missing = is_markdown(&page.path) && !headings(&page.text).any(|slug| slug == anchor);
    missing.then(|| format!("broken link: '{}' has no heading '#{anchor}'", full.display()))
}

fn is_folder(tree: &Tree, path: &Path) -> bool {
    tree.text.iter().any(|f| f.path.starts_with(path))
}

/// `target` as seen from the folder of `from`, without `.` and `..`.
fn resolve(from: &Path, target: &str) -> PathBuf {
    let mut full = from.parent().unwrap_or(Path::new("")).to_path_buf();
    for component in Path::new(target).components() {
        match component {
            Component::ParentDir => {
                full.pop();
            }
            Component::Normal(name) => full.push(name),
            _ => {}
        }
    }
    full
}

/// (line, target) of each `[text](target)` outside code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in outside_fences(text) {
        let line = without_code_spans(line);
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            if let Some(end) = rest.find(')') {
                let target = rest[..end].split_whitespace().next().unwrap_or("");
                found.push((index + 1, target.trim_matches(['<', '>']).to_owned()));
            }
        }
    }
    found
}

fn outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        inside ^= fence;
        !inside && !fence
    })
}

fn without_code_spans(line: &str) -> String {
    line.split('`').enumerate().map(|(n, part)| if n % 2 == 0 { part } else { "code" }).collect()
}

/// The anchors that a page offers, made from its headings as the usual renderers make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    outside_fences(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        line.trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{print, tree};
    use super::*;

    #[test]
    fn links_to_files_and_headings_are_followed() {
        let tree = tree(&[
            (
                "docs/a.md",
                "# One\n[b](b.md#two-words) [up](../README.md) [self](#one) [web](https://example.org/x)\n",
            ),
            ("docs/b.md", "## Two words\n"),
            ("README.md", ""),
        ]);
        assert_eq!(print(&check(&tree)), "");
    }

    #[test]
    fn a_missing_file_and_a_missing_heading_are_found() {
        let tree = tree(&[
            ("docs/a.md", "[x](gone.md)\n\n[y](b.md#nowhere)\n"),
            ("docs/b.md", "# Here\n"),
        ]);
        assert_eq!(
            print(&check(&tree)),
            "docs/a.md:1: broken link: there is no 'docs/gone.md'\ndocs/a.md:3: broken link: 'docs/b.md' has no heading '#nowhere'\n"
        );
    }

    #[test]
    fn code_is_not_searched_for_links() {
        let tree = tree(&[("a.md", "```\n[x](gone.md)\n```\n`[y](gone.md)`\n")]);
        assert_eq!(print(&check(&tree)), "");
    }
}
