//! From a found target to its content (TUF 5.7).

use oci::{Algorithm, Hasher};

use super::name::encode;
use super::search::FoundTarget;
use crate::{Error, Result};

impl FoundTarget {
    /// The paths below the target base URL under which the content may be served, best first.
    ///
    /// With consistent snapshots the hash goes before the last element of the path (TUF 6.2), so the
    /// content is found under each hash that the metadata name.
    pub fn served(&self, consistent_snapshot: bool) -> Vec<String> {
        if !consistent_snapshot {
            return vec![self.path.clone()];
        }
        let (folder, name) = match self.path.rsplit_once('/') {
            Some((folder, name)) => (format!("{folder}/"), name),
            None => (String::new(), self.path.as_str()),
        };
        let known = ["sha256", "sha512"];
        let hashes = known.iter().filter_map(|algorithm| self.file.hashes.get(*algorithm));
        hashes.map(|hash| format!("{folder}{hash}.{name}")).collect()
    }

    /// A file name to keep the content under: one path element, whatever the target is called.
    pub fn file_name(&self) -> String {
        match encode(&self.path).as_str() {
            "." => "%2E".to_owned(),
            ".." => "%2E%2E".to_owned(),
            name => name.to_owned(),
        }
    }

    /// Begins to verify content.
    pub fn verifier(&self) -> Result<TargetVerifier> {
        let mut hashers = Vec::new();
        for (name, algorithm) in [("sha256", Algorithm::Sha256), ("sha512", Algorithm::Sha512)] {
            if let Some(expected) = self.file.hashes.get(name) {
                hashers.push((name, expected.clone(), Hasher::new(algorithm)));
            }
        }
        if hashers.is_empty() {
            // Hashes of unknown algorithms alone prove nothing.
            let algorithm = "set of known hashes (there is none)".to_owned();
            return Err(Error::HashMismatch { file: self.path.clone(), algorithm });
        }
        Ok(TargetVerifier { path: self.path.clone(), length: self.file.length, seen: 0, hashers })
    }
}

/// Verifies a target's content as it streams by: its length and every hash of a known algorithm.
pub struct TargetVerifier {
    path: String,
    length: u64,
    seen: u64,
    hashers: Vec<(&'static str, String, Hasher)>,
}

impl TargetVerifier {
    /// Takes the next bytes; content that grows beyond its signed length is refused at once.
    pub fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen > self.length {
            return Err(Error::TooLarge { what: self.path.clone(), limit: self.length });
        }
        self.hashers.iter_mut().for_each(|(_, _, hasher)| hasher.update(bytes));
        Ok(())
    }

    /// Fails unless the content is whole and is what was signed.
    pub fn finish(self) -> Result<()> {
        if self.seen != self.length {
            let (expected, found) = (self.length, self.seen);
            return Err(Error::LengthMismatch { file: self.path, expected, found });
        }
        for (name, expected, hasher) in self.hashers {
            if hasher.finish().hex() != expected {
                return Err(Error::HashMismatch { file: self.path, algorithm: name.to_owned() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use oci::Digest;
    use proptest::prelude::*;
    use serde_json::Map;

    use super::super::name::RoleName;
    use super::super::schema::TargetFile;
    use super::*;

    fn found(path: &str, length: u64, hashes: &[(&str, &str)]) -> FoundTarget {
        let hashes = hashes.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned()));
        FoundTarget {
            path: path.to_owned(),
            file: TargetFile { length, hashes: hashes.collect(), custom: None, extra: Map::new() },
            role: RoleName::targets(),
        }
    }

    fn verify(found: &FoundTarget, content: &[u8]) -> Result<()> {
        let mut verifier = found.verifier()?;
        content.chunks(2).try_for_each(|chunk| verifier.update(chunk))?;
        verifier.finish()
    }

    /// Covers: TRU-33
    #[test]
    fn content_must_have_the_length_and_every_known_hash() {
        let sha256 = Digest::sha256(b"hello").hex().to_owned();
        let sha512 = Digest::of(Algorithm::Sha512, b"hello").hex().to_owned();
        let wrong = "0".repeat(64);
        for (length, hashes, accepted) in [
            (5, vec![("sha256", sha256.as_str())], true),
            (5, vec![("sha512", sha512.as_str())], true),
            (5, vec![("sha256", &sha256), ("sha512", &sha512), ("new", "x")], true),
            (5, vec![("sha256", &sha256), ("sha512", &wrong)], false),
            (5, vec![("sha256", wrong.as_str())], false),
            (5, vec![("new", "x")], false),
            (4, vec![("sha256", sha256.as_str())], false),
            (6, vec![("sha256", sha256.as_str())], false),
        ] {
            let result = verify(&found("a", length, &hashes), b"hello");
            assert_eq!(result.is_ok(), accepted, "{length} {hashes:?}");
        }
        let endless = verify(&found("a", 5, &[("sha256", &sha256)]), &[b'x'; 1000]);
        assert!(matches!(endless, Err(Error::TooLarge { limit: 5, .. })));
    }

    /// Covers: TRU-31
    #[test]
    fn the_hash_goes_before_the_last_element_of_the_path() {
        let target = found("dir/sub/name.txt", 1, &[("sha256", "aa"), ("sha512", "bb")]);
        assert_eq!(target.served(true), ["dir/sub/aa.name.txt", "dir/sub/bb.name.txt"]);
        assert_eq!(target.served(false), ["dir/sub/name.txt"]);
        assert_eq!(found("name", 1, &[("sha256", "aa")]).served(true), ["aa.name"]);
    }

    /// Covers: TRU-30
    #[test]
    fn a_target_is_kept_under_one_harmless_name() {
        for (path, name) in [
            ("a/b", "a%2Fb"),
            ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("/abs", "%2Fabs"),
            ("nul\0", "nul%00"),
        ] {
            assert_eq!(found(path, 0, &[]).file_name(), name);
        }
    }

    proptest! {
        #[test]
        fn no_target_path_escapes_its_folder(path in "[./\\\\a%\\PC]{0,20}") {
            let name = found(&path, 0, &[]).file_name();
            prop_assert!(!name.contains(['/', '\\', '\0']));
            prop_assert!(name != "." && name != "..");
        }
    }

    #[test]
    fn hashes_are_compared_as_written() {
        let upper = Digest::sha256(b"x").hex().to_uppercase();
        let map: BTreeMap<String, String> = BTreeMap::from([("sha256".to_owned(), upper)]);
        let mut target = found("a", 1, &[]);
        target.file.hashes = map;
        assert!(verify(&target, b"x").is_err());
    }
}
