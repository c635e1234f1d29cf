//! One running build's own names: its snapshots and temporary files, swept when it died.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use store::{SnapshotKey, Snapshotter};

use super::{CacheIndex, at};
use crate::error::Result;

const PREFIX: &str = "build-";

/// A build under way. Its lock file says that it lives; what carries its name is gone with it.
#[derive(Debug)]
pub(crate) struct Session {
    name: String,
    folder: PathBuf,
    lock_path: PathBuf,
    number: AtomicUsize,
    _lock: File,
}

impl Session {
    /// Begins a session, after sweeping away what dead ones left.
    pub(crate) fn begin(
        index: &CacheIndex,
        snapshots: &dyn Snapshotter,
        now: Timestamp,
    ) -> Result<Session> {
        sweep(index, snapshots)?;
        let mut attempt = now.as_nanosecond();
        loop {
            let name = format!("{PREFIX}{}.{attempt}", std::process::id());
            let lock_path = index.root().join("tmp").join(format!("{name}.lock"));
            let lock = match OpenOptions::new().create_new(true).append(true).open(&lock_path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    attempt += 1;
                    continue;
                }
                lock => lock.map_err(at("create", &lock_path))?,
            };
            flock(&lock, FlockOperation::NonBlockingLockExclusive)
                .map_err(|e| at("lock", &lock_path)(e.into()))?;
            let folder = index.root().join("tmp").join(&name);
            std::fs::create_dir(&folder).map_err(at("create", &folder))?;
            return Ok(Session {
                name,
                folder,
                lock_path,
                number: AtomicUsize::new(0),
                _lock: lock,
            });
        }
    }

    fn next(&self) -> usize {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh key for a snapshot.
    pub(crate) fn snapshot_key(&self) -> Result<SnapshotKey> {
        Ok(format!("{}.{}", self.name, self.next()).parse()?)
    }

    /// A fresh path for a temporary file or folder.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.join(self.next().to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A leftover is swept by the next build.
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

/// Removes what sessions left whose process is gone.
fn sweep(index: &CacheIndex, snapshots: &dyn Snapshotter) -> Result<()> {
    let tmp = index.root().join("tmp");
    for key in snapshots.list()? {
        let Some(session) = key
            .as_str()
            .strip_prefix(PREFIX)
            .and_then(|_| key.as_str().rsplit_once('.'))
            .map(|(s, _)| s)
        else {
            continue;
        };
        if !is_alive(&tmp.join(format!("{session}.lock"))) {
            snapshots.remove(&key)?;
        }
    }
    for entry in std::fs::read_dir(&tmp).map_err(at("list", &tmp))? {
        let path = entry.map_err(at("list", &tmp))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let session = name.strip_suffix(".lock").unwrap_or(name);
        if session.starts_with(PREFIX) && !is_alive(&tmp.join(format!("{session}.lock"))) {
            let _ = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
        }
    }
    Ok(())
}

fn is_alive(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}
