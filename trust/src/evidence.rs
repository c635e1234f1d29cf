//! What is known about an image, handed in by whoever fetched it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::Pin;
use crate::tuf::{Fetch, Freshness, TrustedState};

/// A signature or statement that was found attached to an image, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The layer's media type, which names the dialect.
    pub media_type: String,
    /// The layer's content.
    pub bytes: Arc<[u8]>,
    /// The layer's annotations: cosign keeps its signature there.
    pub annotations: BTreeMap<String, String>,
}

/// Everything that may prove something about one image.
pub struct Evidence<'a> {
    pub(crate) tuf: Option<&'a mut dyn Fetch>,
    pub(crate) states: BTreeMap<String, TrustedState>,
    pub(crate) freshness: Freshness,
    pub(crate) parents: Vec<Arc<[u8]>>,
    pub(crate) attached: Vec<Attached>,
}

impl<'a> Evidence<'a> {
    /// Nothing at all.
    pub fn none() -> Self {
        Self {
            tuf: None,
            states: BTreeMap::new(),
            freshness: Freshness::LocalOnly,
            parents: Vec::new(),
            attached: Vec::new(),
        }
    }

    /// TUF metadata that stand beside the image, usually an [`crate::artifact::ArtifactSource`].
    pub fn with_tuf(mut self, source: &'a mut dyn Fetch) -> Self {
        self.tuf = Some(source);
        self.freshness = Freshness::Fetch;
        self
    }

    /// What was trusted before under a pin; without it, rollback cannot be noticed.
    pub fn with_state(mut self, pin: &Pin, state: TrustedState) -> Self {
        self.states.insert(pin.id(), state);
        self
    }

    /// An index that contains the image, by its exact bytes: a signature on it covers its children.
    pub fn with_parent(mut self, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.parents.push(bytes.into());
        self
    }

    /// A signature or statement attached to the image.
    pub fn with_attached(mut self, attached: Attached) -> Self {
        self.attached.push(attached);
        self
    }
}
