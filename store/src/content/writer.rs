//! Blobs whose digest is known at their end.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use oci::{Algorithm, Descriptor, Digest, Hasher, MediaType, VerifyError};

use super::Content;
use crate::error::{Error, Result, at};
use crate::lease::Lease;
use crate::lock;

/// A blob under construction. It becomes visible by a commit, and leaves nothing without one.
#[derive(Debug)]
pub struct Writer {
    content: Content,
    file: File,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl Writer {
    pub(super) fn create(content: &Content, algorithm: Algorithm) -> Result<Self> {
        loop {
            let path = content.layout.ingest().join(format!("tmp-{}", crate::staging::unique()));
            let file = match content.disk.create_new(&path) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                    continue;
                }
                other => other?,
            };
            // Held, the lock tells the collector that this is no leftover.
            if lock::try_lock(&file).map_err(at("lock", &path))?
                && lock::is_at(&file, &path).map_err(at("read", &path))?
            {
                let hasher = Hasher::new(algorithm);
                return Ok(Self { content: content.clone(), file, path, hasher, size: 0 });
            }
        }
    }

    /// How many bytes were written.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.content.disk.write_all(&mut self.file, &self.path, bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Publishes the blob if it is what `expected` says; otherwise nothing stays.
    pub fn commit(mut self, expected: &Descriptor) -> Result<()> {
        let digest = self.finish_hash();
        if self.size < expected.size() {
            return Err(VerifyError::Truncated {
                digest: expected.digest().clone(),
                expected: expected.size(),
                found: self.size,
            }
            .into());
        }
        if digest != *expected.digest() || self.size != expected.size() {
            let expected = expected.digest().clone();
            return Err(VerifyError::Mismatch { expected, found: digest }.into());
        }
        self.publish(&digest)
    }

    /// Publishes the blob under the digest that it turned out to have, held by `lease` before
    /// it can be seen.
    pub fn commit_as(mut self, media_type: MediaType, lease: &Lease) -> Result<Descriptor> {
        let digest = self.finish_hash();
        lease.hold(&digest)?;
        self.publish(&digest)?;
        Ok(Descriptor::new(media_type, digest, self.size))
    }

    fn finish_hash(&mut self) -> Digest {
        let fresh = Hasher::new(Algorithm::Sha256);
        std::mem::replace(&mut self.hasher, fresh).finish()
    }

    fn publish(&mut self, digest: &Digest) -> Result<()> {
        publish(&self.content, &self.file, &self.path, digest)
    }
}

/// Data first, then the name, then the directory: a crash never leaves a short blob. Stamped,
/// because whoever is told that the blob is stored relies on it.
pub(super) fn publish(
    content: &Content,
    file: &File,
    from: &std::path::Path,
    digest: &Digest,
) -> Result<()> {
    let path = content.layout.blob(digest);
    super::touch(from).map_err(at("stamp", from))?;
    content.disk.sync_file(file, from)?;
    content.disk.rename(from, &path)?;
    content.disk.sync_dir(&content.layout.blobs(digest.algorithm()))
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(into_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a commit the path is gone; without one nothing may stay.
        let _ = self.content.disk.remove_file_if_there(&self.path);
    }
}

/// A store error as one that a writer can return: its kind outside, the whole of it within.
pub(crate) fn into_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::Io { source, .. } | Error::Full { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
