//! Where a copy goes, opened.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use oci::{Descriptor, Reference, Repository};
use registry_client::blocking::BlockingRepository;
use registry_client::copy::{ClosureSink, CopyOptions};
use store::{Lease, Name, SaveFormat, Saved};
use trust::artifact::{Artifact, POINTER_TAG};
use trust::{Origin as Provenance, Verified};

use super::Place;
use super::directory::NewDirectory;
use super::layout::Layout;
use super::origin::Origin;
use super::staged::Staged;
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::{admit, find, import};
use crate::trust::metadata;

/// A place that is written.
pub(super) enum Destination<'a> {
    Registry { end: Box<BlockingRepository>, tag: String },
    Layout { layout: Layout, name: Option<String> },
    Directory(NewDirectory),
    Archive { staged: Staged<'a>, path: PathBuf, format: SaveFormat, name: Option<Name> },
    Store(Box<Admission<'a>>),
}

/// An image on its way into the store.
pub(super) struct Admission<'a> {
    staged: Staged<'a>,
    name: Reference,
    /// Its name in the registry that it comes from, by which it is judged.
    from: Option<Reference>,
    verified: OnceLock<Verified<Descriptor>>,
}

impl<'a> Destination<'a> {
    pub(super) fn open(
        engine: &Engine,
        place: &Place,
        from: &Origin,
        lease: &'a Lease,
    ) -> Result<Self> {
        let staged = || Staged::new(engine.store().content().clone(), lease);
        Ok(match place {
            Place::Registry(reference) => Self::in_registry(engine, reference, from)?,
            Place::Layout(path, name) => {
                Self::Layout { layout: Layout::open(path)?, name: name.clone() }
            }
            Place::Directory(path) => Self::Directory(NewDirectory::make(path)?),
            Place::OciArchive(path, name) => {
                let name = name.as_deref().map(str::parse::<Name>).transpose()?;
                Self::Archive {
                    staged: staged(),
                    path: path.clone(),
                    format: SaveFormat::Oci,
                    name,
                }
            }
            Place::DockerArchive(path, name) => {
                let name = name.as_deref().map(str::parse::<Reference>).transpose()?;
                let name = name.map(|name| Name::from(&name.or_latest()));
                let format = SaveFormat::Docker;
                Self::Archive { staged: staged(), path: path.clone(), format, name }
            }
            Place::Store(name) => Self::Store(Box::new(Admission {
                staged: staged(),
                name: tagged(name.parse()?, place)?,
                from: from.reference.clone(),
                verified: OnceLock::new(),
            })),
        })
    }

    fn in_registry(engine: &Engine, reference: &Reference, from: &Origin) -> Result<Self> {
        let reference = tagged(reference.clone(), reference)?;
        let tag = reference.tag().unwrap_or_default().to_owned();
        let transport = engine.transport();
        let repository = transport.push_repository(reference.repository())?;
        let mut end = BlockingRepository::new(repository, transport.runtime()?.handle().clone());
        if let Some(source) = from.repository()
            && source.registry() == reference.registry()
        {
            end = end.with_mount_sources(vec![source.clone()]);
        }
        Ok(Self::Registry { end: Box::new(end), tag })
    }

    pub(super) fn sink(&self) -> &dyn ClosureSink {
        match self {
            Self::Registry { end, .. } => &**end,
            Self::Layout { layout, .. } => layout,
            Self::Directory(directory) => directory,
            Self::Archive { staged, .. } => staged,
            Self::Store(admission) => &admission.staged,
        }
    }

    pub(super) fn options(&self) -> CopyOptions {
        match self {
            Self::Registry { .. } => CopyOptions::into_registry(),
            _ => CopyOptions::default(),
        }
    }

    /// Whether signatures and the like have a place there.
    pub(super) fn keeps_attachments(&self) -> bool {
        match self {
            Self::Registry { .. } | Self::Layout { .. } => true,
            Self::Archive { format, .. } => *format == SaveFormat::Oci,
            Self::Directory(_) | Self::Store(_) => false,
        }
    }

    pub(super) fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Registry { end, .. } => Some(end.repository().name()),
            _ => None,
        }
    }

    /// The trust metadata that are there.
    pub(super) fn trust(&self, engine: &Engine) -> Result<Option<Artifact>> {
        match self {
            Self::Registry { end, .. } => metadata::fetch_pointer(engine, end.repository().name()),
            Self::Layout { layout, .. } => {
                layout.document(POINTER_TAG)?.map(Artifact::parse).transpose().map_err(Error::from)
            }
            _ => Ok(None),
        }
    }

    /// Before any byte moves: whether what a registry has may come into the store.
    pub(super) fn judge(&self, engine: &Engine, root: &Descriptor) -> Result<()> {
        let Self::Store(admission) = self else { return Ok(()) };
        let Some(from) = &admission.from else { return Ok(()) };
        let verified = engine.gate().judge_remote("copy", from, root.clone())?;
        // It is set once: a copy has one image.
        let _ = admission.verified.set(verified);
        Ok(())
    }

    /// Makes the image found, after everything that it names is there.
    pub(super) fn finish(
        &self,
        engine: &Engine,
        root: &Descriptor,
        pointer: Option<&Descriptor>,
        lease: &Lease,
    ) -> Result<()> {
        match self {
            Self::Registry { end, tag } => {
                if let Some(pointer) = pointer {
                    end.tag(pointer, POINTER_TAG)?;
                }
                Ok(end.tag(root, tag)?)
            }
            Self::Layout { layout, name } => {
                let mut images = vec![(root.clone(), name.clone())];
                images.extend(pointer.map(|p| (p.clone(), Some(POINTER_TAG.to_owned()))));
                layout.list(&images)
            }
            Self::Directory(directory) => directory.finish(root),
            Self::Archive { staged, path, format, name } => {
                let images = saved(root, name.as_ref(), pointer, staged)?;
                save(engine, &images, *format, path)
            }
            Self::Store(admission) => admission.admit(engine, root, lease),
        }
    }
}

impl Admission<'_> {
    fn admit(&self, engine: &Engine, root: &Descriptor, lease: &Lease) -> Result<()> {
        // An artifact and a platform that is not here have nothing to unpack.
        if let Ok(image) = find::open(engine.store(), root, None) {
            engine.store().layers().unpack(&image.layers(), lease)?;
        }
        match self.verified.get() {
            Some(verified) if self.from.as_ref() == Some(&self.name) => {
                admit::admit(engine.store(), &Name::from(&self.name), verified)?;
                engine.gate().record(&self.name, verified)
            }
            _ => import::name_it(engine, "copy", Some(&self.name), root, Provenance::Elsewhere),
        }
    }
}

/// A target is a tag: a digest cannot be chosen.
fn tagged(reference: Reference, place: impl std::fmt::Display) -> Result<Reference> {
    match reference.digest() {
        Some(_) => {
            Err(Error::Invalid(format!("copy to {place}: the target is a tag, not a digest")))
        }
        None => Ok(reference.or_latest()),
    }
}

fn saved(
    root: &Descriptor,
    name: Option<&Name>,
    pointer: Option<&Descriptor>,
    staged: &Staged<'_>,
) -> Result<Vec<Saved>> {
    let mut images =
        vec![Saved { descriptor: root.clone(), names: name.cloned().into_iter().collect() }];
    for one in staged.attached() {
        let names = one.tag.iter().map(|tag| tag.parse()).collect::<Result<_, _>>()?;
        images.push(Saved { descriptor: one.descriptor, names });
    }
    if let Some(pointer) = pointer {
        images.push(Saved { descriptor: pointer.clone(), names: vec![POINTER_TAG.parse()?] });
    }
    Ok(images)
}

/// Writes beside, then gives the name: whoever reads the file finds it whole or not at all.
fn save(engine: &Engine, images: &[Saved], format: SaveFormat, path: &Path) -> Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".{}.part", std::process::id()));
    let staged = PathBuf::from(staged);
    let mut file = File::create(&staged).map_err(|e| Error::io("make", &staged, e))?;
    let written = engine
        .store()
        .archives()
        .save(images, format, &mut file)
        .map_err(Error::from)
        .and_then(|()| file.sync_all().map_err(|e| Error::io("write", &staged, e)))
        .and_then(|()| fs::rename(&staged, path).map_err(|e| Error::io("rename", &staged, e)));
    if written.is_err() {
        // It is of no use to anyone; its own removal may fail as well.
        let _ = fs::remove_file(&staged);
    }
    written
}
