//! The ports through which content moves.

use std::fmt;
use std::io::{self, Read};

use crate::descriptor::Descriptor;
use crate::verifier::{VerifyError, VerifyingReader};

/// A place that content can be read from: a store, a registry, a layout, an archive.
pub trait Source: Send + Sync {
    /// Opens the content that `descriptor` names. The reader is not trusted: callers go
    /// through [`Source::open_verified`] or [`Source::fetch`].
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError>;

    /// Opens the content behind a reader that fails at its end where it is not the content.
    fn open_verified(
        &self,
        descriptor: &Descriptor,
    ) -> Result<VerifyingReader<Box<dyn Read + Send>>, TransferError> {
        Ok(VerifyingReader::new(self.open(descriptor)?, descriptor))
    }

    /// Reads a small document whole, verified, refusing one over `bytes_max`.
    fn fetch(&self, descriptor: &Descriptor, bytes_max: u64) -> Result<Vec<u8>, TransferError> {
        if let Some(bytes) = descriptor.embedded() {
            return Ok(bytes);
        }
        if descriptor.size() > bytes_max {
            return Err(TransferError::new(
                TransferErrorKind::Corrupt,
                format!(
                    "{} is {} bytes, over the limit of {bytes_max}",
                    descriptor.digest(),
                    descriptor.size()
                ),
            ));
        }
        let mut bytes = Vec::new();
        self.open_verified(descriptor)?
            .read_to_end(&mut bytes)
            .map_err(|e| TransferError::from_io(format!("read {}", descriptor.digest()), e))?;
        Ok(bytes)
    }
}

/// A place that content can be written to.
pub trait Sink: Send + Sync {
    /// Whether the content is there already (and will stay while the caller relies on it).
    fn has(&self, descriptor: &Descriptor) -> Result<bool, TransferError>;

    /// Takes the content. It becomes visible only when it matches `descriptor`.
    fn accept(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), TransferError>;
}

/// What a transfer failed of, as far as its caller must tell cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferErrorKind {
    /// The content is not what its descriptor says.
    Corrupt,
    /// The other side refuses.
    Denied,
    /// No space, quota or limit left.
    Full,
    /// There is no such content.
    NotFound,
    /// Anything else.
    Other,
    /// The other side cannot be reached now.
    Unavailable,
}

/// A failed transfer: the act and its object in words, the kind, and the cause.
#[derive(Debug)]
pub struct TransferError {
    kind: TransferErrorKind,
    act: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl TransferError {
    /// An error without a deeper cause.
    pub fn new(kind: TransferErrorKind, act: impl Into<String>) -> Self {
        Self { kind, act: act.into(), source: None }
    }

    /// An error with its cause.
    pub fn because(
        kind: TransferErrorKind,
        act: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, act: act.into(), source: Some(source.into()) }
    }

    /// An error from the operating system, or from a [`VerifyingReader`]. A transfer error
    /// that travelled through a reader comes out as itself.
    pub fn from_io(act: impl Into<String>, error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            return match error.into_inner().map(|inner| inner.downcast::<Self>()) {
                Some(Ok(transfer)) => *transfer,
                _ => Self::new(TransferErrorKind::Other, act),
            };
        }
        let kind = match error.kind() {
            _ if error.get_ref().is_some_and(|inner| inner.is::<VerifyError>()) => {
                TransferErrorKind::Corrupt
            }
            io::ErrorKind::NotFound => TransferErrorKind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                TransferErrorKind::Denied
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TransferErrorKind::Full,
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::UnexpectedEof => TransferErrorKind::Unavailable,
            _ => TransferErrorKind::Other,
        };
        Self::because(kind, act, error)
    }

    /// The kind.
    pub fn kind(&self) -> TransferErrorKind {
        self.kind
    }

    /// This error as one that a reader can return; [`TransferError::from_io`] takes it out again.
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.act)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TransferError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().and_then(|source| source.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MediaType;

    struct Fixed(&'static [u8]);

    impl Source for Fixed {
        fn open(&self, _: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
            Ok(Box::new(self.0))
        }
    }

    #[test]
    fn fetch_gives_the_content_or_says_that_it_is_corrupt() {
        let descriptor = Descriptor::of(MediaType::OciEmpty, b"{}");
        assert_eq!(Fixed(b"{}").fetch(&descriptor, 10).expect("same"), b"{}");
        let error = Fixed(b"[]").fetch(&descriptor, 10).expect_err("differs");
        assert_eq!(error.kind(), TransferErrorKind::Corrupt);
        let error = Fixed(b"{}").fetch(&descriptor, 1).expect_err("too large");
        assert!(error.to_string().contains("over the limit of 1"), "{error}");
    }

    #[test]
    fn a_transfer_error_survives_a_reader() {
        let inner = TransferError::new(TransferErrorKind::Denied, "pull a/b");
        let back = TransferError::from_io("read", inner.into_io());
        assert_eq!(
            (back.kind(), back.to_string().as_str()),
            (TransferErrorKind::Denied, "pull a/b")
        );
    }
}
