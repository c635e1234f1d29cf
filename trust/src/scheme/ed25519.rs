//! ed25519 (RFC 8032), the public half as 64 hex digits.

use ed25519_dalek::{Signature, VerifyingKey};

use super::Scheme;

pub(crate) struct Ed25519;

impl Scheme for Ed25519 {
    fn keytypes(&self) -> &'static [&'static str] {
        &["ed25519"]
    }

    fn names(&self) -> &'static [&'static str] {
        &["ed25519"]
    }

    fn material(&self, public: &str) -> Option<Vec<u8>> {
        let bytes: [u8; 32] = hex::decode(public).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok()?;
        Some(bytes.to_vec())
    }

    fn verify(&self, material: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let Ok(bytes) = <[u8; 32]>::try_from(material) else { return false };
        let Ok(key) = VerifyingKey::from_bytes(&bytes) else { return false };
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        // Strict: refuses keys of small order, with which one signature fits many messages.
        key.verify_strict(message, &signature).is_ok()
    }
}
