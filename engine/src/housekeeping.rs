//! The store's upkeep: giving space back, with what the other rooms want kept.

use builder::cache::CacheIndex;
use store::{Collected, Collection, Item, Roots};

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
    let damaged = |error: builder::Error| store::Error::Record {
        path: engine.store().root().join("buildcache"),
        reason: error.to_string(),
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
