//! Repositories on disk: small human-readable files that link names to content.
//! The format is described in `docs/format/registry.md`.
//!
//! Content lives in the store; a link in a repository is what makes it readable there. Links are
//! written by atomic rename after the content they name, and removed before it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci::Digest;

use crate::error::Error;
use crate::limits;
use crate::name::{RepositoryName, Tag};

mod blobs;
#[cfg(test)]
pub(crate) mod faults;
mod manifests;
mod referrers;
mod tags;
mod uploads;

pub(crate) use manifests::ManifestLink;
pub(crate) use uploads::{SessionRecord, UploadId};

/// The version of the layout, in the file `layout`.
const LAYOUT_VERSION: &str = "1";

/// The folder of all repositories and the operations on it. Everything here blocks on disk.
#[derive(Debug)]
pub(crate) struct Repositories {
    folder: PathBuf,
    // Held for the life of the server: two servers on one root would lose upload sessions.
    _lock: File,
    #[cfg(test)]
    faults: faults::Faults,
}

impl Repositories {
    /// Opens `<root>/registry`, making it where it is missing.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let folder = root.join("registry");
        let fail = |source| Error::root(&folder, source);
        fs::create_dir_all(folder.join("repositories")).map_err(fail)?;
        let lock = File::create(folder.join("lock")).map_err(fail)?;
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        match rustix::fs::flock(&lock, operation) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::RootInUse { path: root.to_owned() });
            }
            Err(errno) => return Err(fail(errno.into())),
        }
        // Only this process writes here now, so half-written links of a crash can go.
        let staging = folder.join("staging");
        remove_tree(&staging).map_err(fail)?;
        fs::create_dir_all(&staging).map_err(fail)?;
        let repositories = Self {
            folder,
            _lock: lock,
            #[cfg(test)]
            faults: faults::Faults::default(),
        };
        repositories.check_layout(root)?;
        Ok(repositories)
    }

    fn check_layout(&self, root: &Path) -> Result<(), Error> {
        let path = self.folder.join("layout");
        let fail = |source| Error::root(&path, source);
        match read_small(&path).map_err(fail)? {
            None => self.write(&path, format!("{LAYOUT_VERSION}\n").as_bytes()).map_err(fail),
            Some(text) if text.trim() == LAYOUT_VERSION => Ok(()),
            Some(text) => Err(Error::Layout {
                path: root.to_owned(),
                found: text.trim().to_owned(),
                expected: LAYOUT_VERSION,
            }),
        }
    }

    /// Where a fetch from an upstream gathers its bytes.
    pub(crate) fn staging(&self) -> PathBuf {
        self.folder.join("staging")
    }

    /// Whether anything was ever stored under the name.
    pub(crate) fn exists(&self, name: &RepositoryName) -> io::Result<bool> {
        let folder = self.of(name);
        Ok(folder.join("_blobs").try_exists()? || folder.join("_manifests").try_exists()?)
    }

    /// All repositories, sorted.
    pub(crate) fn list(&self) -> io::Result<Vec<RepositoryName>> {
        self.holders_of(&["_blobs", "_manifests"])
    }

    /// The repositories, sorted, that have one of the folders.
    fn holders_of(&self, markers: &[&str]) -> io::Result<Vec<RepositoryName>> {
        let mut found = Vec::new();
        walk(&self.folder.join("repositories"), "", 0, markers, &mut found)?;
        found.sort();
        Ok(found)
    }

    /// Called before every change of the disk, so that a test can make any of them fail.
    fn ask(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.ask()?;
        Ok(())
    }

    /// Removes a file; whether there was one.
    fn remove(&self, path: &Path) -> io::Result<bool> {
        self.ask()?;
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn of(&self, name: &RepositoryName) -> PathBuf {
        self.folder.join("repositories").join(name.as_str())
    }

    fn link(&self, name: &RepositoryName, kind: &str, digest: &Digest) -> PathBuf {
        self.of(name).join(kind).join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// Makes what was linked last survive a loss of power, before it is acknowledged.
    pub(crate) fn settle(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        tags: &[Tag],
    ) -> io::Result<()> {
        let link = self.link(name, "_manifests", digest);
        let tag = tags.first().map(|tag| self.tag_file(name, tag));
        self.ask()?;
        for folder in [Some(link), tag].iter().flatten().filter_map(|path| path.parent()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Writes a file so that a reader sees the old content, the new content or nothing. A file
    /// that says the same already is left as it is: it was on the disk before it had its name.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        // What cannot be read is written anew.
        let old = read_small(path).unwrap_or_default();
        if old.is_some_and(|old| old.as_bytes() == content) {
            return Ok(());
        }
        let staged = self.folder.join("staging").join(uploads::random_name()?);
        let written = self
            .ask()
            .and_then(|()| write_synced(&staged, content))
            .and_then(|()| self.ask())
            .and_then(|()| replace(&staged, path));
        if written.is_err() {
            // The staged file is of no use to anyone; its own removal may fail as well.
            let _ = fs::remove_file(&staged);
        }
        written
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_data()
}

fn replace(staged: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(staged, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or(error)?;
            fs::create_dir_all(parent)?;
            fs::rename(staged, path)
        }
        done => done,
    }
}

/// Reads a whole small file; `None` when there is none.
fn read_small(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(limits::LINK_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Removes a folder with all it holds; nothing is no error.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(()),
    }
}

// A component of the path may be a file where another name has a folder: both mean "not there".
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The names in a folder, hidden ones left out; empty when there is no folder.
fn entries(folder: &Path) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in listing {
        if let Ok(name) = entry?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// The digests that have a file `<folder>/<algorithm>/<hex>`.
fn digests(folder: &Path) -> io::Result<Vec<Digest>> {
    let mut found = Vec::new();
    for algorithm in entries(folder)? {
        for hex in entries(&folder.join(&algorithm))? {
            if let Ok(digest) = Digest::from_str(&format!("{algorithm}:{hex}")) {
                found.push(digest);
            }
        }
    }
    Ok(found)
}

fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    markers: &[&str],
    found: &mut Vec<RepositoryName>,
) -> io::Result<()> {
    if depth > limits::CATALOG_DEPTH_MAX {
        return Ok(());
    }
    let listed = entries(folder)?;
    if listed.iter().any(|entry| markers.contains(&entry.as_str()))
        && let Ok(name) = prefix.parse()
    {
        found.push(name);
    }
    for entry in listed.into_iter().filter(|entry| !entry.starts_with('_')) {
        let path = folder.join(&entry);
        if path.is_dir() {
            let name = if prefix.is_empty() { entry } else { format!("{prefix}/{entry}") };
            walk(&path, &name, depth + 1, markers, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
