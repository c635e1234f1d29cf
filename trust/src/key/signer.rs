//! Private keys that sign.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::pkcs8::{self, Refusal};
use super::{PublicKey, pem};
use crate::secret::Secret;
use crate::{Error, Result};

/// The PKCS#8 header of an ed25519 seed (RFC 8410).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Whoever can sign: a key in memory here, an external helper elsewhere.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half.
    fn public(&self) -> &PublicKey;
    /// A signature over `message` in the form the key's scheme defines.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
    /// The private half as PKCS#8, to be encrypted into a key file; none where the key never leaves its device.
    fn pkcs8(&self) -> Option<Secret>;
}

/// An ed25519 key in memory.
pub struct Ed25519Signer {
    key: SigningKey,
    public: PublicKey,
}

impl Ed25519Signer {
    /// The key of this 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey::ed25519(&key.verifying_key().to_bytes());
        Self { key, public }
    }

    /// The private half, for a recovery phrase.
    pub(super) fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }
}

impl Signer for Ed25519Signer {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.key.sign(message).to_bytes().to_vec())
    }

    fn pkcs8(&self) -> Option<Secret> {
        let seed = Zeroizing::new(self.key.to_bytes());
        let mut der = Vec::with_capacity(PKCS8_ED25519.len() + seed.len());
        der.extend_from_slice(&PKCS8_ED25519);
        der.extend_from_slice(&*seed);
        Some(Secret::new(der))
    }
}

impl fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Signer({})", self.public.id().short(12))
    }
}

/// An ECDSA P-256 key in memory (cosign's and Notary's kind).
pub struct EcdsaSigner {
    pair: EcdsaKeyPair,
    public: PublicKey,
    pkcs8: Secret,
}

impl EcdsaSigner {
    /// Reads PKCS#8 or SEC1 DER.
    pub fn from_der(der: &Secret) -> Option<Self> {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.expose())
            .or_else(|_| EcdsaKeyPair::from_private_key_der(algorithm, der.expose()))
            .ok()?;
        let point = pair.public_key().as_ref();
        let public = pem::key_of_spki(&[&pem::SPKI_P256[..], point].concat())?;
        let pkcs8 = Secret::new(pair.to_pkcs8v1().ok()?.as_ref());
        Some(Self { pair, public, pkcs8 })
    }
}

impl Signer for EcdsaSigner {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        let signature = signature.map_err(|_| Error::SigningFailed { keyid: self.public.id() })?;
        Ok(signature.as_ref().to_vec())
    }

    fn pkcs8(&self) -> Option<Secret> {
        Some(self.pkcs8.clone())
    }
}

impl fmt::Debug for EcdsaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcdsaSigner({})", self.public.id().short(12))
    }
}

/// Makes a new ed25519 key from the operating system's randomness.
pub fn generate() -> Result<Ed25519Signer> {
    let seed = Zeroizing::new(super::random::<32>()?);
    Ok(Ed25519Signer::from_seed(&seed))
}

/// The signer whose private half is this DER: PKCS#8 ed25519, PKCS#8 or SEC1 ECDSA P-256.
pub(crate) fn signer_from_der(der: &Secret) -> Option<Box<dyn Signer>> {
    if let Ok(key) = SigningKey::from_pkcs8_der(der.expose()) {
        return Some(Box::new(Ed25519Signer::from_seed(&key.to_bytes())));
    }
    EcdsaSigner::from_der(der).map(|signer| Box::new(signer) as Box<dyn Signer>)
}

/// Reads an unencrypted private key in PEM (`docker trust key load`).
///
/// A public key is refused with the advice that Docker gives, an encrypted one with the way to decrypt it.
pub fn signer_from_pem(name: &str, text: &str) -> Result<Box<dyn Signer>> {
    let Some(block) = pem::parse(text) else {
        return Err(Error::KeyFile {
            name: name.to_owned(),
            detail: "it holds no PEM block".to_owned(),
        });
    };
    let encrypted = block.label.starts_with("ENCRYPTED")
        || block
            .headers
            .iter()
            .any(|(key, value)| key == "Proc-Type" && value.contains("ENCRYPTED"));
    match pem::pem_kind(text) {
        super::PemKind::Public => Err(Error::KeyKind {
            name: name.to_owned(),
            found: "a public key",
            needed: "a private key",
            hint: "to add a public key as a signer use `wherry trust signer add --key`",
        }),
        super::PemKind::Private if encrypted => Err(Error::KeyFile {
            name: name.to_owned(),
            detail:
                "it is encrypted in another tool's form; decrypt it first (openssl pkcs8 -in FILE)"
                    .to_owned(),
        }),
        _ => signer_from_der(&Secret::new(block.der)).ok_or_else(|| Error::KeyFile {
            name: name.to_owned(),
            detail: "it holds a private key of another kind than ed25519 and ECDSA P-256"
                .to_owned(),
        }),
    }
}

/// A private key as another tool keeps it: Notary (Docker Content Trust) or OpenSSL.
#[derive(Debug)]
pub struct ForeignKey {
    /// The key.
    pub signer: Box<dyn Signer>,
    /// Notary's `role` header: `root`, `targets`, `snapshot`, or a signer's name.
    pub role: Option<String>,
    /// Notary's `gun` header: the repository that the key belongs to.
    pub repository: Option<String>,
}

/// What a foreign key file says of itself without its passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignFacts {
    /// Notary's `role` header.
    pub role: Option<String>,
    /// Notary's `gun` header.
    pub repository: Option<String>,
}

/// Reads the headers of a PEM private key; nothing where the text holds none.
pub fn foreign_facts(text: &str) -> Option<ForeignFacts> {
    let block = pem::parse(text).filter(|block| block.label.ends_with("PRIVATE KEY"))?;
    let header = |wanted: &str| {
        let found = block.headers.iter().find(|(key, _)| key == wanted);
        found.map(|(_, value)| value.clone())
    };
    Some(ForeignFacts {
        role: header("role"),
        repository: header("gun").or_else(|| header("path")),
    })
}

/// Reads a PEM private key that may be encrypted (PKCS#8, PBES2) and may carry Notary's headers.
pub fn foreign_key(name: &str, text: &str, passphrase: &Secret) -> Result<ForeignKey> {
    let unreadable =
        |detail: &str| Error::KeyFile { name: name.to_owned(), detail: detail.to_owned() };
    let Some(block) = pem::parse(text) else {
        return Err(unreadable("it holds no PEM block"));
    };
    let facts = foreign_facts(text);
    let (role, repository) = facts.map(|facts| (facts.role, facts.repository)).unwrap_or_default();
    let signer = if block.label == "ENCRYPTED PRIVATE KEY" {
        let plain = pkcs8::decrypt(&block.der, passphrase).map_err(|refusal| match refusal {
            Refusal::Unsupported => unreadable("it is encrypted in a way that is not read here"),
            Refusal::WrongPassphrase => wrong_passphrase(name),
        })?;
        // One padding in 256 is right by chance; what comes out then is no key.
        signer_from_der(&plain).ok_or_else(|| wrong_passphrase(name))?
    } else {
        signer_from_pem(name, text)?
    };
    Ok(ForeignKey { signer, role, repository })
}

fn wrong_passphrase(name: &str) -> Error {
    Error::WrongPassphrase { name: name.to_owned(), keyid: "id unknown".to_owned() }
}
