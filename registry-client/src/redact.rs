//! URLs and secrets as they may be shown.

use std::fmt;

use url::Url;

/// Query parameters that say what was asked for and never who asks: all others are hidden,
/// because signed URLs of object stores carry their proof in parameters of any name.
const HARMLESS: &[&str] =
    &["artifactType", "digest", "from", "last", "mount", "n", "ns", "scope", "service"];

/// A text that is never printed: a password, a token, a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The URL without user, password, fragment and the values of parameters that may be secrets.
pub(crate) fn url(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_fragment(None);
    if !shown.username().is_empty() || shown.password().is_some() {
        // Both fail only for URLs without a host, which have no user either.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
    }
    if shown.query().is_some() {
        let query = shown
            .query_pairs()
            .map(|(key, value)| match HARMLESS.contains(&&*key) {
                true => format!("{key}={value}"),
                false => format!("{key}=***"),
            })
            .collect::<Vec<_>>()
            .join("&");
        shown.set_query(None);
        return format!("{shown}?{query}");
    }
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_as_stars() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }

    #[test]
    fn urls_lose_their_secrets_and_keep_what_was_asked_for() {
        let table = [
            (
                "https://h/v2/a/blobs/uploads/?digest=sha256:0",
                "https://h/v2/a/blobs/uploads/?digest=sha256:0",
            ),
            ("https://bob:pw@h/v2/", "https://h/v2/"),
            ("https://s3/x?X-Amz-Signature=abc&n=1", "https://s3/x?X-Amz-Signature=***&n=1"),
            ("https://h/x?_state=secret#frag", "https://h/x?_state=***"),
        ];
        for (given, shown) in table {
            assert_eq!(url(&given.parse().expect("valid")), shown);
        }
    }
}
