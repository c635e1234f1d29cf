//! Deletes (distribution-spec end-9, end-10).

use bytes::Bytes;
use http::{Method, StatusCode};
use oci::{Descriptor, Digest, Manifest, MediaType, Raw};

use super::{Repository, Selector};
use crate::auth::ScopeSet;
use crate::error::{Act, ErrorCode, Problem, RegistryError};
use crate::retry;

/// Marks the stand-in that a tag is moved to before it is deleted by digest.
const STAND_IN_TYPE: &str = "application/vnd.wherry.deleted.v1";

impl Repository {
    /// Deletes a tag and nothing else. On registries that delete manifests only, the tag is moved
    /// to a stand-in of its own first, and the stand-in deleted.
    pub async fn delete_tag(&self, tag: &str) -> Result<(), RegistryError> {
        let selector = Selector::Tag(tag.to_owned());
        let wrap = |problem| self.manifest_error(Act::DeleteTag, &selector, problem);
        match self.delete(&format!("manifests/{tag}")).await {
            Ok(()) => Ok(()),
            Err(problem) if deletes_no_tags(&problem) => {
                // A stand-in under a tag that did not exist would be new, not gone.
                self.get(&selector).await.map_err(wrap)?;
                self.delete_by_stand_in(&selector).await.map_err(wrap)
            }
            Err(problem) => Err(wrap(problem)),
        }
    }

    /// Deletes a manifest, and with it all tags on it (DST-23).
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        let deleted = self.delete(&format!("manifests/{digest}")).await;
        let selector = Selector::Digest(digest.clone());
        deleted.map_err(|problem| self.manifest_error(Act::DeleteManifest, &selector, problem))
    }

    /// Deletes a blob.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        let deleted = self.delete(&format!("blobs/{digest}")).await;
        deleted.map_err(|problem| self.blob_error(Act::DeleteBlob, digest, problem))
    }

    async fn delete(&self, path: &str) -> Result<(), Problem> {
        let call = self
            .call(Method::DELETE, path, ScopeSet::delete(self.name.path()))
            .accepts(&[200, 202, 204]);
        let endpoint = self.upstream().await?;
        self.exchange.call(&endpoint, &call).await.map(drop)
    }

    async fn delete_by_stand_in(&self, tag: &Selector) -> Result<(), Problem> {
        let empty = Bytes::from_static(b"{}");
        self.push_blob(&Descriptor::empty(), Box::new(empty), &[]).await.map_err(|error| {
            Problem::Protocol { reason: format!("no stand-in can be written: {error}") }
        })?;
        // Unlike any other manifest, so that its deletion takes no other tag along.
        let unique = format!("{:016x}{:016x}", retry::random(), retry::random());
        let stand_in = Manifest::artifact(STAND_IN_TYPE, vec![Descriptor::empty()])
            .with_annotations([("wherry.stand-in".to_owned(), unique)].into());
        let stand_in = Raw::encode(&stand_in)
            .map_err(|error| Problem::BadRequest { reason: error.to_string() })?;
        let bytes = Bytes::copy_from_slice(stand_in.bytes());
        let pushed = self.put(tag, &MediaType::OciManifest, bytes).await?;
        self.delete(&format!("manifests/{}", pushed.descriptor.digest())).await
    }
}

/// Whether a registry deletes manifests by digest only.
fn deletes_no_tags(problem: &Problem) -> bool {
    matches!(problem.status(), Some(StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED))
        || problem.has_code(&ErrorCode::Unsupported)
        || problem.has_code(&ErrorCode::DigestInvalid)
}
