//! Snapshots as plain copies, for file systems without overlay: slow and large, the same
//! contract.

use std::path::Path;

use oci::Digest;

use super::{
    Access, Changes, Mounts, SnapshotKey, SnapshotRecord, Snapshotter, copy, create, home, publish,
};
use crate::error::{Result, at};
use crate::layer::{LayerId, Layers};

/// The copying driver.
#[derive(Debug)]
pub struct Native {
    layers: Layers,
}

impl Native {
    pub(super) fn new(layers: Layers) -> Self {
        Self { layers }
    }

    fn fill(&self, fresh: &Path, parent: Option<&LayerId>) -> Result<()> {
        let tree = fresh.join("fs");
        self.layers.disk().create_dir(&tree)?;
        let stack = self.layers.stack(parent)?;
        copy::materialize(&stack, &tree).map_err(at("copy layers to", &tree))
    }
}

impl Snapshotter for Native {
    fn name(&self) -> &'static str {
        "vfs"
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
        let access = self.record(key)?.access;
        Ok(Mounts::Bind { source: home(&self.layers, key).join("fs"), access })
    }

    fn changes(&self, key: &SnapshotKey) -> Result<Changes> {
        let parent = self.record(key)?.parent.map(LayerId::from);
        let stack = self.layers.stack(parent.as_ref())?;
        let staging = self.layers.staging()?;
        let folder = staging.path().join("changes");
        self.layers.disk().create_dir(&folder)?;
        let tree = home(&self.layers, key).join("fs");
        copy::changes(&tree, &stack, &folder).map_err(at("compare", &tree))?;
        Ok(Changes { folder, _staging: Some(staging) })
    }

    fn commit(&self, key: &SnapshotKey, id: &LayerId, diff_id: Option<&Digest>) -> Result<()> {
        let record = self.record(key)?;
        if self.layers.get(id)?.is_none() {
            let changes = self.changes(key)?;
            publish(&self.layers, changes.folder(), record.parent, id, diff_id)?;
        }
        self.remove(key)
    }
}
