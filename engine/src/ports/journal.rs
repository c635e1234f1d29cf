//! Uploads that were begun, in files: a push that was killed goes on where the registry confirmed it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci::Digest;
use registry_client::{TransferJournal, UploadKey, UploadRecord};
use rustix::fs::FlockOperation;

/// Largest record that is read: a location is a URL.
const RECORD_BYTES_MAX: u64 = 64 * 1024;
/// Registries purge unfinished uploads after days; a record that is older is of no use.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Records in a folder that only their owner reads: whoever knows a location may write to the upload.
pub(crate) struct FileJournal {
    folder: PathBuf,
    /// Uploads of this process. Two processes in one session would only disturb each other, so whoever
    /// comes second begins one of its own.
    held: Mutex<HashMap<UploadKey, File>>,
}

impl FileJournal {
    /// A journal in this folder, which is made when the first upload is remembered.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, held: Mutex::default() }
    }

    fn record(&self, key: &UploadKey) -> PathBuf {
        let text = format!("{}\n{}\n{}", key.registry, key.repository, key.digest);
        self.folder.join(Digest::sha256(text.as_bytes()).hex())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<UploadKey, File>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the upload this process's own, unless it is another's.
    fn hold(&self, key: &UploadKey) -> io::Result<bool> {
        let mut held = self.held();
        if held.contains_key(key) {
            return Ok(true);
        }
        if !self.folder.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        }
        let path = self.record(key).with_extension("lock");
        let file =
            OpenOptions::new().write(true).create(true).mode(0o600).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                held.insert(key.clone(), file);
                Ok(true)
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what nobody came back for.
    fn sweep(&self) {
        let Ok(listing) = fs::read_dir(&self.folder) else { return };
        for entry in listing.flatten() {
            let age =
                entry.metadata().and_then(|m| m.modified()).ok().and_then(|m| m.elapsed().ok());
            if age.is_some_and(|age| age > AGE_MAX) {
                // It only takes up a name; the next sweep tries again.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let staged = path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
        file.write_all(bytes)?;
        // It must survive a reboot, and a chunk takes longer than this.
        file.sync_data()?;
        fs::rename(&staged, path)
    }
}

impl TransferJournal for FileJournal {
    fn load(&self, key: &UploadKey) -> Option<UploadRecord> {
        let path = self.record(key);
        let file = File::open(&path).ok()?;
        self.sweep();
        match self.hold(key) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::warn!("uploads are not remembered: {error}");
                return None;
            }
        }
        let mut bytes = Vec::new();
        file.take(RECORD_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        UploadRecord::parse(&bytes)
    }

    fn save(&self, key: &UploadKey, record: &UploadRecord) {
        let saved = match self.hold(key) {
            Ok(true) => self.write(&self.record(key), &record.to_bytes()),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = saved {
            tracing::warn!("the upload is not remembered: {error}");
        }
    }

    fn forget(&self, key: &UploadKey) {
        let Some(_lock) = self.held().remove(key) else { return };
        let path = self.record(key);
        // While the lock is held nobody else writes them; what stays is swept one day.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(path.with_extension("lock"));
    }
}

#[cfg(test)]
mod tests {
    use registry_client::Secret;

    use super::*;

    fn key(blob: &str) -> UploadKey {
        UploadKey {
            registry: "r.example".to_owned(),
            repository: "team/app".to_owned(),
            digest: Digest::sha256(blob.as_bytes()),
        }
    }

    fn record(offset: u64) -> UploadRecord {
        UploadRecord { location: Secret::new("https://r.example/u?s=1"), offset, chunk_min: 0 }
    }

    #[test]
    fn what_one_process_saved_the_next_one_finds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("uploads");
        let journal = FileJournal::new(path.clone());
        assert_eq!(journal.load(&key("a")), None);
        journal.save(&key("a"), &record(7));
        journal.save(&key("a"), &record(9));
        drop(journal);
        let next = FileJournal::new(path.clone());
        assert_eq!(next.load(&key("a")), Some(record(9)));
        assert_eq!(next.load(&key("b")), None);
        next.forget(&key("a"));
        assert_eq!(fs::read_dir(&path).expect("listed").count(), 0, "nothing stays");
    }

    #[test]
    fn an_upload_that_goes_on_elsewhere_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = FileJournal::new(folder.path().to_path_buf());
        first.save(&key("a"), &record(7));
        let second = FileJournal::new(folder.path().to_path_buf());
        assert_eq!(second.load(&key("a")), None);
        second.save(&key("a"), &record(1));
        second.forget(&key("a"));
        drop(first);
        assert_eq!(second.load(&key("a")), Some(record(7)), "the first one's record stood");
    }

    #[test]
    fn nobody_else_reads_where_an_upload_goes_on() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let journal = FileJournal::new(folder.path().join("uploads"));
        journal.save(&key("a"), &record(7));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path().join("uploads")), 0o700);
        assert_eq!(mode(&journal.record(&key("a"))), 0o600);
    }
}
