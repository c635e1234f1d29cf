//! The collector: takes what nothing names, holds or has lately relied on, and cannot take
//! anything else. `docs/format/store.md` has the protocol; `collector.rs` is its code.

mod area;
mod collector;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use oci::Digest;

use crate::Store;
use crate::error::{Result, at};
use crate::layer::LayerId;
use crate::lease::Item;
use crate::lock::Lock;
use crate::staging;
use area::{Known, StoreArea};
use collector::Collector;

/// What is alive beside names, leases and snapshots: the images of stopped containers, the
/// layers that a build cache wants to keep.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// Blobs; a manifest keeps what it names.
    pub blobs: Vec<Digest>,
    /// Unpacked layers; each keeps those below it.
    pub layers: Vec<LayerId>,
}

/// What a collection may take.
pub struct Collection<'a> {
    /// Blobs that somebody came to rely on at or after this time stay. A registry gives its
    /// clients hours; a local store, whose users hold leases, needs none.
    pub stamped_since: Option<SystemTime>,
    /// Partial downloads last written at or after this time stay; all stay where it is `None`.
    pub partials_since: Option<SystemTime>,
    /// Asked in the middle of marking, after the leases and before the names were read: an
    /// answer made earlier could miss what has moved from a lease into it.
    pub roots: &'a dyn Fn() -> Result<Roots>,
}

impl std::fmt::Debug for Collection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection").field("stamped_since", &self.stamped_since).finish()
    }
}

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// What was removed for good.
    pub removed: Vec<Item>,
    /// How many bytes that freed.
    pub bytes: u64,
    /// What was condemned: it goes in the next cycle unless somebody comes for it.
    pub condemned: u64,
    /// What had been condemned and is alive again.
    pub revived: u64,
    /// Leftovers of crashed processes that were removed.
    pub leftovers: u64,
}

impl Store {
    /// One cycle: removes what an earlier cycle condemned and nobody came for; condemns what
    /// is dead now. Runs while others read and write. Waits for a cycle of another process.
    pub fn collect(&self, what: &Collection<'_>) -> Result<Collected> {
        self.cycle(what, &Known::default())
    }

    fn cycle(&self, what: &Collection<'_>, known: &Known) -> Result<Collected> {
        let lock_path = self.layout().lock("collector");
        let _lock = Lock::exclusive(self.disk(), &lock_path)?;
        self.layers().settle_store()?;
        let area = StoreArea::open(self, what, known)?;
        let mut collector = Collector::new(&area);
        while !collector.step()? {}
        let mut collected = collector.finish();
        collected.leftovers = self.sweep_leftovers(what.partials_since)?;
        if collected.removed.iter().any(|item| matches!(item, Item::Blob(_))) {
            self.sweep_records()?;
        }
        Ok(collected)
    }

    /// Two cycles, so that what is dead now is gone afterwards.
    pub fn prune(&self, what: &Collection<'_>) -> Result<Collected> {
        let known = Known::default();
        let first = self.cycle(what, &known)?;
        let mut second = self.cycle(what, &known)?;
        second.removed.splice(0..0, first.removed);
        second.bytes += first.bytes;
        second.revived += first.revived;
        second.leftovers += first.leftovers;
        Ok(second)
    }

    /// What crashed processes left: staging folders, unfinished blobs, old partial downloads.
    fn sweep_leftovers(&self, partials_since: Option<SystemTime>) -> Result<u64> {
        let mut removed = staging::sweep(&self.layout().staging(), self.disk(), &|_| true)?;
        let old = |path: &std::path::Path| {
            let partial = path.extension().is_some_and(|extension| extension == "part");
            let written = || std::fs::metadata(path).and_then(|meta| meta.modified());
            !partial || partials_since.is_some_and(|since| written().is_ok_and(|at| at < since))
        };
        removed += staging::sweep(&self.layout().ingest(), self.disk(), &old)?;
        for dir in [self.root(), self.root().join("records")] {
            removed += staging::sweep(&dir, self.disk(), &staging::is_replacement)?;
        }
        Ok(removed)
    }

    /// A record of a layer's content goes when no blob with that content is left.
    fn sweep_records(&self) -> Result<()> {
        let dir = self.layout().root().join("records");
        for entry in std::fs::read_dir(&dir).map_err(at("list", &dir))? {
            let path = entry.map_err(at("list", &dir))?.path();
            let record: Option<crate::DiffRecord> =
                crate::layer::record::read(&path).unwrap_or_default();
            let mut kept = false;
            for blob in record.iter().flat_map(|record| &record.blobs) {
                kept |= self.content().path(blob.digest()).exists();
            }
            if !kept {
                self.disk().remove_file_if_there(&path)?;
            }
        }
        Ok(())
    }
}
