//! The collector's view of a store on disk.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci::limits::CONFIG_BYTES_MAX;
use oci::{Algorithm, Descriptor, Digest, ManifestOrIndex, RawError};
use rustix::io::Errno;
use serde::Deserialize;

use super::collector::{Area, Reading, References};
use super::{Collection, Roots};
use crate::Store;
use crate::content::digests_in;
use crate::error::{Error, Result, at};
use crate::layer::{LayerId, LayerRecord, record};
use crate::lease::{self, Item};

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// What documents name, by digest: since the digest proves the document, it holds for the next
/// cycle too, and a document that went meanwhile only keeps more than it need.
pub(super) type Known = RefCell<HashMap<Digest, References>>;

pub(super) struct StoreArea<'a> {
    store: &'a Store,
    what: &'a Collection<'a>,
    known: &'a Known,
    /// The unpacked layers that there are, once everything that could name one was read: most images
    /// of a registry are not unpacked, and each layer would be looked for in vain.
    unpacked: OnceCell<HashSet<LayerId>>,
    fresh_since: SystemTime,
}

impl<'a> StoreArea<'a> {
    /// The cycle begins when its lock file is stamped: by the same clock that stamps blobs.
    pub(super) fn open(
        store: &'a Store,
        what: &'a Collection<'a>,
        known: &'a Known,
    ) -> Result<Self> {
        let path = store.layout().lock("collector");
        crate::content::touch(&path).map_err(at("stamp", &path))?;
        let begun = std::fs::metadata(&path).and_then(|meta| meta.modified());
        let begun = begun.map_err(at("read", &path))?;
        let fresh_since = what.stamped_since.map_or(begun, |since| since.min(begun));
        Ok(Self { store, what, known, unpacked: OnceCell::new(), fresh_since })
    }

    /// Where an item is, and where its tombstone is.
    fn places(&self, item: &Item) -> (PathBuf, PathBuf) {
        let layout = self.store.layout();
        match item {
            Item::Blob(digest) => (layout.blob(digest), layout.dead_blob(digest)),
            Item::Layer(id) => (layout.layer(id), layout.dead_layer(id)),
        }
    }

    fn fresh_at(&self, item: &Item, path: &Path) -> Result<Option<bool>> {
        let stamped = match item {
            Item::Blob(_) => path.to_path_buf(),
            Item::Layer(_) => path.join("layer.json"),
        };
        let modified = |meta: Metadata| meta.modified();
        match std::fs::metadata(&stamped).and_then(modified) {
            Ok(at) => Ok(Some(at >= self.fresh_since)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &stamped, error)),
        }
    }

    fn list(
        &self,
        blobs: impl Fn(Algorithm) -> PathBuf,
        layers: impl Fn(Algorithm) -> PathBuf,
    ) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for algorithm in ALGORITHMS {
            items.extend(digests_in(&blobs(algorithm), algorithm)?.into_iter().map(Item::Blob));
            let ids = digests_in(&layers(algorithm), algorithm)?;
            items.extend(ids.into_iter().map(|digest| Item::Layer(LayerId::from(digest))));
        }
        Ok(items)
    }

    /// Tombstones first: a layer that comes back to life meanwhile is seen in one of the two.
    fn unpacked(&self) -> Result<HashSet<LayerId>> {
        let layout = self.store.layout();
        let mut ids = HashSet::new();
        for algorithm in ALGORITHMS {
            for dir in [layout.dead_layers(algorithm), layout.layers(algorithm)] {
                ids.extend(digests_in(&dir, algorithm)?.into_iter().map(LayerId::from));
            }
        }
        Ok(ids)
    }

    fn document(&self, digest: &Digest) -> Result<References> {
        if let Some(known) = self.known.borrow().get(digest) {
            return Ok(known.clone());
        }
        let found = references(self.store, digest)?;
        self.known.borrow_mut().insert(digest.clone(), found.clone());
        Ok(found)
    }

    fn read_ahead(&self, documents: &[(Digest, Reading)]) {
        let unread: Vec<&Digest> = {
            let known = self.known.borrow();
            let named = documents.iter().filter(|(_, reading)| *reading == Reading::Required);
            named.map(|(digest, _)| digest).filter(|digest| !known.contains_key(*digest)).collect()
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let share = unread.len().div_ceil(threads).max(DOCUMENTS_PER_THREAD_MIN);
        let store = self.store;
        let read = |digests: &[&Digest]| -> Vec<(Digest, References)> {
            let read = |digest: &&Digest| {
                references(store, digest).ok().map(|found| ((*digest).clone(), found))
            };
            digests.iter().filter_map(read).collect()
        };
        let mut known = self.known.borrow_mut();
        std::thread::scope(|scope| {
            let shares: Vec<_> =
                unread.chunks(share).map(|digests| scope.spawn(move || read(digests))).collect();
            // A share that panicked is read again where it is asked for.
            known.extend(shares.into_iter().filter_map(|share| share.join().ok()).flatten());
        });
    }

    /// Whether a blob may be a document at all; saves reading layers.
    fn looks_like_a_document(&self, digest: &Digest) -> Result<bool> {
        use std::io::Read;
        let mut first = [0; 1];
        let path = self.store.content().path(digest);
        match self.store.content().open(digest) {
            Ok(blob) if blob.size() > oci::limits::MANIFEST_BYTES_MAX => Ok(false),
            Ok(mut blob) => {
                let count = blob.read(&mut first).map_err(at("read", &path))?;
                Ok(count == 1 && matches!(first[0], b'{' | b' ' | b'\n' | b'\t' | b'\r'))
            }
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Area for StoreArea<'_> {
    fn leases(&self) -> Result<BTreeSet<Item>> {
        lease::held(self.store.layout(), self.store.disk())
    }

    fn snapshots(&self) -> Result<Vec<LayerId>> {
        crate::snapshot::parents(&self.store.layers())
    }

    fn roots(&self) -> Result<Roots> {
        (self.what.roots)()
    }

    fn names(&self) -> Result<Vec<Descriptor>> {
        Ok(self.store.names().list()?.into_iter().map(|entry| entry.descriptor).collect())
    }

    /// What cannot be read is met again, and answered for, when it is asked for.
    fn foresee(&self, documents: &[(Digest, Reading)]) -> Result<()> {
        // Asked once in a cycle.
        let _ = self.unpacked.set(self.unpacked()?);
        self.read_ahead(documents);
        Ok(())
    }

    fn references(&self, blob: &Digest, reading: Reading) -> Result<References> {
        if reading == Reading::Guess && !self.looks_like_a_document(blob)? {
            return Ok(References::default());
        }
        match (self.document(blob), reading) {
            (Err(Error::NotFound { digest }), Reading::Optional | Reading::Guess)
                if digest == *blob =>
            {
                Ok(References::default())
            }
            // What is no document names nothing. What the disk refuses to give is another matter.
            (
                Err(Error::Document { .. } | Error::Content(_) | Error::NotFound { .. }),
                Reading::Guess,
            ) => Ok(References::default()),
            (other, _) => other,
        }
    }

    fn below(&self, layer: &LayerId) -> Result<Vec<LayerId>> {
        if self.unpacked.get().is_some_and(|unpacked| !unpacked.contains(layer)) {
            return Ok(Vec::new());
        }
        let (path, tombstone) = self.places(&Item::Layer(layer.clone()));
        for home in [path, tombstone] {
            if let Some(record) = record::read::<LayerRecord>(&home.join("layer.json"))? {
                let ids = record.parent.into_iter().chain(record.same_as);
                return Ok(ids.map(LayerId::from).collect());
            }
        }
        // An image need not be unpacked.
        Ok(Vec::new())
    }

    fn alive(&self) -> Result<Vec<Item>> {
        let layout = self.store.layout();
        self.list(|algorithm| layout.blobs(algorithm), |algorithm| layout.layers(algorithm))
    }

    fn condemned(&self) -> Result<Vec<Item>> {
        let layout = self.store.layout();
        self.list(
            |algorithm| layout.dead_blobs(algorithm),
            |algorithm| layout.dead_layers(algorithm),
        )
    }

    fn keeps_stamped(&self) -> bool {
        self.what.stamped_since.is_some()
    }

    fn is_fresh(&self, item: &Item) -> Result<bool> {
        // What is gone needs no protection.
        Ok(self.fresh_at(item, &self.places(item).0)?.unwrap_or(false))
    }

    fn condemn(&self, item: &Item) -> Result<bool> {
        let (path, tombstone) = self.places(item);
        let moved = match self.store.disk().rename_if_there(&path, &tombstone) {
            // An old folder is in the way: it goes first, the next cycle comes again.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::DirectoryNotEmpty => {
                false
            }
            other => other?,
        };
        if moved && self.fresh_at(item, &tombstone)? == Some(true) {
            self.revive(item)?;
            return Ok(false);
        }
        Ok(moved)
    }

    fn revive(&self, item: &Item) -> Result<bool> {
        let (path, tombstone) = self.places(item);
        match rustix::fs::rename(&tombstone, &path) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            // Made anew meanwhile: the old folder is not needed.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                self.store.disk().remove_tree_if_there(&tombstone)?;
                Ok(false)
            }
            Err(error) => Err(Error::io("revive", &path, error.into())),
        }
    }

    fn bury(&self, item: &Item) -> Result<Option<u64>> {
        let (_, tombstone) = self.places(item);
        let disk = self.store.disk();
        match item {
            Item::Blob(_) => {
                let bytes = std::fs::metadata(&tombstone).map(|meta| meta.len()).unwrap_or(0);
                Ok(disk.remove_file_if_there(&tombstone)?.then_some(bytes))
            }
            Item::Layer(_) => {
                let record: Option<LayerRecord> = record::read(&tombstone.join("layer.json"))?;
                // Renamed away first: a folder half removed must not come back to life.
                let staging = self.store.layers().staging()?;
                let gone = disk.rename_if_there(&tombstone, &staging.path().join("removed"))?;
                let bytes = record.filter(|r| r.same_as.is_none()).map_or(0, |r| r.bytes);
                Ok(gone.then_some(bytes))
            }
        }
    }
}

/// Fewer documents are not worth a thread.
const DOCUMENTS_PER_THREAD_MIN: usize = 64;

/// What a document names, by its exact bytes; a wrong digest is an error.
fn references(store: &Store, digest: &Digest) -> Result<References> {
    let document = store.content().manifest(digest)?;
    let mut found = References::default();
    match &*document {
        ManifestOrIndex::Index(index) => {
            for child in index.manifests() {
                let media_type = child.media_type();
                match media_type.is_index() || media_type.is_manifest() {
                    true => found.documents.push((child.digest().clone(), Reading::Optional)),
                    false => found.blobs.push(child.digest().clone()),
                }
            }
        }
        ManifestOrIndex::Manifest(manifest) => {
            found.blobs.extend(manifest.children().map(|child| child.digest().clone()));
            if manifest.config().media_type().is_config() {
                found.layers = chain(store, manifest.config())?;
            }
        }
    }
    Ok(found)
}

/// The unpacked layers that an image uses. Of its config only these are read: a collection reads
/// the configs of all images.
fn chain(store: &Store, config: &Descriptor) -> Result<Vec<LayerId>> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: Option<RootFs>,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Option<Vec<Digest>>,
    }
    let digest = config.digest();
    let bytes = store.content().small(digest, CONFIG_BYTES_MAX)?;
    let config: Config = serde_json::from_slice(&bytes).map_err(|source| Error::Document {
        digest: digest.clone(),
        source: RawError::Json { kind: "image config", source },
    })?;
    let diff_ids = config.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
    Ok(oci::chain_ids(&diff_ids).iter().map(LayerId::from).collect())
}
