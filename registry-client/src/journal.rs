//! The port that remembers uploads over the death of a process.

use oci::Digest;
use serde::Deserialize;

use crate::redact::Secret;

/// Which upload is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadKey {
    /// The registry's name.
    pub registry: String,
    /// The repository's path.
    pub repository: String,
    /// The blob.
    pub digest: Digest,
}

/// What is remembered of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRecord {
    /// Where it goes on. Whoever knows it may write to the upload, so it is a secret.
    pub location: Secret,
    /// What the registry confirmed.
    pub offset: u64,
    /// The registry's least chunk.
    pub chunk_min: u64,
}

#[derive(Deserialize)]
struct RecordDocument {
    version: u32,
    location: String,
    offset: u64,
    chunk_min: u64,
}

/// The version of the document that a record is written as.
const VERSION: u32 = 1;

impl UploadRecord {
    /// The record as a document to keep, readable by its owner only.
    pub fn to_bytes(&self) -> Vec<u8> {
        let document = serde_json::json!({
            "version": VERSION,
            "location": self.location.expose(),
            "offset": self.offset,
            "chunk_min": self.chunk_min,
        });
        document.to_string().into_bytes()
    }

    /// Reads what [`UploadRecord::to_bytes`] wrote. Anything else is no record: the upload then
    /// starts over, which is always right.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let document: RecordDocument = serde_json::from_slice(bytes).ok()?;
        (document.version == VERSION).then(|| Self {
            location: Secret::new(document.location),
            offset: document.offset,
            chunk_min: document.chunk_min,
        })
    }
}

/// Remembers uploads. Failing to is no failure of the upload, so nothing here returns errors.
pub trait TransferJournal: Send + Sync {
    /// What is remembered.
    fn load(&self, key: &UploadKey) -> Option<UploadRecord>;

    /// Remembers; called after every confirmed chunk.
    fn save(&self, key: &UploadKey, record: &UploadRecord);

    /// Forgets; called when the upload is done or its session is gone.
    fn forget(&self, key: &UploadKey);
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl TransferJournal for NoJournal {
    fn load(&self, _: &UploadKey) -> Option<UploadRecord> {
        None
    }

    fn save(&self, _: &UploadKey, _: &UploadRecord) {}

    fn forget(&self, _: &UploadKey) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_anything_else_is_none() {
        let record =
            UploadRecord { location: Secret::new("https://h/u?s=1"), offset: 7, chunk_min: 5 };
        assert_eq!(UploadRecord::parse(&record.to_bytes()), Some(record));
        for other in [&b""[..], b"{}", br#"{"version":2,"location":"x","offset":0,"chunk_min":0}"#]
        {
            assert_eq!(UploadRecord::parse(other), None);
        }
    }
}
