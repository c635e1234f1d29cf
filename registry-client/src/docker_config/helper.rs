//! The protocol of credential helpers: a server name or JSON in, JSON out.

use serde::{Deserialize, Serialize};

use super::TOKEN_USER;
use crate::credentials::Credential;
use crate::error::printable;
use crate::limits::HELPER_OUTPUT_BYTES_MAX;
use crate::redact::Secret;

/// The name of a helper: the program is `docker-credential-<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HelperName(String);

impl HelperName {
    /// Takes a name that cannot be a path or an option.
    pub fn parse(name: &str) -> Result<Self, HelperError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(legal) {
            true => Ok(Self(name.to_owned())),
            false => Err(HelperError::Name { name: printable(name, 80) }),
        }
    }

    /// The program to run.
    pub fn program(&self) -> String {
        format!("docker-credential-{}", self.0)
    }
}

/// One call of a helper: the verb is its only argument, the input goes to its stdin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperRequest {
    verb: &'static str,
    input: Secret,
}

impl HelperRequest {
    /// Asks for the credentials of a server.
    pub fn get(server: &str) -> Self {
        Self { verb: "get", input: Secret::new(server) }
    }

    /// Gives credentials to keep.
    pub fn store(server: &str, credential: &Credential) -> Result<Self, HelperError> {
        #[derive(Serialize)]
        struct Store<'a> {
            #[serde(rename = "ServerURL")]
            server: &'a str,
            #[serde(rename = "Username")]
            username: &'a str,
            #[serde(rename = "Secret")]
            secret: &'a str,
        }
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password.expose()),
            Credential::IdentityToken { token, .. } => (TOKEN_USER, token.expose()),
            Credential::Anonymous | Credential::RegistryToken(_) => {
                return Err(HelperError::NotStorable);
            }
        };
        let input = serde_json::to_string(&Store { server, username, secret })
            .map_err(|error| HelperError::Output { reason: error.to_string() })?;
        Ok(Self { verb: "store", input: Secret::new(input) })
    }

    /// Forgets a server.
    pub fn erase(server: &str) -> Self {
        Self { verb: "erase", input: Secret::new(server) }
    }

    /// The argument.
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// What goes to stdin.
    pub fn input(&self) -> &[u8] {
        self.input.expose().as_bytes()
    }
}

/// Why a helper cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// Not the name of a program.
    #[error("{name:?} is not the name of a credential helper")]
    Name {
        /// The name.
        name: String,
    },
    /// The helper failed.
    #[error("the credential helper failed: {message}")]
    Failed {
        /// Its words.
        message: String,
    },
    /// The helper answered with something else than credentials.
    #[error("the credential helper's answer is not valid: {reason}")]
    Output {
        /// Where and why.
        reason: String,
    },
    /// Helpers keep passwords and identity tokens only.
    #[error("a credential helper cannot keep this kind of credential")]
    NotStorable,
}

/// How a helper says that it has nothing; this is no failure.
const NOT_FOUND: &[&str] = &[
    "credentials not found in native keychain",
    "no credentials server url",
    "no credentials username",
];

/// How a helper's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperExit {
    /// With status zero.
    Success,
    /// With any other status.
    Failure,
}

/// Reads the answer to `get`. Nothing where the helper has nothing.
pub fn parse_helper_output(
    exit: HelperExit,
    stdout: &[u8],
) -> Result<Option<Credential>, HelperError> {
    if stdout.len() > HELPER_OUTPUT_BYTES_MAX {
        return Err(HelperError::Output { reason: "it is too long".to_owned() });
    }
    if exit == HelperExit::Failure {
        // A failing helper prints its message, never a secret, to stdout.
        let message = printable(String::from_utf8_lossy(stdout).trim(), 300);
        let lower = message.to_lowercase();
        return match NOT_FOUND.iter().any(|known| lower.contains(known)) {
            true => Ok(None),
            false => Err(HelperError::Failed { message }),
        };
    }
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Username", default)]
        username: String,
        #[serde(rename = "Secret", default)]
        secret: String,
    }
    let answer: Answer = serde_json::from_slice(stdout)
        .map_err(|error| HelperError::Output { reason: error.to_string() })?;
    Ok(match (answer.username.as_str(), answer.secret.as_str()) {
        (_, "") => None,
        (TOKEN_USER, token) => {
            Some(Credential::IdentityToken { username: None, token: Secret::new(token) })
        }
        (username, secret) => Some(Credential::password(username, secret)),
    })
}
