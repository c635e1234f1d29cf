//! What can go wrong with a registry, as data: the act, its object, the situation.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use oci::{Digest, TransferError, TransferErrorKind, VerifyError};
use serde::Deserialize;

use crate::limits::{ERROR_DETAILS_MAX, ERROR_MESSAGE_CHARS_MAX};

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Asking a registry whether it is one, or whether credentials are good.
    Ping,
    /// Finding the digest behind a reference.
    Resolve,
    /// Reading a manifest.
    GetManifest,
    /// Writing a manifest.
    PutManifest,
    /// Asking whether a blob is there.
    StatBlob,
    /// Reading a blob.
    GetBlob,
    /// Writing a blob.
    PutBlob,
    /// Taking a blob over from another repository.
    MountBlob,
    /// Listing tags.
    ListTags,
    /// Listing the repositories of a registry.
    ListRepositories,
    /// Listing referrers.
    ListReferrers,
    /// Deleting a tag.
    DeleteTag,
    /// Deleting a manifest.
    DeleteManifest,
    /// Deleting a blob.
    DeleteBlob,
    /// Getting a token.
    Authenticate,
    /// Preparing the client.
    Configure,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ping => "contact registry",
            Self::Resolve => "resolve",
            Self::GetManifest => "get manifest",
            Self::PutManifest => "push manifest",
            Self::StatBlob => "look for blob",
            Self::GetBlob => "get blob",
            Self::PutBlob => "push blob",
            Self::MountBlob => "mount blob",
            Self::ListTags => "list tags of",
            Self::ListRepositories => "list repositories of",
            Self::ListReferrers => "list referrers of",
            Self::DeleteTag => "delete tag",
            Self::DeleteManifest => "delete manifest",
            Self::DeleteBlob => "delete blob",
            Self::Authenticate => "authenticate to",
            Self::Configure => "set up client for",
        })
    }
}

/// A failed act on a registry.
#[derive(Debug)]
pub struct RegistryError {
    act: Act,
    subject: String,
    problem: Box<Problem>,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.act, self.subject, self.problem)
    }
}

impl std::error::Error for RegistryError {
    // The problem is part of the message, so the chain goes on behind it.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problem.source()
    }
}

/// The situations an act on a registry can end in.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No connection, or it broke.
    #[error("{failure}")]
    Connection {
        /// What happened to it.
        failure: ConnectionFailure,
    },
    /// The registry answered with an error.
    #[error("{answer}")]
    Status {
        /// Its answer.
        answer: Box<ErrorAnswer>,
    },
    /// The registry asks to wait longer than this client waits.
    #[error("the registry asks to wait {} s before the next request (rate limit)", wait.as_secs())]
    RateLimited {
        /// How long.
        wait: Duration,
    },
    /// Background work leaves what remains of the quota to those who wait.
    #[error(
        "only {remaining} pulls of the registry's quota are left; they are kept for interactive use"
    )]
    QuotaFloor {
        /// Pulls left.
        remaining: u64,
        /// The window after which there are more.
        window: Option<Duration>,
    },
    /// Authentication failed before a request could be made.
    #[error(transparent)]
    Auth(#[from] crate::auth::AuthError),
    /// The content is not what its digest says.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The registry says one digest and sends the content of another.
    #[error("digest mismatch: {expected} expected, the content is {found}")]
    DigestMismatch {
        /// The digest asked for or promised.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A document over its limit.
    #[error("{what} is over the limit of {bytes_max} bytes")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// Its limit.
        bytes_max: u64,
    },
    /// An answer that the specification does not allow.
    #[error("unexpected answer: {reason}")]
    Protocol {
        /// What is wrong with it.
        reason: String,
    },
    /// The `Content-Type` and the document's own `mediaType` differ.
    #[error("the registry serves this manifest as {header}, but it calls itself {body}")]
    MediaTypeMismatch {
        /// The header's type.
        header: String,
        /// The document's type.
        body: String,
    },
    /// A manifest of Docker's schema 1.
    #[error(
        "this is a Docker schema 1 manifest, a format without a verifiable config that was removed \
         from Docker in 2025; pull it with an old tool and push it again as schema 2 or OCI"
    )]
    Schema1,
    /// The index has nothing for a platform.
    #[error("no matching manifest for {wanted} in the index")]
    NoPlatform {
        /// The platform.
        wanted: String,
    },
    /// The reference names nothing that can be asked for.
    #[error("{reason}")]
    BadRequest {
        /// Why not.
        reason: String,
    },
    /// Our own side could not read what it was to send.
    #[error("cannot read what is to be pushed: {0}")]
    Content(#[source] std::io::Error),
    /// Our own side failed to read or write in a graph copy.
    #[error(transparent)]
    Transfer(TransferError),
    /// The connection broke and what is to be sent cannot be read again.
    #[error("the upload broke at byte {offset} and its source cannot be read again from there")]
    NotRewindable {
        /// The offset the registry confirmed.
        offset: u64,
    },
    /// The registry does not keep an upload over a broken connection.
    #[error("the registry lost the upload {times} times after the connection broke")]
    UploadLost {
        /// How often.
        times: u32,
    },
    /// Another writer kept changing the same list.
    #[error("the referrers list {tag} was changed by others {tries} times in a row")]
    Contended {
        /// The fallback tag.
        tag: String,
        /// Attempts made.
        tries: u32,
    },
    /// Settings that cannot be used.
    #[error("{what}: {reason}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// Why it cannot be used.
        reason: String,
    },
    /// The task that did the work ended before its work.
    #[error("the transfer was abandoned")]
    Abandoned,
}

/// How a connection failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionFailure {
    /// No connection could be made.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// The innermost reason.
        reason: String,
    },
    /// The server's certificate is not trusted, or TLS failed otherwise.
    #[error("TLS with {host} failed: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{host} did not answer in time")]
    Timeout {
        /// The host.
        host: String,
    },
    /// The server closed the connection because of too many requests (GOAWAY, "enhance your calm").
    #[error("{host} asks for fewer requests at a time")]
    Overloaded {
        /// The host.
        host: String,
    },
    /// The connection ended in the middle.
    #[error("the connection to {host} broke: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// The request itself cannot be sent.
    #[error("the request to {host} cannot be sent: {reason}")]
    Invalid {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
}

impl ConnectionFailure {
    /// Whether trying again may help. An untrusted certificate stays untrusted.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Overloaded { .. }
            | Self::Broken { .. } => true,
            Self::Tls { .. } | Self::Invalid { .. } => false,
        }
    }
}

/// A registry's error answer (distribution-spec, "Error codes").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The registry's own list of errors, where the body was one.
    pub details: Vec<ErrorDetail>,
    /// The request, with secrets removed.
    pub request: String,
    /// How long the registry asks to wait.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for detail in &self.details {
            write!(f, "{separator}{detail}")?;
            separator = "; ";
        }
        if self.details.is_empty() {
            f.write_str(match self.status.as_u16() {
                401 => "authentication required",
                403 => "access denied",
                404 => "not found",
                429 => "too many requests",
                _ => "the registry answered with an error",
            })?;
        }
        write!(f, " ({} for {})", self.status.as_u16(), self.request)
    }
}

/// One error of a registry's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDetail {
    /// The code.
    pub code: ErrorCode,
    /// The message, cut at a limit.
    pub message: String,
}

impl fmt::Display for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.is_empty() {
            true => write!(f, "{}", self.code),
            false => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

macro_rules! error_codes {
    ($($variant:ident = $text:literal, $doc:literal;)*) => {
        /// The error codes of distribution-spec and of registries around it.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $doc] $variant,)*
            /// A code of none of these.
            Other(String),
        }

        impl ErrorCode {
            /// The code as it is sent.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(code) => code,
                }
            }

            fn parse(code: &str) -> Self {
                match code {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.chars().take(64).collect()),
                }
            }
        }
    };
}

error_codes! {
    BlobUnknown = "BLOB_UNKNOWN", "code-1: no such blob.";
    BlobUploadInvalid = "BLOB_UPLOAD_INVALID", "code-2: the upload is not as it should be.";
    BlobUploadUnknown = "BLOB_UPLOAD_UNKNOWN", "code-3: no such upload session.";
    DigestInvalid = "DIGEST_INVALID", "code-4: the content is not what the digest says.";
    ManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN", "code-5: the manifest names a missing blob.";
    ManifestInvalid = "MANIFEST_INVALID", "code-6: the manifest is not valid.";
    ManifestUnknown = "MANIFEST_UNKNOWN", "code-7: no such manifest.";
    NameInvalid = "NAME_INVALID", "code-8: the repository name is not valid.";
    NameUnknown = "NAME_UNKNOWN", "code-9: no such repository.";
    SizeInvalid = "SIZE_INVALID", "code-10: the length is not the content's.";
    Unauthorized = "UNAUTHORIZED", "code-11: credentials are needed.";
    Denied = "DENIED", "code-12: the credentials do not allow this.";
    Unsupported = "UNSUPPORTED", "code-13: the registry does not do this.";
    TooManyRequests = "TOOMANYREQUESTS", "code-14: the rate limit is reached.";
    RangeInvalid = "RANGE_INVALID", "A range outside the content or out of order.";
    Unavailable = "UNAVAILABLE", "The registry is not available now.";
    Unknown = "UNKNOWN", "The registry does not know what happened.";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads the list of errors out of a body that may be anything (DST-24).
pub(crate) fn parse_details(body: &[u8]) -> Vec<ErrorDetail> {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        detail: Option<serde_json::Value>,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        return Vec::new();
    };
    body.errors
        .into_iter()
        .take(ERROR_DETAILS_MAX)
        .map(|entry| {
            let message = match (entry.message, entry.detail) {
                (Some(message), _) if !message.is_empty() => message,
                (_, Some(serde_json::Value::String(detail))) => detail,
                _ => String::new(),
            };
            ErrorDetail {
                code: ErrorCode::parse(&entry.code),
                message: printable(&message, ERROR_MESSAGE_CHARS_MAX),
            }
        })
        .collect()
}

/// The text without control characters (a registry must not drive the user's terminal).
pub(crate) fn printable(text: &str, chars_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars_max).collect()
}

impl RegistryError {
    pub(crate) fn new(act: Act, subject: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self { act, subject: subject.into(), problem: Box::new(problem.into()) }
    }

    /// What was being done.
    pub fn act(&self) -> Act {
        self.act
    }

    /// The reference, blob or host that it was done to.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The situation.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The HTTP status, where the registry answered.
    pub fn status(&self) -> Option<StatusCode> {
        self.problem.status()
    }

    /// Whether the registry named this code.
    pub fn has_code(&self, code: &ErrorCode) -> bool {
        self.problem.has_code(code)
    }

    /// Whether the same act may succeed later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        self.problem.is_temporary()
    }

    /// Whether the registry says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.problem.is_not_found()
    }

    /// Whether the registry refuses for want of rights.
    pub fn is_denied(&self) -> bool {
        self.problem.transfer_kind() == TransferErrorKind::Denied
    }
}

impl Problem {
    /// The HTTP status, where the registry answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { answer } => Some(answer.status),
            _ => None,
        }
    }

    /// Whether the registry named this code.
    pub fn has_code(&self, code: &ErrorCode) -> bool {
        match self {
            Self::Status { answer } => answer.details.iter().any(|detail| &detail.code == code),
            _ => false,
        }
    }

    /// Whether the registry says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// The table of what may pass: by status first, then by the registry's own codes.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connection { failure } => failure.is_temporary(),
            Self::Status { answer } => {
                is_temporary_status(answer.status)
                    || answer.details.iter().any(|detail| is_temporary_code(&detail.code))
            }
            Self::RateLimited { .. }
            | Self::QuotaFloor { .. }
            | Self::Contended { .. }
            | Self::UploadLost { .. }
            | Self::Abandoned => true,
            Self::Auth(error) => error.is_temporary(),
            // The next copy of the content may be whole.
            Self::Verify(VerifyError::Truncated { .. }) => true,
            Self::NotRewindable { .. } => true,
            Self::Transfer(error) => error.kind() == TransferErrorKind::Unavailable,
            Self::Verify(_)
            | Self::DigestMismatch { .. }
            | Self::TooLarge { .. }
            | Self::Protocol { .. }
            | Self::MediaTypeMismatch { .. }
            | Self::Schema1
            | Self::NoPlatform { .. }
            | Self::BadRequest { .. }
            | Self::Content(_)
            | Self::Setting { .. } => false,
        }
    }

    /// The kind that a caller who knows no registries tells apart.
    pub fn transfer_kind(&self) -> TransferErrorKind {
        match self {
            Self::Status { answer } => kind_of_answer(answer),
            Self::Auth(error) if !error.is_temporary() => TransferErrorKind::Denied,
            Self::Verify(_)
            | Self::DigestMismatch { .. }
            | Self::TooLarge { .. }
            | Self::MediaTypeMismatch { .. }
            | Self::Schema1 => TransferErrorKind::Corrupt,
            Self::NoPlatform { .. } => TransferErrorKind::NotFound,
            Self::Transfer(error) => error.kind(),
            Self::Content(error) => kind_of_content(error),
            problem if problem.is_temporary() => TransferErrorKind::Unavailable,
            _ => TransferErrorKind::Other,
        }
    }
}

/// What our own side failed of: its reader may carry a verdict on the content.
fn kind_of_content(error: &std::io::Error) -> TransferErrorKind {
    match error.get_ref() {
        Some(inner) if inner.is::<VerifyError>() => TransferErrorKind::Corrupt,
        Some(inner) => inner
            .downcast_ref::<TransferError>()
            .map_or(TransferErrorKind::Other, TransferError::kind),
        None => TransferErrorKind::Other,
    }
}

fn kind_of_answer(answer: &ErrorAnswer) -> TransferErrorKind {
    match answer.status.as_u16() {
        401 | 403 => TransferErrorKind::Denied,
        404 => TransferErrorKind::NotFound,
        413 | 507 => TransferErrorKind::Full,
        _ if answer.details.iter().any(|d| d.code == ErrorCode::DigestInvalid) => {
            TransferErrorKind::Corrupt
        }
        _ if answer.details.iter().any(|d| d.code == ErrorCode::Denied) => {
            TransferErrorKind::Denied
        }
        _ if is_temporary_status(answer.status) => TransferErrorKind::Unavailable,
        _ => TransferErrorKind::Other,
    }
}

/// Statuses that pass. 500 is in it because registries answer it for a busy back end.
fn is_temporary_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Codes that pass, whatever status they came with: registries send `TOOMANYREQUESTS` with
/// other statuses on a manifest PUT.
fn is_temporary_code(code: &ErrorCode) -> bool {
    matches!(code, ErrorCode::TooManyRequests | ErrorCode::Unavailable)
}

impl From<RegistryError> for TransferError {
    fn from(error: RegistryError) -> Self {
        let kind = error.problem.transfer_kind();
        let act = format!("{} {}", error.act, error.subject);
        TransferError::because(kind, act, error.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Problem {
        let status = StatusCode::from_u16(status).expect("valid");
        Problem::Status {
            answer: Box::new(ErrorAnswer {
                status,
                details: parse_details(body.as_bytes()),
                request: "GET https://h/v2/".to_owned(),
                retry_after: None,
            }),
        }
    }

    /// Covers: DST-24, DST-25
    #[test]
    fn the_table_of_what_is_temporary() {
        let limited = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
        let table = [
            (answer(400, ""), false),
            (answer(401, ""), false),
            (answer(403, ""), false),
            (answer(404, ""), false),
            (answer(405, ""), false),
            (answer(413, ""), false),
            (answer(416, ""), false),
            (answer(408, ""), true),
            (answer(429, ""), true),
            (answer(500, ""), true),
            (answer(501, ""), false),
            (answer(502, "<html>gateway</html>"), true),
            (answer(503, ""), true),
            (answer(504, ""), true),
            (answer(400, limited), true),
            (Problem::Schema1, false),
            (
                Problem::Connection { failure: ConnectionFailure::Timeout { host: "h".into() } },
                true,
            ),
            (
                Problem::Connection {
                    failure: ConnectionFailure::Tls { host: "h".into(), reason: "x".into() },
                },
                false,
            ),
        ];
        for (problem, temporary) in table {
            assert_eq!(problem.is_temporary(), temporary, "{problem:?}");
        }
    }

    /// Covers: DST-24
    #[test]
    fn an_error_body_may_be_anything() {
        assert_eq!(parse_details(b"<html>"), []);
        assert_eq!(parse_details(b"{}"), []);
        assert_eq!(parse_details(&[0xff, 0]), []);
        let details = parse_details(
            br#"{"errors":[{"code":"X_NEW"},{"code":"DENIED","detail":"no \u001b[2J"}]}"#,
        );
        assert_eq!(details[0].code, ErrorCode::Other("X_NEW".into()));
        assert_eq!(details[1].to_string(), "DENIED: no [2J");
    }

    #[test]
    fn an_error_names_the_act_the_object_and_the_registrys_words() {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let error = RegistryError::new(Act::Resolve, "h/a:1", answer(404, body));
        assert_eq!(
            error.to_string(),
            "resolve h/a:1: MANIFEST_UNKNOWN: manifest unknown (404 for GET https://h/v2/)"
        );
        assert!(error.is_not_found() && error.has_code(&ErrorCode::ManifestUnknown));
        let transfer = TransferError::from(error);
        assert_eq!(transfer.kind(), TransferErrorKind::NotFound);
        assert!(transfer.to_string().starts_with("resolve h/a:1: MANIFEST_UNKNOWN"), "{transfer}");
    }

    #[test]
    fn kinds_for_the_caller_follow_the_status_and_the_codes() {
        let invalid = r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
        let table = [
            (answer(401, ""), TransferErrorKind::Denied),
            (answer(403, ""), TransferErrorKind::Denied),
            (answer(404, ""), TransferErrorKind::NotFound),
            (answer(413, ""), TransferErrorKind::Full),
            (answer(400, invalid), TransferErrorKind::Corrupt),
            (answer(503, ""), TransferErrorKind::Unavailable),
            (answer(418, ""), TransferErrorKind::Other),
        ];
        for (problem, kind) in table {
            assert_eq!(problem.transfer_kind(), kind, "{problem:?}");
        }
    }
}
