//! What a copy will do, as data that prints.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use oci::{Descriptor, Digest};

use super::{CopyReport, Graph};

/// What is done with layers that may not be distributed (image-spec layer.md, deprecated there).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// They are copied like all others.
    Copy,
    /// They are left where they are.
    Skip,
}

/// What is done with one piece of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its bytes are copied.
    CopyBlob,
    /// The document is written, after everything it names.
    WriteDocument,
    /// Nothing: it is there.
    Present,
    /// Nothing: it may not be distributed.
    LeaveOut,
}

/// One step of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    descriptor: Descriptor,
    action: Action,
    bytes: Option<Arc<[u8]>>,
}

impl Step {
    /// What it is about.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// What is done.
    pub fn action(&self) -> Action {
        self.action
    }

    /// The bytes of a document.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }
}

/// The steps of a copy, children before parents.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    steps: Vec<Step>,
}

impl CopyPlan {
    /// The plan for a graph of which the sink has `present`.
    pub fn new(graph: &Graph, present: &HashSet<Digest>, foreign: Foreign) -> Self {
        let steps = graph.nodes().iter().map(|node| {
            let descriptor = node.descriptor().clone();
            let action = match node.bytes() {
                _ if node.is_known_present() || present.contains(descriptor.digest()) => {
                    Action::Present
                }
                Some(_) => Action::WriteDocument,
                None if is_left_out(&descriptor, foreign) => Action::LeaveOut,
                None => Action::CopyBlob,
            };
            Step { descriptor, action, bytes: node.bytes().cloned() }
        });
        Self { steps: steps.collect() }
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Bytes that will be copied.
    pub fn bytes_to_copy(&self) -> u64 {
        let copied = |step: &&Step| matches!(step.action, Action::CopyBlob | Action::WriteDocument);
        self.steps.iter().filter(copied).map(|step| step.descriptor.size()).sum()
    }

    pub(super) fn report(&self) -> CopyReport {
        let mut report = CopyReport::default();
        for step in &self.steps {
            let list = match step.action {
                Action::CopyBlob | Action::WriteDocument => &mut report.copied,
                Action::Present => &mut report.present,
                Action::LeaveOut => &mut report.foreign,
            };
            list.push(step.descriptor.clone());
        }
        report
    }
}

impl fmt::Display for CopyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let act = match step.action {
                Action::CopyBlob => "copy",
                Action::WriteDocument => "write",
                Action::Present => "present",
                Action::LeaveOut => "leave out",
            };
            let descriptor = &step.descriptor;
            writeln!(f, "{act} {} {}", descriptor.digest(), descriptor.media_type())?;
        }
        Ok(())
    }
}

/// Whether content stays where it is. URLs alone do not make a layer foreign (DST-45).
pub(super) fn is_left_out(descriptor: &Descriptor, foreign: Foreign) -> bool {
    foreign == Foreign::Skip && descriptor.media_type().is_non_distributable()
}
