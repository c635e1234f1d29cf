//! The tag that stands for the list of referrers on registries without one
//! (distribution-spec "Referrers tag schema"), read and written.

use bytes::Bytes;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{Method, StatusCode};
use oci::{Descriptor, Digest, Index, ManifestOrIndex, MediaType, Raw};

use super::{PushedManifest, Repository, Selector};
use crate::error::{Act, Problem, RegistryError};
use crate::exchange::Reading;
use crate::limits::MANIFEST_BYTES_MAX;
use crate::retry;

/// Rounds of read, change, write, read again before giving up against other writers.
const ROUNDS_MAX: u32 = 16;

/// What is done to the list.
#[derive(Clone, Copy)]
enum Change<'a> {
    Add(&'a Descriptor),
    Remove(&'a Digest),
}

impl Repository {
    /// Adds a manifest that was just written to its subject's fallback tag, where it has a subject
    /// and the registry did not say that it keeps the list itself (distribution-spec, "Pushing
    /// manifests with subject").
    pub(super) async fn note_referrer(
        &self,
        pushed: &PushedManifest,
        bytes: &[u8],
    ) -> Result<(), Problem> {
        if pushed.recorded_subject.is_some() {
            return Ok(());
        }
        // Documents of kinds we do not know have no subject that we could know.
        let Ok(document) = Raw::<ManifestOrIndex>::parse(bytes) else { return Ok(()) };
        let Some(subject) = document.subject() else { return Ok(()) };
        let entry = referrer_entry(&pushed.descriptor, &document);
        self.change_fallback(subject.digest(), Change::Add(&entry)).await
    }

    /// Takes a manifest out of its subject's fallback tag, before it is deleted.
    pub async fn forget_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        let changed = self.change_fallback(subject, Change::Remove(referrer)).await;
        changed
            .map_err(|problem| self.error(Act::PutManifest, format_args!("@{referrer}"), problem))
    }

    /// The list under the fallback tag, with its entity tag; nothing where there is none.
    pub(super) async fn fallback_index(
        &self,
        subject: &Digest,
    ) -> Result<Option<(Raw<Index>, Option<String>)>, Problem> {
        let tag = fallback_tag(subject);
        let reading = Reading::Document { what: "referrers index", bytes_max: MANIFEST_BYTES_MAX };
        let call = self
            .call(Method::GET, &format!("manifests/{tag}"), self.pull_scope())
            .with_header(http::header::ACCEPT, MediaType::OciIndex.as_str())?
            .reads(reading);
        let endpoint = self.upstream().await?;
        let answer = match self.exchange.call(&endpoint, &call).await {
            Ok(answer) => answer,
            Err(problem) if problem.is_not_found() => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let etag = answer.header(ETAG.as_str()).map(str::to_owned);
        match Raw::<ManifestOrIndex>::parse(&answer.bytes[..]).map(Raw::into_parsed) {
            Ok(ManifestOrIndex::Index(_)) => {}
            // An image may be tagged like that: it is not ours to overwrite (DST-20).
            _ => return Err(Problem::Protocol { reason: format!("the tag {tag} is no index") }),
        }
        let index = Raw::<Index>::parse(&answer.bytes[..])
            .map_err(|error| Problem::Protocol { reason: format!("{tag}: {error}") })?;
        Ok(Some((index, etag)))
    }

    /// Reads, changes, writes under the condition that nobody else has written, and reads again,
    /// because many registries ignore conditions.
    async fn change_fallback(&self, subject: &Digest, change: Change<'_>) -> Result<(), Problem> {
        for round in 1..=ROUNDS_MAX {
            let found = self.fallback_index(subject).await?;
            let (entries, etag) = match &found {
                Some((index, etag)) => (index.manifests().to_vec(), etag.clone()),
                None => (Vec::new(), None),
            };
            let Some(entries) = changed(entries, change) else { return Ok(()) };
            let exists = found.is_some();
            if self.write_fallback(subject, entries, exists, etag).await? {
                let now = self.fallback_index(subject).await?;
                let entries = now.map(|(index, _)| index.manifests().to_vec()).unwrap_or_default();
                if changed(entries, change).is_none() {
                    return Ok(());
                }
            }
            let wait = retry::backoff(&self.exchange.config.retry, round.min(4), retry::random());
            self.exchange.config.clock.sleep(wait).await;
        }
        Err(Problem::Contended { tag: fallback_tag(subject), tries: ROUNDS_MAX })
    }

    /// Whether the registry took the list; not where somebody else was faster.
    async fn write_fallback(
        &self,
        subject: &Digest,
        entries: Vec<Descriptor>,
        exists: bool,
        etag: Option<String>,
    ) -> Result<bool, Problem> {
        let index = Raw::encode(&Index::new(entries))
            .map_err(|error| Problem::BadRequest { reason: error.to_string() })?;
        let bytes = Bytes::copy_from_slice(index.bytes());
        let selector = Selector::Tag(fallback_tag(subject));
        let (mut call, _) = self.put_call(&selector, &MediaType::OciIndex, bytes)?;
        match (exists, etag) {
            (true, Some(etag)) => call = call.with_header(IF_MATCH, &etag)?,
            (true, None) => {}
            (false, _) => call = call.with_header(IF_NONE_MATCH, "*")?,
        }
        let endpoint = self.upstream().await?;
        match self.exchange.call(&endpoint, &call).await {
            Ok(_) => Ok(true),
            Err(problem) if problem.status() == Some(StatusCode::PRECONDITION_FAILED) => Ok(false),
            Err(problem) => Err(problem),
        }
    }
}

/// `sha256-<hex>`, with at most 64 digits.
pub(super) fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm(), &hex[..hex.len().min(64)])
}

/// The entries after a change; nothing where the change is there already.
fn changed(mut entries: Vec<Descriptor>, change: Change<'_>) -> Option<Vec<Descriptor>> {
    match change {
        Change::Add(new) if entries.iter().any(|old| old.digest() == new.digest()) => None,
        Change::Add(new) => {
            entries.push(new.clone());
            Some(entries)
        }
        Change::Remove(gone) if !entries.iter().any(|old| old.digest() == gone) => None,
        Change::Remove(gone) => {
            entries.retain(|old| old.digest() != gone);
            Some(entries)
        }
    }
}

/// The entry of a referrer: its descriptor with its artifact type and its annotations.
fn referrer_entry(descriptor: &Descriptor, document: &ManifestOrIndex) -> Descriptor {
    let entry = descriptor.bare().with_annotations(document.annotations().clone());
    match document.artifact_type() {
        Some(artifact_type) => entry.with_artifact_type(artifact_type),
        None => entry,
    }
}

#[cfg(test)]
mod tests {
    use oci::Algorithm;

    use super::*;

    /// Covers: DST-20
    #[test]
    fn the_fallback_tag_is_a_tag_for_both_algorithms() {
        let short = fallback_tag(&Digest::sha256(b"x"));
        assert_eq!(short.len(), "sha256-".len() + 64);
        let long = fallback_tag(&Digest::of(Algorithm::Sha512, b"x"));
        assert_eq!(long.len(), "sha512-".len() + 64);
    }

    #[test]
    fn a_change_that_is_there_already_changes_nothing() {
        let entry = Descriptor::of(MediaType::OciManifest, b"a");
        let once = changed(Vec::new(), Change::Add(&entry)).expect("new");
        assert!(changed(once.clone(), Change::Add(&entry)).is_none());
        let none = changed(once, Change::Remove(entry.digest())).expect("there");
        assert!(none.is_empty() && changed(none, Change::Remove(entry.digest())).is_none());
    }
}
