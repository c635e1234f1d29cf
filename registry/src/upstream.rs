//! The port to another registry, for pull-through caching. This crate knows no client of the
//! protocol; whoever composes the program implements the port.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use oci::Digest;

use crate::name::{ManifestReference, RepositoryName};

/// Another registry, read on behalf of this one's clients.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Fetches a manifest. `known` is the digest held already: an implementation should ask
    /// with `HEAD` or a condition and answer [`UpstreamManifest::Unchanged`] when it still holds.
    async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &ManifestReference,
        known: Option<&Digest>,
    ) -> Result<UpstreamManifest, UpstreamError>;

    /// Opens a blob from its first byte.
    async fn blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<UpstreamBlob, UpstreamError>;

    /// Lists all tags of a repository.
    async fn tags(&self, name: &RepositoryName) -> Result<Vec<String>, UpstreamError>;

    /// Fetches the referrers of a manifest as an OCI index, or nothing when there are none.
    async fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Bytes>, UpstreamError>;
}

/// What the upstream answers about a manifest.
#[derive(Clone, Debug)]
pub enum UpstreamManifest {
    /// The reference still means the known digest.
    Unchanged,
    /// The manifest as received.
    Manifest {
        /// Its media type, without parameters.
        media_type: String,
        /// Its exact bytes.
        bytes: Bytes,
    },
}

/// A blob that is being received.
pub struct UpstreamBlob {
    /// Its size, when the upstream says so.
    pub size: Option<u64>,
    /// Its content.
    pub content: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

/// Why the upstream gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It has no such repository, manifest or blob.
    #[error("the upstream registry has no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It refuses the credentials that this registry was given.
    #[error("the upstream registry denies access to {what}")]
    Denied {
        /// What was asked for.
        what: String,
    },
    /// It cannot be reached or fails; what is cached stays good.
    #[error("the upstream registry is unavailable")]
    Unavailable {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
