//! From a method-less path to an endpoint of the specification (the table "Endpoints").

use std::borrow::Cow;

use oci::Digest;

use crate::fault::Fault;
use crate::name::{ManifestReference, ReferenceError, RepositoryName, TagError};
use crate::repository::UploadId;

/// Where a request goes. Everything in it is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// end-1: `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// end-8: `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// end-3, end-7, end-9: `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, ManifestReference),
    /// A manifest whose tag breaks the grammar: unknown to readers, invalid to writers.
    ManifestBadTag(RepositoryName, TagError),
    /// end-2, end-10: `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// end-4, end-11: `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// end-5, end-6, end-13, end-14: `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, UploadId),
    /// end-12: `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
    /// `/token`
    Token,
    /// `/healthz`
    Health,
    /// `/metrics`
    Metrics,
}

impl Route {
    /// Parses a path as it stands in the request line.
    pub(crate) fn parse(path: &str) -> Result<Self, Fault> {
        match path {
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" | "/v2/_catalog/" => return Ok(Self::Catalog),
            "/token" => return Ok(Self::Token),
            "/healthz" => return Ok(Self::Health),
            "/metrics" => return Ok(Self::Metrics),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or_else(Fault::no_endpoint)?;
        let mut segments = Vec::new();
        for segment in rest.split('/') {
            segments.push(percent_decoded(segment).ok_or_else(Fault::no_endpoint)?);
        }
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        Self::of_segments(&segments)
    }

    // The end of a path decides: a component of a name may well be called "blobs" or "tags".
    fn of_segments(segments: &[&str]) -> Result<Self, Fault> {
        match segments {
            [name @ .., "tags", "list"] => Ok(Self::Tags(repository(name)?)),
            [name @ .., "manifests", reference] => manifest(repository(name)?, reference),
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", id] => {
                let name = repository(name)?;
                let id = id.parse().map_err(|_| Fault::upload_unknown(&name))?;
                Ok(Self::Upload(name, id))
            }
            [name @ .., "blobs", digest] => Ok(Self::Blob(repository(name)?, digest.parse()?)),
            [name @ .., "referrers", digest] => {
                Ok(Self::Referrers(repository(name)?, digest.parse()?))
            }
            _ => Err(Fault::no_endpoint()),
        }
    }

    /// The repository that the request is about.
    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::ManifestBadTag(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
            Self::Base | Self::Catalog | Self::Token | Self::Health | Self::Metrics => None,
        }
    }

    /// The endpoint's name in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) | Self::ManifestBadTag(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
            Self::Token => "token",
            Self::Health => "healthz",
            Self::Metrics => "metrics",
        }
    }
}

fn repository(segments: &[&str]) -> Result<RepositoryName, Fault> {
    Ok(segments.join("/").parse::<RepositoryName>()?)
}

fn manifest(name: RepositoryName, reference: &str) -> Result<Route, Fault> {
    match reference.parse() {
        Ok(reference) => Ok(Route::Manifest(name, reference)),
        Err(ReferenceError::Tag(error)) => Ok(Route::ManifestBadTag(name, error)),
        Err(ReferenceError::Digest(error)) => Err(error.into()),
    }
}

/// Decodes `%XX` once; `None` when the escapes are broken or do not give UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let (&[high, low], tail) = tail.split_first_chunk::<2>()?;
            bytes.push(hex_value(high)? << 4 | hex_value(low)?);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn hex_value(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The pairs of a query string, decoded, in order; `+` is a space.
pub(crate) fn query_pairs(query: Option<&str>) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decoded(&text.replace('+', " ")).map(Cow::into_owned);
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Writes a text so that it can stand in a query value.
pub(crate) fn query_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_end_of_a_path_decides_the_endpoint() {
        let digest = Digest::sha256(b"x");
        let id = "0123abcd-0123-4567-89ab-0123456789ab";
        let table = [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/b/tags/list".to_owned(), Route::Tags(name("a/b"))),
            ("/v2/tags/tags/list".to_owned(), Route::Tags(name("tags"))),
            (format!("/v2/blobs/blobs/{digest}"), Route::Blob(name("blobs"), digest.clone())),
            (
                format!("/v2/a/blobs/sha256%3A{}", digest.hex()),
                Route::Blob(name("a"), digest.clone()),
            ),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads".to_owned(), Route::Uploads(name("a"))),
            (
                format!("/v2/a/blobs/uploads/{id}"),
                Route::Upload(name("a"), id.parse().expect("an id")),
            ),
            (format!("/v2/a/referrers/{digest}"), Route::Referrers(name("a"), digest)),
            (
                "/v2/manifests/manifests/manifests".to_owned(),
                Route::Manifest(name("manifests"), "manifests".parse().expect("a tag")),
            ),
        ];
        for (path, expected) in table {
            assert_eq!(Route::parse(&path).ok(), Some(expected), "{path}");
        }
    }

    #[test]
    fn paths_that_climb_are_invalid_names() {
        for path in [
            "/v2/../etc/tags/list",
            "/v2/a/../b/tags/list",
            "/v2/a/%2e%2e/b/tags/list",
            "/v2/a%2f..%2fb/tags/list",
            "/v2//a/tags/list",
            "/v2/a//tags/list",
            "/v2/tags/list",
            "/v2/_uploads/tags/list",
            "/v2/A/tags/list",
            "/v2/a%00b/tags/list",
            "/v2/a%5cb/tags/list",
        ] {
            let fault = Route::parse(path).expect_err(path);
            assert_eq!(fault.status(), StatusCode::BAD_REQUEST, "{path}");
            assert!(fault.summary().starts_with("NAME_INVALID"), "{path}: {}", fault.summary());
        }
    }

    #[test]
    fn what_is_no_endpoint_is_not_found() {
        for path in [
            "/",
            "/v1/",
            "/v2/a",
            "/v2/a/b",
            "/v2/a/tags",
            "/v2/a/%zz/tags/list",
            "/v3/a/tags/list",
        ] {
            assert_eq!(
                Route::parse(path).expect_err(path).status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }

    #[test]
    fn a_query_is_read_pair_by_pair_in_order() {
        let read = query_pairs(Some("a=1&b&a=%2B+x&&c=%zz&d=="));
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(read, [pair("a", "1"), pair("b", ""), pair("a", "+ x"), pair("d", "=")]);
        assert!(query_pairs(None).is_empty());
    }

    proptest! {
        #[test]
        fn no_path_panics_the_parser(path in "/v2/[ -~]{0,60}") {
            let _ = Route::parse(&path);
        }

        #[test]
        fn what_is_escaped_is_read_back(text in "\\PC{0,20}") {
            let query = format!("k={}", query_escaped(&text));
            prop_assert_eq!(query_pairs(Some(&query)), vec![("k".to_owned(), text)]);
        }
    }
}
