//! What a peer made of a case, as a file, and how an image of ours differs from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Case;
use super::image::{self, Image};

/// What an image adds to the base image.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Fields of the config.
    pub config: Map<String, Value>,
    /// Steps after those of the base image.
    pub history: Vec<String>,
    /// Paths of the base image that are gone.
    pub removed: Vec<String>,
    /// Paths that are new or changed.
    pub tree: BTreeMap<String, String>,
}

/// A recorded result.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Whose it is, with the version.
    pub peer: String,
    /// Peers that gave the same tree and config.
    pub also: Vec<String>,
    /// The result.
    pub seen: Seen,
}

/// Where a peer's runtime mounts something for a step.
const STUBS: [&str; 7] =
    ["/dev", "/proc", "/sys", "/run", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// A line of history without what releases of BuildKit word differently, which is intended: newer ones show the value
/// of an argument that was given, and the fields of a health check by name.
fn told(line: &str) -> String {
    if let Some(arguments) = line.strip_prefix("- ARG ") {
        let names = arguments.split(' ').filter_map(|word| word.split('=').next());
        return format!("- ARG {}", names.collect::<Vec<_>>().join(" "));
    }
    if line.starts_with("- HEALTHCHECK ") { "- HEALTHCHECK".to_owned() } else { line.to_owned() }
}

/// An empty folder or file of root, as a runtime makes it.
fn is_stub(line: &str) -> bool {
    ["dir 755 0:0", "file 755 0:0 \"\""].contains(&line)
}

impl Seen {
    /// The differences of an image from busybox, or all of it where it is not made from busybox.
    pub fn of(image: &Image) -> Self {
        let base = image::busybox();
        let is_child = ["/bin/ash", "/etc/group"].iter().all(|path| image.tree.contains_key(*path));
        let is_new =
            |(path, line): &(&String, &String)| !is_child || base.get(*path) != Some(*line);
        let tree = image.tree.iter().filter(is_new).map(|(p, l)| (p.clone(), l.clone())).collect();
        let gone = base.keys().filter(|path| is_child && !image.tree.contains_key(*path));
        let mut history = image::history(&image.config);
        if is_child && !history.is_empty() {
            history.remove(0);
        }
        let removed = gone.cloned().collect();
        Seen { config: image::fields(&image.config), history, removed, tree }
    }

    /// The same without what families of builders have of their own: the text of the history, a mark that only BuildKit
    /// sets, the root as the working directory, empty places where a step had something mounted.
    pub fn without_family(mut self) -> Self {
        self.history.clear();
        self.config.remove("ArgsEscaped");
        if self.config.get("WorkingDir").is_some_and(|folder| folder == "/") {
            self.config.remove("WorkingDir");
        }
        for stub in STUBS {
            if self.tree.get(stub).is_some_and(|line| is_stub(line)) {
                self.tree.remove(stub);
            }
        }
        self
    }

    /// One line per difference, `tree/PATH: ours, the peer's`.
    pub fn differences(&self, peer: &Seen) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut compare = |what: String, ours: Option<String>, theirs: Option<String>| {
            if ours != theirs {
                let show = |side: Option<String>| side.unwrap_or_else(|| "nothing".to_owned());
                found.push((what, format!("{} instead of {}", show(ours), show(theirs))));
            }
        };
        for name in keys(self.config.keys(), peer.config.keys()) {
            let (ours, theirs) = (self.config.get(&name), peer.config.get(&name));
            // The order of fields says nothing.
            if ours != theirs {
                let text = |value: Option<&Value>| value.map(Value::to_string);
                compare(format!("config/{name}"), text(ours), text(theirs));
            }
        }
        let lines = |seen: &Seen| {
            Some(seen.history.iter().map(|line| told(line)).collect::<Vec<_>>().join("\n"))
        };
        compare("history".to_owned(), lines(self), lines(peer));
        for path in keys(self.tree.keys(), peer.tree.keys()) {
            let (ours, theirs) = (self.tree.get(&path), peer.tree.get(&path));
            if ours.is_none() && STUBS.contains(&&*path) && theirs.is_some_and(|l| is_stub(l)) {
                // Intended: places for mounts that a step leaves are not part of its layer.
                continue;
            }
            compare(format!("tree{path}"), ours.cloned(), theirs.cloned());
        }
        for path in keys(self.removed.iter(), peer.removed.iter()) {
            let gone = |seen: &Seen| seen.removed.contains(&path).then(|| "gone".to_owned());
            compare(format!("tree{path}"), gone(self), gone(peer));
        }
        found
    }
}

fn keys<'a>(
    ours: impl Iterator<Item = &'a String>,
    theirs: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    let mut all: Vec<String> = ours.chain(theirs).cloned().collect();
    all.sort();
    all.dedup();
    all
}

impl Case {
    fn expected_path(&self) -> PathBuf {
        super::folder().join("expected").join(format!("{}.json", self.name))
    }

    /// Whether anything was recorded for this case.
    pub fn is_recorded(&self) -> bool {
        self.expected_path().exists()
    }

    /// What was recorded for this case.
    #[track_caller]
    pub fn expected(&self) -> Expected {
        let path = self.expected_path();
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}: cargo xtask golden corpus", path.display()));
        let value: Value = serde_json::from_str(&text).expect("a recorded result is JSON");
        let strings = |value: &Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.map(|item| item.as_str().expect("a string").to_owned()).collect()
        };
        let tree = value["tree"].as_object().cloned().unwrap_or_default();
        let line = |value: Value| value.as_str().expect("a line").to_owned();
        Expected {
            peer: value["peer"].as_str().expect("a peer").to_owned(),
            also: strings(&value["also"]),
            seen: Seen {
                config: value["config"].as_object().cloned().unwrap_or_default(),
                history: strings(&value["history"]),
                removed: strings(&value["removed"]),
                tree: tree.into_iter().map(|(path, value)| (path, line(value))).collect(),
            },
        }
    }

    /// Records what a peer made.
    pub fn record(&self, expected: &Expected) {
        let path = self.expected_path();
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("make the folder");
        let seen = &expected.seen;
        let value = json!({
            "peer": expected.peer, "also": expected.also, "config": seen.config,
            "history": seen.history, "removed": seen.removed, "tree": seen.tree,
        });
        let mut text = serde_json::to_string_pretty(&value).expect("a value prints");
        text.push('\n');
        fs::write(&path, text).expect("write a recorded result");
    }
}
