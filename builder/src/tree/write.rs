//! Writing into the root file system of a step.
//!
//! Rules of COPY (as BuildKit's copier has them): a new folder at the destination is 0755 and belongs to the owner
//! that was asked for, folders below it look like their source, a file replaces a file and never a folder.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, fsetxattr, linkat, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::hash::read_attributes;
use super::select::Match;
use super::walk::{Entry, Kind, Meta, named};
use super::{Root, is_absent};
use crate::chmod::ModeChange;

/// Numeric owner and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// How copied entries look.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    /// Their owner; the source's when `None`.
    pub(crate) owner: Option<Owner>,
    /// The change of their permission bits.
    pub(crate) chmod: Option<ModeChange>,
    /// Their time, in seconds since 1970; the source's when `None`.
    pub(crate) time: Option<i64>,
}

/// The file system that is written into.
#[derive(Debug)]
pub(crate) struct Destination<'r> {
    pub(crate) root: &'r Root,
    pub(crate) options: WriteOptions,
    /// Hard links of one source stay links.
    links: HashMap<(u64, u64), PathBuf>,
    /// Folders get their times when everything in them is written.
    folder_times: Vec<(PathBuf, Timestamps)>,
    /// The folder of the entry before: most entries are siblings.
    parent: Option<(PathBuf, OwnedFd)>,
}

impl<'r> Destination<'r> {
    pub(crate) fn new(root: &'r Root, options: WriteOptions) -> Self {
        Destination { root, options, links: HashMap::new(), folder_times: Vec::new(), parent: None }
    }

    /// Makes a folder and those above it; what is there stays as it is.
    pub(crate) fn make_folders(&mut self, path: &Path) -> io::Result<PathBuf> {
        let resolved = self.root.resolve(path)?;
        let mut done = PathBuf::new();
        for part in resolved.components() {
            done.push(part);
            let parent = self.root.parent_of(&done)?;
            let name = done.file_name().unwrap_or_default();
            match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let owner = self.options.owner.unwrap_or(Owner { uid: 0, gid: 0 });
                    chown(&parent, name, owner)?;
                    // The process mask may have taken bits away.
                    let folder = openat(
                        &parent,
                        name,
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?;
                    fchmod(&folder, Mode::from_raw_mode(0o755))?;
                    if let Some(time) = self.options.time {
                        self.folder_times.push((done.clone(), at_time(time, 0)));
                    }
                }
                Err(Errno::EXIST) => match self.root.stat(&done)? {
                    Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                    _ => return Err(refuse(&done, "is not a directory")),
                },
                Err(e) => return Err(named(&done, e.into())),
            }
        }
        Ok(resolved)
    }

    /// Copies one match of a source path to `destination`, absolute, with a slash at its end for "into this folder".
    pub(crate) fn copy(
        &mut self,
        source: &Root,
        found: &Match,
        destination: &str,
    ) -> io::Result<()> {
        let wanted = Path::new(destination.trim_matches('/'));
        let above = if destination.ends_with('/') {
            wanted
        } else {
            wanted.parent().unwrap_or(Path::new(""))
        };
        self.make_folders(above)?;
        let mut target = self.root.resolve(wanted)?;
        let there = self.root.stat(&target)?.map(|s| Meta::of(&s).kind);
        if found.meta.kind == Kind::Folder {
            match there {
                None => drop(self.make_folders(&target)?),
                Some(Kind::Folder) => {}
                Some(_) => return Err(refuse(&target, "cannot copy to non-directory")),
            }
            for entry in &found.entries {
                self.entry(source, found, Some(entry), &target.join(&entry.path))?;
            }
        } else {
            if there == Some(Kind::Folder) {
                target.push(&found.name);
            }
            self.entry(source, found, None, &target)?;
        }
        self.links.clear();
        Ok(())
    }

    /// Writes a file of given content.
    pub(crate) fn file(
        &mut self,
        target: &Path,
        mode: u32,
        mtime: Option<i64>,
        content: &mut dyn io::Read,
    ) -> io::Result<u64> {
        self.clear_way(target)?;
        let parent = self.parent(target)?;
        let name = target.file_name().unwrap_or_default();
        let mut file = create(&parent, name)?;
        let written = io::copy(content, &mut file)?;
        let owner = self.options.owner.unwrap_or(Owner { uid: 0, gid: 0 });
        let mode = self.options.chmod.as_ref().map_or(mode, |c| c.apply(mode, false));
        set_owner(&file, owner)?;
        fchmod(&file, Mode::from_raw_mode(mode))?;
        if let Some(time) = self.options.time.or(mtime) {
            rustix::fs::futimens(&file, &at_time(time, 0))?;
        }
        Ok(written)
    }

    /// Where a file called `name` goes that is copied to `destination`.
    pub(crate) fn file_target(&mut self, destination: &str, name: &str) -> io::Result<PathBuf> {
        let wanted = Path::new(destination.trim_matches('/'));
        let above = if destination.ends_with('/') {
            wanted
        } else {
            wanted.parent().unwrap_or(Path::new(""))
        };
        self.make_folders(above)?;
        let mut target = self.root.resolve(wanted)?;
        if self.root.stat(&target)?.is_some_and(|s| Meta::of(&s).kind == Kind::Folder) {
            target.push(name);
        }
        Ok(target)
    }

    /// Sets the times of folders, innermost first.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        while let Some((path, times)) = self.folder_times.pop() {
            let parent = self.root.parent_of(&path)?;
            utimensat(
                &parent,
                path.file_name().unwrap_or_default(),
                &times,
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }

    pub(super) fn remember_folder_time(&mut self, path: &Path, times: Timestamps) {
        self.folder_times.push((path.to_owned(), times));
    }

    fn entry(
        &mut self,
        source: &Root,
        found: &Match,
        entry: Option<&Entry>,
        target: &Path,
    ) -> io::Result<()> {
        let meta = *entry.map_or(&found.meta, |e| &e.meta);
        self.write_entry(source, found, entry, &meta, target).map_err(|e| named(target, e))
    }

    fn write_entry(
        &mut self,
        source: &Root,
        found: &Match,
        entry: Option<&Entry>,
        meta: &Meta,
        target: &Path,
    ) -> io::Result<()> {
        if meta.kind == Kind::Folder {
            return self.folder(found, entry, meta, target);
        }
        self.clear_way(target)?;
        let parent = self.parent(target)?;
        let name = target.file_name().unwrap_or_default();
        match meta.kind {
            Kind::File => {
                if meta.links > 1 && self.link(meta, &parent, name)? {
                    return Ok(());
                }
                let from = found.open_file(source, entry)?;
                let mut to = create(&parent, name)?;
                let attributes = read_attributes(&from)?;
                io::copy(&mut File::from(from), &mut to)?;
                self.finish_file(&to, meta, &attributes)?;
                if meta.links > 1 {
                    self.links.insert((meta.dev, meta.ino), target.to_owned());
                }
                return Ok(());
            }
            Kind::Link => {
                let text = found.read_link(entry.map_or(Path::new(""), |e| &e.path))?;
                symlinkat(OsStr::from_bytes(&text), &parent, name)?;
            }
            Kind::Pipe => {
                mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(meta.mode), 0)?
            }
            Kind::CharDevice => mknodat(
                &parent,
                name,
                FileType::CharacterDevice,
                Mode::from_raw_mode(meta.mode),
                meta.rdev,
            )?,
            Kind::BlockDevice => mknodat(
                &parent,
                name,
                FileType::BlockDevice,
                Mode::from_raw_mode(meta.mode),
                meta.rdev,
            )?,
            Kind::Folder | Kind::Socket => return Ok(()),
        }
        chown(&parent, name, self.owner_of(meta))?;
        Ok(utimensat(&parent, name, &self.times_of(meta), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn folder(
        &mut self,
        found: &Match,
        entry: Option<&Entry>,
        meta: &Meta,
        target: &Path,
    ) -> io::Result<()> {
        let parent = self.parent(target)?;
        let name = target.file_name().unwrap_or_default();
        match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => {
                let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    return Err(refuse(target, "cannot copy to non-directory"));
                }
            }
            made => made?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(&parent, name, flags, Mode::empty())?;
        if let Some(entry) = entry {
            let from = found.open_below(&entry.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            copy_attributes(&folder, &read_attributes(&from)?)?;
        }
        set_owner(&folder, self.owner_of(meta))?;
        fchmod(&folder, Mode::from_raw_mode(self.mode_of(meta)))?;
        let times = self.times_of(meta);
        self.remember_folder_time(target, times);
        Ok(())
    }

    fn finish_file(
        &self,
        file: &File,
        meta: &Meta,
        attributes: &[(Vec<u8>, Vec<u8>)],
    ) -> io::Result<()> {
        // The owner first: setting it clears set-id bits and capabilities.
        set_owner(file, self.owner_of(meta))?;
        fchmod(file, Mode::from_raw_mode(self.mode_of(meta)))?;
        copy_attributes(file, attributes)?;
        Ok(rustix::fs::futimens(file, &self.times_of(meta))?)
    }

    /// A second name of a file that was copied already.
    fn link(&self, meta: &Meta, parent: &OwnedFd, name: &OsStr) -> io::Result<bool> {
        let Some(first) = self.links.get(&(meta.dev, meta.ino)) else { return Ok(false) };
        let folder = self.root.parent_of(first)?;
        linkat(&folder, first.file_name().unwrap_or_default(), parent, name, AtFlags::empty())?;
        Ok(true)
    }

    /// Removes what a file will replace; a folder is never replaced.
    fn clear_way(&mut self, target: &Path) -> io::Result<()> {
        let parent = self.parent(target)?;
        let name = target.file_name().unwrap_or_default();
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                Err(refuse(target, "cannot replace a directory with a file"))
            }
            Ok(_) => Ok(unlinkat(&parent, name, AtFlags::empty())?),
        }
    }

    fn parent(&mut self, target: &Path) -> io::Result<OwnedFd> {
        let folder = target.parent().unwrap_or(Path::new(""));
        if let Some((known, fd)) = &self.parent
            && known == folder
        {
            return fd.try_clone();
        }
        let fd = match self.root.parent_of(target) {
            // With --parents the folders come as entries of their own; anything else is a race.
            Err(e) if is_absent(&e) => {
                self.make_folders(folder)?;
                self.root.parent_of(target)?
            }
            fd => fd?,
        };
        let copy = fd.try_clone()?;
        self.parent = Some((folder.to_owned(), fd));
        Ok(copy)
    }

    fn owner_of(&self, meta: &Meta) -> Owner {
        self.options.owner.unwrap_or(Owner { uid: meta.uid, gid: meta.gid })
    }

    fn mode_of(&self, meta: &Meta) -> u32 {
        self.options
            .chmod
            .as_ref()
            .map_or(meta.mode, |c| c.apply(meta.mode, meta.kind == Kind::Folder))
    }

    fn times_of(&self, meta: &Meta) -> Timestamps {
        match self.options.time {
            Some(time) => at_time(time, 0),
            None => at_time(meta.mtime.0, meta.mtime.1),
        }
    }
}

pub(super) fn refuse(path: &Path, reason: &str) -> io::Error {
    io::Error::other(format!("/{}: {reason}", path.display()))
}

pub(super) fn at_time(seconds: i64, nanos: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    Timestamps { last_access: time, last_modification: time }
}

pub(super) fn create(parent: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?))
}

pub(super) fn chown(parent: &OwnedFd, name: &OsStr, owner: Owner) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    Ok(chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(super) fn set_owner(fd: impl AsFd, owner: Owner) -> io::Result<()> {
    Ok(fchown(fd, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?)
}

pub(super) fn copy_attributes(fd: impl AsFd, attributes: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    for (name, value) in attributes {
        match fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty()) {
            // A file system without attributes cannot hold them; the content is what counts.
            Err(Errno::NOTSUP) => {}
            set => set?,
        }
    }
    Ok(())
}
