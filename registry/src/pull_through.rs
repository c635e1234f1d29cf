//! Pull-through caching: what the upstream has is fetched once, kept, and served from here.
//!
//! One blob is fetched once however many clients wait for it; they are fed while it arrives. A
//! tag is asked for again when its time is over, and served as it was when the upstream is down.
//! What is asked for by digest and was fetched before costs the upstream nothing.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use oci::{Algorithm, Descriptor, Digest, Index, Raw};
use tokio::sync::Mutex as AsyncMutex;

use crate::clock::Moment;
use crate::content::Content;
use crate::fault::{Code, Fault};
use crate::handler::{App, Call, blobs, manifests};
use crate::manifest::{Kind, Submission};
use crate::name::{ManifestReference, RepositoryName, Tag};
use crate::repository::Repositories;
use crate::uploads::blocking;
use crate::upstream::{Upstream, UpstreamError, UpstreamManifest};

mod fetch;

use fetch::Fetches;

/// Tags remembered as fresh; beyond it the memory is cleared, which costs one question per tag.
const FRESH_TAGS_MAX: usize = 100_000;

/// Whether an answer is known to be the upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The upstream said so within the tag's time, or it is content by digest.
    Fresh,
    /// The upstream is down.
    Stale,
}

/// The cache of one upstream.
pub(crate) struct PullThrough {
    upstream: Arc<dyn Upstream>,
    repositories: Arc<Repositories>,
    content: Content,
    tag_time: Duration,
    patience: Duration,
    fresh: Mutex<HashMap<(RepositoryName, Tag), Moment>>,
    asking: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
    fetches: Arc<Fetches>,
}

impl PullThrough {
    /// A cache of `upstream` in the given root.
    pub(crate) fn new(
        upstream: Arc<dyn Upstream>,
        repositories: Arc<Repositories>,
        content: Content,
        tag_time: Duration,
        patience: Duration,
    ) -> Self {
        let fetches = Fetches::new(repositories.clone(), content.clone(), patience);
        Self {
            upstream,
            repositories,
            content,
            tag_time,
            patience,
            fresh: Mutex::default(),
            asking: Mutex::default(),
            fetches: Arc::new(fetches),
        }
    }

    /// Makes sure that the manifest is here if the upstream has it.
    pub(crate) async fn manifest(
        &self,
        app: &App,
        name: &RepositoryName,
        reference: &ManifestReference,
    ) -> Result<Freshness, Fault> {
        if self.is_current(name, reference).await?.is_ok() {
            return Ok(Freshness::Fresh);
        }
        let key = format!("{name}@{reference}");
        let turn = self.turn(&key);
        let answered = {
            let _turn = turn.lock().await;
            // Whoever had the turn before may have fetched it.
            match self.is_current(name, reference).await? {
                Ok(()) => Ok(Freshness::Fresh),
                Err(known) => self.ask(app, name, reference, known).await,
            }
        };
        // The map's and this one: nobody else waits.
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&turn) <= 2 {
            asking.remove(&key);
        }
        answered
    }

    async fn ask(
        &self,
        app: &App,
        name: &RepositoryName,
        reference: &ManifestReference,
        known: Option<Digest>,
    ) -> Result<Freshness, Fault> {
        match within(self.patience, self.upstream.manifest(name, reference, known.as_ref())).await {
            Ok(UpstreamManifest::Unchanged) => self.confirm(name, reference),
            Ok(UpstreamManifest::Manifest { media_type, bytes }) => {
                app.metrics.upstream_fetches.fetch_add(1, Ordering::Relaxed);
                self.keep(name, reference, &media_type, bytes).await?;
                self.confirm(name, reference);
            }
            Err(UpstreamError::NotFound { .. }) => {
                if let ManifestReference::Tag(tag) = reference {
                    let (repositories, name, tag) =
                        (self.repositories.clone(), name.clone(), tag.clone());
                    blocking("forget a tag", move || repositories.remove_tag(&name, &tag)).await?;
                }
            }
            Err(error @ UpstreamError::Unavailable { .. }) if known.is_some() => {
                tracing::warn!(error = %crate::fault::chain(&error), repository = %name, %reference, "serving from the cache");
                app.metrics.stale_answers.fetch_add(1, Ordering::Relaxed);
                return Ok(Freshness::Stale);
            }
            Err(error) => return Err(refused(&error)),
        }
        Ok(Freshness::Fresh)
    }

    /// Whether no question is needed; otherwise what is known so far.
    async fn is_current(
        &self,
        name: &RepositoryName,
        reference: &ManifestReference,
    ) -> Result<Result<(), Option<Digest>>, Fault> {
        let (repositories, owned, wanted) =
            (self.repositories.clone(), name.clone(), reference.clone());
        let known = blocking("look into the cache", move || {
            let digest = match &wanted {
                ManifestReference::Digest(digest) => Some(digest.clone()),
                ManifestReference::Tag(tag) => repositories.tag(&owned, tag)?,
            };
            match digest {
                Some(digest) => Ok(repositories.manifest(&owned, &digest)?.map(|_| digest)),
                None => Ok(None),
            }
        })
        .await?;
        let current = match reference {
            ManifestReference::Digest(_) => known.is_some(),
            ManifestReference::Tag(tag) => known.is_some() && self.is_fresh(name, tag),
        };
        Ok(if current { Ok(()) } else { Err(known) })
    }

    fn is_fresh(&self, name: &RepositoryName, tag: &Tag) -> bool {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.get(&(name.clone(), tag.clone())).is_some_and(|at| at.elapsed() < self.tag_time)
    }

    fn confirm(&self, name: &RepositoryName, reference: &ManifestReference) {
        if let ManifestReference::Tag(tag) = reference {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh.len() >= FRESH_TAGS_MAX {
                fresh.clear();
            }
            fresh.insert((name.clone(), tag.clone()), Moment::now());
        }
    }

    async fn keep(
        &self,
        name: &RepositoryName,
        reference: &ManifestReference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), Fault> {
        let (algorithm, expected, tags) = match reference {
            ManifestReference::Digest(digest) => (digest.algorithm(), Some(digest), Vec::new()),
            ManifestReference::Tag(tag) => (Algorithm::Sha256, None, vec![tag.clone()]),
        };
        let digest = Digest::of(algorithm, &bytes);
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            tracing::warn!(%expected, found = %digest, "the upstream sent another manifest");
            return Err(corrupt());
        }
        let submission = Submission::parse(bytes, digest, Some(media_type)).map_err(|fault| {
            tracing::warn!(fault = %fault.summary(), "the upstream sent something that is no manifest");
            corrupt()
        })?;
        let (repositories, content, name) =
            (self.repositories.clone(), self.content.clone(), name.clone());
        blocking("keep a manifest", move || {
            manifests::store(&repositories, &content, &name, &submission, &tags)?;
            link_present(&repositories, &content, &name, &submission)
        })
        .await
    }

    fn turn(&self, key: &str) -> Arc<AsyncMutex<()>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.entry(key.to_owned()).or_default().clone()
    }

    /// A blob that is not here: joined to the running fetch of it, or to a new one.
    pub(crate) async fn blob(
        &self,
        call: &Call,
        name: RepositoryName,
        digest: Digest,
    ) -> Result<Response, Fault> {
        let fetch = self.fetches.join(&call.app, &name, &digest, &self.upstream);
        let known = fetch.begun().await.map_err(|stop| stop.into_fault())?;
        let ranged = call.head.headers.contains_key(http::header::RANGE);
        if let Some(size) = known.filter(|_| !ranged) {
            return fetch.respond(call, &digest, size).await;
        }
        // A part of a blob, or one of unknown size, is served from what was kept.
        fetch.completed().await.map_err(|stop| stop.into_fault())?;
        match blobs::open_linked(&call.app, &name, &digest).await? {
            Some(opened) => blobs::respond(call, &digest, opened),
            None => Err(Fault::blob_unknown(&name, &digest)),
        }
    }

    /// The upstream's tags, sorted; nothing when it is down, so that the cached ones are listed.
    pub(crate) async fn tags(&self, name: &RepositoryName) -> Result<Option<Vec<String>>, Fault> {
        match within(self.patience, self.upstream.tags(name)).await {
            Ok(mut tags) => {
                tags.sort_unstable();
                tags.dedup();
                Ok(Some(tags))
            }
            Err(UpstreamError::NotFound { .. }) => Err(Fault::name_unknown(name)),
            Err(UpstreamError::Unavailable { .. }) => Ok(None),
            Err(error) => Err(refused(&error)),
        }
    }

    /// The upstream's referrers in the order of digests; nothing when it is down.
    pub(crate) async fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let bytes = match within(self.patience, self.upstream.referrers(name, subject)).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(UpstreamError::NotFound { .. }) => return Ok(Some(Vec::new())),
            Err(UpstreamError::Unavailable { .. }) => return Ok(None),
            Err(error) => return Err(refused(&error)),
        };
        let index: Raw<Index> = Raw::parse(bytes.to_vec()).map_err(|error| {
            tracing::warn!(%error, "the upstream sent something that is no index");
            corrupt()
        })?;
        let mut found = index.manifests().to_vec();
        found.sort_by(|a, b| a.digest().cmp(b.digest()));
        Ok(Some(found))
    }
}

/// An upstream that does not answer is one that is down: nobody waits for it without end.
async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answered) => answered,
        Err(late) => Err(UpstreamError::Unavailable { source: late.into() }),
    }
}

/// The upstream says that the repository has what the manifest names: what another repository
/// already brought here need not be fetched again.
fn link_present(
    repositories: &Repositories,
    content: &Content,
    name: &RepositoryName,
    submission: &Submission,
) -> io::Result<()> {
    let blobs = submission.references().filter(|(kind, _)| *kind == Kind::Blob);
    for (_, descriptor) in blobs {
        if content.rely(descriptor.digest())? == Some(descriptor.size()) {
            repositories.link_blob(name, descriptor.digest(), descriptor.size())?;
        }
    }
    Ok(())
}

/// What a client is told when the upstream gives nothing.
fn refused(error: &UpstreamError) -> Fault {
    tracing::warn!(error = %crate::fault::chain(error), "the upstream gives nothing");
    match error {
        UpstreamError::NotFound { what } => {
            Fault::new(Code::BlobUnknown, format!("the upstream registry has no {what}"))
        }
        UpstreamError::Denied { what } => {
            Fault::new(Code::Denied, format!("the upstream registry denies this registry {what}"))
        }
        UpstreamError::Unavailable { .. } => Fault::new(
            Code::Unknown,
            "the upstream registry is unavailable and the cache does not have it",
        )
        .with_status(StatusCode::BAD_GATEWAY),
    }
}

fn corrupt() -> Fault {
    Fault::new(Code::Unknown, "the upstream registry sent content that is not what was asked for")
        .with_status(StatusCode::BAD_GATEWAY)
}
