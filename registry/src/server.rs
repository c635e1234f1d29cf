//! Binding, accepting, serving and stopping.

use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::clock::Moment;
use crate::collection::{self, Collected};
use crate::config::{CollectTimes, Config, Mode};
use crate::error::Error;
use crate::handler::{App, Peer, serve};
use crate::limits;
use crate::log::AccessLog;
use crate::patience::Patience;
use crate::pull_through::PullThrough;
use crate::sendfile::{Lane, SendfileStream};
use crate::tls::Tls;
use crate::upstream::Upstream;

/// How often unfinished uploads are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// How long an idle connection gets to close when the server stops.
const FAREWELL: Duration = Duration::from_millis(250);

/// A server that is being put together.
pub struct Server {
    config: Config,
    upstream: Option<Arc<dyn Upstream>>,
    access_log: Option<Box<dyn Write + Send>>,
}

impl Server {
    /// A server with this configuration.
    pub fn new(config: Config) -> Self {
        Self { config, upstream: None, access_log: None }
    }

    /// Opens the root and takes the address: `Server::new(config).listen()`.
    pub fn bind(config: Config) -> Result<BoundServer, Error> {
        Self::new(config).listen()
    }

    /// The same server as a cache of another registry; it takes no pushes.
    pub fn with_upstream(mut self, upstream: Arc<dyn Upstream>) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// The same server with its access log in `writer`.
    pub fn with_access_log(mut self, writer: Box<dyn Write + Send>) -> Self {
        self.access_log = Some(writer);
        self
    }

    /// Opens the root and takes the address. Connections wait from here on.
    pub fn listen(self) -> Result<BoundServer, Error> {
        let config = self.config.checked()?;
        if config.proxy.is_some() && self.upstream.is_none() {
            return Err(Error::config(
                "proxy.upstream is set, but this program brings no client for it",
            ));
        }
        let tls = config.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
        let log = AccessLog::open(&config.access_log, self.access_log)?;
        let tag_time = config.proxy.as_ref().map_or(60, |proxy| proxy.tag_seconds);
        let app = App::open(&config, log, |repositories, content| {
            let tag_time = Duration::from_secs(tag_time);
            let upstream = self.upstream?;
            let (repositories, content) = (repositories.clone(), content.clone());
            let patience = config.limits.idle();
            Some(PullThrough::new(upstream, repositories, content, tag_time, patience))
        })?;
        let (listener, local_addr) = bind(config.addr)?;
        Ok(BoundServer { listener, local_addr, app: Arc::new(app), tls, config })
    }
}

fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = TcpListener::bind(addr).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    });
    bound.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => Error::AddressTaken { addr },
        _ => Error::Bind { addr, source },
    })
}

/// A server that has its address.
pub struct BoundServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    config: Config,
}

/// A hand on a running server.
#[derive(Clone)]
pub struct Control {
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
}

impl Control {
    /// Takes up changed certificates at once. Users are read again when their file changes.
    pub fn reload(&self) -> Result<(), Error> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Collects garbage while the server runs: what nobody pushed, mounted or asked about for
    /// `grace` (at least a minute) and no manifest needs. Blocks: not for asynchronous tasks.
    pub fn collect(&self, grace: Duration) -> Result<Collected, Error> {
        collection::collect(&self.app, grace)
    }

    /// Starts or stops refusing changes.
    pub fn set_mode(&self, mode: Mode) {
        self.app.set_mode(mode);
    }
}

impl BoundServer {
    /// The address that was taken; with port 0 in the configuration, the free port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.local_addr)
    }

    /// A hand on the server for while it runs.
    pub fn control(&self) -> Control {
        Control { app: self.app.clone(), tls: self.tls.clone() }
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until `shutdown` is done; running requests then get their time to end.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let failed = |source| Error::Bind { addr: self.local_addr, source };
        let scheme = self.scheme();
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(failed)?;
        let sweeper =
            tokio::spawn(sweep(self.app.clone(), self.config.limits.upload_expiry_seconds));
        let collector = tokio::spawn(collect(self.app.clone(), self.config.collect.clone()));
        let connections = Arc::new(Semaphore::new(self.config.limits.connections));
        let graceful = GracefulShutdown::new();
        let (stop, _) = watch::channel(());
        let acceptor = Acceptor { app: self.app, tls: self.tls, scheme, config: self.config, stop };
        let acceptor = Arc::new(acceptor);
        let accepting = async {
            loop {
                // A closed semaphore does not happen: nobody closes it.
                let Ok(permit) = connections.clone().acquire_owned().await else { break };
                let (stream, peer) = accept(&listener).await;
                tokio::spawn(acceptor.clone().connection(stream, peer, permit, graceful.watcher()));
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = accepting => {}
        }
        drop(listener);
        sweeper.abort();
        collector.abort();
        acceptor.drain(graceful).await;
        Ok(())
    }

    /// Serves on threads of its own, for callers that are not asynchronous.
    pub fn spawn(self) -> Result<Running, Error> {
        let (addr, url, control) = (self.local_addr, self.url(), self.control());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("registry")
            .enable_all()
            .build()
            .map_err(|source| Error::Threads { source })?;
        let serving = move || {
            // Both a word and a dropped sender mean "stop".
            runtime.block_on(self.serve(async { drop(stopped.await) }))
        };
        let thread = std::thread::Builder::new().name("registry".to_owned()).spawn(serving);
        let thread = thread.map_err(|source| Error::Threads { source })?;
        Ok(Running { addr, url, control, stop: Some(stop), thread: Some(thread) })
    }
}

/// A server on threads of its own. Dropped, it stops.
pub struct Running {
    addr: SocketAddr,
    url: String,
    control: Control,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Result<(), Error>>>,
}

impl Running {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A hand on the server.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Stops and waits for running requests.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        drop(self.stop.take());
        match self.thread.take().map(std::thread::JoinHandle::join) {
            None => Ok(()),
            Some(Ok(served)) => served,
            Some(Err(_)) => {
                Err(Error::Threads { source: io::Error::other("the server's thread panicked") })
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whoever wants to know calls `stop`.
        let _ = self.end();
    }
}

/// Goes on through what the system cannot do right now: out of descriptors, a peer that left.
async fn accept(listener: &tokio::net::TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn sweep(app: Arc<App>, expiry_seconds: u64) {
    let expiry = Duration::from_secs(expiry_seconds);
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL.min(expiry.max(Duration::from_secs(1))));
    loop {
        ticks.tick().await;
        if let Err(fault) = app.uploads.sweep(expiry).await {
            tracing::warn!(fault = %fault.summary(), "removing unfinished uploads failed");
        }
    }
}

async fn collect(app: Arc<App>, when: CollectTimes) {
    if when.interval_seconds == 0 {
        return;
    }
    let grace = Duration::from_secs(when.grace_seconds);
    let mut ticks = tokio::time::interval(Duration::from_secs(when.interval_seconds));
    // The first tick comes at once; a start is not a reason to collect.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let app = app.clone();
        match tokio::task::spawn_blocking(move || collection::collect(&app, grace)).await {
            Ok(Ok(collected)) => tracing::info!(?collected, "collected garbage"),
            Ok(Err(error)) => {
                tracing::warn!(error = %crate::fault::chain(&error), "collecting garbage failed");
            }
            Err(error) => tracing::error!(%error, "collecting garbage failed"),
        }
    }
}

struct Acceptor {
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    scheme: &'static str,
    config: Config,
    // A word on it ends the connections that are still open.
    stop: watch::Sender<()>,
}

impl Acceptor {
    /// Lets running requests end, within their time. An idle client that does not answer a
    /// farewell is not waited for.
    async fn drain(&self, graceful: GracefulShutdown) {
        let patience = Duration::from_secs(self.config.limits.shutdown_seconds);
        let began = Moment::now();
        let mut closing = std::pin::pin!(graceful.shutdown());
        while tokio::time::timeout(FAREWELL, &mut closing).await.is_err() {
            let running = self.app.metrics.running.value();
            if running > 0 && began.elapsed() > patience {
                tracing::warn!(running, "stopping with requests still running");
            }
            if running == 0 || began.elapsed() > patience {
                break;
            }
        }
        self.stop.send_replace(());
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        watcher: Watcher,
    ) {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            () = self.speak(stream, peer, watcher) => {}
            _ = stop.changed() => {}
        }
        drop(permit);
    }

    async fn speak(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let _open = self.app.metrics.connections.enter();
        // Without it small answers wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.tls.as_ref().map(|tls| tls.acceptor()) else {
            let lane = Lane::default();
            let stream = SendfileStream::new(stream, lane.clone());
            return self.http1(stream, self.peer(peer, Some(lane)), watcher).await;
        };
        match tokio::time::timeout(self.config.limits.head(), tls.accept(stream)).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, self.peer(peer, None), watcher).await;
            }
            Ok(Ok(stream)) => self.http1(stream, self.peer(peer, None), watcher).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn http1<S>(&self, stream: S, peer: Peer, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(Patience::new(stream, self.config.limits.idle()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.limits.head())
            .max_headers(limits::HEADERS_MAX)
            .max_buf_size(limits::CONNECTION_BUFFER_BYTES)
            .serve_connection(io, self.service(peer.clone()));
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(peer = %peer.addr, %error, "a connection broke");
        }
    }

    async fn http2<S>(&self, stream: S, peer: Peer, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(Patience::new(stream, self.config.limits.idle()));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.config.limits.head())
            .keep_alive_timeout(self.config.limits.head())
            .max_header_list_size(limits::HEAD_BYTES_MAX as u32)
            .max_concurrent_streams(128)
            .serve_connection(io, self.service(peer.clone()));
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(peer = %peer.addr, %error, "a connection broke");
        }
    }

    fn peer(&self, addr: SocketAddr, lane: Option<Lane>) -> Peer {
        Peer { addr, scheme: self.scheme, lane }
    }

    fn service(&self, peer: Peer) -> TowerToHyperService<Router> {
        let answer =
            move |State(app): State<Arc<App>>, request: Request<Body>| serve(app, request, peer);
        TowerToHyperService::new(Router::new().fallback(answer).with_state(self.app.clone()))
    }
}
