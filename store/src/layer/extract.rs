//! Tar entries to files in overlay form, below a directory that nothing can leave.
//!
//! Every parent is opened by `openat2` with RESOLVE_IN_ROOT, every file is created exclusively
//! and changed through its descriptor. Whiteouts are collected and applied at the end: they
//! mean lower layers only, wherever they stand in the archive (image-spec layer.md, "Whiteouts").

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, openat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::inode::{
    Attributes, entry_path, is_dir, look, make_node, make_whiteout, open_in, set_opaque,
};
use super::path::LayerPath;
use crate::error::LayerError;
use crate::limits::{LAYER_BYTES_MAX, LAYER_ENTRIES_MAX};
use crate::tar::{Entry, Kind, Reader, Time};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS kept its own files under this prefix; they mean nothing to anybody else.
const AUFS: &[u8] = b".wh..wh.";

/// Open directories kept: enough for a tree walk, far below any descriptor limit.
const OPEN_DIRECTORIES_MAX: usize = 64;

/// Runs of zeros this long in files this large become holes.
const HOLE_BYTES: usize = 64 * 1024;
const HOLE_FILE_BYTES_MIN: u64 = 1024 * 1024;

/// A layer extracted as far as it can be without the layers below it.
#[derive(Debug)]
pub(super) struct Extracted {
    pub(super) root: OwnedFd,
    /// Directories that the archive uses but does not describe: they look as below.
    pub(super) implied: BTreeSet<LayerPath>,
    /// Hard links whose target must be in a lower layer.
    pub(super) links: Vec<(LayerPath, LayerPath)>,
    /// Times of directories, to be set when nothing more is put into them.
    pub(super) times: BTreeMap<LayerPath, Time>,
    /// Bytes of all regular files.
    pub(super) bytes: u64,
}

/// Puts entries below a directory.
pub(super) struct Extractor {
    root: Rc<OwnedFd>,
    open: HashMap<LayerPath, Rc<OwnedFd>>,
    implied: BTreeSet<LayerPath>,
    links: Vec<(LayerPath, LayerPath)>,
    times: BTreeMap<LayerPath, Time>,
    whiteouts: BTreeSet<LayerPath>,
    opaque: BTreeSet<LayerPath>,
    entries: u64,
    bytes: u64,
}

type Done<T = ()> = Result<T, LayerError>;

impl Extractor {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root: Rc::new(root),
            open: HashMap::new(),
            implied: BTreeSet::from([LayerPath::default()]),
            links: Vec::new(),
            times: BTreeMap::new(),
            whiteouts: BTreeSet::new(),
            opaque: BTreeSet::new(),
            entries: 0,
            bytes: 0,
        }
    }

    /// Puts every entry of an archive.
    pub(super) fn all<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Done {
        while let Some(entry) = reader.next_entry()? {
            self.entries += 1;
            if self.entries > LAYER_ENTRIES_MAX {
                return Err(LayerError::Limit { what: "entries", limit: LAYER_ENTRIES_MAX });
            }
            self.entry(reader, &entry)?;
        }
        Ok(())
    }

    /// Applies what had to wait for the whole archive.
    pub(super) fn finish(mut self) -> Done<Extracted> {
        for dir in std::mem::take(&mut self.opaque) {
            self.apply_opaque(&dir)?;
        }
        for path in std::mem::take(&mut self.whiteouts) {
            self.apply_whiteout(&path)?;
        }
        self.open.clear();
        let root = Rc::try_unwrap(self.root);
        let root = root.or_else(|shared| shared.try_clone()).map_err(entry_error("open", b"/"))?;
        Ok(Extracted {
            root,
            implied: self.implied,
            links: self.links,
            times: self.times,
            bytes: self.bytes,
        })
    }

    fn entry<R: BufRead>(&mut self, reader: &mut Reader<R>, entry: &Entry) -> Done {
        let path = LayerPath::parse(&entry.path).map_err(hostile(&entry.path))?;
        let Some((parent, name)) = path.split() else {
            return self.root_entry(entry);
        };
        if name.starts_with(WHITEOUT) {
            return self.whiteout(&parent, name, entry);
        }
        let dir = self.directory(&parent)?;
        match entry.kind {
            Kind::Directory => self.make_directory(&dir, &path, name, entry),
            Kind::File => self.make_file(&dir, name, reader, entry),
            Kind::HardLink => self.make_link(&dir, &path, name, entry),
            Kind::Symlink => self.replacing(&dir, name, entry, || {
                symlinkat(entry.link.as_slice(), &*dir, name)?;
                Attributes::of_entry(entry).apply_at(&dir, name, entry.kind)
            }),
            _ => self.replacing(&dir, name, entry, || {
                make_node(&dir, name, entry.kind)?;
                Attributes::of_entry(entry).apply_at(&dir, name, entry.kind)
            }),
        }
    }

    fn root_entry(&mut self, entry: &Entry) -> Done {
        if entry.kind != Kind::Directory {
            return Err(hostile(&entry.path)("it would replace the layer's root"));
        }
        let set = || {
            let root = openat(&*self.root, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            Attributes::of_entry(entry).apply(&root)
        };
        set().map_err(entry_error("create directory", &entry.path))?;
        self.implied.remove(&LayerPath::default());
        self.times.insert(LayerPath::default(), entry.mtime);
        Ok(())
    }

    /// Remembers a whiteout. The name behind the prefix must be a name: `.wh...` would
    /// otherwise remove the parent of a directory.
    fn whiteout(&mut self, parent: &LayerPath, name: &[u8], entry: &Entry) -> Done {
        if name == OPAQUE {
            self.opaque.insert(parent.clone());
            return Ok(());
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        match &name[WHITEOUT.len()..] {
            b"" | b"." | b".." => Err(hostile(&entry.path)("it whites out no name")),
            hidden => {
                self.whiteouts.insert(parent.join(hidden));
                Ok(())
            }
        }
    }

    fn apply_opaque(&mut self, path: &LayerPath) -> Done {
        let dir = self.directory(path)?;
        let mark = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            set_opaque(openat(&*dir, ".", flags, Mode::empty())?)
        };
        mark().map_err(entry_error("make opaque", path.as_bytes()))
    }

    /// What the layer has itself stays; a directory of its own hides the lower one.
    fn apply_whiteout(&mut self, path: &LayerPath) -> Done {
        let Some((parent, name)) = path.split() else { return Ok(()) };
        let dir = self.directory(&parent)?;
        let there = look(&dir, name).map_err(entry_error("look at", path.as_bytes()))?;
        match there {
            None => make_whiteout(&dir, name).map_err(entry_error("white out", path.as_bytes())),
            Some(stat) if is_dir(&stat) => self.apply_opaque(path),
            Some(_) => Ok(()),
        }
    }

    fn make_directory(
        &mut self,
        parent: &OwnedFd,
        path: &LayerPath,
        name: &[u8],
        entry: &Entry,
    ) -> Done {
        let make = |this: &mut Self| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                Err(Errno::EXIST) => {
                    if look(parent, name)?.is_some_and(|stat| !is_dir(&stat)) {
                        this.remove(parent, name)?;
                        mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                    }
                }
                other => other?,
            }
            let dir = openat(parent, name, flags, Mode::empty())?;
            Attributes::of_entry(entry).apply(&dir)?;
            Ok(dir)
        };
        let dir = make(self).map_err(entry_error("create directory", &entry.path))?;
        self.implied.remove(path);
        self.times.insert(path.clone(), entry.mtime);
        self.remember(path.clone(), Rc::new(dir));
        Ok(())
    }

    fn make_file<R: BufRead>(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        reader: &mut Reader<R>,
        entry: &Entry,
    ) -> Done {
        if entry.size > LAYER_BYTES_MAX {
            return Err(LayerError::Limit { what: "bytes in one file", limit: LAYER_BYTES_MAX });
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let create = || openat(dir, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
        let failed = || entry_error("create", &entry.path);
        let file = match create() {
            Err(Errno::EXIST) => {
                self.remove(dir, name).map_err(failed())?;
                create()
            }
            other => other,
        };
        let file = File::from(file.map_err(|errno| failed()(errno.into()))?);
        let end = write_data(&file, reader, entry)?;
        let settle = || {
            if end < entry.size {
                file.set_len(entry.size)?;
            }
            let attributes = Attributes::of_entry(entry);
            attributes.apply(&file)?;
            attributes.apply_time(&file)
        };
        settle().map_err(failed())?;
        self.bytes += entry.size;
        Ok(())
    }

    fn make_link(&mut self, dir: &OwnedFd, path: &LayerPath, name: &[u8], entry: &Entry) -> Done {
        let target = LayerPath::parse(&entry.link).map_err(hostile(&entry.link))?;
        let Some((target_parent, target_name)) = target.split() else {
            return Err(hostile(&entry.path)("it links to the layer's root"));
        };
        if target == *path {
            return Ok(());
        }
        let link = |this: &mut Self| {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let from = match open_in(&this.root, target_parent.as_bytes(), flags) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                other => other?,
            };
            let link = || linkat(&from, target_name, dir, name, AtFlags::empty());
            match link() {
                Err(Errno::NOENT) => return Ok(false),
                Err(Errno::EXIST) => {
                    this.remove(dir, name)?;
                    link()?;
                }
                other => other?,
            }
            Ok(true)
        };
        if !link(self).map_err(entry_error("link", &entry.path))? {
            self.links.push((path.clone(), target.clone()));
        }
        Ok(())
    }

    /// Makes something that has no content, in place of what bears its name.
    fn replacing(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        make: impl Fn() -> io::Result<()>,
    ) -> Done {
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(dir, name).and_then(|()| make())
            }
            other => other,
        };
        made.map_err(entry_error("create", &entry.path))
    }

    /// Removes what an entry replaces. Open directories may be below it, so none is kept.
    fn remove(&mut self, dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
        self.open.clear();
        match look(dir, name)? {
            Some(stat) if is_dir(&stat) => std::fs::remove_dir_all(entry_path(dir, name)),
            Some(_) => Ok(unlinkat(dir, name, AtFlags::empty())?),
            None => Ok(()),
        }
    }

    /// The directory at `path`, made where the archive does not describe it.
    fn directory(&mut self, path: &LayerPath) -> Done<Rc<OwnedFd>> {
        if path.is_root() {
            return Ok(self.root.clone());
        }
        if let Some(dir) = self.open.get(path) {
            return Ok(dir.clone());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let dir = match open_in(&self.root, path.as_bytes(), flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.imply(path)?,
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOTDIR)) => {
                return Err(hostile(path.as_bytes())("it is used as a directory and is none"));
            }
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::LOOP)) => {
                return Err(hostile(path.as_bytes())("it is a loop of links"));
            }
            other => other.map_err(entry_error("open", path.as_bytes()))?,
        };
        let dir = Rc::new(dir);
        self.remember(path.clone(), dir.clone());
        Ok(dir)
    }

    fn imply(&mut self, path: &LayerPath) -> Done<OwnedFd> {
        let Some((parent, name)) = path.split() else {
            return Err(hostile(path.as_bytes())("it has no parent"));
        };
        let dir = self.directory(&parent)?;
        match mkdirat(&*dir, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {
                return Err(hostile(path.as_bytes())(
                    "it is a link to nowhere used as a directory",
                ));
            }
            other => {
                other.map_err(|e| entry_error("create directory", path.as_bytes())(e.into()))?
            }
        }
        self.implied.insert(path.clone());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&*dir, name, flags, Mode::empty())
            .map_err(|errno| entry_error("open", path.as_bytes())(errno.into()))
    }

    fn remember(&mut self, path: LayerPath, dir: Rc<OwnedFd>) {
        if self.open.len() >= OPEN_DIRECTORIES_MAX {
            self.open.clear();
        }
        self.open.insert(path, dir);
    }
}

/// Writes a file's data; long runs of zeros are left out. Returns where writing ended.
fn write_data<R: BufRead>(file: &File, reader: &mut Reader<R>, entry: &Entry) -> Done<u64> {
    let mut end = 0;
    let holes = entry.size >= HOLE_FILE_BYTES_MIN;
    reader.copy_data(entry, |offset, bytes| {
        let mut at = offset;
        for chunk in bytes.chunks(if holes { HOLE_BYTES } else { bytes.len() }) {
            if !(holes && chunk.len() == HOLE_BYTES && chunk.iter().all(|byte| *byte == 0)) {
                file.write_all_at(chunk, at).map_err(entry_error("write", &entry.path))?;
                end = at + chunk.len() as u64;
            }
            at += chunk.len() as u64;
        }
        Ok::<(), LayerError>(())
    })?;
    Ok(end)
}

/// An error of the operating system on an entry.
pub(super) fn entry_error(act: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> LayerError {
    let path = String::from_utf8_lossy(path).into_owned();
    move |source| LayerError::Entry { act, path, source }
}

/// A refusal of an entry.
pub(super) fn hostile(path: &[u8]) -> impl FnOnce(&'static str) -> LayerError {
    let path: String = String::from_utf8_lossy(path).chars().take(200).collect();
    move |reason| LayerError::Hostile { path, reason }
}
