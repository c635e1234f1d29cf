//! What a file is beside its content: owner, mode, time, attributes, and overlay's own marks.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Timespec, Timestamps,
    UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown, fsetxattr, futimens, lgetxattr,
    llistxattr, lsetxattr, makedev, mknodat, openat2, statat, utimensat,
};
use rustix::io::Errno;

use crate::tar::{Kind, Time};

/// The attribute that hides what lower layers have in a directory.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// Attributes that mean something to overlay: an archive must not set them, and none is
/// written into one.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Labels of the host's security module belong to the host.
const HOST: &[u8] = b"security.selinux";

/// Whether an attribute belongs to the file and not to the machine that keeps it.
pub(crate) fn is_portable(name: &[u8]) -> bool {
    !OVERLAY.iter().any(|prefix| name.starts_with(prefix)) && name != HOST
}

/// Owner, mode and attributes: what is set on every new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// Those of a file, by the path of its directory entry (a link is not followed).
    pub(crate) fn of(path: &Path, stat: &Stat) -> io::Result<Self> {
        Ok(Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
            xattrs: portable_xattrs(path)?,
        })
    }

    /// Those that `entry` carries.
    pub(crate) fn of_entry(entry: &crate::tar::Entry) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs.clone(),
        }
    }

    /// Sets all but the time on an open file. Owner first: changing it clears set-id bits and
    /// capabilities.
    pub(crate) fn apply(&self, file: impl AsFd) -> io::Result<()> {
        let file = file.as_fd();
        fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        fchmod(file, Mode::from_raw_mode(self.mode as RawMode))?;
        for (name, value) in self.xattrs.iter().filter(|(name, _)| is_portable(name)) {
            tolerate(fsetxattr(file, name.as_slice(), value, XattrFlags::empty()))?;
        }
        Ok(())
    }

    /// Sets the time on an open file.
    pub(crate) fn apply_time(&self, file: impl AsFd) -> io::Result<()> {
        Ok(futimens(file, &times(self.mtime))?)
    }

    /// Sets all on something that cannot be opened: a link, a device, a pipe.
    pub(crate) fn apply_at(&self, dir: &OwnedFd, name: &[u8], kind: Kind) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != Kind::Symlink {
            let mode = Mode::from_raw_mode(self.mode as RawMode);
            rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
        }
        for (attribute, value) in self.xattrs.iter().filter(|(name, _)| is_portable(name)) {
            let path = entry_path(dir, name);
            tolerate(lsetxattr(&path, attribute.as_slice(), value, XattrFlags::empty()))?;
        }
        Ok(utimensat(dir, name, &times(self.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// A file system that has no such attributes still holds the image, as with every other
/// runtime; a refusal by rights is an error.
fn tolerate(done: rustix::io::Result<()>) -> io::Result<()> {
    match done {
        Err(Errno::NOTSUP) => Ok(()),
        other => Ok(other?),
    }
}

fn times(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) as _ },
    }
}

/// The path of a directory entry, where only a path will do: the last part is never followed.
pub(crate) fn entry_path(dir: &OwnedFd, name: &[u8]) -> PathBuf {
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    let dir = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    dir.join(std::ffi::OsStr::from_bytes(name))
}

/// The attributes that belong to the file, sorted by name.
pub(crate) fn portable_xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0u8; 4096];
    let length = loop {
        match llistxattr(path, &mut list[..]) {
            Ok(length) => break length,
            Err(Errno::RANGE) => list.resize(list.len() * 4, 0),
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let mut xattrs = Vec::new();
    for name in list[..length].split(|byte| *byte == 0) {
        if !name.is_empty() && is_portable(name) {
            xattrs.push((name.to_vec(), xattr(path, name)?));
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

fn xattr(path: &Path, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0u8; 1024];
    loop {
        match lgetxattr(path, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(value);
            }
            Err(Errno::RANGE) => value.resize(value.len() * 4, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a directory hides what is below it.
pub(crate) fn is_opaque(path: &Path) -> io::Result<bool> {
    let mut value = [0u8; 4];
    match lgetxattr(path, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        // A value longer than ours is not the mark.
        Err(Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes a directory hide what is below it.
pub(crate) fn set_opaque(dir: impl AsFd) -> io::Result<()> {
    Ok(fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())?)
}

/// Whether this is overlay's whiteout: a character device 0/0.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Makes a whiteout.
pub(crate) fn make_whiteout(dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    Ok(mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0 as Dev)?)
}

/// Makes a device or a pipe.
pub(crate) fn make_node(dir: &OwnedFd, name: &[u8], kind: Kind) -> io::Result<()> {
    let (file_type, device) = match kind {
        Kind::BlockDevice { major, minor } => (FileType::BlockDevice, makedev(major, minor)),
        Kind::CharDevice { major, minor } => (FileType::CharacterDevice, makedev(major, minor)),
        _ => (FileType::Fifo, 0),
    };
    Ok(mknodat(dir, name, file_type, Mode::from_raw_mode(0o600), device)?)
}

/// Looks at a directory entry without following it.
pub(crate) fn look(dir: &OwnedFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Looks at a path without following its last part.
pub(crate) fn look_at(path: &Path) -> io::Result<Option<Stat>> {
    match rustix::fs::lstat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a path below `root`, links and all resolved as if `root` were `/`.
pub(crate) fn open_in(root: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel asks to try again where something was renamed meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// The kind of a file by its mode.
pub(crate) fn kind_of(stat: &Stat) -> Option<Kind> {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => Some(Kind::BlockDevice { major, minor }),
        FileType::CharacterDevice => Some(Kind::CharDevice { major, minor }),
        FileType::Directory => Some(Kind::Directory),
        FileType::Fifo => Some(Kind::Fifo),
        FileType::RegularFile => Some(Kind::File),
        FileType::Symlink => Some(Kind::Symlink),
        _ => None,
    }
}

/// Whether a file is a directory.
pub(crate) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
