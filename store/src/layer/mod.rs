//! Layers: tar in, tar out, and the folders between.

mod compress;
mod decode;
pub(crate) mod diff;
mod extract;
pub(crate) mod inode;
pub(crate) mod path;
mod pipe;
pub(crate) mod record;
mod settle;
mod stack;
mod unpack;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use oci::{ChainId, Compression, Descriptor, Digest};

pub use compress::{GZIP_LEVEL, ZSTD_LEVEL};
pub use decode::detect;
pub use diff::{Dialect, Diff, DiffOptions};
pub use record::{DiffRecord, LayerRecord};
pub use stack::{Found, Stack};
pub use unpack::{LayerBlob, Unpack};

pub(crate) use decode::file_decoder;

use crate::content::Content;
use crate::disk::Disk;
use crate::error::{Error, Result, at};
use crate::layout::Layout;
use crate::lease::Lease;
use crate::limits::STACK_DEPTH_MAX;
use crate::lock::Lock;
use crate::staging::Staging;

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

/// An unpacked layer.
#[derive(Clone, Debug)]
pub struct Layer {
    id: LayerId,
    fs: PathBuf,
    record: LayerRecord,
}

impl Layer {
    /// Its id.
    pub fn id(&self) -> &LayerId {
        &self.id
    }

    /// Its folder, in overlay form.
    pub fn fs(&self) -> &PathBuf {
        &self.fs
    }

    /// The layer below.
    pub fn parent(&self) -> Option<LayerId> {
        self.record.parent.clone().map(LayerId::from)
    }

    /// The digest of the uncompressed content, where it is known.
    pub fn diff_id(&self) -> Option<&Digest> {
        self.record.diff_id.as_ref()
    }

    /// Bytes of all its regular files.
    pub fn bytes(&self) -> u64 {
        self.record.bytes
    }
}

/// The unpacked layers of a store.
#[derive(Clone, Debug)]
pub struct Layers {
    content: Content,
}

impl Layers {
    pub(crate) fn new(content: Content) -> Self {
        Self { content }
    }

    /// An unpacked layer. One that was condemned by the collector but not yet removed comes
    /// back to life.
    pub fn get(&self, id: &LayerId) -> Result<Option<Layer>> {
        let (path, tombstone) = (self.layout().layer(id), self.layout().dead_layer(id));
        for _ in 0..4 {
            if let Some(record) = record::read::<LayerRecord>(&path.join("layer.json"))? {
                return self.assemble(id, path, record);
            }
            match std::fs::rename(&tombstone, &path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A folder without a record is what a power cut left of one.
                    if path.is_dir() {
                        self.discard(id)?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    self.discard(id)?;
                }
                Err(error) => return Err(Error::io("revive", &path, error)),
            }
        }
        Ok(None)
    }

    /// A layer may use another's folder: looking at it brings that one back too, and without
    /// that one it is nothing.
    fn assemble(&self, id: &LayerId, home: PathBuf, record: LayerRecord) -> Result<Option<Layer>> {
        let holder = match record.same_as.clone().map(LayerId::from) {
            _ if record.is_stale() => None,
            None => Some(home),
            Some(other) => {
                self.get(&other)?.and_then(|other| other.fs.parent().map(Path::to_path_buf))
            }
        };
        match holder {
            Some(holder) => Ok(Some(Layer { id: id.clone(), fs: holder.join("fs"), record })),
            None => self.discard(id).map(|()| None),
        }
    }

    /// Takes away a folder that is no layer. Looked at once more under a lock: another process
    /// may have put a good one in its place.
    fn discard(&self, id: &LayerId) -> Result<()> {
        let _lock = Lock::exclusive(self.disk(), &self.layout().lock("layers"))?;
        let home = self.layout().layer(id);
        let good = match record::read::<LayerRecord>(&home.join("layer.json"))? {
            Some(record) if record.is_stale() => false,
            Some(LayerRecord { same_as: Some(other), .. }) => {
                self.layout().layer(&LayerId::from(other)).is_dir()
            }
            Some(_) => true,
            None => false,
        };
        if !good {
            let staging = self.staging()?;
            self.disk().rename_if_there(&home, &staging.path().join("discarded"))?;
        }
        Ok(())
    }

    /// Puts a layer and those below it safely on disk, where they were made without syncing.
    pub(crate) fn settle(&self, top: Option<&LayerId>) -> Result<()> {
        let lazy: Vec<Layer> =
            self.chain(top)?.into_iter().filter(|layer| layer.record.boot.is_some()).collect();
        self.settle_all(lazy)
    }

    /// The same for every layer of the store.
    pub(crate) fn settle_store(&self) -> Result<()> {
        let mut lazy = Vec::new();
        for id in self.list()? {
            let layer = self.get(&id)?;
            lazy.extend(layer.filter(|layer| layer.record.boot.is_some()));
        }
        self.settle_all(lazy)
    }

    fn settle_all(&self, lazy: Vec<Layer>) -> Result<()> {
        if lazy.is_empty() {
            return Ok(());
        }
        self.disk().sync_fs(self.layout().root())?;
        for layer in lazy {
            // An alias is safe when the layer whose folder it uses is.
            if let Some(other) = layer.record.same_as.clone().map(LayerId::from)
                && let Some(other) = self.get(&other)?
            {
                self.mark_settled(&other)?;
            }
            self.mark_settled(&layer)?;
        }
        Ok(())
    }

    fn mark_settled(&self, layer: &Layer) -> Result<()> {
        let path = self.layout().layer(&layer.id).join("layer.json");
        let record = LayerRecord { boot: None, ..layer.record.clone() };
        record::write_lazily(self.disk(), &path, &record)
    }

    /// A layer that must be there.
    pub fn require(&self, id: &LayerId) -> Result<Layer> {
        self.get(id)?.ok_or_else(|| Error::NoSuchLayer { id: id.to_string() })
    }

    /// A layer and all below it, topmost first.
    pub fn chain(&self, top: Option<&LayerId>) -> Result<Vec<Layer>> {
        let mut chain: Vec<Layer> = Vec::new();
        let mut next = top.cloned();
        while let Some(id) = next {
            let layer = self.require(&id)?;
            if chain.len() >= STACK_DEPTH_MAX {
                let reason = "its parents are too many or a cycle".to_owned();
                return Err(Error::Record { path: self.layout().layer(&id), reason });
            }
            next = layer.parent();
            chain.push(layer);
        }
        Ok(chain)
    }

    /// Stamps a layer and all below it, for one who has just come to rely on them and whose
    /// lease may be younger than a collection under way.
    pub(crate) fn rely(&self, top: Option<&LayerId>) -> Result<()> {
        for layer in self.chain(top)? {
            let home = self.layout().layer(&layer.id);
            let stamped = home.join("layer.json");
            crate::content::touch(&stamped).map_err(at("stamp", &stamped))?;
        }
        Ok(())
    }

    /// A layer and all below it as one tree.
    pub fn stack(&self, top: Option<&LayerId>) -> Result<Stack> {
        let chain = self.chain(top)?;
        Ok(Stack::new(chain.into_iter().map(|layer| layer.fs).collect()))
    }

    /// Every unpacked layer.
    pub fn list(&self) -> Result<Vec<LayerId>> {
        let mut ids = Vec::new();
        for algorithm in [oci::Algorithm::Sha256, oci::Algorithm::Sha512] {
            ids.extend(crate::content::digests_in(&self.layout().layers(algorithm), algorithm)?);
        }
        Ok(ids.into_iter().map(LayerId::from).collect())
    }

    /// Makes `id` known as a layer whose folder is that of `holder`: a step's result under
    /// the chain id that it turned out to have.
    pub fn alias(
        &self,
        id: &LayerId,
        holder: &LayerId,
        parent: Option<&LayerId>,
        diff_id: &Digest,
    ) -> Result<()> {
        if id == holder || self.get(id)?.is_some() {
            return Ok(());
        }
        let layer = self.require(holder)?;
        let same_as = layer.record.same_as.clone().unwrap_or_else(|| holder.digest().clone());
        let record = LayerRecord {
            parent: parent.map(|id| id.digest().clone()),
            diff_id: Some(diff_id.clone()),
            same_as: Some(same_as),
            bytes: layer.bytes(),
            boot: layer.record.boot.clone(),
        };
        let staging = self.staging()?;
        let path = staging.path().join("layer");
        self.disk().create_dir(&path)?;
        self.publish(&path, id, &record)
    }

    /// What is known of a layer's content.
    pub fn diff_record(&self, diff_id: &Digest) -> Result<Option<DiffRecord>> {
        match record::read(&self.layout().diff_record(diff_id)) {
            // It only saves work: a damaged one is as good as none.
            Err(Error::Record { .. }) => Ok(None),
            other => other,
        }
    }

    /// A blob in the store that holds this content with this compression, so that it need not
    /// be made again. It is held by `lease`.
    pub fn blob_of(
        &self,
        diff_id: &Digest,
        compression: Compression,
        lease: &Lease,
    ) -> Result<Option<Descriptor>> {
        let Some(record) = self.diff_record(diff_id)? else { return Ok(None) };
        for blob in record.blobs {
            let fits = blob.media_type().layer_compression() == Some(compression);
            if !fits {
                continue;
            }
            lease.hold(blob.digest())?;
            if self.content.rely(blob.digest())? == Some(blob.size()) {
                return Ok(Some(blob));
            }
        }
        Ok(None)
    }

    /// Remembers that `blob` holds the content `diff_id`. What two processes write at once is
    /// one or the other: the record only saves work.
    pub(crate) fn remember(&self, diff_id: &Digest, bytes: u64, blob: &Descriptor) -> Result<()> {
        let before = self.diff_record(diff_id)?.unwrap_or_default();
        let mut record = DiffRecord { bytes, blobs: before.blobs.clone() };
        if !record.blobs.iter().any(|known| known.digest() == blob.digest()) {
            record.blobs.push(blob.bare());
        }
        match record == before {
            true => Ok(()),
            false => {
                record::write_lazily(self.disk(), &self.layout().diff_record(diff_id), &record)
            }
        }
    }

    /// Gives a finished folder its name. Another process may have been faster.
    pub(crate) fn publish(&self, from: &Path, id: &LayerId, record: &LayerRecord) -> Result<()> {
        record::write_staged(self.disk(), &from.join("layer.json"), record)?;
        self.rename_in(from, id)
    }

    pub(crate) fn rename_in(&self, from: &Path, id: &LayerId) -> Result<()> {
        match self.disk().rename(from, &self.layout().layer(id)) {
            Err(Error::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    pub(crate) fn staging(&self) -> Result<Staging> {
        Staging::create(&self.layout().staging(), self.disk())
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.content.layout()
    }

    pub(crate) fn disk(&self) -> &Disk {
        self.content.disk()
    }

    /// The folder that an overlay needs at the bottom where there is no layer.
    pub(crate) fn empty(&self) -> Result<PathBuf> {
        let path = self.layout().root().join("layers/empty");
        match path.try_exists().map_err(at("read", &path))? {
            true => Ok(path),
            false => self.disk().create_dir_all(&path).map(|()| path),
        }
    }
}
