//! A directory in overlay form, or a whole tree, as a canonical tar; hashed, compressed and
//! hashed again in one pass.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use oci::{Algorithm, Compression, Descriptor, Digest, Hasher, MediaType};
use rustix::fs::{CWD, Mode, OFlags, Stat, openat};

use super::compress::compress;
use super::inode::{Attributes, entry_path, is_dir, is_opaque, is_whiteout, kind_of, look};
use super::path::LayerPath;
use super::stack::{Found, Stack};
use super::{Layer, LayerId, Layers, file_decoder};
use crate::content::into_io;
use crate::error::{Error, LayerError, Result, at};
use crate::lease::{Held, Lease};
use crate::limits::LAYER_BYTES_MAX;
use crate::tar::{Entry, Kind, Reader, TarError, Time, Writer};

/// Whose media types a new layer gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Docker schema 2.
    Docker,
    /// OCI.
    #[default]
    Oci,
}

impl Dialect {
    /// The media type of a layer.
    pub fn layer(self, compression: Compression) -> MediaType {
        match (self, compression) {
            (Self::Oci, compression) => MediaType::OciLayer(compression),
            (Self::Docker, Compression::None) => MediaType::DockerLayer,
            (Self::Docker, Compression::Gzip) => MediaType::DockerLayerGzip,
            (Self::Docker, Compression::Zstd) => MediaType::DockerLayerZstd,
        }
    }
}

/// How a layer is written.
#[derive(Clone, Debug)]
pub struct DiffOptions {
    /// Its compression.
    pub compression: Compression,
    /// Whose media type it gets.
    pub dialect: Dialect,
    /// No time in it is later than this many seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<i64>,
    /// How many threads compress; all processors where it is `None`. The bytes are the same.
    pub threads: Option<NonZero<usize>>,
}

impl Default for DiffOptions {
    fn default() -> Self {
        let (compression, dialect) = (Compression::Gzip, Dialect::Oci);
        Self { compression, dialect, epoch: None, threads: None }
    }
}

impl DiffOptions {
    fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().ok();
        self.threads.or_else(all).map_or(1, NonZero::get)
    }
}

/// A layer that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The blob in the store.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of all regular files.
    pub bytes: u64,
    /// How many entries it has; none means that nothing changed.
    pub entries: u64,
    /// Keeps the blob until the caller holds it.
    pub held: Held,
}

impl Layers {
    /// Writes an unpacked layer as a blob.
    pub fn diff(&self, id: &LayerId, options: &DiffOptions) -> Result<Diff> {
        let layer = self.require(id)?;
        if let Some(known) = self.known(&layer, options)? {
            return Ok(known);
        }
        self.diff_folder(layer.fs(), layer.parent().as_ref(), options)
    }

    /// A layer whose content is known needs not be compressed again; a clamped one may differ.
    fn known(&self, layer: &Layer, options: &DiffOptions) -> Result<Option<Diff>> {
        let (Some(diff_id), None) = (layer.diff_id(), options.epoch) else { return Ok(None) };
        let lease = self.making()?;
        let blob = self.blob_of(diff_id, options.compression, &lease)?;
        Ok(blob.map(|blob| {
            let media_type = options.dialect.layer(options.compression);
            Diff {
                descriptor: Descriptor::new(media_type, blob.digest().clone(), blob.size()),
                diff_id: diff_id.clone(),
                bytes: layer.bytes(),
                entries: 1,
                held: Held::by(lease),
            }
        }))
    }

    /// Writes a folder in overlay form (a snapshot's upper directory) as a layer above `parent`.
    pub fn diff_folder(
        &self,
        folder: &Path,
        parent: Option<&LayerId>,
        options: &DiffOptions,
    ) -> Result<Diff> {
        let below = parent.map(|id| self.stack(Some(id))).transpose()?;
        self.write(options, |out| {
            let mut walk = Walk::new(out, options.epoch, below.as_ref());
            walk.folder(folder)?;
            walk.finish()
        })
    }

    /// Writes a tar stream, compressed or not, as a layer of exactly its uncompressed bytes.
    pub fn add_tar(&self, tar: impl Read + Send, options: &DiffOptions) -> Result<Diff> {
        self.write(options, |out| copy_tar(tar, out))
    }

    /// Stores a compressed layer as it is, and finds out its diff id.
    pub fn add_blob(&self, blob: impl Read + Send, media_type: MediaType) -> Result<Diff> {
        let mut writer = self.content().writer(Algorithm::Sha256)?;
        let mut hashing =
            Hashing { inner: &mut io::sink(), hasher: Hasher::new(Algorithm::Sha256) };
        let tee = Tee { inner: blob.take(u64::MAX), out: &mut writer };
        let totals =
            copy_tar(tee, &mut hashing).map_err(|error| from_io("write layer", self, error))?;
        let diff_id = hashing.hasher.finish();
        self.finish(writer, media_type, diff_id, totals)
    }

    fn write(
        &self,
        options: &DiffOptions,
        produce: impl FnOnce(&mut dyn Write) -> io::Result<Totals>,
    ) -> Result<Diff> {
        let mut writer = self.content().writer(Algorithm::Sha256)?;
        let done = compress(options.compression, options.threads(), &mut writer, |out| {
            let mut hashing = Hashing { inner: out, hasher: Hasher::new(Algorithm::Sha256) };
            let totals = produce(&mut hashing)?;
            Ok((totals, hashing.hasher.finish()))
        });
        let (totals, diff_id) = done.map_err(|error| from_io("write layer", self, error))?;
        self.finish(writer, options.dialect.layer(options.compression), diff_id, totals)
    }

    fn finish(
        &self,
        writer: crate::Writer,
        media_type: MediaType,
        diff_id: Digest,
        totals: Totals,
    ) -> Result<Diff> {
        let lease = self.making()?;
        let descriptor = writer.commit_as(media_type, &lease)?;
        self.remember(&diff_id, totals.bytes, &descriptor)?;
        let (bytes, entries, held) = (totals.bytes, totals.entries, Held::by(lease));
        Ok(Diff { descriptor, diff_id, bytes, entries, held })
    }

    /// Between the making of a blob and the caller's lease two collections may pass.
    fn making(&self) -> Result<Arc<Lease>> {
        Lease::create(self.layout(), self.disk(), "making").map(Arc::new)
    }

    /// Writes several layers as one flat tree (`export`), uncompressed.
    pub fn export(
        &self,
        top: Option<&LayerId>,
        epoch: Option<i64>,
        out: &mut dyn Write,
    ) -> Result<()> {
        self.export_stack(&self.stack(top)?, epoch, out)
    }

    /// Writes what a stack shows (a container's changes above its image) as one flat tar,
    /// uncompressed.
    pub fn export_stack(
        &self,
        stack: &Stack,
        epoch: Option<i64>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let mut walk = Walk::new(out, epoch, None);
        let done = walk.stack(stack).and_then(|()| walk.finish());
        done.map(|_| ()).map_err(|error| from_io("export", self, error))
    }

    /// Writes a directory tree (a container's mounted root) as a tar, uncompressed.
    pub fn export_tree(&self, tree: &Path, epoch: Option<i64>, out: &mut dyn Write) -> Result<()> {
        let mut walk = Walk::new(out, epoch, None);
        let done = walk.folder(tree).and_then(|()| walk.finish());
        done.map(|_| ()).map_err(|error| from_io("export", self, error))
    }
}

fn is_ours(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Error>())
}

/// Store errors travel through `io::Error` inside the pass.
fn from_io(act: &'static str, layers: &Layers, error: io::Error) -> Error {
    if is_ours(&error) {
        return match error.into_inner().map(|inner| inner.downcast::<Error>()) {
            Some(Ok(inner)) => *inner,
            _ => at(act, layers.layout().root())(io::Error::from(io::ErrorKind::Other)),
        };
    }
    at(act, layers.layout().root())(error)
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    bytes: u64,
    entries: u64,
}

struct Hashing<'a> {
    inner: &'a mut dyn Write,
    hasher: Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Copies a tar stream byte by byte while it is parsed: what does not parse is no layer.
fn copy_tar(tar: impl Read + Send, out: &mut dyn Write) -> io::Result<Totals> {
    let refuse = |source: TarError| match source {
        TarError::Io(error) => error,
        other => broken(&other),
    };
    let decoded = file_decoder(tar).map_err(|error| broken(&error))?;
    let tee = Tee { inner: decoded.take(LAYER_BYTES_MAX + 1), out };
    let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, tee));
    let mut totals = Totals::default();
    while let Some(entry) = reader.next_entry().map_err(refuse)? {
        LayerPath::parse(&entry.path)
            .map_err(|reason| broken(&super::extract::hostile(&entry.path)(reason)))?;
        totals.entries += 1;
        totals.bytes += entry.size;
    }
    let mut rest = reader.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    match rest.get_ref().inner.limit() {
        0 => Err(broken(&LayerError::Limit { what: "bytes", limit: LAYER_BYTES_MAX })),
        _ => Ok(totals),
    }
}

fn broken(reason: &dyn std::fmt::Display) -> io::Error {
    into_io(Error::Archive { what: TAR.to_owned(), reason: reason.to_string() })
}

/// What an archive is called that comes as a stream.
const TAR: &str = "the tar";

struct Tee<'a, R, W: ?Sized> {
    inner: io::Take<R>,
    out: &'a mut W,
}

impl<R: Read, W: Write + ?Sized> Read for Tee<'_, R, W> {
    /// What cannot be read is the archive's fault, what cannot be written the store's.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            // What a reader below has written to failed.
            Err(error) if is_ours(&error) => return Err(error),
            other => other.map_err(|error| broken(&error))?,
        };
        self.out.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// A walk over a tree that writes what it meets: names sorted, a directory before what is in
/// it, whiteouts before their siblings, directories that did not change only above something
/// that did.
struct Walk<'a> {
    out: Writer<&'a mut dyn Write>,
    epoch: Option<i64>,
    below: Option<&'a Stack>,
    /// Directories on the way down that are not written yet.
    pending: Vec<Entry>,
    /// The first name of each file with several.
    links: HashMap<(u64, u64), LayerPath>,
    totals: Totals,
}

impl<'a> Walk<'a> {
    fn new(out: &'a mut dyn Write, epoch: Option<i64>, below: Option<&'a Stack>) -> Self {
        Self {
            out: Writer::new(out),
            epoch,
            below,
            pending: Vec::new(),
            links: HashMap::new(),
            totals: Totals::default(),
        }
    }

    fn finish(self) -> io::Result<Totals> {
        self.out.finish()?;
        Ok(self.totals)
    }

    /// Writes a folder in overlay form.
    fn folder(&mut self, folder: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, folder, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&dir)?;
        let below = self.below.map(|stack| stack.root()).transpose()?.flatten();
        let entry = directory_entry(&LayerPath::default(), folder, &stat)?;
        let plain = below.is_none() && entry.mode == 0o755 && (entry.uid, entry.gid) == (0, 0);
        // The root is there in any case: it is written only where it is not as expected.
        match &below {
            _ if plain && entry.xattrs.is_empty() => {}
            Some(found) if same_directory(found, &entry)? => {}
            _ => self.emit(&entry)?,
        }
        let opaque = is_opaque(folder)?;
        self.directory(&dir, &LayerPath::default(), below.filter(|_| !opaque).as_ref())
    }

    /// Writes what is in one directory of a folder.
    fn directory(
        &mut self,
        dir: &OwnedFd,
        at: &LayerPath,
        below: Option<&Found>,
    ) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(dir)? {
            let entry = entry?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(name.to_vec()),
            }
        }
        names.sort();
        let mut rest = Vec::with_capacity(names.len());
        for name in names {
            match look(dir, &name)? {
                Some(stat) if is_whiteout(&stat) => self.whiteout(at, &name)?,
                Some(stat) => rest.push((name, stat)),
                // A live tree may change while it is read.
                None => {}
            }
        }
        for (name, stat) in rest {
            let path = at.join(&name);
            let lower = match (below, self.below) {
                (Some(parent), Some(_)) => parent.child(&name)?,
                _ => None,
            };
            match is_dir(&stat) {
                true => self.subdirectory(dir, &name, &path, &stat, lower)?,
                false => self.leaf(&entry_path(dir, &name), &path, &stat, lower.as_ref())?,
            }
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &LayerPath,
        stat: &Stat,
        lower: Option<Found>,
    ) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(parent, name, flags, Mode::empty())?;
        let on_disk = entry_path(parent, name);
        let entry = directory_entry(path, &on_disk, stat)?;
        let lower = lower.filter(Found::is_dir);
        let opaque = is_opaque(&on_disk)?;
        let depth = self.pending.len();
        match &lower {
            // Only its time differs, if anything: as a mere parent it looks as below.
            Some(found) if same_directory(found, &entry)? => {
                self.pending.push(directory_entry(path, found.path(), found.stat())?);
            }
            _ => self.emit(&entry)?,
        }
        if opaque {
            self.hide_lower(&dir, path, lower.as_ref())?;
        }
        self.directory(&dir, path, lower.filter(|_| !opaque).as_ref())?;
        // Still pending means that nothing in it was written.
        self.pending.truncate(depth);
        Ok(())
    }

    /// An opaque directory as explicit whiteouts, which every reader knows; where it is not
    /// known what is below, as the opaque marker.
    fn hide_lower(
        &mut self,
        dir: &OwnedFd,
        path: &LayerPath,
        lower: Option<&Found>,
    ) -> io::Result<()> {
        let (Some(stack), Some(lower)) = (self.below, lower) else {
            return match self.below {
                Some(_) => Ok(()),
                None => self.marker(&path.join(b".wh..wh..opq")),
            };
        };
        for name in stack.list(lower)? {
            if look(dir, &name)?.is_none() {
                self.whiteout(path, &name)?;
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, at: &LayerPath, name: &[u8]) -> io::Result<()> {
        self.marker(&at.join(&[&b".wh."[..], name].concat()))
    }

    /// Markers carry nothing but their name, so that they never change a digest.
    fn marker(&mut self, path: &LayerPath) -> io::Result<()> {
        self.emit(&Entry::new(Kind::File, path.as_bytes()))
    }

    fn leaf(
        &mut self,
        on_disk: &Path,
        path: &LayerPath,
        stat: &Stat,
        lower: Option<&Found>,
    ) -> io::Result<()> {
        // A socket is no content; every builder leaves it out.
        let Some(kind) = kind_of(stat) else { return Ok(()) };
        if path.split().is_some_and(|(_, name)| name.starts_with(b".wh.")) {
            return Err(into_io(Error::Unarchivable {
                path: on_disk.to_path_buf(),
                reason: format!("{} would be read as a whiteout", path.show()),
            }));
        }
        let mut entry = Entry { kind, ..leaf_entry(path, on_disk, stat)? };
        if kind == Kind::Symlink {
            let target = std::fs::read_link(on_disk)?;
            entry.link = std::os::unix::ffi::OsStringExt::into_vec(target.into_os_string());
        }
        if kind != Kind::File {
            return match lower {
                Some(found) if same_node(found, &entry)? => Ok(()),
                _ => self.emit(&entry),
            };
        }
        if let Some(first) = self.first_name(path, stat) {
            entry.kind = Kind::HardLink;
            entry.link = first.as_bytes().to_vec();
            entry.xattrs.clear();
            return self.emit(&entry);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(openat(CWD, on_disk, flags, Mode::empty())?);
        entry.size = file.metadata()?.len();
        if stat.st_nlink == 1 && lower.is_some_and(|found| same_file(found, &entry, stat, on_disk))
        {
            return Ok(());
        }
        self.file(&entry, &mut file)
    }

    fn file(&mut self, entry: &Entry, file: &mut File) -> io::Result<()> {
        self.emit(entry)?;
        self.totals.bytes += entry.size;
        let mut left = entry.size;
        let mut buffer = vec![0; (256 * 1024).min(left.max(1)) as usize];
        while left > 0 {
            let want = (buffer.len() as u64).min(left) as usize;
            match file.read(&mut buffer[..want]) {
                Ok(0) => return Err(io::Error::other("a file shrank while it was archived")),
                Ok(count) => {
                    self.out.data(&buffer[..count])?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The name under which a file with several was written first.
    fn first_name(&mut self, path: &LayerPath, stat: &Stat) -> Option<LayerPath> {
        if stat.st_nlink < 2 {
            return None;
        }
        let inode = (stat.st_dev, stat.st_ino);
        match self.links.get(&inode) {
            Some(first) => Some(first.clone()),
            None => {
                self.links.insert(inode, path.clone());
                None
            }
        }
    }

    /// Writes several layers as one tree.
    fn stack(&mut self, stack: &Stack) -> io::Result<()> {
        match stack.root()? {
            Some(root) => self.merged(stack, &root, &LayerPath::default()),
            None => Ok(()),
        }
    }

    fn merged(&mut self, stack: &Stack, directory: &Found, at: &LayerPath) -> io::Result<()> {
        for (name, found) in stack.children(directory)? {
            let path = at.join(&name);
            if found.is_dir() {
                let entry = directory_entry(&path, found.path(), found.stat())?;
                self.emit(&entry)?;
                self.merged(stack, &found, &path)?;
            } else {
                self.leaf(found.path(), &path, found.stat(), None)?;
            }
        }
        Ok(())
    }

    /// Writes an entry, and first the directories above it that were not written.
    fn emit(&mut self, entry: &Entry) -> io::Result<()> {
        for directory in std::mem::take(&mut self.pending) {
            self.put(directory)?;
        }
        self.put(entry.clone())
    }

    fn put(&mut self, mut entry: Entry) -> io::Result<()> {
        entry.mtime = Time { nanos: 0, ..entry.mtime };
        if let Some(epoch) = self.epoch {
            entry.mtime.seconds = entry.mtime.seconds.min(epoch);
        }
        self.totals.entries += 1;
        self.out.entry(&entry).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => into_io(Error::Unarchivable {
                path: String::from_utf8_lossy(&entry.path).into_owned().into(),
                reason: error.to_string(),
            }),
            _ => error,
        })
    }
}

pub(crate) fn directory_entry(path: &LayerPath, on_disk: &Path, stat: &Stat) -> io::Result<Entry> {
    let mut entry = Entry { kind: Kind::Directory, ..leaf_entry(path, on_disk, stat)? };
    match path.is_root() {
        true => entry.path = b"./".to_vec(),
        false => entry.path.push(b'/'),
    }
    Ok(entry)
}

pub(crate) fn leaf_entry(path: &LayerPath, on_disk: &Path, stat: &Stat) -> io::Result<Entry> {
    let attributes = Attributes::of(on_disk, stat)?;
    let mut entry = Entry::new(Kind::File, path.as_bytes());
    entry.mode = attributes.mode;
    entry.uid = attributes.uid;
    entry.gid = attributes.gid;
    entry.mtime = attributes.mtime;
    entry.xattrs = attributes.xattrs;
    Ok(entry)
}

pub(crate) fn same_looks(found: &Found, entry: &Entry) -> io::Result<bool> {
    let below = Attributes::of(found.path(), found.stat())?;
    let here = Attributes::of_entry(entry);
    Ok(Attributes { mtime: here.mtime, ..below } == here)
}

/// Whether a directory looks as below; its time does not count.
pub(crate) fn same_directory(found: &Found, entry: &Entry) -> io::Result<bool> {
    Ok(found.is_dir() && same_looks(found, entry)?)
}

fn same_time(found: &Found, entry: &Entry) -> bool {
    let stat = found.stat();
    entry.mtime == Time { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

/// Whether a link, device or pipe was copied up unchanged.
pub(crate) fn same_node(found: &Found, entry: &Entry) -> io::Result<bool> {
    if kind_of(found.stat()) != Some(entry.kind) || !same_time(found, entry) {
        return Ok(false);
    }
    let target = match entry.kind {
        Kind::Symlink => std::os::unix::ffi::OsStringExt::into_vec(
            std::fs::read_link(found.path())?.into_os_string(),
        ),
        _ => Vec::new(),
    };
    Ok(target == entry.link && same_looks(found, entry)?)
}

/// Whether a file was copied up unchanged. Size and time alone do not say so: tools that set
/// times back are common in builds, so equal looks are followed by a look at the content.
pub(crate) fn same_file(found: &Found, entry: &Entry, stat: &Stat, on_disk: &Path) -> bool {
    let looks = kind_of(found.stat()) == Some(Kind::File)
        && found.stat().st_size == stat.st_size
        && same_time(found, entry)
        && same_looks(found, entry).unwrap_or(false);
    looks && same_content(found.path(), on_disk).unwrap_or(false)
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut a, mut b) = (vec![0; 128 * 1024], vec![0; 128 * 1024]);
    loop {
        let count = one.read(&mut a)?;
        if count == 0 {
            return Ok(other.read(&mut b)? == 0);
        }
        match other.read_exact(&mut b[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            done => done?,
        }
        if a[..count] != b[..count] {
            return Ok(false);
        }
    }
}
