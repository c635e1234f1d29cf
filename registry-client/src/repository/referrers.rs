//! Referrers: what says something about a manifest (distribution-spec end-12a, end-12b).

use std::collections::BTreeSet;

use http::Method;
use oci::{Descriptor, Digest, Index, MediaType, Raw};

use super::Repository;
use super::fallback::fallback_tag;
use super::lists::next_page;
use crate::error::{Act, ErrorAnswer, Problem, RegistryError};
use crate::exchange::Reading;
use crate::limits::{MANIFEST_BYTES_MAX, PAGES_MAX, REFERRERS_MAX};

/// Which referrers are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferrersFilter {
    /// Only those of this artifact type.
    pub artifact_type: Option<String>,
}

impl ReferrersFilter {
    /// Only those of one artifact type.
    pub fn artifact_type(artifact_type: &str) -> Self {
        Self { artifact_type: Some(artifact_type.to_owned()) }
    }

    fn takes(&self, descriptor: &Descriptor) -> bool {
        match &self.artifact_type {
            Some(wanted) => descriptor.artifact_type() == Some(wanted),
            None => true,
        }
    }
}

/// Where a list of referrers came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferrersSource {
    /// The registry's own list.
    Api,
    /// The fallback tag that clients keep on registries without the list.
    FallbackTag,
}

/// The referrers of one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrers {
    /// The manifests that refer.
    pub descriptors: Vec<Descriptor>,
    /// Where they are from.
    pub source: ReferrersSource,
}

impl Repository {
    /// What refers to a manifest. A manifest nobody refers to, and one that does not exist, have
    /// an empty list.
    pub async fn referrers(
        &self,
        subject: &Digest,
        filter: &ReferrersFilter,
    ) -> Result<Referrers, RegistryError> {
        let mut found = self.all_referrers(subject, filter).await.map_err(|problem| {
            self.error(Act::ListReferrers, format_args!("@{subject}"), problem)
        })?;
        // Filtering again harms nobody, and some registries do not filter (DST-19).
        found.descriptors.retain(|descriptor| filter.takes(descriptor));
        Ok(found)
    }

    /// What refers to a manifest, where the repository's tags are known: a registry without the list
    /// is asked for the fallback tag only where there is one.
    pub async fn referrers_given_tags(
        &self,
        subject: &Digest,
        tags: &BTreeSet<String>,
    ) -> Result<Referrers, RegistryError> {
        let known = self.listed_referrers(subject, &ReferrersFilter::default()).await;
        let wrap = |problem| self.error(Act::ListReferrers, format_args!("@{subject}"), problem);
        if let Some(descriptors) = known.map_err(wrap)? {
            return Ok(Referrers { descriptors, source: ReferrersSource::Api });
        }
        let source = ReferrersSource::FallbackTag;
        if !tags.contains(&fallback_tag(subject)) {
            return Ok(Referrers { descriptors: Vec::new(), source });
        }
        let index = self.fallback_index(subject).await.map_err(wrap)?;
        let descriptors = index.map(|(index, _)| index.manifests().to_vec()).unwrap_or_default();
        Ok(Referrers { descriptors, source })
    }

    async fn all_referrers(
        &self,
        subject: &Digest,
        filter: &ReferrersFilter,
    ) -> Result<Referrers, Problem> {
        if let Some(descriptors) = self.listed_referrers(subject, filter).await? {
            return Ok(Referrers { descriptors, source: ReferrersSource::Api });
        }
        let index = self.fallback_index(subject).await?;
        let descriptors = index.map(|(index, _)| index.manifests().to_vec()).unwrap_or_default();
        Ok(Referrers { descriptors, source: ReferrersSource::FallbackTag })
    }

    /// The registry's list; nothing where it keeps none.
    pub(super) async fn listed_referrers(
        &self,
        subject: &Digest,
        filter: &ReferrersFilter,
    ) -> Result<Option<Vec<Descriptor>>, Problem> {
        let endpoint = self.upstream().await?;
        let host = self.exchange.hosts.state(&endpoint.key);
        if host.lacks_referrers() {
            return Ok(None);
        }
        let mut descriptors = Vec::new();
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let reading =
                Reading::Document { what: "referrers list", bytes_max: MANIFEST_BYTES_MAX };
            let path = format!("referrers/{subject}");
            let mut call = self
                .call(Method::GET, &path, self.pull_scope())
                .reads(reading)
                .with_header(http::header::ACCEPT, MediaType::OciIndex.as_str())?;
            call = match (next, &filter.artifact_type) {
                (Some(url), _) => call.at_url(url),
                (None, Some(wanted)) => call.with_query("artifactType", wanted),
                (None, None) => call,
            };
            let answer = match self.exchange.call(&endpoint, &call).await {
                Ok(answer) => answer,
                Err(problem) if descriptors.is_empty() && has_no_list(&problem) => {
                    if knows_no_such_path(&problem) {
                        host.note_lack_of_referrers();
                    }
                    return Ok(None);
                }
                Err(problem) => return Err(problem),
            };
            // Front ends that answer every path with a page of theirs keep no list either.
            let Ok(page) = Raw::<Index>::parse(&answer.bytes[..]) else { return Ok(None) };
            descriptors.extend(page.manifests().iter().cloned());
            if descriptors.len() > REFERRERS_MAX {
                let reason = format!("more than {REFERRERS_MAX} referrers");
                return Err(Problem::Protocol { reason });
            }
            next = next_page(&endpoint, &answer)?;
            if next.is_none() {
                return Ok(Some(descriptors));
            }
        }
        Err(Problem::Protocol { reason: format!("more than {PAGES_MAX} pages of referrers") })
    }
}

/// A registry with the list answers 200 also where it is empty, so 404 means that there is none.
fn has_no_list(problem: &Problem) -> bool {
    matches!(problem.status().map(|status| status.as_u16()), Some(400 | 404 | 405 | 501))
}

/// Whether the answer is about the path and not about the repository: a registry's own 404 names an
/// error code, that of a server without such a path does not. Then no other subject need be asked for.
fn knows_no_such_path(problem: &Problem) -> bool {
    let silent = |answer: &ErrorAnswer| answer.details.is_empty();
    match problem {
        Problem::Status { answer } => {
            let status = answer.status.as_u16();
            matches!(status, 405 | 501) || status == 404 && silent(answer)
        }
        _ => false,
    }
}
