//! A repository for threads: [`oci::Source`] and [`oci::Sink`] over a runtime's handle.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use oci::{Descriptor, Digest, Sink, Source, TransferError, TransferErrorKind};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::content::{PipedContent, pump_reader};
use crate::copy::{Attached, ClosureSink, ClosureSource, closure};
use crate::error::RegistryError;
use crate::limits::{CHANNEL_DEPTH, MANIFEST_BYTES_MAX};
use crate::progress::TransferEvent;
use crate::repository::{Mounted, PushedBlob, ReferrersFilter, Repository, Selector};

/// A repository as a place to read from and write to. Must not be used from a thread that runs
/// the handle's tasks.
#[derive(Clone, Debug)]
pub struct BlockingRepository {
    repository: Repository,
    handle: Handle,
    mount_from: Vec<oci::Repository>,
    tags: Option<Arc<BTreeSet<String>>>,
    blobs: Arc<KnownBlobs>,
}

/// What this process knows of a repository's blobs. Images that are copied side by side share
/// layers: each is asked for once and sent once.
#[derive(Debug, Default)]
struct KnownBlobs {
    there: Mutex<HashSet<Digest>>,
    under_way: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
}

impl KnownBlobs {
    fn is_there(&self, digest: &Digest) -> bool {
        lock(&self.there).contains(digest)
    }

    fn note(&self, digest: &Digest) {
        lock(&self.there).insert(digest.clone());
    }

    /// Does `send` unless another thread has done it meanwhile.
    fn once(
        &self,
        digest: &Digest,
        send: impl FnOnce() -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let turn = lock(&self.under_way).entry(digest.clone()).or_default().clone();
        let _turn = lock(&turn);
        if self.is_there(digest) {
            return Ok(());
        }
        send()?;
        self.note(digest);
        lock(&self.under_way).remove(digest);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BlockingRepository {
    /// The repository over this runtime.
    pub fn new(repository: Repository, handle: Handle) -> Self {
        Self { repository, handle, mount_from: Vec::new(), tags: None, blobs: Arc::default() }
    }

    /// The same, mounting blobs from these repositories of the same registry where it can.
    pub fn with_mount_sources(mut self, sources: Vec<oci::Repository>) -> Self {
        self.repository = self.repository.with_mount_sources(&sources);
        self.mount_from = sources;
        self
    }

    /// The repository behind it.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The descriptor behind a tag or digest.
    pub fn resolve(&self, selector: &Selector) -> Result<Descriptor, RegistryError> {
        self.handle.block_on(self.repository.resolve(selector))
    }

    /// Whether the registry has something under a tag or digest; costs no pull.
    pub fn has_manifest(&self, selector: &Selector) -> Result<bool, RegistryError> {
        self.handle.block_on(self.repository.has_manifest(selector))
    }

    /// Tags a manifest that the registry has: its bytes are written again under the tag.
    pub fn tag(&self, descriptor: &Descriptor, tag: &str) -> Result<(), RegistryError> {
        self.handle.block_on(async {
            let selector = Selector::Digest(descriptor.digest().clone());
            let fetched = self.repository.manifest(&selector).await?;
            let selector = Selector::Tag(tag.to_owned());
            let media_type = fetched.descriptor.media_type().clone();
            self.repository.put_manifest(&selector, &media_type, fetched.bytes).await.map(drop)
        })
    }

    /// What refers to a manifest.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let filter = ReferrersFilter::default();
        let found = self.handle.block_on(self.repository.referrers(subject, &filter))?;
        Ok(found.descriptors)
    }

    /// The same, with the repository's tags known, so that no list is asked for.
    pub fn with_known_tags(mut self, tags: BTreeSet<String>) -> Self {
        self.tags = Some(Arc::new(tags));
        self
    }

    /// All tags.
    pub fn tags(&self) -> Result<Vec<String>, RegistryError> {
        self.handle.block_on(self.repository.tags())
    }

    /// Deletes a tag.
    pub fn delete_tag(&self, tag: &str) -> Result<(), RegistryError> {
        self.handle.block_on(self.repository.delete_tag(tag))
    }

    /// Writes a manifest under a tag or its digest, with its entry in the list of referrers where
    /// it has a subject.
    pub fn put_manifest(
        &self,
        selector: &Selector,
        descriptor: &Descriptor,
        bytes: Bytes,
    ) -> Result<(), RegistryError> {
        let media_type = descriptor.media_type();
        self.handle.block_on(self.repository.put_manifest(selector, media_type, bytes)).map(drop)
    }

    /// Uploads a blob, or finds that it need not.
    pub fn push_blob(
        &self,
        descriptor: &Descriptor,
        content: &mut dyn Read,
    ) -> Result<PushedBlob, RegistryError> {
        match self.handle.block_on(self.repository.stat_blob(descriptor.digest()))? {
            Some(_) => {
                self.repository.tell_already_there(descriptor);
                Ok(PushedBlob::AlreadyThere)
            }
            None => self.send_blob(descriptor, content),
        }
    }

    fn send_blob(
        &self,
        descriptor: &Descriptor,
        content: &mut dyn Read,
    ) -> Result<PushedBlob, RegistryError> {
        let (sender, receiver) = mpsc::channel(CHANNEL_DEPTH);
        let window = self.repository.upload_window(descriptor);
        let content_of_task = Box::new(PipedContent::once(receiver, window));
        let (repository, wanted) = (self.repository.clone(), descriptor.clone());
        let mount_from = self.mount_from.clone();
        let task = self.handle.spawn(async move {
            repository.push_missing_blob(&wanted, content_of_task, &mount_from).await
        });
        // Ends early where the blob is there already: then nobody listens.
        pump_reader(content, &sender);
        drop(sender);
        match self.handle.block_on(task) {
            Ok(outcome) => outcome,
            Err(_) => Err(self.repository.abandoned(descriptor)),
        }
    }

    /// Takes a blob over from another repository of the registry.
    pub fn mount(
        &self,
        descriptor: &Descriptor,
        from: &oci::Repository,
    ) -> Result<Mounted, RegistryError> {
        self.handle.block_on(self.repository.mount_blob(descriptor, from))
    }
}

impl Source for BlockingRepository {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
        if is_document(descriptor) {
            let selector = Selector::Digest(descriptor.digest().clone());
            let fetched = self.handle.block_on(self.repository.manifest(&selector))?;
            self.repository.tell_finished(descriptor);
            return Ok(Box::new(io::Cursor::new(fetched.bytes)));
        }
        let (sender, pieces) = mpsc::channel(CHANNEL_DEPTH);
        let (repository, wanted) = (self.repository.clone(), descriptor.clone());
        self.handle.spawn(async move {
            if let Err(error) = stream_blob(&repository, &wanted, &sender).await {
                // The reader is gone where its owner gave up.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Box::new(BlobReader { pieces, piece: Bytes::new(), left: descriptor.size() }))
    }
}

async fn stream_blob(
    repository: &Repository,
    descriptor: &Descriptor,
    sender: &mpsc::Sender<Result<Bytes, RegistryError>>,
) -> Result<(), RegistryError> {
    // What `Source::open` gives is not trusted: its callers prove the digest.
    let mut stream = repository.blob_for_receiver(descriptor, 0).await?;
    while let Some(piece) = stream.next().await? {
        if sender.send(Ok(piece)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The pieces of a blob as a reader. An end before the promised length is an error: the task
/// that sends the pieces may have died with its runtime.
struct BlobReader {
    pieces: mpsc::Receiver<Result<Bytes, RegistryError>>,
    piece: Bytes,
    left: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => return Err(TransferError::from(error).into_io()),
                None if self.left > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

impl Sink for BlockingRepository {
    fn has(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        let has = match is_document(descriptor) {
            true => {
                let selector = Selector::Digest(descriptor.digest().clone());
                self.handle.block_on(self.repository.has_manifest(&selector))?
            }
            false if self.blobs.is_there(descriptor.digest()) => true,
            false => {
                self.handle.block_on(self.repository.stat_blob(descriptor.digest()))?.is_some()
            }
        };
        if has {
            self.blobs.note(descriptor.digest());
            self.repository.tell_already_there(descriptor);
        }
        Ok(has)
    }

    fn accept(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), TransferError> {
        if !is_document(descriptor) {
            let send = || self.send_blob(descriptor, content).map(drop);
            return Ok(self.blobs.once(descriptor.digest(), send)?);
        }
        if descriptor.size() > MANIFEST_BYTES_MAX {
            return Err(TransferError::new(
                TransferErrorKind::Full,
                format!("{} is over the limit of a manifest", descriptor.digest()),
            ));
        }
        let mut bytes = Vec::new();
        content.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| {
            TransferError::from_io(format!("read {}", descriptor.digest()), error)
        })?;
        let selector = Selector::Digest(descriptor.digest().clone());
        Ok(self.put_manifest(&selector, descriptor, bytes.into())?)
    }
}

impl ClosureSource for BlockingRepository {
    fn closure(&self, manifests: &[Digest]) -> Result<Vec<Attached>, TransferError> {
        let tags = match &self.tags {
            Some(tags) => tags.clone(),
            None => Arc::new(self.tags()?.into_iter().collect()),
        };
        Ok(self.handle.block_on(closure(&self.repository, manifests, &tags))?)
    }
}

impl ClosureSink for BlockingRepository {
    fn attach(&self, one: &Attached) -> Result<(), TransferError> {
        match &one.tag {
            Some(tag) => Ok(self.tag(&one.descriptor, tag)?),
            // It names its subject itself, and writing it told the registry.
            None => Ok(()),
        }
    }

    fn listed(&self, subject: &Digest) -> Result<Vec<Digest>, TransferError> {
        Ok(self.referrers(subject)?.iter().map(|one| one.digest().clone()).collect())
    }
}

/// Whether content goes by the manifest paths of the protocol.
fn is_document(descriptor: &Descriptor) -> bool {
    descriptor.media_type().is_manifest() || descriptor.media_type().is_index()
}

impl Repository {
    /// How much of a blob that comes once must be kept to send a part of it again.
    fn upload_window(&self, descriptor: &Descriptor) -> u64 {
        let piece = crate::limits::PIECE_BYTES as u64;
        self.upload_config().chunk_bytes.min(descriptor.size()).saturating_add(piece)
    }

    fn abandoned(&self, descriptor: &Descriptor) -> RegistryError {
        RegistryError::new(
            crate::error::Act::PutBlob,
            format!("{}@{}", self.name().familiar(), descriptor.digest()),
            crate::error::Problem::Abandoned,
        )
    }

    fn tell_finished(&self, descriptor: &Descriptor) {
        self.progress().event(descriptor, TransferEvent::Finished);
    }

    fn tell_already_there(&self, descriptor: &Descriptor) {
        self.progress().event(descriptor, TransferEvent::AlreadyThere);
    }
}
