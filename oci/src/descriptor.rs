//! Content descriptors.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::json::null_is_default;
use crate::limits::EMBEDDED_DATA_BYTES_MAX;
use crate::media_type::MediaType;
use crate::platform::Platform;

/// Annotation keys defined by the image specification and its users.
pub mod annotation {
    /// The name of a manifest in an image layout's index.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// When the image was built.
    pub const CREATED: &str = "org.opencontainers.image.created";
    /// The full image name as containerd records it in archives.
    pub const CONTAINERD_IMAGE_NAME: &str = "io.containerd.image.name";
}

/// What content is, what its digest is and how long it is (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: MediaType,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
}

impl Descriptor {
    /// The descriptor of content of this type, digest and length.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// The descriptor of `bytes`, hashed with SHA-256.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// The empty JSON object `{}` (image-spec manifest.md, "Guidance for an empty descriptor").
    pub fn empty() -> Self {
        Self::of(MediaType::OciEmpty, b"{}")
    }

    /// The content's type.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The content's digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The content's length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where else the content may be fetched.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// The platform, on entries of an index.
    pub fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// The artifact type, on entries of an index or referrers.
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The embedded content, where there is some and it matches size and digest (DST-47).
    pub fn embedded(&self) -> Option<Vec<u8>> {
        let text = self.data.as_ref().filter(|text| text.len() <= EMBEDDED_DATA_BYTES_MAX * 2)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        let matches = bytes.len() as u64 == self.size
            && Digest::of(self.digest.algorithm(), &bytes) == self.digest;
        matches.then_some(bytes)
    }

    /// Whether the descriptor carries `data`, right or wrong.
    pub fn has_embedded(&self) -> bool {
        self.data.is_some()
    }

    /// The same content with one more annotation.
    pub fn with_annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same content with exactly these annotations.
    pub fn with_annotations(mut self, annotations: BTreeMap<String, String>) -> Self {
        self.annotations = annotations;
        self
    }

    /// The same content marked for a platform.
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// The same content with an artifact type.
    pub fn with_artifact_type(mut self, artifact_type: &str) -> Self {
        self.artifact_type = Some(artifact_type.to_owned());
        self
    }

    /// The same content with its bytes embedded.
    pub fn with_embedded(mut self, bytes: &[u8]) -> Self {
        self.data = Some(base64::engine::general_purpose::STANDARD.encode(bytes));
        self
    }

    /// Only type, digest and size: what identifies the content wherever it is named.
    pub fn bare(&self) -> Self {
        Self::new(self.media_type.clone(), self.digest.clone(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_descriptor_is_the_specifications() {
        let empty = Descriptor::empty();
        assert_eq!(
            empty.digest().to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(empty.size(), 2);
    }

    /// Covers: DST-47
    #[test]
    fn embedded_data_is_given_out_only_when_it_is_the_content() {
        let good = Descriptor::of(MediaType::OciEmpty, b"{}").with_embedded(b"{}");
        assert_eq!(good.embedded().as_deref(), Some(&b"{}"[..]));
        let wrong = Descriptor::of(MediaType::OciEmpty, b"{}").with_embedded(b"[]");
        assert_eq!(wrong.embedded(), None);
        assert!(wrong.has_embedded());
    }

    #[test]
    fn null_annotations_and_unknown_fields_are_read() {
        let text = format!(
            r#"{{"mediaType":"x/y","digest":"{}","size":3,"annotations":null,"new":1}}"#,
            Digest::sha256(b"abc")
        );
        let descriptor: Descriptor = serde_json::from_str(&text).expect("valid");
        assert!(descriptor.annotations().is_empty());
    }

    #[test]
    fn a_negative_size_is_refused() {
        let text =
            format!(r#"{{"mediaType":"x/y","digest":"{}","size":-1}}"#, Digest::sha256(b"abc"));
        assert!(serde_json::from_str::<Descriptor>(&text).is_err());
    }
}
