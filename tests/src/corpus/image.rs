//! An image read as it lies in an archive or a layout, without any code of ours that reads images: its file tree as one
//! line per path, and its config.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use oci::Digest;
use serde_json::{Map, Value};
use xtask::images::Base;

/// Longer contents are shown by their digest.
const SHOWN_BYTES: usize = 160;

/// What an image holds.
#[derive(Debug, Clone)]
pub struct Image {
    /// The config as it was written.
    pub config: Value,
    /// Path to what is there.
    pub tree: BTreeMap<String, String>,
}

/// A file system under construction.
#[derive(Debug, Default)]
struct Tree {
    paths: BTreeMap<String, usize>,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    is_folder: bool,
    line: String,
}

/// The image that a name stands for in an OCI layout, for example in a root of Wherry.
#[track_caller]
pub fn of_layout(root: &Path, name: &str) -> Image {
    let manifest = json(&blob(root, &named(root, name)));
    let layers = manifest["layers"].as_array().expect("a manifest has layers");
    let layers: Vec<PathBuf> = layers.iter().map(|layer| blob(root, layer)).collect();
    Image { config: json(&blob(root, &manifest["config"])), tree: flatten(&layers) }
}

/// The digest of the manifest that a name stands for in an OCI layout.
#[track_caller]
pub fn digest_of(root: &Path, name: &str) -> String {
    named(root, name)["digest"].as_str().expect("a descriptor has a digest").to_owned()
}

#[track_caller]
fn named(root: &Path, name: &str) -> Value {
    let index = json(&root.join("index.json"));
    let entries = index["manifests"].as_array().expect("an index has manifests");
    let entry = entries
        .iter()
        .find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == name);
    entry.unwrap_or_else(|| panic!("{name} is not in {}", root.display())).clone()
}

/// The image in a `docker save` archive that was unpacked into a folder.
#[track_caller]
pub fn of_saved(folder: &Path) -> Image {
    let manifest = json(&folder.join("manifest.json"));
    let at = |value: &Value| folder.join(value.as_str().expect("a path"));
    let layers = manifest[0]["Layers"].as_array().expect("a manifest has layers");
    let layers: Vec<PathBuf> = layers.iter().map(at).collect();
    Image { config: json(&at(&manifest[0]["Config"])), tree: flatten(&layers) }
}

/// The busybox base image's tree.
pub fn busybox() -> &'static BTreeMap<String, String> {
    static TREE: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    TREE.get_or_init(|| flatten(&[crate::site::base_tar(Base::Busybox)]))
}

/// The digest of the busybox binary: it is called by its name, because it is another one in another release of Debian.
fn busybox_digest() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| {
        let mut archive =
            tar::Archive::new(File::open(crate::site::base_tar(Base::Busybox)).expect("open"));
        let entries = archive.entries().expect("a tar has entries");
        for entry in entries {
            let mut entry = entry.expect("an entry");
            if entry.path().expect("a path").ends_with("bin/busybox") {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("read an entry");
                return Digest::sha256(&bytes).to_string();
            }
        }
        panic!("busybox has no /bin/busybox")
    })
}

#[track_caller]
fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn blob(root: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
    root.join("blobs").join(digest.replace(':', "/"))
}

/// Applies layers, base first.
fn flatten(layers: &[PathBuf]) -> BTreeMap<String, String> {
    let mut tree = Tree::default();
    for layer in layers {
        let mut magic = [0; 2];
        let mut file = File::open(layer).unwrap_or_else(|e| panic!("{}: {e}", layer.display()));
        let is_gzip = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
        let file = File::open(layer).expect("it was opened before");
        match is_gzip {
            true => tree.apply(GzDecoder::new(file)),
            false => tree.apply(file),
        }
    }
    tree.lines()
}

impl Tree {
    fn apply(&mut self, layer: impl Read) {
        let mut archive = tar::Archive::new(layer);
        let below: Vec<String> = self.paths.keys().cloned().collect();
        for entry in archive.entries().expect("a layer is a tar") {
            let mut entry = entry.expect("an entry of a layer");
            let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = format!("/{}", raw.trim_start_matches("./").trim_matches('/'));
            if path == "/" || path == "/." {
                continue;
            }
            let (folder, name) = path.rsplit_once('/').expect("it begins with a slash");
            if name == ".wh..wh..opq" {
                let inside = format!("{folder}/");
                for old in below.iter().filter(|old| old.starts_with(&inside)) {
                    self.paths.remove(old);
                }
            } else if let Some(gone) = name.strip_prefix(".wh.") {
                self.remove(&format!("{folder}/{gone}"));
            } else {
                self.add(&path, &mut entry);
            }
        }
    }

    fn remove(&mut self, path: &str) {
        let inside = format!("{path}/");
        self.paths.retain(|old, _| old != path && !old.starts_with(&inside));
    }

    fn add(&mut self, path: &str, entry: &mut tar::Entry<'_, impl Read>) {
        let kind = entry.header().entry_type();
        if kind.is_hard_link() {
            let target = entry.link_name_bytes().expect("a hard link has a target");
            let target = String::from_utf8_lossy(&target).into_owned();
            let target = format!("/{}", target.trim_start_matches("./").trim_matches('/'));
            let node = self.paths.get(&target).copied();
            let node = node.unwrap_or_else(|| panic!("{path}: a hard link to nothing: {target}"));
            self.paths.insert(path.to_owned(), node);
            return;
        }
        let was_folder = self.paths.get(path).is_some_and(|node| self.nodes[*node].is_folder);
        if was_folder && !kind.is_dir() {
            self.remove(path);
        }
        self.nodes.push(Node { is_folder: kind.is_dir(), line: line(entry) });
        self.paths.insert(path.to_owned(), self.nodes.len() - 1);
    }

    /// One line per path; hard links name the first of their group.
    fn lines(&self) -> BTreeMap<String, String> {
        let mut first: BTreeMap<usize, &str> = BTreeMap::new();
        let mut lines = BTreeMap::new();
        for (path, node) in &self.paths {
            let line = &self.nodes[*node].line;
            let shown = match first.get(node) {
                Some(other) => format!("{line} = {other}"),
                None => line.clone(),
            };
            first.entry(*node).or_insert(path);
            lines.insert(path.clone(), shown);
        }
        lines
    }
}

/// `file 644 0:0 "content"`, `link 0:0 -> target`, `dir 755 0:0 user.x=y`.
fn line(entry: &mut tar::Entry<'_, impl Read>) -> String {
    let header = entry.header().clone();
    let number = |value: std::io::Result<u64>| value.expect("a number in a header");
    let owner = format!("{}:{}", number(header.uid()), number(header.gid()));
    let mode = header.mode().expect("a mode") & 0o7777;
    let mut attributes = attributes(entry);
    attributes.sort();
    let attributes: String = attributes.iter().map(|pair| format!(" {pair}")).collect();
    let kind = header.entry_type();
    let text = match kind {
        tar::EntryType::Symlink => {
            let target = entry.link_name_bytes().expect("a link has a target");
            return format!("link {owner} -> {}{attributes}", String::from_utf8_lossy(&target));
        }
        tar::EntryType::Directory => "dir".to_owned(),
        tar::EntryType::Fifo => "fifo".to_owned(),
        tar::EntryType::Regular | tar::EntryType::GNUSparse => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("read an entry");
            return format!("file {mode:o} {owner} {}{attributes}", content(&bytes));
        }
        other => format!("{other:?}"),
    };
    format!("{text} {mode:o} {owner}{attributes}")
}

fn content(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= SHOWN_BYTES => Value::from(text).to_string(),
        _ => {
            let digest = Digest::sha256(bytes).to_string();
            match bytes.len() > 500_000 && digest == busybox_digest() {
                true => "busybox".to_owned(),
                false => format!("{} {digest}", bytes.len()),
            }
        }
    }
}

fn attributes(entry: &mut tar::Entry<'_, impl Read>) -> Vec<String> {
    let Ok(Some(extensions)) = entry.pax_extensions() else { return Vec::new() };
    extensions
        .filter_map(|extension| {
            let extension = extension.expect("a PAX record");
            let name = extension.key().ok()?.strip_prefix("SCHILY.xattr.")?;
            Some(format!("{name}={}", String::from_utf8_lossy(extension.value_bytes())))
        })
        .collect()
}

/// The fields of a config that images carry, without those that are empty.
pub fn fields(config: &Value) -> Map<String, Value> {
    let inner =
        ["User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels", "ExposedPorts", "Volumes"];
    let more = ["StopSignal", "Shell", "Healthcheck", "OnBuild", "ArgsEscaped"];
    let mut found = Map::new();
    for name in ["architecture", "os", "variant", "author"] {
        found.insert(name.to_owned(), config[name].clone());
    }
    for name in inner.into_iter().chain(more) {
        found.insert(name.to_owned(), config["config"][name].clone());
    }
    found.retain(|_, value| !is_empty(value));
    found
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// `created_by` of each step, `-` before those without a layer.
pub fn history(config: &Value) -> Vec<String> {
    let steps = config["history"].as_array().cloned().unwrap_or_default();
    let line = |step: &Value| {
        let mark = if step["empty_layer"] == Value::Bool(true) { "- " } else { "" };
        format!("{mark}{}", step["created_by"].as_str().unwrap_or_default())
    };
    steps.iter().map(line).collect()
}
