//! Private key files: encrypted at rest, described in `docs/format/key-file.md`.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::signer::{Signer, signer_from_der};
use super::{KeyId, PublicKey, random};
use crate::limits::{
    KDF_ITERATIONS_MAX, KDF_MEMORY_KIB_MAX, KDF_MEMORY_KIB_MIN, KEY_FILE_BYTES_MAX,
};
use crate::secret::Secret;
use crate::{Error, Result, json};

const FORMAT: &str = "wherry-private-key/1";

/// What a private key signs, written in its file so that the right passphrase can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRole {
    /// Repository roots.
    Root,
    /// A signer's delegated role.
    Signer,
    /// A repository's snapshot role.
    Snapshot,
    /// A repository's targets role (Docker's "repository key").
    Targets,
    /// A repository's timestamp role.
    Timestamp,
}

/// What one guess of a passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfCost {
    memory_kib: u32,
    iterations: u32,
}

impl KdfCost {
    /// The cost of key files that people make: 64 MiB, three passes (RFC 9106, second recommendation).
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, iterations: 3 };
    /// The least cost a file may have; for tests.
    pub const LEAST: Self = Self { memory_kib: KDF_MEMORY_KIB_MIN, iterations: 1 };
}

/// A private key file: its public facts in the clear, its private half encrypted.
#[derive(Clone, Debug)]
pub struct PrivateKeyFile {
    head: Head,
    ciphertext: Vec<u8>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    head: Head,
    ciphertext: String,
}

/// Everything but the ciphertext: authenticated with it, so none of it can be swapped.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    name: String,
    role: KeyRole,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    public: PublicKey,
    kdf: Kdf,
    cipher: Cipher,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kdf {
    algorithm: String,
    memory_kib: u32,
    iterations: u32,
    salt: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    algorithm: String,
    nonce: String,
}

impl PrivateKeyFile {
    /// Encrypts a signer's private half under `passphrase`.
    ///
    /// `repository` is named where the key belongs to one repository only.
    pub fn seal(
        signer: &dyn Signer,
        name: &str,
        role: KeyRole,
        repository: Option<&str>,
        passphrase: &Secret,
        cost: KdfCost,
    ) -> Result<Self> {
        if passphrase.is_empty() {
            return Err(Error::PassphraseEmpty { name: name.to_owned() });
        }
        let pkcs8 = signer.pkcs8().ok_or_else(|| Error::KeyFile {
            name: name.to_owned(),
            detail: "its private half never leaves its device".to_owned(),
        })?;
        let head = Head {
            format: FORMAT.to_owned(),
            name: name.to_owned(),
            role,
            repository: repository.map(str::to_owned),
            public: signer.public().clone(),
            kdf: Kdf {
                algorithm: "argon2id".to_owned(),
                memory_kib: cost.memory_kib,
                iterations: cost.iterations,
                salt: STANDARD.encode(random::<16>()?),
            },
            cipher: Cipher {
                algorithm: "xchacha20poly1305".to_owned(),
                nonce: STANDARD.encode(random::<24>()?),
            },
        };
        let (cipher, nonce) = head.cipher(passphrase)?;
        let aad = head.associated_data()?;
        let ciphertext = cipher
            .encrypt(&nonce, Payload { msg: pkcs8.expose(), aad: &aad })
            .map_err(|_| head.unusable("encryption failed"))?;
        Ok(Self { head, ciphertext })
    }

    /// Reads a key file; nothing is decrypted yet.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let unusable = |detail: String| Error::KeyFile { name: name.to_owned(), detail };
        if bytes.len() > KEY_FILE_BYTES_MAX {
            return Err(unusable(format!("it is larger than {KEY_FILE_BYTES_MAX} bytes")));
        }
        let value = json::parse(bytes).map_err(|error| unusable(error.to_string()))?;
        let format = value.get("format").and_then(|format| format.as_str()).unwrap_or_default();
        if format != FORMAT {
            return Err(Error::FormatUnknown {
                what: "the key file",
                found: format.to_owned(),
                supported: FORMAT,
            });
        }
        let document = Document::deserialize(value).map_err(|error| unusable(error.to_string()))?;
        let ciphertext = STANDARD
            .decode(&document.ciphertext)
            .map_err(|error| unusable(format!("ciphertext: {error}")))?;
        document.head.check()?;
        Ok(Self { head: document.head, ciphertext })
    }

    /// The file's bytes: pretty JSON with a final newline.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let document =
            Document { head: self.head.clone(), ciphertext: STANDARD.encode(&self.ciphertext) };
        let mut bytes = serde_json::to_vec_pretty(&document)
            .map_err(|error| self.head.unusable(&error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Decrypts the private half.
    ///
    /// A wrong passphrase and a changed file cannot be told apart: both are [`Error::WrongPassphrase`].
    pub fn unlock(&self, passphrase: &Secret) -> Result<Box<dyn Signer>> {
        let (cipher, nonce) = self.head.cipher(passphrase)?;
        let aad = self.head.associated_data()?;
        let plain = cipher
            .decrypt(&nonce, Payload { msg: &self.ciphertext, aad: &aad })
            .map(Secret::new)
            .map_err(|_| Error::WrongPassphrase {
                name: self.head.name.clone(),
                keyid: self.id().short(7).to_owned(),
            })?;
        let signer =
            signer_from_der(&plain).ok_or_else(|| self.head.unusable("its content is no key"))?;
        if signer.public().identity() != self.head.public.identity() {
            return Err(self.head.unusable("its public and private halves do not belong together"));
        }
        Ok(signer)
    }

    /// The name the key was made under.
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// What the key signs.
    pub fn role(&self) -> KeyRole {
        self.head.role
    }

    /// The repository the key belongs to, if only one.
    pub fn repository(&self) -> Option<&str> {
        self.head.repository.as_deref()
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.head.public
    }

    /// The public half's id.
    pub fn id(&self) -> KeyId {
        self.head.public.id()
    }
}

impl Head {
    fn check(&self) -> Result<()> {
        if self.kdf.algorithm != "argon2id" || self.cipher.algorithm != "xchacha20poly1305" {
            return Err(self.unusable("it is encrypted in a way this program does not know"));
        }
        let memory = KDF_MEMORY_KIB_MIN..=KDF_MEMORY_KIB_MAX;
        let iterations = 1..=KDF_ITERATIONS_MAX;
        if !memory.contains(&self.kdf.memory_kib) || !iterations.contains(&self.kdf.iterations) {
            return Err(self.unusable("its key derivation is outside of what is accepted"));
        }
        Ok(())
    }

    fn associated_data(&self) -> Result<Vec<u8>> {
        let value =
            serde_json::to_value(self).map_err(|error| self.unusable(&error.to_string()))?;
        json::canonical(&value).map_err(|error| self.unusable(&error.to_string()))
    }

    fn cipher(&self, passphrase: &Secret) -> Result<(XChaCha20Poly1305, XNonce)> {
        let nonce = self.decode::<24>(&self.cipher.nonce, "nonce")?;
        let salt = self.decode::<16>(&self.kdf.salt, "salt")?;
        let params = Params::new(self.kdf.memory_kib, self.kdf.iterations, 1, Some(32))
            .map_err(|error| self.unusable(&error.to_string()))?;
        let mut key = Zeroizing::new([0_u8; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose(), &salt, &mut *key)
            .map_err(|error| self.unusable(&error.to_string()))?;
        Ok((XChaCha20Poly1305::new(&Key::from(*key)), XNonce::from(nonce)))
    }

    fn decode<const N: usize>(&self, text: &str, what: &str) -> Result<[u8; N]> {
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| self.unusable(&format!("its {what} is not {N} bytes in base64")))
    }

    fn unusable(&self, detail: &str) -> Error {
        Error::KeyFile { name: self.name.clone(), detail: detail.to_owned() }
    }
}
