//! Whole trees without overlay: a stack copied into one directory, and a directory compared
//! with a stack.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, Stat, openat};

use crate::layer::diff::{directory_entry, leaf_entry, same_directory, same_file, same_node};
use crate::layer::inode::{Attributes, is_dir, kind_of, look_at, make_node, make_whiteout};
use crate::layer::path::LayerPath;
use crate::layer::{Found, Stack};
use crate::tar::Kind;

/// Copies what a stack shows into an existing, empty directory.
pub(super) fn materialize(stack: &Stack, to: &Path) -> io::Result<()> {
    let Some(root) = stack.root()? else { return Ok(()) };
    let mut copier = Copier { stack, links: HashMap::new() };
    copier.directory(&root, to)
}

/// Copies what a stack shows under `path`, if that is a directory, into an existing, empty one.
pub(crate) fn materialize_at(stack: &Stack, path: &str, to: &Path) -> io::Result<()> {
    match stack.resolve(path)? {
        Some(found) if found.is_dir() => {
            Copier { stack, links: HashMap::new() }.directory(&found, to)
        }
        _ => Ok(()),
    }
}

struct Copier<'a> {
    stack: &'a Stack,
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn directory(&mut self, from: &Found, to: &Path) -> io::Result<()> {
        for (name, found) in self.stack.children(from)? {
            let path = to.join(std::ffi::OsStr::from_bytes(&name));
            match found.is_dir() {
                true => {
                    std::fs::create_dir(&path)?;
                    self.directory(&found, &path)?;
                }
                false => self.leaf(&found, to, &name)?,
            }
        }
        let dir = open_dir(to)?;
        let attributes = Attributes::of(from.path(), from.stat())?;
        attributes.apply(&dir)?;
        attributes.apply_time(&dir)
    }

    fn leaf(&mut self, found: &Found, to: &Path, name: &[u8]) -> io::Result<()> {
        let path = to.join(std::ffi::OsStr::from_bytes(name));
        let inode = (found.stat().st_dev, found.stat().st_ino);
        if found.stat().st_nlink > 1 {
            if let Some(first) = self.links.get(&inode) {
                return std::fs::hard_link(first, &path);
            }
            self.links.insert(inode, path.clone());
        }
        copy_leaf(found.path(), found.stat(), to, name)
    }
}

fn copy_leaf(from: &Path, stat: &Stat, to: &Path, name: &[u8]) -> io::Result<()> {
    let path = to.join(std::ffi::OsStr::from_bytes(name));
    let attributes = Attributes::of(from, stat)?;
    match kind_of(stat) {
        Some(Kind::File) => {
            let (mut source, mut target) = (File::open(from)?, File::create_new(&path)?);
            // Shares the blocks where the file system can.
            if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
                io::copy(&mut source, &mut target)?;
            }
            attributes.apply(&target)?;
            attributes.apply_time(&target)
        }
        Some(Kind::Symlink) => {
            std::os::unix::fs::symlink(std::fs::read_link(from)?, &path)?;
            attributes.apply_at(&open_dir(to)?, name, Kind::Symlink)
        }
        Some(kind) => {
            let dir = open_dir(to)?;
            make_node(&dir, name, kind)?;
            attributes.apply_at(&dir, name, kind)
        }
        // A socket is no content.
        None => Ok(()),
    }
}

/// Puts into `to`, in overlay form, what makes `tree` differ from the stack below. Files are
/// hard links: nothing is copied.
pub(super) fn changes(tree: &Path, below: &Stack, to: &Path) -> io::Result<()> {
    let root = below.root()?;
    compare(tree, below, root.as_ref(), to)?;
    let dir = open_dir(to)?;
    let attributes = Attributes::of(tree, &rustix::fs::stat(tree)?)?;
    attributes.apply(&dir)?;
    attributes.apply_time(&dir)
}

/// Compares one directory; says whether anything in it differs.
fn compare(tree: &Path, below: &Stack, lower: Option<&Found>, to: &Path) -> io::Result<bool> {
    let mut differs = false;
    let mut here = BTreeSet::new();
    for entry in std::fs::read_dir(tree)? {
        here.insert(entry?.file_name().into_vec());
    }
    if let Some(lower) = lower {
        for name in below.list(lower)?.iter().filter(|name| !here.contains(*name)) {
            make_whiteout(&open_dir(to)?, name)?;
            differs = true;
        }
    }
    for name in &here {
        let path = tree.join(std::ffi::OsStr::from_bytes(name));
        let Some(stat) = look_at(&path)? else { continue };
        let found = lower.map(|lower| lower.child(name)).transpose()?.flatten();
        let target = to.join(std::ffi::OsStr::from_bytes(name));
        differs |= match is_dir(&stat) {
            true => compare_directory(&path, &stat, below, found.as_ref(), &target)?,
            false => compare_leaf(&path, &stat, found.as_ref(), &target)?,
        };
    }
    Ok(differs)
}

fn compare_directory(
    path: &Path,
    stat: &Stat,
    below: &Stack,
    found: Option<&Found>,
    target: &Path,
) -> io::Result<bool> {
    let found = found.filter(|found| found.is_dir());
    std::fs::create_dir(target)?;
    let inside = compare(path, below, found, target)?;
    let entry = directory_entry(&LayerPath::default(), path, stat)?;
    let itself = match found {
        Some(found) => !same_directory(found, &entry)?,
        None => true,
    };
    if !inside && !itself {
        std::fs::remove_dir(target)?;
        return Ok(false);
    }
    let dir = open_dir(target)?;
    let attributes = Attributes::of(path, stat)?;
    attributes.apply(&dir)?;
    attributes.apply_time(&dir)?;
    Ok(true)
}

fn compare_leaf(
    path: &Path,
    stat: &Stat,
    found: Option<&Found>,
    target: &Path,
) -> io::Result<bool> {
    let Some(kind) = kind_of(stat) else { return Ok(false) };
    let mut entry = leaf_entry(&LayerPath::default(), path, stat)?;
    entry.kind = kind;
    if kind == Kind::Symlink {
        entry.link = std::fs::read_link(path)?.into_os_string().into_vec();
    }
    let same = match (found, kind) {
        (None, _) => false,
        (Some(found), Kind::File) => same_file(found, &entry, stat, path),
        (Some(found), _) => same_node(found, &entry)?,
    };
    if !same {
        std::fs::hard_link(path, target)?;
    }
    Ok(!same)
}

/// Bytes of all regular files below a directory.
pub(crate) fn bytes_in(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => bytes_in(&entry.path())?,
            false if metadata.is_file() => metadata.len(),
            false => 0,
        };
    }
    Ok(bytes)
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}
