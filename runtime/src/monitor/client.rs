//! A command connected to the monitor: attached, waiting, or asking for something.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::limits;
use crate::protocol::Frame;

/// How long a monitor that ends waits for a client to take the last bytes.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// One connection, never waited for.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    sent: usize,
    attached: bool,
    gives_stdin: bool,
    gone: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            attached: false,
            gives_stdin: false,
            gone: false,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn attach(&mut self, stdin: bool) {
        self.attached = true;
        self.gives_stdin = stdin;
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached && !self.gone
    }

    pub(super) fn gives_stdin(&self) -> bool {
        self.gives_stdin
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether it takes output more slowly than the container makes it.
    pub(super) fn is_behind(&self) -> bool {
        self.is_attached() && self.outgoing.len() - self.sent > limits::CLIENT_QUEUE_BYTES
    }

    pub(super) fn has_outgoing(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    /// Queues a frame and sends what the socket takes at once.
    pub(super) fn send(&mut self, frame: &Frame) {
        if !self.gone {
            frame.encode(&mut self.outgoing);
            self.flush();
        }
    }

    /// Queues bytes that are frames already.
    pub(super) fn send_encoded(&mut self, bytes: &[u8]) {
        if !self.gone {
            self.outgoing.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) {
        while self.sent < self.outgoing.len() && !self.gone {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(0) => self.gone = true,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        } else if self.sent > limits::CLIENT_QUEUE_BYTES {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Reads what has come and gives complete frames; a client that breaks the protocol is gone.
    pub(super) fn receive(&mut self) -> Vec<Frame> {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.gone = true,
            Ok(count) => self.incoming.extend_from_slice(&chunk[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.gone = true,
        }
        let mut frames = Vec::new();
        loop {
            match Frame::decode(&mut self.incoming) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(_) => {
                    self.gone = true;
                    return frames;
                }
            }
        }
    }

    /// Sends a last frame and everything queued before it, waiting a while for a slow reader.
    pub(super) fn finish(mut self, frame: &Frame) {
        frame.encode(&mut self.outgoing);
        let ready = self
            .stream
            .set_nonblocking(false)
            .and_then(|()| self.stream.set_write_timeout(Some(LAST_WORDS)));
        if ready.is_ok() && !self.gone {
            let _ = self.stream.write_all(&self.outgoing[self.sent..]);
        }
    }
}
