//! Media types of manifests, configs and layers.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip, of one or several members.
    Gzip,
    /// zstd, of one or several frames.
    Zstd,
}

/// A media type. Types this implementation does not know are kept verbatim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaType {
    /// Docker image config.
    DockerConfig,
    /// Docker layer that must not be distributed.
    DockerForeignLayer,
    /// Docker schema 2 layer, uncompressed.
    DockerLayer,
    /// Docker schema 2 layer, gzip.
    DockerLayerGzip,
    /// Docker schema 2 layer, zstd.
    DockerLayerZstd,
    /// Docker schema 2 manifest.
    DockerManifest,
    /// Docker manifest list.
    DockerManifestList,
    /// OCI image config.
    OciConfig,
    /// The empty JSON object `{}` used where a config or layer has no content.
    OciEmpty,
    /// OCI image index.
    OciIndex,
    /// OCI layer.
    OciLayer(Compression),
    /// OCI image manifest.
    OciManifest,
    /// OCI layer that must not be distributed (deprecated by the specification).
    OciNonDistributableLayer(Compression),
    /// Docker schema 1 manifest (recognised in order to be refused).
    DockerSchema1,
    /// Anything else.
    Other(Box<str>),
}

const TABLE: &[(MediaType, &str)] = &[
    (MediaType::DockerConfig, "application/vnd.docker.container.image.v1+json"),
    (MediaType::DockerForeignLayer, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    (MediaType::DockerLayer, "application/vnd.docker.image.rootfs.diff.tar"),
    (MediaType::DockerLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    (MediaType::DockerLayerZstd, "application/vnd.docker.image.rootfs.diff.tar.zstd"),
    (MediaType::DockerManifest, "application/vnd.docker.distribution.manifest.v2+json"),
    (MediaType::DockerManifestList, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (MediaType::OciConfig, "application/vnd.oci.image.config.v1+json"),
    (MediaType::OciEmpty, "application/vnd.oci.empty.v1+json"),
    (MediaType::OciIndex, "application/vnd.oci.image.index.v1+json"),
    (MediaType::OciLayer(Compression::None), "application/vnd.oci.image.layer.v1.tar"),
    (MediaType::OciLayer(Compression::Gzip), "application/vnd.oci.image.layer.v1.tar+gzip"),
    (MediaType::OciLayer(Compression::Zstd), "application/vnd.oci.image.layer.v1.tar+zstd"),
    (MediaType::OciManifest, "application/vnd.oci.image.manifest.v1+json"),
    (
        MediaType::OciNonDistributableLayer(Compression::None),
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ),
    (
        MediaType::OciNonDistributableLayer(Compression::Gzip),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ),
    (
        MediaType::OciNonDistributableLayer(Compression::Zstd),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ),
    (MediaType::DockerSchema1, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
];

impl MediaType {
    /// Every type of manifest or index, in the order a client offers them.
    pub const MANIFESTS: [Self; 4] =
        [Self::OciIndex, Self::OciManifest, Self::DockerManifestList, Self::DockerManifest];

    /// The text form.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => TABLE
                .iter()
                .find(|(media_type, _)| media_type == known)
                .map_or("application/octet-stream", |(_, text)| text),
        }
    }

    /// Whether the content is an index or a manifest list.
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }

    /// Whether the content is a single image manifest.
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// Whether the content is an image config.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::OciConfig | Self::DockerConfig)
    }

    /// Whether the type belongs to Docker's schema 2 family.
    pub fn is_docker(&self) -> bool {
        matches!(
            self,
            Self::DockerConfig
                | Self::DockerForeignLayer
                | Self::DockerLayer
                | Self::DockerLayerGzip
                | Self::DockerLayerZstd
                | Self::DockerManifest
                | Self::DockerManifestList
        )
    }

    /// How the layer is compressed, or `None` where this is not a layer type.
    pub fn layer_compression(&self) -> Option<Compression> {
        match self {
            Self::DockerLayer => Some(Compression::None),
            Self::DockerLayerGzip | Self::DockerForeignLayer => Some(Compression::Gzip),
            Self::DockerLayerZstd => Some(Compression::Zstd),
            Self::OciLayer(compression) | Self::OciNonDistributableLayer(compression) => {
                Some(*compression)
            }
            _ => None,
        }
    }

    /// Whether the layer's licence forbids uploading it (image-spec layer.md,
    /// "Non-Distributable Layers"). The presence of `urls` alone does not say so.
    pub fn is_non_distributable(&self) -> bool {
        matches!(self, Self::DockerForeignLayer | Self::OciNonDistributableLayer(_))
    }
}

impl FromStr for MediaType {
    type Err = Infallible;

    /// Parameters (`; charset=…`) are dropped; types compare without case (RFC 9110, 8.3.1).
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        Ok(TABLE
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(essence))
            .map(|(media_type, _)| media_type.clone())
            .unwrap_or_else(|| match essence {
                "application/vnd.docker.distribution.manifest.v1+json" => Self::DockerSchema1,
                other => Self::Other(other.into()),
            }))
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(media_type) => media_type,
            Err(never) => match never {},
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&*std::borrow::Cow::<'de, str>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_type_has_a_text_that_parses_back() {
        for (media_type, text) in TABLE {
            assert_eq!(media_type.as_str(), *text);
            assert_eq!(MediaType::from(*text), *media_type);
        }
    }

    #[test]
    fn parameters_and_case_do_not_matter() {
        assert_eq!(
            MediaType::from("Application/vnd.oci.image.index.v1+JSON; charset=utf-8"),
            MediaType::OciIndex
        );
    }

    #[test]
    fn an_unknown_type_is_kept_verbatim() {
        let text = "application/vnd.example+json";
        assert_eq!(MediaType::from(text).to_string(), text);
        assert_eq!(MediaType::from(text).layer_compression(), None);
    }

    #[test]
    fn the_oci_spec_crate_spells_them_the_same() {
        use oci_spec::image::MediaType as Theirs;
        let pairs = [
            (MediaType::OciManifest, Theirs::ImageManifest),
            (MediaType::OciIndex, Theirs::ImageIndex),
            (MediaType::OciConfig, Theirs::ImageConfig),
            (MediaType::OciEmpty, Theirs::EmptyJSON),
            (MediaType::OciLayer(Compression::None), Theirs::ImageLayer),
            (MediaType::OciLayer(Compression::Gzip), Theirs::ImageLayerGzip),
            (MediaType::OciLayer(Compression::Zstd), Theirs::ImageLayerZstd),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(ours.to_string(), theirs.to_string());
        }
    }
}
