//! Looking at what a registry has, without pulling.

use oci::limits::CONFIG_BYTES_MAX;
use oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Raw, Reference};
use registry_client::{ReferrersFilter, Selector};
use serde_json::Value;

use super::list::Names;
use super::{Images, list};
use crate::error::{Error, Result};

impl Images<'_> {
    /// What a registry has under a name: which manifest, of what kind and size.
    pub fn remote_resolve(&self, reference: &Reference) -> Result<Descriptor> {
        let reference = reference.clone().or_latest();
        let client = self.engine.transport().client()?.repository(reference.repository());
        Ok(self.engine.transport().block_on(client.resolve(&selector(&reference)?))??)
    }

    /// What `inspect` prints of an image in a registry; its layers stay there. The size is that of
    /// the compressed layers, which is what a pull would bring.
    pub fn remote_inspect(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<Value> {
        let reference = reference.clone().or_latest();
        let transport = self.engine.transport();
        let client = transport.client()?.repository(reference.repository());
        let root = transport.block_on(client.resolve(&selector(&reference)?))??;
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let chosen = transport.block_on(client.choose_platform(&root, &wanted))??;
        let fetched =
            transport.block_on(client.manifest(&Selector::Digest(chosen.digest().clone())))??;
        let unreadable =
            |error: oci::RawError| Error::Invalid(format!("{}: {error}", chosen.digest()));
        let manifest: Raw<Manifest> = Raw::parse(&*fetched.bytes).map_err(unreadable)?;
        if !manifest.config().media_type().is_config() {
            return Err(Error::Invalid(format!(
                "{} is an artifact ({}), not an image; `wherry manifest inspect` shows it",
                reference.familiar(),
                manifest.artifact_type().unwrap_or("of unknown type")
            )));
        }
        let bytes = client.fetch_blob(manifest.config(), CONFIG_BYTES_MAX);
        let bytes = transport.block_on(bytes)??;
        let config: Raw<ImageConfig> = Raw::parse(&*bytes).map_err(unreadable)?;
        let names = Names {
            tags: reference.tag().map(|_| reference.familiar()).into_iter().collect(),
            digests: vec![reference.repository().pinned(root.digest().clone()).familiar()],
        };
        let size = manifest.layers().iter().map(Descriptor::size).sum();
        let mut shown = list::document(manifest.config().digest(), &names, &config, size, &root);
        if let Some(object) = shown.as_object_mut() {
            // Of this machine, which has none of it.
            object.retain(|key, _| {
                !matches!(key.as_str(), "GraphDriver" | "Metadata" | "VirtualSize")
            });
        }
        Ok(shown)
    }

    /// What refers to a manifest: signatures, attestations, lists of contents.
    pub fn remote_referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let client = self.engine.transport().client()?.repository(reference.repository());
        let filter =
            artifact_type.map_or_else(ReferrersFilter::default, ReferrersFilter::artifact_type);
        Ok(self.engine.transport().block_on(client.referrers(subject, &filter))??.descriptors)
    }
}

fn selector(reference: &Reference) -> Result<Selector> {
    Selector::of(reference)
        .ok_or_else(|| Error::Invalid(format!("{reference}: neither tag nor digest")))
}
