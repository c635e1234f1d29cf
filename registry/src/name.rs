//! Repository names, tags and references as the protocol spells them.
//!
//! Everything that becomes a path on disk passes through here: no accepted name has an empty,
//! `.` or `..` component, a leading underscore or a byte that a file system treats specially.

use std::fmt;
use std::str::FromStr;

use oci::{Digest, DigestError};

use crate::limits;

/// A `<name>`: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` components joined by `/`
/// (distribution-spec 1.1, "Pulling manifests").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Box<str>);

impl RepositoryName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no repository name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than the limit.
    #[error(
        "the repository name has {length} bytes; at most {} are allowed",
        limits::NAME_BYTES_MAX
    )]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// A component breaks the grammar.
    #[error(
        "{component:?} is no component of a repository name: expected lower-case letters and digits, \
         separated by '.', '_', '__' or dashes"
    )]
    Component {
        /// The first offending component.
        component: String,
    },
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > limits::NAME_BYTES_MAX {
            return Err(NameError::TooLong { length: text.len() });
        }
        match text.split('/').find(|component| !is_component(component)) {
            None => Ok(Self(text.into())),
            Some(bad) => Err(NameError::Component { component: bad.chars().take(64).collect() }),
        }
    }
}

fn is_component(text: &str) -> bool {
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit()).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let Some(separator) = separator_len(rest) else { return false };
        rest = &rest[separator..];
    }
}

fn separator_len(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'_', b'_', ..] => Some(2),
        [b'_' | b'.', ..] => Some(1),
        [b'-', ..] => Some(rest.iter().take_while(|b| **b == b'-').count()),
        _ => None,
    }
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution-spec 1.1, "Pulling manifests").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

impl Tag {
    /// The tag as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no tag: expected 1 to {} letters, digits, '_', '.' or '-', not starting with '.' or '-'",
    limits::TAG_BYTES_MAX
)]
pub struct TagError {
    /// The beginning of what was read.
    pub text: String,
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = match text.as_bytes() {
            [] => false,
            [first, rest @ ..] => {
                word(*first)
                    && rest.len() < limits::TAG_BYTES_MAX
                    && rest.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
            }
        };
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(TagError { text: text.chars().take(160).collect() })
        }
    }
}

/// A `<reference>` of a manifest: a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestReference {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl fmt::Display for ManifestReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Why a text is no manifest reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has a colon, so it was meant as a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// It has none, so it was meant as a tag.
    #[error(transparent)]
    Tag(#[from] TagError),
}

impl FromStr for ManifestReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}

#[cfg(test)]
mod tests;
