//! Image manifests and indexes, OCI and Docker schema 2.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::descriptor::Descriptor;
use crate::json::null_is_default;
use crate::limits::{INDEX_ENTRIES_MAX, LAYERS_MAX, MANIFEST_BYTES_MAX};
use crate::media_type::MediaType;
use crate::platform::Platform;
use crate::raw::{Document, Raw, RawError};

/// What is wrong with bytes that should be a manifest or an index.
pub type ManifestError = RawError;

/// The manifest of one image or artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An OCI manifest of an image.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// A Docker schema 2 manifest of an image.
    pub fn docker(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { media_type: Some(MediaType::DockerManifest), ..Self::new(config, layers) }
    }

    /// An OCI manifest of an artifact without config (image-spec manifest.md, "Guidelines for
    /// Artifact Usage").
    pub fn artifact(artifact_type: &str, layers: Vec<Descriptor>) -> Self {
        Self {
            artifact_type: Some(artifact_type.to_owned()),
            ..Self::new(Descriptor::empty(), layers)
        }
    }

    /// The same manifest referring to `subject`.
    pub fn with_subject(mut self, subject: Descriptor) -> Self {
        self.subject = Some(subject.bare());
        self
    }

    /// The same manifest with exactly these annotations.
    pub fn with_annotations(mut self, annotations: BTreeMap<String, String>) -> Self {
        self.annotations = annotations;
        self
    }

    /// The config's descriptor.
    pub fn config(&self) -> &Descriptor {
        &self.config
    }

    /// The layers' descriptors, base first.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// The manifest that this one is about.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// The annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// The artifact's type: the field, else the config's media type (distribution-spec,
    /// "Listing Referrers").
    pub fn artifact_type(&self) -> Option<&str> {
        match (&self.artifact_type, self.config.media_type()) {
            (Some(artifact_type), _) => Some(artifact_type),
            (None, MediaType::OciEmpty) => None,
            (None, config) => Some(config.as_str()),
        }
    }

    /// The content that the manifest names: config, then layers.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

impl Document for Manifest {
    const KIND: &'static str = "manifest";
    const BYTES_MAX: u64 = MANIFEST_BYTES_MAX;

    fn from_bytes(bytes: &[u8]) -> Result<Self, RawError> {
        match ManifestOrIndex::from_bytes(bytes)? {
            ManifestOrIndex::Manifest(manifest) => Ok(manifest),
            ManifestOrIndex::Index(_) => Err(invalid("manifest", "this is an index")),
        }
    }

    fn media_type(&self) -> MediaType {
        self.media_type.clone().unwrap_or(MediaType::OciManifest)
    }
}

/// A list of manifests, usually one per platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    annotations: BTreeMap<String, String>,
}

impl Index {
    /// An OCI index.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// A Docker manifest list.
    pub fn docker(manifests: Vec<Descriptor>) -> Self {
        Self { media_type: Some(MediaType::DockerManifestList), ..Self::new(manifests) }
    }

    /// The same index with exactly these annotations.
    pub fn with_annotations(mut self, annotations: BTreeMap<String, String>) -> Self {
        self.annotations = annotations;
        self
    }

    /// The entries.
    pub fn manifests(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// The manifest that this index is about.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// The artifact's type, where the index is one.
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// The entry that serves `platform` best. Nested indexes carry no platform of their own
    /// and are not looked into here.
    pub fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        platform.choose(&self.manifests)
    }

    /// The platforms of the entries that are images.
    pub fn platforms(&self) -> Vec<&Platform> {
        self.manifests
            .iter()
            .filter_map(Descriptor::platform)
            .filter(|platform| platform.os() != "unknown" && !platform.os().is_empty())
            .collect()
    }
}

impl Document for Index {
    const KIND: &'static str = "index";
    const BYTES_MAX: u64 = MANIFEST_BYTES_MAX;

    fn from_bytes(bytes: &[u8]) -> Result<Self, RawError> {
        match ManifestOrIndex::from_bytes(bytes)? {
            ManifestOrIndex::Index(index) => Ok(index),
            ManifestOrIndex::Manifest(_) => Err(invalid("index", "this is an image manifest")),
        }
    }

    fn media_type(&self) -> MediaType {
        self.media_type.clone().unwrap_or(MediaType::OciIndex)
    }
}

/// What a tag or a manifest digest can name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is made per document and none are kept in lists"
)]
pub enum ManifestOrIndex {
    /// A list of manifests.
    Index(Index),
    /// One image or artifact.
    Manifest(Manifest),
}

impl ManifestOrIndex {
    /// The content that this document names, in order.
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            Self::Index(index) => index.manifests().iter().collect(),
            Self::Manifest(manifest) => manifest.children().collect(),
        }
    }

    /// The manifest that this document is about.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Index(index) => index.subject(),
            Self::Manifest(manifest) => manifest.subject(),
        }
    }

    /// The artifact type that a list of referrers shows for it.
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Index(index) => index.artifact_type(),
            Self::Manifest(manifest) => manifest.artifact_type(),
        }
    }

    /// The annotations, which a list of referrers copies.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Index(index) => index.annotations(),
            Self::Manifest(manifest) => manifest.annotations(),
        }
    }
}

impl Document for ManifestOrIndex {
    const KIND: &'static str = "manifest";
    const BYTES_MAX: u64 = MANIFEST_BYTES_MAX;

    fn from_bytes(bytes: &[u8]) -> Result<Self, RawError> {
        let json = |source| RawError::Json { kind: Self::KIND, source };
        let shape: Shape = serde_json::from_slice(bytes).map_err(json)?;
        match shape.kind()? {
            ShapeKind::Index => {
                let index: Index = serde_json::from_slice(bytes).map_err(json)?;
                check_count("index", "entries", index.manifests.len(), INDEX_ENTRIES_MAX)?;
                Ok(Self::Index(index))
            }
            ShapeKind::Manifest => {
                let manifest: Manifest = serde_json::from_slice(bytes).map_err(json)?;
                check_count("manifest", "layers", manifest.layers.len(), LAYERS_MAX)?;
                Ok(Self::Manifest(manifest))
            }
        }
    }

    fn media_type(&self) -> MediaType {
        match self {
            Self::Index(index) => index.media_type(),
            Self::Manifest(manifest) => manifest.media_type(),
        }
    }
}

impl Raw<ManifestOrIndex> {
    /// The manifest, where this is one.
    pub fn as_manifest(&self) -> Option<&Manifest> {
        match &**self {
            ManifestOrIndex::Manifest(manifest) => Some(manifest),
            ManifestOrIndex::Index(_) => None,
        }
    }

    /// The index, where this is one.
    pub fn as_index(&self) -> Option<&Index> {
        match &**self {
            ManifestOrIndex::Index(index) => Some(index),
            ManifestOrIndex::Manifest(_) => None,
        }
    }
}

/// The fields that tell one kind of document from another.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u32>,
    #[serde(rename = "mediaType")]
    media_type: Option<MediaType>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

enum ShapeKind {
    Index,
    Manifest,
}

impl Shape {
    /// A document that could be read as both kinds is refused: two readers would see two
    /// images behind one digest (CVE-2021-41190).
    fn kind(&self) -> Result<ShapeKind, RawError> {
        if self.schema_version == Some(1) || self.fs_layers.is_some() {
            return Err(invalid(
                "manifest",
                "Docker schema 1 is not supported: push the image again with a current client",
            ));
        }
        if self.schema_version != Some(2) {
            return Err(invalid("manifest", "schemaVersion must be 2"));
        }
        let manifest_like = self.layers.is_some() || self.config.is_some();
        if manifest_like && self.manifests.is_some() {
            return Err(invalid("manifest", "both an index and an image manifest"));
        }
        match &self.media_type {
            Some(media_type) if media_type.is_index() && !manifest_like => Ok(ShapeKind::Index),
            Some(media_type) if media_type.is_manifest() && self.manifests.is_none() => {
                Ok(ShapeKind::Manifest)
            }
            None if self.manifests.is_some() => Ok(ShapeKind::Index),
            None if manifest_like => Ok(ShapeKind::Manifest),
            None => Err(invalid("manifest", "neither manifests nor config and layers")),
            Some(media_type) => Err(invalid(
                "manifest",
                &format!("mediaType {media_type} does not fit the document's fields"),
            )),
        }
    }
}

fn check_count(kind: &'static str, what: &str, found: usize, limit: usize) -> Result<(), RawError> {
    if found <= limit {
        return Ok(());
    }
    Err(invalid(kind, &format!("{found} {what}, over the limit of {limit}")))
}

fn invalid(kind: &'static str, reason: &str) -> RawError {
    RawError::Invalid { kind, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Compression, Digest};

    fn config() -> Descriptor {
        Descriptor::of(MediaType::OciConfig, b"config")
    }

    fn layer() -> Descriptor {
        Descriptor::of(MediaType::OciLayer(Compression::Gzip), b"layer")
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let manifest = Manifest::new(config(), vec![layer()]).with_subject(config());
        let raw = Raw::encode(&manifest).expect("encodes");
        assert_eq!(*raw, manifest);
        assert_eq!(raw.digest(), Digest::sha256(raw.bytes()));
        assert_eq!(raw.descriptor().media_type(), &MediaType::OciManifest);
        let index = Index::new(vec![raw.descriptor()]);
        assert_eq!(*Raw::encode(&index).expect("encodes"), index);
    }

    /// Covers: DST-41
    #[test]
    fn the_bytes_are_kept_with_their_unknown_fields() {
        let text = format!(
            "{{\n   \"schemaVersion\": 2, \"x\": 1,\n \"config\": {}, \"layers\": null}}",
            serde_json::to_string(&config()).expect("json")
        );
        let raw = Raw::<ManifestOrIndex>::parse(text.as_bytes()).expect("valid");
        assert_eq!(&**raw.bytes(), text.as_bytes());
        assert_eq!(raw.digest(), Digest::sha256(text.as_bytes()));
        assert_eq!(raw.descriptor().media_type(), &MediaType::OciManifest);
    }

    #[track_caller]
    fn refused(text: &str, reason: &str) {
        let error = Raw::<ManifestOrIndex>::parse(text.as_bytes()).expect_err("accepted");
        assert!(error.to_string().contains(reason), "{error}");
    }

    /// Covers: DST-42
    #[test]
    fn refuses_documents_that_are_not_what_they_say() {
        let config = serde_json::to_string(&config()).expect("json");
        refused("", "invalid manifest");
        refused("[]", "invalid manifest");
        refused("{}", "schemaVersion must be 2");
        refused(r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1 is not supported");
        refused(r#"{"schemaVersion":2}"#, "neither manifests nor config");
        refused(&format!(r#"{{"schemaVersion":2,"manifests":[],"config":{config}}}"#), "both");
        refused(
            &format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[]}}"#,
                MediaType::OciIndex
            ),
            "does not fit",
        );
        refused(
            &format!(r#"{{"schemaVersion":2,"mediaType":"a/b","config":{config},"layers":[]}}"#),
            "mediaType a/b does not fit",
        );
    }

    #[test]
    fn refuses_one_over_the_limit() {
        let bytes = vec![b' '; MANIFEST_BYTES_MAX as usize + 1];
        let error = Raw::<ManifestOrIndex>::parse(bytes).expect_err("too large");
        assert!(matches!(error, RawError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn the_artifact_type_falls_back_to_the_configs_type() {
        assert_eq!(
            Manifest::new(config(), Vec::new()).artifact_type(),
            Some("application/vnd.oci.image.config.v1+json")
        );
        assert_eq!(Manifest::artifact("a/b", Vec::new()).artifact_type(), Some("a/b"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_parser(bytes: Vec<u8>) {
            let _ = Raw::<ManifestOrIndex>::parse(bytes);
        }
    }
}
