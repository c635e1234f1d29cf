//! The stat cache: what a file of a context hashed to when its inode last looked like this.
//!
//! A record counts only while device, inode, size, mtime and ctime are all the same. A file changed within the clock's
//! granularity of being hashed could look unchanged, so records younger than that are not kept.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use oci::{Algorithm, Digest};

use super::{CacheIndex, at};
use crate::error::Result;
use crate::limits;

const MAGIC: &[u8; 8] = b"wherryS1";
const RECORD: usize = 8 * 5 + 32;
/// A timestamp without nanoseconds comes from a file system that counts seconds, or two.
const COARSE_NANOS: i128 = 2_100_000_000;
/// Otherwise the kernel's tick decides: 10 ms at the slowest.
const FINE_NANOS: i128 = 50_000_000;

/// Device and inode to look and hash.
type Known = HashMap<(u64, u64), (Look, ContentHash), BuildHasherDefault<InodeHasher>>;

/// The SHA-256 of a file's content and attributes.
pub type ContentHash = [u8; 32];

/// Inode numbers are no attacker's choice, and there are many of them: one multiplication each.
#[derive(Debug, Default)]
struct InodeHasher(u64);

impl Hasher for InodeHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(26) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// How an inode looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of anything, in nanoseconds since 1970.
    pub ctime: i64,
}

/// What is known of one context.
#[derive(Debug)]
pub struct StatCache {
    /// Where it is kept; nowhere for a folder that is not looked at again.
    path: Option<PathBuf>,
    /// Written by an earlier build.
    old: Known,
    fresh: Mutex<Fresh>,
    hits: AtomicUsize,
    /// When this build began to look.
    since: i128,
}

#[derive(Debug, Default)]
struct Fresh {
    records: Vec<(Look, ContentHash)>,
    bytes_read: u64,
}

impl StatCache {
    /// The cache of the context at `folder`; a damaged one is empty.
    pub fn open(index: &CacheIndex, folder: &Path, now: Timestamp) -> StatCache {
        let name = Digest::sha256(folder.as_os_str().as_encoded_bytes());
        let path = index.root().join("stat").join(name.hex());
        let old = std::fs::read(&path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        let path = Some(path);
        let since = now.as_nanosecond();
        StatCache { path, old, fresh: Mutex::default(), hits: AtomicUsize::new(0), since }
    }

    /// A cache that remembers nothing.
    pub fn forgetful() -> StatCache {
        StatCache {
            path: None,
            old: Known::default(),
            fresh: Mutex::default(),
            hits: AtomicUsize::new(0),
            since: i128::MIN,
        }
    }

    /// What the file hashed to, if it still looks the same.
    pub fn get(&self, look: &Look) -> Option<ContentHash> {
        let (known, hash) = self.old.get(&(look.dev, look.ino))?;
        if known != look {
            return None;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(*hash)
    }

    /// Remembers what a file hashed to.
    pub fn put(&self, look: Look, hash: &ContentHash) {
        self.fresh().bytes_read += look.size;
        let granularity = if look.ctime % 1_000_000_000 == 0 { COARSE_NANOS } else { FINE_NANOS };
        if i128::from(look.ctime) + granularity > self.since {
            return;
        }
        self.fresh().records.push((look, *hash));
    }

    /// How many files were not read again.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::Relaxed)
    }

    /// Bytes of the files that were read.
    pub fn bytes_read(&self) -> u64 {
        self.fresh().bytes_read
    }

    /// Writes what is new; nothing when nothing is.
    pub fn save(&self, index: &CacheIndex) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let fresh = std::mem::take(&mut *self.fresh());
        if fresh.records.is_empty() {
            return Ok(());
        }
        // Files that were not looked at this time may belong to another step, or be gone: keep a bounded number.
        let seen = fresh.records.len() + self.hits();
        let replaced: std::collections::HashSet<_> =
            fresh.records.iter().map(|(look, _)| (look.dev, look.ino)).collect();
        let kept = self
            .old
            .iter()
            .filter(|(id, _)| !replaced.contains(id))
            .map(|(_, r)| r)
            .take(4 * seen + 1000);
        let mut bytes = MAGIC.to_vec();
        for (look, hash) in fresh.records.iter().chain(kept) {
            for number in [look.dev, look.ino, look.size] {
                bytes.extend(number.to_le_bytes());
            }
            for time in [look.mtime, look.ctime] {
                bytes.extend(time.to_le_bytes());
            }
            bytes.extend(hash);
        }
        let check = Digest::sha256(&bytes);
        bytes.extend(bytes_of(&check).unwrap_or_default());
        index.write(path, &bytes)
    }

    /// Forgets the context.
    pub fn remove(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(at("remove", path)(e)),
            _ => Ok(()),
        }
    }

    fn fresh(&self) -> std::sync::MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn decode(bytes: &[u8]) -> Option<Known> {
    if bytes.len() as u64 > limits::STAT_CACHE_BYTES {
        return None;
    }
    let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if bytes_of(&Digest::sha256(body))? != check {
        return None;
    }
    let records = body.strip_prefix(MAGIC)?;
    let mut known = Known::with_capacity_and_hasher(records.len() / RECORD, Default::default());
    for record in records.chunks_exact(RECORD) {
        let number = |i: usize| record[8 * i..8 * i + 8].try_into().map(u64::from_le_bytes).ok();
        let look = Look {
            dev: number(0)?,
            ino: number(1)?,
            size: number(2)?,
            mtime: number(3)?.cast_signed(),
            ctime: number(4)?.cast_signed(),
        };
        known.insert((look.dev, look.ino), (look, record[40..].try_into().ok()?));
    }
    Some(known)
}

/// The bytes of a digest; `None` for those of other algorithms.
pub(crate) fn bytes_of(digest: &Digest) -> Option<ContentHash> {
    if digest.algorithm() != Algorithm::Sha256 {
        return None;
    }
    let mut bytes = [0; 32];
    let value = |digit: u8| char::from(digit).to_digit(16);
    for (byte, pair) in bytes.iter_mut().zip(digest.hex().as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
    }
    Some(bytes)
}
