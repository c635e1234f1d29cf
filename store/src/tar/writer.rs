//! The canonical writer: ustar, with a PAX header only where a field does not fit. Equal
//! entries in equal order give equal bytes, on every machine and in every version until the
//! golden digests say otherwise.

use std::io::{self, Write};

use super::header::BLOCK_BYTES;
use super::{Entry, Kind};

/// The largest number of 7 octal digits, and of 11.
const OCTAL_7_MAX: u64 = 0o777_7777;
const OCTAL_11_MAX: u64 = 0o777_7777_7777;

/// Writes an archive entry by entry.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    /// Data that the current entry still needs.
    remaining: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Writes an archive into `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, remaining: 0, padding: 0 }
    }

    /// Starts an entry. A file's data must follow through [`Writer::data`], all of it.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_entry()?;
        check(entry)?;
        let records = pax_records(entry);
        if !records.is_empty() {
            self.inner.write_all(&block(&pax_entry(entry, records.len()), b'x'))?;
            self.inner.write_all(&records)?;
            self.inner.write_all(zeros(padding(records.len() as u64)))?;
        }
        self.inner.write_all(&block(entry, typeflag(entry.kind)))?;
        self.remaining = if entry.kind == Kind::File { entry.size } else { 0 };
        self.padding = padding(self.remaining);
        Ok(())
    }

    /// Adds data of the current file.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.remaining.checked_sub(bytes.len() as u64) {
            Some(remaining) => self.remaining = remaining,
            None => return Err(changed("more data than the entry's size")),
        }
        self.inner.write_all(bytes)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_entry()?;
        self.inner.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.inner)
    }

    fn end_entry(&mut self) -> io::Result<()> {
        if self.remaining > 0 {
            return Err(changed("less data than the entry's size"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.inner.write_all(zeros(padding))
    }
}

/// Refuses what the format cannot say, rather than say something else.
fn check(entry: &Entry) -> io::Result<()> {
    let refuse = |reason| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    match entry.kind {
        Kind::BlockDevice { major, minor } | Kind::CharDevice { major, minor }
            if u64::from(major.max(minor)) > OCTAL_7_MAX =>
        {
            return refuse("its device number is too large");
        }
        _ => {}
    }
    match entry.xattrs.iter().any(|(name, _)| name.contains(&b'=')) {
        true => refuse("the name of one of its attributes contains `=`"),
        false => Ok(()),
    }
}

fn changed(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK_BYTES as u64) as usize
}

fn zeros(count: usize) -> &'static [u8] {
    &[0; BLOCK_BYTES][..count]
}

fn typeflag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice { .. } => b'3',
        Kind::BlockDevice { .. } => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// The entry that carries PAX records: named as Go's writer names it, owned by nobody, without
/// a time.
fn pax_entry(entry: &Entry, size: usize) -> Entry {
    let path = entry.path.strip_suffix(b"/").unwrap_or(&entry.path);
    let (dir, base) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..=slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let mut name = [dir, b"PaxHeaders.0/", base].concat();
    name.truncate(100);
    let mut pax = Entry::new(Kind::File, name);
    pax.mode = 0o644;
    pax.size = size as u64;
    pax
}

/// Records sorted by key, only for what the header cannot say.
fn pax_records(entry: &Entry) -> Vec<u8> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &str, value: Vec<u8>| records.push((key.as_bytes().to_vec(), value));
    let decimal = |value: u64| value.to_string().into_bytes();
    if u64::from(entry.gid) > OCTAL_7_MAX {
        add("gid", decimal(entry.gid.into()));
    }
    if entry.link.len() > 100 {
        add("linkpath", entry.link.clone());
    }
    if !(0..=OCTAL_11_MAX as i64).contains(&entry.mtime.seconds) {
        add("mtime", entry.mtime.seconds.to_string().into_bytes());
    }
    if split(&entry.path).is_none() {
        add("path", entry.path.clone());
    }
    if entry.kind == Kind::File && entry.size > OCTAL_11_MAX {
        add("size", decimal(entry.size));
    }
    if u64::from(entry.uid) > OCTAL_7_MAX {
        add("uid", decimal(entry.uid.into()));
    }
    for (name, value) in &entry.xattrs {
        records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
    }
    records.sort();
    records.iter().flat_map(|(key, value)| record(key, value)).collect()
}

/// `length key=value\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// The path as prefix and name, where it fits.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The slash at a directory's end belongs to its name.
    let body = path.strip_suffix(b"/").unwrap_or(path);
    let slash = body.iter().enumerate().take(156).rfind(|(_, byte)| **byte == b'/')?.0;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (name.len() <= 100 && !prefix.is_empty()).then_some((prefix, name))
}

fn block(entry: &Entry, typeflag: u8) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let (prefix, name) = split(&entry.path).unwrap_or((b"", start(&entry.path)));
    put(&mut block[0..100], name);
    octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
    octal(&mut block[108..116], fitting(entry.uid.into(), OCTAL_7_MAX));
    octal(&mut block[116..124], fitting(entry.gid.into(), OCTAL_7_MAX));
    let size = if entry.kind == Kind::File { entry.size } else { 0 };
    octal(&mut block[124..136], fitting(size, OCTAL_11_MAX));
    let seconds = u64::try_from(entry.mtime.seconds).unwrap_or(0);
    octal(&mut block[136..148], fitting(seconds, OCTAL_11_MAX));
    block[156] = typeflag;
    put(&mut block[157..257], start(&entry.link));
    put(&mut block[257..265], b"ustar\x0000");
    let (major, minor) = match entry.kind {
        Kind::BlockDevice { major, minor } | Kind::CharDevice { major, minor } => (major, minor),
        _ => (0, 0),
    };
    octal(&mut block[329..337], fitting(major.into(), OCTAL_7_MAX));
    octal(&mut block[337..345], fitting(minor.into(), OCTAL_7_MAX));
    put(&mut block[345..500], prefix);
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
    block
}

/// As much of a path as a field holds; the PAX header has it whole.
fn start(path: &[u8]) -> &[u8] {
    &path[..path.len().min(100)]
}

/// What the PAX header says is zero here.
fn fitting(value: u64, max: u64) -> u64 {
    if value <= max { value } else { 0 }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    field[..bytes.len()].copy_from_slice(bytes);
}

/// Octal digits with leading zeros and a NUL at the end.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    put(field, text.as_bytes());
    field[digits] = 0;
}
