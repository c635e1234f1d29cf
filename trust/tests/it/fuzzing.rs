//! The fuzz targets' parsers under seeded mutations of their corpora: what a machine without a fuzzer can do.
//!
//! `WHERRY_FUZZ_ROUNDS=5000000 cargo test --release -p trust --test it fuzzing` is about ten minutes a parser.

use std::fs;
use std::path::Path;

use crate::parsers;

/// Rounds a parser in an ordinary test run: some seconds together.
const ROUNDS: u64 = 1500;

/// Words that mean something to one of the parsers.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "0",
    "18446744073709551616",
    "1e400",
    "\\u0000",
    "\u{202e}",
    "sha256",
    "root",
    "targets",
    "../",
    "%2F",
    "[[scope]]\n",
    "-----BEGIN ",
    "-----\n",
    "9999-12-31T23:59:59Z",
];

/// A generator whose every run is the same (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.roll(seeds.len())].clone();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(bytes.len() + 1);
        let end = (at + dice.roll(40)).min(bytes.len());
        match dice.roll(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => drop(bytes.splice(at..end, WORDS[dice.roll(WORDS.len())].bytes())),
            4 => {
                let other = &seeds[dice.roll(seeds.len())];
                let from = dice.roll(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            5 => bytes.truncate(at),
            _ => bytes.insert(at, dice.roll(256) as u8),
        }
    }
    bytes
}

fn drive(name: &str, parser: fn(&[u8])) {
    let seeds = corpus(name);
    seeds.iter().for_each(|seed| parser(seed));
    let asked = std::env::var("WHERRY_FUZZ_ROUNDS").ok();
    let rounds = asked.map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        let bytes = mutate(&mut dice, &seeds);
        let parsed = std::panic::catch_unwind(|| parser(&bytes));
        assert!(parsed.is_ok(), "{name}, round {round}: {:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn mutated_metadata_and_drafts_panic_nothing() {
    drive("tuf_metadata", parsers::metadata);
}

#[test]
fn mutated_policies_panic_nothing() {
    drive("trust_policy", parsers::policy);
}

/// Covers: TRU-52
#[test]
fn mutated_bundles_envelopes_and_payloads_panic_nothing_and_prove_nothing() {
    drive("trust_statement", parsers::statement);
}

#[test]
fn mutated_key_files_panic_nothing() {
    drive("trust_key", parsers::key);
}

#[test]
fn mutated_trust_artifacts_panic_nothing() {
    drive("trust_artifact", parsers::artifact);
}

#[test]
fn mutated_metadata_of_notary_panic_nothing() {
    drive("trust_notary", parsers::notary);
}
