//! How a repository's metadata travel: one OCI artifact beside the images, behind one mutable tag.
//!
//! The pointer is an image manifest whose layers are the metadata files. Small files are embedded in
//! the manifest (`data`), so that a cold verification is one request; every file is also a blob, so
//! that any registry stores it. The form is documented in `docs/format/trust-artifact.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use oci::{Descriptor, Manifest, MediaType, Raw};

use crate::limits::{EMBEDDED_BYTES_MAX, EMBEDDED_TOTAL_BYTES_MAX, TARGETS_BYTES_MAX};
use crate::tuf::{Fetch, FetchError, MetadataFile, MetadataFiles, Request};
use crate::{Error, Result};

/// The one mutable name: the tag under which the newest artifact stands.
pub const POINTER_TAG: &str = "_trust";
/// The manifest's artifact type.
pub const ARTIFACT_TYPE: &str = "application/vnd.wherry.tuf.v1";
/// The media type of every layer.
pub const METADATA_MEDIA_TYPE: &str = "application/vnd.wherry.tuf.metadata.v1+json";
/// The layer annotation with the file's name.
pub const ANNOTATION_FILE: &str = "org.opencontainers.image.title";
/// The layer annotation with the role.
pub const ANNOTATION_ROLE: &str = "vnd.wherry.tuf.role";
/// The layer annotation with the version.
pub const ANNOTATION_VERSION: &str = "vnd.wherry.tuf.version";

/// A repository's metadata, ready to be pushed: blobs first, the manifest under [`POINTER_TAG`] last.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The pointer manifest.
    pub manifest: Raw<Manifest>,
    /// Every blob the manifest names, the empty config included.
    pub blobs: Vec<(Descriptor, Arc<[u8]>)>,
}

/// Packs metadata files. The same files always give the same bytes.
pub fn pack(files: &MetadataFiles) -> Result<Packed> {
    let mut parsed = Vec::new();
    for (name, bytes) in files {
        let file = MetadataFile::parse(name).ok_or_else(|| Error::ArtifactMalformed {
            detail: format!("{name:?} is not the name of a metadata file"),
        })?;
        parsed.push((file, name, bytes));
    }
    parsed.sort_by_key(|(file, name, _)| (rank(file), name.to_string()));
    let mut blobs: Vec<(Descriptor, Arc<[u8]>)> =
        vec![(Descriptor::empty(), Arc::from(b"{}".as_slice()))];
    let mut layers = Vec::new();
    let mut embedded = 0;
    for (file, name, bytes) in parsed {
        let media_type = MediaType::Other(METADATA_MEDIA_TYPE.into());
        let bare = Descriptor::of(media_type, bytes);
        let version = file.version.map(|version| version.to_string());
        let mut layer = bare
            .clone()
            .with_annotation(ANNOTATION_FILE, name)
            .with_annotation(ANNOTATION_ROLE, file.role.as_str());
        if let Some(version) = version {
            layer = layer.with_annotation(ANNOTATION_VERSION, &version);
        }
        if bytes.len() <= EMBEDDED_BYTES_MAX && embedded + bytes.len() <= EMBEDDED_TOTAL_BYTES_MAX {
            embedded += bytes.len();
            layer = layer.with_embedded(bytes);
        }
        layers.push(layer);
        if !blobs.iter().any(|(known, _)| known.digest() == bare.digest()) {
            blobs.push((bare, bytes.clone()));
        }
    }
    let manifest = Raw::encode(&Manifest::artifact(ARTIFACT_TYPE, layers))
        .map_err(|error| Error::ArtifactMalformed { detail: error.to_string() })?;
    Ok(Packed { manifest, blobs })
}

/// What every client needs first is embedded first; of the roots, the newest.
fn rank(file: &MetadataFile) -> (u8, u64) {
    let newest_first = u64::MAX - file.version.unwrap_or(0);
    match file.role.as_str() {
        "timestamp" => (0, 0),
        "snapshot" => (1, 0),
        "targets" => (2, 0),
        "targets/releases" => (3, 0),
        "root" => (4, newest_first),
        _ => (5, 0),
    }
}

/// A pointer manifest that was read.
#[derive(Clone, Debug)]
pub struct Artifact {
    manifest: Raw<Manifest>,
    files: BTreeMap<String, Descriptor>,
}

/// Where a metadata file of an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// The artifact has no such file.
    Absent,
    /// In a blob of this descriptor.
    Blob(Box<Descriptor>),
    /// In the manifest itself; length and digest match.
    Embedded(Vec<u8>),
}

impl Artifact {
    /// Reads a pointer manifest.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        let malformed = |detail: String| Error::ArtifactMalformed { detail };
        let manifest: Raw<Manifest> =
            Raw::parse(bytes).map_err(|error| malformed(error.to_string()))?;
        if manifest.artifact_type() != Some(ARTIFACT_TYPE) {
            return Err(malformed(format!(
                "its artifact type is {:?} and not {ARTIFACT_TYPE:?}",
                manifest.artifact_type().unwrap_or_default()
            )));
        }
        let mut files = BTreeMap::new();
        for layer in manifest.layers() {
            let name = layer.annotation(ANNOTATION_FILE).unwrap_or_default();
            if layer.media_type().as_str() != METADATA_MEDIA_TYPE
                || MetadataFile::parse(name).is_none()
            {
                return Err(malformed(format!("its layer {} is no metadata", layer.digest())));
            }
            if files.insert(name.to_owned(), layer.clone()).is_some() {
                return Err(malformed(format!("{name:?} is listed twice")));
            }
        }
        Ok(Self { manifest, files })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Raw<Manifest> {
        &self.manifest
    }

    /// The files by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Descriptor)> {
        self.files.iter().map(|(name, descriptor)| (name.as_str(), descriptor))
    }

    /// Where a file is.
    pub fn locate(&self, file: &str) -> Located {
        match self.files.get(file) {
            None => Located::Absent,
            Some(descriptor) => match descriptor.embedded() {
                Some(bytes) => Located::Embedded(bytes),
                None => Located::Blob(Box::new(descriptor.bare())),
            },
        }
    }

    /// All files, the ones that are not embedded through `blob`, which must verify what it reads.
    pub fn unpack(
        &self,
        blob: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, FetchError>,
    ) -> Result<MetadataFiles> {
        let mut files = MetadataFiles::new();
        for file in self.files.keys() {
            let request = Request { file: file.clone(), limit: TARGETS_BYTES_MAX };
            let bytes = ArtifactSource { artifact: self, blob }
                .fetch(&request)
                .map_err(|source| Error::Transport { file: file.clone(), source })?;
            if let Some(bytes) = bytes {
                files.insert(file.clone(), bytes.into());
            }
        }
        Ok(files)
    }
}

/// An artifact as a source of metadata files; blobs that are not embedded come through `blob`.
pub struct ArtifactSource<'a> {
    /// The pointer manifest.
    pub artifact: &'a Artifact,
    /// Reads one blob whole.
    pub blob: &'a mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, FetchError>,
}

impl Fetch for ArtifactSource<'_> {
    fn at_hand(&self, file: &str) -> bool {
        matches!(self.artifact.locate(file), Located::Embedded(_))
    }

    fn fetch(&mut self, request: &Request) -> Result<Option<Vec<u8>>, FetchError> {
        match self.artifact.locate(&request.file) {
            Located::Absent => Ok(None),
            Located::Embedded(bytes) => Ok(Some(bytes)),
            Located::Blob(descriptor) if descriptor.size() > request.limit => {
                let limit = request.limit;
                Err(Error::TooLarge { what: request.file.clone(), limit }.into())
            }
            Located::Blob(descriptor) => (self.blob)(&descriptor).map(Some),
        }
    }
}
