//! What a tree holds, as one digest: names, kinds, modes, owners, links, devices, extended attributes, content.
//! No time is part of it.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci::{Algorithm, Digest, Hasher};
use rustix::fs::OFlags;

use super::Root;
use super::select::Match;
use super::walk::{Entry, Filter, Kind, Meta, named, spread, walk};
use crate::cache::stat::{ContentHash, Look, StatCache, bytes_of};

/// How a tree is hashed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hashing<'a> {
    /// A local folder: its owners do not matter, and files that look the same are not read again.
    Context(&'a StatCache),
    /// The file system of an image or a stage.
    Image,
}

/// What one match of a source path hashes to.
#[derive(Debug)]
pub(crate) struct Hashed {
    /// The digest of everything.
    pub(crate) digest: Digest,
    /// One short mark per entry (one for a file), to tell later which of them changed.
    pub(crate) marks: Vec<u64>,
}

/// Entries that one thread hashes in a row: the same everywhere, so that the digest is.
const CHUNK: usize = 2048;

/// The digest of one match of a source path.
pub(crate) fn hash_match(root: &Root, found: &Match, how: Hashing<'_>) -> io::Result<Hashed> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    if found.meta.kind == Kind::Folder {
        // The name of a folder does not matter, its content is copied; its own mode neither.
        hasher.update(if found.parents { b"parents\0" } else { b"folder\0" });
        let marks = hash_entries(&mut hasher, root, found, how)?;
        return Ok(Hashed { digest: hasher.finish(), marks });
    }
    hasher.update(found.name.as_bytes());
    let content = match found.meta.kind {
        Kind::File => Some(content(root, found, None, how)?),
        _ => None,
    };
    let mut header = Header::default();
    let mark = header.write(b"", &found.meta, how, content.as_ref(), b"");
    hasher.update(&header.0);
    Ok(Hashed { digest: hasher.finish(), marks: vec![mark] })
}

/// The digest of a whole folder: what a RUN step wrote.
pub(crate) fn hash_folder(path: &Path) -> io::Result<Digest> {
    let root = Root::open(path)?;
    let fd = root.open_at(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY)?;
    let entries = walk(&fd, &Filter::default())?;
    let meta = Meta::of(&rustix::fs::fstat(&fd)?);
    let found = Match { name: String::new(), meta, fd, entries, parents: false };
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(b"upper\0");
    hash_entries(&mut hasher, &root, &found, Hashing::Image)?;
    Ok(hasher.finish())
}

/// Hashes entries chunk by chunk, as many at once as there are processors.
fn hash_entries(
    hasher: &mut Hasher,
    root: &Root,
    found: &Match,
    how: Hashing<'_>,
) -> io::Result<Vec<u64>> {
    let chunks: Vec<&[Entry]> = found.entries.chunks(CHUNK).collect();
    let mut marks = Vec::with_capacity(found.entries.len());
    for done in spread(&chunks, |chunk| hash_chunk(root, found, chunk, how)) {
        let (digest, of_chunk) = done?;
        hasher.update(&digest);
        marks.extend(of_chunk);
    }
    Ok(marks)
}

fn hash_chunk(
    root: &Root,
    found: &Match,
    chunk: &[Entry],
    how: Hashing<'_>,
) -> io::Result<(ContentHash, Vec<u64>)> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut marks = Vec::with_capacity(chunk.len());
    let mut header = Header::default();
    for entry in chunk {
        let (mut link, mut hash) = (Vec::new(), None);
        match entry.meta.kind {
            Kind::Link => link = found.read_link(&entry.path).map_err(|e| named(&entry.path, e))?,
            Kind::File => {
                let content = content(root, found, Some(entry), how);
                hash = Some(content.map_err(|e| named(&entry.path, e))?);
            }
            Kind::Folder => {
                let folder = found
                    .open_below(&entry.path, OFlags::RDONLY | OFlags::DIRECTORY)
                    .map_err(|e| named(&entry.path, e))?;
                let attributes = attributes(&folder)?;
                if !attributes.is_empty() {
                    hash = Some(sha256(&attributes)?);
                }
            }
            _ => {}
        }
        let path = entry.path.as_os_str().as_bytes();
        marks.push(header.write(path, &entry.meta, how, hash.as_ref(), &link));
        hasher.update(&header.0);
    }
    Ok((finish(hasher)?, marks))
}

/// What is hashed of one entry: every part has a fixed length or says its own.
#[derive(Default)]
struct Header(Vec<u8>);

impl Header {
    /// Puts one entry in place of the one before; returns a mark that tells it from any other state of the same path.
    fn write(
        &mut self,
        path: &[u8],
        meta: &Meta,
        how: Hashing<'_>,
        content: Option<&ContentHash>,
        link: &[u8],
    ) -> u64 {
        let in_context = matches!(how, Hashing::Context(_));
        let (uid, gid) = if in_context { (0, 0) } else { (meta.uid, meta.gid) };
        let size = if meta.kind == Kind::File { meta.size } else { 0 };
        let is_device = matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice);
        let device = if is_device { meta.rdev } else { 0 };
        let bytes = &mut self.0;
        bytes.clear();
        bytes.extend((path.len() as u64).to_le_bytes());
        bytes.extend(path);
        let state = bytes.len();
        bytes.push(meta.kind as u8);
        bytes.push(u8::from(content.is_some()));
        for number in [meta.mode, uid, gid] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [size, device, link.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(link);
        bytes.extend(content.into_iter().flatten());
        mark(&bytes[state..])
    }
}

/// Only told apart by people, never a key: FNV-1a by words.
fn mark(state: &[u8]) -> u64 {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    };
    state.chunks(8).fold(0xcbf2_9ce4_8422_2325, |mark, chunk| {
        let mixed = (mark ^ word(chunk)).wrapping_mul(0x0100_0000_01b3);
        mixed ^ (mixed >> 29)
    })
}

fn sha256(bytes: &[u8]) -> io::Result<ContentHash> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    finish(hasher)
}

fn finish(hasher: Hasher) -> io::Result<ContentHash> {
    bytes_of(&hasher.finish()).ok_or_else(|| io::Error::other("no SHA-256"))
}

/// The hash of a file's content and extended attributes, from the stat cache where possible.
fn content(
    root: &Root,
    found: &Match,
    entry: Option<&Entry>,
    how: Hashing<'_>,
) -> io::Result<ContentHash> {
    let meta = entry.map_or(&found.meta, |e| &e.meta);
    let look = Look {
        dev: meta.dev,
        ino: meta.ino,
        size: meta.size,
        mtime: nanos(meta.mtime),
        ctime: nanos(meta.ctime),
    };
    if let Hashing::Context(cache) = how
        && let Some(known) = cache.get(&look)
    {
        return Ok(known);
    }
    let file = found.open_file(root, entry)?;
    let hash = hash_file(file)?;
    if let Hashing::Context(cache) = how {
        cache.put(look, &hash);
    }
    Ok(hash)
}

fn nanos((seconds, nanos): (i64, i64)) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn hash_file(file: OwnedFd) -> io::Result<ContentHash> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let attributes = attributes(&file)?;
    if !attributes.is_empty() {
        hasher.update(&Digest::sha256(&attributes).to_string().into_bytes());
    }
    let mut file = std::fs::File::from(file);
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return finish(hasher),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The extended attributes that belong to the content, sorted, as one text.
pub(super) fn attributes(fd: impl AsFd) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (name, value) in read_attributes(fd)? {
        out.extend((name.len() as u64).to_le_bytes());
        out.extend(&name);
        out.extend((value.len() as u64).to_le_bytes());
        out.extend(&value);
    }
    Ok(out)
}

/// Names and values; security labels other than capabilities and the system's own are left out.
pub(super) fn read_attributes(fd: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    use rustix::fs::{fgetxattr, flistxattr};
    use rustix::io::Errno;
    let mut size = match flistxattr(&fd, &mut [0_u8; 0]) {
        Err(Errno::NOTSUP) | Ok(0) => return Ok(Vec::new()),
        size => size?,
    };
    let mut names = vec![0; size];
    size = flistxattr(&fd, &mut names[..])?;
    names.truncate(size);
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|n| belongs(n)) {
        let length = fgetxattr(&fd, name, &mut [0_u8; 0])?;
        let mut value = vec![0; length];
        let length = fgetxattr(&fd, name, &mut value[..])?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

fn belongs(name: &[u8]) -> bool {
    // Of overlay's own marks only "opaque" says something about the content.
    let overlay = name.starts_with(b"trusted.overlay.") && name != b"trusted.overlay.opaque";
    !name.is_empty()
        && !overlay
        && !name.starts_with(b"system.")
        && (!name.starts_with(b"security.") || name == b"security.capability")
}
