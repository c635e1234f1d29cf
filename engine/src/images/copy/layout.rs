//! An OCI layout in a folder as a place to copy to: what is there stays and is not written again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use oci::limits::MANIFEST_BYTES_MAX;
use oci::{Descriptor, Digest, Index, Raw, Sink, TransferError, VerifyingReader, annotation};
use registry_client::copy::{Attached, ClosureSink};

use super::listed::name_of;
use crate::error::{Error, Result};

const MARKER: &str = "oci-layout";
const MARKER_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Largest `index.json` that is read.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A layout that is written. Its list changes once, at the end, under a lock between processes.
pub(super) struct Layout {
    root: PathBuf,
    /// Held until the copy is over.
    _lock: File,
    attached: Mutex<Vec<Attached>>,
    staged: AtomicU64,
}

impl Layout {
    /// Opens a layout, or makes one in a new or empty folder.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let marker = root.join(MARKER);
        fs::create_dir_all(root).map_err(|e| Error::io("make", root, e))?;
        if !marker.exists() {
            let mut listing = fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
            if listing.next().is_some() {
                return Err(Error::Invalid(format!(
                    "{}: it is not empty and has no {MARKER} file; name an OCI layout or a new folder",
                    root.display()
                )));
            }
            fs::write(&marker, MARKER_TEXT).map_err(|e| Error::io("write", &marker, e))?;
        }
        let lock = File::open(&marker).map_err(|e| Error::io("open", &marker, e))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|e| Error::io("lock", &marker, e.into()))?;
        Ok(Self {
            root: root.to_path_buf(),
            _lock: lock,
            attached: Mutex::default(),
            staged: AtomicU64::new(0),
        })
    }

    /// Lists an image under a name, and all that was attached: until then a reader of the layout
    /// sees nothing of the copy.
    pub(super) fn list(&self, images: &[(Descriptor, Option<String>)]) -> Result<()> {
        let mut entries = self.entries()?;
        let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let attached = attached.iter().map(|one| (one.descriptor.clone(), one.tag.clone()));
        for (descriptor, name) in attached.chain(images.iter().cloned()) {
            enter(&mut entries, &descriptor, name.as_deref());
        }
        let index = Raw::encode(&Index::new(entries))
            .map_err(|e| Error::Invalid(format!("{}: {e}", self.root.display())))?;
        let path = self.root.join("index.json");
        self.write(&path, &mut &index.bytes()[..]).map_err(|e| Error::io("write", &path, e))
    }

    /// The document that has a name.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let entries = self.entries()?;
        let Some(entry) = entries.iter().find(|entry| name_of(entry) == Some(name)) else {
            return Ok(None);
        };
        let path = self.blob(entry.digest());
        let file = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
        let mut bytes = Vec::new();
        VerifyingReader::new(file.take(MANIFEST_BYTES_MAX), entry)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", &path, e))?;
        Ok(Some(bytes))
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        let path = self.root.join("index.json");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        let mut bytes = Vec::new();
        file.take(INDEX_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", &path, e))?;
        let index: Raw<Index> =
            Raw::parse(bytes).map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))?;
        Ok(index.manifests().to_vec())
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// Writes beside, flushes, then gives the name: a reader never sees half a file.
    fn write(&self, path: &Path, content: &mut dyn Read) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let staged = folder.join(format!(".staged-{}-{number}", std::process::id()));
        let written = write_synced(&staged, content).and_then(|()| fs::rename(&staged, path));
        if written.is_err() {
            // It is of no use to anyone; its own removal may fail as well.
            let _ = fs::remove_file(&staged);
        }
        written?;
        File::open(folder)?.sync_all()
    }
}

fn write_synced(path: &Path, content: &mut dyn Read) -> io::Result<()> {
    let mut file = File::create(path)?;
    io::copy(content, &mut file)?;
    file.flush()?;
    file.sync_data()
}

/// A name has one meaning; content without a name stands once.
fn enter(entries: &mut Vec<Descriptor>, descriptor: &Descriptor, name: Option<&str>) {
    match name {
        Some(name) => {
            entries.retain(|entry| name_of(entry) != Some(name));
            entries.push(descriptor.bare().with_annotation(annotation::REF_NAME, name));
        }
        None if entries.iter().any(|entry| entry.digest() == descriptor.digest()) => {}
        None => entries.push(descriptor.bare()),
    }
}

impl Sink for Layout {
    fn has(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        let path = self.blob(descriptor.digest());
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == descriptor.size()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(TransferError::from_io(format!("read {}", path.display()), error)),
        }
    }

    fn accept(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), TransferError> {
        let path = self.blob(descriptor.digest());
        let mut proven = VerifyingReader::new(content, descriptor);
        self.write(&path, &mut proven)
            .map_err(|error| TransferError::from_io(format!("write {}", path.display()), error))
    }
}

impl ClosureSink for Layout {
    fn attach(&self, one: &Attached) -> Result<(), TransferError> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).push(one.clone());
        Ok(())
    }

    fn listed(&self, subject: &Digest) -> Result<Vec<Digest>, TransferError> {
        let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let of_subject = attached.iter().filter(|one| one.subject == *subject);
        Ok(of_subject.map(|one| one.descriptor.digest().clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use oci::MediaType;

    use super::*;

    #[test]
    fn a_name_moves_and_content_without_one_stands_once() {
        let one = Descriptor::of(MediaType::OciManifest, b"one");
        let two = Descriptor::of(MediaType::OciManifest, b"two");
        let mut entries = Vec::new();
        enter(&mut entries, &one, Some("v1"));
        enter(&mut entries, &two, Some("v1"));
        enter(&mut entries, &two, None);
        enter(&mut entries, &one, None);
        enter(&mut entries, &one, None);
        let named: Vec<_> = entries.iter().map(|e| (e.digest(), name_of(e))).collect();
        assert_eq!(named, [(two.digest(), Some("v1")), (one.digest(), None)]);
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("thesis.tex"), "words").expect("a file");
        let error = Layout::open(folder.path()).err().expect("refused").to_string();
        assert!(error.contains("not empty"), "{error}");
        assert!(!folder.path().join(MARKER).exists());
    }

    #[test]
    fn wrong_content_is_not_taken_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::open(&folder.path().join("new")).expect("a layout");
        let wanted = Descriptor::of(MediaType::OciEmpty, b"right");
        layout.accept(&wanted, &mut &b"wrong"[..]).expect_err("other bytes");
        assert!(!layout.has(&wanted).expect("looked"));
        let blobs = folder.path().join("new/blobs/sha256");
        assert_eq!(fs::read_dir(blobs).expect("listed").count(), 0);
        layout.accept(&wanted, &mut &b"right"[..]).expect("the bytes");
        assert!(layout.has(&wanted).expect("looked"));
    }
}
