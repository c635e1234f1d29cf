//! The public key of whoever issues tokens, and the one algorithm that goes with it (RFC 7518,
//! RFC 8037).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::DecodePublicKey;
use ed25519_dalek::{Signature, VerifyingKey};

/// Object identifiers inside a `SubjectPublicKeyInfo` (RFC 5480, RFC 8017), as they stand in DER.
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// The head of the structure holds the identifier.
const OID_WITHIN: usize = 40;

/// A key that signatures are checked with.
#[derive(Clone)]
pub(super) enum IssuerKey {
    /// `EdDSA`.
    Ed25519(VerifyingKey),
    /// `ES256` or `RS256`.
    Other { key: ParsedPublicKey, algorithm: &'static str },
}

impl IssuerKey {
    /// The key of a PEM file; nothing where it is none of the kinds that are known.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        if let Ok(key) = VerifyingKey::from_public_key_pem(pem) {
            return Some(Self::Ed25519(key));
        }
        let der = spki(pem)?;
        let head = &der[..der.len().min(OID_WITHIN)];
        let has = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
        let (kind, algorithm): (&'static dyn VerificationAlgorithm, _) = if has(OID_P256) {
            (&ECDSA_P256_SHA256_FIXED, "ES256")
        } else if has(OID_RSA) {
            (&RSA_PKCS1_2048_8192_SHA256, "RS256")
        } else {
            return None;
        };
        Some(Self::Other { key: ParsedPublicKey::new(kind, &der).ok()?, algorithm })
    }

    /// The `alg` of tokens that it checks.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::Other { algorithm, .. } => algorithm,
        }
    }

    /// Whether the signature is the key's over these bytes.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            // Strictly: a key of small order would take signatures of anybody.
            Self::Ed25519(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()),
            Self::Other { key, .. } => key.verify_sig(signed, signature).is_ok(),
        }
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuerKey({})", self.algorithm())
    }
}

/// The bytes between the lines of a PEM public key.
fn spki(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    };

    use super::*;

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    #[test]
    fn each_kind_of_key_checks_its_own_signatures_and_no_others() {
        let random = SystemRandom::new();
        let ecdsa = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let der: PublicKeyX509Der<'_> = ecdsa.public_key().as_der().expect("its public half");
        let by_ecdsa = IssuerKey::from_pem(&pem(der.as_ref())).expect("it is read");
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: PublicKeyX509Der<'_> = rsa.public_key().as_der().expect("its public half");
        let by_rsa = IssuerKey::from_pem(&pem(der.as_ref())).expect("it is read");
        assert_eq!((by_ecdsa.algorithm(), by_rsa.algorithm()), ("ES256", "RS256"));

        let signed = b"header.payload";
        let of_ecdsa = ecdsa.sign(&random, signed).expect("signed").as_ref().to_vec();
        let mut of_rsa = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, signed, &mut of_rsa).expect("signed");
        assert!(by_ecdsa.verifies(signed, &of_ecdsa) && by_rsa.verifies(signed, &of_rsa));
        assert!(!by_ecdsa.verifies(signed, &of_rsa) && !by_rsa.verifies(signed, &of_ecdsa));
        assert!(!by_ecdsa.verifies(b"another", &of_ecdsa) && !by_rsa.verifies(b"another", &of_rsa));
        assert!(!by_rsa.verifies(signed, &[]) && !by_ecdsa.verifies(signed, &[0; 64]));
    }

    #[test]
    fn what_is_no_key_of_a_known_kind_is_none() {
        for text in ["", "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n", "words"] {
            assert!(IssuerKey::from_pem(text).is_none(), "{text}");
        }
        // The neutral element: laxly, every message has a signature under it.
        let mut weak = [0; 32];
        weak[0] = 1;
        let weak = IssuerKey::Ed25519(VerifyingKey::from_bytes(&weak).expect("it is a point"));
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!weak.verifies(b"anything", &signature));
    }
}
