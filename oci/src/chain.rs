//! Chain ids: the identity of a stack of layers.

use std::fmt;

use crate::digest::Digest;

/// The identity of layers applied in order (image-spec config.md, "Layer ChainID").
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(Digest);

impl ChainId {
    /// The chain of one layer.
    pub fn bottom(diff_id: &Digest) -> Self {
        Self(diff_id.clone())
    }

    /// This chain with one more layer on top:
    /// `ChainID(A, B) = SHA256(ChainID(A) + " " + DiffID(B))`.
    pub fn push(&self, diff_id: &Digest) -> Self {
        Self(Digest::sha256(format!("{} {diff_id}", self.0).as_bytes()))
    }

    /// The chain of all these layers, base first; `None` for no layer.
    pub fn of(diff_ids: &[Digest]) -> Option<Self> {
        chain_ids(diff_ids).pop()
    }

    /// The digest that is this id.
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    /// Reads back an id that [`ChainId::digest`] gave.
    pub fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The chain id after each layer, base first.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<ChainId> {
    let mut chain: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            Some(below) => below.push(diff_id),
            None => ChainId::bottom(diff_id),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: DST-49
    #[test]
    fn a_chain_hashes_the_chain_below_and_the_layer() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain[0].digest(), &a);
        assert_eq!(chain[1].digest(), &Digest::sha256(format!("{a} {b}").as_bytes()));
        assert_eq!(ChainId::of(&[]), None);
    }
}
