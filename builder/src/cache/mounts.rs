//! Cache mounts: folders that outlive the build, one per id, shared, private or locked.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::{CacheIndex, at};
use crate::error::{Error, Result};
use crate::frontend::Sharing;
use crate::ports::digest_of;

/// How many copies of one private cache may be in use at once.
const PRIVATE_COPIES: usize = 256;

/// A cache mount in use; the lock is held while this lives.
#[derive(Debug)]
pub struct CacheMount {
    /// The folder to mount.
    pub folder: PathBuf,
    /// True when it was made just now and is empty.
    pub is_new: bool,
    _lock: File,
}

/// Takes the cache mount called `id` for use.
pub fn acquire(index: &CacheIndex, id: &str, sharing: Sharing) -> Result<CacheMount> {
    let name = digest_of(id);
    match sharing {
        Sharing::Shared => open(index, name.hex(), FlockOperation::LockShared),
        Sharing::Locked => open(index, name.hex(), FlockOperation::LockExclusive),
        Sharing::Private => {
            for copy in 0..PRIVATE_COPIES {
                let copy_name = if copy == 0 {
                    name.hex().to_owned()
                } else {
                    format!("{}-{copy}", name.hex())
                };
                match open(index, &copy_name, FlockOperation::NonBlockingLockExclusive) {
                    Err(Error::Cache { source, .. })
                        if source.kind() == std::io::ErrorKind::WouldBlock => {}
                    other => return other,
                }
            }
            let path = index.root().join("mounts").join(name.hex());
            Err(at("use (too many copies are busy)", &path)(
                std::io::ErrorKind::ResourceBusy.into(),
            ))
        }
    }
}

fn open(index: &CacheIndex, name: &str, how: FlockOperation) -> Result<CacheMount> {
    let home = index.root().join("mounts").join(name);
    std::fs::create_dir_all(&home).map_err(at("create", &home))?;
    let lock_path = home.join("lock");
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&lock_path)
        .map_err(at("open", &lock_path))?;
    flock(&lock, how).map_err(|e| at("lock", &lock_path)(e.into()))?;
    let folder = home.join("fs");
    let is_new = match std::fs::create_dir(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
        made => made.map(|()| true).map_err(at("create", &folder))?,
    };
    Ok(CacheMount { folder, is_new, _lock: lock })
}

/// Removes every cache mount that nobody uses; returns how many.
pub fn prune(index: &CacheIndex) -> Result<usize> {
    let folder = index.root().join("mounts");
    let mut removed = 0;
    for entry in std::fs::read_dir(&folder).map_err(at("list", &folder))? {
        let home = entry.map_err(at("list", &folder))?.path();
        let lock_path = home.join("lock");
        let Ok(lock) = File::open(&lock_path) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        std::fs::remove_dir_all(&home).map_err(at("remove", &home))?;
        removed += 1;
    }
    Ok(removed)
}
