//! Key files and PEM texts.

use proptest::prelude::*;
use serde_json::{Value, json};
use trust::key::{
    EcdsaSigner, KdfCost, KeyRole, PrivateKeyFile, Signer, generate, public_key_from_pem,
    public_key_to_pem, signer_from_pem,
};
use trust::{Error, Secret};

use crate::world::key;

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn sealed() -> PrivateKeyFile {
    let pass = secret("correct horse");
    PrivateKeyFile::seal(&key(1), "nigel", KeyRole::Signer, None, &pass, KdfCost::LEAST).unwrap()
}

/// Covers: TRU-74
#[test]
fn a_key_file_opens_with_its_passphrase_and_with_no_other() {
    let bytes = sealed().to_bytes().unwrap();
    let file = PrivateKeyFile::parse("nigel.key", &bytes).unwrap();
    assert_eq!((file.name(), file.role()), ("nigel", KeyRole::Signer));
    assert_eq!(file.public(), key(1).public());
    let signer = file.unlock(&secret("correct horse")).unwrap();
    let signature = signer.sign(b"message").unwrap();
    assert!(key(1).public().verifies(b"message", &signature));
    for wrong in ["", "correct horse ", "Correct horse", "x"] {
        let error = file.unlock(&secret(wrong)).unwrap_err();
        assert!(matches!(&error, Error::WrongPassphrase { name, .. } if name == "nigel"));
        assert!(error.to_string().starts_with("wrong passphrase for key \"nigel\""), "{error}");
    }
}

/// Covers: TRU-40, TRU-74
#[test]
fn a_key_file_holds_no_private_byte_in_the_clear() {
    let seed = [7; 32];
    let signer = trust::key::Ed25519Signer::from_seed(&seed);
    let file = PrivateKeyFile::seal(
        &signer,
        "a",
        KeyRole::Root,
        Some("shop/web"),
        &secret("pass"),
        KdfCost::LEAST,
    )
    .unwrap();
    let text = String::from_utf8(file.to_bytes().unwrap()).unwrap();
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, seed);
    assert!(!text.contains(&hex::encode(seed)) && !text.contains(&base64[..20]));
    assert!(!text.contains("pass\""));
    assert!(!format!("{signer:?} {file:?} {:?}", signer.pkcs8()).contains("7, 7, 7"));
}

#[test]
fn an_unencrypted_key_file_is_never_written() {
    let error =
        PrivateKeyFile::seal(&key(1), "a", KeyRole::Root, None, &secret(""), KdfCost::LEAST);
    assert!(matches!(error, Err(Error::PassphraseEmpty { .. })));
}

#[test]
fn two_files_of_one_key_differ_in_salt_and_nonce() {
    let (a, b) = (sealed().to_bytes().unwrap(), sealed().to_bytes().unwrap());
    let (a, b): (Value, Value) =
        (serde_json::from_slice(&a).unwrap(), serde_json::from_slice(&b).unwrap());
    assert_ne!(a["kdf"]["salt"], b["kdf"]["salt"]);
    assert_ne!(a["cipher"]["nonce"], b["cipher"]["nonce"]);
    assert_ne!(a["ciphertext"], b["ciphertext"]);
}

#[test]
fn every_changed_field_of_a_key_file_is_noticed() {
    let document: Value = serde_json::from_slice(&sealed().to_bytes().unwrap()).unwrap();
    let other = serde_json::to_value(key(2).public()).unwrap();
    for (path, value) in [
        ("/format", json!("wherry-private-key/2")),
        ("/name", json!("mallory")),
        ("/role", json!("root")),
        ("/repository", json!("shop/web")),
        ("/public", other),
        ("/kdf/algorithm", json!("scrypt")),
        ("/kdf/memoryKib", json!(1)),
        ("/kdf/memoryKib", json!(4_000_000_000_u64)),
        ("/kdf/memoryKib", json!(9000)),
        ("/kdf/iterations", json!(0)),
        ("/kdf/iterations", json!(1_000_000)),
        ("/kdf/iterations", json!(2)),
        ("/kdf/salt", json!("AAAAAAAAAAAAAAAAAAAAAA==")),
        ("/kdf/salt", json!("AA==")),
        ("/cipher/algorithm", json!("none")),
        ("/cipher/nonce", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ("/ciphertext", json!("AAAA")),
        ("/ciphertext", json!("not base64!")),
    ] {
        let mut changed = document.clone();
        match changed.pointer_mut(path) {
            Some(field) => *field = value,
            None => changed[path.trim_start_matches('/')] = value,
        }
        let bytes = changed.to_string().into_bytes();
        let result = PrivateKeyFile::parse("f", &bytes)
            .and_then(|file| file.unlock(&secret("correct horse")).map(|_| ()));
        assert!(result.is_err(), "{path}");
    }
}

#[test]
fn public_key_files_round_trip_and_tell_a_private_key_apart() {
    let ecdsa = ecdsa_pem();
    let ecdsa = signer_from_pem("k", &ecdsa).unwrap();
    for public in [key(1).public(), ecdsa.public()] {
        let pem = public_key_to_pem(public).unwrap();
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert_eq!(&public_key_from_pem("k.pub", &pem).unwrap(), public);
    }
    let error = public_key_from_pem("k.pub", &ecdsa_pem()).unwrap_err();
    assert!(matches!(error, Error::KeyKind { found: "a private key", .. }), "{error}");
    for junk in ["", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert!(matches!(public_key_from_pem("k", junk), Err(Error::KeyFile { .. })), "{junk}");
    }
}

fn ecdsa_pem() -> String {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref())
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// Covers: TRU-41
#[test]
fn loading_a_key_reads_private_ones_and_gives_advice_for_others() {
    let signer = generate().unwrap();
    let text = pem("PRIVATE KEY", signer.pkcs8().unwrap().expose());
    let loaded = signer_from_pem("key.pem", &text).unwrap();
    assert_eq!(loaded.public(), signer.public());

    let loaded = signer_from_pem("key.pem", &ecdsa_pem()).unwrap();
    let signature = loaded.sign(b"m").unwrap();
    assert!(loaded.public().verifies(b"m", &signature));
    // An ECDSA key goes through an encrypted file like any other.
    let pass = secret("p");
    let file =
        PrivateKeyFile::seal(&*loaded, "k", KeyRole::Signer, None, &pass, KdfCost::LEAST).unwrap();
    assert_eq!(file.unlock(&pass).unwrap().public(), loaded.public());

    let public = public_key_to_pem(signer.public()).unwrap();
    let error = signer_from_pem("key.pub", &public).err().unwrap();
    assert!(error.to_string().contains("signer add"), "{error}");
    for encrypted in [
        pem("ENCRYPTED PRIVATE KEY", b"x"),
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAAA\n-----END EC PRIVATE KEY-----"
            .to_owned(),
    ] {
        let error = signer_from_pem("k", &encrypted).err().unwrap();
        assert!(error.to_string().contains("decrypt it first"), "{error}");
    }
    assert!(signer_from_pem("k", &pem("PRIVATE KEY", b"junk")).is_err());
    assert!(signer_from_pem("k", "").is_err());
    assert!(EcdsaSigner::from_der(&secret("junk")).is_none());
}

proptest! {
    #[test]
    fn reading_any_text_as_a_key_never_panics(text in "\\PC{0,200}") {
        let _ = signer_from_pem("k", &text);
        let _ = public_key_from_pem("k", &text);
        let _ = PrivateKeyFile::parse("k", text.as_bytes());
    }

    #[test]
    fn reading_any_der_as_a_key_never_panics(der in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = signer_from_pem("k", &pem("PRIVATE KEY", &der));
        let _ = public_key_from_pem("k", &pem("PUBLIC KEY", &der));
    }
}
