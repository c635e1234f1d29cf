//! Bodies: requests read with a deadline per frame, blobs sent from disk in recycled buffers.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::StatusCode;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use crate::fault::{Code, Fault};
use crate::limits::{READ_BUFFERS_KEPT, READ_CHUNK_BYTES};
use crate::sendfile::{Lane, PROMISE_BYTES_MAX};

/// A request body that must make progress.
pub(crate) struct Incoming {
    frames: BodyDataStream,
    idle: Duration,
}

impl Incoming {
    /// Reads `body`, giving up when no frame arrives within `idle`.
    pub(crate) fn new(body: Body, idle: Duration) -> Self {
        Self { frames: body.into_data_stream(), idle }
    }

    /// The next bytes, or nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match tokio::time::timeout(self.idle, self.frames.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a request body broke off");
                Err(Fault::new(Code::SizeInvalid, "the body broke off before its announced length"))
            }
            Err(_) => {
                Err(Fault::new(Code::SizeInvalid, "the body made no progress and was given up")
                    .with_status(StatusCode::REQUEST_TIMEOUT))
            }
        }
    }

    /// The whole body, which may have at most `limit` bytes; `over` makes the fault otherwise.
    pub(crate) async fn whole(
        &mut self,
        limit: u64,
        over: impl FnOnce() -> Fault,
    ) -> Result<Bytes, Fault> {
        let mut gathered = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if (gathered.len() + bytes.len()) as u64 > limit {
                return Err(over());
            }
            gathered.extend_from_slice(&bytes);
        }
        Ok(gathered.freeze())
    }
}

/// Buffers that blob readers take turns with: a fresh 128 KiB costs more in page faults than the
/// copy into it.
#[derive(Debug, Default)]
pub(crate) struct BufferPool(Mutex<Vec<Vec<u8>>>);

impl BufferPool {
    fn take(self: &Arc<Self>) -> Buffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.unwrap_or_else(|| vec![0; READ_CHUNK_BYTES]);
        Buffer { bytes, length: 0, pool: self.clone() }
    }
}

/// A buffer on loan; dropped, it goes back.
struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    pool: Arc<BufferPool>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < READ_BUFFERS_KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// A part of a file as a response body. What the page cache has is sent by the kernel where the
/// connection has a lane for it, else read at once; what it has not is read on a thread that
/// may block.
pub(crate) struct FileBody {
    file: Arc<File>,
    position: u64,
    end: u64,
    pool: Arc<BufferPool>,
    lane: Option<Lane>,
    reading: Option<JoinHandle<io::Result<Buffer>>>,
}

impl FileBody {
    /// Bytes `position..end` of `file`.
    pub(crate) fn new(
        file: File,
        position: u64,
        end: u64,
        pool: Arc<BufferPool>,
        lane: Option<Lane>,
    ) -> Self {
        // Advice only: a file system without it still serves the bytes.
        let _ = rustix::fs::fadvise(&file, position, None, rustix::fs::Advice::Sequential);
        Self { file: Arc::new(file), position, end, pool, lane, reading: None }
    }

    /// Promises the next part to the connection's lane, if the page cache has it.
    fn promise(&mut self) -> Option<Frame<Bytes>> {
        let lane = self.lane.as_ref()?;
        let want = (self.end - self.position).min(PROMISE_BYTES_MAX as u64) as usize;
        if want < READ_CHUNK_BYTES || !self.is_cached(want) {
            return None;
        }
        let stand_in = lane.promise(&self.file, self.position, want);
        self.position += want as u64;
        Some(Frame::data(stand_in))
    }

    /// Looks at one byte of every chunk: the kernel reads ahead in larger steps than that.
    fn is_cached(&self, want: usize) -> bool {
        let mut byte = [0];
        (0..want).step_by(READ_CHUNK_BYTES).chain([want - 1]).all(|at| {
            let mut slices = [IoSliceMut::new(&mut byte)];
            let position = self.position + at as u64;
            let read =
                rustix::io::preadv2(&*self.file, &mut slices, position, ReadWriteFlags::NOWAIT);
            read == Ok(1)
        })
    }

    fn read_cached(&self, buffer: &mut Buffer, want: usize) -> io::Result<bool> {
        let mut slices = [IoSliceMut::new(&mut buffer.bytes[..want])];
        match rustix::io::preadv2(&*self.file, &mut slices, self.position, ReadWriteFlags::NOWAIT) {
            Ok(0) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(false),
            Ok(count) => {
                buffer.length = count;
                Ok(true)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn read_blocking(&self, mut buffer: Buffer, want: usize) -> JoinHandle<io::Result<Buffer>> {
        let (file, position) = (self.file.clone(), self.position);
        tokio::task::spawn_blocking(move || {
            let count = file.read_at(&mut buffer.bytes[..want], position)?;
            if count == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the blob is shorter than its size",
                ));
            }
            buffer.length = count;
            Ok(buffer)
        })
    }

    fn send(&mut self, buffer: Buffer) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.position += buffer.length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(buffer)))))
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.reading.is_none() {
            let left = self.end - self.position;
            if left == 0 {
                return Poll::Ready(None);
            }
            if let Some(frame) = self.promise() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let want = left.min(READ_CHUNK_BYTES as u64) as usize;
            let mut buffer = self.pool.take();
            match self.read_cached(&mut buffer, want) {
                Ok(true) => return self.send(buffer),
                Ok(false) => self.reading = Some(self.read_blocking(buffer, want)),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let Some(reading) = self.reading.as_mut() else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(buffer) => self.send(buffer),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.position == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.position)
    }
}

/// Counts the bytes that leave and says so when the body is done or given up.
pub(crate) struct Watched {
    inner: Body,
    sent: u64,
    done: Option<Box<dyn FnOnce(u64) + Send>>,
}

impl Watched {
    /// Wraps `inner`; `done` gets the number of bytes sent.
    pub(crate) fn new(inner: Body, done: impl FnOnce(u64) + Send + 'static) -> Self {
        Self { inner, sent: 0, done: Some(Box::new(done)) }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.sent += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(self.sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("written");
        file
    }

    async fn collect(mut body: FileBody) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            all.extend_from_slice(&frame?.into_data().expect("data"));
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_part_of_a_file_is_sent_whole_whatever_its_place() {
        let bytes: Vec<u8> = (0..READ_CHUNK_BYTES * 3 + 17).map(|i| (i % 251) as u8).collect();
        let pool = Arc::new(BufferPool::default());
        let ends = [0, 1, READ_CHUNK_BYTES, READ_CHUNK_BYTES + 1, bytes.len()];
        for (from, to) in ends.iter().flat_map(|a| ends.iter().map(move |b| (*a, *b))) {
            if from <= to {
                let body =
                    FileBody::new(file_of(&bytes), from as u64, to as u64, pool.clone(), None);
                assert_eq!(collect(body).await.expect("read"), bytes[from..to], "{from}..{to}");
            }
        }
        assert!(!pool.0.lock().expect("not poisoned").is_empty(), "buffers come back");
    }

    #[tokio::test]
    async fn a_file_that_lost_bytes_is_an_error_and_not_a_short_answer() {
        let body = FileBody::new(file_of(b"abc"), 0, 10, Arc::default(), None);
        assert_eq!(collect(body).await.expect_err("short").kind(), io::ErrorKind::UnexpectedEof);
    }
}
