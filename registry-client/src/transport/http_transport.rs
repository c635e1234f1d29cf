//! HTTP/1.1 and HTTP/2 over TCP and TLS: reqwest with rustls, one connection pool per host.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::header::CONTENT_LENGTH;
use reqwest::{Certificate, Identity, NoProxy, Proxy, redirect};

use super::{HttpBody, HttpRequest, HttpResponse, IncomingStream, Transport};
use crate::config::{HostConfig, ProxyConfig, TlsConfig, settings_of};
use crate::error::{ConnectionFailure, Problem};
use crate::host::{Verification, authority};

/// Makes aws-lc-rs the process's provider of cryptography, unless there is one already. Safe to
/// call from any thread, any number of times.
pub fn install_crypto_provider() {
    // An error means that another provider was first, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The transport over sockets.
pub(crate) struct HttpTransport {
    hosts: BTreeMap<String, HostConfig>,
    default_host: HostConfig,
    user_agent: String,
    pools: Mutex<HashMap<PoolKey, reqwest::Client>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    origin: String,
    settings_of: String,
    verified: bool,
}

impl HttpTransport {
    pub(crate) fn new(
        hosts: BTreeMap<String, HostConfig>,
        default_host: HostConfig,
        user_agent: String,
    ) -> Self {
        Self { hosts, default_host, user_agent, pools: Mutex::default() }
    }

    /// Checks certificates and keys of all hosts, so that a bad file is an error at the start.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        for config in self.hosts.values().chain([&self.default_host]) {
            roots(&config.tls)?;
            identity(&config.tls)?;
            config.proxy.as_ref().map(proxy).transpose()?;
        }
        Ok(())
    }

    fn pool(&self, request: &HttpRequest) -> Result<reqwest::Client, ConnectionFailure> {
        let key = PoolKey {
            origin: format!("{}://{}", request.url.scheme(), authority(&request.url)),
            settings_of: request.settings_of.clone(),
            verified: request.verification == Verification::Full,
        };
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        let config = settings_of(&self.hosts, &request.settings_of).unwrap_or(&self.default_host);
        let pool = self.build(config, request).map_err(|problem| ConnectionFailure::Invalid {
            host: authority(&request.url),
            reason: problem.to_string(),
        })?;
        pools.insert(key, pool.clone());
        Ok(pool)
    }

    fn build(
        &self,
        config: &HostConfig,
        request: &HttpRequest,
    ) -> Result<reqwest::Client, Problem> {
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.user_agent)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.idle_timeout)
            .tcp_nodelay(true)
            .no_proxy();
        let roots = roots(&config.tls)?;
        builder = match (request.url.scheme(), request.verification) {
            // No TLS, so the system's certificates need not be read, which takes a while.
            ("http", _) => builder.tls_certs_only([]),
            (_, Verification::Skipped) => builder.tls_danger_accept_invalid_certs(true),
            (_, Verification::Full) => builder.tls_certs_merge(roots),
        };
        if let Some(identity) = identity(&config.tls)? {
            builder = builder.identity(identity);
        }
        if let Some(settings) = &config.proxy {
            builder = builder.proxy(proxy(settings)?);
        }
        builder.build().map_err(|error| setting("client", &error))
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectionFailure> {
        let host = authority(&request.url);
        let pool = self.pool(&request)?;
        let mut outgoing = pool.request(request.method, request.url).headers(request.headers);
        outgoing = match request.body {
            HttpBody::Empty => outgoing,
            HttpBody::Bytes(bytes) => outgoing.body(bytes),
            HttpBody::Stream { length, stream } => {
                outgoing.header(CONTENT_LENGTH, length).body(reqwest::Body::wrap_stream(stream))
            }
        };
        let response = outgoing.send().await.map_err(|error| failure(&host, error))?;
        Ok(HttpResponse {
            status: response.status(),
            headers: response.headers().clone(),
            body: incoming(host, response),
        })
    }
}

fn incoming(host: String, response: reqwest::Response) -> IncomingStream {
    response
        .bytes_stream()
        .map_ok(|bytes: Bytes| bytes)
        .map_err(move |error| failure(&host, error))
        .boxed()
}

fn failure(host: &str, error: reqwest::Error) -> ConnectionFailure {
    let host = host.to_owned();
    let reason = innermost(&error);
    if error.is_timeout() && !error.is_connect() {
        return ConnectionFailure::Timeout { host };
    }
    if error.is_builder() {
        return ConnectionFailure::Invalid { host, reason };
    }
    if error.is_connect() {
        return match tls_error(&error) {
            Some(_) => ConnectionFailure::Tls { host, reason },
            None => ConnectionFailure::Connect { host, reason },
        };
    }
    // The words of HTTP/2's ENHANCE_YOUR_CALM (RFC 9113 section 7).
    if reason.contains("excessive load") {
        return ConnectionFailure::Overloaded { host };
    }
    // TLS 1.3 servers refuse a client's certificate only after the handshake.
    match tls_error(&error) {
        Some(rustls::Error::AlertReceived(_)) => ConnectionFailure::Tls { host, reason },
        _ => ConnectionFailure::Broken { host, reason },
    }
}

/// The deepest cause: the layers above it only repeat that a request failed.
fn innermost(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    match std::ptr::addr_eq(deepest, error as &dyn Error) {
        // The error itself prints its URL, which may hold secrets.
        true => "the request failed".to_owned(),
        false => deepest.to_string(),
    }
}

/// The error of TLS at the bottom, if it is one. An `io::Error` hides its inner error from the
/// chain of sources, and connectors wrap several of them.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
    inner
        .and_then(|inner| tls_error(inner as &(dyn Error + 'static)))
        .or_else(|| error.source().and_then(tls_error))
}

fn roots(tls: &TlsConfig) -> Result<Vec<Certificate>, Problem> {
    let mut roots = Vec::new();
    for pem in &tls.extra_roots_pem {
        let found = Certificate::from_pem_bundle(pem).map_err(|e| setting("CA certificate", &e))?;
        if found.is_empty() {
            return Err(Problem::Setting {
                what: "CA certificate",
                reason: "the file holds no PEM certificate".to_owned(),
            });
        }
        roots.extend(found);
    }
    Ok(roots)
}

fn identity(tls: &TlsConfig) -> Result<Option<Identity>, Problem> {
    let Some(identity) = &tls.client_identity else { return Ok(None) };
    let mut pem = identity.key_pem.expose().as_bytes().to_vec();
    pem.push(b'\n');
    pem.extend_from_slice(&identity.certificate_pem);
    Identity::from_pem(&pem).map(Some).map_err(|error| setting("client certificate", &error))
}

fn proxy(settings: &ProxyConfig) -> Result<Proxy, Problem> {
    let proxy = Proxy::all(settings.url.clone()).map_err(|error| setting("proxy", &error))?;
    Ok(proxy.no_proxy(settings.except.as_deref().and_then(NoProxy::from_string)))
}

fn setting(what: &'static str, error: &reqwest::Error) -> Problem {
    let reason = match error.source() {
        Some(source) => source.to_string(),
        None => "it cannot be used".to_owned(),
    };
    Problem::Setting { what, reason }
}
