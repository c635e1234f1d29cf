//! Unpacking an image's layers: several at once, each into its own folder.
//!
//! Per layer one decoder thread feeds one thread that hashes the uncompressed content and
//! extracts it. Nothing is visible before the digests are checked, everything is on disk
//! (one `syncfs`) and each folder is renamed to its place.

use std::io::Read;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci::{ChainId, Descriptor, Digest};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::decode::{HashingReader, decoder};
use super::extract::{Extracted, Extractor};
use super::pipe::pipe;
use super::record::{LayerRecord, write_staged};
use super::settle::settle;
use super::stack::Stack;
use super::{LayerId, Layers};
use crate::error::{Error, LayerError, Result};
use crate::lease::Lease;
use crate::limits::LAYER_BYTES_MAX;
use crate::staging::Staging;
use crate::tar::Reader;

/// A layer by both its hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of its uncompressed content, from the image's config.
    pub diff_id: Digest,
}

/// Layers being unpacked. Dropped before [`Unpack::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Unpack {
    layers: Layers,
    staging: Staging,
    planned: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    id: LayerId,
    diff_id: Digest,
    present: bool,
    blob: Mutex<Option<Descriptor>>,
    extracted: Mutex<Option<Extracted>>,
}

impl Layers {
    /// Unpacks the layers of an image, base first, as many at once as there are processors.
    /// Returns the id of the topmost.
    pub fn unpack(&self, blobs: &[LayerBlob], lease: &Lease) -> Result<Option<LayerId>> {
        let diff_ids: Vec<Digest> = blobs.iter().map(|blob| blob.diff_id.clone()).collect();
        let unpack = self.start_unpack(&diff_ids, lease)?;
        let missing = unpack.missing();
        let next = AtomicUsize::new(0);
        let first_error = Mutex::new(None);
        let work = || {
            while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = unpack.layer(*index, &blobs[*index].descriptor) {
                    // The others stop after the layer they are at.
                    next.store(missing.len(), Ordering::Relaxed);
                    lock(&first_error).get_or_insert(error);
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(missing.len()) {
                scope.spawn(work);
            }
            work();
        });
        match first_error.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(error) => Err(error),
            None => unpack.finish(),
        }
    }

    /// Starts to unpack layers that arrive one by one, in any order and on any thread.
    pub fn start_unpack(&self, diff_ids: &[Digest], lease: &Lease) -> Result<Unpack> {
        let mut planned: Vec<Planned> = Vec::with_capacity(diff_ids.len());
        for (chain, diff_id) in oci::chain_ids(diff_ids).iter().zip(diff_ids) {
            let id = LayerId::from(chain);
            lease.hold_layer(&id)?;
            let present = self.get(&id)?.is_some();
            let (blob, extracted) = (Mutex::new(None), Mutex::new(None));
            planned.push(Planned { id, diff_id: diff_id.clone(), present, blob, extracted });
        }
        let topmost = planned.iter().rfind(|planned| planned.present);
        self.rely(topmost.map(|planned| &planned.id))?;
        Ok(Unpack { layers: self.clone(), staging: self.staging()?, planned })
    }

    /// The id of the topmost layer of these, whether or not it is unpacked.
    pub fn id_of(diff_ids: &[Digest]) -> Option<LayerId> {
        ChainId::of(diff_ids).as_ref().map(LayerId::from)
    }
}

impl Unpack {
    /// Which layers, counted from the base, must be given.
    pub fn missing(&self) -> Vec<usize> {
        let all = self.planned.iter().enumerate();
        all.filter(|(_, planned)| !planned.present).map(|(index, _)| index).collect()
    }

    /// Unpacks one layer from its blob in the store.
    pub fn layer(&self, index: usize, blob: &Descriptor) -> Result<()> {
        let content = self.layers.content().open_verified(blob)?;
        self.layer_from(index, blob, content)
    }

    /// Unpacks one layer from a stream of its compressed content, whose digest the caller or
    /// the reader checks; the uncompressed digest is checked here.
    pub fn layer_from(
        &self,
        index: usize,
        blob: &Descriptor,
        content: impl Read + Send,
    ) -> Result<()> {
        let planned = &self.planned[index];
        let folder = self.folder(index);
        self.layers.disk().create_dir_all(&folder)?;
        let extracted = extract(content, &folder, &planned.diff_id)
            .map_err(|error| self.refuse(blob.digest(), error))?;
        *lock(&planned.extracted) = Some(extracted);
        *lock(&planned.blob) = Some(blob.clone());
        Ok(())
    }

    fn refuse(&self, layer: &Digest, error: LayerError) -> Error {
        match error {
            // The disk's fault, not the layer's.
            LayerError::Entry { source, .. } if is_full(&source) => {
                Error::io("unpack into", self.staging.path(), source)
            }
            error => Error::Layer { layer: layer.clone(), source: Box::new(error) },
        }
    }

    /// Publishes every layer, base first. Returns the id of the topmost.
    pub fn finish(self) -> Result<Option<LayerId>> {
        let mut below = Vec::new();
        let mut parent: Option<LayerId> = None;
        let mut ready = Vec::new();
        for (index, planned) in self.planned.iter().enumerate() {
            if planned.present {
                below.insert(0, self.layers.require(&planned.id)?.fs().clone());
            } else {
                let bytes = self.settle(index, Stack::new(below.clone()), parent.as_ref())?;
                below.insert(0, self.folder(index));
                ready.push((index, bytes));
            }
            parent = Some(planned.id.clone());
        }
        if !ready.is_empty() {
            self.layers.disk().sync_fs(self.staging.path())?;
        }
        // Whoever asks for an image's layers will keep something that stands on them.
        let present = self.planned.iter().rfind(|planned| planned.present);
        self.layers.settle(present.map(|planned| &planned.id))?;
        for (index, bytes) in ready {
            let planned = &self.planned[index];
            self.layers.rename_in(&self.home(index), &planned.id)?;
            if let Some(blob) = &*lock(&planned.blob) {
                self.layers.remember(&planned.diff_id, bytes, blob)?;
            }
        }
        Ok(parent)
    }

    fn settle(&self, index: usize, below: Stack, parent: Option<&LayerId>) -> Result<u64> {
        let planned = &self.planned[index];
        let extracted = lock(&planned.extracted).take();
        let Some(extracted) = extracted else {
            return Err(Error::NoSuchLayer { id: planned.id.to_string() });
        };
        let bytes =
            settle(extracted, &below).map_err(|error| self.refuse(&planned.diff_id, error))?;
        let record = LayerRecord {
            parent: parent.map(|id| id.digest().clone()),
            diff_id: Some(planned.diff_id.clone()),
            same_as: None,
            bytes,
            boot: None,
        };
        write_staged(self.layers.disk(), &self.home(index).join("layer.json"), &record)?;
        Ok(bytes)
    }

    fn home(&self, index: usize) -> PathBuf {
        self.staging.path().join(index.to_string())
    }

    fn folder(&self, index: usize) -> PathBuf {
        self.home(index).join("fs")
    }
}

/// Decodes on one thread; hashes and extracts on this one.
fn extract(
    content: impl Read + Send,
    folder: &PathBuf,
    diff_id: &Digest,
) -> Result<Extracted, LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, folder, flags, Mode::empty())
        .map_err(|errno| super::extract::entry_error("open", b"/")(errno.into()))?;
    std::thread::scope(|scope| {
        let (writer, reader) = pipe();
        scope.spawn(move || match decoder(content) {
            Ok(decoder) => writer.pump(decoder),
            Err(error) => writer.pump(Failing(Some(error))),
        });
        let hashing = HashingReader::new(reader, diff_id.algorithm(), LAYER_BYTES_MAX);
        let mut tar = Reader::new(hashing);
        let mut extractor = Extractor::new(root);
        extractor.all(&mut tar).map_err(decode_error)?;
        let (found, _) = tar.into_inner().finish().map_err(LayerError::Decode)?;
        if found != *diff_id {
            return Err(LayerError::DiffId { expected: diff_id.clone(), found });
        }
        extractor.finish()
    })
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// What failed below the tar was the decoder.
fn decode_error(error: LayerError) -> LayerError {
    match error {
        LayerError::Tar(crate::tar::TarError::Io(error)) => LayerError::Decode(error),
        other => other,
    }
}

/// A reader that only fails.
struct Failing(Option<std::io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| std::io::ErrorKind::Other.into()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
