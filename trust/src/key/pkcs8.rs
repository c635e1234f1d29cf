//! Encrypted PKCS#8 (RFC 8018, PBES2), as OpenSSL and Notary write it.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};
use zeroize::Zeroizing;

use crate::limits::PBKDF2_ITERATIONS_MAX;
use crate::secret::Secret;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x07];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
const HMAC_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0b];
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// Why a key was not decrypted.
pub(super) enum Refusal {
    /// Another form than the ones read here.
    Unsupported,
    /// The padding is wrong, so the passphrase is.
    WrongPassphrase,
}

/// Decrypts an `EncryptedPrivateKeyInfo`.
pub(super) fn decrypt(der: &[u8], passphrase: &Secret) -> Result<Secret, Refusal> {
    let sealed = Sealed::parse(der).ok_or(Refusal::Unsupported)?;
    let mut key = Zeroizing::new(vec![0_u8; sealed.key_length]);
    let iterations = NonZeroU32::new(sealed.iterations).ok_or(Refusal::Unsupported)?;
    pbkdf2::derive(sealed.prf, iterations, sealed.salt, passphrase.expose(), &mut key);
    let algorithm = if sealed.key_length == 16 { &AES_128 } else { &AES_256 };
    let cipher = UnboundCipherKey::new(algorithm, &key)
        .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
        .map_err(|_| Refusal::Unsupported)?;
    let iv = FixedLength::<16>::try_from(sealed.iv).map_err(|_| Refusal::Unsupported)?;
    let mut buffer = Zeroizing::new(sealed.ciphertext.to_vec());
    let plain = cipher
        .decrypt(&mut buffer, DecryptionContext::Iv128(iv))
        .map_err(|_| Refusal::WrongPassphrase)?;
    Ok(Secret::new(&*plain))
}

struct Sealed<'a> {
    prf: pbkdf2::Algorithm,
    salt: &'a [u8],
    iterations: u32,
    key_length: usize,
    iv: &'a [u8],
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(Reader(der).take(SEQUENCE)?);
        let mut algorithm = Reader(outer.take(SEQUENCE)?);
        let ciphertext = outer.take(OCTETS)?;
        if algorithm.take(OID)? != PBES2 {
            return None;
        }
        let mut parameters = Reader(algorithm.take(SEQUENCE)?);
        let mut derivation = Reader(parameters.take(SEQUENCE)?);
        let mut encryption = Reader(parameters.take(SEQUENCE)?);
        if derivation.take(OID)? != PBKDF2 {
            return None;
        }
        let mut derivation = Reader(derivation.take(SEQUENCE)?);
        let salt = derivation.take(OCTETS)?;
        let iterations = integer(derivation.take(INTEGER)?)?;
        // An optional key length, then an optional function, SHA-1 where there is none.
        let mut rest = derivation.clone();
        if rest.take(INTEGER).is_some() {
            derivation = rest;
        }
        let prf = match derivation.take(SEQUENCE).map(|function| Reader(function).take(OID)) {
            None | Some(Some(HMAC_SHA1)) => PBKDF2_HMAC_SHA1,
            Some(Some(HMAC_SHA256)) => PBKDF2_HMAC_SHA256,
            Some(Some(HMAC_SHA512)) => PBKDF2_HMAC_SHA512,
            Some(_) => return None,
        };
        let key_length = match encryption.take(OID)? {
            AES_128_CBC => 16,
            AES_256_CBC => 32,
            _ => return None,
        };
        let iv = encryption.take(OCTETS)?;
        (iterations <= PBKDF2_ITERATIONS_MAX).then_some(Self {
            prf,
            salt,
            iterations,
            key_length,
            iv,
            ciphertext,
        })
    }
}

fn integer(bytes: &[u8]) -> Option<u32> {
    let bytes = if bytes.first() == Some(&0) { bytes.get(1..)? } else { bytes };
    if bytes.len() > 4 {
        return None;
    }
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// Reads DER values one after the other.
#[derive(Clone)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next value if it has this tag; definite lengths of up to two bytes.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0x00..=0x7f => (usize::from(first), rest),
            0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
            0x82 => {
                let bytes: [u8; 2] = rest.get(..2)?.try_into().ok()?;
                (usize::from(u16::from_be_bytes(bytes)), rest.get(2..)?)
            }
            _ => return None,
        };
        if found != tag {
            return None;
        }
        let content = rest.get(..length)?;
        self.0 = rest.get(length..)?;
        Some(content)
    }
}
