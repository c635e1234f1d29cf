//! The store as a place to copy from and to.

use std::io::Read;

use oci::{Descriptor, Sink, Source, TransferError};

use super::{Content, IngestStart};

/// Large enough that a hash and a write per turn cost little, small enough for many copies at once.
const BUFFER_BYTES: usize = 256 * 1024;

impl Source for Content {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
        Ok(Box::new(Content::open(self, descriptor.digest())?))
    }
}

impl Sink for Content {
    fn has(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        Ok(self.rely(descriptor.digest())? == Some(descriptor.size()))
    }

    /// `content` gives the whole blob from its first byte: a partial file is started again.
    fn accept(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), TransferError> {
        let mut ingest = match self.ingest(descriptor)? {
            IngestStart::Present => return Ok(()),
            IngestStart::Fetch(ingest) => ingest,
        };
        if ingest.offset() > 0 {
            ingest.restart()?;
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = match content.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(|error| {
                    TransferError::from_io(format!("read {}", descriptor.digest()), error)
                })?,
            };
            if count == 0 {
                return Ok(ingest.commit()?);
            }
            ingest.append(&buffer[..count])?;
        }
    }
}
