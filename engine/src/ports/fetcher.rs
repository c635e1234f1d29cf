//! Files of web servers and git repositories, for ADD and for build contexts.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use builder::ports::{Credentials, Download, Fetched, Fetcher, GitSource, Validators};
use builder::{Cancel, PortError};
use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{NoProxy, Proxy, StatusCode, Url};
use tokio::runtime::Handle;

use super::git::Git;
use crate::Engine;
use crate::config::text_variable;
use crate::error::{Error, Result};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may say nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Most redirects followed for one file: servers that send each other round in circles.
const REDIRECTS_MAX: usize = 10;
/// The longest `ETag` and `Last-Modified` that are kept.
const VALIDATOR_BYTES: usize = 4 << 10;

/// Remote sources, with the secrets that a build was given for them.
pub(crate) struct Remote<'a> {
    engine: &'a Engine,
    credentials: &'a Credentials,
    git: Git<'a>,
}

impl<'a> Remote<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        credentials: &'a Credentials,
        cancel: &'a Cancel,
    ) -> Self {
        Self { engine, credentials, git: Git::new(credentials, cancel) }
    }

    /// The head of the answer to a GET.
    fn get(&self, url: &Url, headers: HeaderMap) -> Result<reqwest::Response, PortError> {
        let client = client(url)?;
        // The timers of a request belong to the runtime: it is made inside.
        let sent = self
            .engine
            .transport()
            .block_on(async { client.get(url.clone()).headers(headers).send().await })?;
        Ok(sent.map_err(unnamed)?)
    }

    /// `HTTP_AUTH_HEADER_host` and `HTTP_AUTH_TOKEN_host` among the secrets.
    fn authorization(&self, url: &Url) -> Result<Option<HeaderValue>, PortError> {
        let Some(host) = url.host_str() else { return Ok(None) };
        let secret = |kind: &str| self.credentials.secrets.get(&format!("HTTP_AUTH_{kind}_{host}"));
        let value = match (secret("HEADER"), secret("TOKEN")) {
            (Some(header), _) => header.expose().trim_ascii().to_vec(),
            (None, Some(token)) => [b"Bearer ", token.expose().trim_ascii()].concat(),
            (None, None) => return Ok(None),
        };
        let mut value = HeaderValue::from_bytes(&value)
            .map_err(|_| format!("the secret for {host} cannot be sent in a header"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Fetcher for Remote<'_> {
    fn open(&self, url: &str, known: Option<&Validators>) -> Result<Fetched, PortError> {
        let url = Url::parse(url).map_err(|e| format!("not a URL: {e}"))?;
        let mut headers = HeaderMap::new();
        if let Some(value) = self.authorization(&url)? {
            headers.insert(AUTHORIZATION, value);
        }
        // A server that knows its tags is asked by them only: times are coarse.
        let known = known.cloned().unwrap_or_default();
        let asked = match (known.etag, known.last_modified) {
            (Some(etag), _) => Some((IF_NONE_MATCH, etag)),
            (None, Some(time)) => Some((IF_MODIFIED_SINCE, time)),
            (None, None) => None,
        };
        if let Some((name, value)) = asked
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            headers.insert(name, value);
        }
        let response = self.get(&url, headers)?;
        match response.status() {
            StatusCode::NOT_MODIFIED => Ok(Fetched::Unchanged),
            status if status.is_success() => {
                let handle = self.engine.transport().runtime()?.handle().clone();
                Ok(Fetched::File(download(response, handle)))
            }
            status => Err(format!("the server answers {status}").into()),
        }
    }

    fn commit(&self, source: &GitSource<'_>) -> Result<String, PortError> {
        self.git.commit(source)
    }

    fn checkout(&self, source: &GitSource<'_>, commit: &str, into: &Path) -> Result<(), PortError> {
        self.git.checkout(source, commit, into)
    }
}

fn download(response: reqwest::Response, handle: Handle) -> Download {
    let text = |name| {
        let value: Option<&HeaderValue> = response.headers().get(name);
        value
            .filter(|v| v.len() <= VALIDATOR_BYTES)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };
    let validators = Validators { etag: text(ETAG), last_modified: text(LAST_MODIFIED) };
    let last_modified = validators.last_modified.as_deref().and_then(http_date);
    Download {
        content: Box::new(Body { handle, response, piece: Bytes::new() }),
        last_modified,
        validators,
    }
}

/// RFC 9110 §5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(time.timestamp().as_second())
}

/// The content of an answer, read on a thread of its own.
struct Body {
    handle: Handle,
    response: reqwest::Response,
    piece: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let next = self.handle.block_on(self.response.chunk());
            match next.map_err(|e| io::Error::other(unnamed(e)))? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

fn client(url: &Url) -> Result<reqwest::Client> {
    registry_client::install_crypto_provider();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("wherry/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX));
    let either = |upper: &str, lower: &str| text_variable(upper).or_else(|| text_variable(lower));
    let except = either("NO_PROXY", "no_proxy").and_then(|list| NoProxy::from_string(&list));
    let http = either("HTTP_PROXY", "http_proxy").map(Proxy::http);
    let https = either("HTTPS_PROXY", "https_proxy").map(Proxy::https);
    for proxy in [http, https].into_iter().flatten() {
        // The text may hold a password, so the error does not repeat it.
        let proxy = proxy.map_err(|_| Error::Configuration {
            file: "HTTP_PROXY, HTTPS_PROXY".to_owned(),
            reason: "not a URL such as http://proxy.example.com:3128".to_owned(),
        })?;
        builder = builder.proxy(proxy.no_proxy(except.clone()));
    }
    builder.build().map_err(|error| {
        Error::io(
            "prepare to get",
            url.host_str().unwrap_or_default(),
            io::Error::other(unnamed(error)),
        )
    })
}

/// The innermost reason, without the address, which may hold a password.
fn unnamed(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_servers_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("yesterday"), None);
    }
}
