//! One fetch of one blob, and everybody who waits for it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use oci::{Digest, Hasher};
use tokio::sync::watch;

use super::within;
use crate::content::Content;
use crate::fault::{Code, Fault};
use crate::handler::{App, Call, blobs};
use crate::limits;
use crate::name::RepositoryName;
use crate::repository::{Repositories, UploadId};
use crate::uploads::blocking;
use crate::upstream::{Upstream, UpstreamBlob, UpstreamError};

/// The fetches that run now.
pub(super) struct Fetches {
    repositories: Arc<Repositories>,
    content: Content,
    patience: Duration,
    running: Mutex<HashMap<(RepositoryName, Digest), Fetch>>,
}

/// A hold on a running fetch.
#[derive(Clone)]
pub(super) struct Fetch(watch::Receiver<Progress>);

/// How far a fetch came. It only goes forward.
#[derive(Clone, Debug)]
enum Progress {
    /// The upstream has not answered yet.
    Asked,
    /// Bytes arrive. `ready` of them may be given out: the last piece is held back until the
    /// whole was verified, so that nobody gets a complete blob that is wrong.
    Arriving { file: Arc<File>, size: Option<u64>, ready: u64 },
    /// Verified and kept.
    Kept { file: Arc<File>, size: u64 },
    /// Over, with nothing kept.
    Stopped(Stop),
}

/// Why a fetch gave nothing.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    NotFound(String),
    Denied(String),
    Failed,
}

impl Stop {
    /// What a waiting client is told.
    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::NotFound(message) => Fault::new(Code::BlobUnknown, message),
            Self::Denied(message) => Fault::new(Code::Denied, message),
            Self::Failed => {
                Fault::new(Code::Unknown, "the upstream registry did not give the blob")
                    .with_status(StatusCode::BAD_GATEWAY)
            }
        }
    }
}

impl From<UpstreamError> for Stop {
    fn from(error: UpstreamError) -> Self {
        match &error {
            UpstreamError::NotFound { .. } => Self::NotFound(error.to_string()),
            UpstreamError::Denied { .. } => Self::Denied(error.to_string()),
            UpstreamError::Unavailable { .. } => {
                tracing::warn!(error = %crate::fault::chain(&error), "a fetch failed");
                Self::Failed
            }
        }
    }
}

impl Fetches {
    pub(super) fn new(
        repositories: Arc<Repositories>,
        content: Content,
        patience: Duration,
    ) -> Self {
        Self { repositories, content, patience, running: Mutex::default() }
    }

    /// Joins the fetch of a blob, or starts one.
    pub(super) fn join(
        self: &Arc<Self>,
        app: &Arc<App>,
        name: &RepositoryName,
        digest: &Digest,
        upstream: &Arc<dyn Upstream>,
    ) -> Fetch {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.clone(), digest.clone());
        if let Some(fetch) = running.get(&key) {
            return fetch.clone();
        }
        let (sender, receiver) = watch::channel(Progress::Asked);
        let fetch = Fetch(receiver);
        running.insert(key.clone(), fetch.clone());
        let (fetches, app, upstream) = (self.clone(), app.clone(), upstream.clone());
        // The fetch goes on when its clients leave: the next one will want the blob as well.
        tokio::spawn(async move {
            let over = match fetches.run(&app, &*upstream, &key, &sender).await {
                Ok(kept) => kept,
                Err(stop) => Progress::Stopped(stop),
            };
            // Out of the map before the end is known: who comes later must look at the disk.
            fetches.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            sender.send_replace(over);
        });
        fetch
    }

    async fn run(
        &self,
        app: &App,
        upstream: &dyn Upstream,
        (name, digest): &(RepositoryName, Digest),
        sender: &watch::Sender<Progress>,
    ) -> Result<Progress, Stop> {
        let failed = |fault: Fault| {
            tracing::warn!(fault = %fault.summary(), %digest, "a fetch was not kept");
            Stop::Failed
        };
        // An earlier fetch may have ended between the caller's look at the disk and now.
        let kept = blobs::open_linked(app, name, digest).await.map_err(failed)?;
        if let Some((file, size)) = kept {
            return Ok(Progress::Kept { file: Arc::new(file), size });
        }
        app.metrics.upstream_fetches.fetch_add(1, Ordering::Relaxed);
        let blob = within(self.patience, upstream.blob(name, digest)).await?;
        let staging = self.repositories.staging();
        let opened = blocking("stage a fetch", move || {
            let path = staging.join(UploadId::random()?.as_str());
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            Ok((path, file))
        });
        let (path, file) = opened.await.map_err(failed)?;
        let file = Arc::new(file);
        let arrived = arrive(blob, &file, digest, sender, self.patience).await;
        match arrived {
            Ok(size) => {
                self.keep(name, digest, file.clone(), path, size).await.map_err(failed)?;
                Ok(Progress::Kept { file, size })
            }
            Err(stop) => {
                let _ = blocking("drop a fetch", move || std::fs::remove_file(path)).await;
                Err(stop)
            }
        }
    }

    async fn keep(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        file: Arc<File>,
        path: PathBuf,
        size: u64,
    ) -> Result<(), Fault> {
        let (repositories, content) = (self.repositories.clone(), self.content.clone());
        let (name, digest) = (name.clone(), digest.clone());
        blocking("keep a fetched blob", move || {
            content.adopt(&file, &path, &digest)?;
            repositories.link_blob(&name, &digest, size)
        })
        .await
    }
}

/// Writes what arrives, hashes it and tells the followers; the size of the verified whole.
async fn arrive(
    mut blob: UpstreamBlob,
    file: &Arc<File>,
    digest: &Digest,
    sender: &watch::Sender<Progress>,
    patience: Duration,
) -> Result<u64, Stop> {
    let (size, mut written, mut hasher) = (blob.size, 0u64, Hasher::new(digest.algorithm()));
    sender.send_replace(Progress::Arriving { file: file.clone(), size, ready: 0 });
    let mut next = async || within(patience, async { blob.content.next().await.transpose() }).await;
    while let Some(bytes) = next().await? {
        let before = written;
        written += bytes.len() as u64;
        if size.is_some_and(|size| written > size) {
            tracing::warn!(%digest, "the upstream sends more than it announced");
            return Err(Stop::Failed);
        }
        let target = file.clone();
        let wrote = blocking("write a fetched blob", move || {
            hasher.update(&bytes);
            (&*target).write_all(&bytes)?;
            Ok(hasher)
        });
        hasher = wrote.await.map_err(|_| Stop::Failed)?;
        sender.send_replace(Progress::Arriving { file: file.clone(), size, ready: before });
    }
    let found = hasher.finish();
    if found != *digest || size.is_some_and(|size| size != written) {
        tracing::warn!(expected = %digest, %found, "the upstream sent another blob");
        return Err(Stop::Failed);
    }
    Ok(written)
}

impl Fetch {
    /// Waits until bytes arrive; the size of the blob when it is known.
    pub(super) async fn begun(&self) -> Result<Option<u64>, Stop> {
        let mut progress = self.0.clone();
        let state = progress.wait_for(|p| !matches!(p, Progress::Asked)).await;
        match state.as_deref() {
            Ok(Progress::Arriving { size, .. }) => Ok(*size),
            Ok(Progress::Kept { size, .. }) => Ok(Some(*size)),
            Ok(Progress::Stopped(stop)) => Err(stop.clone()),
            Ok(Progress::Asked) | Err(_) => Err(Stop::Failed),
        }
    }

    /// Waits until the blob is kept.
    pub(super) async fn completed(&self) -> Result<(), Stop> {
        let mut progress = self.0.clone();
        let over = |p: &Progress| matches!(p, Progress::Kept { .. } | Progress::Stopped(_));
        match progress.wait_for(over).await.as_deref() {
            Ok(Progress::Kept { .. }) => Ok(()),
            Ok(Progress::Stopped(stop)) => Err(stop.clone()),
            _ => Err(Stop::Failed),
        }
    }

    /// Answers with the blob while it arrives. A fetch that fails breaks the answer off.
    pub(super) async fn respond(
        &self,
        call: &Call,
        digest: &Digest,
        size: u64,
    ) -> Result<Response, Fault> {
        if call.is_head() {
            return Ok(blobs::described_whole(Body::empty(), digest, size));
        }
        let follower =
            stream::try_unfold((self.0.clone(), 0u64), |(mut progress, position)| async move {
                let chunk = next_chunk(&mut progress, position).await?;
                Ok::<_, std::io::Error>(chunk.map(|chunk| {
                    let position = position + chunk.len() as u64;
                    (chunk, (progress, position))
                }))
            });
        Ok(blobs::described_whole(Body::from_stream(follower), digest, size))
    }
}

/// The next bytes that may be given out; nothing at the end of a kept blob.
async fn next_chunk(
    progress: &mut watch::Receiver<Progress>,
    position: u64,
) -> std::io::Result<Option<Bytes>> {
    let gone = || std::io::Error::other("the fetch from the upstream broke off");
    let more = |p: &Progress| match p {
        Progress::Asked => false,
        Progress::Arriving { ready, .. } => *ready > position,
        Progress::Kept { .. } | Progress::Stopped(_) => true,
    };
    let (file, end) = match progress.wait_for(more).await.as_deref() {
        Ok(Progress::Arriving { file, ready, .. }) => (file.clone(), *ready),
        Ok(Progress::Kept { file, size }) => (file.clone(), *size),
        _ => return Err(gone()),
    };
    if position == end {
        return Ok(None);
    }
    let want = (end - position).min(limits::READ_CHUNK_BYTES as u64) as usize;
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; want];
        file.read_exact_at(&mut buffer, position).map(|()| Bytes::from(buffer))
    });
    read.await.map_err(std::io::Error::other)?.map(Some)
}
