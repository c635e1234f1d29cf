//! Trust artifacts in the registry: reading the pointer, publishing a new one.

use oci::{Descriptor, Digest, MediaType, Reference, Repository};
use registry_client::Selector;
use trust::artifact::{Artifact, POINTER_TAG, pack};
use trust::tuf::{FetchError, MetadataFiles};

use crate::Engine;
use crate::error::Result;

/// Largest metadata blob that is fetched (the trust crate has a limit for each role below this).
const METADATA_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The trust artifact of a repository; `None` where it has none.
pub(crate) fn fetch_pointer(engine: &Engine, repository: &Repository) -> Result<Option<Artifact>> {
    let client = engine.transport().client()?.repository(repository);
    let selector = Selector::Tag(POINTER_TAG.to_owned());
    match engine.transport().block_on(client.manifest(&selector))? {
        Ok(fetched) => Ok(Some(Artifact::parse(&*fetched.bytes)?)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// One metadata file that is not embedded in the pointer.
pub(crate) fn fetch_blob(
    engine: &Engine,
    reference: &Reference,
    wanted: &Descriptor,
) -> Result<Vec<u8>, FetchError> {
    let client = engine.transport().client()?.repository(reference.repository());
    let bytes = engine.transport().block_on(client.fetch_blob(wanted, METADATA_BYTES_MAX))??;
    Ok(bytes.to_vec())
}

/// All files of the artifact.
pub(crate) fn fetch_all(
    engine: &Engine,
    repository: &Repository,
    artifact: &Artifact,
) -> Result<MetadataFiles> {
    let reference = repository.tagged(POINTER_TAG)?;
    let mut blob = |wanted: &Descriptor| fetch_blob(engine, &reference, wanted);
    Ok(artifact.unpack(&mut blob)?)
}

/// What became of an edit that was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// It stands.
    Yes,
    /// Another signer was faster: the edit is to be made again, on what stands now.
    Overtaken,
}

/// Publishes metadata: blobs first, then the one mutable name. `before` is the artifact that
/// the files were made from: where another signer was faster, the name is left as it is.
///
/// Registries that know conditional requests compare and swap at once; for the others the name is
/// read before and after, which leaves a moment in which two writers can miss each other.
pub(crate) fn publish(
    engine: &Engine,
    repository: &Repository,
    files: &MetadataFiles,
    before: Option<&Artifact>,
) -> Result<Published> {
    let packed = pack(files)?;
    let client = engine.transport().client()?.repository(repository);
    for (descriptor, bytes) in &packed.blobs {
        let content = Box::new(bytes::Bytes::copy_from_slice(bytes));
        engine.transport().block_on(client.push_blob(descriptor, content, &[]))??;
    }
    let before = before.map(|artifact| artifact.manifest().digest());
    if pointer_digest(engine, repository)? != before {
        return Ok(Published::Overtaken);
    }
    let bytes = bytes::Bytes::copy_from_slice(packed.manifest.bytes());
    let kind = MediaType::OciManifest;
    let swap = client.replace_tag(POINTER_TAG, before.as_ref(), &kind, bytes.clone());
    if engine.transport().block_on(swap)??.is_none() {
        if pointer_digest(engine, repository)? != before {
            return Ok(Published::Overtaken);
        }
        // The registry's entity tags are not digests: it cannot be asked for the condition.
        let selector = Selector::Tag(POINTER_TAG.to_owned());
        engine.transport().block_on(client.put_manifest(&selector, &kind, bytes))??;
    }
    match pointer_digest(engine, repository)? == Some(packed.manifest.digest()) {
        true => Ok(Published::Yes),
        false => Ok(Published::Overtaken),
    }
}

fn pointer_digest(engine: &Engine, repository: &Repository) -> Result<Option<Digest>> {
    Ok(fetch_pointer(engine, repository)?.map(|artifact| artifact.manifest().digest()))
}
