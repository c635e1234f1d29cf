//! Folder trees seen from their root: nothing in them leads out.
//!
//! Every path is opened with `openat2(RESOLVE_IN_ROOT)`: absolute links and `..` end at the root of the tree, as they
//! would in a container.

mod archive;
mod hash;
mod select;
mod walk;
mod write;

pub(crate) use archive::{Opened, Stream, open_archive, open_stream};
pub(crate) use hash::{Hashing, hash_folder, hash_match};
pub(crate) use select::{Match, Selection, select};
pub(crate) use walk::Kind;
pub(crate) use write::{Destination, Owner, WriteOptions};

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

/// Links followed before a path counts as a loop: the kernel's own number.
const LINKS_MAX: usize = 40;

/// The root of a tree.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens a folder as the root of a tree.
    pub(crate) fn open(path: &Path) -> io::Result<Root> {
        let fd =
            openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Root { fd, path: path.to_owned() })
    }

    /// Where the tree is on the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens `path` (relative to the root; `""` is the root); links are followed inside the tree.
    pub(crate) fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // The kernel asks to try again when a rename elsewhere raced with `..`.
                Err(Errno::AGAIN) => {}
                opened => return Ok(opened?),
            }
        }
    }

    /// What `path` leads to, `None` when there is nothing.
    pub(crate) fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.open_at(path, OFlags::PATH) {
            Ok(fd) => Ok(Some(statat(&fd, "", AtFlags::EMPTY_PATH)?)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A small file's text, `None` when there is none.
    pub(crate) fn read_text(&self, path: &Path, bytes_max: u64) -> io::Result<Option<String>> {
        let fd = match self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(e) if is_absent(&e) => return Ok(None),
            fd => fd?,
        };
        let mut bytes = Vec::new();
        File::from(fd).take(bytes_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file is larger than the limit",
            ));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The path without links, as far as it exists; what does not exist yet is kept as it is.
    pub(crate) fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut todo: Vec<PathBuf> = parts_reversed(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == OsStr::new("..") {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            let link = self
                .parent_of(&next)
                .and_then(|parent| Ok(readlinkat(&parent, part.as_os_str(), Vec::new())?));
            match link {
                Ok(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    let target = PathBuf::from(OsStr::new(
                        std::str::from_utf8(target.as_bytes()).map_err(|_| Errno::ILSEQ)?,
                    ));
                    if target.is_absolute() {
                        done = PathBuf::new();
                    }
                    todo.extend(parts_reversed(&target));
                }
                // Not a link, or not there.
                Err(e)
                    if is_absent(&e) || e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
                {
                    done = next
                }
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// The open folder that holds `path`.
    pub(crate) fn parent_of(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path.parent().unwrap_or(Path::new("")), OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Where a path really is inside the tree, after links; `None` when that cannot be told.
    pub(crate) fn real_path(&self, fd: impl AsFd) -> Option<PathBuf> {
        use std::os::fd::AsRawFd;
        let of = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        let root = of(self.fd.as_raw_fd())?;
        Some(of(fd.as_fd().as_raw_fd())?.strip_prefix(&root).ok()?.to_owned())
    }
}

/// Errors that say "there is nothing at this path".
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The parts of a path, last first, without `.` and the root.
fn parts_reversed(path: &Path) -> Vec<PathBuf> {
    use std::path::Component;
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    });
    let mut parts: Vec<PathBuf> = parts.collect();
    parts.reverse();
    parts
}
