//! Snapshots: a writable tree above a stack of layers, or a read-only view of one.

mod copy;
mod mount;
mod native;
mod overlay;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci::Digest;
use serde::{Deserialize, Serialize};

pub(crate) use copy::{bytes_in, materialize_at};
pub use mount::{Mounts, Persistence, unmount};
pub use native::Native;
pub use overlay::Overlay;

use crate::error::{Error, Result, at};
use crate::layer::record;
use crate::layer::{Diff, DiffOptions, LayerId, LayerRecord, Layers};
use crate::staging::Staging;

/// The name of a snapshot: a container's id, a build step's number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotKey(Box<str>);

impl SnapshotKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let refuse =
            |reason| Err(Error::InvalidName { text: text.chars().take(80).collect(), reason });
        match text {
            "" => refuse("it is empty"),
            long if long.len() > 128 => refuse("it is too long"),
            odd if !odd.chars().all(plain) || odd.starts_with('.') => {
                refuse("a snapshot key has letters, digits, `-`, `_` and `.`")
            }
            _ => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a snapshot can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// It cannot.
    View,
    /// It can.
    Writable,
}

/// `snapshot.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Whose it is.
    pub driver: String,
    /// The topmost layer below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// Whether it can be changed.
    pub access: Access,
}

/// The changes of a snapshot as a folder in overlay form, for as long as this lives.
#[derive(Debug)]
pub struct Changes {
    folder: PathBuf,
    _staging: Option<Staging>,
}

impl Changes {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A way to make trees out of layers. Every implementation passes the same suite.
pub trait Snapshotter: fmt::Debug + Send + Sync {
    /// The driver's name, as Docker has it.
    fn name(&self) -> &'static str;

    /// The layers that this works on.
    fn layers(&self) -> &Layers;

    /// Makes a snapshot above a stack of layers.
    fn create(&self, key: &SnapshotKey, parent: Option<&LayerId>, access: Access)
    -> Result<Mounts>;

    /// How an existing snapshot is mounted.
    fn mounts(&self, key: &SnapshotKey) -> Result<Mounts>;

    /// What a snapshot changed, in overlay form.
    fn changes(&self, key: &SnapshotKey) -> Result<Changes>;

    /// Turns the changes into a layer, which must not be mounted any more; the snapshot is gone
    /// afterwards. Where a layer of that id exists, that one stays.
    fn commit(&self, key: &SnapshotKey, id: &LayerId, diff_id: Option<&Digest>) -> Result<()>;

    /// Makes a writable snapshot.
    fn prepare(&self, key: &SnapshotKey, parent: Option<&LayerId>) -> Result<Mounts> {
        self.create(key, parent, Access::Writable)
    }

    /// Makes a read-only snapshot.
    fn view(&self, key: &SnapshotKey, parent: Option<&LayerId>) -> Result<Mounts> {
        self.create(key, parent, Access::View)
    }

    /// What is recorded of a snapshot.
    fn record(&self, key: &SnapshotKey) -> Result<SnapshotRecord> {
        let path = home(self.layers(), key).join("snapshot.json");
        record::read(&path)?.ok_or_else(|| Error::NoSuchSnapshot { key: key.to_string() })
    }

    /// Writes the changes as a layer blob.
    fn diff(&self, key: &SnapshotKey, options: &DiffOptions) -> Result<Diff> {
        let parent = self.record(key)?.parent.map(LayerId::from);
        let changes = self.changes(key)?;
        self.layers().diff_folder(changes.folder(), parent.as_ref(), options)
    }

    /// Removes a snapshot, which must not be mounted any more; none is fine.
    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        // Renamed away first: a crash in the middle leaves no half snapshot under its name.
        let staging = self.layers().staging()?;
        let disk = self.layers().disk();
        disk.rename_if_there(&home(self.layers(), key), &staging.path().join("removed"))?;
        Ok(())
    }

    /// Every snapshot.
    fn list(&self) -> Result<Vec<SnapshotKey>> {
        keys(self.layers())
    }
}

pub(crate) fn keys(layers: &Layers) -> Result<Vec<SnapshotKey>> {
    let dir = layers.layout().snapshots();
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(at("list", &dir))? {
        let name = entry.map_err(at("list", &dir))?.file_name();
        keys.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    keys.sort();
    Ok(keys)
}

/// The layers that snapshots stand on.
pub(crate) fn parents(layers: &Layers) -> Result<Vec<LayerId>> {
    let mut parents = Vec::new();
    for key in keys(layers)? {
        let path = home(layers, &key).join("snapshot.json");
        // One removed meanwhile stands on nothing.
        let record: Option<SnapshotRecord> = record::read(&path)?;
        parents.extend(record.and_then(|record| record.parent).map(LayerId::from));
    }
    Ok(parents)
}

fn home(layers: &Layers, key: &SnapshotKey) -> PathBuf {
    layers.layout().snapshots().join(key.as_str())
}

/// Makes a snapshot's folder: built aside, then renamed.
fn create(
    layers: &Layers,
    key: &SnapshotKey,
    record: &SnapshotRecord,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let home = home(layers, key);
    let exists = || Error::SnapshotExists { key: key.to_string() };
    if home.try_exists().map_err(at("read", &home))? {
        return Err(exists());
    }
    layers.rely(record.parent.clone().map(LayerId::from).as_ref())?;
    let staging = layers.staging()?;
    let fresh = staging.path().join("snapshot");
    layers.disk().create_dir(&fresh)?;
    fill(&fresh)?;
    record::write_staged(layers.disk(), &fresh.join("snapshot.json"), record)?;
    layers.disk().rename(&fresh, &home).map_err(|error| match error {
        Error::Io { source, .. }
            if matches!(
                source.kind(),
                std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists
            ) =>
        {
            exists()
        }
        other => other,
    })
}

/// Publishes a folder of changes as a layer.
fn publish(
    layers: &Layers,
    folder: &Path,
    parent: Option<Digest>,
    id: &LayerId,
    diff_id: Option<&Digest>,
) -> Result<()> {
    let staging = layers.staging()?;
    let fresh = staging.path().join("layer");
    layers.disk().create_dir(&fresh)?;
    let bytes = copy::bytes_in(folder).map_err(at("read", folder))?;
    let fs = fresh.join("fs");
    layers.disk().rename(folder, &fs)?;
    let boot = unsynced(layers, &fs)?;
    let record = LayerRecord { parent, diff_id: diff_id.cloned(), same_as: None, bytes, boot };
    layers.publish(&fresh, id, &record)
}

/// A step of a build is committed every second or so, and syncing the disk each time would cost
/// more than the step: its layer is marked with this boot instead, and does not count after
/// another one. A system without a boot id is synced.
fn unsynced(layers: &Layers, folder: &Path) -> Result<Option<String>> {
    match record::this_boot() {
        Some(boot) => Ok(Some(boot.to_owned())),
        None => layers.disk().sync_fs(folder).map(|()| None),
    }
}

/// The drivers, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Overlay where the system has it, else copies.
    Detect,
    /// Plain copies, for file systems without overlay.
    Native,
    /// Overlay mounts.
    Overlay,
}

/// Makes a driver.
pub(crate) fn open(driver: Driver, layers: Layers) -> Box<dyn Snapshotter> {
    match driver {
        Driver::Overlay => Box::new(Overlay::new(layers)),
        Driver::Native => Box::new(Native::new(layers)),
        Driver::Detect if mount::has_overlay() => Box::new(Overlay::new(layers)),
        Driver::Detect => Box::new(Native::new(layers)),
    }
}
