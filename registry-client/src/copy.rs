//! Copying the graph of a descriptor from any source to any sink: children before parents, what
//! is there already left alone.
//!
//! Pull, push, copy, save and load are pairings of a source with a sink; this is the one code path.

mod closure;
mod graph;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use oci::{Descriptor, Platform, Sink, Source, TransferError, TransferErrorKind};

pub use closure::{
    Attached, ClosureReport, ClosureSink, ClosureSource, attached_tags, attached_to_image, closure,
    copy_with_closure, is_attachment_tag,
};
pub use graph::{Graph, Node, select_platform};
pub use plan::{Action, CopyPlan, Foreign, Step};

/// What having a manifest says about a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has all blobs that a manifest names: registries refuse manifests otherwise. An index says
    /// nothing of its manifests, because there are indexes with gaps.
    ManifestImpliesContent,
    /// Nothing: everything is asked for.
    AskForEach,
}

/// How a graph is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// Blobs at a time.
    pub parallel: usize,
    /// What a manifest in the sink says.
    pub presence: Presence,
    /// What is done with non-distributable layers.
    pub foreign: Foreign,
    /// Only these platforms of an index; all where none is named. The index itself is copied as it
    /// is, so that its digest and signatures hold; registries may refuse one with gaps (DST-44).
    pub platforms: Vec<Platform>,
    /// Tries of one blob where the other side is not available; each opens the source anew.
    pub tries_max: u32,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            parallel: 4,
            presence: Presence::AskForEach,
            foreign: Foreign::Copy,
            platforms: Vec::new(),
            tries_max: 3,
        }
    }
}

impl CopyOptions {
    /// Into a registry: what it has a manifest of it has whole, and what may not be distributed
    /// is not.
    pub fn into_registry() -> Self {
        Self {
            presence: Presence::ManifestImpliesContent,
            foreign: Foreign::Skip,
            ..Self::default()
        }
    }
}

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Written to the sink, in plan order.
    pub copied: Vec<Descriptor>,
    /// There already.
    pub present: Vec<Descriptor>,
    /// Left out because they may not be distributed.
    pub foreign: Vec<Descriptor>,
}

impl CopyReport {
    /// Bytes written to the sink.
    pub fn bytes_copied(&self) -> u64 {
        self.copied.iter().map(Descriptor::size).sum()
    }
}

/// Copies everything that `root` names, and `root` itself last. Nothing that names something
/// missing is ever written.
pub fn copy(
    source: &dyn Source,
    sink: &dyn Sink,
    root: &Descriptor,
    options: &CopyOptions,
) -> Result<CopyReport, TransferError> {
    let plan = prepare(source, sink, root, options)?;
    carry_out(&plan, source, sink, options)
}

/// Finds out what a copy has to do, without writing anything.
pub fn prepare(
    source: &dyn Source,
    sink: &dyn Sink,
    root: &Descriptor,
    options: &CopyOptions,
) -> Result<CopyPlan, TransferError> {
    let whole = |descriptor: &Descriptor| match options.presence {
        Presence::ManifestImpliesContent if descriptor.media_type().is_manifest() => {
            sink.has(descriptor)
        }
        _ => Ok(false),
    };
    let graph = Graph::read(source, root, &options.platforms, &whole)?;
    let blobs = graph.nodes().iter().filter(|node| !node.is_known_present()).collect::<Vec<_>>();
    let answers = in_parallel(options.parallel, &blobs, |node| match node.bytes() {
        // A manifest that is not known to be there was asked for already.
        Some(_)
            if options.presence == Presence::ManifestImpliesContent
                && node.descriptor().media_type().is_manifest() =>
        {
            Ok(false)
        }
        _ if plan::is_left_out(node.descriptor(), options.foreign) => Ok(false),
        _ => sink.has(node.descriptor()),
    })?;
    let present = blobs
        .iter()
        .zip(answers)
        .filter(|(_, has)| *has)
        .map(|(node, _)| node.descriptor().digest().clone())
        .collect();
    Ok(CopyPlan::new(&graph, &present, options.foreign))
}

/// Does what a plan says: blobs several at a time, then documents in order.
pub fn carry_out(
    plan: &CopyPlan,
    source: &dyn Source,
    sink: &dyn Sink,
    options: &CopyOptions,
) -> Result<CopyReport, TransferError> {
    let copies = |action| plan.steps().iter().filter(move |step| step.action() == action);
    let blobs = copies(Action::CopyBlob).collect::<Vec<_>>();
    in_parallel(options.parallel, &blobs, |step| copy_blob(source, sink, step, options))?;
    for step in copies(Action::WriteDocument) {
        let mut bytes = step.bytes().unwrap_or_default();
        sink.accept(step.descriptor(), &mut bytes)?;
    }
    Ok(plan.report())
}

fn copy_blob(
    source: &dyn Source,
    sink: &dyn Sink,
    step: &Step,
    options: &CopyOptions,
) -> Result<(), TransferError> {
    let descriptor = step.descriptor();
    let mut tries = 1;
    loop {
        let outcome = match descriptor.embedded() {
            Some(bytes) => sink.accept(descriptor, &mut &bytes[..]),
            None => source
                .open_verified(descriptor)
                .and_then(|mut content| sink.accept(descriptor, &mut content)),
        };
        match outcome {
            Err(error)
                if error.kind() == TransferErrorKind::Unavailable && tries < options.tries_max =>
            {
                tracing::info!(%error, tries, "trying the blob again");
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Does `work` for every item on a few threads; the first failure stops what has not begun. The
/// answers come in the items' order.
fn in_parallel<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> Result<T, TransferError> + Sync,
) -> Result<Vec<T>, TransferError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let worker = || {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let outcome = work(item);
            if outcome.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, items.len().max(1)) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}
