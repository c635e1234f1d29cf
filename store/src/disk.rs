//! The store's door to the disk: every call that changes something durable goes
//! through here, so that a test can make the *n*-th one fail.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, at};
use crate::lock;

/// Decides for each call whether it fails: gets the call's name and path.
pub type Fault = dyn Fn(&'static str, &Path) -> io::Result<()> + Send + Sync;

/// The real disk, or one that fails on cue.
#[derive(Clone, Default)]
pub struct Disk {
    fault: Option<Arc<Fault>>,
}

impl Disk {
    /// A disk that asks `fault` before every call that changes something.
    pub fn with_fault(fault: Arc<Fault>) -> Self {
        Self { fault: Some(fault) }
    }

    /// Asks whether the call may go ahead.
    pub(crate) fn ask(&self, act: &'static str, path: &Path) -> Result<()> {
        match &self.fault {
            Some(fault) => fault(act, path).map_err(at(act, path)),
            None => Ok(()),
        }
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.ask("create directory", path)?;
        fs::create_dir_all(path).map_err(at("create directory", path))
    }

    pub(crate) fn create_dir(&self, path: &Path) -> Result<()> {
        self.ask("create directory", path)?;
        fs::create_dir(path).map_err(at("create directory", path))
    }

    /// Creates a file that must not exist; readable and writable.
    pub(crate) fn create_new(&self, path: &Path) -> Result<File> {
        self.ask("create", path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o644);
        options.open(path).map_err(at("create", path))
    }

    /// Opens a file for reading and writing, creating it where it is not.
    pub(crate) fn open_or_create(&self, path: &Path) -> Result<File> {
        self.ask("open", path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644);
        options.open(path).map_err(at("open", path))
    }

    pub(crate) fn write_all(&self, file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
        self.ask("write", path)?;
        file.write_all(bytes).map_err(at("write", path))
    }

    pub(crate) fn sync_file(&self, file: &File, path: &Path) -> Result<()> {
        self.ask("sync", path)?;
        file.sync_data().map_err(at("sync", path))
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<()> {
        self.ask("sync", path)?;
        File::open(path).and_then(|dir| dir.sync_all()).map_err(at("sync", path))
    }

    /// Flushes the whole file system that `path` is on.
    pub(crate) fn sync_fs(&self, path: &Path) -> Result<()> {
        self.ask("sync", path)?;
        let dir = File::open(path).map_err(at("open", path))?;
        rustix::fs::syncfs(&dir).map_err(at("sync", path))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.ask("rename", to)?;
        fs::rename(from, to).map_err(at("rename", to))
    }

    /// Renames, and says whether the source was there.
    pub(crate) fn rename_if_there(&self, from: &Path, to: &Path) -> Result<bool> {
        there(self.rename(from, to))
    }

    pub(crate) fn remove_file(&self, path: &Path) -> Result<()> {
        self.ask("remove", path)?;
        fs::remove_file(path).map_err(at("remove", path))
    }

    /// Removes a file, and says whether it was there.
    pub(crate) fn remove_file_if_there(&self, path: &Path) -> Result<bool> {
        there(self.remove_file(path))
    }

    /// Removes a tree, and says whether it was there.
    pub(crate) fn remove_tree_if_there(&self, path: &Path) -> Result<bool> {
        self.ask("remove", path)?;
        there(fs::remove_dir_all(path).map_err(at("remove", path)))
    }

    /// Replaces `path` by `bytes` so that a reader, or a crash, sees the old or the new whole.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.replace_after(path, bytes, |file, temporary| self.sync_file(file, temporary))?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// The same for readers and killed writers; a power cut may leave an empty file.
    pub(crate) fn replace_lazily(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.replace_after(path, bytes, |_, _| Ok(()))
    }

    fn replace_after(
        &self,
        path: &Path,
        bytes: &[u8],
        settle: impl FnOnce(&File, &Path) -> Result<()>,
    ) -> Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let (mut file, temporary) = self.create_replacement(dir)?;
        let written = self
            .write_all(&mut file, &temporary, bytes)
            .and_then(|()| settle(&file, &temporary))
            .and_then(|()| self.rename(&temporary, path));
        if written.is_err() {
            // The first error is the one to report; the collector sweeps what stays.
            let _ = self.remove_file(&temporary);
        }
        written
    }

    /// A hidden file, locked so that the collector knows it for one under way.
    fn create_replacement(&self, dir: &Path) -> Result<(File, PathBuf)> {
        loop {
            let path = dir.join(format!(".{}", crate::staging::unique()));
            let file = match self.create_new(&path) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                    continue;
                }
                other => other?,
            };
            if lock::try_lock(&file).map_err(at("lock", &path))?
                && lock::is_at(&file, &path).map_err(at("read", &path))?
            {
                return Ok((file, path));
            }
        }
    }
}

fn there(done: Result<()>) -> Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("faulty", &self.fault.is_some()).finish()
    }
}
