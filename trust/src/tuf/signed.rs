//! A document and its signatures, verified over the form that was parsed (TUF 4.2.1).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::schema::Role;
use crate::key::{KeyId, KeyTable, PublicKey, Signer};
use crate::threshold::{Candidate, Tally, threshold};
use crate::{Error, Result, json};

/// One signature in metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The key, by the id the delegator knows it by.
    pub keyid: KeyId,
    /// The signature in hex.
    pub sig: String,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A role's metadata with the signatures on it and the exact form they cover.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    signed: T,
    signatures: Vec<Signature>,
    /// The canonical form of `signed` with all unknown fields.
    canonical: Vec<u8>,
    /// `signed` as parsed.
    value: Value,
}

impl<T: Role> Signed<T> {
    /// Parses a metadata file; no signature is checked yet.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let mut document =
            json::parse(bytes).map_err(|source| Error::Json { what: file.to_owned(), source })?;
        let malformed = |detail: String| Error::malformed(file, detail);
        let signatures = document.get("signatures").cloned().unwrap_or(Value::Null);
        let signatures: Vec<Signature> = Vec::deserialize(signatures)
            .map_err(|error| malformed(format!("signatures: {error}")))?;
        let value = document
            .get_mut("signed")
            .map(Value::take)
            .ok_or_else(|| malformed("it has no field `signed`".to_owned()))?;
        let found = value.get("_type").and_then(Value::as_str).unwrap_or_default();
        if found != T::TYPE {
            return Err(Error::WrongType {
                file: file.to_owned(),
                expected: T::TYPE,
                found: found.to_owned(),
            });
        }
        let signed = T::deserialize(&value).map_err(|error| malformed(error.to_string()))?;
        signed.check().map_err(malformed)?;
        let canonical = json::canonical(&value)
            .map_err(|source| Error::Json { what: file.to_owned(), source })?;
        Ok(Self { signed, signatures, canonical, value })
    }

    /// A new, unsigned document.
    pub(crate) fn unsigned(signed: T) -> Result<Self> {
        let malformed = |detail: String| Error::malformed(T::TYPE, detail);
        signed.check().map_err(malformed)?;
        let value = serde_json::to_value(&signed).map_err(|error| malformed(error.to_string()))?;
        let canonical = json::canonical(&value)
            .map_err(|source| Error::Json { what: T::TYPE.to_owned(), source })?;
        Ok(Self { signed, signatures: Vec::new(), canonical, value })
    }

    /// The file's bytes; only for documents made here, what was received is kept as received.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let document = json!({ "signatures": self.signatures, "signed": self.value });
        let mut bytes = document.to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// Adds or replaces the signature of a signer's key, known to the delegator as `keyid`.
    pub(crate) fn sign(&mut self, keyid: &KeyId, signer: &dyn Signer) -> Result<()> {
        let sig = hex::encode(signer.sign(&self.canonical)?);
        self.signatures.retain(|signature| signature.keyid != *keyid);
        self.signatures.push(Signature { keyid: keyid.clone(), sig, extra: Map::new() });
        // The order of signing must not show in the bytes.
        self.signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        Ok(())
    }

    /// Takes over signatures from a copy of the same content; `false` if it is other content.
    pub(crate) fn take_signatures(&mut self, other: &Self) -> bool {
        let same = self.canonical == other.canonical;
        if same {
            self.signatures.extend(other.signatures.iter().cloned());
        }
        same
    }

    /// Drops signatures that no given key made, and repeated ones: other clients refuse a file for them.
    pub(crate) fn keep_valid(&mut self, tables: &[&KeyTable]) {
        let mut kept: Vec<Signature> = Vec::new();
        for signature in std::mem::take(&mut self.signatures) {
            let Ok(sig) = hex::decode(&signature.sig) else { continue };
            let keys = tables.iter().filter_map(|table| table.get(&signature.keyid));
            let valid = keys.into_iter().any(|key| key.verifies(&self.canonical, &sig));
            if valid && !kept.iter().any(|known| known.keyid == signature.keyid) {
                kept.push(signature);
            }
        }
        kept.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        self.signatures = kept;
    }

    /// Counts the delegator's keys that signed.
    pub fn tally(&self, keys: &KeyTable, keyids: &[KeyId], needed: u64) -> Tally {
        let decoded: Vec<(&PublicKey, Vec<u8>)> = self
            .signatures
            .iter()
            .filter(|signature| keyids.contains(&signature.keyid))
            .filter_map(|signature| {
                Some((keys.get(&signature.keyid)?, hex::decode(&signature.sig).ok()?))
            })
            .collect();
        let message = self.canonical.as_slice();
        threshold(
            needed,
            decoded.iter().map(|(key, signature)| Candidate { key, message, signature }),
        )
    }

    /// Fails unless the delegator's threshold is met.
    pub fn verify(&self, role: &str, keys: &KeyTable, keyids: &[KeyId], needed: u64) -> Result<()> {
        let tally = self.tally(keys, keyids, needed);
        if tally.is_met() {
            return Ok(());
        }
        Err(Error::Threshold { role: role.to_owned(), needed, valid: tally.valid() })
    }
}

impl<T> Signed<T> {
    /// The metadata.
    pub fn signed(&self) -> &T {
        &self.signed
    }

    /// The metadata, without its signatures.
    pub fn into_signed(self) -> T {
        self.signed
    }

    /// The signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The bytes that signatures cover.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }
}

impl<T> std::ops::Deref for Signed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.signed
    }
}
