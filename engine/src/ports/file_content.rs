//! A blob of the store as content of an upload: a broken upload reads it again from anywhere.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use registry_client::BlobContent;

/// Bytes read at once: a multiple of the page cache's read-ahead, small enough for a chunk.
const PIECE_BYTES: usize = 256 * 1024;

/// An open blob.
pub(crate) struct FileContent {
    file: File,
}

impl FileContent {
    pub(crate) fn new(file: File) -> Self {
        Self { file }
    }
}

#[async_trait::async_trait]
impl BlobContent for FileContent {
    async fn read_at(&mut self, offset: u64) -> io::Result<Bytes> {
        let mut piece = vec![0; PIECE_BYTES];
        let count = self.file.read_at(&mut piece, offset)?;
        piece.truncate(count);
        Ok(piece.into())
    }
}
