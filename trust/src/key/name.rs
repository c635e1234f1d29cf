//! Names of keys and signers.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A key's name: `^[a-z0-9][a-z0-9_-]*$`, as `docker trust key generate` demands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let rest = |c: char| first(c) || c == '_' || c == '-';
        if text.len() > 100 || !text.starts_with(first) || !text.chars().all(rest) {
            return Err(Error::InvalidName {
                name: text.to_owned(),
                what: "a key name",
                detail: "it must start with lower-case alphanumeric characters and can include \
                         lower-case alphanumeric characters, underscore or dash (at most 100)",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A signer's name: a key name that is not `releases`, which is the role all signers share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerName(KeyName);

impl SignerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The delegated role the signer's tags stand in, `targets/<name>`.
    pub fn role(&self) -> String {
        format!("targets/{}", self.0)
    }
}

impl FromStr for SignerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name: KeyName = text.parse()?;
        if text == "releases" {
            return Err(Error::InvalidName {
                name: text.to_owned(),
                what: "a signer name",
                detail: "releases is a reserved keyword",
            });
        }
        Ok(Self(name))
    }
}

impl fmt::Display for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Covers: TRU-40, TRU-42
    #[test]
    fn key_and_signer_names_follow_dockers_grammar() {
        for good in ["nigel", "a", "0", "team-a_1", "9lives"] {
            assert_eq!(good.parse::<KeyName>().unwrap().as_str(), good);
            assert!(good.parse::<SignerName>().is_ok());
        }
        for bad in ["", "Nigel", "-a", "_a", "a b", "a/b", "a.b", "../x", "é", &"a".repeat(101)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad:?}");
        }
        assert!("releases".parse::<KeyName>().is_ok());
        assert!("releases".parse::<SignerName>().unwrap_err().to_string().contains("reserved"));
    }

    proptest! {
        #[test]
        fn a_parsed_key_name_is_safe_as_a_file_name(text in "\\PC{0,20}") {
            if let Ok(name) = text.parse::<KeyName>() {
                prop_assert!(!name.as_str().contains(['/', '.', '\\', '\0']));
                prop_assert!(!name.as_str().is_empty());
            }
        }
    }
}
