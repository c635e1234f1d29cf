//! Container ids (64 hexadecimal digits) and the names a container gets when its user gives none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

const ID_DIGITS: usize = 64;
const SHORT_DIGITS: usize = 12;

/// The id of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// A new random id, never one whose short form reads as a number (it becomes the host name).
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn generate() -> Result<Self> {
        loop {
            let id = hex::encode(random::<{ ID_DIGITS / 2 }>()?);
            if id[..SHORT_DIGITS].bytes().any(|digit| digit.is_ascii_alphabetic()) {
                return Ok(Self(id));
            }
        }
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as `ps` shows them.
    pub fn short(&self) -> &str {
        &self.0[..SHORT_DIGITS]
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == ID_DIGITS
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::NoSuchContainer { reference: text.to_owned() })
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

/// Refuses what Docker refuses as a container name.
///
/// # Errors
/// The name, with the allowed characters.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let mut characters = name.chars();
    let good = characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.len() > 1
        && name.len() <= limits::NAME_CHARS
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if good { Ok(()) } else { Err(Error::InvalidName { name: name.to_owned() }) }
}

/// A random name such as `brisk_lighthouse`; from the fourth attempt on with a digit, so that it ends.
///
/// # Errors
/// The kernel gives no random bytes.
pub(crate) fn random_name(attempt: u32) -> Result<String> {
    let bytes = random::<5>()?;
    let pick = |words: &'static [&'static str], high: u8, low: u8| {
        words[usize::from(u16::from_be_bytes([high, low])) % words.len()]
    };
    let name = format!(
        "{}_{}",
        pick(&ADJECTIVES, bytes[0], bytes[1]),
        pick(&SURNAMES, bytes[2], bytes[3])
    );
    Ok(if attempt < 3 { name } else { format!("{name}{}", bytes[4] % 10) })
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::System {
        act: "draw random bytes",
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(bytes)
}

const ADJECTIVES: [&str; 64] = [
    "agile", "amber", "ample", "artful", "balmy", "bold", "breezy", "bright", "brisk", "buoyant",
    "calm", "candid", "careful", "cheery", "civil", "clear", "clever", "cosy", "crisp", "curious",
    "dapper", "deft", "eager", "earnest", "easy", "fair", "fluent", "fond", "frank", "gentle",
    "glad", "golden", "hardy", "honest", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "mellow", "merry", "mild", "modest", "neat", "nimble", "patient", "plucky", "polite", "proud",
    "quiet", "rapid", "ready", "serene", "sharp", "sincere", "steady", "stoic", "sunny", "tidy",
    "trusty", "upbeat", "vivid", "witty",
];

/// People of science and seafaring.
const SURNAMES: [&str; 64] = [
    "amundsen",
    "anning",
    "babbage",
    "baret",
    "beaufort",
    "bell",
    "boole",
    "bose",
    "bowditch",
    "cabot",
    "cannon",
    "cook",
    "curie",
    "darwin",
    "dijkstra",
    "dirac",
    "drake",
    "erikson",
    "euler",
    "fermat",
    "fermi",
    "franklin",
    "galilei",
    "gauss",
    "germain",
    "goodall",
    "hamilton",
    "harrison",
    "hertz",
    "hopper",
    "hypatia",
    "ibn_battuta",
    "johnson",
    "kepler",
    "knuth",
    "kovalevskaya",
    "lamarr",
    "leavitt",
    "liskov",
    "lovelace",
    "magellan",
    "maury",
    "maxwell",
    "mccarthy",
    "meitner",
    "mercator",
    "nansen",
    "newton",
    "nightingale",
    "noether",
    "pascal",
    "payne",
    "plimsoll",
    "ride",
    "ritchie",
    "rubin",
    "shackleton",
    "shannon",
    "slocum",
    "somerville",
    "tereshkova",
    "turing",
    "wilkes",
    "zheng",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_digits_and_a_short_id_is_never_a_number() {
        for _ in 0..200 {
            let id = ContainerId::generate().unwrap();
            assert_eq!(id.as_str().len(), 64);
            assert!(id.short().parse::<u64>().is_err());
            assert_eq!(id.as_str().parse::<ContainerId>().unwrap(), id);
        }
        assert!("abc".parse::<ContainerId>().is_err());
        assert!("../../etc/passwd".parse::<ContainerId>().is_err());
        assert!("A".repeat(64).parse::<ContainerId>().is_err());
    }

    /// Covers: B07-15
    #[test]
    fn names_are_checked_as_docker_checks_them() {
        for good in ["web", "web-1", "a.b_c", "0x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-web", "we b", "we/b", "..", ".hidden", "w\u{e9}b", &"x".repeat(300)]
        {
            let error = check_name(bad).unwrap_err();
            assert!(
                error.to_string().ends_with("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
                "{error}"
            );
        }
        for attempt in 0..8 {
            assert!(check_name(&random_name(attempt).unwrap()).is_ok());
        }
    }
}
