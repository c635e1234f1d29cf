//! `copy`: from registry to registry, with everything that vouches for the image.
//!
//! What the name means goes whole (an index with all its platforms), then what refers to it (signatures,
//! attestations), then the repository's trust metadata: without them a mirror would turn a signed image into an
//! unsigned one.

use oci::{Descriptor, Platform, Reference, Repository};
use registry_client::blocking::BlockingRepository;
use registry_client::copy::{CopyOptions, CopyReport, copy as copy_graph, select_platform};
use registry_client::{ReferrersFilter, Selector};
use trust::artifact::{Artifact, POINTER_TAG};

use crate::Engine;
use crate::error::{Error, Result};
use crate::trust::metadata;

/// The first root: two repositories with the same one have the same owner.
const FIRST_ROOT: &str = "1.root.json";

/// What to copy.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// From.
    pub source: Reference,
    /// To; its tag is set.
    pub target: Reference,
    /// Only this platform of an index: a signature of the index does not cover it.
    pub platform: Option<Platform>,
}

/// What a copy did.
#[derive(Clone, Debug)]
pub struct Copied {
    /// What the target's tag means now.
    pub descriptor: Descriptor,
    /// Blobs and documents that were sent.
    pub sent: usize,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Blobs and documents that were there already.
    pub present: usize,
    /// Signatures and attestations that went along or were there.
    pub referrers: usize,
    /// Whether the source has trust metadata, which the target now has too.
    pub trust: bool,
}

/// Copies one name.
pub(crate) fn copy(engine: &Engine, request: &CopyRequest) -> Result<Copied> {
    let target = request.target.clone().or_latest();
    let source = request.source.clone().or_latest();
    let tag = target.tag().filter(|_| target.digest().is_none()).ok_or_else(|| {
        Error::Invalid(format!("copy {source} {target}: the target is a tag, not a digest"))
    })?;
    let selector = Selector::of(&source)
        .ok_or_else(|| Error::Invalid(format!("copy {source}: name a tag or a digest")))?;
    let between = Between::new(engine, source.repository(), target.repository())?;
    let trust = between.may_take_trust(engine)?;

    let named = between.from.resolve(&selector)?;
    let root = match &request.platform {
        Some(platform) => select_platform(&between.from, &named, platform)?,
        None => named,
    };
    let mut report = between.graph(&root)?;
    let referrers = between.referrers(&root, &mut report)?;
    // The names come last: until then the target shows nothing of an unfinished copy.
    if let Some(pointer) = &trust {
        let descriptor = pointer.manifest().descriptor();
        add(&mut report, between.graph(&descriptor)?);
        between.to.tag(&descriptor, POINTER_TAG)?;
    }
    between.to.tag(&root, tag)?;
    Ok(Copied {
        descriptor: root.bare(),
        sent: report.copied.len(),
        bytes: report.bytes_copied(),
        present: report.present.len(),
        referrers,
        trust: trust.is_some(),
    })
}

/// The two ends of a copy.
struct Between<'a> {
    engine: &'a Engine,
    from: BlockingRepository,
    to: BlockingRepository,
}

impl<'a> Between<'a> {
    fn new(engine: &'a Engine, from: &Repository, to: &Repository) -> Result<Self> {
        let network = engine.network();
        let end = |repository: &Repository| -> Result<BlockingRepository> {
            let client = network.client()?.repository(repository);
            Ok(BlockingRepository::new(client, network.runtime()?.handle().clone()))
        };
        let mut target = end(to)?;
        if from.registry() == to.registry() {
            target = target.with_mount_sources(vec![from.clone()]);
        }
        Ok(Between { engine, from: end(from)?, to: target })
    }

    fn graph(&self, root: &Descriptor) -> Result<CopyReport> {
        Ok(copy_graph(&self.from, &self.to, root, &CopyOptions::into_registry())?)
    }

    /// Copies what refers to the image; gives how many there are.
    fn referrers(&self, root: &Descriptor, report: &mut CopyReport) -> Result<usize> {
        let all = ReferrersFilter::default();
        let listing = self.from.repository().referrers(root.digest(), &all);
        let found = self.engine.network().block_on(listing)??.descriptors;
        for referrer in &found {
            add(report, self.graph(referrer)?);
        }
        Ok(found.len())
    }

    /// The source's trust metadata, unless the target has those of another owner.
    fn may_take_trust(&self, engine: &Engine) -> Result<Option<Artifact>> {
        let (from, to) = (self.from.repository().name(), self.to.repository().name());
        if from == to {
            return Ok(None);
        }
        let Some(ours) = metadata::fetch_pointer(engine, from)? else { return Ok(None) };
        if let Some(theirs) = metadata::fetch_pointer(engine, to)?
            && first_root(&theirs) != first_root(&ours)
        {
            return Err(Error::Conflict(format!(
                "copy {from} to {to}: the target has trust data of another owner, which a copy would \
                 replace; choose another target repository"
            )));
        }
        Ok(Some(ours))
    }
}

fn first_root(artifact: &Artifact) -> Option<oci::Digest> {
    artifact.files().find(|(name, _)| *name == FIRST_ROOT).map(|(_, root)| root.digest().clone())
}

fn add(report: &mut CopyReport, more: CopyReport) {
    report.copied.extend(more.copied);
    report.present.extend(more.present);
    report.foreign.extend(more.foreign);
}
