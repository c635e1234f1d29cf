//! `copy`: from place to place, with everything that vouches for the image.
//!
//! What the name means goes whole (an index with all its platforms), then what is attached to it or to its
//! platforms (signatures, attestations, lists of contents), then the repository's trust metadata: without them a
//! mirror would turn a signed image into an unsigned one. What cannot go along is named, and the copy fails.

mod destination;
mod directory;
mod layout;
mod listed;
mod origin;
mod place;
mod staged;
mod tarball;

use oci::{Descriptor, Platform};
use registry_client::copy::{
    ClosureReport, CopyOptions, CopyReport, attached_to_image, copy as copy_graph,
    copy_with_closure, select_platform,
};
use trust::artifact::Artifact;

use crate::Engine;
use crate::error::{Error, Result};
use destination::Destination;
use origin::Origin;

pub use place::Place;

/// The first root: two repositories with the same one have the same owner.
const FIRST_ROOT: &str = "1.root.json";

/// Whether signatures, attestations, other referrers and trust data go along with an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attachments {
    /// They do, or the copy fails.
    #[default]
    Along,
    /// They stay behind, because somebody asked for it.
    Behind,
}

/// What to copy.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// From.
    pub source: Place,
    /// To.
    pub target: Place,
    /// Only this platform of an index: a signature of the index does not cover it.
    pub platform: Option<Platform>,
    /// What becomes of all that vouches for the image.
    pub attachments: Attachments,
}

/// What a copy did.
#[derive(Clone, Debug)]
pub struct Copied {
    /// What the target means now.
    pub descriptor: Descriptor,
    /// Blobs and documents of the image that were sent.
    pub sent: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Blobs and documents that were there already.
    pub present: usize,
    /// Signatures, attestations and the like that went along or were there.
    pub referrers: usize,
    /// Whether the source has trust metadata, which the target now has too.
    pub trust: bool,
}

/// Copies one image.
pub(crate) fn copy(engine: &Engine, request: &CopyRequest) -> Result<Copied> {
    let lease = engine.store().lease("copy")?;
    let from = Origin::open(engine, &request.source, &lease)?;
    let root = match &request.platform {
        Some(platform) => select_platform(&*from.content, &from.root, platform)?.bare(),
        None => from.root.clone(),
    };
    let to = Destination::open(engine, &request.target, &from, &lease)?;
    let trust = match request.attachments {
        Attachments::Along => trust_to_take(engine, request, &from, &to)?,
        Attachments::Behind => None,
    };
    let copied = Copying { request, from: &from, to: &to }.carry_out(engine, &root)?;
    let mut report = copied.image;
    let pointer = trust.as_ref().map(|artifact| artifact.manifest().descriptor());
    if let Some(pointer) = &pointer {
        add(&mut report, copy_graph(&*from.content, to.sink(), pointer, &to.options())?);
    }
    // The names come last: until then the target shows nothing of an unfinished copy.
    to.finish(engine, &root, pointer.as_ref(), &lease)?;
    Ok(Copied {
        descriptor: root,
        sent: report.copied.len(),
        bytes: report.bytes_copied(),
        present: report.present.len(),
        referrers: copied.attached.len(),
        trust: trust.is_some(),
    })
}

struct Copying<'a> {
    request: &'a CopyRequest,
    from: &'a Origin,
    to: &'a Destination<'a>,
}

impl Copying<'_> {
    fn carry_out(&self, engine: &Engine, root: &Descriptor) -> Result<ClosureReport> {
        let options = self.to.options();
        let (content, sink) = (&*self.from.content, self.to.sink());
        self.to.judge(engine, root)?;
        match self.request.attachments {
            Attachments::Along if self.to.keeps_attachments() => {
                Ok(copy_with_closure(content, sink, root, &options)?)
            }
            attachments => {
                if attachments == Attachments::Along {
                    self.refuse_to_lose(root, &options)?;
                }
                let image = copy_graph(content, sink, root, &options)?;
                Ok(ClosureReport { image, attached: Vec::new() })
            }
        }
    }

    /// A target without a place for signatures must not make an unsigned image of a signed one.
    fn refuse_to_lose(&self, root: &Descriptor, options: &CopyOptions) -> Result<()> {
        let attached = attached_to_image(&*self.from.content, root, options)?;
        if attached.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = attached
            .iter()
            .map(|one| one.tag.clone().unwrap_or_else(|| one.descriptor.digest().to_string()))
            .collect();
        Err(would_lose(self.request, &names.join(", ")))
    }
}

fn would_lose(request: &CopyRequest, names: &str) -> Error {
    let CopyRequest { source, target, .. } = request;
    Error::Conflict(format!(
        "copy {source} {target}: the target has no place for what is attached to the image: {names}; choose a \
         registry, oci: or oci-archive:, or leave it behind with --image-only"
    ))
}

/// The source's trust metadata, unless the target has those of another owner.
fn trust_to_take(
    engine: &Engine,
    request: &CopyRequest,
    from: &Origin,
    to: &Destination<'_>,
) -> Result<Option<Artifact>> {
    let CopyRequest { source, target, .. } = request;
    if from.repository().is_some() && from.repository() == to.repository() {
        return Ok(None);
    }
    let Some(ours) = from.trust(engine)? else { return Ok(None) };
    if !to.keeps_attachments() {
        return Err(would_lose(request, "the repository's trust data"));
    }
    if let Some(theirs) = to.trust(engine)?
        && first_root(&theirs) != first_root(&ours)
    {
        return Err(Error::Conflict(format!(
            "copy {source} to {target}: the target has trust data of another owner, which a copy would \
             replace; choose another target repository"
        )));
    }
    Ok(Some(ours))
}

/// The digest of the root that an owner began with.
pub(crate) fn first_root(artifact: &Artifact) -> Option<oci::Digest> {
    artifact.files().find(|(name, _)| *name == FIRST_ROOT).map(|(_, root)| root.digest().clone())
}

fn add(report: &mut CopyReport, more: CopyReport) {
    report.copied.extend(more.copied);
    report.present.extend(more.present);
    report.foreign.extend(more.foreign);
}
