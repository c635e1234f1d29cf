//! The answers that are not successes: error codes, statuses and the JSON body
//! (distribution-spec 1.1, "Error Codes").

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use oci::{Algorithm, Digest, DigestError};
use serde_json::{Value, json};

use crate::name::{NameError, RepositoryName, TagError};

/// The error codes of the specification, and the one that server faults carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// code-1
    BlobUnknown,
    /// code-2
    BlobUploadInvalid,
    /// code-3
    BlobUploadUnknown,
    /// code-4
    DigestInvalid,
    /// code-5
    ManifestBlobUnknown,
    /// code-6
    ManifestInvalid,
    /// code-7
    ManifestUnknown,
    /// code-8
    NameInvalid,
    /// code-9
    NameUnknown,
    /// code-10
    SizeInvalid,
    /// code-11
    Unauthorized,
    /// code-12
    Denied,
    /// code-13
    Unsupported,
    /// code-14
    TooManyRequests,
    /// Not of the specification, which binds 4xx answers only: a fault of the server.
    Unknown,
}

impl Code {
    /// The identifier in the body.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The status that the endpoint table of the specification pairs with the code.
    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// One refused request.
#[derive(Debug)]
pub(crate) struct Fault(Box<Answer>);

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    problems: Vec<Problem>,
    headers: HeaderMap,
}

#[derive(Debug)]
struct Problem {
    code: Code,
    message: String,
    detail: Option<Value>,
}

impl Fault {
    /// A fault with one problem and the usual status of its code.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let problem = Problem { code, message: message.into(), detail: None };
        Self::of(code, vec![problem])
    }

    fn of(code: Code, problems: Vec<Problem>) -> Self {
        let (status, headers) = (code.status(), HeaderMap::new());
        Self(Box::new(Answer { status, problems, headers }))
    }

    /// The same fault under another status.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// The same fault with a machine-readable detail on its first problem.
    pub(crate) fn with_detail(mut self, detail: Value) -> Self {
        if let Some(first) = self.0.problems.first_mut() {
            first.detail = Some(detail);
        }
        self
    }

    /// The same fault with one more response header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.append(name, value);
        }
        self
    }

    /// The status it is answered with.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What went wrong, for the log.
    pub(crate) fn summary(&self) -> String {
        let parts = self.0.problems.iter().map(|p| format!("{}: {}", p.code.as_str(), p.message));
        parts.collect::<Vec<_>>().join("; ")
    }

    /// code-1: the repository has no such blob.
    pub(crate) fn blob_unknown(name: &RepositoryName, digest: &Digest) -> Self {
        Self::new(Code::BlobUnknown, format!("{name} has no blob {digest}"))
            .with_detail(json!({ "name": name.as_str(), "digest": digest.to_string() }))
    }

    /// code-3: no such upload in this repository.
    pub(crate) fn upload_unknown(name: &RepositoryName) -> Self {
        Self::new(
            Code::BlobUploadUnknown,
            format!(
                "{name} has no such upload; it may have expired or been finished: start a new one"
            ),
        )
    }

    /// code-4: the bytes have another digest than the one promised.
    pub(crate) fn digest_mismatch(expected: &Digest, found: &Digest) -> Self {
        Self::new(Code::DigestInvalid, format!("the content has digest {found}, not {expected}"))
            .with_detail(json!({ "expected": expected.to_string(), "found": found.to_string() }))
    }

    /// code-5, once for every missing reference.
    pub(crate) fn manifest_blobs_unknown(name: &RepositoryName, missing: &[Digest]) -> Self {
        let problem = |digest: &Digest| Problem {
            code: Code::ManifestBlobUnknown,
            message: format!("{name} has no {digest}: push it before the manifest that names it"),
            detail: Some(json!({ "digest": digest.to_string() })),
        };
        Self::of(Code::ManifestBlobUnknown, missing.iter().map(problem).collect())
    }

    /// code-7: no such tag or digest in the repository.
    pub(crate) fn manifest_unknown(name: &RepositoryName, reference: &str) -> Self {
        Self::new(Code::ManifestUnknown, format!("{name} has no manifest {reference}"))
            .with_detail(json!({ "name": name.as_str(), "reference": reference }))
    }

    /// code-9: nothing was ever pushed under the name.
    pub(crate) fn name_unknown(name: &RepositoryName) -> Self {
        Self::new(Code::NameUnknown, format!("there is no repository {name}"))
            .with_detail(json!({ "name": name.as_str() }))
    }

    /// code-13: the endpoint exists, the method does not.
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        Self::new(Code::Unsupported, format!("the method is not supported here; use {allowed}"))
            .with_header(ALLOW, allowed)
    }

    /// code-13: no such endpoint.
    pub(crate) fn no_endpoint() -> Self {
        Self::new(Code::Unsupported, "the registry has no such endpoint")
            .with_status(StatusCode::NOT_FOUND)
    }

    /// code-13: switched off by configuration.
    pub(crate) fn disabled(what: &str) -> Self {
        Self::new(Code::Unsupported, format!("{what} is disabled on this registry"))
    }

    /// code-14, with the time to wait.
    pub(crate) fn too_many(what: &str, retry_after_seconds: u32) -> Self {
        Self::new(Code::TooManyRequests, what)
            .with_header(RETRY_AFTER, &retry_after_seconds.to_string())
    }

    /// A fault of the server while it did `act`; the cause goes to the log, not to the client.
    pub(crate) fn internal(act: &str, error: &dyn std::error::Error) -> Self {
        tracing::error!(act, error = %chain(error), "request failed");
        Self::new(Code::Unknown, format!("the registry failed to {act}"))
    }

    /// A failed disk operation, telling "full" from the rest.
    pub(crate) fn io(act: &str, error: &std::io::Error) -> Self {
        if matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        ) {
            tracing::error!(act, "the disk is full");
            let message = format!("the registry failed to {act}: its disk is full");
            return Self::new(Code::Unknown, message).with_status(StatusCode::INSUFFICIENT_STORAGE);
        }
        Self::internal(act, error)
    }

    /// The response: status, headers and the JSON body of the specification.
    pub(crate) fn into_response(self) -> Response {
        let errors: Vec<Value> = self.0.problems.iter().map(Problem::to_json).collect();
        let body = json!({ "errors": errors }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0.status;
        *response.headers_mut() = self.0.headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl Problem {
    fn to_json(&self) -> Value {
        let mut value = json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(detail) = &self.detail {
            value["detail"] = detail.clone();
        }
        value
    }
}

impl From<NameError> for Fault {
    fn from(error: NameError) -> Self {
        Self::new(Code::NameInvalid, error.to_string())
    }
}

impl From<DigestError> for Fault {
    fn from(error: DigestError) -> Self {
        Self::new(Code::DigestInvalid, error.to_string())
    }
}

impl From<TagError> for Fault {
    fn from(error: TagError) -> Self {
        Self::new(Code::ManifestInvalid, error.to_string())
    }
}

/// Reads the value of a `digest-algorithm` parameter.
pub(crate) fn algorithm(text: &str) -> Result<Algorithm, Fault> {
    Ok(text.parse::<Algorithm>()?)
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_upper_case_letters_and_underscores_only() {
        let codes = [
            Code::BlobUnknown,
            Code::BlobUploadInvalid,
            Code::BlobUploadUnknown,
            Code::DigestInvalid,
            Code::ManifestBlobUnknown,
            Code::ManifestInvalid,
            Code::ManifestUnknown,
            Code::NameInvalid,
            Code::NameUnknown,
            Code::SizeInvalid,
            Code::Unauthorized,
            Code::Denied,
            Code::Unsupported,
            Code::TooManyRequests,
            Code::Unknown,
        ];
        for code in codes {
            assert!(code.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{code:?}");
        }
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Fault::io("write", &full).status(), StatusCode::INSUFFICIENT_STORAGE);
        let other = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(Fault::io("write", &other).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn the_cause_of_a_server_fault_stays_out_of_the_answer() {
        let error = std::io::Error::other("/secret/path: no");
        assert!(!Fault::io("store a blob", &error).summary().contains("secret"));
    }
}
