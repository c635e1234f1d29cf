//! What the registry must know about a manifest before it keeps the bytes. A registry accepts
//! more than a client understands, so only the fields that the protocol speaks of are read.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci::{Descriptor, Digest, MediaType};
use serde::Deserialize;

use crate::fault::{Code, Fault};

/// What may be pushed: images, indexes and artifacts of OCI and Docker.
const KNOWN_TYPES: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.artifact.manifest.v1+json",
];

/// A pushed manifest: the exact bytes, their digest and type, and what they refer to.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    bytes: Bytes,
    digest: Digest,
    media_type: String,
    shape: Shape,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    fs_layers: Option<serde_json::Value>,
}

/// Where a referenced object has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Among the blobs of the repository.
    Blob,
    /// Among the manifests of the repository.
    Manifest,
}

impl Submission {
    /// Reads what was pushed. `declared` is the `Content-Type` header; its parameters are
    /// ignored (distribution-spec 1.1, "Pushing Manifests"). `digest` is of the exact bytes.
    pub(crate) fn parse(
        bytes: Bytes,
        digest: Digest,
        declared: Option<&str>,
    ) -> Result<Self, Fault> {
        let invalid = |reason: String| Fault::new(Code::ManifestInvalid, reason);
        // A derived parser would read an array as the fields in order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid("the manifest does not parse: expected a JSON object".to_owned()));
        }
        let shape: Shape = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(format!("the manifest does not parse: {error}")))?;
        let media_type = shape.agreed_media_type(declared).map_err(invalid)?;
        shape.check(&media_type).map_err(invalid)?;
        Ok(Self { bytes, digest, media_type, shape })
    }

    /// Refuses what is pushed under a type that is not one of manifests: it would be served under it,
    /// and a registry that serves `text/html` of anybody's choice is a web host. (What is linked already
    /// stays readable.)
    pub(crate) fn require_known_type(&self) -> Result<(), Fault> {
        if KNOWN_TYPES.contains(&self.media_type()) {
            return Ok(());
        }
        let message = format!(
            "{:?} is not a type of manifest that is kept here: {}",
            self.media_type(),
            KNOWN_TYPES.join(", ")
        );
        Err(Fault::new(Code::ManifestInvalid, message))
    }

    /// The exact bytes.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The digest of the bytes.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The media type that header and body agree on.
    pub(crate) fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The manifest that this one refers to.
    pub(crate) fn subject(&self) -> Option<&Digest> {
        self.shape.subject.as_ref().map(Descriptor::digest)
    }

    /// Everything that has to be in the repository, but for the subject, which need not exist,
    /// and layers that must not be distributed.
    pub(crate) fn references(&self) -> impl Iterator<Item = (Kind, &Descriptor)> {
        let blobs = [&self.shape.layers, &self.shape.blobs].into_iter().flatten().flatten();
        let blobs = self.shape.config.iter().chain(blobs);
        let blobs = blobs.filter(|d| !d.media_type().is_non_distributable());
        let manifests = self.shape.manifests.iter().flatten();
        blobs.map(|d| (Kind::Blob, d)).chain(manifests.map(|d| (Kind::Manifest, d)))
    }

    /// The descriptor that stands for this manifest in a list of referrers
    /// (distribution-spec 1.1, "Listing Referrers").
    pub(crate) fn as_referrer(&self) -> Descriptor {
        let media_type = self.media_type.parse().unwrap_or(MediaType::OciManifest);
        let bare = Descriptor::new(media_type, self.digest.clone(), self.bytes.len() as u64);
        let own = self.shape.artifact_type.as_deref().filter(|text| !text.is_empty());
        // The config's type stands in for a missing artifactType; an index has no config.
        let fallback = self.shape.config.as_ref().map(|config| config.media_type().as_str());
        let descriptor = match own.or(fallback) {
            Some(artifact_type) => bare.with_artifact_type(artifact_type),
            None => bare,
        };
        descriptor.with_annotations(self.shape.annotations.clone().unwrap_or_default())
    }
}

impl Shape {
    fn agreed_media_type(&self, declared: Option<&str>) -> Result<String, String> {
        let declared = declared
            .and_then(|value| value.split(';').next())
            .map(str::trim)
            .filter(|value| !value.is_empty());
        match (declared, self.media_type.as_deref().filter(|text| !text.is_empty())) {
            (Some(header), Some(body)) if header != body => Err(format!(
                "Content-Type is {header} but the manifest's mediaType is {body}: they must be equal"
            )),
            (Some(agreed), _) | (None, Some(agreed)) => Ok(agreed.to_owned()),
            (None, None) => Err("the manifest has neither Content-Type nor mediaType".to_owned()),
        }
    }

    fn check(&self, media_type: &str) -> Result<(), String> {
        let parsed: MediaType = media_type.parse().unwrap_or(MediaType::OciManifest);
        if self.fs_layers.is_some() || self.schema_version == Some(1) || is_schema_1(media_type) {
            return Err(
                "schema 1 manifests are not accepted: push a schema 2 or OCI manifest".to_owned()
            );
        }
        if (parsed.is_index() || parsed.is_manifest()) && self.schema_version != Some(2) {
            return Err("schemaVersion must be 2".to_owned());
        }
        if parsed.is_manifest() && self.manifests.is_some() {
            return Err(format!("a {media_type} has no \"manifests\""));
        }
        if parsed.is_manifest() && self.config.is_none() {
            return Err(format!("a {media_type} needs a \"config\""));
        }
        if parsed.is_index() && (self.layers.is_some() || self.config.is_some()) {
            return Err(format!("a {media_type} has neither \"config\" nor \"layers\""));
        }
        if parsed.is_index() && self.manifests.is_none() {
            return Err(format!("a {media_type} needs \"manifests\""));
        }
        self.check_embedded()
    }

    // image-spec descriptor.md: embedded data must be the content it stands for.
    fn check_embedded(&self) -> Result<(), String> {
        let lists = [&self.layers, &self.blobs, &self.manifests].into_iter().flatten().flatten();
        let mut all = self.config.iter().chain(&self.subject).chain(lists);
        match all.find(|d| d.has_embedded() && d.embedded().is_none()) {
            None => Ok(()),
            Some(d) => Err(format!("the data embedded for {} is not that content", d.digest())),
        }
    }
}

fn is_schema_1(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

#[cfg(test)]
mod tests;
