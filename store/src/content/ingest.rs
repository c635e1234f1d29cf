//! Blobs of known digest, fetched piece by piece over any number of attempts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use oci::{Descriptor, Verifier};

use super::Content;
use super::writer::{into_io, publish};
use crate::error::{Error, Result, at};
use crate::lock;

/// What a start of an ingest finds.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // made once per blob and taken apart at once
pub enum IngestStart {
    /// The blob is in the store.
    Present,
    /// The blob is to be fetched from [`Ingest::offset`] on.
    Fetch(Ingest),
}

/// A partial blob. Dropped without a commit it stays on disk for the next attempt.
#[derive(Debug)]
pub struct Ingest {
    content: Content,
    descriptor: Descriptor,
    file: File,
    path: PathBuf,
    verifier: Verifier,
}

pub(super) fn start(content: &Content, descriptor: &Descriptor) -> Result<IngestStart> {
    let path = content.layout.partial(descriptor.digest());
    loop {
        if content.rely(descriptor.digest())? == Some(descriptor.size()) {
            return Ok(IngestStart::Present);
        }
        let file = content.disk.open_or_create(&path)?;
        lock::wait(&file).map_err(at("lock", &path))?;
        // Whoever held the lock may have published the file: then look at the blob again.
        if lock::is_at(&file, &path).map_err(at("read", &path))? {
            let verifier = Verifier::new(descriptor);
            let (content, descriptor) = (content.clone(), descriptor.clone());
            let mut ingest = Ingest { content, descriptor, file, path, verifier };
            ingest.resume()?;
            if ingest.offset() < ingest.descriptor.size() || ingest.descriptor.size() == 0 {
                return Ok(IngestStart::Fetch(ingest));
            }
            // Everything had come when the last attempt was interrupted.
            ingest.commit()?;
            return Ok(IngestStart::Present);
        }
    }
}

impl Ingest {
    /// Where to go on: so many bytes are there already.
    pub fn offset(&self) -> u64 {
        self.verifier.seen()
    }

    /// What was hashed so far: a transfer that goes on from here needs no second pass.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The blob to be.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Adds the next bytes; an error as soon as they are too many.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.offset() + bytes.len() as u64 > self.descriptor.size() {
            self.restart()?;
            let digest = self.descriptor.digest().clone();
            let expected = self.descriptor.size();
            return Err(oci::VerifyError::TooLong { digest, expected }.into());
        }
        self.content.disk.write_all(&mut self.file, &self.path, bytes)?;
        self.verifier.update(bytes)?;
        Ok(())
    }

    /// Publishes the blob. Where it is short, what is there stays for the next attempt; where
    /// it is wrong, nothing stays.
    pub fn commit(self) -> Result<()> {
        if self.offset() < self.descriptor.size() {
            return Err(oci::VerifyError::Truncated {
                digest: self.descriptor.digest().clone(),
                expected: self.descriptor.size(),
                found: self.offset(),
            }
            .into());
        }
        let Self { content, descriptor, file, path, verifier } = self;
        if let Err(error) = verifier.finish() {
            content.disk.remove_file_if_there(&path)?;
            return Err(Error::Content(error));
        }
        publish(&content, &file, &path, descriptor.digest())
    }

    /// Forgets what is there and starts at 0.
    pub fn restart(&mut self) -> Result<()> {
        self.content.disk.ask("truncate", &self.path)?;
        self.file.set_len(0).map_err(at("truncate", &self.path))?;
        self.file.rewind().map_err(at("seek", &self.path))?;
        self.verifier = Verifier::new(&self.descriptor);
        Ok(())
    }

    /// Hashes what an earlier attempt left. A file longer than the blob is not the blob.
    fn resume(&mut self) -> Result<()> {
        let length = self.file.metadata().map_err(at("read", &self.path))?.len();
        if length > self.descriptor.size() {
            return self.restart();
        }
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = self.file.read(&mut buffer).map_err(at("read", &self.path))?;
            if count == 0 {
                break;
            }
            self.verifier.update(&buffer[..count])?;
        }
        // Whole and wrong: no further byte can make it right.
        if self.offset() == self.descriptor.size() && self.verifier.clone().finish().is_err() {
            return self.restart();
        }
        self.file.seek(SeekFrom::Start(self.offset())).map_err(at("seek", &self.path))?;
        Ok(())
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(into_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
