//! A TCP proxy that cuts connections after a number of bytes from the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy in front of one server.
pub(crate) struct CuttingProxy {
    pub(crate) host: String,
    from_client: Arc<AtomicU64>,
}

impl CuttingProxy {
    /// Cuts every connection after `cut_after` bytes from the client, the first `cuts` times.
    pub(crate) async fn start(server: String, cut_after: u64, cuts: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("bound").to_string();
        let from_client = Arc::new(AtomicU64::new(0));
        let cuts = Arc::new(AtomicU64::new(cuts));
        let counter = from_client.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server");
                tokio::spawn(carry(client, server, cut_after, cuts.clone(), counter.clone()));
            }
        });
        Self { host, from_client }
    }

    /// Bytes that clients sent.
    pub(crate) fn bytes_from_clients(&self) -> u64 {
        self.from_client.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    cut_after: u64,
    cuts: Arc<AtomicU64>,
    counter: Arc<AtomicU64>,
) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut sent = 0;
        while let Ok(count) = from_client.read(&mut buffer).await {
            counter.fetch_add(count as u64, Ordering::SeqCst);
            if count == 0 || to_server.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            sent += count as u64;
            let left = |cuts: u64| cuts.checked_sub(1);
            if sent >= cut_after
                && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok()
            {
                return;
            }
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    // Whichever side ends first ends both.
    tokio::select! {
        () = up => {}
        _ = down => {}
    }
}
