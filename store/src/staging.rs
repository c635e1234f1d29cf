//! Directories under construction, and names nobody else uses.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Disk;
use crate::error::{Error, Result, at};
use crate::lock;

/// A name that no other live user of the store makes. A leftover of an earlier process may
/// bear it: callers create exclusively and ask again.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a file is a replacement that [`Disk::replace`] was writing.
pub(crate) fn is_replacement(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix('.')).is_some_and(|rest| {
        rest.split_once('-').is_some_and(|(process, number)| {
            process.parse::<u32>().is_ok() && number.parse::<u64>().is_ok()
        })
    })
}

/// A directory that disappears with its owner unless what is in it was renamed away. It is
/// `flock`ed while it is used, so the collector knows those of crashed processes.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    disk: Disk,
    _lock: File,
}

impl Staging {
    pub(crate) fn create(parent: &Path, disk: &Disk) -> Result<Self> {
        loop {
            let path = parent.join(unique());
            match disk.create_dir(&path) {
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists =>
                {
                    continue;
                }
                other => other?,
            }
            // A sweeper may have taken the directory for a leftover before it was locked.
            let Ok(dir) = File::open(&path) else { continue };
            lock::wait(&dir).map_err(at("lock", &path))?;
            if lock::is_at(&dir, &path).map_err(at("read", &path))? {
                return Ok(Self { path, disk: disk.clone(), _lock: dir });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Dropping cannot report; the collector removes what stays.
        let _ = self.disk.remove_tree_if_there(&self.path);
    }
}

/// Removes what crashed processes left in `parent`, as far as `old` agrees; returns how much.
pub(crate) fn sweep(parent: &Path, disk: &Disk, old: &dyn Fn(&Path) -> bool) -> Result<u64> {
    let mut removed = 0;
    for entry in std::fs::read_dir(parent).map_err(at("list", parent))? {
        let path = entry.map_err(at("list", parent))?.path();
        if !old(&path) {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        if !lock::try_lock(&file).map_err(at("lock", &path))? {
            continue;
        }
        let is_dir = file.metadata().map_err(at("read", &path))?.is_dir();
        let gone = match is_dir {
            true => disk.remove_tree_if_there(&path)?,
            false => disk.remove_file_if_there(&path)?,
        };
        removed += u64::from(gone);
    }
    Ok(removed)
}
