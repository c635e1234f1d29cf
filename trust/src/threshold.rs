//! The one function that counts signatures.

use std::collections::BTreeSet;

use crate::key::{KeyId, PublicKey};
use crate::limits::SIGNATURES_MAX;

/// How many distinct keys signed, and how many had to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Distinct keys needed.
    pub needed: u64,
    /// The distinct keys with a valid signature, by the id computed from each.
    pub keys: Vec<KeyId>,
}

impl Tally {
    /// Distinct keys with a valid signature.
    pub fn valid(&self) -> u64 {
        self.keys.len() as u64
    }

    /// True if enough distinct keys signed; a threshold of zero is never met.
    pub fn is_met(&self) -> bool {
        self.needed >= 1 && self.valid() >= self.needed
    }
}

/// A signature that may count.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// A key that may sign.
    pub key: &'a PublicKey,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// Counts the distinct *keys* (not key ids, not signatures) with a valid signature.
///
/// A bad signature beside enough good ones is harmless (TUF 4.2.1): keys are being rotated. The same
/// key under two ids, and two signatures of one key, count once (CVE-2026-6966).
pub fn threshold<'a>(needed: u64, candidates: impl IntoIterator<Item = Candidate<'a>>) -> Tally {
    let mut signed: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut keys = Vec::new();
    for Candidate { key, message, signature } in candidates.into_iter().take(SIGNATURES_MAX) {
        let Some(identity) = key.identity() else { continue };
        if !signed.contains(&identity) && key.verifies(message, signature) {
            signed.insert(identity);
            keys.push(key.id());
        }
    }
    Tally { needed, keys }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Ed25519Signer, Signer};

    fn signer(seed: u8) -> Ed25519Signer {
        Ed25519Signer::from_seed(&[seed; 32])
    }

    /// Covers: TRU-6, TRU-7, TRU-8
    #[test]
    fn thresholds_count_distinct_keys_and_nothing_else() {
        let (a, b) = (signer(1), signer(2));
        let message = b"message";
        let (sig_a, sig_b) = (a.sign(message).unwrap(), b.sign(message).unwrap());
        let other = a.sign(b"another message").unwrap();
        let shouted = PublicKey::new("ed25519", "ed25519", a.public().public().to_uppercase());
        let unknown = PublicKey::new("ml-dsa", "ml-dsa-44", "00");
        type Case<'a> = (&'a str, u64, Vec<(&'a PublicKey, &'a [u8])>, u64, bool);
        let table: &[Case<'_>] = &[
            ("one of one", 1, vec![(a.public(), &sig_a)], 1, true),
            ("none", 1, vec![], 0, false),
            ("zero is never met", 0, vec![(a.public(), &sig_a)], 1, false),
            ("a repeated signature", 2, vec![(a.public(), &sig_a), (a.public(), &sig_a)], 1, false),
            ("one key, two spellings", 2, vec![(a.public(), &sig_a), (&shouted, &sig_a)], 1, false),
            ("two keys", 2, vec![(a.public(), &sig_a), (b.public(), &sig_b)], 2, true),
            ("bad one first", 1, vec![(b.public(), &other), (a.public(), &sig_a)], 1, true),
            ("another's signature", 1, vec![(b.public(), &sig_a)], 0, false),
            ("another message", 1, vec![(a.public(), &other)], 0, false),
            ("unknown scheme", 1, vec![(&unknown, &sig_a)], 0, false),
            (
                "bad then good of one key",
                1,
                vec![(a.public(), &other), (a.public(), &sig_a)],
                1,
                true,
            ),
        ];
        for (name, needed, candidates, valid, met) in table {
            let candidates =
                candidates.iter().map(|(key, signature)| Candidate { key, message, signature });
            let tally = threshold(*needed, candidates);
            assert_eq!((tally.valid(), tally.is_met()), (*valid, *met), "{name}");
        }
    }
}
