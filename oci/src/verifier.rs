//! Checking content against its descriptor while it flows.

use std::io::{self, Read};

use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};

/// How content differs from its descriptor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// More bytes than promised. Noticed at the first byte too many.
    #[error("{digest} is longer than the {expected} bytes its descriptor promises")]
    TooLong {
        /// The digest asked for.
        digest: Digest,
        /// The promised length.
        expected: u64,
    },
    /// Fewer bytes than promised.
    #[error("{digest} ended after {found} of {expected} bytes")]
    Truncated {
        /// The digest asked for.
        digest: Digest,
        /// The promised length.
        expected: u64,
        /// The bytes that came.
        found: u64,
    },
    /// The right number of wrong bytes.
    #[error("content does not match its digest: expected {expected}, found {found}")]
    Mismatch {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
}

/// Counts and hashes content. Feed it, then ask it.
#[derive(Clone, Debug)]
pub struct Verifier {
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
}

impl Verifier {
    /// A verifier for the content of `descriptor`.
    pub fn new(descriptor: &Descriptor) -> Self {
        Self {
            expected: descriptor.digest().clone(),
            size: descriptor.size(),
            seen: 0,
            hasher: Hasher::new(descriptor.digest().algorithm()),
        }
    }

    /// How many bytes were fed.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Feeds the next bytes; an error as soon as there are too many.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        self.seen += bytes.len() as u64;
        if self.seen > self.size {
            return Err(VerifyError::TooLong {
                digest: self.expected.clone(),
                expected: self.size,
            });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Whether what was fed is the content.
    pub fn finish(self) -> Result<(), VerifyError> {
        if self.seen < self.size {
            return Err(VerifyError::Truncated {
                digest: self.expected,
                expected: self.size,
                found: self.seen,
            });
        }
        let found = self.hasher.finish();
        if found == self.expected {
            Ok(())
        } else {
            Err(VerifyError::Mismatch { expected: self.expected, found })
        }
    }
}

/// A reader that yields the mismatch in place of the end of the content. The
/// error's source is a [`VerifyError`].
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    verifier: Option<Verifier>,
}

impl<R: Read> VerifyingReader<R> {
    /// Reads the content of `descriptor` from `inner`.
    pub fn new(inner: R, descriptor: &Descriptor) -> Self {
        Self { inner, verifier: Some(Verifier::new(descriptor)) }
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        let verdict = match (&mut self.verifier, count) {
            (None, 0) => return Ok(0),
            // The source went on after its end was judged.
            (None, _) => return Err(io::Error::other("read after the end of verified content")),
            (Some(verifier), 1..) => verifier.update(&buffer[..count]),
            (finished, 0) => finished.take().map_or(Ok(()), Verifier::finish),
        };
        match verdict {
            Ok(()) => Ok(count),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MediaType;

    fn read(promised: &[u8], served: &[u8]) -> io::Result<Vec<u8>> {
        let descriptor = Descriptor::of(MediaType::OciEmpty, promised);
        let mut out = Vec::new();
        VerifyingReader::new(served, &descriptor).read_to_end(&mut out).map(|_| out)
    }

    /// Covers: DST-5
    #[test]
    fn a_flipped_a_missing_and_an_extra_byte_are_each_refused() {
        assert_eq!(read(b"content", b"content").expect("same"), b"content");
        for served in [&b"contenT"[..], b"conten", b"content!", b""] {
            let error = read(b"content", served).expect_err("differs");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.get_ref().is_some_and(|e| e.is::<VerifyError>()));
        }
    }

    proptest! {
        #[test]
        fn only_the_content_itself_passes(promised: Vec<u8>, served: Vec<u8>) {
            prop_assert_eq!(read(&promised, &served).is_ok(), promised == served);
            prop_assert!(read(&promised, &promised).is_ok());
        }
    }
}
