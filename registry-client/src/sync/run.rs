//! Asking both sides, and carrying a plan out.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use oci::{Descriptor, TransferError, TransferErrorKind};

use super::plan::{Observed, Requests, SyncAct, SyncPlan};
use super::tags::TagRules;
use crate::blocking::BlockingRepository;
use crate::copy::{CopyOptions, copy};
use crate::error::RegistryError;
use crate::repository::{Repository, Selector};

/// Questions under way at once; the client's budget narrows them further.
const LOOKS_AT_ONCE: usize = 16;

/// How a plan is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    /// How each image is copied.
    pub copy: CopyOptions,
    /// Images at a time.
    pub parallel: usize,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self { copy: CopyOptions::into_registry(), parallel: 4 }
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
/// rules need one, then one HEAD a tag and side.
pub async fn observe(
    source: &Repository,
    target: &Repository,
    rules: &TagRules,
) -> Result<Observed, RegistryError> {
    let mut looks = 0;
    let wanted = match rules.only_named() {
        Some(named) => named.iter().cloned().collect(),
        None => {
            looks += 1;
            rules.select(source.tags().await?.iter().map(String::as_str))
        }
    };
    let there = match target.tags().await {
        Ok(tags) => tags,
        // A repository that does not exist yet has no tags.
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    looks += wanted.len() as u64;
    let at_source = heads(source, &wanted, Missing::Fails).await?;
    let there = there.into_iter().collect::<BTreeSet<_>>();
    let both = wanted.iter().filter(|tag| there.contains(*tag)).cloned().collect::<Vec<_>>();
    let at_target = heads(target, &both, Missing::Skips).await?;
    let vanished = rules.select(there.iter().map(String::as_str));
    let vanished = vanished.into_iter().filter(|tag| !at_source.contains_key(tag)).collect();
    Ok(Observed {
        source: at_source,
        target: at_target,
        vanished,
        requests: Requests { looks, pulls: 0 },
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fails,
    Skips,
}

async fn heads(
    repository: &Repository,
    tags: &[String],
    missing: Missing,
) -> Result<BTreeMap<String, Descriptor>, RegistryError> {
    let asked = stream::iter(tags.to_vec()).map(|tag| async move {
        let found = repository.resolve(&Selector::Tag(tag.clone())).await;
        (tag, found)
    });
    let answers = asked.buffer_unordered(LOOKS_AT_ONCE).collect::<Vec<_>>().await;
    let mut found = BTreeMap::new();
    for (tag, answer) in answers {
        match answer {
            Ok(descriptor) => {
                found.insert(tag, descriptor);
            }
            Err(error) if error.is_not_found() && missing == Missing::Skips => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Does what a plan says. A tag that fails does not stop the others (DST-60); the report names
/// it. A tag moves only after everything it names is there.
pub fn carry_out(
    plan: &SyncPlan,
    source: &BlockingRepository,
    target: &BlockingRepository,
    options: &SyncOptions,
) -> SyncReport {
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
            let report = copy(source, target, to, &options.copy)?;
            target.tag(to, tag)?;
            Ok(report.bytes_copied())
        }
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
