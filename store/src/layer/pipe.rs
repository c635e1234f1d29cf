//! A bounded pipe between two threads that passes whole buffers and gives them back: nothing
//! is copied and nothing is allocated once it flows.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Large enough that a turn of the channel costs little against its work.
const BUFFER_BYTES: usize = 512 * 1024;

/// Buffers under way: one being filled, one being read, two between.
const BUFFERS: usize = 4;

/// A pipe's two ends.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (full_in, full_out) = sync_channel(BUFFERS);
    let (empty_in, empty_out) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // The channel was made for so many: it cannot be full, and its other end is here.
        let _ = empty_in.send(Vec::new());
    }
    let writer = PipeWriter { full: full_in, empty: empty_out };
    (writer, PipeReader { full: full_out, empty: empty_in, current: Vec::new(), at: 0 })
}

/// The end that is filled.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    full: SyncSender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

impl PipeWriter {
    /// Reads `from` to its end into the pipe. An error goes through the pipe. Ends quietly
    /// where nobody reads any more.
    pub(crate) fn pump(self, mut from: impl Read) {
        while let Ok(mut buffer) = self.empty.recv() {
            buffer.resize(BUFFER_BYTES, 0);
            let message = match fill(&mut from, &mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    buffer.truncate(count);
                    Ok(buffer)
                }
                Err(error) => Err(error),
            };
            let failed = message.is_err();
            if self.full.send(message).is_err() || failed {
                return;
            }
        }
    }
}

/// Reads until the buffer is full or the input ends.
pub(super) fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The end that is read.
#[derive(Debug)]
pub(crate) struct PipeReader {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.current.len() {
            let used = std::mem::take(&mut self.current);
            self.at = 0;
            if used.capacity() > 0 {
                // A writer that has ended takes nothing back.
                let _ = self.empty.send(used);
            }
            if let Ok(message) = self.full.recv() {
                self.current = message?;
            }
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
