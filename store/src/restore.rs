//! Names again after their file was damaged: what can be told from the blobs alone.

use std::collections::{BTreeMap, BTreeSet};

use oci::limits::MANIFEST_BYTES_MAX;
use oci::{Algorithm, Descriptor, Digest, ManifestOrIndex, Raw};

use crate::Store;
use crate::content::digests_in;
use crate::error::{Error, Result};

impl Store {
    /// Puts a readable `index.json` in the place of a damaged one.
    pub(crate) fn restore_names(&self) -> Result<()> {
        self.names().restore(|| self.whole_images())
    }

    /// Every complete image that no other document names. Artifacts beside images stay out: nobody
    /// would look for them without a name.
    fn whole_images(&self) -> Result<Vec<Descriptor>> {
        let documents = self.documents()?;
        let named: BTreeSet<&Digest> = documents
            .values()
            .flat_map(|document| document.children().into_iter().map(Descriptor::digest))
            .collect();
        let mut images = Vec::new();
        for (digest, document) in documents.iter().filter(|(digest, _)| !named.contains(digest)) {
            let is_image = match &**document {
                ManifestOrIndex::Index(_) => true,
                ManifestOrIndex::Manifest(manifest) => manifest.config().media_type().is_config(),
            };
            let size = document.bytes().len() as u64;
            let described = document.descriptor();
            let image = Descriptor::new(described.media_type().clone(), digest.clone(), size);
            if is_image && self.content().first_missing(&image)?.is_none() {
                images.push(image);
            }
        }
        Ok(images)
    }

    fn documents(&self) -> Result<BTreeMap<Digest, Raw<ManifestOrIndex>>> {
        let mut documents = BTreeMap::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for digest in digests_in(&self.layout().blobs(algorithm), algorithm)? {
                if self.content().stat(&digest)?.is_none_or(|size| size > MANIFEST_BYTES_MAX) {
                    continue;
                }
                match self.content().manifest(&digest) {
                    Ok(document) => drop(documents.insert(digest, document)),
                    // A layer or a config, or damaged: no manifest.
                    Err(Error::Document { .. } | Error::Content(_) | Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(documents)
    }
}
