//! Authentication as a ladder without I/O: challenges and answers in, headers and token requests out.

mod challenge;
mod ladder;
mod scope;
#[cfg(test)]
mod tests;
mod token;

use std::time::Duration;

use http::StatusCode;

pub use challenge::Challenge;
pub(crate) use challenge::parse_challenges;
pub(crate) use ladder::{HostAuth, Ready, Sent};
pub use scope::ScopeSet;
pub(crate) use token::{TokenCall, TokenPurpose, TokenRequest};

use crate::credentials::KeychainError;

/// Why a request could not be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There are credentials and they are wrong.
    #[error("{host} does not accept these credentials{}", said(.message))]
    WrongCredentials {
        /// The registry or token server.
        host: String,
        /// Its words.
        message: String,
    },
    /// The registry wants credentials and there are none.
    #[error("{host} wants credentials and there are none for it: log in first{}", said(.message))]
    NoCredentials {
        /// The registry.
        host: String,
        /// Its words.
        message: String,
    },
    /// The credentials are of a kind that the registry's scheme cannot use.
    #[error("{host} wants a user name and password; an identity token cannot be used there")]
    WrongKind {
        /// The registry.
        host: String,
    },
    /// The registry asks for authentication in no way we know.
    #[error("{host} asks for authentication by {schemes}: only Basic and Bearer are known")]
    UnknownScheme {
        /// The registry.
        host: String,
        /// What it offered.
        schemes: String,
    },
    /// The token server would get credentials over plain HTTP, or is no URL.
    #[error("the token server {realm} of {host} is not safe to send credentials to: {reason}")]
    UnsafeRealm {
        /// The registry.
        host: String,
        /// The token server.
        realm: String,
        /// What is unsafe about it.
        reason: &'static str,
    },
    /// The token server failed.
    #[error("the token server {realm} answered {status}{}", said(.message))]
    TokenServer {
        /// The token server.
        realm: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The token server answered with no token.
    #[error("the token server {realm} sent no usable token: {reason}")]
    BadToken {
        /// The token server.
        realm: String,
        /// What is wrong.
        reason: String,
    },
    /// The keychain failed.
    #[error(transparent)]
    Keychain(#[from] KeychainError),
}

impl AuthError {
    /// Whether the same request may be authenticated later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::TokenServer { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }
}

fn said(message: &str) -> String {
    match message.is_empty() {
        true => String::new(),
        false => format!(": {message}"),
    }
}
