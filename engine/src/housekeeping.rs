//! The store's upkeep: giving space back, with what the other rooms want kept.

use std::io::Read;

use builder::cache::CacheIndex;
use oci::{Descriptor, Source};
use registry_client::blocking::BlockingRepository;
use store::{Collected, Collection, Item, Name, Refetch, Report, Roots, Usage};

use crate::Engine;
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

/// The layers and blobs that the build cache wants to keep.
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
    let network = engine.network();
    let client = network.client()?.repository(repository);
    let source = BlockingRepository::new(client, network.runtime()?.handle().clone());
    Ok(source.open(wanted)?)
}
