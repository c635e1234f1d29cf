//! Build caches that travel: in a registry, in a folder, in an image itself.
//!
//! A cache is a manifest whose layers are the results of steps; each layer says in an annotation of which
//! (`builder::cache::remote`). Reading one brings no layer here: a layer is fetched when its step is asked for.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use builder::BuildResult;
use builder::PortError;
use builder::cache::remote::{RemoteCache, RemoteStep};
use builder::key::CacheKey;
use builder::ports::{Clock, Event, EventKind, Progress, VertexRef};
use oci::{Descriptor, Manifest, ManifestOrIndex, Raw, Reference, Source};
use registry_client::{Repository, Selector};
use store::{Directory, IngestStart, Lease, Saved};

use super::Builds;
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::push::push_document;
use crate::ports::blob_reader::BlobReader;
use crate::ports::clock::SystemClock;

/// What the manifest of a cache says that it is.
const ARTIFACT_TYPE: &str = "application/vnd.wherry.buildcache.v1";
/// Manifests that one index of a cache may list: an index that lists itself many thousand times.
const MANIFESTS_MAX: usize = 64;
/// Steps of all caches together: each is a record in memory.
const STEPS_MAX: usize = 100_000;

/// `--cache-from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheFrom {
    /// A cache, or an image with its cache inside, in a registry.
    Registry(Reference),
    /// A folder that a build wrote.
    Local(PathBuf),
}

/// `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTo {
    /// Where.
    pub place: CachePlace,
    /// Whether a failure is only mentioned.
    pub failure: CacheFailure,
}

/// Where a cache is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A name in a registry.
    Registry(Reference),
    /// A folder.
    Local(PathBuf),
}

/// What becomes of a build whose cache cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheFailure {
    /// It fails.
    Fails,
    /// It is mentioned (`ignore-error=true`).
    Mentioned,
}

/// The caches of one build.
pub(super) struct Caches<'a> {
    engine: &'a Engine,
    steps: HashMap<CacheKey, (RemoteStep, Place)>,
}

/// Where the layers of a cache are.
#[derive(Clone)]
enum Place {
    Registry(Repository),
    Local(Directory),
}

impl<'a> Caches<'a> {
    /// Reads what the caches have. One that cannot be read is mentioned, and the build goes on without it.
    pub(super) fn open(engine: &'a Engine, from: &[CacheFrom], progress: &dyn Progress) -> Self {
        let mut caches = Self { engine, steps: HashMap::new() };
        for (number, one) in from.iter().enumerate() {
            let name = match one {
                CacheFrom::Registry(reference) => {
                    format!("importing cache manifest from {}", reference.familiar())
                }
                CacheFrom::Local(folder) => {
                    format!("importing cache manifest from {}", folder.display())
                }
            };
            // Numbers that no line of the builder has.
            let line = CacheLine { progress, id: usize::MAX - number, name };
            line.tell(EventKind::Started);
            match caches.read(one) {
                Ok(()) => line.tell(EventKind::Finished),
                Err(error) => line.tell(EventKind::Failed(&error.to_string())),
            }
        }
        caches
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn read(&mut self, from: &CacheFrom) -> Result<()> {
        match from {
            CacheFrom::Registry(reference) => {
                let selector = Selector::of(reference).ok_or_else(|| {
                    Error::Invalid(format!("{reference}: neither tag nor digest"))
                })?;
                let transport = self.engine.transport();
                let repository = transport.client()?.repository(reference.repository());
                let fetched = transport.block_on(repository.manifest(&selector))??;
                self.document(&fetched.bytes, &Place::Registry(repository), 0)
            }
            CacheFrom::Local(folder) => {
                let directory = Directory::open(folder)?;
                let index = directory.index()?;
                self.document(index.bytes(), &Place::Local(directory), 0)
            }
        }
    }

    /// Notes the steps of a manifest, or of all manifests of an index.
    fn document(&mut self, bytes: &[u8], place: &Place, depth: usize) -> Result<()> {
        let document: Raw<ManifestOrIndex> =
            Raw::parse(bytes).map_err(|e| Error::Invalid(e.to_string()))?;
        match &*document {
            ManifestOrIndex::Manifest(manifest) => self.steps_of(manifest, place),
            ManifestOrIndex::Index(index) if depth < oci::limits::INDEX_DEPTH_MAX => {
                for entry in index.manifests().iter().take(MANIFESTS_MAX) {
                    let bytes = self.manifest(entry, place)?;
                    self.document(&bytes, place, depth + 1)?;
                }
            }
            ManifestOrIndex::Index(_) => {
                return Err(Error::Invalid("indexes are nested too deep".to_owned()));
            }
        }
        Ok(())
    }

    fn manifest(&self, entry: &Descriptor, place: &Place) -> Result<Vec<u8>> {
        match place {
            Place::Registry(repository) => {
                let selector = Selector::Digest(entry.digest().clone());
                let fetched =
                    self.engine.transport().block_on(repository.manifest(&selector))??;
                Ok(fetched.bytes.to_vec())
            }
            Place::Local(directory) => {
                let mut bytes = Vec::new();
                let mut blob = directory.open_verified(entry)?;
                blob.read_to_end(&mut bytes)
                    .map_err(|e| Error::io("read", entry.digest().to_string(), e))?;
                Ok(bytes)
            }
        }
    }

    fn steps_of(&mut self, manifest: &Manifest, place: &Place) {
        for step in manifest.layers().iter().filter_map(RemoteStep::read) {
            if self.steps.len() < STEPS_MAX {
                // The first cache that knows a step is the one that is asked.
                self.steps.entry(step.key.clone()).or_insert_with(|| (step, place.clone()));
            }
        }
    }

    fn bring(&self, layer: &Descriptor, place: &Place) -> Result<()> {
        let mut ingest = match self.engine.store().content().ingest(layer)? {
            IngestStart::Present => return Ok(()),
            IngestStart::Fetch(ingest) => ingest,
        };
        let mut from: Box<dyn Read> = match place {
            Place::Registry(repository) => {
                let transport = self.engine.transport();
                let stream = repository.blob_from(layer, ingest.verifier().clone());
                let stream = transport.block_on(stream)??;
                Box::new(BlobReader::new(transport.runtime()?.handle().clone(), stream))
            }
            Place::Local(directory) => {
                ingest.restart()?;
                Box::new(directory.open_verified(layer)?)
            }
        };
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = from.read(&mut buffer);
            let length = read.map_err(|e| {
                oci::TransferError::from_io(format!("fetch layer {}", layer.digest()), e)
            })?;
            if length == 0 {
                return Ok(ingest.commit()?);
            }
            ingest.append(&buffer[..length])?;
        }
    }
}

impl RemoteCache for Caches<'_> {
    fn find(&self, key: &CacheKey) -> Option<RemoteStep> {
        self.steps.get(key).map(|(step, _)| step.clone())
    }

    fn fetch(&self, step: &RemoteStep, lease: &Lease) -> Result<(), PortError> {
        let (_, place) = self.steps.get(&step.key).ok_or("the cache does not have it")?;
        lease.hold(step.diff.blob.digest())?;
        Ok(self.bring(&step.diff.blob, place)?)
    }
}

/// A line of progress beside the builder's own.
struct CacheLine<'a> {
    progress: &'a dyn Progress,
    id: usize,
    name: String,
}

impl CacheLine<'_> {
    fn tell(&self, kind: EventKind<'_>) {
        let vertex = VertexRef { id: self.id, name: &self.name };
        self.progress.event(Event { vertex, at: SystemClock.now(), kind });
    }
}

impl Builds<'_> {
    /// Writes the caches of a build that is done: its image has its name by now.
    pub fn write_caches(
        &self,
        result: &BuildResult,
        to: &[CacheTo],
        progress: &dyn Progress,
    ) -> Result<()> {
        let lease = self.engine.store().lease("build cache")?;
        for (number, one) in to.iter().enumerate() {
            let name = match &one.place {
                CachePlace::Registry(reference) => {
                    format!("exporting cache to registry {}", reference.familiar())
                }
                CachePlace::Local(folder) => {
                    format!("exporting cache to client directory {}", folder.display())
                }
            };
            let line = CacheLine { progress, id: number, name };
            line.tell(EventKind::Started);
            let done = self.write_cache(result, &one.place, &lease, &line);
            match (done, one.failure) {
                (Ok(()), _) => line.tell(EventKind::Finished),
                (Err(error), failure) => {
                    line.tell(EventKind::Failed(&error.to_string()));
                    if failure == CacheFailure::Fails {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn write_cache(
        &self,
        result: &BuildResult,
        place: &CachePlace,
        lease: &Lease,
        line: &CacheLine<'_>,
    ) -> Result<()> {
        let mut layers = Vec::new();
        for step in &result.cache {
            lease.hold(step.diff.blob.digest())?;
            layers.push(step.annotate(step.diff.blob.clone()));
        }
        let manifest = Raw::encode(&Manifest::artifact(ARTIFACT_TYPE, layers))
            .map_err(|e| Error::Invalid(e.to_string()))?;
        let empty = Descriptor::empty();
        for digest in [&manifest.digest(), empty.digest()] {
            lease.hold(digest)?;
        }
        self.engine.store().content().put(&empty, b"{}")?;
        let descriptor = self.engine.store().content().put_raw(&manifest)?;
        let text = format!("writing cache manifest {}", descriptor.digest());
        line.tell(EventKind::Status { text: &text, seconds: None });
        match place {
            CachePlace::Registry(reference) => push_document(self.engine, reference, &descriptor),
            CachePlace::Local(folder) => self.write_layout(folder, descriptor),
        }
    }

    /// Writes beside the folder and then in its place: a cache is whole or the one before.
    fn write_layout(&self, folder: &Path, descriptor: Descriptor) -> Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let is_cache = folder.join("oci-layout").is_file();
        let is_empty =
            std::fs::read_dir(folder).map_or(!folder.exists(), |mut list| list.next().is_none());
        if !is_cache && !is_empty {
            return Err(Error::Invalid(format!(
                "{}: neither empty nor a cache that may be replaced",
                folder.display()
            )));
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let beside = |kind: &str| {
            let mut name = folder.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{kind}-{}-{number}", std::process::id()));
            folder.with_file_name(name)
        };
        let (fresh, old) = (beside("new"), beside("old"));
        let saved = [Saved { descriptor, names: Vec::new() }];
        let done = self.engine.store().archives().save_directory(&saved, &fresh);
        let swapped = done.map_err(Error::from).and_then(|()| {
            if folder.exists() {
                std::fs::rename(folder, &old).map_err(|e| Error::io("move", folder, e))?;
            }
            std::fs::rename(&fresh, folder).map_err(|e| Error::io("write", folder, e))
        });
        // What is left of either is of no use to anybody.
        for leftover in [&fresh, &old] {
            let _gone = std::fs::remove_dir_all(leftover);
        }
        swapped
    }
}
