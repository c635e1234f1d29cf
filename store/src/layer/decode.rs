//! Decompression, chosen by the content's first bytes: media types are known to lie.

use std::io::{self, BufRead, BufReader, Read};

use oci::Compression;

use crate::limits::ZSTD_WINDOW_LOG_MAX;

const BUFFER_BYTES: usize = 256 * 1024;

/// What the first bytes of a stream say.
pub fn detect(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame may come first (eStargz and zstd:chunked put one there).
        [magic, 0x2a, 0x4d, 0x18, ..] if magic & 0xf0 == 0x50 => Compression::Zstd,
        _ => Compression::None,
    }
}

/// A reader of the uncompressed content: every member of a gzip, every frame of a zstd stream.
pub(crate) fn decoder<'a>(from: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
    let compression = detect(first_bytes(&mut from)?);
    Ok(match compression {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// The same for a file that a person hands in, which may also be compressed with xz or bzip2, as
/// for Docker. A layer from a registry may not: no media type says so, and the memory that xz
/// takes is the sender's to say.
pub(crate) fn file_decoder<'a>(
    from: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
    let first = first_bytes(&mut from)?;
    match (is_xz(first), is_bzip2(first)) {
        (true, _) => Ok(Box::new(lzma_rust2::XzReader::new(Filling(from), true))),
        (_, true) => Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(from))),
        _ => decoder(from),
    }
}

/// A reader that gives less than was asked for only at its end: the xz decoder takes a short
/// read of the padding between two blocks for a damaged file.
struct Filling<R>(R);

impl<R: Read> Read for Filling<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        super::pipe::fill(&mut self.0, buffer)
    }
}

/// The magic of the xz format (xz-file-format, 2.1.1.1).
fn is_xz(first: &[u8]) -> bool {
    first.starts_with(b"\xfd7zXZ\0")
}

/// `BZh`, the block size, and the magic of a block or of the end of an empty stream.
fn is_bzip2(first: &[u8]) -> bool {
    const BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    match first {
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] => {
            rest.starts_with(BLOCK) || rest.starts_with(END)
        }
        _ => false,
    }
}

fn first_bytes(from: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match from.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    from.fill_buf()
}

/// A reader that hashes what is consumed from it.
#[derive(Debug)]
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: oci::Hasher,
    seen: u64,
    limit: u64,
}

impl<R: BufRead> HashingReader<R> {
    pub(crate) fn new(inner: R, algorithm: oci::Algorithm, limit: u64) -> Self {
        Self { inner, hasher: oci::Hasher::new(algorithm), seen: 0, limit }
    }

    /// Reads what is left, and gives the digest and the length of all.
    pub(crate) fn finish(mut self) -> io::Result<(oci::Digest, u64)> {
        loop {
            let count = match self.fill_buf() {
                Ok(bytes) => bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if count == 0 {
                return Ok((self.hasher.finish(), self.seen));
            }
            self.consume(count);
        }
    }

    /// Whether more came than is accepted.
    pub(crate) fn is_over(&self) -> bool {
        self.seen > self.limit
    }
}

impl<R: BufRead> BufRead for HashingReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.is_over() {
            return Err(io::Error::other(format!("more than {} uncompressed bytes", self.limit)));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // The buffer is still there: a second look costs nothing.
        if let Ok(bytes) = self.inner.fill_buf() {
            self.hasher.update(&bytes[..count.min(bytes.len())]);
        }
        self.seen += count as u64;
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
