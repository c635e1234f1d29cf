//! ECDSA over NIST P-256 with SHA-256, the public half as PEM (or, in old metadata, hex).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::Scheme;
use crate::key::{SPKI_P256, public_key_der};

pub(crate) struct EcdsaP256;

impl Scheme for EcdsaP256 {
    fn keytypes(&self) -> &'static [&'static str] {
        &["ecdsa", "ecdsa-sha2-nistp256"]
    }

    fn names(&self) -> &'static [&'static str] {
        &["ecdsa-sha2-nistp256"]
    }

    fn material(&self, public: &str) -> Option<Vec<u8>> {
        if let Some(der) = public_key_der(public) {
            let point = der.strip_prefix(&SPKI_P256)?;
            return (point.len() == 65).then(|| point.to_vec());
        }
        // Old Sigstore roots write the bare point in hex.
        let point = hex::decode(public).ok()?;
        (point.len() == 65 && point[0] == 4).then_some(point)
    }

    fn verify(&self, material: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, material).verify(message, signature).is_ok()
    }
}
