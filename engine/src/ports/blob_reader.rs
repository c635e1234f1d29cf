//! A blob that comes from a registry, as a blocking reader.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use oci::TransferError;
use registry_client::BlobStream;
use tokio::runtime::Handle;

/// Reads a verified stream from a thread that does not belong to the network runtime.
pub(crate) struct BlobReader {
    handle: Handle,
    stream: BlobStream,
    piece: Bytes,
}

impl BlobReader {
    pub(crate) fn new(handle: Handle, stream: BlobStream) -> Self {
        Self { handle, stream, piece: Bytes::new() }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.handle.block_on(self.stream.next()) {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => return Ok(0),
                Err(error) => return Err(TransferError::from(error).into_io()),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
