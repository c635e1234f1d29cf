//! Writing archives and layouts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use oci::{Descriptor, Digest, Index, Platform, Raw, annotation};

use super::{Archives, DockerItem, OCI_LAYOUT, SaveFormat, Saved, blob_path};
use crate::error::{Error, Result};
use crate::tar::{Entry, Kind, Writer};

/// Everything that an archive will contain.
pub(super) struct Contents {
    pub(super) blobs: BTreeMap<Digest, u64>,
    pub(super) index: Vec<u8>,
    pub(super) manifest: Option<Vec<u8>>,
}

impl Archives {
    /// Writes images as one archive. The same images give the same bytes.
    pub fn save(&self, images: &[Saved], format: SaveFormat, out: &mut dyn Write) -> Result<()> {
        let contents = self.contents(images, format)?;
        self.write(&contents, out)
    }

    pub(super) fn contents(&self, images: &[Saved], format: SaveFormat) -> Result<Contents> {
        let mut blobs = BTreeMap::new();
        let (mut entries, mut items) = (Vec::new(), Vec::new());
        for image in images {
            if let Some(missing) = self.store.content().first_missing(&image.descriptor)? {
                return Err(Error::NotFound { digest: missing });
            }
            self.collect(&image.descriptor, &mut blobs)?;
            entries.extend(index_entries(image, format));
            if format == SaveFormat::Docker {
                items.extend(self.docker_item(image)?);
            }
        }
        let index = Raw::encode(&Index::new(entries)).map_err(|error| unreadable(&error))?;
        let manifest = match format {
            SaveFormat::Docker => {
                Some(serde_json::to_vec(&items).map_err(|error| unreadable(&error))?)
            }
            SaveFormat::Oci => None,
        };
        Ok(Contents { blobs, index: index.bytes().to_vec(), manifest })
    }

    /// The blobs of an image; children of an index that are not in the store stay out.
    fn collect(&self, root: &Descriptor, blobs: &mut BTreeMap<Digest, u64>) -> Result<()> {
        let content = self.store.content();
        if content.stat(root.digest())?.is_none() {
            return Ok(());
        }
        if blobs.insert(root.digest().clone(), root.size()).is_some() {
            return Ok(());
        }
        if root.media_type().is_index() || root.media_type().is_manifest() {
            for child in content.manifest(root.digest())?.children() {
                self.collect(child, blobs)?;
            }
        }
        Ok(())
    }

    /// Docker's own list knows one platform per image: ours, or the first that is here.
    fn docker_item(&self, image: &Saved) -> Result<Option<DockerItem>> {
        let images = self.store.images();
        let found = match images.open(&image.descriptor, &Platform::host()) {
            Err(Error::NoPlatform { .. }) => {
                let variants = images.variants(&image.descriptor)?;
                let first = variants.into_iter().find(|variant| variant.present);
                first.map(|variant| images.open_manifest(&variant.descriptor)).transpose()
            }
            other => other.map(Some),
        };
        let found = match found {
            // An artifact has no place in Docker's list.
            Err(Error::NotAnImage { .. }) => None,
            other => other?,
        };
        let tags = image.names.iter().map(|name| match name.reference() {
            Some(reference) => reference.familiar(),
            None => name.to_string(),
        });
        Ok(found.map(|found| DockerItem {
            config: blob_path(found.id()),
            repo_tags: Some(tags.collect()),
            layers: found.manifest().layers().iter().map(|l| blob_path(l.digest())).collect(),
        }))
    }

    fn write(&self, contents: &Contents, out: &mut dyn Write) -> Result<()> {
        let failed = |source| Error::io("write", std::path::Path::new("the archive"), source);
        let mut tar = Writer::new(out);
        directory(&mut tar, "blobs/").map_err(failed)?;
        let algorithms: BTreeSet<_> = contents.blobs.keys().map(Digest::algorithm).collect();
        for algorithm in algorithms {
            directory(&mut tar, &format!("blobs/{algorithm}/")).map_err(failed)?;
            for (digest, _) in contents.blobs.iter().filter(|(d, _)| d.algorithm() == algorithm) {
                self.write_blob(&mut tar, digest)?;
            }
        }
        file(&mut tar, "index.json", &contents.index).map_err(failed)?;
        if let Some(manifest) = &contents.manifest {
            file(&mut tar, "manifest.json", manifest).map_err(failed)?;
        }
        file(&mut tar, "oci-layout", OCI_LAYOUT).map_err(failed)?;
        tar.finish().map_err(failed)?.flush().map_err(failed)
    }

    /// A blob that the disk has damaged fails the archive instead of travelling in it.
    fn write_blob<W: Write>(&self, tar: &mut Writer<W>, digest: &Digest) -> Result<()> {
        let failed = |source| Error::io("write", std::path::Path::new("the archive"), source);
        let path = self.store.content().path(digest);
        let size = self.store.content().open(digest)?.size();
        let descriptor = Descriptor::new(oci::MediaType::OciEmpty, digest.clone(), size);
        let mut blob = self.store.content().open_verified(&descriptor)?;
        let mut entry = Entry::new(Kind::File, blob_path(digest));
        (entry.mode, entry.size) = (0o644, size);
        tar.entry(&entry).map_err(failed)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match blob.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => tar.data(&buffer[..count]).map_err(failed)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &path, error)),
            }
        }
    }
}

fn directory<W: Write>(tar: &mut Writer<W>, path: &str) -> io::Result<()> {
    let mut entry = Entry::new(Kind::Directory, path);
    entry.mode = 0o755;
    tar.entry(&entry)
}

fn file<W: Write>(tar: &mut Writer<W>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut entry = Entry::new(Kind::File, path);
    (entry.mode, entry.size) = (0o644, bytes.len() as u64);
    tar.entry(&entry)?;
    tar.data(bytes)
}

/// One entry per name. Docker puts the tag where others put the whole name, and the whole name
/// into containerd's annotation; each reader finds what it looks for.
fn index_entries(image: &Saved, format: SaveFormat) -> Vec<Descriptor> {
    if image.names.is_empty() {
        return vec![image.descriptor.clone()];
    }
    let entry = |name: &crate::Name| {
        let tag = name.reference().and_then(|r| r.tag().map(str::to_owned));
        let ref_name = match (format, tag) {
            (SaveFormat::Docker, Some(tag)) => tag,
            _ => name.to_string(),
        };
        image
            .descriptor
            .clone()
            .with_annotation(annotation::CONTAINERD_IMAGE_NAME, name.as_str())
            .with_annotation(annotation::REF_NAME, &ref_name)
    };
    image.names.iter().map(entry).collect()
}

fn unreadable(error: &dyn std::fmt::Display) -> Error {
    Error::Archive { what: "the list of images".to_owned(), reason: error.to_string() }
}
