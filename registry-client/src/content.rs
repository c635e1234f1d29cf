//! What is to be uploaded, as something that can be read again from an offset.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use oci::{Descriptor, Source};
use tokio::sync::mpsc;

use crate::error::Problem;
use crate::limits::{CHANNEL_DEPTH, PIECE_BYTES};
use crate::transport::OutgoingStream;

/// Content that an upload reads, usually forward, after a broken connection from a bit before.
#[async_trait]
pub trait BlobContent: Send {
    /// The next bytes from `offset`; none only at the end. [`NotRewindable`] inside the error
    /// says that these bytes are gone.
    async fn read_at(&mut self, offset: u64) -> io::Result<Bytes>;
}

/// The bytes from this offset were given out already and cannot be had again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content cannot be read again from byte {offset}")]
pub struct NotRewindable {
    /// The offset asked for.
    pub offset: u64,
}

#[async_trait]
impl BlobContent for Bytes {
    async fn read_at(&mut self, offset: u64) -> io::Result<Bytes> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(self.slice(start..))
    }
}

/// Content of a source, which is opened again as often as an upload has to go back. To be made
/// and used on a runtime's tasks; the source is read on its threads for blocking work.
pub fn source_content(source: Arc<dyn Source>, descriptor: Descriptor) -> Box<dyn BlobContent> {
    Box::new(PipedContent::of(source, descriptor))
}

/// Content behind pieces that a thread reads. What was given out is kept up to a window.
pub(crate) struct PipedContent {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    position: u64,
    kept: VecDeque<(u64, Bytes)>,
    kept_bytes: u64,
    window: u64,
    reopen: Option<Reopen>,
}

type Reopen = Box<dyn Fn() -> mpsc::Receiver<io::Result<Bytes>> + Send>;

impl PipedContent {
    /// Content that comes once. `window` bytes of it can be read again.
    pub(crate) fn once(pieces: mpsc::Receiver<io::Result<Bytes>>, window: u64) -> Self {
        Self { pieces, position: 0, kept: VecDeque::new(), kept_bytes: 0, window, reopen: None }
    }

    /// Content of a source, opened again as often as needed.
    fn of(source: Arc<dyn Source>, descriptor: Descriptor) -> Self {
        let open = move || pump(source.clone(), descriptor.clone());
        Self {
            pieces: open(),
            position: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            window: 0,
            reopen: Some(Box::new(open)),
        }
    }

    fn kept_at(&self, offset: u64) -> Option<Bytes> {
        let (start, piece) =
            self.kept.iter().find(|(start, piece)| offset < start + piece.len() as u64)?;
        let skip = usize::try_from(offset.checked_sub(*start)?).ok()?;
        Some(piece.slice(skip..))
    }

    fn keep(&mut self, start: u64, piece: &Bytes) {
        if self.window == 0 {
            return;
        }
        self.kept.push_back((start, piece.clone()));
        self.kept_bytes += piece.len() as u64;
        while self.kept_bytes > self.window {
            match self.kept.pop_front() {
                Some((_, oldest)) => self.kept_bytes -= oldest.len() as u64,
                None => return,
            }
        }
    }
}

#[async_trait]
impl BlobContent for PipedContent {
    async fn read_at(&mut self, offset: u64) -> io::Result<Bytes> {
        if offset < self.position {
            if let Some(piece) = self.kept_at(offset) {
                return Ok(piece);
            }
            let reopen =
                self.reopen.as_ref().ok_or_else(|| io::Error::other(NotRewindable { offset }))?;
            self.pieces = reopen();
            self.position = 0;
        }
        loop {
            let Some(piece) = self.pieces.recv().await.transpose()? else {
                return Ok(Bytes::new());
            };
            let start = self.position;
            self.position += piece.len() as u64;
            self.keep(start, &piece);
            if offset < self.position {
                let skip = usize::try_from(offset - start).unwrap_or(usize::MAX);
                return Ok(piece.slice(skip..));
            }
        }
    }
}

/// Reads a source on a thread for blocking work, a few pieces ahead.
fn pump(source: Arc<dyn Source>, descriptor: Descriptor) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHANNEL_DEPTH);
    tokio::task::spawn_blocking(move || {
        let mut reader = match source.open_verified(&descriptor) {
            Ok(reader) => reader,
            Err(error) => {
                // The receiver is gone where the upload was given up.
                let _ = sender.blocking_send(Err(error.into_io()));
                return;
            }
        };
        pump_reader(&mut reader, &sender);
    });
    receiver
}

/// Sends all pieces of a reader, or its error. Ends early where nobody listens any more.
pub(crate) fn pump_reader(reader: &mut dyn Read, sender: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let piece = read_piece(reader);
        let last = !matches!(&piece, Ok(bytes) if !bytes.is_empty());
        let end = matches!(&piece, Ok(bytes) if bytes.is_empty());
        if end || sender.blocking_send(piece).is_err() || last {
            return;
        }
    }
}

fn read_piece(reader: &mut dyn Read) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let limit = PIECE_BYTES as u64;
    reader.take(limit).read_to_end(&mut piece)?;
    Ok(piece.into())
}

/// Content shared by the tries of an upload, with the failure that a try hit on our own side.
#[derive(Clone)]
pub(crate) struct Outgoing {
    content: Arc<tokio::sync::Mutex<Box<dyn BlobContent>>>,
    failure: Arc<Mutex<Option<io::Error>>>,
    sent: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Outgoing {
    /// `sent` is told the offset behind each piece that goes out.
    pub(crate) fn new(content: Box<dyn BlobContent>, sent: Arc<dyn Fn(u64) + Send + Sync>) -> Self {
        Self { content: Arc::new(tokio::sync::Mutex::new(content)), failure: Arc::default(), sent }
    }

    /// Exactly the bytes of `range`, or an error.
    pub(crate) fn stream(&self, range: Range<u64>) -> OutgoingStream {
        let shared = self.clone();
        Box::pin(stream::try_unfold((shared, range), |(shared, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let piece = match shared.piece(&range).await {
                Ok(piece) => piece,
                Err(error) => return Err(shared.note(error)),
            };
            let next = range.start + piece.len() as u64;
            (shared.sent)(next);
            Ok(Some((piece, (shared, next..range.end))))
        }))
    }

    async fn piece(&self, range: &Range<u64>) -> io::Result<Bytes> {
        let piece = self.content.lock().await.read_at(range.start).await?;
        if piece.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it ends at byte {}, before its promised length", range.start),
            ));
        }
        let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        Ok(piece.slice(..piece.len().min(left)))
    }

    fn note(&self, error: io::Error) -> io::Error {
        let text = error.to_string();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other(text)
    }

    /// The failure on our own side since the last call, as a problem.
    pub(crate) fn take_failure(&self) -> Option<Problem> {
        let error = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let lost = error.get_ref().and_then(|inner| inner.downcast_ref::<NotRewindable>());
        Some(match lost {
            Some(NotRewindable { offset }) => Problem::NotRewindable { offset: *offset },
            None => Problem::Content(error),
        })
    }
}
