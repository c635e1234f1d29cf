//! PEM texts (RFC 7468) of keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::PublicKey;
use crate::limits::KEY_FILE_BYTES_MAX;
use crate::{Error, Result};

/// The SPKI header of an ed25519 key (RFC 8410).
const SPKI_ED25519: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The SPKI header of an uncompressed P-256 point (RFC 5480).
pub(crate) const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The object identifier of P-256 inside an SPKI.
const OID_P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The object identifier of RSA inside an SPKI.
const OID_RSA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// What a PEM text holds, by its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemKind {
    /// `PRIVATE KEY`, `EC PRIVATE KEY`, `ENCRYPTED PRIVATE KEY`, …
    Private,
    /// `PUBLIC KEY`.
    Public,
    /// Anything else, or no PEM at all.
    Other,
}

/// Says what a text holds without decoding it.
pub fn pem_kind(text: &str) -> PemKind {
    match parse(text) {
        Some(pem) if pem.label.ends_with("PRIVATE KEY") => PemKind::Private,
        Some(pem) if pem.label == "PUBLIC KEY" => PemKind::Public,
        _ => PemKind::Other,
    }
}

/// One PEM block: its label, its headers and its content.
pub(crate) struct Pem {
    pub(crate) label: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) der: Vec<u8>,
}

/// The content of the first PEM block, whatever its label.
pub(crate) fn content(text: &str) -> Option<Vec<u8>> {
    parse(text).map(|block| block.der)
}

/// The first PEM block of a text.
pub(crate) fn parse(text: &str) -> Option<Pem> {
    if text.len() > KEY_FILE_BYTES_MAX {
        return None;
    }
    let mut lines = text.lines().map(str::trim).skip_while(|l| !l.starts_with("-----BEGIN "));
    let label = lines.next()?.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?.to_owned();
    let end = format!("-----END {label}-----");
    let mut headers = Vec::new();
    let mut body = String::new();
    for line in lines {
        if line == end {
            let der = STANDARD.decode(body).ok()?;
            return Some(Pem { label, headers, der });
        }
        match line.split_once(": ") {
            Some((key, value)) => headers.push((key.to_owned(), value.to_owned())),
            None => body.push_str(line),
        }
    }
    None
}

/// A PEM text of `der` under `label`.
pub(crate) fn write(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The DER of a `PUBLIC KEY` block.
pub(crate) fn public_key_der(text: &str) -> Option<Vec<u8>> {
    parse(text).filter(|pem| pem.label == "PUBLIC KEY").map(|pem| pem.der)
}

/// Reads a public key file (PEM, SubjectPublicKeyInfo): ed25519, ECDSA P-256 or RSA.
pub fn public_key_from_pem(name: &str, text: &str) -> Result<PublicKey> {
    match pem_kind(text) {
        PemKind::Public => {}
        PemKind::Private => {
            return Err(Error::KeyKind {
                name: name.to_owned(),
                found: "a private key",
                needed: "a public key",
                hint: "give the .pub file that stands beside it",
            });
        }
        PemKind::Other => {
            return Err(Error::KeyFile {
                name: name.to_owned(),
                detail: "it holds no PEM block `PUBLIC KEY`".to_owned(),
            });
        }
    }
    let der = public_key_der(text).unwrap_or_default();
    let key = key_of_spki(&der).filter(PublicKey::is_supported);
    key.ok_or_else(|| Error::KeyFile {
        name: name.to_owned(),
        detail: "it holds a key of another kind than ed25519, ECDSA P-256 and RSA".to_owned(),
    })
}

/// The public key whose SubjectPublicKeyInfo these bytes are.
pub(crate) fn key_of_spki(der: &[u8]) -> Option<PublicKey> {
    if let Some(raw) = der.strip_prefix(&SPKI_ED25519) {
        return Some(PublicKey::ed25519(&raw.try_into().ok()?));
    }
    let head = &der[..der.len().min(40)];
    let has = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
    if has(&OID_P256) {
        return Some(PublicKey::new("ecdsa", "ecdsa-sha2-nistp256", write("PUBLIC KEY", der)));
    }
    has(&OID_RSA).then(|| PublicKey::new("rsa", "rsassa-pss-sha256", write("PUBLIC KEY", der)))
}

/// Writes a public key file (PEM, SubjectPublicKeyInfo).
pub fn public_key_to_pem(key: &PublicKey) -> Result<String> {
    if key.keytype() == "ed25519" {
        let raw = key.identity().unwrap_or_default();
        return Ok(write("PUBLIC KEY", &[&SPKI_ED25519[..], &raw].concat()));
    }
    match public_key_der(key.public()) {
        Some(der) => Ok(write("PUBLIC KEY", &der)),
        None => Err(Error::KeyFile {
            name: key.id().to_string(),
            detail: format!("a {} key cannot be written as PEM", key.keytype()),
        }),
    }
}
