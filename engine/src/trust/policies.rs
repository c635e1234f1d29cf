//! The policy in force: where it comes from, and that a file which cannot be read denies.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use trust::Policy;

use crate::Engine;
use crate::config::text_variable;
use crate::error::{Error, Result};
use crate::files;

/// Where the policy in force comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// `DOCKER_CONTENT_TRUST` without a policy file: the roots pinned here.
    ContentTrust,
    /// A file.
    File(PathBuf),
    /// Nowhere: everything is accepted, and nothing is proven.
    None,
}

impl fmt::Display for PolicySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContentTrust => f.write_str("DOCKER_CONTENT_TRUST, by the roots pinned here"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::None => f.write_str("none"),
        }
    }
}

/// A policy, and where it comes from.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Where it comes from.
    pub source: PolicySource,
    policy: Policy,
}

impl Deref for InForce {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

impl InForce {
    /// The file's, else what `DOCKER_CONTENT_TRUST` asks for, else none.
    pub(crate) fn find(engine: &Engine) -> Result<Self> {
        let path = engine.config().policy_path();
        match files::read_text(&path) {
            Ok(text) => {
                let policy = parse(&path, &text)?;
                Ok(Self { source: PolicySource::File(path), policy })
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Self::without_file(engine),
            Err(e) => Err(Error::io("read policy", path, e)),
        }
    }

    fn without_file(engine: &Engine) -> Result<Self> {
        if let Some(named) = &engine.config().policy {
            return Err(Error::Configuration {
                file: named.display().to_string(),
                reason: "the policy file that WHERRY_POLICY or --policy names does not exist"
                    .to_owned(),
            });
        }
        if content_trust_asked() {
            let policy = Policy::content_trust(engine.trust_keys().roots()?);
            return Ok(Self { source: PolicySource::ContentTrust, policy });
        }
        Ok(Self { source: PolicySource::None, policy: Policy::none() })
    }
}

/// Reads a policy file without putting it in force.
pub fn check_file(path: &Path) -> Result<Policy> {
    let text = files::read_text(path).map_err(|e| Error::io("read policy", path, e))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Policy> {
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Policy::parse(text, &mut |name| files::read(folder.join(name))).map_err(|error| {
        Error::Configuration { file: path.display().to_string(), reason: error.to_string() }
    })
}

/// Whether `DOCKER_CONTENT_TRUST` asks for signatures.
pub fn content_trust_asked() -> bool {
    asks(text_variable("DOCKER_CONTENT_TRUST").as_deref())
}

/// Docker's reading: any value that is not a parseable "false" turns it on.
fn asks(value: Option<&str>) -> bool {
    match value {
        None => false,
        Some(text) => !matches!(text, "0" | "f" | "F" | "false" | "FALSE" | "False"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: TRU-47
    #[test]
    fn only_a_parseable_false_turns_content_trust_off() {
        let table = [
            (None, false),
            (Some("1"), true),
            (Some("yes"), true),
            (Some("on"), true),
            (Some("0"), false),
            (Some("false"), false),
            (Some("F"), false),
        ];
        for (value, expected) in table {
            assert_eq!(asks(value), expected, "{value:?}");
        }
    }
}
