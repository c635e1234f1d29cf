//! Blobs that go from the page cache to the socket without passing through this program.
//!
//! hyper owns the connection and only knows bytes. So a body hands it a *stand-in*, a part of one
//! static region of memory, and promises the real bytes on the connection's [`Lane`]; the
//! stream under hyper knows stand-ins by their address and answers a write of one with
//! `sendfile(2)`. It works where hyper passes on the buffers of a body as they are, which it
//! does for HTTP/1 over a stream with vectored writes. Should it ever copy one instead, promise
//! and write are out of step, and the connection is closed before anything follows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The longest promise.
pub(crate) const PROMISE_BYTES_MAX: usize = 512 * 1024;

/// Zeros that nobody ever gets to see.
static STAND_IN: [u8; PROMISE_BYTES_MAX] = [0; PROMISE_BYTES_MAX];

/// What the bodies of one connection promised and its stream has not sent yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane(Arc<Mutex<VecDeque<Promise>>>);

#[derive(Debug)]
struct Promise {
    file: Arc<File>,
    position: u64,
    left: usize,
}

impl Lane {
    /// Promises a part of a file; what to give hyper in its place.
    pub(crate) fn promise(&self, file: &Arc<File>, position: u64, length: usize) -> Bytes {
        let length = length.min(PROMISE_BYTES_MAX);
        self.promises().push_back(Promise { file: file.clone(), position, left: length });
        Bytes::from_static(&STAND_IN[..length])
    }

    fn promises(&self) -> MutexGuard<'_, VecDeque<Promise>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends from the promise that a stand-in of `length` bytes stands for.
    fn keep(
        &self,
        length: usize,
        send: impl Fn(&Promise) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut promises = self.promises();
        let Some(promise) = promises.front_mut().filter(|promise| promise.left == length) else {
            return Err(io::Error::other(
                "a promised part of a blob is out of step with its connection",
            ));
        };
        let sent = send(promise)?;
        if sent == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the blob is shorter than its size",
            ));
        }
        promise.position += sent as u64;
        promise.left -= sent;
        if promise.left == 0 {
            promises.pop_front();
        }
        Ok(sent)
    }
}

fn is_stand_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// A TCP connection that keeps the promises of its lane.
#[derive(Debug)]
pub(crate) struct SendfileStream {
    stream: TcpStream,
    lane: Lane,
}

impl SendfileStream {
    /// Wraps a connection.
    pub(crate) fn new(stream: TcpStream, lane: Lane) -> Self {
        Self { stream, lane }
    }

    fn poll_keep(&self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let send = |promise: &Promise| {
                let mut position = promise.position;
                let sent = rustix::fs::sendfile(
                    &self.stream,
                    &*promise.file,
                    Some(&mut position),
                    promise.left,
                );
                Ok(sent?)
            };
            match self.stream.try_io(Interest::WRITABLE, || self.lane.keep(length, send)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsyncRead for SendfileStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for SendfileStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if is_stand_in(bytes) {
            return self.poll_keep(context, bytes.len());
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
        let slices = &slices[first.min(slices.len())..];
        match slices.iter().position(|slice| is_stand_in(slice)) {
            Some(0) => self.poll_keep(context, slices[0].len()),
            Some(end) => Pin::new(&mut self.stream).poll_write_vectored(context, &slices[..end]),
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (SendfileStream, Lane, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let far = TcpStream::connect(listener.local_addr().expect("an address"))
            .await
            .expect("connected");
        let (near, _) = listener.accept().await.expect("accepted");
        let lane = Lane::default();
        (SendfileStream::new(near, lane.clone()), lane, far)
    }

    fn file_of(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        Arc::new(file)
    }

    #[tokio::test]
    async fn promised_parts_arrive_between_the_bytes_around_them() {
        let (mut near, lane, mut far) = pair().await;
        let content: Vec<u8> = (0..PROMISE_BYTES_MAX + 999).map(|at| (at % 253) as u8).collect();
        let file = file_of(&content);
        let (first, second) =
            (lane.promise(&file, 7, PROMISE_BYTES_MAX), lane.promise(&file, 500_000, 10));
        let writing = tokio::spawn(async move {
            let mut rest: Vec<Bytes> =
                vec!["head".into(), first, "middle".into(), second, "end".into()];
            while !rest.is_empty() {
                let slices: Vec<_> = rest.iter().map(|bytes| IoSlice::new(bytes)).collect();
                let mut sent = near.write_vectored(&slices).await.expect("written");
                while sent > 0 {
                    let step = sent.min(rest[0].len());
                    let _ = rest[0].split_to(step);
                    sent -= step;
                    if rest[0].is_empty() {
                        rest.remove(0);
                    }
                }
            }
        });
        let expected = [
            b"head",
            &content[7..7 + PROMISE_BYTES_MAX],
            b"middle",
            &content[500_000..500_010],
            b"end",
        ]
        .concat();
        let mut arrived = Vec::new();
        far.read_to_end(&mut arrived).await.expect("read");
        writing.await.expect("joined");
        assert!(arrived == expected);
    }

    #[tokio::test]
    async fn a_stand_in_without_its_promise_ends_the_connection() {
        let (mut near, lane, _far) = pair().await;
        let stand_in = lane.promise(&file_of(b"0123456789"), 0, 10);
        assert!(near.write(&stand_in[1..]).await.is_err(), "another length than promised");
        lane.promises().clear();
        assert!(near.write(&stand_in).await.is_err(), "nothing promised");
    }

    #[tokio::test]
    async fn a_file_that_lost_bytes_ends_the_connection() {
        let (mut near, lane, _far) = pair().await;
        let stand_in = lane.promise(&file_of(b"01234"), 0, 10);
        assert_eq!(near.write(&stand_in).await.expect("the first half"), 5);
        let error = near.write(&stand_in[5..]).await.expect_err("no more");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
