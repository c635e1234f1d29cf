//! The YAML of `skopeo sync --src yaml`, read where its meaning is the same.

use std::collections::BTreeMap;
use std::str::FromStr;

use oci::{Digest, Repository};
use serde::Deserialize;

use super::file::{SyncFileError, parse_yaml, repository};
use super::tags::{TagPattern, TagRules};
use super::version::VersionRange;
use crate::credentials::Credential;
use crate::host::Insecure;

/// One registry of the file with its own settings.
#[derive(Clone, Debug)]
pub struct SkopeoRegistry {
    /// Its name.
    pub registry: String,
    /// The images.
    pub images: Vec<SkopeoImage>,
    /// Credentials of the file.
    pub credential: Credential,
    /// `tls-verify`; nothing where the file does not say.
    pub insecure: Option<Insecure>,
    /// A folder with certificates.
    pub certificates: Option<String>,
}

/// One repository of the file, with the tags that are wanted of it.
#[derive(Clone, Debug)]
pub struct SkopeoImage {
    /// The repository.
    pub repository: Repository,
    /// The tags.
    pub tags: TagRules,
    /// Manifests wanted by digest.
    pub digests: Vec<Digest>,
}

/// How a repository is called at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By the last part of its path, as skopeo does.
    Last,
    /// By its registry and whole path (`--scoped`).
    Scoped,
}

impl Naming {
    /// The repository under `prefix` (`mirror.example.com/team`) that `source` is copied to.
    pub fn target(self, prefix: &str, source: &Repository) -> Result<Repository, SyncFileError> {
        let prefix = prefix.trim_end_matches('/');
        let name = match self {
            Self::Last => source.path().rsplit('/').next().unwrap_or_default().to_owned(),
            // A port's colon is no part of a path.
            Self::Scoped => format!("{}/{}", source.registry().replace(':', "-"), source.path()),
        };
        repository(&format!("{prefix}/{name}"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryDocument {
    #[serde(default)]
    images: BTreeMap<String, Option<Vec<String>>>,
    #[serde(rename = "images-by-tag-regex", default)]
    by_regex: BTreeMap<String, String>,
    #[serde(rename = "images-by-semver", default)]
    by_semver: BTreeMap<String, String>,
    credentials: Option<CredentialsDocument>,
    #[serde(rename = "tls-verify")]
    tls_verify: Option<bool>,
    #[serde(rename = "cert-dir")]
    cert_dir: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsDocument {
    username: String,
    password: String,
}

/// Reads the file.
pub fn parse_skopeo(bytes: &[u8]) -> Result<Vec<SkopeoRegistry>, SyncFileError> {
    let document: BTreeMap<String, RegistryDocument> = parse_yaml(bytes)?;
    let registries = document
        .into_iter()
        .map(|(name, document)| registry(name, document))
        .collect::<Result<Vec<_>, _>>()?;
    match registries.iter().all(|registry| registry.images.is_empty()) {
        true => Err(SyncFileError::Empty),
        false => Ok(registries),
    }
}

fn registry(name: String, document: RegistryDocument) -> Result<SkopeoRegistry, SyncFileError> {
    let mut images = Vec::new();
    let named = |path: &str| repository(&format!("{name}/{path}"));
    let tags =
        |path: &str, error| SyncFileError::Tags { repository: format!("{name}/{path}"), error };
    for (path, wanted) in &document.images {
        let (digests, names) = split(wanted.as_deref().unwrap_or_default());
        // An empty list means all tags; a list of digests alone means no tags.
        let rules = match names.is_empty() && digests.is_empty() {
            true => TagRules::all(),
            false => TagRules::named(names),
        };
        images.push(SkopeoImage { repository: named(path)?, tags: rules, digests });
    }
    for (path, pattern) in &document.by_regex {
        let pattern = TagPattern::anywhere(pattern).map_err(|error| tags(path, error))?;
        let rules = TagRules::all().allow(pattern);
        images.push(SkopeoImage { repository: named(path)?, tags: rules, digests: Vec::new() });
    }
    for (path, range) in &document.by_semver {
        let range = VersionRange::from_str(range).map_err(|error| tags(path, error.into()))?;
        let rules = TagRules::all().versions(range);
        images.push(SkopeoImage { repository: named(path)?, tags: rules, digests: Vec::new() });
    }
    let credential = document
        .credentials
        .map(|given| Credential::password(given.username, given.password))
        .unwrap_or_default();
    Ok(SkopeoRegistry {
        insecure: document.tls_verify.map(|verify| match verify {
            true => Insecure::No,
            false => Insecure::Yes,
        }),
        certificates: document.cert_dir,
        registry: name,
        images,
        credential,
    })
}

fn split(wanted: &[String]) -> (Vec<Digest>, Vec<String>) {
    let (mut digests, mut names) = (Vec::new(), Vec::new());
    for text in wanted {
        match text.parse::<Digest>() {
            Ok(digest) => digests.push(digest),
            Err(_) => names.push(text.clone()),
        }
    }
    (digests, names)
}
