//! What package managers recorded in an image: Debian's, Python's and npm's databases, read from its layers.

mod dpkg;
mod npm;
mod python;

use std::collections::BTreeMap;
use std::io::Read;

use oci::Descriptor;
use store::Store;
use store::tar::{Entry, Kind, Reader};

use crate::error::{Error, Result};
use crate::limits::{PACKAGE_FILE_BYTES_MAX, PACKAGE_FILES_BYTES_MAX};
use crate::tree::{Stream, open_stream};

/// A package in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its package URL.
    pub purl: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who keeps it, as `Name <address>`, where that is recorded.
    pub supplier: Option<String>,
    /// The file of the image that says so.
    pub recorded_in: String,
}

/// The package databases of an image: path to content.
#[derive(Debug, Clone, Default)]
pub struct Databases(BTreeMap<String, Vec<u8>>);

impl Databases {
    /// Reads them from layers, base first; later ones replace and remove what earlier ones have.
    pub fn read(store: &Store, layers: &[Descriptor]) -> Result<Self> {
        let mut found = Databases::default();
        for layer in layers {
            let unreadable =
                |reason: String| Error::Packages { layer: layer.digest().clone(), reason };
            let blob = store.content().open(layer.digest())?;
            let stream = open_stream(Box::new(blob)).map_err(|e| unreadable(e.to_string()))?;
            let Stream::Archive(archive) = stream else { continue };
            found.apply(Reader::new(archive)).map_err(unreadable)?;
        }
        Ok(found)
    }

    fn apply<R: std::io::BufRead>(&mut self, mut layer: Reader<R>) -> Result<(), String> {
        let below: Vec<String> = self.0.keys().cloned().collect();
        while let Some(entry) = layer.next_entry().map_err(|e| e.to_string())? {
            let path = path_of(&entry);
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if name == ".wh..wh..opq" {
                below.iter().filter(|old| is_inside(old, folder)).for_each(|old| {
                    self.0.remove(old);
                });
                continue;
            }
            if let Some(gone) = name.strip_prefix(".wh.") {
                let gone =
                    if folder.is_empty() { gone.to_owned() } else { format!("{folder}/{gone}") };
                self.0.retain(|old, _| *old != gone && !is_inside(old, &gone));
                continue;
            }
            if entry.kind != Kind::Directory {
                // What was a folder is none any more.
                self.0.retain(|old, _| *old != path && !is_inside(old, &path));
            }
            if entry.kind == Kind::File && Database::of(&path).is_some() {
                let content = content(&mut layer, &entry)?;
                self.0.insert(path, content);
                let bytes: usize = self.0.values().map(Vec::len).sum();
                if bytes > PACKAGE_FILES_BYTES_MAX {
                    return Err(format!(
                        "its package databases are larger than {PACKAGE_FILES_BYTES_MAX} bytes"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The packages, sorted.
    pub fn packages(&self) -> Vec<Package> {
        let distribution = Distribution::of(self);
        let mut found = Vec::new();
        for (path, content) in &self.0 {
            // Names and versions are ASCII; an odd byte in a description costs nothing.
            let text = String::from_utf8_lossy(content);
            match Database::of(path) {
                Some(Database::Debian) => found.extend(dpkg::packages(path, &text, &distribution)),
                Some(Database::Python) => found.extend(python::package(path, &text)),
                Some(Database::Npm) => found.extend(npm::package(path, &text)),
                Some(Database::Release) | None => {}
            }
        }
        found.sort();
        found.dedup_by(|a, b| a.purl == b.purl && a.recorded_in == b.recorded_in);
        found
    }
}

/// Which distribution an image is made of (os-release(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Distribution {
    id: String,
    version: String,
}

impl Distribution {
    fn of(databases: &Databases) -> Self {
        let files = ["etc/os-release", "usr/lib/os-release"];
        let text = files.iter().find_map(|path| databases.0.get(*path));
        let text = text.map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        Distribution {
            id: field("ID").unwrap_or_else(|| "debian".to_owned()),
            version: field("VERSION_ID").unwrap_or_default(),
        }
    }
}

/// A kind of file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    Debian,
    Python,
    Npm,
    Release,
}

impl Database {
    fn of(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = folder.rsplit('/').next().unwrap_or(folder);
        if path == "var/lib/dpkg/status"
            || (folder == "var/lib/dpkg/status.d" && !name.ends_with(".md5sums"))
        {
            Some(Self::Debian)
        } else if (name == "METADATA" && parent.ends_with(".dist-info"))
            || (name == "PKG-INFO" && parent.ends_with(".egg-info"))
            || name.ends_with(".egg-info")
        {
            Some(Self::Python)
        } else if name == "package.json" && npm::is_installed(folder) {
            Some(Self::Npm)
        } else if matches!(path, "etc/os-release" | "usr/lib/os-release") {
            Some(Self::Release)
        } else {
            None
        }
    }
}

fn is_inside(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn path_of(entry: &Entry) -> String {
    let text = String::from_utf8_lossy(&entry.path);
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

fn content<R: std::io::BufRead>(layer: &mut Reader<R>, entry: &Entry) -> Result<Vec<u8>, String> {
    if entry.size > PACKAGE_FILE_BYTES_MAX {
        return Err(format!(
            "{} is larger than {PACKAGE_FILE_BYTES_MAX} bytes",
            String::from_utf8_lossy(&entry.path)
        ));
    }
    let mut bytes = Vec::new();
    layer.data().take(PACKAGE_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// The first value of `Key: value` in the head of a message; folded lines are not followed.
fn header<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let head = text.lines().take_while(|line| !line.is_empty());
    head.filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
