//! From a request to a response: routing, access, method, logging.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderName, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use oci::Digest;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::access::{Action, Gate, Identity};
use crate::body::{BufferPool, Incoming, Watched};
use crate::clock::Moment;
use crate::config::{Config, Limits, MissingReferences, Mode, Switch};
use crate::content::Content;
use crate::error::Error;
use crate::fault::Fault;
use crate::limits;
use crate::log::{AccessLog, Entry};
use crate::metrics::Metrics;
use crate::name::RepositoryName;
use crate::pull_through::PullThrough;
use crate::repository::Repositories;
use crate::route::{Route, query_pairs};
use crate::sendfile::Lane;
use crate::uploads::Uploads;

pub(crate) mod blobs;
mod listings;
pub(crate) mod manifests;
mod operations;
mod uploads;

/// The digest of what a response is about.
pub(crate) const DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");
/// The marker that old clients look for.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Locks that writers of one repository share; names are spread over them.
const WRITE_LOCKS: usize = 64;

/// Everything that requests share.
pub(crate) struct App {
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) content: Content,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) gate: Gate,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) cache: ManifestCache,
    pub(crate) pull_through: Option<PullThrough>,
    pub(crate) delete: Switch,
    pub(crate) missing_references: MissingReferences,
    metrics_page: Switch,
    read_only: AtomicBool,
    log: AccessLog,
    write_locks: [Arc<AsyncMutex<()>>; WRITE_LOCKS],
}

impl App {
    /// Opens the root and reads what the configuration names.
    pub(crate) fn open(
        config: &Config,
        log: AccessLog,
        pull_through: impl FnOnce(&Arc<Repositories>, &Content) -> Option<PullThrough>,
    ) -> Result<Self, Error> {
        let content = Content::open(&config.root)?;
        let repositories = Arc::new(Repositories::open(&config.root)?);
        let uploads = Uploads::new(repositories.clone(), content.clone(), config.limits.uploads)
            .map_err(|source| Error::root(&config.root, source))?;
        Ok(Self {
            pull_through: pull_through(&repositories, &content),
            uploads: Arc::new(uploads),
            gate: Gate::new(config)?,
            metrics: Metrics::default(),
            limits: config.limits.clone(),
            pool: Arc::default(),
            cache: ManifestCache::default(),
            delete: config.delete,
            missing_references: config.missing_references,
            metrics_page: config.metrics,
            read_only: AtomicBool::new(config.mode == Mode::ReadOnly),
            log,
            write_locks: std::array::from_fn(|_| Arc::default()),
            repositories,
            content,
        })
    }

    /// Switches between serving changes and refusing them.
    pub(crate) fn set_mode(&self, mode: Mode) {
        self.read_only.store(mode == Mode::ReadOnly, Ordering::Relaxed);
    }

    /// The right to change manifests and tags of a repository: readers never wait for it. It goes
    /// to the thread that writes, because that goes on when its client has gone away.
    pub(crate) async fn writing(&self, name: &RepositoryName) -> OwnedMutexGuard<()> {
        self.write_lock(name).lock_owned().await
    }

    /// The same for a thread that may block.
    pub(crate) fn writing_blocking(&self, name: &RepositoryName) -> OwnedMutexGuard<()> {
        self.write_lock(name).blocking_lock_owned()
    }

    fn write_lock(&self, name: &RepositoryName) -> Arc<AsyncMutex<()>> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        self.write_locks[hasher.finish() as usize % WRITE_LOCKS].clone()
    }
}

/// Where a request came from.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The client's address.
    pub(crate) addr: SocketAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Where blobs may go to the socket without a copy.
    pub(crate) lane: Option<Lane>,
}

/// One request on its way.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) head: Parts,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) identity: Identity,
    pub(crate) lane: Option<Lane>,
    // Never locked: only what is Sync can be shared while a handler waits.
    body: Mutex<Option<Incoming>>,
}

impl Call {
    /// The first value of a query parameter.
    pub(crate) fn parameter(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether only the head of the answer is wanted.
    pub(crate) fn is_head(&self) -> bool {
        self.head.method == Method::HEAD
    }

    /// The body, to be read where it is.
    pub(crate) fn body(&mut self) -> Result<&mut Incoming, Fault> {
        self.unread().as_mut().ok_or_else(no_body)
    }

    /// The body, to be carried away.
    pub(crate) fn take_body(&mut self) -> Result<Incoming, Fault> {
        self.unread().take().ok_or_else(no_body)
    }

    fn unread(&mut self) -> &mut Option<Incoming> {
        self.body.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what a refused client is still sending, within bounds: a connection that is closed
    /// with unread bytes may lose the answer that explains the refusal.
    async fn drain(&mut self) {
        if self.head.headers.contains_key(EXPECT) {
            return;
        }
        let Some(body) = self.unread() else { return };
        let mut left = DRAIN_BYTES_MAX;
        let reading = async {
            while let Ok(Some(bytes)) = body.next().await {
                left = left.saturating_sub(bytes.len());
                if left == 0 {
                    break;
                }
            }
        };
        // Whatever stopped it, the answer goes out next.
        let _ = tokio::time::timeout(DRAIN_TIME_MAX, reading).await;
    }
}

const DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

fn no_body() -> Fault {
    Fault::internal("read a body", &std::io::Error::other("it was read before"))
}

/// Answers one request.
pub(crate) async fn serve(app: Arc<App>, request: Request<Body>, peer: Peer) -> Response {
    let started = Moment::now();
    let running = app.metrics.running.enter();
    let (head, body) = request.into_parts();
    let mut entry = Entry::of(&head, &peer);
    let route = Route::parse(head.uri.path());
    let (label, method) = (route.as_ref().map_or("unknown", Route::label), head.method.clone());
    let answered = match route {
        Ok(route) => answer(&app, route, head, body, peer, &mut entry).await,
        Err(fault) => Err(fault),
    };
    let mut response = answered.unwrap_or_else(|fault| {
        tracing::debug!(fault = %fault.summary(), "refused");
        fault.into_response()
    });
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    let status = response.status();
    app.metrics.request(label, &method, status.as_u16(), started.elapsed());
    response.map(|body| {
        Body::new(Watched::new(body, move |sent| {
            app.metrics.sent.fetch_add(sent, Ordering::Relaxed);
            app.log.write(&entry, status, sent, started.elapsed());
            drop(running);
        }))
    })
}

async fn answer(
    app: &Arc<App>,
    route: Route,
    head: Parts,
    body: Body,
    peer: Peer,
    entry: &mut Entry,
) -> Result<Response, Fault> {
    match route {
        Route::Health => return operations::health(app, &head.method),
        Route::Metrics if app.metrics_page == Switch::On => {
            return operations::metrics(app, &head.method);
        }
        Route::Metrics => return Err(Fault::no_endpoint()),
        Route::Token => {
            return operations::token(app, &head, Incoming::new(body, app.limits.idle())).await;
        }
        _ => {}
    }
    let identity = app.gate.identify(&head, peer.scheme).await?;
    entry.set_user(identity.user());
    let needs = needs(&route, &head.method);
    app.gate.admit(&head, peer.scheme, &identity, &needs)?;
    let query = query_pairs(head.uri.query());
    let body = Mutex::new(Some(Incoming::new(body, app.limits.idle())));
    let mut call = Call { app: app.clone(), head, query, identity, lane: peer.lane, body };
    let changes = !matches!(call.head.method, Method::GET | Method::HEAD);
    let answered = if changes && app.read_only.load(Ordering::Relaxed) {
        Err(Fault::disabled("changing content"))
    } else if changes && app.pull_through.is_some() {
        Err(Fault::disabled("pushing to a cache of another registry"))
    } else {
        dispatch(&mut call, route).await
    };
    if answered.is_err() {
        call.drain().await;
    }
    answered
}

/// What a request needs to be allowed.
fn needs(route: &Route, method: &Method) -> Vec<(Action, RepositoryName)> {
    let Some(name) = route.repository() else { return Vec::new() };
    let action = match (route, method) {
        (Route::Uploads(_) | Route::Upload(..), _) => Action::Push,
        (_, &Method::DELETE) => Action::Delete,
        (_, &Method::GET | &Method::HEAD) => Action::Pull,
        _ => Action::Push,
    };
    vec![(action, name.clone())]
}

async fn dispatch(call: &mut Call, route: Route) -> Result<Response, Fault> {
    let method = call.head.method.clone();
    let read = matches!(method, Method::GET | Method::HEAD);
    match (route, method) {
        (Route::Base, _) if read => operations::base(),
        (Route::Base, _) => Err(Fault::method_not_allowed("GET")),
        (Route::Catalog, _) if read => listings::catalog(call).await,
        (Route::Catalog, _) => Err(Fault::method_not_allowed("GET")),
        (Route::Tags(name), _) if read => listings::tags(call, name).await,
        (Route::Tags(_), _) => Err(Fault::method_not_allowed("GET")),
        (Route::Referrers(name, subject), _) if read => {
            listings::referrers(call, name, subject).await
        }
        (Route::Referrers(..), _) => Err(Fault::method_not_allowed("GET")),
        (Route::Manifest(name, reference), _) if read => {
            manifests::get(call, name, reference).await
        }
        (Route::Manifest(name, reference), Method::PUT) => {
            manifests::put(call, name, reference).await
        }
        (Route::Manifest(name, reference), Method::DELETE) => {
            manifests::delete(call, name, reference).await
        }
        (Route::ManifestBadTag(_, error), Method::PUT) => Err(error.into()),
        (Route::ManifestBadTag(name, error), Method::GET | Method::HEAD | Method::DELETE) => {
            Err(Fault::manifest_unknown(&name, &error.text))
        }
        (Route::Manifest(..) | Route::ManifestBadTag(..), _) => {
            Err(Fault::method_not_allowed("GET, HEAD, PUT, DELETE"))
        }
        (Route::Blob(name, digest), _) if read => blobs::get(call, name, digest).await,
        (Route::Blob(name, digest), Method::DELETE) => blobs::delete(call, name, digest).await,
        (Route::Blob(..), _) => Err(Fault::method_not_allowed("GET, HEAD, DELETE")),
        (Route::Uploads(name), Method::POST) => uploads::start(call, name).await,
        (Route::Uploads(_), _) => Err(Fault::method_not_allowed("POST")),
        (Route::Upload(name, id), Method::PATCH) => uploads::patch(call, name, id).await,
        (Route::Upload(name, id), Method::PUT) => uploads::put(call, name, id).await,
        (Route::Upload(name, id), Method::GET) => uploads::status(call, name, id).await,
        (Route::Upload(name, id), Method::DELETE) => uploads::cancel(call, name, id).await,
        (Route::Upload(..), _) => Err(Fault::method_not_allowed("GET, PATCH, PUT, DELETE")),
        (Route::Token | Route::Health | Route::Metrics, _) => Err(Fault::no_endpoint()),
    }
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A response with a JSON body.
pub(crate) fn json(value: &serde_json::Value, head_only: bool) -> Response {
    let mut text = value.to_string();
    text.push('\n');
    let length = text.len();
    let mut response = Response::new(if head_only { Body::empty() } else { Body::from(text) });
    set(&mut response, http::header::CONTENT_TYPE, "application/json");
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    response
}

/// Sets a header whose value is known to be one.
pub(crate) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The answer to a blob that is now readable: where, and its digest.
pub(crate) fn created_blob(name: &RepositoryName, digest: &Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    set(&mut response, DOCKER_CONTENT_DIGEST, &digest.to_string());
    response
}

/// Bytes of manifests, which never change under their digest.
#[derive(Debug, Default)]
pub(crate) struct ManifestCache(Mutex<CacheState>);

#[derive(Debug, Default)]
struct CacheState {
    entries: HashMap<Digest, Bytes>,
    order: std::collections::VecDeque<Digest>,
    held: usize,
}

impl ManifestCache {
    /// The bytes of a manifest that was read lately.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.get(digest).cloned()
    }

    /// Keeps the bytes of a manifest, dropping the oldest ones.
    pub(crate) fn keep(&self, digest: &Digest, bytes: &Bytes) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() > limits::MANIFEST_CACHE_BYTES / 8
            || state.entries.insert(digest.clone(), bytes.clone()).is_some()
        {
            return;
        }
        state.order.push_back(digest.clone());
        state.held += bytes.len();
        while state.held > limits::MANIFEST_CACHE_BYTES {
            let Some(oldest) = state.order.pop_front() else { break };
            let dropped = state.entries.remove(&oldest).map_or(0, |bytes| bytes.len());
            state.held -= dropped;
        }
    }
}

/// What a client calls itself, for the log.
pub(crate) fn user_agent(head: &Parts) -> &str {
    head.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
