//! From files to tar: by descriptors only, so that nothing that changes meanwhile leads elsewhere.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, openat, statat,
};
use store::tar::{Entry, Kind, Time, Writer};

use super::place::Source;
use crate::error::{Error, Result};

/// The attribute that programs need to keep their rights; others are the file system's own affair.
const CAPABILITY: &[u8] = b"security.capability";
/// Largest attribute that is copied.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Writes the source under `name` (`.` for what is in it).
pub(super) fn pack(source: &Source, name: &[u8], out: &mut (dyn Write + Send)) -> Result<()> {
    let mut packer = Packer { tar: Writer::new(out), links: HashMap::new() };
    packer.add(source.parent.as_fd(), &source.name, &source.stat, name)?;
    let out = packer.tar.finish().map_err(fail(name))?;
    out.flush().map_err(fail(name))
}

struct Packer<W: Write> {
    tar: Writer<W>,
    /// The first path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<W> {
    fn add(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        path: &[u8],
    ) -> Result<()> {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let mut entry = Entry::new(Kind::File, path);
        entry.mode = stat.st_mode & 0o7777;
        (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
        entry.mtime = Time {
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        };
        match file_type {
            FileType::Directory => return self.add_folder(parent, name, entry),
            FileType::RegularFile => return self.add_file(parent, name, stat, entry),
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(parent, name, Vec::new()).map_err(fail(path))?;
                entry.kind = Kind::Symlink;
                entry.link = link.into_bytes();
            }
            FileType::BlockDevice | FileType::CharacterDevice => {
                let (major, minor) =
                    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                entry.kind = match file_type {
                    FileType::BlockDevice => Kind::BlockDevice { major, minor },
                    _ => Kind::CharDevice { major, minor },
                };
            }
            FileType::Fifo => entry.kind = Kind::Fifo,
            // A socket without its process is nothing.
            _ => return Ok(()),
        }
        self.tar.entry(&entry).map_err(fail(path))
    }

    fn add_folder(&mut self, parent: BorrowedFd<'_>, name: &OsStr, mut entry: Entry) -> Result<()> {
        let path = std::mem::take(&mut entry.path);
        entry.kind = Kind::Directory;
        entry.path = [&path, b"/".as_slice()].concat();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(parent, name, flags, Mode::empty()).map_err(fail(&path))?;
        self.tar.entry(&entry).map_err(fail(&path))?;
        let mut names = Vec::new();
        for item in Dir::read_from(&dir).map_err(fail(&path))? {
            let item = item.map_err(fail(&path))?;
            if !matches!(item.file_name().to_bytes(), b"." | b"..") {
                names.push(item.file_name().to_owned());
            }
        }
        names.sort();
        for name in names {
            let inner = [path.as_slice(), b"/", name.as_bytes()].concat();
            let inner_name = OsStr::from_bytes(name.as_bytes());
            match statat(&dir, inner_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => self.add(dir.as_fd(), inner_name, &stat, &inner)?,
                // Removed since the folder was listed.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(fail(&inner)(error)),
            }
        }
        Ok(())
    }

    fn add_file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        mut entry: Entry,
    ) -> Result<()> {
        let path = entry.path.clone();
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first);
                return self.tar.entry(&entry).map_err(fail(&path));
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        // It may have become a pipe since it was looked at: opening must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty()).map_err(fail(&path))?;
        entry.xattrs = capability(&file);
        let file = File::from(file);
        let metadata = file.metadata().map_err(fail(&path))?;
        if !metadata.is_file() {
            return Err(fail(&path)(io::Error::other("it changed while it was copied")));
        }
        entry.size = metadata.len();
        self.tar.entry(&entry).map_err(fail(&path))?;
        // What is written to it meanwhile is not part of the copy.
        let mut rest = file.take(entry.size);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match rest.read(&mut buffer).map_err(fail(&path))? {
                0 => return Ok(()),
                count => self.tar.data(&buffer[..count]).map_err(fail(&path))?,
            }
        }
    }
}

fn capability(file: &OwnedFd) -> Vec<(Vec<u8>, Vec<u8>)> {
    const NAME: &CStr = c"security.capability";
    let mut names = vec![0; XATTR_BYTES_MAX];
    let listed = flistxattr(file, &mut names[..]).unwrap_or(0);
    if !names[..listed].split(|byte| *byte == 0).any(|name| name == CAPABILITY) {
        return Vec::new();
    }
    let mut value = vec![0; 256];
    match fgetxattr(file, NAME, &mut value[..]) {
        Ok(length) => vec![(CAPABILITY.to_vec(), value[..length].to_vec())],
        Err(_) => Vec::new(),
    }
}

fn fail<E: Into<io::Error>>(path: &[u8]) -> impl FnOnce(E) -> Error {
    let path = std::path::PathBuf::from(OsStr::from_bytes(path));
    move |error| Error::io("copy", path, error.into())
}
