//! Looking at what a registry has, without pulling.

use oci::{Descriptor, Digest, Reference};
use registry_client::{ReferrersFilter, Selector};

use super::Images;
use crate::error::{Error, Result};

impl Images<'_> {
    /// What a registry has under a name: which manifest, of what kind and size.
    pub fn remote_resolve(&self, reference: &Reference) -> Result<Descriptor> {
        let reference = reference.clone().or_latest();
        let client = self.engine.network().client()?.repository(reference.repository());
        Ok(self.engine.network().block_on(client.resolve(&selector(&reference)?))??)
    }

    /// What refers to a manifest: signatures, attestations, lists of contents.
    pub fn remote_referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let client = self.engine.network().client()?.repository(reference.repository());
        let filter =
            artifact_type.map_or_else(ReferrersFilter::default, ReferrersFilter::artifact_type);
        Ok(self.engine.network().block_on(client.referrers(subject, &filter))??.descriptors)
    }
}

fn selector(reference: &Reference) -> Result<Selector> {
    Selector::of(reference)
        .ok_or_else(|| Error::Invalid(format!("{reference}: neither tag nor digest")))
}
