//! The build cache on disk: a folder of small files beside the store's own, changed by rename only.
//!
//! `steps/<key>` says which layer a step made; `memo/<key>` what a path of an immutable tree hashes to; `last/<step>`
//! what a step depended on the last time, to explain a miss; `stat/` and `mounts/` belong to their own modules.

pub mod mounts;
pub mod remote;
pub(crate) mod session;
pub mod stat;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use oci::{Compression, Descriptor, Digest};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use store::LayerId;

use crate::error::{Error, Result};
use crate::key::{CacheKey, Part};
use crate::limits;
use crate::ports::Validators;

/// The name of the cache's folder under the store's root.
pub const FOLDER: &str = "buildcache";

/// What a step made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The step, for people: `[2/5] RUN …`.
    pub step: String,
    /// The unpacked layer.
    pub layer: Digest,
    /// The content identity of the file system with this layer on top.
    pub content: Digest,
    /// When it was made.
    pub created: String,
    /// Bytes of its regular files.
    pub bytes: u64,
    /// How long making it took, in milliseconds.
    pub took_ms: u64,
    /// Layer blobs that were written for it.
    #[serde(default)]
    pub diffs: Vec<DiffRecord>,
    /// What it depended on.
    pub parts: Vec<Part>,
}

/// How a step went the last time it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastRun {
    /// What it depended on.
    pub parts: Vec<Part>,
    /// Why it ran when it last ran.
    pub ran_because: Vec<String>,
}

/// What a web server had under an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlRecord {
    /// What the server is asked with.
    pub validators: Validators,
    /// What the content hashed to.
    pub digest: Digest,
    /// When it last changed, in seconds since 1970.
    pub last_modified: Option<i64>,
}

/// A blob that holds a step's layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiffRecord {
    /// The compression it was asked for in.
    pub compression: String,
    /// The time it was clamped to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The blob.
    pub blob: Descriptor,
}

impl Record {
    /// The id of the unpacked layer.
    pub fn layer_id(&self) -> LayerId {
        LayerId::from(self.layer.clone())
    }

    /// The blob for these settings.
    pub fn diff(&self, compression: Compression, epoch: Option<i64>) -> Option<&DiffRecord> {
        let wanted = compression_name(compression);
        self.diffs.iter().find(|d| d.compression == wanted && d.epoch == epoch)
    }
}

/// The word for a compression in records.
pub fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

/// One record with its key and when it was last used.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: CacheKey,
    /// The record.
    pub record: Record,
    /// When it was last used.
    pub used: SystemTime,
}

/// What a prune removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Records removed.
    pub records: usize,
    /// Bytes of their layers; the store frees them at its next collection.
    pub bytes: u64,
}

/// Which records a prune removes.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneOptions {
    /// Only records not used since then; all when `None`.
    pub unused_since: Option<Timestamp>,
    /// Stop as soon as the cache is no larger than this.
    pub keep_bytes: Option<u64>,
}

/// The index of the build cache.
#[derive(Debug, Clone)]
pub struct CacheIndex {
    root: PathBuf,
}

impl CacheIndex {
    /// Opens the index under the root of a store, creating it where it is not.
    pub fn open(store_root: &Path) -> Result<CacheIndex> {
        let root = store_root.join(FOLDER);
        for folder in
            ["steps", "memo", "last", "paths", "urls", "stat", "locks", "mounts", "tmp", "mnt"]
        {
            let path = root.join(folder);
            if !path.is_dir() {
                std::fs::create_dir_all(&path).map_err(at("create", &path))?;
            }
        }
        Ok(CacheIndex { root })
    }

    /// The cache's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The record of a key; a damaged one counts as none.
    pub fn get(&self, key: &CacheKey) -> Result<Option<Record>> {
        Ok(self.read(&self.step_path(key))?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Takes a step for this build, so that another build at the same time waits for its result; `None` while another
    /// build has it. Steps share a few thousand locks: waiting for a stranger now and then costs less than a file each.
    pub(crate) fn try_lock_step(&self, key: &CacheKey) -> Result<Option<File>> {
        let path = self.root.join("locks").join(&key.digest().hex()[..3]);
        let lock =
            File::options().create(true).append(true).open(&path).map_err(at("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(at("lock", &path)(error.into())),
        }
    }

    /// Writes the record of a key.
    pub fn put(&self, key: &CacheKey, record: &Record) -> Result<()> {
        let path = self.step_path(key);
        self.write(&path, &to_json(record))
    }

    /// Notes that a record was used.
    pub fn touch(&self, key: &CacheKey, now: Timestamp) {
        // Only the order of pruning depends on it: a failure changes nothing that a build promises.
        if let Ok(file) = File::options().write(true).open(self.step_path(key)) {
            let since = Duration::from_secs(now.as_second().unsigned_abs());
            let _ = file.set_modified(SystemTime::UNIX_EPOCH + since);
        }
    }

    /// What a path of an immutable tree was found to hash to.
    pub fn memo(&self, key: &Digest) -> Result<Option<Digest>> {
        let bytes = self.read(&self.root.join("memo").join(key.hex()))?;
        Ok(bytes.and_then(|b| String::from_utf8(b).ok()).and_then(|text| text.trim().parse().ok()))
    }

    /// Remembers what a path of an immutable tree hashes to.
    pub fn put_memo(&self, key: &Digest, value: &Digest) -> Result<()> {
        self.write(&self.root.join("memo").join(key.hex()), value.to_string().as_bytes())
    }

    /// What a web server had under an address when it was last asked.
    pub fn url(&self, address: &str) -> Result<Option<UrlRecord>> {
        let bytes = self.read(&self.url_path(address))?;
        Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()))
    }

    /// Remembers what a web server has under an address.
    pub fn put_url(&self, address: &str, record: &UrlRecord) -> Result<()> {
        self.write(&self.url_path(address), &to_json(record))
    }

    /// The address may hold a password, so only its digest is a name.
    fn url_path(&self, address: &str) -> PathBuf {
        self.root.join("urls").join(Digest::sha256(address.as_bytes()).hex())
    }

    /// How the step called `identity` went the last time.
    pub fn last(&self, identity: &Digest) -> Result<Option<LastRun>> {
        let bytes = self.read(&self.root.join("last").join(identity.hex()))?;
        Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()))
    }

    /// Remembers how the step called `identity` went.
    pub fn put_last(&self, identity: &Digest, last: &LastRun) -> Result<()> {
        self.write(&self.root.join("last").join(identity.hex()), &to_json(last))
    }

    /// The paths behind a fingerprint of a local folder, each with a mark of its state.
    pub fn listing(&self, fingerprint: &Digest) -> Result<Option<Vec<(String, String)>>> {
        let bytes = self.read(&self.root.join("paths").join(fingerprint.hex()))?;
        let Some(text) = bytes.and_then(|b| String::from_utf8(b).ok()) else { return Ok(None) };
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Ok(Some(lines.map(|(mark, path)| (path.to_owned(), mark.to_owned())).collect()))
    }

    /// Remembers the paths behind a fingerprint, unless they are known or too many to be worth it.
    pub(crate) fn put_listing(
        &self,
        fingerprint: &Digest,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        let path = self.root.join("paths").join(fingerprint.hex());
        if path.exists() {
            return Ok(());
        }
        let text = text();
        if text.len() as u64 > limits::CACHE_RECORD_BYTES {
            return Ok(());
        }
        self.write(&path, text.as_bytes())
    }

    /// Every record, the longest unused first.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let folder = self.root.join("steps");
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(at("list", &folder))? {
            let entry = entry.map_err(at("list", &folder))?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok())
            else {
                continue;
            };
            let key = CacheKey::from_digest(digest);
            let used =
                entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            if let Some(record) = self.get(&key)? {
                entries.push(Entry { key, record, used });
            }
        }
        entries.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.key.cmp(&b.key)));
        Ok(entries)
    }

    /// Layers and blobs that the records need: what a collector must not remove.
    pub fn roots(&self) -> Result<Vec<store::Item>> {
        let mut roots = Vec::new();
        for entry in self.list()? {
            roots.push(store::Item::Layer(entry.record.layer_id()));
            roots.extend(
                entry.record.diffs.iter().map(|d| store::Item::Blob(d.blob.digest().clone())),
            );
        }
        Ok(roots)
    }

    /// Removes records, the longest unused first.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned> {
        let entries = self.list()?;
        let mut left: u64 = entries.iter().map(|e| e.record.bytes).sum();
        let mut pruned = Pruned::default();
        for entry in entries {
            let recent = options.unused_since.is_some_and(|since| {
                entry
                    .used
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .is_ok_and(|age| age.as_secs() >= since.as_second().unsigned_abs())
            });
            if recent || options.keep_bytes.is_some_and(|keep| left <= keep) {
                break;
            }
            let path = self.step_path(&entry.key);
            std::fs::remove_file(&path).map_err(at("remove", &path))?;
            left -= entry.record.bytes;
            pruned.records += 1;
            pruned.bytes += entry.record.bytes;
        }
        if self.list()?.is_empty() {
            for folder in ["memo", "last", "paths", "urls"] {
                self.clear(folder)?;
            }
        }
        Ok(pruned)
    }

    fn clear(&self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        for entry in std::fs::read_dir(&path).map_err(at("list", &path))? {
            let file = entry.map_err(at("list", &path))?.path();
            std::fs::remove_file(&file).map_err(at("remove", &file))?;
        }
        Ok(())
    }

    fn step_path(&self, key: &CacheKey) -> PathBuf {
        self.root.join("steps").join(key.digest().hex())
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(at("read", path))?,
        };
        let mut bytes = Vec::new();
        file.take(limits::CACHE_RECORD_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(at("read", path))?;
        Ok((bytes.len() as u64 <= limits::CACHE_RECORD_BYTES).then_some(bytes))
    }

    /// Whole or not at all: a new file is renamed over the old one. Not synced: a record that a power cut
    /// empties counts as none.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let fresh = self.root.join("tmp").join(format!("{}-{number}", std::process::id()));
        let written = File::create(&fresh)
            .and_then(|mut f| f.write_all(bytes))
            .and_then(|()| std::fs::rename(&fresh, path));
        written.map_err(|source| {
            let _ = std::fs::remove_file(&fresh);
            Error::Cache { act: "write", path: path.to_owned(), source }
        })
    }
}

pub(crate) fn at(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Cache { act, path, source }
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Strings, numbers and lists of them: there is nothing that JSON cannot hold.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
