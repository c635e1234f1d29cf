//! `_manifests/<algorithm>/<hex>`: which manifests a repository has. The file holds a JSON
//! object with media type, size and subject; the bytes are a blob of the store.

use std::io;

use oci::Digest;
use serde::{Deserialize, Serialize};

use super::{Repositories, digests, read_small};
use crate::name::RepositoryName;

/// What a repository knows of a manifest beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManifestLink {
    /// The type it was pushed with, and is served with.
    pub(crate) media_type: String,
    /// Its length.
    pub(crate) size: u64,
    /// The manifest that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Digest>,
}

impl Repositories {
    /// Makes a manifest of the store readable through the repository.
    pub(crate) fn link_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        link: &ManifestLink,
    ) -> io::Result<()> {
        let mut text = serde_json::to_string(link)?;
        text.push('\n');
        self.write(&self.link(name, "_manifests", digest), text.as_bytes())
    }

    /// What the repository knows of a manifest, where it has it.
    pub(crate) fn manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<ManifestLink>> {
        match read_small(&self.link(name, "_manifests", digest))? {
            Some(text) => Ok(Some(serde_json::from_str(&text)?)),
            None => Ok(None),
        }
    }

    /// Takes a manifest out of the repository; whether it was there.
    pub(crate) fn unlink_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<bool> {
        self.remove(&self.link(name, "_manifests", digest))
    }

    /// The manifests of a repository.
    pub(crate) fn manifests(&self, name: &RepositoryName) -> io::Result<Vec<Digest>> {
        digests(&self.of(name).join("_manifests"))
    }
}
