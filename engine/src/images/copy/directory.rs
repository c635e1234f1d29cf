//! `dir:`, skopeo's folder with the files of one image: blobs by their hash, `manifest.json`, and
//! `<hash>.manifest.json` for the manifests behind an index.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci::limits::MANIFEST_BYTES_MAX;
use oci::{
    Descriptor, Digest, ManifestOrIndex, Raw, Sink, Source, TransferError, TransferErrorKind,
    VerifyingReader,
};
use registry_client::copy::{Attached, ClosureSink, ClosureSource};

use crate::error::{Error, Result};

const MANIFEST: &str = "manifest.json";
const VERSION: &str = "version";
const VERSION_TEXT: &str = "Directory Transport Version: 1.1\n";

/// A folder that is read.
pub(super) struct Directory {
    root: PathBuf,
    manifest: Descriptor,
}

impl Directory {
    /// The image of a folder.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let path = root.join(MANIFEST);
        let file = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
        let mut bytes = Vec::new();
        file.take(MANIFEST_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", &path, e))?;
        let document: Raw<ManifestOrIndex> =
            Raw::parse(bytes).map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))?;
        Ok(Self { root: root.to_path_buf(), manifest: document.descriptor() })
    }

    /// The image.
    pub(super) fn manifest(&self) -> &Descriptor {
        &self.manifest
    }
}

fn is_document(descriptor: &Descriptor) -> bool {
    descriptor.media_type().is_manifest() || descriptor.media_type().is_index()
}

fn file_of(root: &Path, descriptor: &Descriptor) -> PathBuf {
    let hex = descriptor.digest().hex();
    root.join(if is_document(descriptor) { format!("{hex}.{MANIFEST}") } else { hex.to_owned() })
}

impl Source for Directory {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
        let path = match descriptor.digest() == self.manifest.digest() {
            true => self.root.join(MANIFEST),
            false => file_of(&self.root, descriptor),
        };
        let file = File::open(&path)
            .map_err(|error| TransferError::from_io(format!("open {}", path.display()), error))?;
        Ok(Box::new(file))
    }
}

impl ClosureSource for Directory {
    fn closure(&self, _: &[Digest]) -> Result<Vec<Attached>, TransferError> {
        // The form has no place for what is attached.
        Ok(Vec::new())
    }
}

/// A new folder that is written.
pub(super) struct NewDirectory {
    root: PathBuf,
}

impl NewDirectory {
    /// A folder that is new or empty: what is in another one is somebody's.
    pub(super) fn make(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(|e| Error::io("make", root, e))?;
        let mut listing = fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
        if listing.next().is_some() {
            return Err(Error::Invalid(format!(
                "dir:{}: the folder is not empty; name a new one, or oci: to add to a layout",
                root.display()
            )));
        }
        Ok(Self { root: root.to_path_buf() })
    }

    /// Makes the image readable, last.
    pub(super) fn finish(&self, image: &Descriptor) -> Result<()> {
        let version = self.root.join(VERSION);
        fs::write(&version, VERSION_TEXT).map_err(|e| Error::io("write", &version, e))?;
        let (from, to) = (file_of(&self.root, image), self.root.join(MANIFEST));
        fs::rename(&from, &to).map_err(|e| Error::io("rename", &from, e))
    }
}

impl Sink for NewDirectory {
    fn has(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        // A part of a file is never left under its name.
        Ok(file_of(&self.root, descriptor).exists())
    }

    fn accept(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), TransferError> {
        let path = file_of(&self.root, descriptor);
        let failed = |error| TransferError::from_io(format!("write {}", path.display()), error);
        let staged = path.with_extension("part");
        let mut proven = VerifyingReader::new(content, descriptor);
        let written = File::create(&staged)
            .and_then(|mut file| io::copy(&mut proven, &mut file))
            .and_then(|_| fs::rename(&staged, &path));
        if written.is_err() {
            let _ = fs::remove_file(&staged);
        }
        written.map_err(failed)
    }
}

impl ClosureSink for NewDirectory {
    fn attach(&self, one: &Attached) -> Result<(), TransferError> {
        let act = format!("attach {}: a dir: has no place for it", one.descriptor.digest());
        Err(TransferError::new(TransferErrorKind::Denied, act))
    }

    fn listed(&self, _: &Digest) -> Result<Vec<Digest>, TransferError> {
        Ok(Vec::new())
    }
}
