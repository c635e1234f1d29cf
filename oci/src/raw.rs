//! Documents kept as the exact bytes they arrived in.

use std::ops::Deref;
use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::media_type::MediaType;

/// Why bytes are not the document they should be.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The document is over the limit of its kind.
    #[error("{kind} is {found} bytes, over the limit of {limit}")]
    TooLarge {
        /// What was read.
        kind: &'static str,
        /// Its length.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The JSON is not of the right form.
    #[error("invalid {kind}: {source}")]
    Json {
        /// What was read.
        kind: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The JSON has the right form and a wrong meaning.
    #[error("invalid {kind}: {reason}")]
    Invalid {
        /// What was read.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// A kind of document that [`Raw`] can hold.
pub trait Document: Sized {
    /// The name in errors.
    const KIND: &'static str;
    /// The largest size accepted.
    const BYTES_MAX: u64;

    /// Parses and checks the document.
    fn from_bytes(bytes: &[u8]) -> Result<Self, RawError>;

    /// The type to describe it by.
    fn media_type(&self) -> MediaType;
}

/// A parsed document beside its exact bytes. It is hashed, signed and sent as
/// those bytes: parsing is for reading.
#[derive(Clone, Debug)]
pub struct Raw<T> {
    bytes: Arc<[u8]>,
    parsed: T,
}

impl<T: Document> Raw<T> {
    /// Parses `bytes`, which are kept.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self, RawError> {
        let bytes = bytes.into();
        if bytes.len() as u64 > T::BYTES_MAX {
            return Err(RawError::TooLarge {
                kind: T::KIND,
                found: bytes.len() as u64,
                limit: T::BYTES_MAX,
            });
        }
        Ok(Self { parsed: T::from_bytes(&bytes)?, bytes })
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The SHA-256 digest of the exact bytes.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }

    /// The descriptor of the exact bytes.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(self.parsed.media_type(), &self.bytes)
    }

    /// The parsed value alone.
    pub fn into_parsed(self) -> T {
        self.parsed
    }
}

impl<T: Document + serde::Serialize> Raw<T> {
    /// A new document, serialised once: compact JSON, fields in the order of the specification.
    pub fn encode(value: &T) -> Result<Self, RawError> {
        let json = |source| RawError::Json { kind: T::KIND, source };
        Self::parse(serde_json::to_vec(value).map_err(json)?)
    }
}

impl<T> Deref for Raw<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.parsed
    }
}
