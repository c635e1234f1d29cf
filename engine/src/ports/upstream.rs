//! Another registry behind the embedded one: what it caches comes through the registry client.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use oci::{Descriptor, Digest, Index, MediaType, Raw, TransferErrorKind};
use registry::{
    ManifestReference, RepositoryName, Upstream, UpstreamBlob, UpstreamError, UpstreamManifest,
};
use registry_client::{BlobStream, Client, ReferrersFilter, RegistryError, Repository, Selector};

/// A registry that is cached.
pub(crate) struct CachedRegistry {
    client: Client,
    host: String,
}

impl CachedRegistry {
    /// The registry of this host, or of a URL that names one. Schemes are the client's own rule:
    /// HTTPS, and plain HTTP on loopback.
    pub(crate) fn new(client: Client, upstream: &str) -> Self {
        let host = upstream.split_once("://").map_or(upstream, |(_, host)| host);
        Self { client, host: host.trim_end_matches('/').to_owned() }
    }

    fn repository(&self, name: &RepositoryName) -> Result<Repository, UpstreamError> {
        let text = format!("{}/{}", self.host, name.as_str());
        let repository: oci::Repository = text.parse().map_err(unavailable)?;
        Ok(self.client.repository(&repository))
    }
}

#[async_trait]
impl Upstream for CachedRegistry {
    async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &ManifestReference,
        known: Option<&Digest>,
    ) -> Result<UpstreamManifest, UpstreamError> {
        let repository = self.repository(name)?;
        let selector = match reference {
            ManifestReference::Tag(tag) => Selector::Tag(tag.as_str().to_owned()),
            ManifestReference::Digest(digest) => Selector::Digest(digest.clone()),
        };
        if let Some(known) = known {
            let now = repository.resolve(&selector).await.map_err(told)?;
            if now.digest() == known {
                return Ok(UpstreamManifest::Unchanged);
            }
        }
        let fetched = repository.manifest(&selector).await.map_err(told)?;
        let media_type = fetched.descriptor.media_type().to_string();
        Ok(UpstreamManifest::Manifest { media_type, bytes: fetched.bytes })
    }

    async fn blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<UpstreamBlob, UpstreamError> {
        let repository = self.repository(name)?;
        let size = repository.stat_blob(digest).await.map_err(told)?;
        let size = size.ok_or_else(|| UpstreamError::NotFound { what: digest.to_string() })?;
        let media_type = MediaType::from("application/octet-stream");
        let descriptor = Descriptor::new(media_type, digest.clone(), size);
        let stream = repository.blob(&descriptor).await.map_err(told)?;
        Ok(UpstreamBlob { size: Some(size), content: pieces(stream).boxed() })
    }

    async fn tags(&self, name: &RepositoryName) -> Result<Vec<String>, UpstreamError> {
        self.repository(name)?.tags().await.map_err(told)
    }

    async fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Bytes>, UpstreamError> {
        let repository = self.repository(name)?;
        let found =
            repository.referrers(subject, &ReferrersFilter::default()).await.map_err(told)?;
        if found.descriptors.is_empty() {
            return Ok(None);
        }
        let index = Raw::encode(&Index::new(found.descriptors)).map_err(unavailable)?;
        Ok(Some(Bytes::copy_from_slice(index.bytes())))
    }
}

/// The pieces of a blob; the end comes only after its digest was proven.
fn pieces(
    stream: BlobStream,
) -> impl futures_util::Stream<Item = Result<Bytes, UpstreamError>> + Send {
    futures_util::stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match stream.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(stream))),
            Ok(None) => None,
            Err(error) => Some((Err(told(error)), None)),
        }
    })
}

fn told(error: RegistryError) -> UpstreamError {
    match error.problem().transfer_kind() {
        TransferErrorKind::NotFound => UpstreamError::NotFound { what: error.subject().to_owned() },
        TransferErrorKind::Denied => UpstreamError::Denied { what: error.subject().to_owned() },
        _ => unavailable(error),
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> UpstreamError {
    UpstreamError::Unavailable { source: Box::new(error) }
}
