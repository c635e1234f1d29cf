//! RSASSA-PSS with SHA-256, keys of 2048 to 8192 bits, the public half as PEM.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

use super::Scheme;
use crate::key::public_key_der;

pub(crate) struct RsaPss;

impl Scheme for RsaPss {
    fn keytypes(&self) -> &'static [&'static str] {
        &["rsa"]
    }

    fn names(&self) -> &'static [&'static str] {
        &["rsassa-pss-sha256"]
    }

    fn material(&self, public: &str) -> Option<Vec<u8>> {
        public_key_der(public)
    }

    fn verify(&self, material: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, material)
            .verify(message, signature)
            .is_ok()
    }
}
