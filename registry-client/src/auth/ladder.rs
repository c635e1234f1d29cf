//! The ladder: what is known of a host's authentication, and the next step up.

use std::time::Duration;

use http::StatusCode;
use url::Url;

use super::token::{self, Token};
use super::{AuthError, Challenge, ScopeSet, TokenPurpose, TokenRequest};
use crate::credentials::Credential;
use crate::host::{authority, is_loopback, same_origin};
use crate::limits::TOKENS_MAX;
use crate::redact::{self, Secret};

/// What one host is known to want, and the tokens got for it. Only goes up: unknown, then a
/// scheme. Holds nothing of another host.
#[derive(Debug, Default)]
pub(crate) struct HostAuth {
    scheme: Known,
    tokens: Vec<Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
    },
}

#[derive(Debug)]
struct Entry {
    realm: Url,
    service: Option<String>,
    scopes: ScopeSet,
    credential: Credential,
    token: Secret,
    expires: Duration,
    margin: Duration,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Send the request, with this `Authorization` where there is one.
    Send(Option<Secret>),
    /// Get this token first, then ask again.
    NeedToken(Box<TokenRequest>),
}

/// Which header a refused request had carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent<'a> {
    pub(crate) authorization: Option<&'a Secret>,
    pub(crate) url: &'a Url,
}

impl HostAuth {
    /// The step before a request that needs `wanted`.
    pub(crate) fn prepare(
        &self,
        wanted: &ScopeSet,
        credential: &Credential,
        now: Duration,
    ) -> Ready {
        if let Credential::RegistryToken(token) = credential {
            return Ready::Send(Some(bearer(token)));
        }
        match &self.scheme {
            Known::Nothing => Ready::Send(None),
            Known::Basic => Ready::Send(token::basic_header(credential)),
            Known::Bearer { realm, service } => {
                let usable = self.tokens.iter().find(|entry| {
                    entry.realm == *realm
                        && entry.service == *service
                        && entry.credential == *credential
                        && entry.scopes.covers(wanted)
                        && entry.expires > now.saturating_add(entry.margin)
                });
                match usable {
                    Some(entry) => Ready::Send(Some(bearer(&entry.token))),
                    None => Ready::NeedToken(Box::new(TokenRequest {
                        realm: realm.clone(),
                        service: service.clone(),
                        scopes: wanted.clone(),
                        credential: credential.clone(),
                        purpose: TokenPurpose::Access,
                    })),
                }
            }
        }
    }

    /// Learns from a 401. Afterwards [`HostAuth::prepare`] with the returned scopes gives the
    /// one replay; a second 401 goes to [`HostAuth::refused`].
    pub(crate) fn challenged(
        &mut self,
        challenges: &[Challenge],
        sent: &Sent<'_>,
        wanted: &ScopeSet,
        credential: &Credential,
    ) -> Result<ScopeSet, AuthError> {
        if let Some(used) = sent.authorization {
            self.tokens.retain(|entry| bearer(&entry.token) != *used);
        }
        let host = authority(sent.url);
        let bearer_challenge = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
            _ => None,
        });
        if let Some((realm, service, scope)) = bearer_challenge {
            check_realm(sent.url, realm)?;
            if matches!(credential, Credential::RegistryToken(_)) {
                return Err(AuthError::WrongCredentials { host, message: String::new() });
            }
            self.scheme = Known::Bearer { realm: realm.clone(), service: service.clone() };
            return Ok(wanted.clone().union(scope));
        }
        if challenges.contains(&Challenge::Basic) {
            self.climb_to_basic(sent, credential, host)?;
            return Ok(wanted.clone());
        }
        Err(match challenges {
            [] => self.refused(sent, credential, String::new()),
            offered => AuthError::UnknownScheme { host, schemes: schemes(offered) },
        })
    }

    fn climb_to_basic(
        &mut self,
        sent: &Sent<'_>,
        credential: &Credential,
        host: String,
    ) -> Result<(), AuthError> {
        match credential {
            Credential::Password { .. } => {
                let header = token::basic_header(credential);
                if sent.authorization.is_some() && sent.authorization == header.as_ref() {
                    // One try with a password: a second would only help to lock the account.
                    return Err(AuthError::WrongCredentials { host, message: String::new() });
                }
                self.scheme = Known::Basic;
                Ok(())
            }
            Credential::Anonymous => Err(AuthError::NoCredentials { host, message: String::new() }),
            Credential::IdentityToken { .. } => Err(AuthError::WrongKind { host }),
            Credential::RegistryToken(_) => {
                Err(AuthError::WrongCredentials { host, message: String::new() })
            }
        }
    }

    /// The error for a request that was refused after the ladder was climbed.
    pub(crate) fn refused(
        &self,
        sent: &Sent<'_>,
        credential: &Credential,
        message: String,
    ) -> AuthError {
        let host = authority(sent.url);
        match credential.is_anonymous() {
            true => AuthError::NoCredentials { host, message },
            false => AuthError::WrongCredentials { host, message },
        }
    }

    /// Takes a token server's answer in. Returns the refresh token where one came.
    pub(crate) fn answered(
        &mut self,
        request: &TokenRequest,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
        now: Duration,
    ) -> Result<Option<Secret>, AuthError> {
        let Token { value, life, refresh } =
            token::parse_answer(request, status, retry_after, body)?;
        self.tokens.retain(|entry| {
            let replaced = entry.scopes == request.scopes && entry.credential == request.credential;
            entry.expires > now && !replaced
        });
        if self.tokens.len() >= TOKENS_MAX {
            self.tokens.remove(0);
        }
        self.tokens.push(Entry {
            realm: request.realm.clone(),
            service: request.service.clone(),
            scopes: request.scopes.clone(),
            credential: request.credential.clone(),
            token: value,
            expires: now.saturating_add(life),
            margin: life / 10,
        });
        Ok(refresh)
    }
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// Credentials go to a token server only over HTTPS, or over the plain HTTP that the registry
/// itself is spoken to with, on the same host or on this machine.
fn check_realm(registry: &Url, realm: &Url) -> Result<(), AuthError> {
    let unsafe_realm = |reason| AuthError::UnsafeRealm {
        host: authority(registry),
        realm: redact::url(realm),
        reason,
    };
    let host = realm.host_str().unwrap_or_default();
    match realm.scheme() {
        _ if host.is_empty() => Err(unsafe_realm("it names no host")),
        "https" => Ok(()),
        "http" if registry.scheme() != "http" => Err(unsafe_realm("it is plain HTTP")),
        "http" if same_origin(registry, realm) => Ok(()),
        "http" if realm.host_str() == registry.host_str() => Ok(()),
        "http" if is_loopback(host) && is_loopback(&authority(registry)) => Ok(()),
        "http" => Err(unsafe_realm("it is plain HTTP on another host")),
        _ => Err(unsafe_realm("its scheme is not https")),
    }
}

fn schemes(challenges: &[Challenge]) -> String {
    let names = challenges.iter().map(|challenge| match challenge {
        Challenge::Basic => "Basic",
        Challenge::Bearer { .. } => "Bearer",
        Challenge::Other(scheme) => scheme,
    });
    names.collect::<Vec<_>>().join(", ")
}
