//! The store's upkeep: giving space back, with what the other rooms want kept.

use std::io::Read;
use std::str::FromStr;

use builder::cache::{CacheIndex, Entry, PruneOptions};
use oci::{Descriptor, Source};
use registry_client::blocking::BlockingRepository;
use store::{Collected, Collection, Item, Name, Refetch, Report, Roots, SnapshotKey, Usage};

use crate::Engine;
use crate::builds::attest::Kept;
use crate::error::Result;

impl Engine {
    /// Removes for good what nothing names, holds or wants to keep.
    pub fn collect_garbage(&self) -> Result<Collected> {
        let roots = || build_cache_roots(self);
        Ok(self.store().prune(&Collection {
            // Local users hold leases; nobody relies on a blob by having seen it.
            stamped_since: None,
            partials_since: None,
            roots: &roots,
        })?)
    }
}

impl Engine {
    /// What the build cache holds.
    pub fn build_cache(&self) -> Result<Vec<Entry>> {
        Ok(self.cache_index()?.list()?)
    }

    /// Forgets records of the build cache and collects; the bytes that came free.
    pub fn prune_build_cache(&self, options: &PruneOptions) -> Result<u64> {
        self.cache_index()?.prune(options)?;
        Ok(self.collect_garbage()?.bytes)
    }

    fn cache_index(&self) -> Result<CacheIndex> {
        Ok(CacheIndex::open(&self.store().root())?)
    }
}

/// The layers and blobs that the build cache wants to keep, and what is said of images beside them.
fn build_cache_roots(engine: &Engine) -> store::Result<Roots> {
    let damaged = |error: builder::Error| match error {
        builder::Error::Cache { act, path, source } => store::Error::Io { act, path, source },
        error => store::Error::Record {
            path: engine.store().root().join("buildcache"),
            reason: error.to_string(),
        },
    };
    let items = CacheIndex::open(&engine.store().root()).and_then(|cache| cache.roots());
    let mut roots = Roots::default();
    for item in items.map_err(damaged)? {
        match item {
            Item::Blob(digest) => roots.blobs.push(digest),
            Item::Layer(id) => roots.layers.push(id),
        }
    }
    let kept = Kept::new(engine.store()).roots();
    roots.blobs.extend(kept.map_err(|error| store::Error::Record {
        path: engine.store().root().join("attestations"),
        reason: error.to_string(),
    })?);
    Ok(roots)
}

/// What a check may do about what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Only say it.
    No,
    /// Fetch what is damaged or missing again from the registry that its names name.
    Yes,
}

impl Engine {
    /// Reads every blob and names what is damaged, missing or unreferenced.
    pub fn check_store(&self, repair: Repair) -> Result<Report> {
        let refetch = |wanted: &Descriptor, names: &[Name]| refetch(self, wanted, names);
        let refetch: &Refetch<'_> = &refetch;
        let kept = build_cache_roots(self)?;
        Ok(self.store().check_keeping(&kept, (repair == Repair::Yes).then_some(refetch))?)
    }

    /// Bytes of what a container has changed.
    pub fn container_bytes(&self, id: &str) -> Result<u64> {
        Ok(self.store().snapshot_bytes(&SnapshotKey::from_str(id)?)?)
    }

    /// How much the store holds.
    pub fn store_usage(&self) -> Result<Usage> {
        Ok(self.store().usage()?)
    }
}

/// The content from the first registry of its names that has it.
fn refetch(
    engine: &Engine,
    wanted: &Descriptor,
    names: &[Name],
) -> store::Result<Option<Box<dyn Read + Send>>> {
    for name in names {
        let Some(reference) = name.reference() else { continue };
        match open(engine, reference.repository(), wanted) {
            Ok(content) => return Ok(Some(content)),
            Err(error) => {
                tracing::warn!("fetch {} again from {reference}: {error}", wanted.digest())
            }
        }
    }
    Ok(None)
}

fn open(
    engine: &Engine,
    repository: &oci::Repository,
    wanted: &Descriptor,
) -> Result<Box<dyn Read + Send>> {
    let transport = engine.transport();
    let client = transport.client()?.repository(repository);
    let source = BlockingRepository::new(client, transport.runtime()?.handle().clone());
    Ok(source.open(wanted)?)
}
