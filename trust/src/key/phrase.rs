//! Keys on paper: a recovery phrase that a person can write down and type in again.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::signer::Ed25519Signer;
use crate::secret::Secret;
use crate::{Error, Result};

/// Crockford's base 32: no I, L, O or U, so that handwriting is not misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 256 bits of key and 24 bits of checksum.
const BYTES: usize = 35;
const CHARACTERS: usize = 56;
const GROUP: usize = 4;

/// The phrase of an ed25519 key: fourteen groups of four characters, the last ones a checksum.
pub fn recovery_phrase(signer: &Ed25519Signer) -> Secret {
    let mut bytes = Zeroizing::new([0_u8; BYTES]);
    bytes[..32].copy_from_slice(&*signer.seed());
    let sum = checksum(&bytes[..32]);
    bytes[32..].copy_from_slice(&sum);
    let mut text = Vec::with_capacity(CHARACTERS + CHARACTERS / GROUP);
    for index in 0..CHARACTERS {
        if index > 0 && index % GROUP == 0 {
            text.push(b'-');
        }
        text.push(ALPHABET[usize::from(five_bits(&*bytes, index * 5))]);
    }
    Secret::new(text)
}

/// Reads a phrase back; case, spaces and dashes do not matter, nor does O for 0 or I or L for 1.
pub fn signer_from_phrase(phrase: &Secret) -> Result<Ed25519Signer> {
    let wrong = |detail: &str| Error::KeyFile {
        name: "the recovery phrase".to_owned(),
        detail: detail.to_owned(),
    };
    let mut values = Zeroizing::new(Vec::with_capacity(CHARACTERS));
    for byte in phrase.expose().iter().filter(|byte| !b" -\t\r\n".contains(byte)) {
        let upper = match byte.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        };
        let value = ALPHABET.iter().position(|letter| *letter == upper);
        values.push(value.ok_or_else(|| wrong("it has a character that no phrase has"))? as u8);
    }
    if values.len() != CHARACTERS {
        return Err(wrong("it must have fourteen groups of four characters"));
    }
    let mut bytes = Zeroizing::new([0_u8; BYTES]);
    for (index, value) in values.iter().enumerate() {
        for bit in 0..5 {
            if value & (0b10000 >> bit) != 0 {
                let at = index * 5 + bit;
                bytes[at / 8] |= 0b1000_0000 >> (at % 8);
            }
        }
    }
    let seed: Zeroizing<[u8; 32]> =
        Zeroizing::new(bytes[..32].try_into().map_err(|_| wrong("it is too short"))?);
    if checksum(&*seed) != bytes[32..] {
        return Err(wrong("its checksum is wrong, so a character is mistyped"));
    }
    Ok(Ed25519Signer::from_seed(&seed))
}

fn five_bits(bytes: &[u8], at: usize) -> u8 {
    (at..at + 5).fold(0, |value, bit| {
        let set = bytes[bit / 8] & (0b1000_0000 >> (bit % 8)) != 0;
        value << 1 | u8::from(set)
    })
}

fn checksum(seed: &[u8]) -> [u8; 3] {
    let mut hasher = Sha256::new();
    hasher.update(b"wherry recovery phrase 1");
    hasher.update(seed);
    let sum = hasher.finalize();
    [sum[0], sum[1], sum[2]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::Signer;

    proptest! {
        #[test]
        fn every_key_comes_back_from_its_phrase(seed in any::<[u8; 32]>()) {
            let signer = Ed25519Signer::from_seed(&seed);
            let phrase = recovery_phrase(&signer);
            prop_assert_eq!(phrase.expose().len(), 69);
            let back = signer_from_phrase(&phrase).unwrap();
            prop_assert_eq!(back.public(), signer.public());
        }

        #[test]
        fn a_mistyped_character_is_noticed(seed in any::<[u8; 32]>(), at in 0_usize..56, by in 1_usize..32) {
            let phrase = recovery_phrase(&Ed25519Signer::from_seed(&seed));
            let mut text: Vec<u8> =
                phrase.expose().iter().copied().filter(|byte| *byte != b'-').collect();
            let value = ALPHABET.iter().position(|letter| *letter == text[at]).unwrap();
            text[at] = ALPHABET[(value + by) % 32];
            prop_assert!(signer_from_phrase(&Secret::new(text)).is_err());
        }

        #[test]
        fn reading_any_text_as_a_phrase_never_panics(text in "\\PC{0,80}") {
            let _ = signer_from_phrase(&Secret::from(text));
        }
    }

    #[test]
    fn handwriting_is_forgiven() {
        let signer = Ed25519Signer::from_seed(&[0; 32]);
        let phrase = String::from_utf8(recovery_phrase(&signer).expose().to_vec()).unwrap();
        assert!(phrase.starts_with("0000-0000-"));
        let written = phrase.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
        let back = signer_from_phrase(&Secret::from(written)).unwrap();
        assert_eq!(back.public(), signer.public());
        for wrong in ["", "0000", "U000-0000"] {
            assert!(signer_from_phrase(&Secret::from(wrong.to_owned())).is_err());
        }
    }
}
