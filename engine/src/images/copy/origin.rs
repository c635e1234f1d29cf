//! Where a copy comes from, opened.

use std::fs::File;
use std::path::Path;

use oci::limits::MANIFEST_BYTES_MAX;
use oci::{Descriptor, Reference, Repository};
use registry_client::Selector;
use registry_client::blocking::BlockingRepository;
use registry_client::copy::ClosureSource;
use store::Lease;
use trust::artifact::{Artifact, POINTER_TAG};

use super::Place;
use super::directory::Directory;
use super::listed::Listed;
use super::staged::Stored;
use super::tarball::Tarball;
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::{find, push};
use crate::trust::metadata;

/// An image where it is.
pub(super) struct Origin {
    /// Where its content is read.
    pub(super) content: Box<dyn ClosureSource>,
    /// The image.
    pub(super) root: Descriptor,
    /// Its name in a registry.
    pub(super) reference: Option<Reference>,
    /// Trust metadata that stand in a layout.
    listed_trust: Option<Artifact>,
}

impl Origin {
    pub(super) fn open(engine: &Engine, place: &Place, lease: &Lease) -> Result<Self> {
        match place {
            Place::Registry(reference) => Self::in_registry(engine, reference),
            Place::Layout(path, name) => {
                let layout = store::Directory::open(path)?;
                let index = layout.index()?;
                Self::in_list(place, Listed::new(Box::new(layout), &index)?, name.as_deref())
            }
            Place::OciArchive(path, name) => {
                let (tarball, index) = Tarball::open(path)?;
                Self::in_list(place, Listed::new(Box::new(tarball), &index)?, name.as_deref())
            }
            Place::DockerArchive(path, name) => {
                let root = loaded(engine, place, path, name.as_deref(), lease)?;
                Ok(Self::in_store(engine, root))
            }
            Place::Directory(path) => {
                let directory = Directory::open(path)?;
                let root = directory.manifest().clone();
                Ok(Self::plain(Box::new(directory), root))
            }
            Place::Store(name) => {
                let found = find::find(engine.store(), name)?;
                let target = found.target().cloned();
                let target = target.ok_or_else(|| Error::NoSuchImage { name: name.clone() })?;
                lease.hold(target.digest())?;
                let (root, _) = push::whole_or_single(engine, &target, None)?;
                Ok(Self::in_store(engine, root.bare()))
            }
        }
    }

    fn plain(content: Box<dyn ClosureSource>, root: Descriptor) -> Self {
        Self { content, root, reference: None, listed_trust: None }
    }

    fn in_store(engine: &Engine, root: Descriptor) -> Self {
        Self::plain(Box::new(Stored(engine.store().content().clone())), root)
    }

    fn in_list(place: &Place, listed: Listed, name: Option<&str>) -> Result<Self> {
        let root = listed.find(&place.to_string(), name)?;
        let listed_trust = match listed.named(POINTER_TAG) {
            Some(pointer) => {
                let bytes = oci::Source::fetch(&listed, &pointer, MANIFEST_BYTES_MAX)?;
                Some(Artifact::parse(bytes)?)
            }
            None => None,
        };
        Ok(Self { content: Box::new(listed), root, reference: None, listed_trust })
    }

    fn in_registry(engine: &Engine, reference: &Reference) -> Result<Self> {
        let reference = reference.clone().or_latest();
        let selector = Selector::of(&reference)
            .ok_or_else(|| Error::Invalid(format!("copy {reference}: name a tag or a digest")))?;
        let transport = engine.transport();
        let repository = transport.client()?.repository(reference.repository());
        let end = BlockingRepository::new(repository, transport.runtime()?.handle().clone());
        let root = end.resolve(&selector)?.bare();
        Ok(Self { content: Box::new(end), root, reference: Some(reference), listed_trust: None })
    }

    /// The repository, where it is in a registry.
    pub(super) fn repository(&self) -> Option<&Repository> {
        self.reference.as_ref().map(Reference::repository)
    }

    /// Its trust metadata.
    pub(super) fn trust(&self, engine: &Engine) -> Result<Option<Artifact>> {
        match self.repository() {
            Some(repository) => metadata::fetch_pointer(engine, repository),
            None => Ok(self.listed_trust.clone()),
        }
    }
}

/// The image of an archive, whose content is put into the store: its layers may have to be compressed.
fn loaded(
    engine: &Engine,
    place: &Place,
    path: &Path,
    name: Option<&str>,
    lease: &Lease,
) -> Result<Descriptor> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let images = engine.store().archives().load(file, lease)?;
    let wanted =
        name.map(|name| Ok::<_, Error>(name.parse::<Reference>()?.or_latest())).transpose()?;
    let is_wanted = |text: &String| {
        let known = text.parse::<Reference>().ok().map(Reference::or_latest);
        known.is_some() && known == wanted
    };
    let found = match &wanted {
        Some(_) => images.iter().find(|image| image.names.iter().any(is_wanted)),
        None if images.len() > 1 => {
            let names: Vec<&str> =
                images.iter().flat_map(|image| &image.names).map(String::as_str).collect();
            return Err(Error::Invalid(format!(
                "{place}: it has {} images; name one behind a colon: {}",
                images.len(),
                names.join(", ")
            )));
        }
        None => images.first(),
    };
    let found = found.map(|image| image.descriptor.clone());
    found.ok_or_else(|| Error::NoSuchImage { name: place.to_string() })
}
