//! A TCP proxy that cuts connections after a number of bytes in one direction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy in front of one server.
pub(crate) struct CuttingProxy {
    pub(crate) host: String,
    from_client: Arc<AtomicU64>,
    from_server: Arc<AtomicU64>,
}

/// When connections are cut, and how often yet.
#[derive(Clone)]
pub(crate) struct Cuts {
    after_from_client: u64,
    after_from_server: u64,
    left: Arc<AtomicU64>,
}

impl Cuts {
    /// After this many bytes in either direction, as often as `times`.
    pub(crate) fn after(from_client: u64, from_server: u64, times: u64) -> Self {
        Self {
            after_from_client: from_client,
            after_from_server: from_server,
            left: Arc::new(AtomicU64::new(times)),
        }
    }

    fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl CuttingProxy {
    /// Cuts every connection after `cut_after` bytes from the client, the first `times` times.
    pub(crate) async fn start(server: String, cut_after: u64, times: u64) -> Self {
        Self::with(server, Cuts::after(cut_after, u64::MAX, times)).await
    }

    pub(crate) async fn with(server: String, cuts: Cuts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("bound").to_string();
        let proxy = Self { host, from_client: Arc::default(), from_server: Arc::default() };
        let counters = (proxy.from_client.clone(), proxy.from_server.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server");
                tokio::spawn(carry(client, server, cuts.clone(), counters.clone()));
            }
        });
        proxy
    }

    /// Bytes that clients sent.
    pub(crate) fn bytes_from_clients(&self) -> u64 {
        self.from_client.load(Ordering::SeqCst)
    }

    /// Bytes that the server sent.
    pub(crate) fn bytes_from_server(&self) -> u64 {
        self.from_server.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    cuts: Cuts,
    counters: (Arc<AtomicU64>, Arc<AtomicU64>),
) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // Whichever side ends first ends both.
    tokio::select! {
        () = pump(from_client, to_server, cuts.after_from_client, &cuts, &counters.0) => {}
        () = pump(from_server, to_client, cuts.after_from_server, &cuts, &counters.1) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    cut_after: u64,
    cuts: &Cuts,
    counter: &AtomicU64,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut carried = 0;
    while let Ok(count) = from.read(&mut buffer).await {
        counter.fetch_add(count as u64, Ordering::SeqCst);
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        carried += count as u64;
        if carried >= cut_after && cuts.take() {
            return;
        }
    }
}
