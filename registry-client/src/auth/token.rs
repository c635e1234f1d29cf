//! Requests to token servers and their answers (token specification of Docker, OAuth 2).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::{AuthError, ScopeSet};
use crate::credentials::Credential;
use crate::error::{parse_details, printable};
use crate::limits::{TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX};
use crate::redact::{self, Secret};

/// The name we give at token servers.
const CLIENT_ID: &str = "wherry";

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenPurpose {
    /// Requests.
    Access,
    /// A login: a refresh token is wanted too.
    Login,
}

/// A request for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenRequest {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scopes: ScopeSet,
    pub(crate) credential: Credential,
    pub(crate) purpose: TokenPurpose,
}

/// A token request as HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenCall {
    Get { url: Url, authorization: Option<Secret> },
    PostForm { url: Url, form: Secret },
}

impl TokenRequest {
    /// The request as HTTP: a refresh token is exchanged by an OAuth 2 POST, everything else by GET.
    pub(crate) fn to_call(&self) -> TokenCall {
        match &self.credential {
            Credential::IdentityToken { token, .. } => {
                TokenCall::PostForm { url: self.realm.clone(), form: self.refresh_form(token) }
            }
            credential => TokenCall::Get {
                url: self.get_url(credential),
                authorization: basic_header(credential),
            },
        }
    }

    fn get_url(&self, credential: &Credential) -> Url {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes.texts() {
                query.append_pair("scope", &scope);
            }
            if let Credential::Password { username, .. } = credential {
                query.append_pair("account", username);
            }
            if self.purpose == TokenPurpose::Login {
                query.append_pair("client_id", CLIENT_ID).append_pair("offline_token", "true");
            }
        }
        // An empty pair list leaves a bare `?`.
        if url.query() == Some("") {
            url.set_query(None);
        }
        url
    }

    fn refresh_form(&self, token: &Secret) -> Secret {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token.expose())
            .append_pair("client_id", CLIENT_ID);
        if let Some(service) = &self.service {
            form.append_pair("service", service);
        }
        if self.scopes != ScopeSet::none() {
            form.append_pair("scope", &self.scopes.to_string());
        }
        Secret::new(form.finish())
    }
}

/// The value of an `Authorization: Basic` header.
pub(crate) fn basic_header(credential: &Credential) -> Option<Secret> {
    match credential {
        Credential::Password { username, password } => {
            let pair = format!("{username}:{}", password.expose());
            Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
        }
        _ => None,
    }
}

/// A token with its life, measured from when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) value: Secret,
    pub(crate) life: Duration,
    pub(crate) refresh: Option<Secret>,
}

/// Reads a token server's answer.
pub(crate) fn parse_answer(
    request: &TokenRequest,
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Result<Token, AuthError> {
    let realm = redact::url(&request.realm);
    if !status.is_success() {
        return Err(refusal(request, realm, status, retry_after, body));
    }
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
        refresh_token: Option<String>,
    }
    // The reason names a position, never the content.
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| AuthError::BadToken { realm: realm.clone(), reason: error.to_string() })?;
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let value = filled(&answer.token)
        .or_else(|| filled(&answer.access_token))
        .ok_or_else(|| AuthError::BadToken { realm, reason: "the answer holds none".to_owned() })?;
    let life = match answer.expires_in {
        None | Some(0) => TOKEN_LIFE_DEFAULT,
        Some(seconds) => Duration::from_secs(seconds).min(TOKEN_LIFE_MAX),
    };
    Ok(Token {
        value: Secret::new(value),
        life,
        refresh: filled(&answer.refresh_token).map(Secret::new),
    })
}

fn refusal(
    request: &TokenRequest,
    realm: String,
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> AuthError {
    let message = refusal_message(body);
    let refused = matches!(status.as_u16(), 400 | 401 | 403);
    match (refused, request.credential.is_anonymous()) {
        (true, false) => AuthError::WrongCredentials { host: realm, message },
        (true, true) => AuthError::NoCredentials { host: realm, message },
        (false, _) => AuthError::TokenServer { realm, status, message, retry_after },
    }
}

/// Token servers answer in the registry's form, in OAuth's, or in one of their own.
fn refusal_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Words {
        details: Option<String>,
        message: Option<String>,
        error_description: Option<String>,
        error: Option<String>,
    }
    if let Some(detail) = parse_details(body).first() {
        return detail.to_string();
    }
    let words = serde_json::from_slice::<Words>(body).ok();
    let text = words.and_then(|w| w.details.or(w.message).or(w.error_description).or(w.error));
    printable(&text.unwrap_or_default(), 300)
}
