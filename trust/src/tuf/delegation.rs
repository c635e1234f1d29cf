//! Which delegated roles are trusted with a path (TUF 4.5, TAP 15).

use sha2::{Digest as _, Sha256};

use super::name::RoleName;
use super::schema::{DelegatedRole, Delegations, SuccinctRoles};
use crate::key::KeyId;

/// A delegated role as its delegator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) role: RoleName,
    pub(crate) keyids: Vec<KeyId>,
    pub(crate) threshold: u64,
    pub(crate) terminating: bool,
}

impl Delegations {
    /// The roles trusted with `path`, in order of priority.
    pub(crate) fn children_for(&self, path: &str) -> Vec<Child> {
        let hash = hex::encode(Sha256::digest(path.as_bytes()));
        if let Some(succinct) = &self.succinct_roles {
            return succinct.bin_for(&hash).into_iter().collect();
        }
        let roles = self.roles.as_deref().unwrap_or_default();
        roles
            .iter()
            .filter(|role| role.trusts(path, &hash))
            .filter_map(DelegatedRole::child)
            .collect()
    }

    /// The delegation to `role`, whatever the path.
    pub(crate) fn child(&self, role: &RoleName) -> Option<Child> {
        if let Some(succinct) = &self.succinct_roles {
            return succinct.is_bin(role.as_str()).then(|| succinct.child(role.clone()));
        }
        let roles = self.roles.as_deref().unwrap_or_default();
        roles.iter().find(|delegated| delegated.name == role.as_str())?.child()
    }
}

impl DelegatedRole {
    fn child(&self) -> Option<Child> {
        Some(Child {
            role: RoleName::new(self.name.as_str()).ok()?,
            keyids: self.keys.keyids.clone(),
            threshold: self.keys.threshold,
            terminating: self.terminating,
        })
    }

    fn trusts(&self, path: &str, hash: &str) -> bool {
        if let Some(patterns) = &self.paths {
            return patterns.iter().any(|pattern| matches(pattern, path));
        }
        let prefixes = self.path_hash_prefixes.as_deref().unwrap_or_default();
        prefixes.iter().any(|prefix| !prefix.is_empty() && hash.starts_with(prefix.as_str()))
    }
}

impl SuccinctRoles {
    fn suffix_digits(&self) -> usize {
        self.bit_length.div_ceil(4) as usize
    }

    /// The bin of a path's SHA-256: its first `bit_length` bits, in hex, padded with zeros.
    fn bin_for(&self, hash: &str) -> Option<Child> {
        let first = u32::from_str_radix(hash.get(..8)?, 16).ok()?;
        let bin = first >> (32 - self.bit_length);
        let name = format!("{}-{bin:0width$x}", self.name_prefix, width = self.suffix_digits());
        Some(self.child(RoleName::new(name).ok()?))
    }

    fn is_bin(&self, role: &str) -> bool {
        let suffix = role.strip_prefix(&self.name_prefix).and_then(|rest| rest.strip_prefix('-'));
        suffix.is_some_and(|suffix| {
            suffix.len() == self.suffix_digits()
                && suffix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
                && u64::from_str_radix(suffix, 16).is_ok_and(|bin| bin >> self.bit_length == 0)
        })
    }

    fn child(&self, role: RoleName) -> Child {
        // TAP 15: bins are one flat level, the search does not go on after them.
        Child { role, keyids: self.keyids.clone(), threshold: self.threshold, terminating: true }
    }
}

/// Shell-style match where `*` and `?` never match `/`; case matters, and nothing is escaped.
fn matches(pattern: &str, path: &str) -> bool {
    let mut patterns = pattern.split('/');
    let mut paths = path.split('/');
    loop {
        match (patterns.next(), paths.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) => {
                let pattern: Vec<char> = pattern.chars().collect();
                let part: Vec<char> = part.chars().collect();
                if !element_matches(&pattern, &part) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// Matches one path element; linear memory and at most |pattern| × |part| steps.
fn element_matches(pattern: &[char], part: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < part.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == part[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    /// Covers: TRU-28
    #[test]
    fn wildcards_stay_within_one_path_element() {
        for (pattern, path, expected) in [
            ("targets/*.tgz", "targets/foo.tgz", true),
            ("targets/*.tgz", "targets/foo.txt", false),
            ("targets/*.tgz", "targets/a/foo.tgz", false),
            ("foo-version-?.tgz", "foo-version-2.tgz", true),
            ("foo-version-?.tgz", "foo-version-alpha.tgz", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("?", "/", false),
            ("A", "a", false),
            ("", "", true),
            ("", "a", false),
            ("**", "a/b", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
            ("library/web:*", "library/web:1.0", true),
            ("library/web:*", "library/web2:1.0", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern:?} on {path:?}");
        }
    }

    /// Covers: TRU-29
    #[test]
    fn succinct_bins_are_named_by_the_first_bits_of_the_hash_padded_with_zeros() {
        let bins = |bit_length| SuccinctRoles {
            keyids: Vec::new(),
            threshold: 1,
            bit_length,
            name_prefix: "bin".to_owned(),
            extra: Map::new(),
        };
        for (bits, hash, expected) in [
            (1, "7fffffff", "bin-0"),
            (1, "80000000", "bin-1"),
            (5, "07ffffff", "bin-00"),
            (8, "0affffff", "bin-0a"),
            (14, "ffffffff", "bin-3fff"),
            (16, "00ab0000", "bin-00ab"),
            (32, "0000000f", "bin-0000000f"),
        ] {
            assert_eq!(bins(bits).bin_for(hash).unwrap().role.as_str(), expected);
            assert!(bins(bits).is_bin(expected));
        }
        for not in ["bin-20", "bin-1", "bin-0A", "bin-", "bim-00", "bin00"] {
            assert!(!bins(5).is_bin(not), "{not}");
        }
    }

    #[test]
    fn hash_prefixes_choose_by_the_hash_of_the_path() {
        let hash = hex::encode(Sha256::digest(b"a/path"));
        let role = |prefix: &str| DelegatedRole {
            name: "bin".to_owned(),
            keys: super::super::schema::DelegatedKeys { keyids: Vec::new(), threshold: 1 },
            terminating: false,
            paths: None,
            path_hash_prefixes: Some(vec![prefix.to_owned()]),
        };
        assert!(role(&hash[..2]).trusts("a/path", &hash));
        assert!(!role("").trusts("a/path", &hash));
        assert!(
            !role(&hash[..2].to_uppercase().replace(char::is_numeric, "A")).trusts("a/path", &hash)
        );
    }

    proptest! {
        #[test]
        fn a_pattern_without_wildcards_matches_itself_only(a in "[a-c/]{0,6}", b in "[a-c/]{0,6}") {
            prop_assert_eq!(matches(&a, &b), a == b);
        }

        #[test]
        fn matching_never_panics(pattern in "[a*?/]{0,12}", path in "\\PC{0,12}") {
            let _ = matches(&pattern, &path);
        }
    }
}
