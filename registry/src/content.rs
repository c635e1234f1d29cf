//! The seam to the content store: the few things that a registry needs of it.

use std::fs::File;
use std::io;
use std::path::Path;

use oci::{Descriptor, Digest};
use store::{Disk, Store};

use crate::error::Error;
use crate::fault::Fault;

/// The blobs of a store root. Everything here blocks on disk.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    store: Store,
    content: store::Content,
}

impl Content {
    /// Opens the store under `root`.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        Self::open_on(root, Disk::default())
    }

    /// Opens the store on a disk that may fail on cue.
    pub(crate) fn open_on(root: &Path, disk: Disk) -> Result<Self, Error> {
        let opened = Store::open_on(root, disk);
        let store =
            opened.map_err(|error| Error::Store { act: "open it", source: error.into() })?;
        Ok(Self { content: store.content().clone(), store })
    }

    /// The store itself, for the collector.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The length of a blob that is there, for a caller that will tell a client so: the collector
    /// keeps it for as long as it keeps a new one.
    pub(crate) fn rely(&self, digest: &Digest) -> io::Result<Option<u64>> {
        self.content.rely(digest).map_err(into_io)
    }

    /// Opens a blob, with its length.
    pub(crate) fn read(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        match self.content.open(digest) {
            Ok(blob) => {
                let length = blob.size();
                Ok(Some((blob.into_file(), length)))
            }
            Err(store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(into_io(error)),
        }
    }

    /// Takes over a complete file whose digest has been verified.
    pub(crate) fn adopt(&self, file: &File, path: &Path, digest: &Digest) -> io::Result<()> {
        self.content.adopt(file, path, digest).map_err(into_io)
    }

    /// Stores a small document.
    pub(crate) fn put(&self, descriptor: &Descriptor, bytes: &[u8]) -> io::Result<()> {
        self.content.put(descriptor, bytes).map_err(into_io)
    }

    /// Reads a small document whole and checks it against its digest.
    pub(crate) fn small(&self, digest: &Digest, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        match self.content.small(digest, bytes_max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(into_io(error)),
        }
    }
}

// The kind of an i/o error (disk full above all) has to survive the way up.
fn into_io(error: store::Error) -> io::Error {
    match error {
        store::Error::Io { source, .. } | store::Error::Full { source, .. } => source,
        other => io::Error::other(other),
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        Self::io("use the content store", &into_io(error))
    }
}
