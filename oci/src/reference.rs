//! Image references with Docker's normalisation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, DigestError};
use crate::limits::{REPOSITORY_NAME_BYTES_MAX, TAG_BYTES_MAX};

const DEFAULT_REGISTRY: &str = "docker.io";
const LEGACY_DEFAULT_REGISTRY: &str = "index.docker.io";
const OFFICIAL_NAMESPACE: &str = "library/";

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing, or a name whose grammar is wrong.
    #[error("invalid reference format")]
    Format,
    /// The repository path has upper-case letters.
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    UpperCase {
        /// The path as typed.
        name: String,
    },
    /// 64 hex digits could be mistaken for an image id.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId {
        /// The name as typed.
        name: String,
    },
    /// `host/path` is over the cap.
    #[error("repository name must not be more than {REPOSITORY_NAME_BYTES_MAX} characters")]
    TooLong,
    /// The tag does not match the grammar.
    #[error("invalid tag format")]
    Tag,
    /// The part after `@` is not a digest.
    #[error("invalid reference format: {0}")]
    Digest(#[from] DigestError),
}

/// A repository: a registry host and a path in it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: Box<str>,
    path: Box<str>,
}

impl Repository {
    /// The registry host with its port, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry, `library/ubuntu` for `ubuntu`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The shortest text that means this repository: `ubuntu`.
    pub fn familiar(&self) -> String {
        match (&*self.registry == DEFAULT_REGISTRY, self.path.strip_prefix(OFFICIAL_NAMESPACE)) {
            (true, Some(official)) if !official.contains('/') => official.to_owned(),
            (true, _) => self.path.to_string(),
            (false, _) => self.to_string(),
        }
    }

    /// The path as Docker prints it after `Pulling from`: without the host.
    pub fn remote_name(&self) -> &str {
        &self.path
    }

    /// The reference `self:tag`.
    pub fn tagged(&self, tag: &str) -> Result<Reference, ReferenceError> {
        check_tag(tag)?;
        Ok(Reference { repository: self.clone(), tag: Some(tag.into()), digest: None })
    }

    /// The reference `self@digest`.
    pub fn pinned(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }

    fn parse(name: &str) -> Result<Self, ReferenceError> {
        if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId { name: name.to_owned() });
        }
        let (registry, path) = split_registry(name);
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase { name: path.to_owned() });
        }
        if !path.split('/').all(is_path_component) || !is_host(registry) {
            return Err(ReferenceError::Format);
        }
        let path = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("{OFFICIAL_NAMESPACE}{path}")
        } else {
            path.to_owned()
        };
        if registry.len() + 1 + path.len() > REPOSITORY_NAME_BYTES_MAX {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { registry: registry.into(), path: path.into() })
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A reference to an image: a repository with a tag, a digest, both or neither.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    repository: Repository,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
}

impl Reference {
    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The registry host with its port.
    pub fn registry(&self) -> &str {
        self.repository.registry()
    }

    /// The tag, where one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// This reference with `:latest` where it has neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// This reference without its tag, pinned to `digest`.
    pub fn with_digest(&self, digest: Digest) -> Self {
        self.repository.pinned(digest)
    }

    /// The same repository under another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        self.repository.tagged(tag)
    }

    /// The shortest text that means this reference: `ubuntu:latest`.
    pub fn familiar(&self) -> String {
        self.suffixed(self.repository.familiar())
    }

    /// The shortest text that means the repository: `ubuntu`.
    pub fn familiar_repository(&self) -> String {
        self.repository.familiar()
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the host's port.
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_start..].find(':') {
            Some(colon) => {
                let (name, tag) = rest.split_at(name_start + colon);
                check_tag(&tag[1..])?;
                (name, Some(tag[1..].into()))
            }
            None => (rest, None),
        };
        Ok(Self { repository: Repository::parse(name)?, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.repository.to_string()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Docker's rule: the first component is a host when it could not be a path
/// component of Docker Hub (a dot, a colon, an upper-case letter) or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, path))
            if host.contains(['.', ':'])
                || host == "localhost"
                || host.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (if host == LEGACY_DEFAULT_REGISTRY { DEFAULT_REGISTRY } else { host }, path)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let mut run = String::new();
    let mut seen_alphanumeric = false;
    for c in component.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                if !run.is_empty() && !is_separator(&run) {
                    return false;
                }
                run.clear();
                seen_alphanumeric = true;
            }
            '.' | '_' | '-' if seen_alphanumeric => run.push(c),
            _ => return false,
        }
    }
    seen_alphanumeric && run.is_empty()
}

fn is_separator(run: &str) -> bool {
    matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-')
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => return is_ipv6(address) && is_port_suffix(port),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    port.is_none_or(is_port) && name.split('.').all(is_host_label)
}

fn is_host_label(label: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    alphanumeric(label.chars().next())
        && alphanumeric(label.chars().last())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn is_ipv6(address: &str) -> bool {
    address.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_port_suffix(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`
fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let legal = tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if legal { Ok(()) } else { Err(ReferenceError::Tag) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn check(text: &str, canonical: &str, familiar: &str) {
        let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(reference.to_string(), canonical);
        assert_eq!(reference.familiar(), familiar);
    }

    /// Covers: B06-10, B06-13
    #[test]
    fn names_are_normalised_as_docker_does() {
        check("ubuntu", "docker.io/library/ubuntu", "ubuntu");
        check("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04");
        check("library/ubuntu", "docker.io/library/ubuntu", "ubuntu");
        check("docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu");
        check("index.docker.io/library/ubuntu", "docker.io/library/ubuntu", "ubuntu");
        check("docker.io/library/ubuntu:a", "docker.io/library/ubuntu:a", "ubuntu:a");
        check("me/app", "docker.io/me/app", "me/app");
        check("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b");
        check("localhost/app", "localhost/app", "localhost/app");
        check("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1");
        check("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b");
        check("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a");
        check(
            "gcr.io/google-containers/git-sync:v3.1.5",
            "gcr.io/google-containers/git-sync:v3.1.5",
            "gcr.io/google-containers/git-sync:v3.1.5",
        );
        check("Host/app", "Host/app", "Host/app");
        check("a__b/c-d--e.f", "docker.io/a__b/c-d--e.f", "a__b/c-d--e.f");
        check(
            &format!("alpine@{SHA}"),
            &format!("docker.io/library/alpine@{SHA}"),
            &format!("alpine@{SHA}"),
        );
        check(
            &format!("alpine:3@{SHA}"),
            &format!("docker.io/library/alpine:3@{SHA}"),
            &format!("alpine:3@{SHA}"),
        );
    }

    #[test]
    fn latest_is_added_only_where_nothing_was_said() {
        let parse = |text: &str| text.parse::<Reference>().expect("valid").or_latest().familiar();
        assert_eq!(parse("ubuntu"), "ubuntu:latest");
        assert_eq!(parse("ubuntu:1"), "ubuntu:1");
        assert_eq!(parse(&format!("ubuntu@{SHA}")), format!("ubuntu@{SHA}"));
    }

    #[test]
    fn refuses_what_is_not_a_reference() {
        let id = "a".repeat(64);
        let long = format!("h.io/{}", "a/".repeat(130) + "a");
        let tag = format!("a:{}", "t".repeat(129));
        let bad = [
            "",
            ":tag",
            "@",
            "a:",
            "a:b:c",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a._b",
            "a___b",
            "a..b",
            "Ubuntu",
            "me/App",
            "a b",
            "a\n",
            "a:-t",
            "a:.t",
            "a@sha256:zz",
            "a@",
            "../etc",
            "a/../b",
            "h.io:port/a",
            "h.io:123456/a",
            "[::1/a",
            "[zz]/a",
            "https://h.io/a",
            "h..io/a",
            "ü",
            id.as_str(),
            long.as_str(),
            tag.as_str(),
        ];
        for text in bad {
            assert!(text.parse::<Reference>().is_err(), "accepted {text:?}");
        }
    }

    #[test]
    fn an_upper_case_name_says_what_is_wrong() {
        let error = "Ubuntu".parse::<Reference>().expect_err("upper case");
        assert_eq!(
            error.to_string(),
            "invalid reference format: repository name (Ubuntu) must be lowercase"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_the_parser(text in ".{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn canonical_and_familiar_forms_mean_the_same(
            text in "([a-z]{1,4}(\\.[a-z]{2})?(:[0-9]{1,4})?/)?[a-z0-9]{1,5}([._-][a-z0-9]{1,3})?(/[a-z]{1,4})?(:[A-Za-z0-9_.-]{1,6})?"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>(), &Ok(reference.clone()));
                prop_assert_eq!(reference.familiar().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
