//! What this machine trusted before, and its verdicts, on disk.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci::{Digest, Reference, Repository};
use trust::tuf::{Change, TrustedState};
use trust::{RecordKey, Secret, StateUpdate, VerdictRecord};

use super::file_name;
use crate::error::{Error, Result};

/// The folder `trust` under the store's root: per repository and pin the trusted metadata, per
/// name the recorded verdict, and the key that authenticates verdicts.
pub(crate) struct State {
    dir: PathBuf,
}

impl State {
    pub(crate) fn new(root: &Path) -> Self {
        Self { dir: root.join("trust") }
    }

    /// The metadata trusted under a pin.
    pub(crate) fn trusted(&self, repository: &Repository, pin: &str) -> Result<TrustedState> {
        read_trusted(&self.pin_dir(repository, pin))
    }

    /// Keeps new trusted metadata: each file whole or not at all, in the order given, so that a
    /// crash leaves a state from which the next update succeeds.
    pub(crate) fn keep(&self, repository: &Repository, update: &StateUpdate) -> Result<()> {
        keep_changes(&self.pin_dir(repository, &update.pin), &update.changes)
    }

    /// The recorded verdict about a name; `None` where there is none or it is not authentic.
    pub(crate) fn verdict(&self, reference: &Reference) -> Result<Option<VerdictRecord>> {
        let path = self.verdict_path(reference);
        match fs::read(&path) {
            Ok(bytes) => Ok(VerdictRecord::open(&bytes, &self.record_key()?).ok()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", path, e)),
        }
    }

    /// Records the verdict about a name.
    pub(crate) fn record(&self, reference: &Reference, record: &VerdictRecord) -> Result<()> {
        let path = self.verdict_path(reference);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        }
        write(&path, &record.seal(&self.record_key()?)?)
    }

    fn pin_dir(&self, repository: &Repository, pin: &str) -> PathBuf {
        self.dir.join("state").join(file_name(&repository.to_string())).join(pin)
    }

    fn verdict_path(&self, reference: &Reference) -> PathBuf {
        let name = Digest::sha256(reference.to_string().as_bytes());
        self.dir.join("verdicts").join(format!("{}.json", name.hex()))
    }

    /// The key of this store's verdicts, made on first use.
    fn record_key(&self) -> Result<RecordKey> {
        let path = self.dir.join("record.key");
        match fs::read(&path) {
            Ok(bytes) => return Ok(RecordKey::new(Secret::new(bytes))),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("read", path, e)),
        }
        fs::create_dir_all(&self.dir).map_err(|e| Error::io("create", &self.dir, e))?;
        let secret = RecordKey::generate()?;
        let staged = staged(&path);
        write_staged(&staged, secret.expose(), 0o600)?;
        // Of two processes that make the key at once, the first one's stays.
        let linked = fs::hard_link(&staged, &path);
        remove(&staged)?;
        match linked {
            Ok(()) => Ok(RecordKey::new(secret)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
                Ok(RecordKey::new(Secret::new(bytes)))
            }
            Err(e) => Err(Error::io("create", path, e)),
        }
    }
}

/// The trusted metadata in a folder: its `.json` files.
pub(crate) fn read_trusted(dir: &Path) -> Result<TrustedState> {
    let mut state = TrustedState::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(state),
        Err(e) => return Err(Error::io("list", dir, e)),
    };
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list", dir, e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.starts_with('.') && name.ends_with(".json") {
            state.insert(name, read_metadata(&path)?);
        }
    }
    Ok(state)
}

/// One metadata file; of one that is too large, enough to be refused for it.
fn read_metadata(path: &Path) -> Result<Vec<u8>> {
    let fail = |e| Error::io("read", path, e);
    let file = fs::File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(trust::limits::TARGETS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Keeps changes of trusted metadata in a folder, one after the other.
pub(crate) fn keep_changes(dir: &Path, changes: &[Change]) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
    for change in changes {
        match change {
            Change::Write { file, bytes } => write(&dir.join(file), bytes)?,
            Change::Remove { file } => remove(&dir.join(file))?,
        }
    }
    Ok(())
}

/// Replaces a file at once and durably.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_mode(path, bytes, 0o644)
}

/// The same, for a file that nobody else may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    write_mode(path, bytes, 0o600)
}

fn write_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let staged = staged(path);
    write_staged(&staged, bytes, mode)?;
    fs::rename(&staged, path)
        .inspect_err(|_| {
            let _ = fs::remove_file(&staged);
        })
        .map_err(|e| Error::io("write", path, e))
}

fn write_staged(staged: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let fail = |e| Error::io("write", staged, e);
    let _ = fs::remove_file(staged);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(staged)
        .map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)
}

/// The name of a file that is still being written.
pub(crate) fn staged(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let thread = std::thread::current().id();
    path.with_file_name(format!(".{name}.{}.{thread:?}", std::process::id()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        "h.example:5000/a/b".parse().expect("valid")
    }

    #[test]
    fn what_is_kept_is_trusted_next_time() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = State::new(dir.path());
        let write = |file: &str, text: &str| Change::Write {
            file: file.to_owned(),
            bytes: text.as_bytes().into(),
        };
        let changes = vec![write("root.json", "1"), write("timestamp.json", "2")];
        let update = StateUpdate { pin: "p".to_owned(), changes };
        state.keep(&repository(), &update).expect("keep");
        let changes = vec![Change::Remove { file: "timestamp.json".to_owned() }];
        state.keep(&repository(), &StateUpdate { pin: "p".to_owned(), changes }).expect("keep");
        let trusted = state.trusted(&repository(), "p").expect("read");
        let files: Vec<&str> = trusted.files().map(|(name, _)| name).collect();
        assert_eq!(files, ["root.json"]);
        assert!(state.trusted(&repository(), "other").expect("read").is_empty());
    }

    #[test]
    fn the_record_key_is_private_and_stays() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("tempdir");
        let state = State::new(dir.path());
        state.record_key().expect("made");
        let path = dir.path().join("trust/record.key");
        let first = fs::read(&path).expect("read");
        state.record_key().expect("read");
        assert_eq!(fs::read(&path).expect("read"), first);
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o600);
    }
}
