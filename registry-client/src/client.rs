//! The client: one per process, cheap to clone.

use std::fmt;
use std::sync::Arc;

use http::Method;

use crate::auth::ScopeSet;
use crate::budget::Quota;
use crate::config::ClientConfig;
use crate::credentials::Credential;
use crate::error::{Act, Problem, RegistryError};
use crate::exchange::{Call, Exchange};
use crate::redact::Secret;
use crate::repository::Repository;

/// A client of any number of registries. Clones share connections, tokens and budgets.
#[derive(Clone)]
pub struct Client {
    exchange: Arc<Exchange>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.exchange.config).finish()
    }
}

/// What a login gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What is to be kept: an identity token where the registry gives one, else the password.
    pub credential: Credential,
}

impl Client {
    /// A client with these settings. Certificates and keys are looked at here, so that a bad
    /// file is no surprise later.
    pub fn new(config: ClientConfig) -> Result<Self, RegistryError> {
        let exchange = Exchange::new(config)
            .map_err(|problem| RegistryError::new(Act::Configure, "registries", problem))?;
        Ok(Self { exchange: Arc::new(exchange) })
    }

    /// A repository to work with. Nothing is asked yet.
    pub fn repository(&self, name: &oci::Repository) -> Repository {
        Repository::new(self.exchange.clone(), name.clone())
    }

    /// Asks a registry whether it speaks the protocol to us (distribution-spec end-1).
    pub async fn ping(&self, registry: &str) -> Result<(), RegistryError> {
        self.ping_as(registry, None).await.map_err(|p| RegistryError::new(Act::Ping, registry, p))
    }

    /// Proves credentials at a registry and returns what is to be kept of them.
    pub async fn login(
        &self,
        registry: &str,
        credential: Credential,
    ) -> Result<Login, RegistryError> {
        let wrap = |problem| RegistryError::new(Act::Authenticate, registry, problem);
        self.ping_as(registry, Some(credential.clone())).await.map_err(wrap)?;
        let token = self.identity_token(registry, &credential).await.map_err(wrap)?;
        let credential = match (token, credential) {
            (Some(token), Credential::Password { username, .. }) => {
                Credential::IdentityToken { username: Some(username), token }
            }
            (_, credential) => credential,
        };
        Ok(Login { credential })
    }

    /// What a registry has said of its pull quotas, by account (nothing for anonymous pulls).
    pub fn quotas(&self, registry: &str) -> Vec<(Option<String>, Quota)> {
        self.exchange.quotas(registry)
    }

    /// The repositories of a registry, where it tells them (the catalog is no part of
    /// distribution-spec: many registries answer 401 or 404).
    pub async fn catalog(&self, registry: &str) -> Result<Vec<String>, RegistryError> {
        let listed = crate::repository::catalog(&self.exchange, registry).await;
        listed.map_err(|problem| RegistryError::new(Act::ListRepositories, registry, problem))
    }

    /// The warnings that registries sent since the last call, each once.
    pub fn take_warnings(&self) -> Vec<String> {
        self.exchange.take_warnings()
    }

    async fn ping_as(&self, registry: &str, credential: Option<Credential>) -> Result<(), Problem> {
        let endpoint = self.exchange.upstream(registry).await?;
        let mut call = Call::new(Method::GET, "v2/".to_owned(), "", ScopeSet::none());
        call.credential = credential;
        self.exchange.call(&endpoint, &call).await.map(drop)
    }

    async fn identity_token(
        &self,
        registry: &str,
        credential: &Credential,
    ) -> Result<Option<Secret>, Problem> {
        if !matches!(credential, Credential::Password { .. }) {
            return Ok(None);
        }
        let endpoint = self.exchange.upstream(registry).await?;
        self.exchange.refresh_token(&endpoint, credential).await
    }
}
