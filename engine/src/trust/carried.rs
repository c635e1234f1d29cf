//! What an archive carries beside its images: signatures, statements and trust data.
//!
//! They prove an image on a machine that cannot ask its registry, as far as they are signed by who the policy names.

use oci::{Descriptor, Digest, Manifest, Raw};
use store::{Loaded, Store};
use trust::Attached;
use trust::artifact::{ARTIFACT_TYPE, Artifact};

use super::attached::{LAYER_BYTES_MAX, LAYERS_MAX, is_evidence};

/// Everything of one archive that may prove something.
pub(crate) struct Carried {
    /// Signatures and statements, of all its images.
    attached: Vec<Attached>,
    /// The trust data, where exactly one repository's are there.
    pointers: Vec<Artifact>,
    /// The manifests that carry these: they are no images and get no names.
    carriers: Vec<Digest>,
}

impl Carried {
    /// Looks through what was loaded. What cannot be read proves nothing.
    pub(crate) fn of(store: &Store, loaded: &[Loaded]) -> Self {
        let mut carried = Self { attached: Vec::new(), pointers: Vec::new(), carriers: Vec::new() };
        for entry in loaded {
            let Ok(manifest) = store.content().document::<Manifest>(entry.descriptor.digest())
            else {
                continue;
            };
            carried.take(store, &manifest);
        }
        carried
    }

    fn take(&mut self, store: &Store, manifest: &Raw<Manifest>) {
        if manifest.artifact_type() == Some(ARTIFACT_TYPE) {
            self.pointers.extend(Artifact::parse(manifest.bytes().clone()));
            self.carriers.push(manifest.digest());
            return;
        }
        let layers = manifest.layers();
        if layers.is_empty() || !layers.iter().all(is_evidence) {
            return;
        }
        self.carriers.push(manifest.digest());
        for layer in layers {
            if self.attached.len() >= LAYERS_MAX || layer.size() > LAYER_BYTES_MAX {
                tracing::warn!("{} is not looked at: too many or too large", layer.digest());
                continue;
            }
            let Ok(bytes) = store.content().small(layer.digest(), LAYER_BYTES_MAX) else {
                continue;
            };
            self.attached.push(Attached {
                media_type: layer.media_type().as_str().to_owned(),
                bytes: bytes.into(),
                annotations: layer.annotations().clone(),
            });
        }
    }

    /// Whether an entry of the archive is evidence and no image.
    pub(crate) fn is_carrier(&self, descriptor: &Descriptor) -> bool {
        self.carriers.contains(descriptor.digest())
    }

    /// Signatures and statements. Each says itself which image it is about, and is believed about no other.
    pub(crate) fn attached(&self) -> impl Iterator<Item = Attached> {
        self.attached.iter().cloned()
    }

    /// The trust data. Those of several repositories cannot be told apart, and are not used.
    pub(crate) fn pointer(&self) -> Option<&Artifact> {
        match self.pointers.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}
