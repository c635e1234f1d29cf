//! The port that carries one HTTP request to one host, and its implementation over sockets.

mod http_transport;

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::error::ConnectionFailure;
use crate::host::Verification;

pub(crate) use http_transport::HttpTransport;
pub use http_transport::install_crypto_provider;

/// Bytes on their way out. An error of ours ends the request.
pub type OutgoingStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// Bytes on their way in.
pub type IncomingStream = Pin<Box<dyn Stream<Item = Result<Bytes, ConnectionFailure>> + Send>>;

/// A request. Redirects are not followed by a transport.
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// All headers but `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: HttpBody,
    /// Whose settings hold: the registry's name, or the host of a redirect.
    pub settings_of: String,
    /// How the certificate is looked at.
    pub(crate) verification: Verification,
}

/// The body of a request.
pub enum HttpBody {
    /// None.
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// Streamed, with its length known.
    Stream {
        /// The length.
        length: u64,
        /// The bytes.
        stream: OutgoingStream,
    },
}

/// A response whose body is still coming.
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: IncomingStream,
}

/// Carries requests.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and waits for the head of its response.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectionFailure>;
}
