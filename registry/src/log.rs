//! The access log: one line per request, to tracing and to a writer.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::request::Parts;
use http::{Method, StatusCode};

use crate::clock;
use crate::config::AccessLogTarget;
use crate::error::Error;
use crate::handler::{Peer, user_agent};

/// Where lines go, besides tracing.
pub(crate) struct AccessLog(Option<Mutex<Box<dyn Write + Send>>>);

impl AccessLog {
    /// Opens the configured target; a writer that the caller brings wins.
    pub(crate) fn open(
        target: &AccessLogTarget,
        writer: Option<Box<dyn Write + Send>>,
    ) -> Result<Self, Error> {
        let writer: Option<Box<dyn Write + Send>> = match (writer, target) {
            (Some(writer), _) => Some(writer),
            (None, AccessLogTarget::Tracing) => None,
            (None, AccessLogTarget::Stderr) => Some(Box::new(io::stderr())),
            (None, AccessLogTarget::File(path)) => {
                let file = File::options().append(true).create(true).open(path);
                Some(Box::new(file.map_err(|source| Error::Read {
                    what: "the access log",
                    path: path.clone(),
                    source,
                })?))
            }
        };
        Ok(Self(writer.map(Mutex::new)))
    }

    /// Writes the line of an answered request.
    pub(crate) fn write(&self, entry: &Entry, status: StatusCode, sent: u64, took: Duration) {
        let line = entry.line(&clock::timestamp(), status, sent, took);
        tracing::info!(target: "registry::access", "{line}");
        if let Some(writer) = &self.0 {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let written = writeln!(writer, "{line}").and_then(|()| writer.flush());
            if let Err(error) = written {
                tracing::warn!(%error, "an access log line was lost");
            }
        }
    }
}

/// What is known of a request before it is answered. The query is left out: clients have been
/// seen to put credentials there.
pub(crate) struct Entry {
    peer: SocketAddr,
    user: Option<String>,
    method: Method,
    path: String,
    user_agent: String,
}

impl Entry {
    /// The entry of a request.
    pub(crate) fn of(head: &Parts, peer: &Peer) -> Self {
        Self {
            peer: peer.addr,
            user: None,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            user_agent: user_agent(head).to_owned(),
        }
    }

    /// Names who asked.
    pub(crate) fn set_user(&mut self, user: Option<&str>) {
        self.user = user.map(str::to_owned);
    }

    // Whatever a client chose is printed escaped: a line stays one line.
    fn line(&self, at: &str, status: StatusCode, sent: u64, took: Duration) -> String {
        let Self { peer, user, method, path, user_agent } = self;
        let user = user.as_deref().map_or("-".to_owned(), |user| user.escape_debug().to_string());
        let (status, took) = (status.as_u16(), took.as_micros());
        format!("{at} {peer} {user} {method} {path:?} {status} {sent} {took}us {user_agent:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chose_cannot_break_a_line() {
        let entry = Entry {
            peer: SocketAddr::from(([127, 0, 0, 1], 4711)),
            user: Some("a\nb".to_owned()),
            method: Method::GET,
            path: "/v2/\u{1b}[31m\"".to_owned(),
            user_agent: "x\r\ny".to_owned(),
        };
        let line = entry.line("now", StatusCode::OK, 7, Duration::from_millis(2));
        assert_eq!(
            line,
            "now 127.0.0.1:4711 a\\nb GET \"/v2/\\u{1b}[31m\\\"\" 200 7 2000us \"x\\r\\ny\""
        );
    }
}
