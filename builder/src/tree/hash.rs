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
use super::walk::{Entry, Filter, Kind, Meta, named, walk};
use crate::cache::stat::{Look, StatCache};

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

/// The digest of one match of a source path.
pub(crate) fn hash_match(root: &Root, found: &Match, how: Hashing<'_>) -> io::Result<Hashed> {
    let mut marks = Vec::new();
    let mut hasher = Hasher::new(Algorithm::Sha256);
    if found.meta.kind == Kind::Folder {
        // The name of a folder does not matter, its content is copied; its own mode neither.
        hasher.update(if found.parents { b"parents\0" } else { b"folder\0" });
        marks = hash_entries(&mut hasher, root, found, how)?;
    } else {
        hasher.update(found.name.as_bytes());
        let content = if found.meta.kind == Kind::File {
            Some(content(root, found, None, how)?)
        } else {
            None
        };
        marks.push(header(&mut hasher, b"", &found.meta, how, content.as_ref(), b""));
    }
    Ok(Hashed { digest: hasher.finish(), marks })
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

fn hash_entries(
    hasher: &mut Hasher,
    root: &Root,
    found: &Match,
    how: Hashing<'_>,
) -> io::Result<Vec<u64>> {
    let mut marks = Vec::with_capacity(found.entries.len());
    for entry in &found.entries {
        let (mut link, mut digest) = (Vec::new(), None);
        match entry.meta.kind {
            Kind::Link => link = found.read_link(&entry.path).map_err(|e| named(&entry.path, e))?,
            Kind::File => {
                digest = Some(
                    content(root, found, Some(entry), how).map_err(|e| named(&entry.path, e))?,
                )
            }
            Kind::Folder => {
                let folder = found
                    .open_below(&entry.path, OFlags::RDONLY | OFlags::DIRECTORY)
                    .map_err(|e| named(&entry.path, e))?;
                let attributes = attributes(&folder)?;
                if !attributes.is_empty() {
                    digest = Some(Digest::sha256(&attributes));
                }
            }
            _ => {}
        }
        marks.push(header(
            hasher,
            entry.path.as_os_str().as_bytes(),
            &entry.meta,
            how,
            digest.as_ref(),
            &link,
        ));
    }
    Ok(marks)
}

/// Adds one entry; returns a mark that tells it from any other state of the same path.
fn header(
    hasher: &mut Hasher,
    path: &[u8],
    meta: &Meta,
    how: Hashing<'_>,
    content: Option<&Digest>,
    link: &[u8],
) -> u64 {
    let (uid, gid) = if matches!(how, Hashing::Context(_)) { (0, 0) } else { (meta.uid, meta.gid) };
    let size = if meta.kind == Kind::File { meta.size } else { 0 };
    let device =
        if matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice) { meta.rdev } else { 0 };
    hasher.update(&(path.len() as u64).to_le_bytes());
    hasher.update(path);
    let mut text =
        format!("{:?} {:o} {uid} {gid} {size} {device} {} ", meta.kind, meta.mode, link.len())
            .into_bytes();
    text.extend(link);
    text.extend(content.map_or_else(String::new, ToString::to_string).as_bytes());
    hasher.update(&text);
    hasher.update(b"\0");
    // FNV-1a: only told apart by people, never a key.
    text.iter().fold(0xcbf2_9ce4_8422_2325, |mark, byte| {
        (mark ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The digest of a file's content and extended attributes, from the stat cache where possible.
fn content(
    root: &Root,
    found: &Match,
    entry: Option<&Entry>,
    how: Hashing<'_>,
) -> io::Result<Digest> {
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
    let digest = hash_file(file)?;
    if let Hashing::Context(cache) = how {
        cache.put(look, &digest);
    }
    Ok(digest)
}

fn nanos((seconds, nanos): (i64, i64)) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn hash_file(file: OwnedFd) -> io::Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let attributes = attributes(&file)?;
    if !attributes.is_empty() {
        hasher.update(&Digest::sha256(&attributes).to_string().into_bytes());
    }
    let mut file = std::fs::File::from(file);
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
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
