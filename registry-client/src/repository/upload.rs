//! Writing blobs: look, mount, upload at once or in chunks, resume, cancel
//! (distribution-spec "Pushing blobs").

mod session;

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderName, Method, StatusCode};
use oci::{Algorithm, Descriptor};

use super::Repository;
use crate::budget::Lane;
use crate::content::{BlobContent, Outgoing};
use crate::error::{Act, ErrorCode, Problem, RegistryError};
use crate::exchange::{Answer, Call, CallBody, Endpoint, resolve_location};
use crate::journal::{NoJournal, TransferJournal, UploadKey};
use crate::limits::CHUNK_BYTES_DEFAULT;
use crate::progress::TransferEvent;

pub use session::UploadMode;
use session::{Session, parse_range_end};

/// Settings of uploads.
#[derive(Clone)]
pub struct UploadConfig {
    /// At once, in chunks, or by size.
    pub mode: UploadMode,
    /// Bytes in one chunk. Blobs up to this size go at once in [`UploadMode::Auto`].
    pub chunk_bytes: u64,
    /// Whether the registry is asked to find the blob in a repository it may take it from.
    pub anonymous_mount: AnonymousMount,
    /// Where sessions are kept, so that another process can go on.
    pub journal: Arc<dyn TransferJournal>,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self {
            mode: UploadMode::Auto,
            chunk_bytes: CHUNK_BYTES_DEFAULT,
            anonymous_mount: AnonymousMount::Try,
            journal: Arc::new(NoJournal),
        }
    }
}

/// Whether an upload begins with the question whether the registry has the blob anywhere that we
/// may read (`mount` without `from`; the answer of a registry that does not know is an upload).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnonymousMount {
    /// It does.
    #[default]
    Try,
    /// It does not.
    Skip,
}

/// How a blob came to be in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushedBlob {
    /// It was there.
    AlreadyThere,
    /// It was taken over from this repository's path.
    Mounted {
        /// The path.
        from: String,
    },
    /// It was uploaded.
    Uploaded,
}

/// Whether a registry took a blob over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// It did.
    Yes,
    /// It did not: the blob must be uploaded.
    Declined,
}

const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

impl Repository {
    /// Makes the registry have a blob: not at all where it has it, by mounting it from one of
    /// `mount_from` where it can, else by uploading `content`.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        content: Box<dyn BlobContent>,
        mount_from: &[oci::Repository],
    ) -> Result<PushedBlob, RegistryError> {
        let pushed = self.push(descriptor, content, mount_from).await;
        pushed.map_err(|problem| self.blob_error(Act::PutBlob, descriptor.digest(), problem))
    }

    /// Takes a blob over from another repository of the registry (end-11).
    pub async fn mount_blob(
        &self,
        descriptor: &Descriptor,
        from: &oci::Repository,
    ) -> Result<Mounted, RegistryError> {
        let wrap = |problem| self.blob_error(Act::MountBlob, descriptor.digest(), problem);
        let endpoint = self.upstream().await.map_err(wrap)?;
        match self.try_mount(&endpoint, descriptor, from).await.map_err(wrap)? {
            None => Ok(Mounted::Yes),
            Some(session) => {
                self.cancel(&endpoint, &session).await;
                Ok(Mounted::Declined)
            }
        }
    }

    async fn push(
        &self,
        descriptor: &Descriptor,
        content: Box<dyn BlobContent>,
        mount_from: &[oci::Repository],
    ) -> Result<PushedBlob, Problem> {
        if self.head_blob(descriptor.digest(), self.push_scope()).await?.is_some() {
            self.tell(descriptor, TransferEvent::AlreadyThere);
            return Ok(PushedBlob::AlreadyThere);
        }
        self.push_unasked(descriptor, content, mount_from).await
    }

    /// Like [`Repository::push_blob`] where the caller has asked already whether it is there.
    pub(crate) async fn push_missing_blob(
        &self,
        descriptor: &Descriptor,
        content: Box<dyn BlobContent>,
        mount_from: &[oci::Repository],
    ) -> Result<PushedBlob, RegistryError> {
        let pushed = self.push_unasked(descriptor, content, mount_from).await;
        pushed.map_err(|problem| self.blob_error(Act::PutBlob, descriptor.digest(), problem))
    }

    async fn push_unasked(
        &self,
        descriptor: &Descriptor,
        content: Box<dyn BlobContent>,
        mount_from: &[oci::Repository],
    ) -> Result<PushedBlob, Problem> {
        let endpoint = self.upstream().await?;
        // What an earlier process has sent already is worth more than a question.
        let mut session = self.recall(&endpoint, descriptor).await;
        let recalled = session.is_some();
        for from in mount_from.iter().filter(|from| !recalled && self.can_mount_from(from)) {
            if let Some(unused) = session.take() {
                self.cancel(&endpoint, &unused).await;
            }
            match self.try_mount(&endpoint, descriptor, from).await {
                Ok(None) => {
                    let from = from.path().to_owned();
                    self.tell(descriptor, TransferEvent::Mounted { from: from.clone() });
                    return Ok(PushedBlob::Mounted { from });
                }
                Ok(Some(opened)) => session = Some(opened),
                // Not being allowed to read there is no reason not to upload here.
                Err(problem) if problem.is_temporary() => return Err(problem),
                Err(_) => {}
            }
        }
        if session.is_none() && self.posts_whole(descriptor) {
            return self.push_by_post(&endpoint, descriptor, content).await;
        }
        let session = match session {
            Some(session) => session,
            None => match self.first_session(&endpoint, descriptor).await? {
                Some(session) => session,
                None => {
                    self.tell(descriptor, TransferEvent::AlreadyThere);
                    return Ok(PushedBlob::AlreadyThere);
                }
            },
        };
        self.tell(descriptor, TransferEvent::Started);
        let content = Outgoing::new(content, self.counter(descriptor));
        self.send_from(&endpoint, descriptor, content, session).await?;
        self.tell(descriptor, TransferEvent::Finished);
        Ok(PushedBlob::Uploaded)
    }

    fn posts_whole(&self, descriptor: &Descriptor) -> bool {
        let one_chunk = 1..=self.upload.chunk_bytes;
        self.upload.mode == UploadMode::SinglePost && one_chunk.contains(&descriptor.size())
    }

    /// One POST with everything (end-4b). A registry that does not do it opens a session instead.
    async fn push_by_post(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        content: Box<dyn BlobContent>,
    ) -> Result<PushedBlob, Problem> {
        self.tell(descriptor, TransferEvent::Started);
        let content = Outgoing::new(content, self.counter(descriptor));
        let range = 0..descriptor.size();
        let call = self
            .begin_call(descriptor)
            .with_query("digest", descriptor.digest().to_string())
            .with_header(CONTENT_TYPE, "application/octet-stream")?
            .sends(CallBody::Content { content: content.clone(), range })
            .accepts(&[201, 202])
            .on(Lane::Blob);
        let answer = self.exchange.call(endpoint, &call).await?;
        if answer.status != StatusCode::CREATED {
            let session = session_of(&answer)?;
            drop(answer);
            self.send_from(endpoint, descriptor, content, session).await?;
        }
        self.tell(descriptor, TransferEvent::Finished);
        Ok(PushedBlob::Uploaded)
    }

    /// The session that an upload begins with; nothing where the registry had the blob elsewhere
    /// and took it over.
    async fn first_session(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
    ) -> Result<Option<Session>, Problem> {
        if self.upload.anonymous_mount == AnonymousMount::Try {
            let call = self
                .begin_call(descriptor)
                .with_query("mount", descriptor.digest().to_string())
                .accepts(&[201, 202]);
            match self.exchange.call(endpoint, &call).await {
                Ok(answer) if answer.status == StatusCode::CREATED => return Ok(None),
                Ok(answer) => return session_of(&answer).map(Some),
                // Some registries want a `from` with every mount.
                Err(problem) if problem.status() == Some(StatusCode::BAD_REQUEST) => {}
                Err(problem) => return Err(problem),
            }
        }
        self.begin(endpoint, descriptor).await.map(Some)
    }

    fn can_mount_from(&self, from: &oci::Repository) -> bool {
        from.registry() == self.name.registry() && from.path() != self.name.path()
    }

    /// Asks for a mount. Nothing where it was done, an upload session where it was declined.
    async fn try_mount(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        from: &oci::Repository,
    ) -> Result<Option<Session>, Problem> {
        let mut call = self
            .call(Method::POST, "blobs/uploads/", self.push_scope())
            .with_query("mount", descriptor.digest().to_string())
            .with_query("from", from.path())
            .accepts(&[201, 202]);
        call.scopes = call.scopes.union(&crate::auth::ScopeSet::pull(from.path()));
        let answer = self.exchange.call(endpoint, &call).await?;
        match answer.status {
            StatusCode::CREATED => Ok(None),
            _ => session_of(&answer).map(Some),
        }
    }

    fn begin_call(&self, descriptor: &Descriptor) -> Call {
        let call = self.call(Method::POST, "blobs/uploads/", self.push_scope()).accepts(&[202]);
        match descriptor.digest().algorithm() {
            Algorithm::Sha256 => call,
            other => call.with_query("digest-algorithm", other.as_str()),
        }
    }

    async fn begin(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
    ) -> Result<Session, Problem> {
        session_of(&self.exchange.call(endpoint, &self.begin_call(descriptor)).await?)
    }

    /// Uploads, taking up after every failure that may pass from what the registry has.
    async fn send_from(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        content: Outgoing,
        mut session: Session,
    ) -> Result<(), Problem> {
        session.choose(&self.upload, descriptor.size());
        if !session.at_once {
            // A process may die in its first chunk, of which the registry keeps what came.
            self.upload.journal.save(&self.upload_key(descriptor), &session.record());
        }
        let mut failures = 0;
        loop {
            let before = session.offset;
            let problem = match self.send_all(endpoint, descriptor, &content, &mut session).await {
                Ok(()) => {
                    self.upload.journal.forget(&self.upload_key(descriptor));
                    return Ok(());
                }
                Err(problem) => problem,
            };
            failures = if session.offset > before { 1 } else { failures + 1 };
            let next = self.recover(endpoint, descriptor, &mut session, problem, failures).await?;
            if next == Recovered::Complete {
                return Ok(());
            }
        }
    }

    fn counter(&self, descriptor: &Descriptor) -> Arc<dyn Fn(u64) + Send + Sync> {
        let (progress, descriptor) = (self.progress.clone(), descriptor.clone());
        Arc::new(move |offset| progress.event(&descriptor, TransferEvent::Advanced { offset }))
    }

    /// The session that another process left behind, where the registry still knows it.
    async fn recall(&self, endpoint: &Endpoint, descriptor: &Descriptor) -> Option<Session> {
        let key = self.upload_key(descriptor);
        let record = self.upload.journal.load(&key)?;
        if let Some(session) = Session::recalled(&record)
            && let Ok(Some(session)) = self.status(endpoint, session).await
        {
            self.tell(descriptor, TransferEvent::Resumed { offset: session.offset });
            return Some(session);
        }
        // Sessions expire: a new one takes its place.
        self.upload.journal.forget(&key);
        None
    }

    /// Sends what the registry does not have yet and closes the upload.
    async fn send_all(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        content: &Outgoing,
        session: &mut Session,
    ) -> Result<(), Problem> {
        let size = descriptor.size();
        if session.at_once && session.offset == 0 {
            return self.close(endpoint, descriptor, session, Some(content)).await;
        }
        while session.offset < size {
            self.send_chunk(endpoint, descriptor, content, session).await?;
        }
        self.close(endpoint, descriptor, session, None).await
    }

    async fn send_chunk(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        content: &Outgoing,
        session: &mut Session,
    ) -> Result<(), Problem> {
        let start = session.offset;
        let end = start.saturating_add(session.chunk_bytes).min(descriptor.size());
        let mut call = self
            .upload_call(Method::PATCH, session)
            .with_header(CONTENT_TYPE, "application/octet-stream")?
            // No unit and both ends inclusive (end-5).
            .with_header(CONTENT_RANGE, &format!("{start}-{}", end - 1))?
            .sends(CallBody::Content { content: content.clone(), range: start..end })
            .accepts(&[201, 202, 204])
            .once();
        if session.own_connections {
            call = call.with_header(CONNECTION, "close")?;
        }
        let answer = self.exchange.call(endpoint, &call).await?;
        session.follow(&answer)?;
        session.confirm(parse_range_end(answer.header(RANGE.as_str())), end)?;
        session.chunk_bytes = session.larger_chunk(&self.upload);
        self.upload.journal.save(&self.upload_key(descriptor), &session.record());
        Ok(())
    }

    /// The closing PUT (end-6), with the whole content where nothing was sent before.
    async fn close(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        session: &mut Session,
        content: Option<&Outgoing>,
    ) -> Result<(), Problem> {
        let mut call = self
            .upload_call(Method::PUT, session)
            .with_query("digest", descriptor.digest().to_string())
            .accepts(&[200, 201, 202, 204])
            .once();
        if let Some(content) = content.filter(|_| descriptor.size() > 0) {
            let range = 0..descriptor.size();
            call = call
                .with_header(CONTENT_TYPE, "application/octet-stream")?
                .sends(CallBody::Content { content: content.clone(), range });
        } else {
            call = call.sends(CallBody::Bytes(bytes::Bytes::new()));
        }
        session.closing = true;
        self.exchange.call(endpoint, &call).await.map(drop)
    }

    fn upload_call(&self, method: Method, session: &Session) -> Call {
        self.call(method, "", self.push_scope()).at_url(session.location.clone()).on(Lane::Blob)
    }

    /// After a failure: where to go on, or the failure itself.
    async fn recover(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        session: &mut Session,
        problem: Problem,
        failures: u32,
    ) -> Result<Recovered, Problem> {
        if let Some(mode) = session.other_mode(&problem) {
            self.cancel(endpoint, session).await;
            *session = self.begin(endpoint, descriptor).await?;
            session.choose(&self.upload, descriptor.size());
            session.force(mode);
            return Ok(Recovered::GoOn);
        }
        let lost_place = is_lost_place(&problem);
        let gives_up = failures >= self.exchange.config.retry.tries_max;
        if gives_up || !problem.is_temporary() && !lost_place {
            self.cancel(endpoint, session).await;
            let times = session.restarts + 1;
            return Err(if lost_place { Problem::UploadLost { times } } else { problem });
        }
        session.own_connections |= matches!(problem, Problem::Connection { .. });
        if !lost_place {
            let call = self.upload_call(Method::GET, session);
            let key = self.exchange.budget_key(endpoint, &call).await?;
            let wait = self.exchange.wait_after(&key, problem, failures)?;
            self.exchange.config.clock.sleep(wait).await;
        }
        session.chunk_bytes = session.smaller_chunk();
        let offset = match self.status(endpoint, session.clone()).await? {
            Some(found) if found.offset <= descriptor.size() => {
                *session = found;
                session.offset
            }
            _ => {
                // The session is gone. A lost answer to the closing PUT looks the same.
                if session.closing
                    && self.head_blob(descriptor.digest(), self.push_scope()).await?.is_some()
                {
                    return Ok(Recovered::Complete);
                }
                if session.restarts + 1 >= self.exchange.config.retry.tries_max {
                    return Err(Problem::UploadLost { times: session.restarts + 1 });
                }
                session.restart(self.begin(endpoint, descriptor).await?);
                0
            }
        };
        self.tell(descriptor, TransferEvent::Resumed { offset });
        Ok(Recovered::GoOn)
    }

    /// What the registry has of an upload (end-13); nothing where it does not know it.
    async fn status(
        &self,
        endpoint: &Endpoint,
        mut session: Session,
    ) -> Result<Option<Session>, Problem> {
        let call =
            self.upload_call(Method::GET, &session).on(Lane::Document).accepts(&[200, 202, 204]);
        match self.exchange.call(endpoint, &call).await {
            Ok(answer) => {
                session.follow(&answer)?;
                session.offset = parse_range_end(answer.header(RANGE.as_str())).unwrap_or(0);
                session.closing = false;
                Ok(Some(session))
            }
            Err(problem) if problem.is_temporary() => Err(problem),
            Err(_) => Ok(None),
        }
    }

    /// Gives an upload up (DST-13). Best effort: the registry cleans up by itself sooner or later.
    async fn cancel(&self, endpoint: &Endpoint, session: &Session) {
        let call = self
            .upload_call(Method::DELETE, session)
            .on(Lane::Document)
            .accepts(&[200, 202, 204])
            .once();
        if let Err(problem) = self.exchange.call(endpoint, &call).await {
            tracing::debug!(%problem, "upload not cancelled");
        }
    }

    fn upload_key(&self, descriptor: &Descriptor) -> UploadKey {
        UploadKey {
            registry: self.name.registry().to_owned(),
            repository: self.name.path().to_owned(),
            digest: descriptor.digest().clone(),
        }
    }
}

/// What recovering came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recovered {
    GoOn,
    Complete,
}

/// Whether we and the registry disagree about how far the upload is (DST-12).
fn is_lost_place(problem: &Problem) -> bool {
    let status = problem.status();
    status == Some(StatusCode::RANGE_NOT_SATISFIABLE)
        || problem.has_code(&ErrorCode::BlobUploadUnknown)
        || problem.has_code(&ErrorCode::BlobUploadInvalid)
        || problem.has_code(&ErrorCode::RangeInvalid)
}

fn session_of(answer: &Answer) -> Result<Session, Problem> {
    let location = answer.headers.get(LOCATION).ok_or_else(|| Problem::Protocol {
        reason: "the registry opened an upload without saying where".to_owned(),
    })?;
    let location = resolve_location(&answer.url, location)?;
    let chunk_min = answer.header(CHUNK_MIN_LENGTH.as_str()).and_then(|text| text.parse().ok());
    Ok(Session::new(location, chunk_min.unwrap_or(0)))
}

impl std::fmt::Debug for UploadConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadConfig")
            .field("mode", &self.mode)
            .field("chunk_bytes", &self.chunk_bytes)
            .finish_non_exhaustive()
    }
}
