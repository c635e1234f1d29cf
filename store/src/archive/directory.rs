//! OCI layouts as directories.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use oci::{Descriptor, Index, Raw, Sink, Source, TransferError, annotation};

use super::{Archives, Loaded, OCI_LAYOUT, SaveFormat, Saved, blob_path};
use crate::error::{Error, Result, at};
use crate::lease::Lease;
use crate::limits::ARCHIVE_DOCUMENT_BYTES_MAX;

/// An OCI layout on disk that is not a store: a place to copy from.
#[derive(Clone, Debug)]
pub struct Directory {
    root: std::path::PathBuf,
}

impl Directory {
    /// The layout under `root`.
    pub fn open(root: &Path) -> Result<Self> {
        let marker = root.join("oci-layout");
        match marker.try_exists().map_err(at("read", &marker))? {
            true => Ok(Self { root: root.to_path_buf() }),
            false => Err(Error::Archive {
                what: root.display().to_string(),
                reason: "it has no oci-layout file".to_owned(),
            }),
        }
    }

    /// What its index lists.
    pub fn index(&self) -> Result<Raw<Index>> {
        let path = self.root.join("index.json");
        let file = File::open(&path).map_err(at("open", &path))?;
        let mut bytes = Vec::new();
        let limit = ARCHIVE_DOCUMENT_BYTES_MAX;
        file.take(limit).read_to_end(&mut bytes).map_err(at("read", &path))?;
        Raw::parse(bytes).map_err(|error| Error::Archive {
            what: path.display().to_string(),
            reason: error.to_string(),
        })
    }
}

impl Source for Directory {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
        let path = self.root.join(blob_path(descriptor.digest()));
        let file = File::open(&path)
            .map_err(|error| TransferError::from_io(format!("open {}", path.display()), error))?;
        Ok(Box::new(file))
    }
}

impl Archives {
    /// Loads every image of a layout directory.
    pub fn load_directory(&self, path: &Path, lease: &Lease) -> Result<Vec<Loaded>> {
        let directory = Directory::open(path)?;
        let mut loaded: Vec<Loaded> = Vec::new();
        for entry in directory.index()?.manifests() {
            self.copy_tree(&directory, entry, lease, 0)?;
            let name = entry
                .annotation(annotation::CONTAINERD_IMAGE_NAME)
                .or_else(|| entry.annotation(annotation::REF_NAME));
            let names: Vec<String> = name.map(str::to_owned).into_iter().collect();
            match loaded.iter_mut().find(|known| known.descriptor.digest() == entry.digest()) {
                Some(known) => known.names.extend(names),
                None => loaded.push(Loaded { descriptor: entry.bare(), names }),
            }
        }
        Ok(loaded)
    }

    /// Copies content, children after their parent is read and before it is complete: the
    /// store's names are what makes it visible.
    fn copy_tree(
        &self,
        from: &Directory,
        root: &Descriptor,
        lease: &Lease,
        depth: usize,
    ) -> Result<()> {
        let content = self.store.content();
        lease.hold(root.digest())?;
        if !content.has(root)? {
            content.accept(root, &mut from.open_verified(root)?)?;
        }
        let media_type = root.media_type();
        let parent = media_type.is_index() || media_type.is_manifest();
        if !parent || depth > oci::limits::INDEX_DEPTH_MAX {
            return Ok(());
        }
        for child in content.manifest(root.digest())?.children() {
            match self.copy_tree(from, child, lease, depth + 1) {
                // An index may list what the layout does not hold.
                Err(error) if media_type.is_index() && error.is_not_found() => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Writes images as a layout directory, which must be new or empty.
    pub fn save_directory(&self, images: &[Saved], path: &Path) -> Result<()> {
        let disk = self.store.disk();
        disk.create_dir_all(path)?;
        if std::fs::read_dir(path).map_err(at("list", path))?.next().is_some() {
            return Err(Error::Io {
                act: "write an image layout into",
                path: path.to_path_buf(),
                source: std::io::ErrorKind::DirectoryNotEmpty.into(),
            });
        }
        let contents = self.contents(images, SaveFormat::Oci)?;
        for digest in contents.blobs.keys() {
            let to = path.join(blob_path(digest));
            disk.create_dir_all(to.parent().unwrap_or(path))?;
            let blob = self.store.content().open(digest)?;
            let size = blob.size();
            let descriptor = Descriptor::new(oci::MediaType::OciEmpty, digest.clone(), size);
            let mut from = oci::VerifyingReader::new(blob, &descriptor);
            let mut file = disk.create_new(&to)?;
            std::io::copy(&mut from, &mut file).map_err(at("write", &to))?;
        }
        // The index last: what it lists is there.
        disk.replace(&path.join("oci-layout"), OCI_LAYOUT)?;
        disk.replace(&path.join("index.json"), &contents.index)
    }
}
