//! Volumes: folders with a life of their own, under `volumes/<name>/`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{Error, Result, at};
use crate::layer::{LayerId, Layers, record};
use crate::layout::Layout;
use crate::snapshot::materialize_at;

/// The name of a volume: two or more of `[a-zA-Z0-9][a-zA-Z0-9_.-]`, as Docker's, or one letter
/// or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

impl VolumeName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        match first && text.len() <= 255 && text.chars().all(legal) {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::InvalidName {
                text: text.chars().take(80).collect(),
                reason: "a volume name has letters, digits, `_`, `.` and `-`, and begins with a letter or digit",
            }),
        }
    }
}

impl TryFrom<String> for VolumeName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<VolumeName> for String {
    fn from(name: VolumeName) -> Self {
        name.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept of a volume beside its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its name.
    pub name: VolumeName,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Options of the `local` driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Whether a container made it for itself, without a name from the user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What is kept of it.
    pub record: VolumeRecord,
    /// The folder with its content.
    pub mountpoint: PathBuf,
}

/// The volumes of a store.
#[derive(Clone, Debug)]
pub struct Volumes {
    layers: Layers,
}

impl Volumes {
    pub(crate) fn new(layers: Layers) -> Self {
        Self { layers }
    }

    /// Makes a volume. Where there is one of that name, it stays as it is.
    pub fn create(&self, record: &VolumeRecord) -> Result<Volume> {
        if let Some(existing) = self.get(&record.name)? {
            return Ok(existing);
        }
        let home = self.home(&record.name);
        self.disk().create_dir_all(&home.join("_data"))?;
        // The record comes last: a folder without one is a volume that was never made.
        record::write(self.disk(), &home.join("volume.json"), record)?;
        Ok(Volume { record: record.clone(), mountpoint: home.join("_data") })
    }

    /// A volume by its name.
    pub fn get(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let home = self.home(name);
        let record = record::read::<VolumeRecord>(&home.join("volume.json"))?;
        Ok(record.map(|record| Volume { record, mountpoint: home.join("_data") }))
    }

    /// All volumes, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let dir = self.folder();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &dir, error)),
        };
        let mut volumes = Vec::new();
        for entry in entries {
            let name = entry.map_err(at("list", &dir))?.file_name();
            let name = name.to_str().and_then(|name| name.parse::<VolumeName>().ok());
            if let Some(name) = name
                && let Some(volume) = self.get(&name)?
            {
                volumes.push(volume);
            }
        }
        volumes.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        Ok(volumes)
    }

    /// Removes a volume with its content; whether there was one.
    pub fn remove(&self, name: &VolumeName) -> Result<bool> {
        let home = self.home(name);
        // Renamed away first: a crash in the middle leaves no half volume under its name.
        let staging = self.layers.staging()?;
        self.disk().rename_if_there(&home, &staging.path().join("removed"))
    }

    /// Fills an empty volume with what an image has at `path` (Docker's copy-up). One that has
    /// content stays as it is.
    pub fn fill(&self, volume: &Volume, top: Option<&LayerId>, path: &str) -> Result<()> {
        let target = &volume.mountpoint;
        let mut entries = std::fs::read_dir(target).map_err(at("list", target))?;
        if entries.next().is_some() {
            return Ok(());
        }
        let stack = self.layers.stack(top)?;
        materialize_at(&stack, path, target).map_err(at("fill volume", target))
    }

    /// Bytes of all files of a volume.
    pub fn bytes(&self, volume: &Volume) -> Result<u64> {
        crate::snapshot::bytes_in(&volume.mountpoint).map_err(at("read", &volume.mountpoint))
    }

    fn folder(&self) -> PathBuf {
        self.layout().root().join("volumes")
    }

    fn home(&self, name: &VolumeName) -> PathBuf {
        self.folder().join(name.as_str())
    }

    fn layout(&self) -> &Layout {
        self.layers.layout()
    }

    fn disk(&self) -> &Disk {
        self.layers.disk()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn record(name: &str) -> VolumeRecord {
        VolumeRecord {
            name: name.parse().expect("valid"),
            created: "2026-01-01T00:00:00Z".to_owned(),
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            anonymous: false,
        }
    }

    #[test]
    fn a_volume_keeps_its_content_until_it_is_removed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let volumes = Store::open(dir.path()).expect("open").volumes();
        let volume = volumes.create(&record("data")).expect("create");
        std::fs::write(volume.mountpoint.join("file"), "text").expect("write");
        assert_eq!(volumes.create(&record("data")).expect("again"), volume);
        assert_eq!(volumes.list().expect("list"), vec![volume.clone()]);
        assert!(volume.mountpoint.join("file").exists());
        assert!(volumes.remove(&volume.record.name).expect("remove"));
        assert!(!volumes.remove(&volume.record.name).expect("remove again"));
        assert!(volumes.list().expect("list").is_empty());
    }

    #[test]
    fn refuses_names_that_could_be_paths() {
        for name in ["", ".", "..", "a/b", "-a", "_a", "a b", "ü"] {
            assert!(name.parse::<VolumeName>().is_err(), "accepted {name:?}");
        }
    }
}
