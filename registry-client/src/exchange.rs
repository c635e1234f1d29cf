//! One request to one registry, with everything around it: the way to the host, authentication,
//! redirects, the budget, retries, warnings.

mod call;
mod hosts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::{StreamExt, pin_mut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::auth::{AuthError, Ready, ScopeSet, Sent, TokenPurpose, TokenRequest, parse_challenges};
use crate::budget::{BudgetKey, Budgets, Quota};
use crate::config::ClientConfig;
use crate::credentials::Credential;
use crate::error::{ConnectionFailure, ErrorAnswer, Problem, parse_details, printable};
use crate::host::{self, Verification, authority, same_origin};
use crate::limits::{
    CREDENTIALS_MAX, ERROR_BODY_BYTES_MAX, REDIRECTS_MAX, TOKEN_BODY_BYTES_MAX, WARNING_CHARS_MAX,
    WARNINGS_MAX,
};
use crate::redact::{self, Secret};
use crate::retry::{self, Next};
use crate::transport::{
    HttpBody, HttpRequest, HttpResponse, HttpTransport, IncomingStream, Transport,
};

pub(crate) use call::{Answer, Call, CallBody, Reading};
pub(crate) use hosts::{Endpoint, Hosts, Need};

/// What all requests of one client share.
pub(crate) struct Exchange {
    pub(crate) config: ClientConfig,
    transport: Arc<dyn Transport>,
    budgets: Budgets,
    pub(crate) hosts: Hosts,
    warnings: Mutex<Vec<String>>,
    credentials: tokio::sync::Mutex<HashMap<(String, String), Credential>>,
}

impl Exchange {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, Problem> {
        let transport: Arc<dyn Transport> = match &config.transport {
            Some(transport) => transport.clone(),
            None => {
                let transport = HttpTransport::new(
                    config.hosts.clone(),
                    config.default_host.clone(),
                    config.user_agent.clone(),
                );
                transport.check()?;
                Arc::new(transport)
            }
        };
        let budgets = Budgets::new(config.budget.clone(), config.ledger.clone());
        Ok(Self {
            config,
            transport,
            budgets,
            hosts: Hosts::default(),
            warnings: Mutex::default(),
            credentials: tokio::sync::Mutex::default(),
        })
    }

    /// The warnings that registries sent and nobody has taken yet, each once.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a call, retrying what may pass as the policy says.
    pub(crate) async fn call(&self, endpoint: &Endpoint, call: &Call) -> Result<Answer, Problem> {
        let mut tries = 1;
        loop {
            let problem = match self.attempt(endpoint, call).await {
                Ok(answer) => return Ok(answer),
                Err(problem) => problem,
            };
            if !call.retries {
                return Err(problem);
            }
            let key = self.budget_key(endpoint, call).await?;
            let wait = self.wait_after(&key, problem, tries)?;
            self.config.clock.sleep(wait).await;
            tries += 1;
        }
    }

    /// The wait before the next try, or the problem where there is none. A wait that the host
    /// asked for holds for everything else that goes there.
    pub(crate) fn wait_after(
        &self,
        key: &BudgetKey,
        problem: Problem,
        tries: u32,
    ) -> Result<Duration, Problem> {
        match retry::next(&self.config.retry, &problem, tries, retry::random()) {
            Next::GiveUp => Err(problem),
            Next::TooLong(wait) => {
                self.budgets.hold(key, wait, &*self.config.clock);
                Err(Problem::RateLimited { wait })
            }
            Next::Wait(wait) => {
                tracing::debug!(host = %key.host, %problem, ?wait, "trying again");
                if retry::holds_all(&problem) {
                    self.budgets.hold(key, wait, &*self.config.clock);
                }
                Ok(wait)
            }
        }
    }

    /// Makes a call once, within the endpoint's deadline where it has one.
    pub(crate) async fn attempt(
        &self,
        endpoint: &Endpoint,
        call: &Call,
    ) -> Result<Answer, Problem> {
        let work = self.attempt_unbounded(endpoint, call);
        let Some(deadline) = endpoint.deadline else { return work.await };
        let alarm = self.config.clock.overdue(deadline);
        pin_mut!(work);
        match select(work, alarm).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(Problem::Connection {
                failure: ConnectionFailure::Timeout { host: endpoint.key.clone() },
            }),
        }
    }

    async fn attempt_unbounded(&self, endpoint: &Endpoint, call: &Call) -> Result<Answer, Problem> {
        let credential = self.credential(endpoint, call).await?;
        let key = key_of(endpoint, &credential);
        let clock = &*self.config.clock;
        let wait_max = self.config.retry.retry_after_max;
        let permit = self.budgets.admit(&key, call.lane, call.priority, wait_max, clock).await?;
        let (response, url) = self.authenticated(endpoint, call, credential).await?;
        self.budgets.note(&key, &response.headers);
        if !call.accepts.contains(&response.status.as_u16()) {
            return Err(status_problem(&call.method, &url, response).await);
        }
        let (bytes, stream) = match call.reading {
            Reading::Nothing => (Bytes::new(), None),
            Reading::Document { what, bytes_max } => (
                read_bounded(what, bytes_max, response.headers.get(CONTENT_LENGTH), response.body)
                    .await?,
                None,
            ),
            Reading::Stream => (Bytes::new(), Some(response.body)),
        };
        Ok(Answer {
            status: response.status,
            headers: response.headers,
            url,
            bytes,
            stream,
            permit,
        })
    }

    /// Climbs the ladder: the request, and after a 401 one more.
    async fn authenticated(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        credential: Credential,
    ) -> Result<(HttpResponse, Url), Problem> {
        let wanted = &call.scopes;
        let authorization = self.authorize(endpoint, wanted, &credential).await?;
        let (response, url) = self.follow(endpoint, call, authorization.as_ref()).await?;
        // A redirect's target is another party: what it asks for is not ours to give.
        if response.status != StatusCode::UNAUTHORIZED || !same_origin(&url, &endpoint.base) {
            return Ok((response, url));
        }
        let sent = Sent { authorization: authorization.as_ref(), url: &url };
        let wanted = self.learn(endpoint, &response.headers, &sent, wanted, &credential).await?;
        let authorization = self.authorize(endpoint, &wanted, &credential).await?;
        let (response, url) = self.follow(endpoint, call, authorization.as_ref()).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok((response, url));
        }
        let message = error_words(response).await;
        let sent = Sent { authorization: authorization.as_ref(), url: &url };
        let state = self.hosts.state(&endpoint.key);
        let error = state.auth.lock().await.refused(&sent, &credential, message);
        Err(error.into())
    }

    async fn learn(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        sent: &Sent<'_>,
        wanted: &ScopeSet,
        credential: &Credential,
    ) -> Result<ScopeSet, Problem> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        let challenges = parse_challenges(texts);
        let state = self.hosts.state(&endpoint.key);
        let mut auth = state.auth.lock().await;
        Ok(auth.challenged(&challenges, sent, wanted, credential)?)
    }

    /// The credentials for a call. The keychain is asked once for each repository while a client
    /// lives: helpers are programs, and some ask their user.
    async fn credential(&self, endpoint: &Endpoint, call: &Call) -> Result<Credential, Problem> {
        if let Some(credential) = &call.credential {
            return Ok(credential.clone());
        }
        let key = (endpoint.registry.clone(), call.repository.clone());
        let mut known = self.credentials.lock().await;
        if let Some(credential) = known.get(&key) {
            return Ok(credential.clone());
        }
        let found = self.config.keychain.credential(&key.0, &key.1).await;
        let credential = found.map_err(AuthError::from)?;
        if known.len() >= CREDENTIALS_MAX {
            known.clear();
        }
        known.insert(key, credential.clone());
        Ok(credential)
    }

    /// Whose budget a call is on.
    pub(crate) async fn budget_key(
        &self,
        endpoint: &Endpoint,
        call: &Call,
    ) -> Result<BudgetKey, Problem> {
        Ok(key_of(endpoint, &self.credential(endpoint, call).await?))
    }

    /// What is known of the quotas at a registry, by account.
    pub(crate) fn quotas(&self, registry: &str) -> Vec<(Option<String>, Quota)> {
        self.budgets.quotas(host::api_host(registry))
    }

    /// The header for a request, after getting a token where one is needed. The lock is held
    /// over the token request, so that a hundred requests at once get one token.
    async fn authorize(
        &self,
        endpoint: &Endpoint,
        wanted: &ScopeSet,
        credential: &Credential,
    ) -> Result<Option<Secret>, Problem> {
        let state = self.hosts.state(&endpoint.key);
        let mut auth = state.auth.lock().await;
        match auth.prepare(wanted, credential, self.config.clock.now()) {
            Ready::Send(header) => Ok(header),
            Ready::NeedToken(request) => {
                let (status, wait, body) = self.token_call(endpoint, &request).await?;
                auth.answered(&request, status, wait, &body, self.config.clock.now())?;
                match auth.prepare(wanted, credential, self.config.clock.now()) {
                    Ready::Send(header) => Ok(header),
                    Ready::NeedToken(_) => Err(Problem::Protocol {
                        reason: "the token server's tokens are never valid".to_owned(),
                    }),
                }
            }
        }
    }

    /// Gets a token with a refresh token beside it, for a login. Nothing for other schemes.
    pub(crate) async fn refresh_token(
        &self,
        endpoint: &Endpoint,
        credential: &Credential,
    ) -> Result<Option<Secret>, Problem> {
        let state = self.hosts.state(&endpoint.key);
        let mut auth = state.auth.lock().await;
        let never_cached = ScopeSet::parse("wherry:login:none");
        let Ready::NeedToken(request) =
            auth.prepare(&never_cached, credential, self.config.clock.now())
        else {
            return Ok(None);
        };
        let request =
            TokenRequest { purpose: TokenPurpose::Login, scopes: ScopeSet::none(), ..*request };
        let (status, wait, body) = self.token_call(endpoint, &request).await?;
        Ok(auth.answered(&request, status, wait, &body, self.config.clock.now())?)
    }

    async fn token_call(
        &self,
        endpoint: &Endpoint,
        request: &TokenRequest,
    ) -> Result<(StatusCode, Option<Duration>, Bytes), Problem> {
        let mut headers = HeaderMap::new();
        let (method, url, body) = match request.to_call() {
            crate::auth::TokenCall::Get { url, authorization } => {
                if let Some(value) = authorization {
                    headers.insert(AUTHORIZATION, secret_header(&value)?);
                }
                (Method::GET, url, HttpBody::Empty)
            }
            crate::auth::TokenCall::PostForm { url, form } => {
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(CONTENT_TYPE, form_type);
                (Method::POST, url, HttpBody::Bytes(Bytes::from(form.expose().to_owned())))
            }
        };
        let (settings_of, verification) = self.route(endpoint, &url);
        let outgoing = HttpRequest { method, url, headers, body, settings_of, verification };
        // A token server's redirect is not followed: it would carry credentials on.
        let response = connection(self.transport.send(outgoing).await)?;
        let wait = retry::retry_after(&response.headers);
        let length = response.headers.get(CONTENT_LENGTH);
        let body =
            read_bounded("token answer", TOKEN_BODY_BYTES_MAX, length, response.body).await?;
        Ok((response.status, wait, body))
    }

    /// Sends and follows redirects, leaving credentials behind where the host changes (DST-7).
    async fn follow(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        authorization: Option<&Secret>,
    ) -> Result<(HttpResponse, Url), Problem> {
        let mut url = call.url(endpoint)?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(endpoint, call, &url, authorization).await?;
            self.note_warnings(&response.headers);
            match redirect_target(&call.method, &url, &response)? {
                Some(next) => url = next,
                None => return Ok((response, url)),
            }
        }
        Err(Problem::Protocol { reason: format!("more than {REDIRECTS_MAX} redirects") })
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        url: &Url,
        authorization: Option<&Secret>,
    ) -> Result<HttpResponse, Problem> {
        let mut headers = call.headers.clone();
        if let Some(value) = authorization.filter(|_| same_origin(url, &endpoint.base)) {
            headers.insert(AUTHORIZATION, secret_header(value)?);
        }
        let (settings_of, verification) = self.route(endpoint, url);
        let request = HttpRequest {
            method: call.method.clone(),
            url: url.clone(),
            headers,
            body: call.body.open(),
            settings_of,
            verification,
        };
        let sent = self.transport.send(request).await;
        // Our own failure to read shows as a broken request: tell the cause.
        if let Some(problem) = call.body.take_failure() {
            return Err(problem);
        }
        connection(sent)
    }

    /// Whose settings hold for a URL, and how its certificate is looked at.
    fn route(&self, endpoint: &Endpoint, url: &Url) -> (String, Verification) {
        if url.host_str() == endpoint.base.host_str() {
            return (endpoint.registry.clone(), endpoint.verification);
        }
        let name = authority(url);
        let config = self.config.host(&name);
        let own_ca = !config.tls.extra_roots_pem.is_empty();
        let ways = host::candidates(&name, config.scheme, config.insecure, own_ca);
        let way = ways.into_iter().find(|way| way.scheme == url.scheme());
        (name, way.map_or(Verification::Full, |way| way.verification))
    }

    fn note_warnings(&self, headers: &HeaderMap) {
        let texts = headers.get_all("warning").iter().filter_map(|value| value.to_str().ok());
        for warning in texts.filter_map(parse_warning) {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            if warnings.len() < WARNINGS_MAX && !warnings.contains(&warning) {
                tracing::warn!(%warning, "registry");
                warnings.push(warning);
            }
        }
    }
}

fn key_of(endpoint: &Endpoint, credential: &Credential) -> BudgetKey {
    let account = match credential {
        Credential::Password { username, .. } => Some(username.clone()),
        Credential::IdentityToken { username, .. } => username.clone(),
        Credential::Anonymous | Credential::RegistryToken(_) => None,
    };
    BudgetKey { host: endpoint.key.clone(), account }
}

/// `299 - "text"` (distribution-spec, "Warnings"); other codes and agents are not for users.
fn parse_warning(header: &str) -> Option<String> {
    let text = header.trim().strip_prefix("299 - \"")?.strip_suffix('"')?;
    Some(printable(&text.replace("\\\"", "\"").replace("\\\\", "\\"), WARNING_CHARS_MAX))
}

fn connection(sent: Result<HttpResponse, ConnectionFailure>) -> Result<HttpResponse, Problem> {
    sent.map_err(|failure| Problem::Connection { failure })
}

fn secret_header(value: &Secret) -> Result<HeaderValue, Problem> {
    let mut header = HeaderValue::from_str(value.expose()).map_err(|_| Problem::Setting {
        what: "credentials",
        reason: "they hold characters that cannot be sent".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// Where an answer sends us, if anywhere. Bodies are repeated only to the same host.
fn redirect_target(
    method: &Method,
    url: &Url,
    response: &HttpResponse,
) -> Result<Option<Url>, Problem> {
    if !matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers.get(LOCATION) else { return Ok(None) };
    let next = resolve_location(url, location)?;
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let repeats = matches!(response.status.as_u16(), 307 | 308) && same_origin(url, &next);
    if !reads && !repeats {
        return Err(Problem::Protocol {
            reason: format!("{method} is redirected to {}", redact::url(&next)),
        });
    }
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(Problem::Protocol {
            reason: format!("redirect from HTTPS to {}", redact::url(&next)),
        });
    }
    Ok(Some(next))
}

/// Reads a `Location`, relative or absolute. A registry behind a TLS proxy may call itself
/// `http`: on the same host the scheme in use is kept.
pub(crate) fn resolve_location(base: &Url, location: &HeaderValue) -> Result<Url, Problem> {
    let unusable = || Problem::Protocol { reason: "unusable Location".to_owned() };
    let text = location.to_str().map_err(|_| unusable())?;
    let mut next = base.join(text).map_err(|_| unusable())?;
    let same_host = next.host_str() == base.host_str();
    let port_follows = next.port().is_none() || next.port() == base.port();
    if base.scheme() == "https" && next.scheme() == "http" && same_host && port_follows {
        next.set_scheme("https").map_err(|()| unusable())?;
    }
    match next.scheme() {
        "http" | "https" => Ok(next),
        _ => Err(unusable()),
    }
}

async fn error_words(response: HttpResponse) -> String {
    let body = read_prefix(response.body).await;
    parse_details(&body).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

async fn status_problem(method: &Method, url: &Url, response: HttpResponse) -> Problem {
    let retry_after = retry::retry_after(&response.headers);
    let status = response.status;
    let body = read_prefix(response.body).await;
    Problem::Status {
        answer: Box::new(ErrorAnswer {
            status,
            details: parse_details(&body),
            request: format!("{method} {}", redact::url(url)),
            retry_after,
        }),
    }
}

/// Reads the beginning of an error body; what fails or is over the limit is left out.
async fn read_prefix(mut body: IncomingStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = body.next().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > ERROR_BODY_BYTES_MAX {
            break;
        }
    }
    bytes
}

async fn read_bounded(
    what: &'static str,
    bytes_max: u64,
    length: Option<&HeaderValue>,
    mut body: IncomingStream,
) -> Result<Bytes, Problem> {
    let promised = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if promised.is_some_and(|promised| promised > bytes_max) {
        return Err(Problem::TooLarge { what, bytes_max });
    }
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|failure| Problem::Connection { failure })?;
        if (bytes.len() + piece.len()) as u64 > bytes_max {
            return Err(Problem::TooLarge { what, bytes_max });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: DST-26
    #[test]
    fn only_warnings_for_users_are_kept() {
        assert_eq!(parse_warning(r#"299 - "old \"tag\"""#).as_deref(), Some("old \"tag\""));
        for other in [r#"199 - "x""#, "299 host \"x\"", "x", ""] {
            assert_eq!(parse_warning(other), None, "{other}");
        }
    }

    /// Covers: DST-8
    #[test]
    fn locations_are_relative_or_absolute_and_keep_https() {
        let base: Url = "https://h/v2/a/blobs/uploads/".parse().expect("valid");
        let table = [
            ("/v2/a/blobs/uploads/1?_state=x", "https://h/v2/a/blobs/uploads/1?_state=x"),
            ("1", "https://h/v2/a/blobs/uploads/1"),
            ("https://other/u/1", "https://other/u/1"),
            ("http://h/v2/u", "https://h/v2/u"),
            ("http://h:8080/v2/u", "http://h:8080/v2/u"),
        ];
        for (location, expected) in table {
            let value = HeaderValue::from_str(location).expect("valid");
            assert_eq!(resolve_location(&base, &value).expect("usable").as_str(), expected);
        }
        let file = HeaderValue::from_static("file:///etc/passwd");
        assert!(resolve_location(&base, &file).is_err());
    }
}
