//! Snapshots as overlay mounts: the layers are shared, the changes are one directory.

use std::path::Path;

use oci::Digest;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{
    Access, Changes, Mounts, SnapshotKey, SnapshotRecord, Snapshotter, copy, create, home, unsynced,
};
use crate::error::{Result, at};
use crate::layer::inode::Attributes;
use crate::layer::{LayerId, LayerRecord, Layers, record};

/// The overlay driver.
#[derive(Debug)]
pub struct Overlay {
    layers: Layers,
}

impl Overlay {
    pub(super) fn new(layers: Layers) -> Self {
        Self { layers }
    }

    /// Makes the snapshot's own folder the layer's: nothing is copied, and a crash at any point
    /// leaves a snapshot that can be committed again or the layer.
    fn promote(
        &self,
        key: &SnapshotKey,
        record: SnapshotRecord,
        id: &LayerId,
        diff_id: Option<&Digest>,
    ) -> Result<()> {
        let (disk, home) = (self.layers.disk(), home(&self.layers, key));
        let (upper, fs) = (home.join("upper"), home.join("fs"));
        disk.rename_if_there(&upper, &fs)?;
        let done = || {
            let bytes = copy::bytes_in(&fs).map_err(at("read", &fs))?;
            let (parent, diff_id) = (record.parent, diff_id.cloned());
            let boot = unsynced(&self.layers, &home)?;
            let layer = LayerRecord { parent, diff_id, same_as: None, bytes, boot };
            record::write_lazily(disk, &home.join("layer.json"), &layer)?;
            self.layers.rename_in(&home, id)
        };
        if let Err(error) = done() {
            // The first error is the one to report; `changes` finds the folder in any case.
            let _ = disk.rename_if_there(&fs, &upper);
            return Err(error);
        }
        // What only a snapshot needs is in nobody's way if it stays.
        let layer = self.layers.layout().layer(id);
        let _ = disk.remove_tree_if_there(&layer.join("work"));
        let _ = disk.remove_file_if_there(&layer.join("snapshot.json"));
        Ok(())
    }

    /// In a merged tree the upper directory decides how the root looks.
    fn fill(&self, fresh: &Path, parent: Option<&LayerId>) -> Result<()> {
        for name in ["upper", "work"] {
            self.layers.disk().create_dir(&fresh.join(name))?;
        }
        let upper = fresh.join("upper");
        let stack = self.layers.stack(parent)?;
        let Some(root) = stack.root().map_err(at("read", &upper))? else { return Ok(()) };
        let copy = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = openat(CWD, &upper, flags, Mode::empty())?;
            let attributes = Attributes::of(root.path(), root.stat())?;
            attributes.apply(&dir)?;
            attributes.apply_time(&dir)
        };
        copy().map_err(at("set attributes of", &upper))
    }
}

impl Snapshotter for Overlay {
    fn name(&self) -> &'static str {
        "overlay2"
    }

    fn layers(&self) -> &Layers {
        &self.layers
    }

    fn create(
        &self,
        key: &SnapshotKey,
        parent: Option<&LayerId>,
        access: Access,
    ) -> Result<Mounts> {
        let record = SnapshotRecord {
            driver: self.name().to_owned(),
            parent: parent.map(|id| id.digest().clone()),
            access,
        };
        create(&self.layers, key, &record, |fresh| self.fill(fresh, parent))?;
        self.mounts(key)
    }

    fn mounts(&self, key: &SnapshotKey) -> Result<Mounts> {
        let record = self.record(key)?;
        let home = home(&self.layers, key);
        let stack = self.layers.stack(record.parent.map(LayerId::from).as_ref())?;
        let mut lower = stack.layers().to_vec();
        let upper = match record.access {
            Access::Writable => Some((home.join("upper"), home.join("work"))),
            Access::View => None,
        };
        // Overlay wants one folder below an upper one, and two where there is none.
        let least = if upper.is_some() { 1 } else { 2 };
        if lower.is_empty() && upper.is_none() {
            return Ok(Mounts::Bind { source: self.layers.empty()?, access: Access::View });
        }
        if lower.len() < least {
            lower.push(self.layers.empty()?);
        }
        Ok(Mounts::Overlay { lower, upper })
    }

    fn changes(&self, key: &SnapshotKey) -> Result<Changes> {
        self.record(key)?;
        let home = home(&self.layers, key);
        let (upper, fs) = (home.join("upper"), home.join("fs"));
        // A commit that a crash interrupted has renamed it already.
        let folder = if upper.is_dir() { upper } else { fs };
        Ok(Changes { folder, _staging: None })
    }

    fn commit(&self, key: &SnapshotKey, id: &LayerId, diff_id: Option<&Digest>) -> Result<()> {
        let record = self.record(key)?;
        if self.layers.get(id)?.is_none() {
            self.promote(key, record, id, diff_id)?;
        }
        self.remove(key)
    }
}
