//! The file of `wherry sync`.

use oci::{Platform, Repository};
use serde::Deserialize;

use super::plan::Vanished;
use super::tags::{TagPattern, TagRuleError, TagRules};
use super::version::VersionRange;
use crate::limits::SYNC_FILE_BYTES_MAX;

/// What to keep equal.
#[derive(Clone, Debug)]
pub struct SyncFile {
    /// The jobs, in the file's order.
    pub jobs: Vec<SyncJob>,
}

/// One repository to keep equal to another.
#[derive(Clone, Debug)]
pub struct SyncJob {
    /// Where from.
    pub source: Repository,
    /// Where to.
    pub target: Repository,
    /// Which tags.
    pub tags: TagRules,
    /// Only these platforms; all where none is named.
    pub platforms: Vec<Platform>,
    /// Whether signatures, attestations and other referrers go along.
    pub referrers: WithReferrers,
    /// What becomes of tags that the source has no more.
    pub vanished: Vanished,
}

/// Whether what refers to an image goes along with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithReferrers {
    /// It does.
    Yes,
    /// It stays.
    No,
}

/// Why a sync file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SyncFileError {
    /// Over the limit.
    #[error("the file is over the limit of {SYNC_FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not YAML of the right form.
    #[error("{reason}")]
    Yaml {
        /// Where and why.
        reason: String,
    },
    /// A name that is no repository.
    #[error("{name:?} is not a repository: {reason}")]
    Repository {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A platform that is none.
    #[error("{text:?} is not a platform: {reason}")]
    Platform {
        /// The text.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A rule for tags that cannot be used.
    #[error("{repository}: {error}")]
    Tags {
        /// Whose tags.
        repository: String,
        /// Why not.
        error: TagRuleError,
    },
    /// A file without anything to do.
    #[error("the file names nothing to sync")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    jobs: Vec<JobDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobDocument {
    source: String,
    target: String,
    #[serde(default)]
    tags: TagChoice,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default = "yes")]
    referrers: bool,
    #[serde(default)]
    delete: bool,
}

fn yes() -> bool {
    true
}

/// Which tags, as a file or a command line says it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagChoice {
    /// These, whatever else is said.
    #[serde(default)]
    pub names: Vec<String>,
    /// Those that match one of these patterns whole.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Not those that match one of these patterns whole.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Only versions in this range.
    pub semver: Option<String>,
    /// Only so many of the latest versions.
    pub latest: Option<usize>,
}

impl SyncFile {
    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, SyncFileError> {
        let document: Document = parse_yaml(bytes)?;
        if document.jobs.is_empty() {
            return Err(SyncFileError::Empty);
        }
        let jobs = document.jobs.into_iter().map(job).collect::<Result<_, _>>()?;
        Ok(Self { jobs })
    }
}

/// Reads YAML with the reader's own bounds against alias bombs and deep nesting.
pub(super) fn parse_yaml<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, SyncFileError> {
    if bytes.len() > SYNC_FILE_BYTES_MAX {
        return Err(SyncFileError::TooLarge);
    }
    // A file with credentials must not show up in an error: only the place and the reason do.
    serde_saphyr::from_slice(bytes).map_err(|error| {
        let place = error.location().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
        let reason = error.without_snippet().to_string();
        SyncFileError::Yaml { reason: format!("{place}{reason}") }
    })
}

pub(super) fn repository(name: &str) -> Result<Repository, SyncFileError> {
    name.parse().map_err(|error: oci::ReferenceError| SyncFileError::Repository {
        name: name.to_owned(),
        reason: error.to_string(),
    })
}

fn job(document: JobDocument) -> Result<SyncJob, SyncFileError> {
    let tags = document
        .tags
        .rules()
        .map_err(|error| SyncFileError::Tags { repository: document.source.clone(), error })?;
    let platforms = document.platforms.iter().map(|text| {
        text.parse::<Platform>().map_err(|error| SyncFileError::Platform {
            text: text.clone(),
            reason: error.to_string(),
        })
    });
    Ok(SyncJob {
        source: repository(&document.source)?,
        target: repository(&document.target)?,
        tags,
        platforms: platforms.collect::<Result<_, _>>()?,
        referrers: if document.referrers { WithReferrers::Yes } else { WithReferrers::No },
        vanished: if document.delete { Vanished::Delete } else { Vanished::Keep },
    })
}

impl TagChoice {
    /// The rules that it means: names alone mean exactly those tags.
    pub fn rules(&self) -> Result<TagRules, TagRuleError> {
        let names = self.names.iter().cloned();
        let chooses = !self.allow.is_empty() || self.semver.is_some() || self.latest.is_some();
        let mut rules = match (self.names.is_empty(), chooses) {
            (false, false) => TagRules::named(names),
            _ => TagRules::all().and_named(names),
        };
        for pattern in &self.allow {
            rules = rules.allow(TagPattern::whole(pattern)?);
        }
        for pattern in &self.deny {
            rules = rules.deny(TagPattern::whole(pattern)?);
        }
        if let Some(range) = &self.semver {
            rules = rules.versions(range.parse::<VersionRange>()?);
        }
        if let Some(count) = self.latest {
            rules = rules.latest(count);
        }
        Ok(rules)
    }
}
