//! An OCI layout in a tar, read where it lies: nothing is unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use oci::{Descriptor, Digest, Index, Raw, Source, TransferError, TransferErrorKind};

use crate::error::{Error, Result};

/// Most entries of an archive that are looked at: bounds one made to take for ever.
const ENTRIES_MAX: usize = 1_000_000;
/// Largest `index.json` that is read.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where in the file each blob is.
pub(super) struct Tarball {
    path: PathBuf,
    blobs: HashMap<Digest, (u64, u64)>,
}

impl Tarball {
    /// Finds the blobs and reads the list of images.
    pub(super) fn open(path: &Path) -> Result<(Self, Raw<Index>)> {
        let refuse = |reason: String| {
            Error::Invalid(format!("{} is not a readable image archive: {reason}", path.display()))
        };
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let mut tar = tar::Archive::new(file);
        let (mut blobs, mut index) = (HashMap::new(), None);
        let entries = tar.entries_with_seek().map_err(|e| refuse(e.to_string()))?;
        for (count, entry) in entries.enumerate() {
            let mut entry = entry.map_err(|e| {
                refuse(format!("{e}; a compressed archive must be decompressed first"))
            })?;
            if count >= ENTRIES_MAX {
                return Err(refuse(format!("it has more than {ENTRIES_MAX} entries")));
            }
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./");
            if let Some(digest) = blob_digest(name) {
                blobs.insert(digest, (entry.raw_file_position(), entry.size()));
            } else if name == "index.json" {
                let mut bytes = Vec::new();
                let read = (&mut entry).take(INDEX_BYTES_MAX).read_to_end(&mut bytes);
                read.map_err(|e| refuse(e.to_string()))?;
                index = Some(Raw::parse(bytes).map_err(|e| refuse(format!("index.json: {e}")))?);
            }
        }
        let index = index.ok_or_else(|| refuse("it has no index.json".to_owned()))?;
        Ok((Self { path: path.to_path_buf(), blobs }, index))
    }
}

fn blob_digest(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

impl Source for Tarball {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
        let digest = descriptor.digest();
        let Some((offset, size)) = self.blobs.get(digest) else {
            let act = format!("find {digest} in {}", self.path.display());
            return Err(TransferError::new(TransferErrorKind::NotFound, act));
        };
        let failed = |error| TransferError::from_io(format!("read {}", self.path.display()), error);
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
        Ok(Box::new(file.take(*size)))
    }
}
