//! Walking a tree: entries in a fixed order, filtered.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat};

use crate::context::ignore::{Inherited, Patterns};
use crate::limits;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    Pipe,
    CharDevice,
    BlockDevice,
    Socket,
}

/// What the file system says of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    /// Permission bits with set-id and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) links: u64,
    pub(crate) rdev: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) ctime: (i64, i64),
}

impl Meta {
    pub(crate) fn of(stat: &Stat) -> Meta {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::Fifo => Kind::Pipe,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Socket => Kind::Socket,
            _ => Kind::File,
        };
        Meta {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size.cast_unsigned(),
            dev: stat.st_dev,
            ino: stat.st_ino,
            links: stat.st_nlink,
            rdev: stat.st_rdev,
            mtime: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            ctime: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }
}

/// One entry of a walk.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Relative to where the walk began.
    pub(crate) path: PathBuf,
    pub(crate) meta: Meta,
}

/// Which entries a walk yields.
#[derive(Debug, Default, Clone)]
pub(crate) struct Filter<'a> {
    /// The ignore patterns of the context and where the walk begins in it.
    pub(crate) ignore: Option<(&'a Patterns, PathBuf)>,
    /// `--exclude`, relative to where the walk begins.
    pub(crate) exclude: Option<&'a Patterns>,
    /// `--parents`: only what this matches, relative to where the walk begins.
    pub(crate) only: Option<&'a Patterns>,
}

/// What the folders above an entry matched.
#[derive(Default, Clone)]
struct Above {
    ignore: Inherited,
    exclude: Inherited,
    only: Inherited,
}

/// Everything below an open folder, parents before children, names in byte order.
pub(crate) fn walk(folder: impl AsFd, filter: &Filter<'_>) -> io::Result<Vec<Entry>> {
    let mut above = Above::default();
    if let Some((patterns, start)) = &filter.ignore {
        let mut prefix = PathBuf::new();
        for part in start {
            prefix.push(part);
            above.ignore = patterns.step(&prefix.to_string_lossy(), &above.ignore).1;
        }
    }
    let handle =
        openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Walk { filter, count: AtomicUsize::new(0) }.folder(
        &handle,
        Path::new(""),
        &above,
        0,
        Threads::MaySpread,
    )
}

/// Folders side by side from which on it pays to look into them on several threads.
const SPREAD_MIN: usize = 8;

/// Names in one folder from which on it pays to look at them on several threads.
const WIDE: usize = 4096;

/// Whether a folder may be looked into on several threads: once on the way down.
#[derive(Clone, Copy, PartialEq)]
enum Threads {
    MaySpread,
    One,
}

struct Walk<'a, 'f> {
    filter: &'a Filter<'f>,
    count: AtomicUsize,
}

/// An entry of the folder at hand.
struct Child {
    entry: Entry,
    selected: bool,
    /// For a folder to look into: what it hands to its entries.
    inside: Option<Above>,
}

/// What the filters say about one entry.
struct Verdict {
    selected: bool,
    /// A folder whose inside may hold something selected.
    look_inside: bool,
}

impl Walk<'_, '_> {
    fn folder(
        &self,
        handle: &OwnedFd,
        path: &Path,
        above: &Above,
        depth: usize,
        threads: Threads,
    ) -> io::Result<Vec<Entry>> {
        if depth > limits::TREE_DEPTH {
            return Err(io::Error::other(format!("{}: the tree is too deep", path.display())));
        }
        let children = self.children(handle, path, above, threads)?;
        let folders: Vec<&Child> = children.iter().filter(|c| c.inside.is_some()).collect();
        let look = |child: &Child, threads| self.look_inside(handle, child, depth, threads);
        let found: Vec<io::Result<Vec<Entry>>> =
            if threads == Threads::MaySpread && folders.len() >= SPREAD_MIN {
                spread(&folders, |child| look(child, Threads::One))
            } else {
                folders.iter().map(|child| look(child, threads)).collect()
            };
        let mut found = found.into_iter();
        let mut out = Vec::with_capacity(children.len());
        for child in children {
            let below = if child.inside.is_some() {
                found.next().transpose()?.unwrap_or_default()
            } else {
                Vec::new()
            };
            // A folder that was only looked into and had nothing is not there.
            if child.selected || !below.is_empty() {
                out.push(child.entry);
                out.extend(below);
            }
        }
        Ok(out)
    }

    fn look_inside(
        &self,
        handle: &OwnedFd,
        child: &Child,
        depth: usize,
        threads: Threads,
    ) -> io::Result<Vec<Entry>> {
        let Some(inside) = &child.inside else { return Ok(Vec::new()) };
        let path = &child.entry.path;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = path.file_name().unwrap_or_default();
        let inner =
            openat(handle, name, flags, Mode::empty()).map_err(|e| named(path, e.into()))?;
        self.folder(&inner, path, inside, depth + 1, threads)
    }

    /// The entries of one folder that the filters let through, in order.
    fn children(
        &self,
        handle: &OwnedFd,
        path: &Path,
        above: &Above,
        threads: Threads,
    ) -> io::Result<Vec<Child>> {
        let names = names(handle)?;
        if threads == Threads::One || names.len() < WIDE {
            return self.look_at(handle, path, above, &names);
        }
        let chunks: Vec<&[OsString]> = names.chunks(WIDE / 4).collect();
        let mut children = Vec::with_capacity(names.len());
        for chunk in spread(&chunks, |names| self.look_at(handle, path, above, names)) {
            children.extend(chunk?);
        }
        Ok(children)
    }

    fn look_at(
        &self,
        handle: &OwnedFd,
        path: &Path,
        above: &Above,
        names: &[OsString],
    ) -> io::Result<Vec<Child>> {
        let mut children = Vec::with_capacity(names.len());
        for name in names {
            let child = path.join(name);
            let stat = match statat(handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Removed while we walked.
                Err(rustix::io::Errno::NOENT) => continue,
                stat => stat.map_err(|e| named(&child, e.into()))?,
            };
            let meta = Meta::of(&stat);
            let (verdict, inside) = self.judge(&child, meta.kind, above);
            if !verdict.selected && !verdict.look_inside {
                continue;
            }
            if self.count.fetch_add(1, Ordering::Relaxed) >= limits::CONTEXT_ENTRIES {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "the tree has too many entries",
                ));
            }
            let inside = (meta.kind == Kind::Folder && verdict.look_inside).then_some(inside);
            children.push(Child {
                entry: Entry { path: child, meta },
                selected: verdict.selected,
                inside,
            });
        }
        Ok(children)
    }

    fn judge(&self, path: &Path, kind: Kind, above: &Above) -> (Verdict, Above) {
        let text = path.to_string_lossy();
        let is_folder = kind == Kind::Folder;
        let mut inside = Above::default();
        let mut verdict = Verdict { selected: true, look_inside: is_folder };
        let mut drop = |excluded: bool, patterns: &Patterns, at: &str| {
            if excluded {
                verdict.selected = false;
                verdict.look_inside &= patterns.may_bring_back_inside(at);
            }
        };
        if let Some((patterns, start)) = &self.filter.ignore {
            let whole = start.join(path);
            let whole = whole.to_string_lossy();
            let (excluded, below) = patterns.step(&whole, &above.ignore);
            inside.ignore = below;
            drop(excluded, patterns, &whole);
        }
        if let Some(patterns) = self.filter.exclude {
            let (excluded, below) = patterns.step(&text, &above.exclude);
            inside.exclude = below;
            drop(excluded, patterns, &text);
        }
        if let Some(patterns) = self.filter.only {
            let (included, below) = patterns.step(&text, &above.only);
            inside.only = below;
            verdict.selected &= included;
        }
        // Sockets belong to a process, not to a tree.
        verdict.selected &= kind != Kind::Socket;
        (verdict, inside)
    }
}

/// Looks into every folder, as many at once as there are processors; the results are in order.
pub(super) fn spread<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if items.len() < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let one = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(one);
        }
        one();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The names in a folder, in byte order.
pub(super) fn names(folder: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}

/// An error that says which path it is about.
pub(super) fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
