//! What is recorded of layers: one file beside each unpacked layer, one per content.

use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use oci::{Descriptor, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{Error, Result, at};
use crate::limits::RECORD_BYTES_MAX;

/// `layer.json`: an unpacked layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The layer below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// The uncompressed content's digest, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<Digest>,
    /// The layer whose folder this one uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<Digest>,
    /// Bytes of all regular files.
    #[serde(default)]
    pub bytes: u64,
    /// The boot in which the layer was made without syncing the disk: after another boot it
    /// may be anything, and counts as nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

impl LayerRecord {
    /// Whether the machine was restarted before the layer was safely on disk.
    pub(crate) fn is_stale(&self) -> bool {
        self.boot.is_some() && self.boot.as_deref() != this_boot()
    }
}

/// The id of this boot; `None` where the system does not say.
pub(crate) fn this_boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    BOOT.get_or_init(read).as_deref()
}

/// What is known of a layer's content by its diff id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffRecord {
    /// Bytes of all regular files: what Docker shows as the layer's size.
    #[serde(default)]
    pub bytes: u64,
    /// The blobs known to hold it.
    #[serde(default)]
    pub blobs: Vec<Descriptor>,
}

/// Reads a record. An empty one never reached the disk before a power cut: there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES_MAX).read_to_end(&mut bytes).map_err(at("read", path))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::Record { path: path.to_path_buf(), reason: error.to_string() })
}

pub(crate) fn write<T: Serialize>(disk: &Disk, path: &Path, record: &T) -> Result<()> {
    disk.replace(path, &encode(path, record)?)
}

/// Writes a record that may be lost in a power cut.
pub(crate) fn write_lazily<T: Serialize>(disk: &Disk, path: &Path, record: &T) -> Result<()> {
    disk.replace_lazily(path, &encode(path, record)?)
}

/// Writes a record into a folder that is not visible yet and synced as a whole later.
pub(crate) fn write_staged<T: Serialize>(disk: &Disk, path: &Path, record: &T) -> Result<()> {
    let mut file = disk.create_new(path)?;
    disk.write_all(&mut file, path, &encode(path, record)?)
}

fn encode<T: Serialize>(path: &Path, record: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(record)
        .map_err(|error| Error::Record { path: path.to_path_buf(), reason: error.to_string() })
}
