//! Who we are to a registry, and the port that says so.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use crate::redact::Secret;

/// Credentials for one registry.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub enum Credential {
    /// None.
    #[default]
    Anonymous,
    /// A user name and a password or personal access token.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An identity (refresh) token, exchanged at the token server.
    IdentityToken {
        /// The user, where it is known.
        username: Option<String>,
        /// The token.
        token: Secret,
    },
    /// A token for the registry itself, sent as it is.
    RegistryToken(Secret),
}

impl Credential {
    /// A user name and password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { username: username.into(), password: Secret::new(password) }
    }

    /// Whether there are none.
    pub fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { username, .. } => write!(f, "Password({username}:***)"),
            Self::IdentityToken { .. } => f.write_str("IdentityToken(***)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(***)"),
        }
    }
}

/// Where credentials come from. Asked once per registry and repository prefix; an error stops
/// the request, because going on as nobody would hide it.
#[async_trait]
pub trait Keychain: Send + Sync {
    /// The credentials for a repository: `registry` as references name it (`docker.io`),
    /// `repository` its path, empty for the registry as a whole.
    async fn credential(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Credential, KeychainError>;
}

/// A keychain that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("credentials for {registry} cannot be read: {reason}")]
pub struct KeychainError {
    /// The registry.
    pub registry: String,
    /// Why.
    pub reason: String,
}

/// No credentials at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl Keychain for Anonymous {
    async fn credential(&self, _: &str, _: &str) -> Result<Credential, KeychainError> {
        Ok(Credential::Anonymous)
    }
}

/// Credentials handed in, by registry name.
#[derive(Clone, Debug, Default)]
pub struct FixedKeychain(BTreeMap<String, Credential>);

impl FixedKeychain {
    /// A keychain with one entry.
    pub fn single(registry: impl Into<String>, credential: Credential) -> Self {
        Self(BTreeMap::from([(registry.into(), credential)]))
    }

    /// The same keychain with one more entry.
    pub fn with(mut self, registry: impl Into<String>, credential: Credential) -> Self {
        self.0.insert(registry.into(), credential);
        self
    }
}

#[async_trait]
impl Keychain for FixedKeychain {
    async fn credential(&self, registry: &str, _: &str) -> Result<Credential, KeychainError> {
        Ok(self.0.get(registry).cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_shown_without_their_secrets() {
        let all = [
            Credential::password("bob", "hunter2"),
            Credential::IdentityToken { username: None, token: Secret::new("hunter2") },
            Credential::RegistryToken(Secret::new("hunter2")),
        ];
        for credential in all {
            let shown = format!("{credential:?}");
            assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
        }
    }
}
