//! A TCP proxy that misbehaves on cue, between a client and a registry.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What happens to the bytes that the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: they pass.
    None,
    /// The connection is cut after this many bytes of it.
    CutAfter(u64),
    /// The byte at this offset of the connection is changed.
    CorruptAt(u64),
    /// Every piece waits this long.
    Delay(Duration),
    /// At most this many bytes a second.
    Throttle(u64),
    /// Connections are accepted and closed at once.
    Refuse,
}

/// A proxy on a port of its own, until it is dropped.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    fault: Fault,
    /// How many connections still meet the fault; later ones pass unharmed.
    left: AtomicU64,
    harmed: AtomicU64,
    carried: AtomicU64,
    stopped: AtomicBool,
}

impl Proxy {
    /// In front of `upstream`; the first `times` connections that carry enough bytes meet the fault.
    pub fn new(upstream: &str, fault: Fault, times: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind the proxy");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            fault,
            left: AtomicU64::new(times),
            harmed: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || drop(carry(&shared, stream)));
            }
        });
        Proxy { address, shared }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A reference through the proxy.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// How many connections met the fault.
    pub fn harmed(&self) -> u64 {
        self.shared.harmed.load(Ordering::SeqCst)
    }

    /// Bytes that went from the server to the client.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(&self.address);
    }
}

fn carry(shared: &Arc<Shared>, client: TcpStream) -> std::io::Result<()> {
    if shared.fault == Fault::Refuse && take_turn(shared) {
        return client.shutdown(Shutdown::Both);
    }
    let server = TcpStream::connect(&shared.upstream)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let result = answer(shared, &server, &client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    result
}

/// Whether this connection is one that meets the fault.
fn take_turn(shared: &Shared) -> bool {
    let taken =
        shared.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if taken.is_ok() {
        shared.harmed.fetch_add(1, Ordering::SeqCst);
    }
    taken.is_ok()
}

fn answer(shared: &Shared, mut server: &TcpStream, mut client: &TcpStream) -> std::io::Result<()> {
    let mut buffer = [0_u8; 16 * 1024];
    let mut sent = 0_u64;
    let mut harmed = false;
    loop {
        let n = server.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        let mut piece = n as u64;
        match shared.fault {
            Fault::CutAfter(limit) if sent + piece > limit && (harmed || take_turn(shared)) => {
                harmed = true;
                piece = limit.saturating_sub(sent);
            }
            Fault::CorruptAt(at) if (sent..sent + piece).contains(&at) && take_turn(shared) => {
                buffer[(at - sent) as usize] ^= 0x55;
            }
            Fault::Delay(pause) => std::thread::sleep(pause),
            Fault::Throttle(rate) => {
                std::thread::sleep(Duration::from_secs_f64(piece as f64 / rate as f64));
            }
            _ => {}
        }
        client.write_all(&buffer[..piece as usize])?;
        sent += piece;
        shared.carried.fetch_add(piece, Ordering::SeqCst);
        if harmed {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every connection with these bytes.
    fn server(bytes: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.write_all(&bytes);
            }
        });
        address
    }

    fn fetch(address: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = TcpStream::connect(address).expect("connect").read_to_end(&mut bytes);
        bytes
    }

    #[test]
    fn each_fault_harms_as_often_as_asked_and_then_no_more() {
        let whole = vec![7_u8; 100_000];
        let upstream = server(whole.clone());
        let cut = Proxy::new(&upstream, Fault::CutAfter(50_000), 1);
        assert_eq!(fetch(cut.address()).len(), 50_000);
        assert_eq!(fetch(cut.address()), whole);
        assert_eq!(cut.harmed(), 1);
        let corrupt = Proxy::new(&upstream, Fault::CorruptAt(60_000), 1);
        let bytes = fetch(corrupt.address());
        assert_eq!((bytes.len(), bytes[59_999], bytes[60_000]), (100_000, 7, 7 ^ 0x55));
        let refuse = Proxy::new(&upstream, Fault::Refuse, 1);
        assert_eq!(fetch(refuse.address()).len(), 0);
        assert_eq!(fetch(refuse.address()), whole);
    }
}
