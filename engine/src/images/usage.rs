//! How much of each image's size it shares with others.

use std::collections::{BTreeMap, HashMap};

use oci::{ChainId, Digest};
use store::{LayerBlob, Store};

use super::find;
use super::list::{self, Summary};
use super::remove::User;
use crate::error::Result;

/// One row of `system df -v`.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// The row of `images`.
    pub summary: Summary,
    /// Bytes of those layers that another image has too.
    pub shared_bytes: u64,
    /// How many containers use the image.
    pub containers: usize,
}

impl ImageUsage {
    /// Bytes that only this image has.
    pub fn unique_bytes(&self) -> u64 {
        self.summary.size_bytes.saturating_sub(self.shared_bytes)
    }
}

/// Every image once per name, newest first.
pub(crate) fn usage(store: &Store, users: &[User]) -> Result<Vec<ImageUsage>> {
    let entries = list::entries(store)?;
    let mut stacks: BTreeMap<&Digest, Vec<(ChainId, LayerBlob)>> = BTreeMap::new();
    for (entry, row) in &entries {
        if !stacks.contains_key(&row.id) {
            // What is here in part has no layers that could be shared.
            let image = find::open(store, &entry.descriptor, None).ok();
            let stack = image.map(|i| i.config().chain_ids().into_iter().zip(i.layers()).collect());
            stacks.insert(&row.id, stack.unwrap_or_default());
        }
    }
    let mut owners: HashMap<&ChainId, usize> = HashMap::new();
    for (chain, _) in stacks.values().flatten() {
        *owners.entry(chain).or_default() += 1;
    }
    let images = store.images();
    let mut rows = Vec::with_capacity(entries.len());
    for (_, row) in &entries {
        let stack = stacks.get(&row.id).into_iter().flatten();
        let shared = stack.filter(|(chain, _)| owners.get(chain).is_some_and(|count| *count > 1));
        let sizes = shared.map(|(_, layer)| images.layer_bytes(layer));
        rows.push(ImageUsage {
            shared_bytes: sizes.sum::<store::Result<u64>>()?,
            containers: users.iter().filter(|user| user.image == row.id).count(),
            summary: row.clone(),
        });
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.summary.created));
    Ok(rows)
}
