//! Signatures and statements that stand beside an image in its registry, fetched for the gate.

use std::sync::Arc;

use oci::{Descriptor, Digest, Manifest, ManifestOrIndex, Raw, Reference, Repository};
use registry_client::{FetchedManifest, ReferrersFilter, RegistryError, Selector};
use trust::Attached;
use trust::dialect::{cosign, dsse};

use crate::Engine;
use crate::error::Result;

/// Most manifests looked at for one judgement: whoever may push could attach any number, and each
/// costs a request.
const MANIFESTS_MAX: usize = 64;
/// Most signatures and statements handed to one judgement: each costs public-key operations.
pub(super) const LAYERS_MAX: usize = 256;
/// Most bytes of them in memory at once: attached content is not trusted yet.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Largest single one: the trust crate reads no larger envelope.
pub(super) const LAYER_BYTES_MAX: u64 = trust::limits::ENVELOPE_BYTES_MAX as u64;

/// Everything attached to these digests, as far as the limits allow: as referrers, and under the
/// tags that cosign keeps (`sha256-<hex>.sig`, `sha256-<hex>.att`).
pub(crate) fn fetch(
    engine: &Engine,
    repository: &Repository,
    digests: &[Digest],
) -> Result<Vec<Attached>> {
    let client = engine.transport().client()?.repository(repository);
    let mut collector =
        Collector { engine, client, manifests: MANIFESTS_MAX, bytes: BYTES_MAX, found: Vec::new() };
    for digest in digests {
        for tag in [cosign::signature_tag(digest), cosign::attestation_tag(digest)] {
            collector.take(&Selector::Tag(tag))?;
        }
        for referrer in collector.referrers(digest)? {
            collector.take(&Selector::Digest(referrer))?;
        }
    }
    Ok(collector.found)
}

/// The index behind the reference's tag, if it lists the manifest that the reference's digest
/// names: a signature on it covers that manifest.
pub(crate) fn parent(
    engine: &Engine,
    reference: &Reference,
    child: &Descriptor,
) -> Result<Option<Arc<[u8]>>> {
    let (Some(tag), Some(_)) = (reference.tag(), reference.digest()) else { return Ok(None) };
    let client = engine.transport().client()?.repository(reference.repository());
    let selector = Selector::Tag(tag.to_owned());
    let fetched = match engine.transport().block_on(client.manifest(&selector))? {
        Ok(fetched) => fetched,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Ok(document) = Raw::<ManifestOrIndex>::parse(&fetched.bytes[..]) else { return Ok(None) };
    let lists = document.as_index().is_some_and(|index| {
        index.manifests().iter().any(|listed| listed.digest() == child.digest())
    });
    Ok(lists.then(|| Arc::from(&fetched.bytes[..])))
}

struct Collector<'a> {
    engine: &'a Engine,
    client: registry_client::Repository,
    /// Manifests that may still be asked for.
    manifests: usize,
    /// Bytes that may still be taken.
    bytes: u64,
    found: Vec<Attached>,
}

impl Collector<'_> {
    /// The referrers of a digest, those that say they are evidence first.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Digest>> {
        let all = ReferrersFilter::default();
        let listed = self.client.referrers(subject, &all);
        let mut descriptors = match self.engine.transport().block_on(listed)? {
            Ok(referrers) => referrers.descriptors,
            Err(error) if may_pass(&error) => return Err(error.into()),
            Err(error) => {
                tracing::warn!("no list of referrers: {error}");
                return Ok(Vec::new());
            }
        };
        descriptors.retain(|descriptor| descriptor.media_type().is_manifest());
        descriptors.sort_by_key(|descriptor| !says_evidence(descriptor));
        Ok(descriptors.into_iter().map(|descriptor| descriptor.digest().clone()).collect())
    }

    /// Takes the evidence in one manifest; one that is not there has none.
    fn take(&mut self, selector: &Selector) -> Result<()> {
        if self.manifests == 0 {
            tracing::warn!("{selector} is not looked at: more than {MANIFESTS_MAX} manifests");
            return Ok(());
        }
        self.manifests -= 1;
        let Some(fetched) = self.manifest(selector)? else { return Ok(()) };
        let Ok(manifest) = Raw::<Manifest>::parse(&fetched.bytes[..]) else { return Ok(()) };
        for layer in manifest.layers().iter().filter(|layer| is_evidence(layer)) {
            self.take_layer(layer)?;
        }
        Ok(())
    }

    fn manifest(&self, selector: &Selector) -> Result<Option<FetchedManifest>> {
        match self.engine.transport().block_on(self.client.manifest(selector))? {
            Ok(fetched) => Ok(Some(fetched)),
            Err(error) if may_pass(&error) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    fn take_layer(&mut self, layer: &Descriptor) -> Result<()> {
        let limit = self.bytes.min(LAYER_BYTES_MAX);
        if self.found.len() >= LAYERS_MAX || layer.size() > limit {
            tracing::warn!("{} is not looked at: too many or too large", layer.digest());
            return Ok(());
        }
        let bytes = match layer.embedded() {
            Some(bytes) => bytes,
            None => {
                let blob = self.client.fetch_blob(layer, limit);
                match self.engine.transport().block_on(blob)? {
                    Ok(bytes) => bytes.to_vec(),
                    Err(error) if may_pass(&error) => return Err(error.into()),
                    Err(_) => return Ok(()),
                }
            }
        };
        self.bytes = self.bytes.saturating_sub(layer.size());
        self.found.push(Attached {
            media_type: layer.media_type().as_str().to_owned(),
            bytes: bytes.into(),
            annotations: layer.annotations().clone(),
        });
        Ok(())
    }
}

/// Whether another try, or a login, may find what this one did not: then nothing is said about the
/// image. Any other failure means that there is no such evidence.
fn may_pass(error: &RegistryError) -> bool {
    !error.is_not_found() && (error.is_temporary() || error.is_denied())
}

pub(super) fn is_evidence(layer: &Descriptor) -> bool {
    is_evidence_type(layer.media_type().as_str())
}

/// What a referrer says of itself decides only who is asked first.
fn says_evidence(referrer: &Descriptor) -> bool {
    referrer.artifact_type().is_some_and(|kind| {
        is_evidence_type(kind)
            || kind.starts_with("application/vnd.dev.cosign.artifact.")
            || kind == dsse::STATEMENT_PAYLOAD_TYPE
    })
}

fn is_evidence_type(text: &str) -> bool {
    text == cosign::PAYLOAD_MEDIA_TYPE
        || text == dsse::ENVELOPE_MEDIA_TYPE
        || text.starts_with(dsse::BUNDLE_MEDIA_TYPE_PREFIX)
}
