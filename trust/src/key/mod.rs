//! Keys: public keys as metadata carries them, key files, signers.

mod file;
mod helper;
mod name;
mod pem;
mod phrase;
mod pkcs8;
mod signer;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub use file::{KdfCost, KeyRole, PrivateKeyFile};
pub use helper::{HELPER_PROTOCOL, Helper, HelperSigner};
pub use name::{KeyName, SignerName};
pub use pem::{PemKind, pem_kind, public_key_from_pem, public_key_to_pem};
pub(crate) use pem::{SPKI_P256, content as pem_content, public_key_der};
pub use phrase::{recovery_phrase, signer_from_phrase};
pub use signer::{
    EcdsaSigner, Ed25519Signer, ForeignFacts, ForeignKey, Signer, foreign_facts, foreign_key,
    generate, signer_from_pem,
};

use crate::{Error, Result, json, scheme};

/// The name metadata gives a key: opaque, compared and never recomputed (TAP 12).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// Any text may name a key.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `length` characters, for tables.
    pub fn short(&self, length: usize) -> &str {
        self.0.char_indices().nth(length).map_or(&self.0, |(end, _)| &self.0[..end])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key as TUF metadata writes it (TUF 4.2.2); unknown fields are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeyValue {
    public: String,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl PublicKey {
    /// A key of `scheme` whose public half is written as that scheme writes it.
    pub fn new(keytype: &str, scheme: &str, public: impl Into<String>) -> Self {
        Self {
            keytype: keytype.to_owned(),
            scheme: scheme.to_owned(),
            keyval: KeyValue { public: public.into(), extra: Map::new() },
            extra: Map::new(),
        }
    }

    /// The ed25519 key of these 32 bytes.
    pub fn ed25519(bytes: &[u8; 32]) -> Self {
        Self::new("ed25519", "ed25519", hex::encode(bytes))
    }

    /// `keytype` (TUF 4.2.2).
    pub fn keytype(&self) -> &str {
        &self.keytype
    }

    /// `scheme` (TUF 4.2.2).
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// `keyval.public`, as the scheme writes it.
    pub fn public(&self) -> &str {
        &self.keyval.public
    }

    /// The id we give the key when we publish it: SHA-256 of its canonical JSON (TUF 4.2.3).
    ///
    /// Also the only id a policy may pin, since ids inside metadata are chosen by whoever wrote it.
    pub fn id(&self) -> KeyId {
        let value = serde_json::to_value(self).unwrap_or(Value::Null);
        let bytes = json::canonical(&value).unwrap_or_default();
        KeyId(hex::encode(Sha256::digest(bytes)))
    }

    /// What makes two keys the same key, whatever ids and spellings they go by.
    pub(crate) fn identity(&self) -> Option<Vec<u8>> {
        scheme::find(self).and_then(|scheme| scheme.material(self.public()))
    }

    /// True if `signature` over `message` was made by this key's private half.
    ///
    /// An unknown scheme or an undecodable key verifies nothing, it is not an error: a repository
    /// may carry keys for newer clients (TUF 4.2.2).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some(scheme) = scheme::find(self) else { return false };
        let Some(material) = scheme.material(self.public()) else { return false };
        scheme.verify(&material, message, signature)
    }

    /// True if a scheme here can check signatures of this key.
    pub fn is_supported(&self) -> bool {
        self.identity().is_some()
    }
}

/// Keys by the id metadata gives them.
pub type KeyTable = BTreeMap<KeyId, PublicKey>;

/// Fills `N` bytes with the operating system's randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Randomness(error.to_string()))?;
    Ok(bytes)
}
