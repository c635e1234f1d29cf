//! Metadata of Notary 0.x (Docker Content Trust), read once to move a repository away from it.
//!
//! Only what a signer states anew is taken: which tag stood for which digest, and who signed.
//! Nothing is trusted on the strength of these files; the signer's own keys sign what comes of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Digest;
use serde_json::Value;

use crate::key::PublicKey;
use crate::limits::TARGETS_BYTES_MAX;
use crate::{Error, Result, json};

/// A tag as Notary's targets metadata name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotaryTarget {
    /// The tag.
    pub tag: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's length.
    pub length: u64,
}

/// The tags that a targets role lists.
pub fn targets(bytes: &[u8]) -> Result<Vec<NotaryTarget>> {
    let signed = signed(bytes, "Targets")?;
    let listed = signed.get("targets").and_then(Value::as_object);
    let mut found = Vec::new();
    for (tag, file) in listed.into_iter().flatten() {
        let malformed =
            || Error::malformed("Notary's targets", format!("tag {tag:?} has no usable digest"));
        let hash = file.pointer("/hashes/sha256").and_then(Value::as_str).ok_or_else(malformed)?;
        let hash = STANDARD.decode(hash).map_err(|_| malformed())?;
        let digest = format!("sha256:{}", hex::encode(hash)).parse().map_err(|_| malformed())?;
        let length = file.get("length").and_then(Value::as_u64).ok_or_else(malformed)?;
        found.push(NotaryTarget { tag: tag.clone(), digest, length });
    }
    Ok(found)
}

/// The signers to whom the top-level targets delegate, without the role that they share.
pub fn signers(bytes: &[u8]) -> Result<Vec<String>> {
    let signed = signed(bytes, "Targets")?;
    let roles = signed.pointer("/delegations/roles").and_then(Value::as_array);
    let names = roles.into_iter().flatten().filter_map(|role| role.get("name")?.as_str());
    let signers = names.filter_map(|name| name.strip_prefix("targets/"));
    Ok(signers.filter(|name| *name != "releases").map(str::to_owned).collect())
}

/// True if a root names this key in one of its certificates.
pub fn root_names(bytes: &[u8], key: &PublicKey) -> Result<bool> {
    let signed = signed(bytes, "Root")?;
    let keys = signed.get("keys").and_then(Value::as_object);
    let point = key.identity().unwrap_or_default();
    let public = |key: &Value| {
        let text = STANDARD.decode(key.pointer("/keyval/public")?.as_str()?).ok()?;
        Some(crate::key::pem_content(&String::from_utf8(text).ok()?).unwrap_or_default())
    };
    let mut certificates = keys.into_iter().flatten().filter_map(|(_, key)| public(key));
    Ok(!point.is_empty()
        && certificates.any(|der| der.windows(point.len()).any(|window| window == point)))
}

fn signed(bytes: &[u8], kind: &str) -> Result<Value> {
    let what = format!("Notary's {}", kind.to_lowercase());
    if bytes.len() as u64 > TARGETS_BYTES_MAX {
        return Err(Error::TooLarge { what, limit: TARGETS_BYTES_MAX });
    }
    let mut value =
        json::parse(bytes).map_err(|source| Error::Json { what: what.clone(), source })?;
    let signed = value.get_mut("signed").map(Value::take).unwrap_or_default();
    let found = signed.get("_type").and_then(Value::as_str).unwrap_or_default();
    if found != kind {
        return Err(Error::malformed(what, format!("its _type is {found:?}")));
    }
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = r#"{"signed":{"_type":"Targets","delegations":{"keys":{},"roles":[
        {"keyids":[],"name":"targets/nigel","paths":[""],"threshold":1},
        {"keyids":[],"name":"targets/releases","paths":[""],"threshold":1}]},
        "expires":"2028-01-01T00:00:00Z",
        "targets":{"v1":{"hashes":{"sha256":"RBNvo1WzZ4oRRq0W987nvQvkA2CqR+GuS3wHJ2Nsw+g="},"length":528}},
        "version":3},"signatures":[]}"#;

    /// Covers: TRU-50
    #[test]
    fn tags_and_signers_are_read_from_notarys_metadata() {
        let found = targets(TARGETS.as_bytes()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].tag.as_str(), found[0].length), ("v1", 528));
        assert!(found[0].digest.to_string().starts_with("sha256:44136fa355b3"));
        assert_eq!(signers(TARGETS.as_bytes()).unwrap(), ["nigel"]);
    }

    #[test]
    fn what_is_no_such_metadata_is_refused() {
        for wrong in [
            "",
            "{}",
            r#"{"signed":{"_type":"Snapshot"}}"#,
            r#"{"signed":{"_type":"Targets","targets":{"a":{"length":1}}}}"#,
            r#"{"signed":{"_type":"Targets","targets":{"a":{"hashes":{"sha256":"AA=="},"length":1}}}}"#,
        ] {
            assert!(targets(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
