//! Upload sessions: bytes go to disk and through the hash while they arrive, and what is on disk
//! is all that a session needs to go on, after a broken connection or a restart.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use oci::{Algorithm, Digest, Hasher};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::body::Incoming;
use crate::clock::Moment;
use crate::content::Content;
use crate::fault::{Code, Fault};
use crate::limits;
use crate::name::RepositoryName;
use crate::repository::{Repositories, SessionRecord, UploadId};

/// All sessions of the server.
pub(crate) struct Uploads {
    repositories: Arc<Repositories>,
    content: Content,
    sessions: Mutex<HashMap<UploadId, Arc<Session>>>,
    permits: Arc<Semaphore>,
    bodies: usize,
    open: AtomicUsize,
}

struct Session {
    name: RepositoryName,
    id: UploadId,
    used: Mutex<Moment>,
    state: Arc<AsyncMutex<State>>,
}

enum State {
    /// Ready for more bytes.
    Receiving(Box<Sink>),
    /// The sink went down with a failed write; the disk says how far it came.
    Lost,
    /// Finished or cancelled.
    Closed,
}

/// A session that this request alone may change.
pub(crate) struct Upload {
    session: Arc<Session>,
    state: OwnedMutexGuard<State>,
}

/// How many bytes a request may bring.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// As many as its range says.
    pub(crate) exactly: Option<u64>,
    /// Never more than this in the whole blob.
    pub(crate) blob_max: Option<u64>,
}

impl Uploads {
    /// The sessions under `repositories`, at most `bodies` of them receiving at once.
    pub(crate) fn new(
        repositories: Arc<Repositories>,
        content: Content,
        bodies: usize,
    ) -> io::Result<Self> {
        let mut open = 0;
        for name in repositories.upload_holders()? {
            open += repositories.uploads(&name)?.len();
        }
        Ok(Self {
            repositories,
            content,
            sessions: Mutex::default(),
            permits: Arc::new(Semaphore::new(bodies)),
            bodies,
            open: AtomicUsize::new(open),
        })
    }

    /// The right to read one upload body, or "come back later".
    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let permit = self.permits.clone().try_acquire_owned();
        permit.map_err(|_| Fault::too_many("too many uploads at once", 1))
    }

    /// How many upload bodies are being read now.
    pub(crate) fn receiving(&self) -> usize {
        self.bodies - self.permits.available_permits()
    }

    /// How many sessions are open.
    pub(crate) fn open_sessions(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Starts a session.
    pub(crate) async fn start(
        &self,
        name: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<Upload, Fault> {
        if self.open_sessions() >= limits::SESSIONS_MAX {
            return Err(Fault::too_many("too many unfinished uploads", 60));
        }
        let (repositories, owned) = (self.repositories.clone(), name.clone());
        let made = blocking("start an upload", move || {
            let id = UploadId::random()?;
            let file = repositories.create_upload(&owned, &id, &SessionRecord::new(algorithm))?;
            Ok((id, file))
        });
        let (id, file) = made.await?;
        self.open.fetch_add(1, Ordering::Relaxed);
        let sink = Sink { file, offset: 0, hasher: Hasher::new(algorithm), algorithm };
        let session = self.remember(name, id, State::Receiving(Box::new(sink)));
        let state = session.state.clone().lock_owned().await;
        Ok(Upload { session, state })
    }

    /// Takes hold of a session, of this process or an earlier one. A session of another
    /// repository is unknown here (code-3).
    pub(crate) async fn find(&self, name: &RepositoryName, id: &UploadId) -> Result<Upload, Fault> {
        let session = match self.known(id) {
            Some(session) if session.name == *name => session,
            Some(_) => return Err(Fault::upload_unknown(name)),
            None => self.remember(name, id.clone(), State::Lost),
        };
        let lock = tokio::time::timeout(limits::SESSION_WAIT, session.state.clone().lock_owned());
        let state =
            lock.await.map_err(|_| Fault::too_many("another request is writing this upload", 5))?;
        let mut upload = Upload { session, state };
        if matches!(*upload.state, State::Lost) {
            self.revive(&mut upload).await?;
        }
        match *upload.state {
            State::Closed => Err(Fault::upload_unknown(name)),
            _ => Ok(upload),
        }
    }

    /// Hashes what is on disk, so that the session can go on where it stopped.
    async fn revive(&self, upload: &mut Upload) -> Result<(), Fault> {
        let (repositories, session) = (self.repositories.clone(), upload.session.clone());
        let opened = blocking("resume an upload", move || {
            match repositories.open_upload(&session.name, &session.id)? {
                Some((record, file)) => Sink::resume(file, record.algorithm()).map(Some),
                None => Ok(None),
            }
        });
        match opened.await? {
            Some(sink) => *upload.state = State::Receiving(Box::new(sink)),
            None => self.forget(upload),
        }
        Ok(())
    }

    /// Publishes the blob if it is what `digest` says, and ends the session either way: bytes
    /// that hash to something else cannot become right by adding to them.
    pub(crate) async fn finish(&self, mut upload: Upload, digest: &Digest) -> Result<u64, Fault> {
        let State::Receiving(sink) = std::mem::replace(&mut *upload.state, State::Closed) else {
            return Err(Fault::upload_unknown(&upload.session.name));
        };
        self.forget(&mut upload);
        self.one_less();
        let (repositories, content) = (self.repositories.clone(), self.content.clone());
        let (session, digest) = (upload.session.clone(), digest.clone());
        let published = tokio::task::spawn_blocking(move || {
            let published = publish(&repositories, &content, &session, *sink, &digest);
            // After a success the folder holds no data; after a failure its data are of no use.
            let removed = repositories.remove_upload(&session.name, &session.id);
            published.and_then(|size| match removed {
                Ok(()) => Ok(size),
                Err(error) => Err(Fault::io("end an upload", &error)),
            })
        });
        published.await.unwrap_or_else(|error| Err(Fault::internal("finish an upload", &error)))
    }

    /// Ends a session and frees what it holds (end-14).
    pub(crate) async fn cancel(&self, mut upload: Upload) -> Result<(), Fault> {
        self.forget(&mut upload);
        self.one_less();
        let (repositories, session) = (self.repositories.clone(), upload.session.clone());
        blocking("cancel an upload", move || repositories.remove_upload(&session.name, &session.id))
            .await
    }

    /// Removes sessions without a write for `expiry`, and closes the files of idle ones.
    pub(crate) async fn sweep(&self, expiry: Duration) -> Result<(), Fault> {
        let repositories = self.repositories.clone();
        let listed = blocking("list the uploads", move || {
            let mut all = Vec::new();
            for name in repositories.upload_holders()? {
                all.extend(
                    repositories
                        .uploads(&name)?
                        .into_iter()
                        .map(|(id, age)| (name.clone(), id, age)),
                );
            }
            Ok(all)
        });
        for (name, id, age) in listed.await? {
            // One that is being written cannot be that old; one that is locked is in use.
            if age >= expiry.as_secs()
                && let Ok(upload) = self.find(&name, &id).await
            {
                tracing::info!(repository = %name, upload = %id, age, "removing an unfinished upload");
                self.cancel(upload).await?;
            }
        }
        // Held by the map alone: whoever wants it next has to come through the map.
        let idle = |session: &Arc<Session>| {
            let used = *session.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.elapsed() > limits::SESSION_IDLE && Arc::strong_count(session) == 1
        };
        self.map().retain(|_, session| !idle(session));
        Ok(())
    }

    fn known(&self, id: &UploadId) -> Option<Arc<Session>> {
        let session = self.map().get(id).cloned()?;
        *session.used.lock().unwrap_or_else(PoisonError::into_inner) = Moment::now();
        Some(session)
    }

    fn remember(&self, name: &RepositoryName, id: UploadId, state: State) -> Arc<Session> {
        let session = Session {
            name: name.clone(),
            id: id.clone(),
            used: Mutex::new(Moment::now()),
            state: Arc::new(AsyncMutex::new(state)),
        };
        self.map().entry(id).or_insert_with(|| Arc::new(session)).clone()
    }

    fn forget(&self, upload: &mut Upload) {
        *upload.state = State::Closed;
        self.map().remove(&upload.session.id);
    }

    fn one_less(&self) {
        let _ = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Verifies, adopts and links: content first, then the link that makes it readable.
fn publish(
    repositories: &Repositories,
    content: &Content,
    session: &Session,
    sink: Sink,
    digest: &Digest,
) -> Result<u64, Fault> {
    let act = "store a blob";
    let path = repositories.upload_data(&session.name, &session.id);
    let (file, size, found) = sink.finish(digest.algorithm()).map_err(|e| Fault::io(act, &e))?;
    if found != *digest {
        return Err(Fault::digest_mismatch(digest, &found));
    }
    content.adopt(&file, &path, digest).map_err(|e| Fault::io(act, &e))?;
    repositories.link_blob(&session.name, digest, size).map_err(|e| Fault::io(act, &e))?;
    Ok(size)
}

impl Upload {
    /// Its identity.
    pub(crate) fn id(&self) -> &UploadId {
        &self.session.id
    }

    /// How many bytes it has received.
    pub(crate) fn offset(&self) -> u64 {
        match &*self.state {
            State::Receiving(sink) => sink.offset,
            State::Lost | State::Closed => 0,
        }
    }

    /// Receives a body. Bytes that arrived before a connection broke are kept; a body of the
    /// wrong length is undone. Runs as its own task, because a handler is dropped with its
    /// connection, and the bytes in its hands must still reach the disk.
    pub(crate) async fn receive(
        mut self,
        mut body: Incoming,
        bounds: Bounds,
    ) -> (Self, Result<(), Fault>) {
        let State::Receiving(sink) = std::mem::replace(&mut *self.state, State::Lost) else {
            let fault = Fault::upload_unknown(&self.session.name);
            return (self, Err(fault));
        };
        let (start, before) = (sink.offset, sink.hasher.clone());
        let mut pipeline = Pipeline::new(*sink);
        let received = drain(&mut pipeline, &mut body, start, bounds).await;
        let undo = received.as_ref().is_err_and(|stop| matches!(stop, Stop::Refused(_)));
        match pipeline.close(undo.then_some((start, before))).await {
            Ok(sink) => {
                *self.state = State::Receiving(Box::new(sink));
                (self, received.map_err(Stop::into_fault))
            }
            // The first failure is the one to tell; closing only finds its sink gone.
            Err(error) => {
                let first = received.err().map(Stop::into_fault);
                (self, Err(first.unwrap_or_else(|| Fault::io("write an upload", &error))))
            }
        }
    }
}

/// Why a body was not taken whole.
enum Stop {
    /// The connection failed: what arrived is good.
    Broken(Fault),
    /// The request is wrong: what arrived is not wanted.
    Refused(Fault),
    /// The disk failed.
    Disk(Fault),
}

impl Stop {
    fn into_fault(self) -> Fault {
        match self {
            Self::Broken(fault) | Self::Refused(fault) | Self::Disk(fault) => fault,
        }
    }
}

async fn drain(
    pipeline: &mut Pipeline,
    body: &mut Incoming,
    start: u64,
    bounds: Bounds,
) -> Result<(), Stop> {
    let mut received = 0u64;
    while let Some(bytes) = body.next().await.map_err(Stop::Broken)? {
        received += bytes.len() as u64;
        if bounds.exactly.is_some_and(|exactly| received > exactly) {
            let fault = Fault::new(Code::SizeInvalid, "the chunk is longer than its Content-Range");
            return Err(Stop::Refused(fault));
        }
        if bounds.blob_max.is_some_and(|max| start + received > max) {
            let fault =
                Fault::new(Code::SizeInvalid, "the blob is larger than this registry accepts");
            return Err(Stop::Refused(fault.with_status(StatusCode::PAYLOAD_TOO_LARGE)));
        }
        pipeline.push(bytes).await.map_err(|e| Stop::Disk(Fault::io("write an upload", &e)))?;
    }
    if bounds.exactly.is_some_and(|exactly| received < exactly) {
        let fault = Fault::new(Code::SizeInvalid, "the chunk is shorter than its Content-Range");
        return Err(Stop::Refused(fault));
    }
    Ok(())
}

/// Where the bytes of a session go: to the end of its file and through its hash.
struct Sink {
    file: File,
    offset: u64,
    hasher: Hasher,
    algorithm: Algorithm,
}

impl Sink {
    fn resume(mut file: File, algorithm: Algorithm) -> io::Result<Self> {
        let (hasher, offset) = hash_all(&mut file, algorithm)?;
        Ok(Self { file, offset, hasher, algorithm })
    }

    fn write(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for bytes in batch {
            self.file.write_all(bytes)?;
            self.hasher.update(bytes);
            self.offset += bytes.len() as u64;
        }
        Ok(())
    }

    fn undo(&mut self, start: u64, before: Hasher) -> io::Result<()> {
        self.file.set_len(start)?;
        self.file.seek(SeekFrom::Start(start))?;
        (self.offset, self.hasher) = (start, before);
        Ok(())
    }

    /// The digest of everything, in one more pass when it is asked for in another algorithm.
    fn finish(mut self, algorithm: Algorithm) -> io::Result<(File, u64, Digest)> {
        if self.algorithm != algorithm {
            (self.hasher, self.offset) = hash_all(&mut self.file, algorithm)?;
        }
        Ok((self.file, self.offset, self.hasher.finish()))
    }
}

fn hash_all(file: &mut File, algorithm: Algorithm) -> io::Result<(Hasher, u64)> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; limits::WRITE_BATCH_BYTES];
    let mut length = 0;
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher, length)),
            count => {
                hasher.update(&buffer[..count]);
                length += count as u64;
            }
        }
    }
}

/// Writes and hashes one batch on a blocking thread while the next one arrives.
struct Pipeline {
    idle: Option<Sink>,
    busy: Option<JoinHandle<io::Result<Sink>>>,
    batch: Vec<Bytes>,
    gathered: usize,
}

impl Pipeline {
    fn new(sink: Sink) -> Self {
        Self { idle: Some(sink), busy: None, batch: Vec::new(), gathered: 0 }
    }

    async fn push(&mut self, bytes: Bytes) -> io::Result<()> {
        self.gathered += bytes.len();
        self.batch.push(bytes);
        if self.gathered >= limits::WRITE_BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut sink = self.sink().await?;
        let batch = std::mem::take(&mut self.batch);
        self.gathered = 0;
        self.busy = Some(tokio::task::spawn_blocking(move || sink.write(&batch).map(|()| sink)));
        Ok(())
    }

    async fn sink(&mut self) -> io::Result<Sink> {
        match (self.busy.take(), self.idle.take()) {
            (Some(busy), _) => busy.await.map_err(io::Error::other)?,
            (None, Some(sink)) => Ok(sink),
            (None, None) => Err(io::Error::other("an earlier write failed")),
        }
    }

    /// Writes what is left, or goes back to where the request began.
    async fn close(mut self, undo: Option<(u64, Hasher)>) -> io::Result<Sink> {
        if undo.is_none() && !self.batch.is_empty() {
            self.flush().await?;
        }
        let mut sink = self.sink().await?;
        let Some((start, before)) = undo else { return Ok(sink) };
        let undone = tokio::task::spawn_blocking(move || sink.undo(start, before).map(|()| sink));
        undone.await.map_err(io::Error::other)?
    }
}

/// Runs disk work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    act: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Fault::io(act, &error)),
        Err(error) => Err(Fault::internal(act, &error)),
    }
}

#[cfg(test)]
mod tests;
