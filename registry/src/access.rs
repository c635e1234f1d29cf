//! Who is asking, and what they may do.

use std::sync::Arc;

use axum::http::request::Parts;
use http::HeaderValue;
use http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};

use crate::config::{Auth, Config};
use crate::error::Error;
use crate::fault::{Code, Fault};
use crate::limits;
use crate::name::RepositoryName;

mod htpasswd;
mod issuer_key;
mod rights;
mod token;

pub use rights::{Action, Grant, RepositoryPattern};

pub(crate) use htpasswd::{Htpasswd, Login};
pub(crate) use token::{Issuer, Scope};

use rights::Rights;
use token::Checker;

/// The way in.
pub(crate) enum Gate {
    /// Nobody is asked.
    Open,
    /// A password with every request.
    Basic { users: Arc<Htpasswd>, realm: String, rights: Arc<Rights> },
    /// Tokens that this server issues.
    Issued { issuer: Arc<Issuer>, checker: Checker, realm: Option<String> },
    /// Tokens of another issuer.
    External { checker: Checker, realm: String },
}

/// Who was let in, and with which rights.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    user: Option<String>,
    may: May,
}

#[derive(Clone, Debug)]
enum May {
    Everything,
    ByRights(Arc<Rights>),
    ByScopes(Arc<[Scope]>),
}

impl Identity {
    /// The name, for the access log.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether they may do it.
    pub(crate) fn may(&self, action: Action, name: &RepositoryName) -> bool {
        match &self.may {
            May::Everything => true,
            May::ByRights(rights) => rights.allow(self.user(), action, name),
            May::ByScopes(scopes) => scopes.iter().any(|scope| scope.allows(action, name)),
        }
    }
}

impl Gate {
    /// Reads the files that the configuration names.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let rights = Arc::new(Rights::new(&config.access));
        Ok(match &config.auth {
            Auth::Off => Self::Open,
            Auth::Basic(basic) => Self::Basic {
                users: Arc::new(Htpasswd::open(&basic.htpasswd)?),
                realm: basic.realm.replace(['"', '\\'], ""),
                rights,
            },
            Auth::Token(auth) => {
                let issuer = Issuer::new(auth, Htpasswd::open(&auth.htpasswd)?, rights)?;
                Self::Issued {
                    checker: issuer.checker(),
                    issuer: Arc::new(issuer),
                    realm: auth.realm.clone(),
                }
            }
            Auth::ExternalToken(auth) => {
                Self::External { checker: Checker::external(auth)?, realm: auth.realm.clone() }
            }
        })
    }

    /// Finds out who is asking. Wrong credentials are refused; missing ones make an anonymous
    /// identity, which may have rights.
    pub(crate) async fn identify(&self, head: &Parts, scheme: &str) -> Result<Identity, Fault> {
        let header = head.headers.get(AUTHORIZATION);
        if header.is_some_and(|value| value.len() > limits::AUTHORIZATION_BYTES_MAX) {
            return Err(Fault::new(Code::Unauthorized, "the Authorization header is too long"));
        }
        match self {
            Self::Open => Ok(Identity { user: None, may: May::Everything }),
            Self::Basic { users, rights, .. } => {
                let user = match Login::parse(header) {
                    None => None,
                    Some(login) if users.check(&login).await => Some(login.into_user()),
                    Some(_) => {
                        return Err(self.unauthorized(
                            head,
                            scheme,
                            &[],
                            "wrong user name or password",
                        ));
                    }
                };
                Ok(Identity { user, may: May::ByRights(rights.clone()) })
            }
            Self::Issued { checker, .. } | Self::External { checker, .. } => {
                let Some(text) = bearer(header) else {
                    return Ok(Identity { user: None, may: May::ByScopes(Arc::new([])) });
                };
                match checker.check(text) {
                    Ok(grant) => {
                        Ok(Identity { user: grant.subject, may: May::ByScopes(grant.scopes) })
                    }
                    Err(reason) => Err(self.unauthorized(head, scheme, &[], reason)),
                }
            }
        }
    }

    /// Lets a request through or says what is missing. `needs` is empty for requests that only
    /// need some identity.
    pub(crate) fn admit(
        &self,
        head: &Parts,
        scheme: &str,
        identity: &Identity,
        needs: &[(Action, RepositoryName)],
    ) -> Result<(), Fault> {
        let anonymous = identity.user().is_none();
        let allowed = needs.iter().all(|(action, name)| identity.may(*action, name));
        match self {
            Self::Open => Ok(()),
            // The probe of `/v2/` must show the challenge, or clients never learn to log in.
            Self::Basic { .. } if needs.is_empty() && anonymous => {
                Err(self.unauthorized(head, scheme, needs, "authentication required"))
            }
            Self::Basic { .. } if allowed => Ok(()),
            Self::Basic { .. } if anonymous => {
                Err(self.unauthorized(head, scheme, needs, "authentication required"))
            }
            Self::Basic { .. } => Err(denied(identity, needs)),
            Self::Issued { .. } | Self::External { .. } => {
                let has_token = bearer(head.headers.get(AUTHORIZATION)).is_some();
                if has_token && allowed {
                    Ok(())
                } else {
                    let reason = if has_token {
                        "the token does not allow this"
                    } else {
                        "authentication required"
                    };
                    Err(self.unauthorized(head, scheme, needs, reason))
                }
            }
        }
    }

    /// The issuer behind `/token`.
    pub(crate) fn issuer(&self) -> Option<&Arc<Issuer>> {
        match self {
            Self::Issued { issuer, .. } => Some(issuer),
            _ => None,
        }
    }

    /// code-11 with the challenge that tells a client what to do.
    fn unauthorized(
        &self,
        head: &Parts,
        scheme: &str,
        needs: &[(Action, RepositoryName)],
        reason: &str,
    ) -> Fault {
        let challenge = match self {
            Self::Open => return Fault::new(Code::Unauthorized, reason),
            Self::Basic { realm, .. } => format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            Self::Issued { issuer, realm, .. } => {
                let realm =
                    realm.clone().unwrap_or_else(|| format!("{scheme}://{}/token", host(head)));
                token::challenge(&realm, issuer.service(), needs, has_bearer(head))
            }
            Self::External { checker, realm } => {
                token::challenge(realm, checker.service(), needs, has_bearer(head))
            }
        };
        Fault::new(Code::Unauthorized, reason).with_header(WWW_AUTHENTICATE, &challenge)
    }
}

/// code-12: known, and not allowed.
fn denied(identity: &Identity, needs: &[(Action, RepositoryName)]) -> Fault {
    let user = identity.user().unwrap_or("an anonymous client");
    let wanted: Vec<_> = needs
        .iter()
        .filter(|(action, name)| !identity.may(*action, name))
        .map(|(action, name)| format!("{action} {name}"))
        .collect();
    Fault::new(Code::Denied, format!("{user} may not {}", wanted.join(", ")))
}

fn bearer(header: Option<&HeaderValue>) -> Option<&str> {
    let (kind, token) = header?.to_str().ok()?.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn has_bearer(head: &Parts) -> bool {
    bearer(head.headers.get(AUTHORIZATION)).is_some()
}

/// The host that the client asked for; only characters that a host and port may have.
fn host(head: &Parts) -> String {
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let header = head.headers.get(HOST).and_then(|value| value.to_str().ok());
    let allowed =
        |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
    authority.or(header).unwrap_or("localhost").chars().filter(allowed).collect()
}
