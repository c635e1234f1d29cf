//! Image archives: what `save` writes and `load` reads, and OCI layouts as directories.
//!
//! A saved archive is an OCI image layout and a docker-archive at once, as Docker 25 writes it:
//! the exact bytes of manifests, configs and layers, so every digest survives the way through
//! a file.

mod directory;
mod load;
mod save;

pub use directory::Directory;
use oci::Descriptor;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::names::Name;

/// What kind of archive is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveFormat {
    /// An OCI layout with the `manifest.json` of a docker-archive beside it.
    #[default]
    Docker,
    /// An OCI layout alone.
    Oci,
}

/// An image to be saved, under these names.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// Its names in the archive; none is fine.
    pub names: Vec<Name>,
}

/// An image that was loaded. It has no name yet: that is for whoever admits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// The names that the archive gives it, as they stand there.
    pub names: Vec<String>,
}

/// Reads and writes archives.
#[derive(Clone, Debug)]
pub struct Archives {
    store: Store,
}

impl Archives {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }
}

/// One entry of a docker-archive's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
struct DockerItem {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers", default)]
    layers: Vec<String>,
}

const OCI_LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// Where a blob is in a layout.
fn blob_path(digest: &oci::Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
