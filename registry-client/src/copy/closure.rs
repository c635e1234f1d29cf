//! Everything that says something about an image: referrers, and the tags that older tools attach
//! by name. An image that moves without it arrives unsigned.

use std::collections::{BTreeSet, VecDeque};

use oci::{Descriptor, Digest, Sink, Source, TransferError, TransferErrorKind};

use super::{CopyOptions, CopyReport, Graph, copy};
use crate::error::{Act, Problem, RegistryError};
use crate::limits::REFERRERS_MAX;
use crate::repository::{Repository, Selector};

/// What cosign and its like put behind `sha256-<hex>` in a tag of their own.
const ATTACHED_SUFFIXES: &[&str] = &[".sig", ".att", ".sbom", ".cosign.bundle"];

/// Something attached to a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The manifest or index that was attached.
    pub descriptor: Descriptor,
    /// What it is attached to.
    pub subject: Digest,
    /// The tag it is attached by; nothing where it names its subject itself.
    pub tag: Option<String>,
}

/// What a copy of an image with its closure did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosureReport {
    /// The image.
    pub image: CopyReport,
    /// What went along, subjects before what refers to them.
    pub attached: Vec<Attached>,
}

/// A source that knows what is attached to its manifests.
pub trait ClosureSource: Source {
    /// All that is attached to these manifests, and to what is attached to them, and so on. Every
    /// subject comes before what refers to it.
    fn closure(&self, manifests: &[Digest]) -> Result<Vec<Attached>, TransferError>;
}

/// A sink that keeps what is attached to its manifests.
pub trait ClosureSink: Sink {
    /// Makes content that was accepted findable as what it is attached by.
    fn attach(&self, one: &Attached) -> Result<(), TransferError>;

    /// What the sink lists as referring to a manifest.
    fn listed(&self, subject: &Digest) -> Result<Vec<Digest>, TransferError>;
}

/// Finds all that is attached to these manifests, and to what is attached to them, and so on.
/// Every subject comes before what refers to it; circles end. `tags` are the repository's.
pub async fn closure(
    repository: &Repository,
    manifests: &[Digest],
    tags: &BTreeSet<String>,
) -> Result<Vec<Attached>, RegistryError> {
    let mut waiting = manifests.iter().cloned().collect::<VecDeque<_>>();
    let mut followed = manifests.iter().cloned().collect::<BTreeSet<_>>();
    let mut found: Vec<Attached> = Vec::new();
    while let Some(subject) = waiting.pop_front() {
        for one in attached_to(repository, &subject, tags).await? {
            if followed.insert(one.descriptor.digest().clone()) {
                waiting.push_back(one.descriptor.digest().clone());
            }
            // Old tools attach one signature to several subjects, by a tag for each.
            if !found.iter().any(|old| old.descriptor == one.descriptor && old.tag == one.tag) {
                found.push(one);
            }
        }
        if found.len() > REFERRERS_MAX {
            let problem =
                Problem::Protocol { reason: format!("more than {REFERRERS_MAX} referrers") };
            let name = repository.name().familiar();
            return Err(RegistryError::new(Act::ListReferrers, name, problem));
        }
    }
    Ok(found)
}

async fn attached_to(
    repository: &Repository,
    subject: &Digest,
    tags: &BTreeSet<String>,
) -> Result<Vec<Attached>, RegistryError> {
    let attached = |descriptor: &Descriptor, tag| Attached {
        descriptor: descriptor.bare(),
        subject: subject.clone(),
        tag,
    };
    let referrers = repository.referrers_given_tags(subject, tags).await?;
    let mut all = referrers.descriptors.iter().map(|one| attached(one, None)).collect::<Vec<_>>();
    for tag in attached_tags(subject).filter(|tag| tags.contains(tag)) {
        let descriptor = repository.resolve(&Selector::Tag(tag.clone())).await?;
        all.push(attached(&descriptor, Some(tag)));
    }
    Ok(all)
}

/// The tags by which older tools attach something to a manifest.
pub fn attached_tags(subject: &Digest) -> impl Iterator<Item = String> + '_ {
    let base = format!("{}-{}", subject.algorithm(), subject.hex());
    ATTACHED_SUFFIXES.iter().map(move |suffix| format!("{base}{suffix}"))
}

/// Whether a tag names no image of its own but what is attached to one: the tags of older tools, and
/// the one that stands for the list of referrers (distribution-spec, "Referrers tag schema").
pub fn is_attachment_tag(tag: &str) -> bool {
    let Some((algorithm, rest)) = tag.split_once('-') else { return false };
    let hex_end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    let (hex, suffix) = rest.split_at(hex_end);
    let subject = format!("{algorithm}:{hex}").parse::<Digest>();
    subject.is_ok() && (suffix.is_empty() || ATTACHED_SUFFIXES.contains(&suffix))
}

/// All that is attached to an image or to its platforms' manifests.
pub fn attached_to_image(
    source: &dyn ClosureSource,
    root: &Descriptor,
    options: &CopyOptions,
) -> Result<Vec<Attached>, TransferError> {
    source.closure(&manifests_of(source, root, options)?)
}

/// Copies an image and all that is attached to it or to its platforms' manifests, or fails with
/// the names of what is missing. Nothing is tagged here but what is attached by tags.
pub fn copy_with_closure(
    source: &dyn ClosureSource,
    target: &dyn ClosureSink,
    root: &Descriptor,
    options: &CopyOptions,
) -> Result<ClosureReport, TransferError> {
    let attached = attached_to_image(source, root, options)?;
    let mut missing = Vec::new();
    let image = copy(source, target, root, options)?;
    for one in &attached {
        match copy_one(source, target, one, options) {
            Ok(()) => {}
            Err(error) if error.kind() == TransferErrorKind::NotFound => missing.push(one),
            Err(error) => return Err(error),
        }
    }
    missing.extend(not_listed(target, &attached)?);
    match missing.is_empty() {
        true => Ok(ClosureReport { image, attached }),
        false => Err(incomplete(root, &missing)),
    }
}

/// The manifests of an image: its own and those of its platforms.
fn manifests_of(
    source: &dyn Source,
    root: &Descriptor,
    options: &CopyOptions,
) -> Result<Vec<Digest>, TransferError> {
    let graph = Graph::read(source, root, &options.platforms, &|_| Ok(false))?;
    let documents = graph.nodes().iter().filter(|node| node.bytes().is_some());
    Ok(documents.map(|node| node.descriptor().digest().clone()).collect())
}

fn copy_one(
    source: &dyn ClosureSource,
    target: &dyn ClosureSink,
    one: &Attached,
    options: &CopyOptions,
) -> Result<(), TransferError> {
    // What is attached is no image: a choice of platforms says nothing about it.
    let options = &CopyOptions { platforms: Vec::new(), ..options.clone() };
    copy(source, target, &one.descriptor, options)?;
    target.attach(one)
}

/// What the target does not list: a registry may take a manifest and lose its subject.
fn not_listed<'a>(
    target: &dyn ClosureSink,
    attached: &'a [Attached],
) -> Result<Vec<&'a Attached>, TransferError> {
    let subjects = attached.iter().filter(|one| one.tag.is_none()).map(|one| &one.subject);
    let mut lost = Vec::new();
    for subject in subjects.collect::<BTreeSet<_>>() {
        let listed = target.listed(subject)?.into_iter().collect::<BTreeSet<_>>();
        let expected = attached.iter().filter(|one| one.tag.is_none() && one.subject == *subject);
        lost.extend(expected.filter(|one| !listed.contains(one.descriptor.digest())));
    }
    Ok(lost)
}

fn incomplete(root: &Descriptor, missing: &[&Attached]) -> TransferError {
    let names = missing.iter().map(|one| match &one.tag {
        Some(tag) => format!("{tag} ({})", one.descriptor.digest()),
        None => one.descriptor.digest().to_string(),
    });
    let names = names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
    TransferError::new(
        TransferErrorKind::NotFound,
        format!("copy {} with all that is attached to it: missing {names}", root.digest()),
    )
}
