//! Trust artifacts in the registry: reading the pointer, publishing a new one.

use oci::{Descriptor, MediaType, Reference, Repository};
use registry_client::Selector;
use trust::artifact::{Artifact, POINTER_TAG, pack};
use trust::tuf::{FetchError, MetadataFiles};

use crate::Engine;
use crate::error::{Error, Result};

/// Largest metadata blob that is fetched (the trust crate has a limit for each role below this).
const METADATA_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The trust artifact of a repository; `None` where it has none.
pub(crate) fn fetch_pointer(engine: &Engine, repository: &Repository) -> Result<Option<Artifact>> {
    let client = engine.network().client()?.repository(repository);
    let selector = Selector::Tag(POINTER_TAG.to_owned());
    match engine.network().block_on(client.manifest(&selector))? {
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
    let client = engine.network().client()?.repository(reference.repository());
    let bytes = engine.network().block_on(client.fetch_blob(wanted, METADATA_BYTES_MAX))??;
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

/// Publishes metadata: blobs first, then the one mutable name. `before` is the artifact that
/// the files were made from: where another signer was faster, nothing is written.
pub(crate) fn publish(
    engine: &Engine,
    repository: &Repository,
    files: &MetadataFiles,
    before: Option<&Artifact>,
) -> Result<()> {
    let packed = pack(files)?;
    let client = engine.network().client()?.repository(repository);
    for (descriptor, bytes) in &packed.blobs {
        let content = Box::new(bytes::Bytes::copy_from_slice(bytes));
        engine.network().block_on(client.push_blob(descriptor, content, &[]))??;
    }
    let now = fetch_pointer(engine, repository)?;
    let digest = |artifact: &Artifact| artifact.manifest().digest();
    if now.as_ref().map(digest) != before.map(digest) {
        return Err(Error::Conflict(format!(
            "sign in {repository}: another signer published in the meantime; try again"
        )));
    }
    let selector = Selector::Tag(POINTER_TAG.to_owned());
    let bytes = bytes::Bytes::copy_from_slice(packed.manifest.bytes());
    let put = client.put_manifest(&selector, &MediaType::OciManifest, bytes);
    engine.network().block_on(put)?.map(drop)?;
    Ok(())
}
