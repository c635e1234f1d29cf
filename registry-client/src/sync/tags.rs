//! Which tags of a repository are wanted.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use super::version::{TagVersion, VersionRange, VersionRangeError};
use crate::copy::is_attachment_tag;
use crate::limits::TAG_REGEX_BYTES_MAX;

/// Rules that choose tags. A tag is wanted where it is named, or where it matches an allowed
/// pattern (any, if none is given), is in the version range (if one is given) and matches no
/// denied pattern. Of what reads as versions only the latest are kept where a number is given.
#[derive(Clone, Debug, Default)]
pub struct TagRules {
    named: BTreeSet<String>,
    allow: Vec<TagPattern>,
    deny: Vec<TagPattern>,
    versions: Option<VersionRange>,
    latest: Option<usize>,
    only_named: bool,
    images_only: bool,
}

/// A pattern for tags.
#[derive(Clone, Debug)]
pub struct TagPattern(Regex);

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TagRuleError {
    /// Not a regular expression, or one that would need too much memory.
    #[error("invalid tag pattern {pattern:?}: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// Not a version range.
    #[error(transparent)]
    Range(#[from] VersionRangeError),
}

impl TagPattern {
    /// A pattern that must match the whole tag.
    pub fn whole(pattern: &str) -> Result<Self, TagRuleError> {
        Self::build(&format!("^(?:{pattern})$"), pattern)
    }

    /// A pattern that must match somewhere in the tag, as skopeo's do.
    pub fn anywhere(pattern: &str) -> Result<Self, TagRuleError> {
        Self::build(pattern, pattern)
    }

    fn build(expression: &str, pattern: &str) -> Result<Self, TagRuleError> {
        RegexBuilder::new(expression).size_limit(TAG_REGEX_BYTES_MAX).build().map(Self).map_err(
            |error| TagRuleError::Pattern {
                pattern: pattern.to_owned(),
                reason: error.to_string(),
            },
        )
    }

    /// Whether the tag matches.
    pub fn matches(&self, tag: &str) -> bool {
        self.0.is_match(tag)
    }
}

impl TagRules {
    /// All tags.
    pub fn all() -> Self {
        Self::default()
    }

    /// Exactly these tags.
    pub fn named(tags: impl IntoIterator<Item = String>) -> Self {
        Self { named: tags.into_iter().collect(), only_named: true, ..Self::default() }
    }

    /// These tags too, whatever the other rules say.
    pub fn and_named(mut self, tags: impl IntoIterator<Item = String>) -> Self {
        self.named.extend(tags);
        self
    }

    /// Tags that match this pattern.
    pub fn allow(mut self, pattern: TagPattern) -> Self {
        self.allow.push(pattern);
        self
    }

    /// No tags that match this pattern; it comes after the allowed ones.
    pub fn deny(mut self, pattern: TagPattern) -> Self {
        self.deny.push(pattern);
        self
    }

    /// Tags that are versions in this range.
    pub fn versions(mut self, range: VersionRange) -> Self {
        self.versions = Some(range);
        self
    }

    /// The `count` latest of the tags that read as versions; others are left out.
    pub fn latest(mut self, count: usize) -> Self {
        self.latest = Some(count);
        self
    }

    /// No tags that stand for what is attached to an image, unless they are named: it goes along
    /// with its image.
    pub fn images_only(mut self) -> Self {
        self.images_only = true;
        self
    }

    /// The tags wanted by name alone, for which the list of all tags need not be read.
    pub fn only_named(&self) -> Option<&BTreeSet<String>> {
        self.only_named.then_some(&self.named)
    }

    /// The wanted tags, in order of their names.
    pub fn select<'a>(&self, tags: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let all = tags.into_iter().collect::<BTreeSet<_>>();
        let mut kept = all.iter().copied().filter(|tag| self.matches(tag)).collect::<Vec<_>>();
        if let Some(count) = self.latest {
            kept = latest_of(kept, count);
        }
        let named = all.iter().copied().filter(|tag| self.named.contains(*tag));
        let chosen = kept.into_iter().chain(named).collect::<BTreeSet<_>>();
        chosen.into_iter().map(str::to_owned).collect()
    }

    fn matches(&self, tag: &str) -> bool {
        let allowed = self.allow.is_empty() || self.allow.iter().any(|one| one.matches(tag));
        let in_range = match &self.versions {
            Some(range) => TagVersion::parse(tag).is_some_and(|version| range.contains(&version)),
            None => true,
        };
        let is_image = !self.images_only || !is_attachment_tag(tag);
        !self.only_named
            && is_image
            && allowed
            && in_range
            && !self.deny.iter().any(|one| one.matches(tag))
    }
}

fn latest_of(tags: Vec<&str>, count: usize) -> Vec<&str> {
    let mut versions = tags
        .into_iter()
        .filter_map(|tag| TagVersion::parse(tag).map(|version| (version, tag)))
        .collect::<Vec<_>>();
    versions.sort_by(|(a, a_tag), (b, b_tag)| b.compare(a).then_with(|| a_tag.cmp(b_tag)));
    versions.into_iter().take(count).map(|(_, tag)| tag).collect()
}
