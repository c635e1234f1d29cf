//! Reading archives: OCI layouts in a tar, and docker-archives of every age.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use oci::{
    Compression, Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Raw, annotation,
};

use super::{Archives, DockerItem, Loaded};
use crate::error::{Error, Result, at};
use crate::layer::path::LayerPath;
use crate::layer::{Dialect, DiffOptions, detect};
use crate::lease::Lease;
use crate::limits::{ARCHIVE_DOCUMENT_BYTES_MAX, ARCHIVE_ENTRIES_MAX};
use crate::staging::Staging;
use crate::tar::{Entry, EntryData, Kind, Reader, TarError};

/// What an archive holds beside blobs: files by name, and names that mean other names.
struct Staged {
    staging: Staging,
    files: BTreeMap<LayerPath, PathBuf>,
    aliases: BTreeMap<LayerPath, LayerPath>,
}

impl Archives {
    /// Loads every image of an archive, compressed or not. Their content is held by `lease`
    /// until they have names.
    pub fn load(&self, input: impl Read + Send, lease: &Lease) -> Result<Vec<Loaded>> {
        let decoded = crate::layer::file_decoder(input).map_err(|error| broken(&error))?;
        let staged = self.stage(BufReader::with_capacity(256 * 1024, decoded), lease)?;
        if let Some(index) = staged.document("index.json")? {
            return self.layout_images(&index, lease);
        }
        match staged.document("manifest.json")? {
            Some(list) => self.docker_images(&list, &staged, lease),
            None => Err(broken(&"it has neither index.json nor manifest.json")),
        }
    }

    fn stage(&self, input: impl io::BufRead, lease: &Lease) -> Result<Staged> {
        let staging = self.store.layers().staging()?;
        let mut staged = Staged { staging, files: BTreeMap::new(), aliases: BTreeMap::new() };
        let mut tar = Reader::new(input);
        let mut count = 0;
        while let Some(entry) = tar.next_entry().map_err(from_tar)? {
            count += 1;
            if count > ARCHIVE_ENTRIES_MAX {
                return Err(broken(&format!("it has more than {ARCHIVE_ENTRIES_MAX} entries")));
            }
            self.stage_entry(&entry, &mut tar, &mut staged, lease)?;
        }
        Ok(staged)
    }

    fn stage_entry<R: io::BufRead>(
        &self,
        entry: &Entry,
        tar: &mut Reader<R>,
        staged: &mut Staged,
        lease: &Lease,
    ) -> Result<()> {
        let show = || String::from_utf8_lossy(&entry.path).into_owned();
        let refuse = |reason: &str| Err(broken(&format!("entry {:?}: {reason}", show())));
        let path = match LayerPath::parse(&entry.path) {
            Ok(path) => path,
            Err(reason) => return refuse(reason),
        };
        match entry.kind {
            Kind::Directory => Ok(()),
            Kind::File if entry.sparse.is_some() => refuse("it is a sparse file"),
            Kind::File => match blob_digest(&path) {
                Some(digest) => self.stage_blob(&digest, entry.size, tar.data(), lease),
                None => staged.stage_file(path, tar.data(), &self.store),
            },
            Kind::HardLink | Kind::Symlink => match link_target(entry, &path) {
                Ok(target) => {
                    staged.aliases.insert(path, target);
                    Ok(())
                }
                Err(reason) => refuse(reason),
            },
            _ => refuse("it is a device or a pipe"),
        }
    }

    /// A blob goes straight into the store, if it is what its name says.
    fn stage_blob<R: io::BufRead>(
        &self,
        digest: &Digest,
        size: u64,
        mut data: EntryData<'_, R>,
        lease: &Lease,
    ) -> Result<()> {
        lease.hold(digest)?;
        let content = self.store.content();
        if content.rely(digest)? == Some(size) {
            return Ok(());
        }
        let mut writer = content.writer(digest.algorithm())?;
        copy(&mut data, |bytes| writer.append(bytes))?;
        writer.commit(&Descriptor::new(MediaType::OciEmpty, digest.clone(), size))
    }

    fn layout_images(&self, index: &[u8], lease: &Lease) -> Result<Vec<Loaded>> {
        let index: Raw<Index> = Raw::parse(index).map_err(|error| broken(&error))?;
        let mut loaded: Vec<Loaded> = Vec::new();
        for entry in index.manifests() {
            lease.hold(entry.digest())?;
            if let Some(missing) = self.store.content().first_missing(entry)? {
                return Err(broken(&format!("content {missing} is missing")));
            }
            let names = names_of(entry);
            match loaded.iter_mut().find(|known| known.descriptor.digest() == entry.digest()) {
                Some(known) => known.names.extend(names),
                None => loaded.push(Loaded { descriptor: entry.bare(), names }),
            }
        }
        Ok(loaded)
    }

    fn docker_images(&self, list: &[u8], staged: &Staged, lease: &Lease) -> Result<Vec<Loaded>> {
        let items: Vec<DockerItem> =
            serde_json::from_slice(list).map_err(|error| broken(&error))?;
        let mut loaded = Vec::new();
        for item in items {
            let descriptor = self.docker_image(&item, staged, lease)?;
            loaded.push(Loaded { descriptor, names: item.repo_tags.unwrap_or_default() });
        }
        Ok(loaded)
    }

    /// An image of a docker-archive has no manifest: it gets one of Docker's own type around
    /// its exact config, so that its id stays.
    fn docker_image(
        &self,
        item: &DockerItem,
        staged: &Staged,
        lease: &Lease,
    ) -> Result<Descriptor> {
        let bytes = self.docker_file(&item.config, staged)?;
        let bytes = read_small(&bytes)?;
        let config: Raw<ImageConfig> = Raw::parse(bytes).map_err(|error| broken(&error))?;
        if config.diff_ids().len() != item.layers.len() {
            return Err(broken(&"its config and its list of layers disagree"));
        }
        let described = Descriptor::of(MediaType::DockerConfig, config.bytes());
        lease.hold(described.digest())?;
        self.store.content().put(&described, config.bytes())?;
        let mut layers = Vec::with_capacity(item.layers.len());
        for (layer, diff_id) in item.layers.iter().zip(config.diff_ids()) {
            layers.push(self.docker_layer(&self.docker_file(layer, staged)?, diff_id, lease)?);
        }
        let manifest = Raw::encode(&Manifest::docker(described, layers)).map_err(|e| broken(&e))?;
        lease.hold(&manifest.digest())?;
        self.store.content().put_raw(&manifest)
    }

    /// A file of a docker-archive, which may be a blob of a layout.
    fn docker_file(&self, name: &str, staged: &Staged) -> Result<PathBuf> {
        let path = LayerPath::parse(name.as_bytes()).map_err(|reason| broken(&reason))?;
        if let Some(digest) = blob_digest(&path)
            && self.store.content().stat(&digest)?.is_some()
        {
            return Ok(self.store.content().path(&digest));
        }
        staged.file(&path).ok_or_else(|| broken(&format!("{name:?} is missing")))
    }

    /// A plain layer is compressed once, here; a compressed one is taken as it is.
    fn docker_layer(&self, file: &Path, diff_id: &Digest, lease: &Lease) -> Result<Descriptor> {
        let layers = self.store.layers();
        if let Some(known) = layers.blob_of(diff_id, Compression::Gzip, lease)? {
            let media_type = Dialect::Docker.layer(Compression::Gzip);
            return Ok(Descriptor::new(media_type, known.digest().clone(), known.size()));
        }
        let open = || File::open(file).map_err(at("open", file));
        let mut first = [0; 4];
        let count = open()?.read(&mut first).map_err(at("read", file))?;
        let compression = detect(&first[..count]);
        let dialect = Dialect::Docker;
        let gzip = DiffOptions { dialect, ..DiffOptions::default() };
        let made = match compression {
            Compression::None => layers.add_tar(open()?, &gzip)?,
            compressed => layers.add_blob(open()?, dialect.layer(compressed))?,
        };
        lease.hold(made.descriptor.digest())?;
        match made.diff_id == *diff_id {
            true => Ok(made.descriptor),
            false => Err(Error::Layer {
                layer: made.descriptor.digest().clone(),
                source: Box::new(crate::LayerError::DiffId {
                    expected: diff_id.clone(),
                    found: made.diff_id,
                }),
            }),
        }
    }
}

impl Staged {
    fn stage_file<R: io::BufRead>(
        &mut self,
        path: LayerPath,
        mut data: EntryData<'_, R>,
        store: &crate::Store,
    ) -> Result<()> {
        let on_disk = self.staging.path().join(self.files.len().to_string());
        let mut file = store.disk().create_new(&on_disk)?;
        copy(&mut data, |bytes| store.disk().write_all(&mut file, &on_disk, bytes))?;
        self.aliases.remove(&path);
        self.files.insert(path, on_disk);
        Ok(())
    }

    /// The file behind a name; a name may mean another one a few times over.
    fn file(&self, path: &LayerPath) -> Option<PathBuf> {
        let mut path = path;
        for _ in 0..8 {
            match self.aliases.get(path) {
                Some(target) => path = target,
                None => return self.files.get(path).cloned(),
            }
        }
        None
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = LayerPath::parse(name.as_bytes()).map_err(|reason| broken(&reason))?;
        self.file(&path).map(|file| read_small(&file)).transpose()
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(at("open", path))?;
    let mut bytes = Vec::new();
    let limit = ARCHIVE_DOCUMENT_BYTES_MAX;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(at("read", path))?;
    match bytes.len() as u64 > limit {
        true => Err(broken(&format!("a document in it is over {limit} bytes"))),
        false => Ok(bytes),
    }
}

fn copy(from: &mut dyn Read, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => put(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(&error)),
        }
    }
}

/// The digest that a layout's path names.
fn blob_digest(path: &LayerPath) -> Option<Digest> {
    let text = std::str::from_utf8(path.as_bytes()).ok()?;
    let (algorithm, hex) = text.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// A symbolic link counts from its own directory, a hard link from the archive's root.
fn link_target(entry: &Entry, path: &LayerPath) -> Result<LayerPath, &'static str> {
    if entry.kind == Kind::HardLink {
        return LayerPath::parse(&entry.link);
    }
    let mut at = path.split().map(|(parent, _)| parent).unwrap_or_default();
    for part in entry.link.split(|byte| *byte == b'/') {
        at = match part {
            b"" | b"." => at,
            b".." => at.split().map(|(parent, _)| parent).ok_or("it links out of the archive")?,
            name => at.join(name),
        };
    }
    LayerPath::parse(at.as_bytes())
}

/// The whole name that containerd and Docker record, else the layout's own, if it is whole:
/// a bare tag names no image.
fn names_of(entry: &Descriptor) -> Vec<String> {
    let whole = |name: &&str| name.contains('/') || name.contains(':');
    let name = entry
        .annotation(annotation::CONTAINERD_IMAGE_NAME)
        .or_else(|| entry.annotation(annotation::REF_NAME).filter(whole));
    name.map(str::to_owned).into_iter().collect()
}

fn from_tar(error: TarError) -> Error {
    broken(&error)
}

fn broken(reason: &dyn std::fmt::Display) -> Error {
    Error::Archive { what: "the input".to_owned(), reason: reason.to_string() }
}
