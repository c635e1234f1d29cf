//! Asking both sides, and carrying a plan out.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join;
use futures_util::{StreamExt, stream};
use oci::{Descriptor, Digest, Platform, TransferError, TransferErrorKind};

use super::file::WithReferrers;
use super::plan::{Observed, Requests, SyncAct, SyncPlan};
use super::tags::TagRules;
use crate::blocking::BlockingRepository;
use crate::copy::{CopyOptions, attached_tags, copy, copy_with_closure};
use crate::error::RegistryError;
use crate::repository::{ReferrersFilter, Repository, Selector};

/// Questions under way at once; the client's budget narrows them further.
const LOOKS_AT_ONCE: usize = 16;

/// What is synced beside the tags themselves, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    /// Blobs of one image at a time.
    pub blobs: usize,
    /// Images at a time.
    pub parallel: usize,
    /// Only these platforms; all where none is named. For one platform the tag gets that
    /// platform's manifest; for several the index as it is, with gaps.
    pub platforms: Vec<Platform>,
    /// Whether what is attached to an image goes along.
    pub referrers: WithReferrers,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self { blobs: 4, parallel: 4, platforms: Vec::new(), referrers: WithReferrers::Yes }
    }
}

impl SyncOptions {
    fn single_platform(&self) -> Option<&Platform> {
        match &self.platforms[..] {
            [platform] => Some(platform),
            _ => None,
        }
    }

    fn copy_options(&self) -> CopyOptions {
        CopyOptions {
            parallel: self.blobs,
            platforms: self.platforms.clone(),
            ..CopyOptions::into_registry()
        }
    }
}

/// A tag that could not be synced; the others were.
#[derive(Debug)]
pub struct SyncFailure {
    /// The tag.
    pub tag: String,
    /// Why.
    pub error: TransferError,
}

/// What a sync did.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// Tags that were created, moved or deleted, in order of their names.
    pub done: Vec<String>,
    /// Tags that failed, in order of their names.
    pub failed: Vec<SyncFailure>,
    /// Bytes written to the target.
    pub bytes_copied: u64,
}

/// Finds out what both sides have of the wanted tags. Only asks what is needed: a list where the
/// rules need one, then one HEAD a tag and side; for one platform of an index its manifest; for
/// what is attached one more look at each image that is there already. A tag of the source that
/// cannot be read is told beside the others.
pub async fn observe(
    source: &Repository,
    target: &Repository,
    rules: &TagRules,
    options: &SyncOptions,
) -> Result<(Observed, Vec<SyncFailure>), RegistryError> {
    let mut requests = Requests::default();
    let rules = &match options.referrers {
        WithReferrers::Yes => rules.clone().images_only(),
        WithReferrers::No => rules.clone(),
    };
    // The two registries are asked at the same time.
    let lists = try_join(wanted_tags(source, rules, &mut requests), tags_of(target));
    let ((wanted, known), there) = lists.await?;
    requests.looks += wanted.len() as u64;
    let both = wanted.iter().filter(|tag| there.contains(*tag)).cloned().collect::<Vec<_>>();
    let heads =
        try_join(heads(source, &wanted, Missing::Fails), heads(target, &both, Missing::Skips));
    let ((mut at_source, mut unreadable), (at_target, _)) = heads.await?;
    if let Some(platform) = options.single_platform() {
        requests.pulls += narrow(source, &mut at_source, &mut unreadable, platform).await?;
    }
    // A tag that cannot be read is not gone.
    let at_hand = wanted.iter().map(String::as_str).collect::<BTreeSet<_>>();
    let vanished = rules.select(there.iter().map(String::as_str));
    let vanished = vanished.into_iter().filter(|tag| !at_hand.contains(tag.as_str())).collect();
    let mut observed =
        Observed { source: at_source, target: at_target, vanished, ..Observed::default() };
    if options.referrers == WithReferrers::Yes {
        let (found, looks) =
            unattached(source, target, &observed, &known, &Known::All(there)).await?;
        observed.unattached = found;
        requests.looks += looks;
    }
    observed.requests = requests;
    Ok((observed, unreadable))
}

/// All tags; a repository that does not exist yet has none.
async fn tags_of(target: &Repository) -> Result<BTreeSet<String>, RegistryError> {
    match target.tags().await {
        Ok(tags) => Ok(tags.into_iter().collect()),
        Err(error) if error.is_not_found() => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// What is known of a repository's tags.
enum Known {
    /// All of them.
    All(BTreeSet<String>),
    /// The list was not read.
    Nothing,
}

/// The wanted tags, and all tags of the source where its list was read.
async fn wanted_tags(
    source: &Repository,
    rules: &TagRules,
    requests: &mut Requests,
) -> Result<(Vec<String>, Known), RegistryError> {
    if let Some(named) = rules.only_named() {
        return Ok((named.iter().cloned().collect(), Known::Nothing));
    }
    requests.looks += 1;
    let known = source.tags().await?.into_iter().collect::<BTreeSet<_>>();
    Ok((rules.select(known.iter().map(String::as_str)), Known::All(known)))
}

/// Replaces indexes by their manifest for a platform. Returns how many were read.
async fn narrow(
    source: &Repository,
    tags: &mut BTreeMap<String, Descriptor>,
    failed: &mut Vec<SyncFailure>,
    platform: &Platform,
) -> Result<u64, RegistryError> {
    let indexes = tags.iter().filter(|(_, found)| found.media_type().is_index());
    let indexes = indexes.map(|(tag, found)| (tag.clone(), found.clone())).collect::<Vec<_>>();
    let asked = stream::iter(indexes.clone()).map(|(tag, index)| async move {
        let chosen = source.choose_platform(&index, platform).await;
        (tag, chosen)
    });
    for (tag, chosen) in asked.buffer_unordered(LOOKS_AT_ONCE).collect::<Vec<_>>().await {
        match chosen {
            Ok(chosen) => {
                tags.insert(tag, chosen);
            }
            Err(error) if is_about_all(&error) => return Err(error),
            Err(error) => {
                tags.remove(&tag);
                failed.push(SyncFailure { tag, error: error.into() });
            }
        }
    }
    Ok(indexes.len() as u64)
}

/// The tags that are equal on both sides and to which the source has more attached, and how many
/// looks it took. Tags of one image are one look.
async fn unattached(
    source: &Repository,
    target: &Repository,
    observed: &Observed,
    source_tags: &Known,
    target_tags: &Known,
) -> Result<(BTreeSet<String>, u64), RegistryError> {
    let equal = observed.source.iter().filter(|(tag, found)| {
        observed.target.get(*tag).is_some_and(|there| there.digest() == found.digest())
    });
    let mut subjects = BTreeMap::<Digest, Vec<String>>::new();
    for (tag, found) in equal {
        subjects.entry(found.digest().clone()).or_default().push(tag.clone());
    }
    let looks = subjects.len() as u64;
    let asked = stream::iter(subjects).map(|(digest, tags)| async move {
        let here = |tag: &String| matches!(source_tags, Known::All(all) if all.contains(tag));
        let there = |tag: &String| matches!(target_tags, Known::All(all) if all.contains(tag));
        let by_tag = attached_tags(&digest).any(|attached| here(&attached) && !there(&attached));
        let more = match by_tag {
            true => Ok(true),
            false => {
                has_more_referrers((source, source_tags), (target, target_tags), &digest).await
            }
        };
        (tags, more)
    });
    let mut found = BTreeSet::new();
    for (tags, more) in asked.buffer_unordered(LOOKS_AT_ONCE).collect::<Vec<_>>().await {
        if more? {
            found.extend(tags);
        }
    }
    Ok((found, looks))
}

async fn has_more_referrers(
    source: (&Repository, &Known),
    target: (&Repository, &Known),
    subject: &Digest,
) -> Result<bool, RegistryError> {
    let at_source = referrers(source, subject).await?;
    if at_source.is_empty() {
        return Ok(false);
    }
    let at_target = referrers(target, subject).await?;
    let there = at_target.iter().map(Descriptor::digest).collect::<BTreeSet<_>>();
    Ok(at_source.iter().any(|one| !there.contains(one.digest())))
}

async fn referrers(
    (repository, tags): (&Repository, &Known),
    subject: &Digest,
) -> Result<Vec<Descriptor>, RegistryError> {
    let found = match tags {
        Known::All(tags) => repository.referrers_given_tags(subject, tags).await?,
        Known::Nothing => repository.referrers(subject, &ReferrersFilter::default()).await?,
    };
    Ok(found.descriptors)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fails,
    Skips,
}

/// Where the registry refuses or is not there, it is so for all tags.
fn is_about_all(error: &RegistryError) -> bool {
    error.is_temporary() || error.is_denied()
}

/// What the tags mean, and those of which it cannot be said.
async fn heads(
    repository: &Repository,
    tags: &[String],
    missing: Missing,
) -> Result<(BTreeMap<String, Descriptor>, Vec<SyncFailure>), RegistryError> {
    let asked = stream::iter(tags.to_vec()).map(|tag| async move {
        let found = repository.resolve(&Selector::Tag(tag.clone())).await;
        (tag, found)
    });
    let answers = asked.buffer_unordered(LOOKS_AT_ONCE).collect::<Vec<_>>().await;
    let (mut found, mut failed) = (BTreeMap::new(), Vec::new());
    for (tag, answer) in answers {
        match answer {
            Ok(descriptor) => {
                found.insert(tag, descriptor);
            }
            Err(error) if error.is_not_found() && missing == Missing::Skips => {}
            Err(error) if is_about_all(&error) => return Err(error),
            Err(error) => failed.push(SyncFailure { tag, error: error.into() }),
        }
    }
    failed.sort_by(|a, b| a.tag.cmp(&b.tag));
    Ok((found, failed))
}

/// Does what a plan says. A tag that fails does not stop the others (DST-60); the report names
/// it. A tag moves only after everything it names is there.
pub fn carry_out(
    plan: &SyncPlan,
    source: &BlockingRepository,
    target: &BlockingRepository,
    options: &SyncOptions,
) -> SyncReport {
    // One list for all images instead of one for each; without it each asks for itself.
    let known = match options.referrers {
        WithReferrers::Yes if !plan.actions().is_empty() => source.tags().ok(),
        _ => None,
    };
    let knowing = known.map(|tags| source.clone().with_known_tags(tags.into_iter().collect()));
    let source = knowing.as_ref().unwrap_or(source);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let outcomes = std::sync::Mutex::new(Vec::new());
    let worker = || {
        while let Some(action) =
            plan.actions().get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            let outcome = apply(&action.tag, &action.act, source, target, options);
            let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            outcomes.push((action.tag.clone(), outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.parallel.clamp(1, plan.actions().len().max(1)) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by(|a, b| a.0.cmp(&b.0));
    let mut report = SyncReport::default();
    for (tag, outcome) in outcomes {
        match outcome {
            Ok(bytes) => {
                report.done.push(tag);
                report.bytes_copied += bytes;
            }
            Err(error) => report.failed.push(SyncFailure { tag, error }),
        }
    }
    report
}

fn apply(
    tag: &str,
    act: &SyncAct,
    source: &BlockingRepository,
    target: &BlockingRepository,
    options: &SyncOptions,
) -> Result<u64, TransferError> {
    match act {
        SyncAct::Create(to) | SyncAct::Move { to, .. } => {
            let bytes = bring(source, target, to, options)?;
            target.tag(to, tag)?;
            Ok(bytes)
        }
        SyncAct::Attach(to) => bring(source, target, to, options),
        SyncAct::Delete => match target.delete_tag(tag) {
            Ok(()) => Ok(0),
            // Somebody else was faster.
            Err(error) if error.is_not_found() => Ok(0),
            Err(error) => Err(TransferError::because(
                TransferErrorKind::Denied,
                format!("delete tag {tag}"),
                error,
            )),
        },
    }
}

fn bring(
    source: &BlockingRepository,
    target: &BlockingRepository,
    to: &Descriptor,
    options: &SyncOptions,
) -> Result<u64, TransferError> {
    let copying = options.copy_options();
    Ok(match options.referrers {
        WithReferrers::Yes => copy_with_closure(source, target, to, &copying)?.image.bytes_copied(),
        WithReferrers::No => copy(source, target, to, &copying)?.bytes_copied(),
    })
}
