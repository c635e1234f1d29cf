//! `push`: an image of the store to a registry, children before parents.

use std::sync::Arc;

use oci::{Descriptor, Digest, ManifestOrIndex, Platform, Raw, Reference};
use registry_client::{Progress, Repository, Selector, TransferEvent};
use store::Name;

use super::find::{self, Found};
use crate::Engine;
use crate::builds::attest::Kept;
use crate::error::{Error, Result};
use crate::parallel;
use crate::ports::file_content::FileContent;

/// Blobs sent at once.
const BLOBS_AT_ONCE: usize = 4;

/// What to push.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The name, which is also where to.
    pub reference: Reference,
    /// Only this platform of an index.
    pub platform: Option<Platform>,
}

/// What a push did.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The name.
    pub reference: Reference,
    /// What the registry now has under it.
    pub target: Descriptor,
    /// The platforms of the index that are not here, so that only one manifest was pushed.
    pub left_out: Vec<String>,
}

/// What a push tells while it goes on. Called from several threads.
pub trait PushProgress: Send + Sync {
    /// Something happened.
    fn event(&self, event: PushEvent<'_>);
}

/// One step of a push. Layers are named by their content hash, as Docker does.
#[derive(Clone, Debug)]
pub enum PushEvent<'a> {
    /// The layers that go, base first.
    Layers {
        /// Their content hashes.
        diff_ids: &'a [Digest],
    },
    /// Bytes of a layer went out.
    LayerProgress {
        /// The layer.
        diff_id: &'a Digest,
        /// Bytes from its start.
        offset: u64,
        /// All its bytes.
        size: u64,
    },
    /// A layer is in the registry.
    LayerDone {
        /// The layer.
        diff_id: &'a Digest,
        /// How it came there.
        how: LayerPush,
    },
}

/// How a layer came to be in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerPush {
    /// It was there.
    AlreadyExists,
    /// The registry took it over from another repository.
    Mounted(String),
    /// It was sent.
    Pushed,
}

/// Pushes one name.
pub(crate) fn push(
    engine: &Engine,
    request: &PushRequest,
    progress: &Arc<dyn PushProgress>,
) -> Result<Pushed> {
    let reference = request.reference.clone().or_latest();
    let store = engine.store();
    let found =
        find::find(store, &reference.to_string()).map_err(|error| not_here(error, &reference))?;
    let target = match found {
        Found::ByName(named) => named.descriptor,
        Found::ById(_) => {
            return Err(Error::Invalid(format!("{reference}: push takes a name, not an id")));
        }
    };
    let lease = store.lease("push")?;
    lease.hold(target.digest())?;
    let (target, left_out) = whole_or_single(engine, &target, request.platform.as_ref())?;
    let image = find::open(store, &target, request.platform.as_ref()).ok();
    let layers: Vec<(Descriptor, Digest)> = image
        .map(|image| image.layers())
        .unwrap_or_default()
        .into_iter()
        .map(|layer| (layer.descriptor, layer.diff_id))
        .collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
    progress.event(PushEvent::Layers { diff_ids: &diff_ids });

    let told = Arc::new(Told { layers, progress: progress.clone() });
    let sources = mount_sources(engine, reference.repository())?;
    let repository = engine
        .transport()
        .push_repository(reference.repository())?
        .with_mount_sources(&sources)
        .with_progress(told);
    let push = Push { engine, repository, sources };
    push.document(&target, &selector(&reference, &target)?)?;
    Ok(Pushed { reference, target: target.bare(), left_out })
}

/// Pushes a document of the store, and what it names, under a name that is none of the store's.
pub(crate) fn push_document(
    engine: &Engine,
    reference: &Reference,
    target: &Descriptor,
) -> Result<()> {
    let sources = mount_sources(engine, reference.repository())?;
    let repository = engine
        .transport()
        .client()?
        .repository(reference.repository())
        .with_mount_sources(&sources);
    let push = Push { engine, repository, sources };
    push.document(target, &selector(reference, target)?)
}

fn not_here(error: Error, reference: &Reference) -> Error {
    match error {
        Error::NoSuchImage { .. } => Error::NotHere { reference: reference.familiar() },
        other => other,
    }
}

/// A push by digest goes to that digest, else to the tag.
fn selector(reference: &Reference, target: &Descriptor) -> Result<Selector> {
    match (reference.tag(), reference.digest()) {
        (_, Some(digest)) if digest != target.digest() => Err(Error::Invalid(format!(
            "{reference}: what would be pushed has the digest {}",
            target.digest()
        ))),
        (Some(tag), _) => Ok(Selector::Tag(tag.to_owned())),
        (None, _) => Ok(Selector::Digest(target.digest().clone())),
    }
}

/// The target itself where all of it is here. Of a sparse index (a pull for one platform leaves
/// one) only the manifest that is here can be pushed: registries refuse an index whose
/// children they do not have.
pub(super) fn whole_or_single(
    engine: &Engine,
    target: &Descriptor,
    platform: Option<&Platform>,
) -> Result<(Descriptor, Vec<String>)> {
    let content = engine.store().content();
    let document = content.manifest(target.digest())?;
    let Some(index) = document.as_index() else { return Ok((target.clone(), Vec::new())) };
    let mut missing = Vec::new();
    for entry in index.manifests() {
        if content.rely(entry.digest())?.is_none() {
            let name = entry.platform().map(ToString::to_string);
            missing.push(name.unwrap_or_else(|| entry.digest().short().to_owned()));
        }
    }
    if platform.is_none() && missing.is_empty() {
        return Ok((target.clone(), Vec::new()));
    }
    let image = find::open(engine.store(), target, platform)?;
    Ok((image.descriptor().clone(), missing))
}

/// Other repositories of the same registry that the store knows: their blobs can be mounted.
fn mount_sources(engine: &Engine, target: &oci::Repository) -> Result<Vec<oci::Repository>> {
    let mut sources = Vec::new();
    for entry in engine.store().names().list()? {
        let Some(reference) = entry.name.as_ref().and_then(Name::reference) else { continue };
        let repository = reference.repository();
        let usable = repository.registry() == target.registry() && repository != target;
        if usable && !sources.contains(repository) && sources.len() < MOUNT_SOURCES_MAX {
            sources.push(repository.clone());
        }
    }
    Ok(sources)
}

/// Each source may cost one request per blob.
const MOUNT_SOURCES_MAX: usize = 3;

struct Push<'a> {
    engine: &'a Engine,
    repository: Repository,
    sources: Vec<oci::Repository>,
}

impl Push<'_> {
    /// Pushes what the document names, then the document.
    fn document(&self, descriptor: &Descriptor, selector: &Selector) -> Result<()> {
        let document: Raw<ManifestOrIndex> =
            self.engine.store().content().manifest(descriptor.digest())?;
        match &*document {
            ManifestOrIndex::Index(index) => {
                for child in index.manifests() {
                    self.document(child, &Selector::Digest(child.digest().clone()))?;
                }
            }
            ManifestOrIndex::Manifest(manifest) => {
                self.blobs(&manifest.children().cloned().collect::<Vec<_>>())?;
            }
        }
        let bytes = bytes::Bytes::copy_from_slice(document.bytes());
        let put = self.repository.put_manifest(selector, descriptor.media_type(), bytes);
        self.engine.transport().block_on(put)?.map(drop)?;
        // What was said of it when it was built goes along.
        for referrer in Kept::new(self.engine.store()).of(descriptor.digest())? {
            self.document(&referrer, &Selector::Digest(referrer.digest().clone()))?;
        }
        Ok(())
    }

    fn blobs(&self, blobs: &[Descriptor]) -> Result<()> {
        parallel::each(blobs.len(), BLOBS_AT_ONCE, |index| self.blob(&blobs[index]))
    }

    fn blob(&self, blob: &Descriptor) -> Result<()> {
        if blob.media_type().is_non_distributable() {
            return Ok(());
        }
        let file = self.engine.store().content().open(blob.digest())?.into_file();
        let content = Box::new(FileContent::new(file));
        let push = self.repository.push_blob(blob, content, &self.sources);
        self.engine.transport().block_on(push)?.map(drop)?;
        Ok(())
    }
}

/// Turns what the client tells of blobs into what a push tells of layers.
struct Told {
    layers: Vec<(Descriptor, Digest)>,
    progress: Arc<dyn PushProgress>,
}

impl Progress for Told {
    fn event(&self, descriptor: &Descriptor, event: TransferEvent) {
        let layer = self.layers.iter().find(|(layer, _)| layer.digest() == descriptor.digest());
        let Some((layer, diff_id)) = layer else { return };
        let done = |how| PushEvent::LayerDone { diff_id, how };
        self.progress.event(match event {
            TransferEvent::Started => {
                PushEvent::LayerProgress { diff_id, offset: 0, size: layer.size() }
            }
            TransferEvent::Advanced { offset } | TransferEvent::Resumed { offset } => {
                PushEvent::LayerProgress { diff_id, offset, size: layer.size() }
            }
            TransferEvent::AlreadyThere => done(LayerPush::AlreadyExists),
            TransferEvent::Mounted { from } => done(LayerPush::Mounted(from)),
            TransferEvent::Finished => done(LayerPush::Pushed),
        });
    }
}
