//! One call as data, and its answer.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::Endpoint;
use crate::auth::ScopeSet;
use crate::budget::{Lane, Permit, Priority};
use crate::content::Outgoing;
use crate::credentials::Credential;
use crate::error::Problem;
use crate::transport::{HttpBody, IncomingStream};

/// A call that can be made any number of times, to any endpoint.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: CallBody,
    pub(crate) reading: Reading,
    pub(crate) accepts: &'static [u16],
    pub(crate) repository: String,
    pub(crate) scopes: ScopeSet,
    pub(crate) credential: Option<Credential>,
    pub(crate) lane: Lane,
    pub(crate) priority: Priority,
    pub(crate) retries: bool,
}

/// Where a call goes.
pub(crate) enum Target {
    /// A path under the endpoint's root, without a leading slash.
    Path(String),
    /// A URL that the registry gave. Credentials follow only to the endpoint itself.
    Url(Url),
}

/// What a call sends.
pub(crate) enum CallBody {
    Empty,
    Bytes(Bytes),
    Content { content: Outgoing, range: Range<u64> },
}

/// What is read of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Reading {
    Nothing,
    Document { what: &'static str, bytes_max: u64 },
    Stream,
}

/// An answer of a status that the call accepts.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Url,
    pub(crate) bytes: Bytes,
    pub(crate) stream: Option<IncomingStream>,
    /// Held while the body is read.
    pub(crate) permit: Permit,
}

impl Call {
    /// A call to `path` about a repository, of the lane for documents, that retries.
    pub(crate) fn new(method: Method, path: String, repository: &str, scopes: ScopeSet) -> Self {
        Self {
            method,
            target: Target::Path(path),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: CallBody::Empty,
            reading: Reading::Nothing,
            accepts: &[200],
            repository: repository.to_owned(),
            scopes,
            credential: None,
            lane: Lane::Document,
            priority: Priority::Interactive,
            retries: true,
        }
    }

    pub(crate) fn at_url(mut self, url: Url) -> Self {
        self.target = Target::Url(url);
        self
    }

    pub(crate) fn accepts(mut self, statuses: &'static [u16]) -> Self {
        self.accepts = statuses;
        self
    }

    pub(crate) fn reads(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    pub(crate) fn on(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    pub(crate) fn with_query(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Result<Self, Problem> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Problem::BadRequest { reason: format!("{name} cannot hold {value:?}") })?;
        self.headers.append(name, value);
        Ok(self)
    }

    pub(crate) fn sends(mut self, body: CallBody) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn once(mut self) -> Self {
        self.retries = false;
        self
    }

    /// The URL at an endpoint. Parameters of a URL that the registry gave are kept as they are.
    pub(super) fn url(&self, endpoint: &Endpoint) -> Result<Url, Problem> {
        let mut url = match &self.target {
            Target::Url(url) => url.clone(),
            Target::Path(path) => endpoint.base.join(endpoint.path(path)).map_err(|error| {
                Problem::BadRequest { reason: format!("{path} is no path: {error}") }
            })?,
        };
        let mut added = self.query.iter().map(|(k, v)| (*k, v.as_str())).collect::<Vec<_>>();
        if let Some(namespace) = &endpoint.namespace {
            added.push(("ns", namespace));
        }
        if !added.is_empty() {
            let new = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(added)
                .finish()
                // Legal in a query, and some registries compare texts.
                .replace("%3A", ":")
                .replace("%2F", "/");
            let query = match url.query().filter(|old| !old.is_empty()) {
                Some(old) => format!("{old}&{new}"),
                None => new,
            };
            url.set_query(Some(&query));
        }
        Ok(url)
    }
}

impl CallBody {
    pub(super) fn open(&self) -> HttpBody {
        match self {
            Self::Empty => HttpBody::Empty,
            Self::Bytes(bytes) => HttpBody::Bytes(bytes.clone()),
            Self::Content { content, range } => HttpBody::Stream {
                length: range.end - range.start,
                stream: content.stream(range.clone()),
            },
        }
    }

    pub(super) fn take_failure(&self) -> Option<Problem> {
        match self {
            Self::Content { content, .. } => content.take_failure(),
            _ => None,
        }
    }
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
