//! Layers: tar in, tar out, and the folders between.

use std::fmt;

use oci::{ChainId, Digest};

/// The id of an unpacked layer: an image's chain id up to it, or whatever digest a builder
/// keys its steps by.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(Digest);

impl LayerId {
    /// The digest that is this id.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl From<Digest> for LayerId {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl From<&ChainId> for LayerId {
    fn from(chain: &ChainId) -> Self {
        Self(chain.digest().clone())
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
