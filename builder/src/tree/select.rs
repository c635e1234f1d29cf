//! From a source path of COPY to what it names: wildcards, links, ignore patterns.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, openat, readlinkat, statat};

use super::walk::{Entry, Filter, Kind, Meta, names, walk};
use super::{Root, is_absent};
use crate::context::ignore::Patterns;
use crate::graph::CopyItem;
use crate::paths;

/// One thing that a source path names.
#[derive(Debug)]
pub(crate) struct Match {
    /// The name that it has in a destination folder.
    pub(crate) name: String,
    /// What it is, links followed.
    pub(crate) meta: Meta,
    /// Open: a folder for reading, anything else as a path only.
    pub(crate) fd: OwnedFd,
    /// The entries of a folder.
    pub(crate) entries: Vec<Entry>,
    /// True when only chosen entries with their parents are meant.
    pub(crate) parents: bool,
}

/// What a source path came to.
#[derive(Debug)]
pub(crate) enum Selection {
    /// These; none only for a wildcard.
    Found(Vec<Match>),
    /// A plain path that is not there.
    Missing {
        /// True when an ignore pattern hides it.
        ignored: bool,
    },
}

/// Finds what `item` names below `root`.
pub(crate) fn select(
    root: &Root,
    item: &CopyItem,
    ignore: Option<&Patterns>,
    exclude: &Patterns,
) -> io::Result<Selection> {
    let CopyItem::Path { path, pattern, .. } = item else {
        return Ok(Selection::Found(Vec::new()));
    };
    if let Some(pattern) = pattern {
        return select_parents(root, path, pattern, ignore, exclude);
    }
    if !paths::has_wildcard(path) {
        return select_plain(root, &unescape(path), ignore, exclude);
    }
    let mut found = Vec::new();
    for candidate in wildcard(root, path)? {
        if let Selection::Found(matches) = select_plain(root, &candidate, ignore, exclude)? {
            found.extend(matches);
        }
    }
    Ok(Selection::Found(found))
}

/// A backslash takes the meaning from the character behind it.
fn unescape(path: &str) -> String {
    let mut out = String::new();
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

fn select_plain(
    root: &Root,
    path: &str,
    ignore: Option<&Patterns>,
    exclude: &Patterns,
) -> io::Result<Selection> {
    let fd = match root.open_at(Path::new(path), OFlags::PATH) {
        Err(e) if is_absent(&e) => return Ok(Selection::Missing { ignored: false }),
        fd => fd?,
    };
    let meta = Meta::of(&statat(&fd, "", AtFlags::EMPTY_PATH)?);
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    // Both the name that was given and the file that it leads to must be part of the context.
    let real = root.real_path(&fd).unwrap_or_else(|| PathBuf::from(path));
    let hidden = |p: &str| ignore.is_some_and(|patterns| !p.is_empty() && patterns.excludes(p));
    let is_hidden = hidden(path) || hidden(&real.to_string_lossy());
    if meta.kind != Kind::Folder {
        if is_hidden {
            return Ok(Selection::Missing { ignored: true });
        }
        if meta.kind == Kind::Socket || exclude.excludes(&name) || exclude.excludes(path) {
            return Ok(Selection::Found(Vec::new()));
        }
        return Ok(Selection::Found(vec![Match {
            name,
            meta,
            fd,
            entries: Vec::new(),
            parents: false,
        }]));
    }
    let folder = root.open_at(Path::new(path), OFlags::RDONLY | OFlags::DIRECTORY)?;
    let filter = Filter {
        ignore: ignore.map(|p| (p, real)),
        exclude: Some(exclude).filter(|p| !p.is_empty()),
        only: None,
    };
    let entries = walk(&folder, &filter)?;
    if is_hidden && entries.is_empty() {
        return Ok(Selection::Missing { ignored: true });
    }
    Ok(Selection::Found(vec![Match { name, meta, fd: folder, entries, parents: false }]))
}

/// `--parents`: the pattern is matched below `path`, and the folders above what it finds come along.
fn select_parents(
    root: &Root,
    path: &str,
    pattern: &str,
    ignore: Option<&Patterns>,
    exclude: &Patterns,
) -> io::Result<Selection> {
    let required = !paths::has_wildcard(path) && !paths::has_wildcard(pattern);
    let starts =
        if paths::has_wildcard(path) { wildcard(root, path)? } else { vec![unescape(path)] };
    let only = if pattern.is_empty() { Patterns::new(&["**"]) } else { Patterns::new(&[pattern]) };
    let only = only.map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
    let mut found = Vec::new();
    for start in starts {
        let folder = match root.open_at(Path::new(&start), OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(e) if is_absent(&e) => continue,
            folder => folder?,
        };
        let real = root.real_path(&folder).unwrap_or_else(|| PathBuf::from(&start));
        let filter = Filter {
            ignore: ignore.map(|p| (p, real)),
            exclude: Some(exclude).filter(|p| !p.is_empty()),
            only: Some(&only),
        };
        let entries = walk(&folder, &filter)?;
        if entries.is_empty() {
            continue;
        }
        let meta = Meta::of(&statat(&folder, "", AtFlags::EMPTY_PATH)?);
        found.push(Match { name: String::new(), meta, fd: folder, entries, parents: true });
    }
    if found.is_empty() && required {
        let whole = paths::from_root(&format!("{path}/{pattern}"));
        let ignored = root.stat(Path::new(&whole))?.is_some();
        return Ok(Selection::Missing { ignored });
    }
    Ok(Selection::Found(found))
}

/// The paths that fit a wildcard, part by part: `*` does not cross a `/`.
fn wildcard(root: &Root, pattern: &str) -> io::Result<Vec<String>> {
    let mut found = vec![String::new()];
    for part in pattern.split('/').filter(|p| !p.is_empty()) {
        let mut next = Vec::new();
        for folder in found {
            let join = |name: &str| {
                if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
            };
            if !paths::has_wildcard(part) {
                next.push(join(&unescape(part)));
                continue;
            }
            let handle = match root.open_at(Path::new(&folder), OFlags::RDONLY | OFlags::DIRECTORY)
            {
                Err(e) if is_absent(&e) => continue,
                handle => handle?,
            };
            for name in names(&handle)? {
                let Some(name) = name.to_str() else { continue };
                if paths::matches(part, name)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?
                {
                    next.push(join(name));
                }
            }
        }
        found = next;
    }
    found.retain(|path| root.stat(Path::new(path)).is_ok_and(|s| s.is_some()));
    Ok(found)
}

impl Match {
    /// Opens a regular file of the match for reading; `""` is the match itself.
    pub(crate) fn open_file(&self, root: &Root, entry: Option<&Entry>) -> io::Result<OwnedFd> {
        match entry {
            // Below the match no part of the path is a link: the walk did not follow any.
            Some(entry) => self.open_below(&entry.path, OFlags::RDONLY | OFlags::NOFOLLOW),
            None => match root.real_path(&self.fd) {
                Some(path) => root.open_at(&path, OFlags::RDONLY | OFlags::NOFOLLOW),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    /// Opens an entry below the match; a link in the way is an error.
    pub(crate) fn open_below(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        use rustix::fs::{ResolveFlags, openat2};
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(openat2(
            &self.fd,
            path,
            flags | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
            resolve,
        )?)
    }

    /// The target of a link below the match.
    pub(crate) fn read_link(&self, path: &Path) -> io::Result<Vec<u8>> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default();
        if parent.as_os_str().is_empty() {
            return Ok(readlinkat(&self.fd, name, Vec::new())?.into_bytes());
        }
        let folder = openat(
            &self.fd,
            parent,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(readlinkat(&folder, name, Vec::new())?.into_bytes())
    }
}
