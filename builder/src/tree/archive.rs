//! Archives given to ADD: recognised by content, unpacked like `tar -x` inside the root.
//!
//! Nothing of an archive can leave the root: every path is resolved in it, links included. What is not an archive
//! is a file like any other.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, linkat, makedev, mkdirat, mknodat, openat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use store::tar::{Entry, Kind, Reader};

use super::walk::named;
use super::write::{
    Destination, Owner, at_time, chown, copy_attributes, create, refuse, set_owner,
};
use crate::limits;

/// What a file turned out to be.
pub(crate) enum Opened {
    /// An archive, decompressed.
    Archive(Box<dyn BufRead + Send>),
    /// Anything else; read from its beginning.
    Plain,
}

/// Looks into a file; it may be an archive compressed or not.
pub(crate) fn open_archive(file: OwnedFd) -> io::Result<Opened> {
    let mut file = File::from(file);
    let mut head = [0; 6];
    let length = read_up_to(&mut file, &mut head)?;
    file.seek(SeekFrom::Start(0))?;
    let mut stream = decompressed(&head[..length], BufReader::new(file))?;
    let mut block = [0; 512];
    // A compressed file that is no archive, or is damaged, is copied as it is.
    let is_tar = match read_up_to(&mut stream, &mut block) {
        Ok(512) => is_header(&block),
        Ok(_) | Err(_) => false,
    };
    if !is_tar {
        return Ok(Opened::Plain);
    }
    Ok(Opened::Archive(Box::new(io::Cursor::new(block.to_vec()).chain(stream))))
}

/// What a stream turned out to be.
pub(crate) enum Stream {
    /// An archive, decompressed.
    Archive(Box<dyn BufRead + Send>),
    /// Anything else, from its beginning.
    Plain(Box<dyn Read + Send>),
}

/// Looks into a stream that cannot be read twice; what is compressed must be an archive.
pub(crate) fn open_stream(mut from: Box<dyn Read + Send>) -> io::Result<Stream> {
    let mut head = [0; 6];
    let length = read_up_to(&mut from, &mut head)?;
    let head = &head[..length];
    let whole = BufReader::new(io::Cursor::new(head.to_vec()).chain(from));
    let mut stream = decompressed(head, whole)?;
    let mut block = [0; 512];
    let length = read_up_to(&mut stream, &mut block)?;
    let is_tar = length == block.len() && is_header(&block);
    let stream = io::Cursor::new(block[..length].to_vec()).chain(stream);
    match (is_tar, is_compressed(head)) {
        (true, _) => Ok(Stream::Archive(Box::new(stream))),
        (false, false) => Ok(Stream::Plain(Box::new(stream))),
        (false, true) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "compressed, and no archive inside"))
        }
    }
}

fn is_compressed(head: &[u8]) -> bool {
    matches!(
        head,
        [0x1f, 0x8b, ..]
            | [b'B', b'Z', b'h', ..]
            | [0xfd, b'7', b'z', b'X', b'Z', 0]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
    )
}

/// What a stream holds, by how it begins.
fn decompressed(
    head: &[u8],
    from: impl BufRead + Send + 'static,
) -> io::Result<BufReader<Box<dyn Read + Send>>> {
    let plain: Box<dyn Read + Send> = match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new(from, true)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(from)?),
        _ => Box::new(from),
    };
    Ok(BufReader::with_capacity(64 << 10, plain))
}

fn read_up_to(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < into.len() {
        match from.read(&mut into[at..]) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

/// A tar header says its own checksum.
fn is_header(block: &[u8; 512]) -> bool {
    let digits: Vec<u8> = block[148..156].iter().copied().filter(u8::is_ascii_digit).collect();
    let stated = std::str::from_utf8(&digits).ok().and_then(|d| u32::from_str_radix(d, 8).ok());
    let sum = |range: &[u8]| range.iter().map(|b| u32::from(*b)).sum::<u32>();
    stated == Some(sum(&block[..148]) + sum(&block[156..]) + 8 * u32::from(b' '))
}

impl Destination<'_> {
    /// Unpacks an archive into `destination`, which is a folder whether or not it ends with a slash.
    pub(crate) fn unpack(
        &mut self,
        archive: Box<dyn BufRead + Send>,
        destination: &str,
    ) -> io::Result<()> {
        let base = self.make_folders(Path::new(destination.trim_matches('/')))?;
        let mut reader = Reader::new(archive);
        let (mut entries, mut bytes) = (0, 0_u64);
        while let Some(entry) = reader.next_entry().map_err(io::Error::other)? {
            entries += 1;
            bytes = bytes.saturating_add(entry.size);
            if entries > limits::ARCHIVE_ENTRIES || bytes > limits::ARCHIVE_BYTES {
                return Err(io::Error::other("the archive unpacks to more than the limit"));
            }
            let Some(path) = inside(&entry.path)? else { continue };
            self.unpack_entry(&mut reader, &entry, &base, &path).map_err(|e| named(&path, e))?;
        }
        Ok(())
    }

    fn unpack_entry<R: BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        base: &Path,
        path: &Path,
    ) -> io::Result<()> {
        // Links among the folders above lead somewhere inside the root.
        let above = self.make_folders(&base.join(path.parent().unwrap_or(Path::new(""))))?;
        let name = path.file_name().unwrap_or_default();
        if name.as_bytes().starts_with(b".wh.") {
            return Err(refuse(path, "a name that begins with .wh. cannot be part of an image"));
        }
        let target = above.join(name);
        let parent = self.root.open_at(&above, OFlags::PATH | OFlags::DIRECTORY)?;
        self.make_way(&parent, name, entry.kind == Kind::Directory)?;
        let owner = self.options.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid });
        let is_folder = entry.kind == Kind::Directory;
        let mode = self
            .options
            .chmod
            .as_ref()
            .map_or(entry.mode & 0o7777, |c| c.apply(entry.mode & 0o7777, is_folder));
        let times = at_time(
            self.options.time.unwrap_or(entry.mtime.seconds),
            if self.options.time.is_some() { 0 } else { entry.mtime.nanos.into() },
        );
        let device = |kind, major, minor| {
            mknodat(&parent, name, kind, Mode::from_raw_mode(mode), makedev(major, minor))
        };
        match entry.kind {
            Kind::File => {
                let file = create(&parent, name)?;
                write_data(reader, entry, &file)?;
                set_owner(&file, owner)?;
                fchmod(&file, Mode::from_raw_mode(mode))?;
                copy_attributes(&file, &entry.xattrs)?;
                return Ok(rustix::fs::futimens(&file, &times)?);
            }
            Kind::Directory => {
                match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                    Err(Errno::EXIST) => {}
                    made => made?,
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = openat(&parent, name, flags, Mode::empty())?;
                set_owner(&folder, owner)?;
                fchmod(&folder, Mode::from_raw_mode(mode))?;
                copy_attributes(&folder, &entry.xattrs)?;
                self.remember_folder_time(&target, times);
                return Ok(());
            }
            Kind::HardLink => return self.hard_link(entry, base, &parent, name),
            Kind::Symlink => symlinkat(OsStr::from_bytes(&entry.link), &parent, name)?,
            Kind::Fifo => device(FileType::Fifo, 0, 0)?,
            Kind::CharDevice { major, minor } => device(FileType::CharacterDevice, major, minor)?,
            Kind::BlockDevice { major, minor } => device(FileType::BlockDevice, major, minor)?,
        }
        chown(&parent, name, owner)?;
        Ok(utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// What an entry replaces is removed; a folder over a folder is a union.
    fn make_way(&self, parent: &OwnedFd, name: &OsStr, new_is_folder: bool) -> io::Result<()> {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        let old_is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (old_is_folder, new_is_folder) {
            (true, true) => Ok(()),
            (true, false) => remove_folder(parent, name),
            (false, _) => Ok(unlinkat(parent, name, AtFlags::empty())?),
        }
    }

    fn hard_link(
        &self,
        entry: &Entry,
        base: &Path,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> io::Result<()> {
        let Some(first) = inside(&entry.link)? else {
            return Err(io::Error::other("a hard link to nothing"));
        };
        let above = self.root.resolve(&base.join(first.parent().unwrap_or(Path::new(""))))?;
        let folder = self.root.open_at(&above, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(linkat(&folder, first.file_name().unwrap_or_default(), parent, name, AtFlags::empty())?)
    }
}

fn write_data<R: BufRead>(reader: &mut Reader<R>, entry: &Entry, file: &File) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    reader
        .copy_data(entry, |at, bytes| {
            file.write_all_at(bytes, at).map_err(store::tar::TarError::Io)
        })
        .map_err(io::Error::other)?;
    file.set_len(entry.size)
}

/// Removes a folder with everything in it, never following a link.
fn remove_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(parent, name, flags, Mode::empty())?;
    for child in super::walk::names(&folder)? {
        let stat = statat(&folder, &child, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            remove_folder(&folder, &child)?;
        } else {
            unlinkat(&folder, &child, AtFlags::empty())?;
        }
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// The path of an entry below the destination; absolute ones are seen from there, `..` is refused.
fn inside(path: &[u8]) -> io::Result<Option<PathBuf>> {
    let path = Path::new(OsStr::from_bytes(path));
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                return Err(refuse(path, "the archive has a path with .. in it"));
            }
            _ => {}
        }
    }
    Ok((!clean.as_os_str().is_empty()).then_some(clean))
}
