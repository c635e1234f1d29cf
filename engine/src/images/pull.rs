//! `pull`: from a reference to an admitted name whose layers are unpacked.

use std::io::{self, Read};

use oci::limits::{CONFIG_BYTES_MAX, INDEX_DEPTH_MAX};
use oci::{
    Descriptor, Digest, Document, ImageConfig, Manifest, ManifestOrIndex, Platform, Raw, Reference,
};
use registry_client::{Repository, Selector};
use store::{Ingest, IngestStart, LayerBlob, Lease, Name, Unpack};
use trust::Verified;

use super::admit;
use crate::Engine;
use crate::error::{Error, Result};
use crate::parallel;
use crate::ports::blob_reader::BlobReader;

/// Layers fetched at once: enough to hide latency, few enough to leave memory bounded.
const LAYERS_AT_ONCE: usize = 4;

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// The image, with a tag or a digest.
    pub reference: Reference,
    /// For which platform; the host's where none is said.
    pub platform: Option<Platform>,
}

/// What a pull did.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What was pulled.
    pub reference: Reference,
    /// What the reference points at.
    pub target: Descriptor,
    /// IMAGE ID.
    pub id: Digest,
    /// Whether the name changed its meaning.
    pub freshness: Freshness,
}

/// Whether a pull brought anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The name is new or points elsewhere than before.
    Downloaded,
    /// Nothing changed.
    UpToDate,
}

/// What a pull tells while it goes on. Called from several threads.
pub trait PullProgress: Send + Sync {
    /// Something happened.
    fn event(&self, event: PullEvent<'_>);
}

/// One step of a pull.
#[derive(Clone, Debug)]
pub enum PullEvent<'a> {
    /// The name was resolved and allowed; its layers are known.
    Resolved {
        /// The name.
        reference: &'a Reference,
        /// The layers, base first.
        layers: &'a [Descriptor],
    },
    /// A layer is there already.
    LayerExists(&'a Descriptor),
    /// Bytes of a layer arrived.
    LayerProgress {
        /// The layer.
        layer: &'a Descriptor,
        /// Bytes from its start.
        offset: u64,
    },
    /// A layer is fetched and unpacked.
    LayerComplete(&'a Descriptor),
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl PullProgress for Quiet {
    fn event(&self, _: PullEvent<'_>) {}
}

/// Pulls one image.
pub(crate) fn pull(
    engine: &Engine,
    request: &PullRequest,
    progress: &dyn PullProgress,
) -> Result<Pulled> {
    let reference = request.reference.clone().or_latest();
    let repository = engine.transport().client()?.repository(reference.repository());
    let selector = Selector::of(&reference)
        .ok_or_else(|| Error::Invalid(format!("{reference}: neither tag nor digest")))?;
    let resolved = engine.transport().block_on(repository.resolve(&selector))??;
    let verified = engine.gate().judge_remote("pull", &reference, resolved)?;

    let lease = engine.store().lease("pull")?;
    let fetch = Fetch { engine, repository: &repository, lease: &lease, progress };
    let image = fetch.image(&verified, request.platform.as_ref())?;
    progress.event(PullEvent::Resolved { reference: &reference, layers: image.manifest.layers() });
    fetch.layers(&image)?;

    let before = admit::admit(engine.store(), &Name::from(&reference), &verified)?;
    let unchanged = before.is_some_and(|before| before.digest() == verified.digest());
    engine.gate().record(&reference, &verified)?;
    Ok(Pulled {
        id: image.manifest.config().digest().clone(),
        target: (*verified).clone(),
        reference,
        freshness: if unchanged { Freshness::UpToDate } else { Freshness::Downloaded },
    })
}

/// All tags of a repository, as the registry lists them.
pub(crate) fn tags(engine: &Engine, repository: &oci::Repository) -> Result<Vec<String>> {
    let repository = engine.transport().client()?.repository(repository);
    Ok(engine.transport().block_on(repository.tags())??)
}

/// The document that a registry has under a name.
pub(crate) fn manifest(engine: &Engine, reference: &Reference) -> Result<Vec<u8>> {
    let reference = reference.clone().or_latest();
    let selector = Selector::of(&reference)
        .ok_or_else(|| Error::Invalid(format!("{reference}: name a tag or a digest")))?;
    let repository = engine.transport().client()?.repository(reference.repository());
    let fetched = engine.transport().block_on(repository.manifest(&selector))??;
    Ok(fetched.bytes.to_vec())
}

struct Fetch<'a> {
    engine: &'a Engine,
    repository: &'a Repository,
    lease: &'a Lease,
    progress: &'a dyn PullProgress,
}

/// The documents of the image that a pull is about.
struct Wanted {
    manifest: Raw<Manifest>,
    layers: Vec<LayerBlob>,
}

impl Fetch<'_> {
    /// Brings the documents in: indexes down to the platform's manifest, then its config.
    fn image(&self, root: &Verified<Descriptor>, platform: Option<&Platform>) -> Result<Wanted> {
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let mut at: Descriptor = (**root).clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let document: Raw<ManifestOrIndex> = self.document(&at)?;
            let Some(index) = document.as_index() else {
                return self.single(&at, platform);
            };
            let nested = || index.manifests().iter().find(|entry| entry.media_type().is_index());
            let Some(next) = index.choose(&wanted).or_else(nested) else {
                return Err(no_match(&at, index, &wanted));
            };
            at = next.bare();
        }
        Err(Error::Invalid(format!("{}: indexes are nested too deep", root.digest())))
    }

    fn single(&self, at: &Descriptor, platform: Option<&Platform>) -> Result<Wanted> {
        let manifest: Raw<Manifest> = self.document(at)?;
        if !manifest.config().media_type().is_config() {
            return Err(Error::Invalid(format!(
                "{} is an artifact ({}), not an image: it has nothing to unpack",
                at.digest(),
                manifest.artifact_type().unwrap_or("of unknown type")
            )));
        }
        let config: Raw<ImageConfig> = Raw::parse(self.blob(manifest.config())?)
            .map_err(|e| Error::Invalid(format!("{}: {e}", manifest.config().digest())))?;
        if let Some(wanted) = platform
            && config.platform().rank_for(wanted).is_none()
        {
            let found = config.platform();
            return Err(Error::Invalid(format!(
                "image {} is for {found}, not for {wanted}",
                at.digest()
            )));
        }
        if config.diff_ids().len() != manifest.layers().len() {
            return Err(Error::Invalid(format!(
                "image {}: {} layers but {} diff ids",
                at.digest(),
                manifest.layers().len(),
                config.diff_ids().len()
            )));
        }
        let pairs = manifest.layers().iter().zip(config.diff_ids());
        let layers = pairs
            .map(|(descriptor, diff_id)| LayerBlob {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
            })
            .collect();
        Ok(Wanted { manifest, layers })
    }

    /// A manifest or index: from the store where it is there, else from the registry.
    fn document<T: Document>(&self, descriptor: &Descriptor) -> Result<Raw<T>> {
        let content = self.engine.store().content();
        self.lease.hold(descriptor.digest())?;
        if content.rely(descriptor.digest())?.is_some() {
            match content.document(descriptor.digest()) {
                Err(error) if is_damage(&error) => {
                    tracing::warn!("{error}; it is fetched again");
                }
                other => return Ok(other?),
            }
        }
        let selector = Selector::Digest(descriptor.digest().clone());
        let fetched = self.engine.transport().block_on(self.repository.manifest(&selector))??;
        let document = Raw::parse(&*fetched.bytes)
            .map_err(|e| Error::Invalid(format!("{}: {e}", descriptor.digest())))?;
        self.replace(&fetched.descriptor, &fetched.bytes)?;
        Ok(document)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let content = self.engine.store().content();
        self.lease.hold(descriptor.digest())?;
        if content.rely(descriptor.digest())?.is_some() {
            match content.small(descriptor.digest(), CONFIG_BYTES_MAX) {
                Err(error) if is_damage(&error) => {
                    tracing::warn!("{error}; it is fetched again");
                }
                other => return Ok(other?),
            }
        }
        let fetched = self.repository.fetch_blob(descriptor, CONFIG_BYTES_MAX);
        let bytes = self.engine.transport().block_on(fetched)??.to_vec();
        self.replace(descriptor, &bytes)?;
        Ok(bytes)
    }

    /// Writes what was fetched over what may be there damaged.
    fn replace(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let mut writer = self.engine.store().content().writer(descriptor.digest().algorithm())?;
        writer.append(bytes)?;
        Ok(writer.commit(descriptor)?)
    }

    /// Brings the layers in, several at once, each fetched, hashed and unpacked in one pass.
    fn layers(&self, image: &Wanted) -> Result<()> {
        let diff_ids: Vec<Digest> = image.layers.iter().map(|l| l.diff_id.clone()).collect();
        for layer in &image.layers {
            self.lease.hold(layer.descriptor.digest())?;
        }
        let unpack = self.engine.store().layers().start_unpack(&diff_ids, self.lease)?;
        let missing = unpack.missing();
        parallel::each(image.layers.len(), LAYERS_AT_ONCE, |index| {
            let folder = missing.contains(&index).then_some((&unpack, index));
            self.layer(&image.layers[index].descriptor, folder)
        })?;
        Ok(unpack.finish().map(drop)?)
    }

    fn layer(&self, layer: &Descriptor, unpack: Option<(&Unpack, usize)>) -> Result<()> {
        match (self.engine.store().content().ingest(layer)?, unpack) {
            (IngestStart::Present, None) => self.progress.event(PullEvent::LayerExists(layer)),
            (IngestStart::Present, Some((unpack, index))) => {
                unpack.layer(index, layer)?;
                self.progress.event(PullEvent::LayerComplete(layer));
            }
            (IngestStart::Fetch(ingest), Some((unpack, index))) if ingest.offset() == 0 => {
                let mut tee = self.tee(layer, ingest)?;
                if let Err(error) = unpack.layer_from(index, layer, &mut tee) {
                    return Err(tee.given_up(because_of_transfer(error)));
                }
                tee.finish(layer)?;
                self.progress.event(PullEvent::LayerComplete(layer));
            }
            (IngestStart::Fetch(ingest), unpack) => {
                self.tee(layer, ingest)?.finish(layer)?;
                if let Some((unpack, index)) = unpack {
                    unpack.layer(index, layer)?;
                }
                self.progress.event(PullEvent::LayerComplete(layer));
            }
        }
        Ok(())
    }

    fn tee<'a>(&'a self, layer: &'a Descriptor, ingest: Ingest) -> Result<Tee<'a>> {
        let transport = self.engine.transport();
        // The store proves the digest before it shows the blob: once is enough.
        let stream = self.repository.blob_for_receiver(layer, ingest.offset());
        let stream = transport.block_on(stream)??;
        let reader = BlobReader::new(transport.runtime()?.handle().clone(), stream);
        Ok(Tee { reader, ingest, layer, progress: self.progress })
    }
}

/// Whether a document is there and the disk has damaged it.
fn is_damage(error: &store::Error) -> bool {
    matches!(
        error,
        store::Error::Content(_) | store::Error::Document { .. } | store::Error::Record { .. }
    )
}

/// Writes what it reads into the store on the way.
struct Tee<'a> {
    reader: BlobReader,
    ingest: Ingest,
    layer: &'a Descriptor,
    progress: &'a dyn PullProgress,
}

impl Tee<'_> {
    /// Reads what is left and publishes the blob.
    fn finish(mut self, layer: &Descriptor) -> Result<()> {
        io::copy(&mut self, &mut io::sink()).map_err(|e| {
            oci::TransferError::from_io(format!("fetch layer {}", layer.digest()), e)
        })?;
        Ok(self.ingest.commit()?)
    }
}

impl Tee<'_> {
    /// After a failed unpack: bytes that came are kept for the next attempt only where the
    /// transfer failed. Where they could not be unpacked, they are wrong.
    fn given_up(mut self, error: Error) -> Error {
        if !matches!(error, Error::Transfer(_))
            && let Err(further) = self.ingest.restart()
        {
            tracing::warn!(error = %further, "cannot discard what came");
        }
        error
    }
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.ingest.append(&buffer[..count]).map_err(io::Error::other)?;
        let offset = self.ingest.offset();
        self.progress.event(PullEvent::LayerProgress { layer: self.layer, offset });
        Ok(count)
    }
}

/// A layer that could not be unpacked because its bytes did not come is a failed transfer: the
/// reader's error is found below the store's.
fn because_of_transfer(error: store::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        let carried = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(transfer) = carried.and_then(|e| e.downcast_ref::<oci::TransferError>()) {
            let (kind, text) = (transfer.kind(), transfer.to_string());
            return oci::TransferError::new(kind, text).into();
        }
        cause = inner.source();
    }
    error.into()
}

fn no_match(at: &Descriptor, index: &oci::Index, wanted: &Platform) -> Error {
    let available: Vec<String> = index.platforms().iter().map(ToString::to_string).collect();
    store::Error::NoPlatform {
        digest: at.digest().clone(),
        wanted: wanted.to_string(),
        available: available.join(", "),
    }
    .into()
}
