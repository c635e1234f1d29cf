//! Content-addressed blobs: `blobs/<algorithm>/<hex>`.

mod ingest;
mod ports;
mod writer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::SystemTime;

use oci::{
    Algorithm, Descriptor, Digest, Document, ManifestOrIndex, Raw, VerifyingReader,
    limits::INDEX_DEPTH_MAX,
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use rustix::io::Errno;

pub use ingest::{Ingest, IngestStart};
pub use writer::Writer;
pub(crate) use writer::into_io;

use crate::disk::Disk;
use crate::error::{Error, Result, at};
use crate::layout::Layout;

/// A blob that the collector renames away while we look is found under its other name at
/// once; it can move at most twice (to its tombstone and back) between two looks.
const LOOKS_MAX: usize = 4;

/// The blobs of a store.
#[derive(Clone, Debug)]
pub struct Content {
    layout: Layout,
    disk: Disk,
}

impl Content {
    pub(crate) fn new(layout: Layout, disk: Disk) -> Self {
        Self { layout, disk }
    }

    /// The length of a blob, or `None` where it is not in the store. A blob that was condemned
    /// by the collector but not yet removed comes back to life.
    pub fn stat(&self, digest: &Digest) -> Result<Option<u64>> {
        let found = self.alive(digest, |path| std::fs::metadata(path))?;
        Ok(found.map(|metadata| metadata.len()))
    }

    /// Like [`Content::stat`], and stamps the blob: whoever is told that a blob is there relies
    /// on it, so the collector keeps it for as long as its cutoff says.
    pub fn rely(&self, digest: &Digest) -> Result<Option<u64>> {
        let found = self.alive(digest, |path| {
            match touch(path) {
                // Where nothing can be written nothing can be collected.
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
                other => other?,
            }
            std::fs::metadata(path)
        })?;
        Ok(found.map(|metadata| metadata.len()))
    }

    /// When somebody last came to rely on the blob.
    pub fn stamp(&self, digest: &Digest) -> Result<Option<SystemTime>> {
        self.alive(digest, |path| std::fs::metadata(path)?.modified())
    }

    /// Opens a blob. What is read is as it is on disk: see [`Content::open_verified`].
    pub fn open(&self, digest: &Digest) -> Result<Blob> {
        let file = self.alive(digest, |path| File::open(path))?;
        let file = file.ok_or_else(|| Error::NotFound { digest: digest.clone() })?;
        let size = file.metadata().map_err(at("read", &self.layout.blob(digest)))?.len();
        Ok(Blob { file, size })
    }

    /// Opens a blob behind a reader that fails at the end where the disk has damaged it.
    pub fn open_verified(&self, descriptor: &Descriptor) -> Result<VerifyingReader<Blob>> {
        Ok(VerifyingReader::new(self.open(descriptor.digest())?, descriptor))
    }

    /// Reads a document whole and checks its digest.
    pub fn document<T: Document>(&self, digest: &Digest) -> Result<Raw<T>> {
        let bytes = self.small(digest, T::BYTES_MAX)?;
        Raw::parse(bytes).map_err(|source| Error::Document { digest: digest.clone(), source })
    }

    /// Reads a manifest or an index.
    pub fn manifest(&self, digest: &Digest) -> Result<Raw<ManifestOrIndex>> {
        self.document(digest)
    }

    /// Reads a blob whole, at most `bytes_max` bytes, and checks its digest.
    pub fn small(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>> {
        let path = self.layout.blob(digest);
        let mut blob = self.open(digest)?;
        let size = blob.size();
        if size > bytes_max {
            let reason = format!("{size} bytes where at most {bytes_max} are expected");
            return Err(Error::Record { path, reason });
        }
        let mut bytes = vec![0; size as usize];
        blob.read_exact(&mut bytes).map_err(at("read", &path))?;
        let found = Digest::of(digest.algorithm(), &bytes);
        if found != *digest {
            return Err(oci::VerifyError::Mismatch { expected: digest.clone(), found }.into());
        }
        Ok(bytes)
    }

    /// Starts a blob whose digest is not known yet.
    pub fn writer(&self, algorithm: Algorithm) -> Result<Writer> {
        Writer::create(self, algorithm)
    }

    /// Starts, or goes on with, a blob of known digest. What was written before a crash or a
    /// broken transfer is kept: ask [`Ingest::offset`]. Waits while another process fetches the
    /// same blob.
    pub fn ingest(&self, descriptor: &Descriptor) -> Result<IngestStart> {
        ingest::start(self, descriptor)
    }

    /// Stores a small document.
    pub fn put(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        if self.rely(descriptor.digest())? == Some(descriptor.size()) {
            return Ok(());
        }
        let mut writer = self.writer(descriptor.digest().algorithm())?;
        writer.append(bytes)?;
        writer.commit(descriptor)
    }

    /// Takes over a file of this root that holds the whole blob `digest`, already verified by
    /// whoever wrote it: the registry's uploads last longer than a [`Writer`].
    pub fn adopt(&self, file: &File, path: &std::path::Path, digest: &Digest) -> Result<()> {
        writer::publish(self, file, path, digest)
    }

    /// Stores a document under its own descriptor.
    pub fn put_raw<T: Document>(&self, raw: &Raw<T>) -> Result<Descriptor> {
        let descriptor = raw.descriptor();
        self.put(&descriptor, raw.bytes())?;
        Ok(descriptor)
    }

    /// Where a blob's file is or would be, for messages and for tools that read an image layout.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.layout.blob(digest)
    }

    /// The first content that a complete image would have and the store has not: the
    /// manifest itself, its config, its layers; of an index, the content of those manifests
    /// that are present (an index may be sparse). Stamps what it finds.
    pub fn first_missing(&self, root: &Descriptor) -> Result<Option<Digest>> {
        self.first_missing_under(root, 0)
    }

    /// A document is looked at before what it names: from then on a collection that finds it held
    /// can read it, and keeps the rest.
    fn first_missing_under(&self, root: &Descriptor, depth: usize) -> Result<Option<Digest>> {
        if self.rely(root.digest())?.is_none() {
            return Ok(Some(root.digest().clone()));
        }
        let media_type = root.media_type();
        if depth >= INDEX_DEPTH_MAX || !(media_type.is_index() || media_type.is_manifest()) {
            return Ok(None);
        }
        let document = self.manifest(root.digest())?;
        for child in document.children() {
            let sparse = media_type.is_index() || child.media_type().is_non_distributable();
            match self.first_missing_under(child, depth + 1)? {
                Some(missing) if !(sparse && missing == *child.digest()) => {
                    return Ok(Some(missing));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Looks at a blob's file, reviving it where it lies under a tombstone.
    fn alive<T>(
        &self,
        digest: &Digest,
        look: impl Fn(&PathBuf) -> io::Result<T>,
    ) -> Result<Option<T>> {
        let (path, tombstone) = (self.layout.blob(digest), self.layout.dead_blob(digest));
        for _ in 0..LOOKS_MAX {
            match look(&path) {
                Ok(found) => return Ok(Some(found)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", &path, error)),
            }
            match rustix::fs::rename(&tombstone, &path) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::io("revive", &path, error.into())),
            }
        }
        Ok(None)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }
}

/// An open blob.
#[derive(Debug)]
pub struct Blob {
    file: File,
    size: u64,
}

impl Blob {
    /// Its length.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The open file.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for Blob {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Stamps a file with the kernel's time.
pub(crate) fn touch(path: &std::path::Path) -> io::Result<()> {
    let now = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    };
    Ok(utimensat(CWD, path, &now, AtFlags::empty())?)
}

/// The digests that name the entries of a folder; other names are not ours.
pub(crate) fn digests_in(dir: &std::path::Path, algorithm: Algorithm) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(digests),
        other => other.map_err(at("list", dir))?,
    };
    for entry in entries {
        let name = entry.map_err(at("list", dir))?.file_name();
        if let Some(digest) =
            name.to_str().and_then(|hex| format!("{algorithm}:{hex}").parse().ok())
        {
            digests.push(digest);
        }
    }
    Ok(digests)
}
