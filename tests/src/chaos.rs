//! A TCP proxy that misbehaves on cue, between a client and a registry.
//!
//! It counts what passes: a transfer that goes on after a fault sends little twice.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::crash::Moments;

/// What happens to a connection, mostly to the bytes that the server sends.
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
    /// The connection is cut after the client has sent this many bytes.
    CutUploadAfter(u64),
    /// The connection is cut after this many bytes in either direction.
    CutBothAfter(u64),
    /// The first request of the connection is answered with 429 and this many seconds.
    Limit(u64),
    /// Any of the others or none, drawn for every connection from a seed.
    Mixed(u64),
}

impl Fault {
    /// What a connection meets: itself, or what is drawn.
    fn draw(self, shared: &Shared) -> Self {
        let Fault::Mixed(_) = self else { return self };
        let mut moments = shared.moments.lock().expect("nobody panics with it");
        let bytes = 4_000 + moments.below(3_000_000);
        match moments.below(20) {
            0..=4 => Fault::CutAfter(bytes),
            5..=9 => Fault::CutUploadAfter(bytes),
            10 => Fault::CorruptAt(bytes),
            11 | 12 => Fault::Delay(Duration::from_millis(1 + moments.below(5))),
            13 => Fault::Refuse,
            14 => Fault::Limit(1),
            15 => Fault::Throttle(4_000_000),
            _ => Fault::None,
        }
    }
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
    sent: AtomicU64,
    stopped: AtomicBool,
    moments: Mutex<Moments>,
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
            sent: AtomicU64::new(0),
            moments: Mutex::new(Moments::new(match fault {
                Fault::Mixed(seed) => seed,
                _ => 0,
            })),
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

    /// Bytes that went from the client to the server.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
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
    let fault = shared.fault.draw(shared);
    match fault {
        Fault::Refuse if take_turn(shared) => return client.shutdown(Shutdown::Both),
        Fault::Limit(seconds) if take_turn(shared) => return limit(client, seconds),
        _ => {}
    }
    let server = TcpStream::connect(&shared.upstream)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let asking = Arc::clone(shared);
    std::thread::spawn(move || {
        let cut = ask(&asking, fault, &from_client, &to_server).unwrap_or(true);
        let how = if cut { Shutdown::Both } else { Shutdown::Write };
        let _ = to_server.shutdown(how);
        if cut {
            let _ = from_client.shutdown(Shutdown::Both);
        }
    });
    let result = answer(shared, fault, &server, &client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    result
}

/// Reads the head of a request and answers that there were too many.
fn limit(mut client: TcpStream, seconds: u64) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0_u8; 1];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? > 0 {
        head.push(byte[0]);
    }
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    client.write_all(answer.as_bytes())?;
    client.shutdown(Shutdown::Both)
}

/// Passes on what the client sends; whether it was cut.
fn ask(
    shared: &Shared,
    fault: Fault,
    mut client: &TcpStream,
    mut server: &TcpStream,
) -> std::io::Result<bool> {
    let limit = match fault {
        Fault::CutUploadAfter(limit) | Fault::CutBothAfter(limit) => limit,
        _ => u64::MAX,
    };
    let mut buffer = [0_u8; 16 * 1024];
    let mut sent = 0_u64;
    loop {
        let n = client.read(&mut buffer)?;
        if n == 0 {
            return Ok(false);
        }
        let over = sent + n as u64 > limit && take_turn(shared);
        let piece = if over { limit.saturating_sub(sent) as usize } else { n };
        server.write_all(&buffer[..piece])?;
        sent += piece as u64;
        shared.sent.fetch_add(piece as u64, Ordering::SeqCst);
        if over {
            return Ok(true);
        }
    }
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

fn answer(
    shared: &Shared,
    fault: Fault,
    mut server: &TcpStream,
    mut client: &TcpStream,
) -> std::io::Result<()> {
    let mut buffer = [0_u8; 16 * 1024];
    let mut sent = 0_u64;
    let mut harmed = false;
    loop {
        let n = server.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        let mut piece = n as u64;
        match fault {
            Fault::CutAfter(limit) | Fault::CutBothAfter(limit)
                if sent + piece > limit && (harmed || take_turn(shared)) =>
            {
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
        let limited = Proxy::new(&upstream, Fault::Limit(7), 1);
        let mut stream = TcpStream::connect(limited.address()).expect("connect");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("ask");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("an answer");
        assert!(said.starts_with("HTTP/1.1 429") && said.contains("Retry-After: 7"), "{said}");
        let refuse = Proxy::new(&upstream, Fault::Refuse, 1);
        assert_eq!(fetch(refuse.address()).len(), 0);
        assert_eq!(fetch(refuse.address()), whole);
    }
}
