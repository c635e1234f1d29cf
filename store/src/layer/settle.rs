//! The part of unpacking that needs the layers below: directories that an archive uses but
//! does not describe must look as below, because in a merged tree the topmost folder decides
//! how a directory looks.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

use super::extract::{Extracted, entry_error, hostile};
use super::inode::{Attributes, kind_of, open_in};
use super::path::LayerPath;
use super::stack::Stack;
use crate::error::LayerError;
use crate::tar::{Kind, Time};

/// Finishes an extracted layer above `below`.
pub(super) fn settle(mut layer: Extracted, below: &Stack) -> Result<u64, LayerError> {
    for (path, target) in std::mem::take(&mut layer.links) {
        copy_up(&layer, below, &path, &target)?;
    }
    for path in std::mem::take(&mut layer.implied) {
        let time = imply(&layer.root, below, &path)
            .map_err(entry_error("set attributes of", path.as_bytes()))?;
        layer.times.insert(path, time);
    }
    for (path, time) in &layer.times {
        set_time(&layer.root, path, *time).map_err(entry_error("set time of", path.as_bytes()))?;
    }
    Ok(layer.bytes)
}

/// Gives a directory the looks that it has below, or plain ones where it is new.
fn imply(root: &OwnedFd, below: &Stack, path: &LayerPath) -> io::Result<Time> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = match open_in(root, path.as_bytes(), flags) {
        // Another entry has replaced it since.
        Err(error) if is_gone(&error) => return Ok(Time::default()),
        other => other?,
    };
    let Some(found) = below.lookup(path)?.filter(|found| found.is_dir()) else {
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))?;
        return Ok(Time::default());
    };
    let attributes = Attributes::of(found.path(), found.stat())?;
    attributes.apply(&dir)?;
    Ok(attributes.mtime)
}

fn set_time(root: &OwnedFd, path: &LayerPath, mtime: Time) -> io::Result<()> {
    let dir = match open_in(root, path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if is_gone(&error) => return Ok(()),
        other => other?,
    };
    let attributes = Attributes { mode: 0, uid: 0, gid: 0, mtime, xattrs: Vec::new() };
    attributes.apply_time(&dir)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// A hard link to a file of a lower layer: the file comes up, as overlay would do it.
fn copy_up(
    layer: &Extracted,
    below: &Stack,
    path: &LayerPath,
    target: &LayerPath,
) -> Result<(), LayerError> {
    let found = below.lookup(target).map_err(entry_error("look up", target.as_bytes()))?;
    let found = found.filter(|found| kind_of(found.stat()) == Some(Kind::File));
    let Some(found) = found else {
        return Err(hostile(path.as_bytes())("it links to a file that is in no layer"));
    };
    let (Some((parent, name)), Some((target_parent, target_name))) = (path.split(), target.split())
    else {
        return Err(hostile(path.as_bytes())("it links to a directory"));
    };
    let copy = || -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let dir = open_in(&layer.root, parent.as_bytes(), flags)?;
        copy_file(&found, &dir, name)?;
        // Where the target's folder is in this layer too, the target must be the same file.
        match open_in(&layer.root, target_parent.as_bytes(), flags) {
            Ok(other) => match linkat(&dir, name, &other, target_name, AtFlags::empty()) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    };
    copy().map_err(entry_error("link", path.as_bytes()))
}

fn copy_file(from: &super::stack::Found, dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(openat(dir, name, flags, Mode::from_raw_mode(0o600))?);
    io::copy(&mut File::open(from.path())?, &mut to)?;
    let attributes = Attributes::of(from.path(), from.stat())?;
    attributes.apply(&to)?;
    attributes.apply_time(&to)
}
