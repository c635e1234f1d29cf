//! Role names and the file names they become.

use std::fmt;

use crate::limits::ROLE_NAME_BYTES_MAX;
use crate::{Error, Result};

/// A role's name as metadata writes it; it may hold any character and is never used as a path raw.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

impl RoleName {
    /// `targets`, the role that root delegates all targets to.
    pub fn targets() -> Self {
        Self("targets".to_owned())
    }

    /// Parses a role's name.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() || text.len() > ROLE_NAME_BYTES_MAX {
            return Err(Error::InvalidName {
                name: text,
                what: "a role name",
                detail: "it must have 1 to 200 bytes",
            });
        }
        Ok(Self(text))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `<role>.json`, the name by which snapshot lists the role: not encoded, not versioned.
    pub fn listed(&self) -> String {
        format!("{}.json", self.0)
    }

    /// `<role>.json` with the role percent-encoded, so that it is one path element.
    pub fn stored(&self) -> String {
        format!("{}.json", encode(&self.0))
    }

    /// `<version>.<role>.json` (TUF 6.2), or without the version outside of consistent snapshots.
    pub fn served(&self, version: Option<u64>) -> String {
        match version {
            Some(version) => format!("{version}.{}", self.stored()),
            None => self.stored(),
        }
    }
}

impl std::str::FromStr for RoleName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters, as python-tuf and tough do.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// A metadata file's name in a repository with consistent snapshots, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataFile {
    /// The role.
    pub role: RoleName,
    /// The version in the name; timestamp has none.
    pub version: Option<u64>,
}

impl MetadataFile {
    /// Parses `timestamp.json` or `<version>.<role>.json`.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".json")?;
        if stem == "timestamp" {
            return Some(Self { role: RoleName(stem.to_owned()), version: None });
        }
        let (version, role) = stem.split_once('.')?;
        let version = version.parse().ok().filter(|version| *version >= 1)?;
        let role = RoleName::new(decode(role)?).ok()?;
        (role.served(Some(version)) == name).then_some(Self { role, version: Some(version) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Covers: TRU-30, TRU-31
    #[test]
    fn unusual_role_names_become_one_harmless_path_element() {
        for (role, file) in [
            ("targets", "3.targets.json"),
            ("targets/nigel", "3.targets%2Fnigel.json"),
            ("../x", "3...%2Fx.json"),
            ("?", "3.%3F.json"),
            ("#", "3.%23.json"),
            ("/x", "3.%2Fx.json"),
            ("é", "3.%C3%A9.json"),
        ] {
            let name = RoleName::new(role).unwrap();
            assert_eq!(name.served(Some(3)), file);
            assert_eq!(
                MetadataFile::parse(file),
                Some(MetadataFile { role: name, version: Some(3) })
            );
        }
        assert_eq!(RoleName::new("snapshot").unwrap().served(None), "snapshot.json");
    }

    proptest! {
        #[test]
        fn every_role_name_survives_the_way_through_its_file_name(
            role in "\\PC{1,30}", version in 1_u64..
        ) {
            let name = RoleName::new(role).unwrap();
            let file = name.served(Some(version));
            prop_assert!(!file.contains('/'));
            let parsed = MetadataFile::parse(&file);
            prop_assert_eq!(parsed, Some(MetadataFile { role: name, version: Some(version) }));
        }

        #[test]
        fn parsing_any_file_name_never_panics(name in "\\PC{0,40}") {
            let _ = MetadataFile::parse(&name);
        }
    }
}
