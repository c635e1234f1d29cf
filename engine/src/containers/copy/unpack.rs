//! From tar to files below a root: every path is looked up anew with the root as the root of everything.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, linkat, mkdirat, mknodat, openat, statat, symlinkat, unlinkat,
    utimensat,
};
use store::tar::{Entry, Kind, Reader, TarError, Time};

use super::place::{Target, is_folder};
use crate::error::{Error, Result};

/// Whom the copied files belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Whom they belonged to.
    Kept,
    /// This user.
    Of { uid: u32, gid: u32 },
}

/// Unpacks a stream into the target's folder.
pub(super) fn unpack(tar: impl BufRead, target: &Target<'_>, owner: Owner) -> Result<()> {
    let mut reader = Reader::new(tar);
    let mut folders: Vec<(PathBuf, Time)> = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(|error| broken(&error))? {
        let path = inside(&entry.path)?;
        let Some(place) = Place::find(target, &path)? else { continue };
        place.put(&mut reader, &entry, target, owner)?;
        if entry.kind == Kind::Directory {
            folders.push((path, entry.mtime));
        }
    }
    // What was put into a folder changed its time.
    for (path, time) in folders.iter().rev() {
        if let Some(place) = Place::find(target, path)? {
            let _ = utimensat(&place.parent, &place.name, &times(*time), AtFlags::SYMLINK_NOFOLLOW);
        }
    }
    // A sender that is cut off in the middle waits for its last bytes to be taken.
    let mut rest = reader.into_inner();
    io::copy(&mut rest, &mut io::sink())
        .map_err(|error| Error::io("read", "the archive", error))?;
    Ok(())
}

/// A path of an archive, below its target. One that would lead up is refused, not bent.
fn inside(path: &[u8]) -> Result<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                return Err(Error::Invalid(format!(
                    "copy: the archive's entry {} leads out of the target",
                    path.display()
                )));
            }
            _ => {}
        }
    }
    Ok(clean)
}

/// Where one entry goes.
struct Place {
    parent: OwnedFd,
    name: OsString,
    shown: PathBuf,
}

impl Place {
    /// The folder of the entry, made where it is missing; none for the target's folder itself.
    fn find(target: &Target<'_>, path: &Path) -> Result<Option<Self>> {
        let Some(name) = path.file_name() else { return Ok(None) };
        let folder = target.folder.join(path.parent().unwrap_or(Path::new("")));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let parent = match target.root.open_inside(&folder, flags) {
            Ok(parent) => parent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(target, &folder)?;
                target
                    .root
                    .open_inside(&folder, flags)
                    .map_err(|error| Error::io("copy to", &folder, error))?
            }
            Err(error) => return Err(Error::io("copy to", &folder, error)),
        };
        Ok(Some(Self { parent, name: name.to_owned(), shown: folder.join(name) }))
    }

    fn put<R: BufRead>(
        &self,
        reader: &mut Reader<R>,
        entry: &Entry,
        target: &Target<'_>,
        owner: Owner,
    ) -> Result<()> {
        let present = self.clear_way(entry)?;
        match entry.kind {
            Kind::Directory => return self.put_folder(entry, present.as_ref(), owner),
            Kind::File => return self.put_file(reader, entry, owner),
            Kind::HardLink => return self.put_link(entry, target),
            Kind::Symlink => {
                let link = OsStr::from_bytes(&entry.link);
                symlinkat(link, &self.parent, &self.name).map_err(|error| self.fail(error))?;
            }
            Kind::Fifo => self.make_node(FileType::Fifo, 0, entry)?,
            Kind::CharDevice { major, minor } => {
                let number = rustix::fs::makedev(major, minor);
                self.make_node(FileType::CharacterDevice, number, entry)?;
            }
            Kind::BlockDevice { major, minor } => {
                let number = rustix::fs::makedev(major, minor);
                self.make_node(FileType::BlockDevice, number, entry)?;
            }
        }
        let (uid, gid) = of(owner, entry);
        chownat(&self.parent, &self.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.fail(error))?;
        utimensat(&self.parent, &self.name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.fail(error))
    }

    /// Removes a file that is written over; a folder is never written over, nor does it take the place of a file.
    fn clear_way(&self, entry: &Entry) -> Result<Option<Stat>> {
        let present = match statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.fail(error)),
        };
        let is_link = FileType::from_raw_mode(present.st_mode).is_symlink();
        match (is_folder(&present), entry.kind == Kind::Directory) {
            (true, true) => Ok(Some(present)),
            (true, false) => Err(Error::Invalid(format!(
                "cannot overwrite directory \"{}\" with non-directory",
                self.shown.display()
            ))),
            // The folder that a link of the image leads to is the one that is meant.
            (false, true) if is_link => Ok(Some(present)),
            (false, true) => Err(Error::Invalid(format!(
                "cannot overwrite non-directory \"{}\" with directory",
                self.shown.display()
            ))),
            (false, false) => {
                unlinkat(&self.parent, &self.name, AtFlags::empty())
                    .map_err(|error| self.fail(error))?;
                Ok(None)
            }
        }
    }

    fn put_folder(&self, entry: &Entry, present: Option<&Stat>, owner: Owner) -> Result<()> {
        if present.is_some_and(|stat| !is_folder(stat)) {
            return Ok(());
        }
        if present.is_none() {
            mkdirat(&self.parent, &self.name, Mode::from_raw_mode(0o700))
                .map_err(|error| self.fail(error))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(&self.parent, &self.name, flags, Mode::empty())
            .map_err(|error| self.fail(error))?;
        let (uid, gid) = of(owner, entry);
        fchown(&dir, uid, gid).map_err(|error| self.fail(error))?;
        fchmod(&dir, Mode::from_raw_mode(entry.mode & 0o7777)).map_err(|error| self.fail(error))
    }

    fn put_file<R: BufRead>(
        &self,
        reader: &mut Reader<R>,
        entry: &Entry,
        owner: Owner,
    ) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.parent, &self.name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.fail(error))?;
        let file = File::from(file);
        reader.copy_data::<Failure>(entry, |at, bytes| Ok(file.write_all_at(bytes, at)?)).map_err(
            |failure| match failure {
                Failure::Tar(error) => broken(&error),
                Failure::File(error) => Error::io("copy to", &self.shown, error),
            },
        )?;
        let fail = |error: io::Error| Error::io("copy to", &self.shown, error);
        // A file that ends in a hole.
        file.set_len(entry.size).map_err(fail)?;
        let (uid, gid) = of(owner, entry);
        fchown(&file, uid, gid).map_err(|error| self.fail(error))?;
        fchmod(&file, Mode::from_raw_mode(entry.mode & 0o7777))
            .map_err(|error| self.fail(error))?;
        for (name, value) in &entry.xattrs {
            match fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
                // Not every file system has them, and not every user may set them.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(|error| self.fail(error))
    }

    fn put_link(&self, entry: &Entry, target: &Target<'_>) -> Result<()> {
        let Some(first) = Self::find(target, &inside(&entry.link)?)? else {
            return Err(Error::Invalid(format!(
                "copy: the archive's link {} leads to its own folder",
                self.shown.display()
            )));
        };
        linkat(&first.parent, &first.name, &self.parent, &self.name, AtFlags::empty())
            .map_err(|error| self.fail(error))
    }

    fn make_node(&self, kind: FileType, number: u64, entry: &Entry) -> Result<()> {
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        mknodat(&self.parent, &self.name, kind, mode, number).map_err(|error| self.fail(error))
    }

    fn fail(&self, error: rustix::io::Errno) -> Error {
        Error::io("copy to", &self.shown, error.into())
    }
}

/// What stops the copy of one file's data.
enum Failure {
    Tar(TarError),
    File(io::Error),
}

impl From<TarError> for Failure {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

fn broken(error: &TarError) -> Error {
    Error::Invalid(format!("copy: the archive cannot be read: {error}"))
}

/// Folders that an archive names only by what is in them.
fn make_folders(target: &Target<'_>, folder: &Path) -> Result<()> {
    let mut at = PathBuf::from("/");
    for component in folder.components() {
        let Component::Normal(name) = component else { continue };
        let fail = |error: io::Error| Error::io("create folder", at.join(name), error);
        let parent =
            target.root.open_inside(&at, OFlags::PATH | OFlags::DIRECTORY).map_err(fail)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(fail(error.into())),
        }
        at.push(name);
    }
    Ok(())
}

fn of(owner: Owner, entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    let (uid, gid) = match owner {
        Owner::Kept => (entry.uid, entry.gid),
        Owner::Of { uid, gid } => (uid, gid),
    };
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

fn times(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
