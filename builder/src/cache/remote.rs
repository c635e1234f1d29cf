//! Results of steps that travel: a layer blob with what it is the result of.
//!
//! A step travels as an annotation of its layer's descriptor, in an image's own manifest (inline) or in one that is
//! only a cache. Names of steps do not travel: they may hold values of arguments.

use oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};
use store::Lease;

use super::{DiffRecord, Record};
use crate::error::PortError;
use crate::key::CacheKey;

/// The annotation of a layer that is the result of a step.
pub const ANNOTATION: &str = "dev.wherry.buildcache.step";

/// A step's result that somebody else made.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteStep {
    /// What it is the result of.
    pub key: CacheKey,
    /// The content identity of the file system with this layer on top.
    pub content: Digest,
    /// When it was made.
    pub created: String,
    /// Bytes of its regular files.
    pub bytes: u64,
    /// How long making it took, in milliseconds.
    pub took_ms: u64,
    /// Its layer.
    pub diff: DiffRecord,
}

/// What the annotation says.
#[derive(Serialize, Deserialize)]
struct Written {
    key: CacheKey,
    content: Digest,
    created: String,
    bytes: u64,
    took_ms: u64,
    compression: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<i64>,
    diff_id: Digest,
}

impl RemoteStep {
    /// The step of a record with one of its blobs.
    pub fn of(key: &CacheKey, record: &Record, diff: &DiffRecord) -> RemoteStep {
        RemoteStep {
            key: key.clone(),
            content: record.content.clone(),
            created: record.created.clone(),
            bytes: record.bytes,
            took_ms: record.took_ms,
            diff: diff.clone(),
        }
    }

    /// The layer's descriptor with the step in it.
    pub fn annotate(&self, layer: Descriptor) -> Descriptor {
        let written = Written {
            key: self.key.clone(),
            content: self.content.clone(),
            created: self.created.clone(),
            bytes: self.bytes,
            took_ms: self.took_ms,
            compression: self.diff.compression.clone(),
            epoch: self.diff.epoch,
            diff_id: self.diff.diff_id.clone(),
        };
        // Strings and numbers: there is nothing that JSON cannot hold.
        let text = serde_json::to_string(&written).unwrap_or_default();
        layer.with_annotation(ANNOTATION, &text)
    }

    /// The step behind a layer; `None` for layers that say nothing, or nothing that can be read.
    pub fn read(layer: &Descriptor) -> Option<RemoteStep> {
        let written: Written = serde_json::from_str(layer.annotation(ANNOTATION)?).ok()?;
        Some(RemoteStep {
            key: written.key,
            content: written.content,
            created: written.created,
            bytes: written.bytes,
            took_ms: written.took_ms,
            diff: DiffRecord {
                compression: written.compression,
                epoch: written.epoch,
                diff_id: written.diff_id,
                blob: layer.bare(),
            },
        })
    }
}

/// Caches that others filled.
pub trait RemoteCache: Send + Sync {
    /// What is known under a key.
    fn find(&self, key: &CacheKey) -> Option<RemoteStep>;

    /// Brings the layer of a step into the store, held by the lease.
    fn fetch(&self, step: &RemoteStep, lease: &Lease) -> Result<(), PortError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-77
    #[test]
    fn a_step_comes_back_from_its_annotation() {
        let layer = Descriptor::of(oci::MediaType::OciLayer(oci::Compression::Gzip), b"layer");
        let step = RemoteStep {
            key: CacheKey::from_digest(Digest::sha256(b"key")),
            content: Digest::sha256(b"content"),
            created: "2026-01-01T00:00:00Z".to_owned(),
            bytes: 5,
            took_ms: 7,
            diff: DiffRecord {
                compression: "gzip".to_owned(),
                epoch: Some(1),
                diff_id: Digest::sha256(b"tar"),
                blob: layer.clone(),
            },
        };
        let annotated = step.annotate(layer.clone());
        assert_eq!(RemoteStep::read(&annotated), Some(step));
        assert_eq!(RemoteStep::read(&layer), None);
        assert_eq!(RemoteStep::read(&layer.with_annotation(ANNOTATION, "{}")), None);
    }
}
