//! Locks between processes: `flock`s, which a crash frees.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::disk::Disk;
use crate::error::{Result, at};

/// A lock held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock on `path`, which is created where it is not.
    pub(crate) fn exclusive(disk: &Disk, path: &Path) -> Result<Self> {
        let file = disk.open_or_create(path)?;
        wait(&file).map_err(at("lock", path))?;
        Ok(Self { _file: file })
    }
}

/// Waits for the exclusive lock on an open file.
pub(crate) fn wait(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Takes the exclusive lock on an open file, or says that somebody holds it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the open file is (still) what `path` names.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let here = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok(there.ino() == here.ino() && there.dev() == here.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
