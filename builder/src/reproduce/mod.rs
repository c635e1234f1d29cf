//! Two builds of one Dockerfile compared, step by step: what differs, in which step, and why.
//!
//! The builds run in sandboxes that differ on purpose (host name, processors, order of steps, time), so that what
//! depends on them shows.

mod cause;
mod tree;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use store::Store;

pub use cause::Cause;

use crate::error::{Error, Result};
use crate::graph::{Graph, VertexId};
use crate::request::{BuildRequest, BuiltImage};
use tree::differences;

/// What one of the two builds ran in.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// The host name that steps saw.
    pub hostname: String,
    /// How many processors steps could use, where that is known.
    pub processors: Option<usize>,
    /// When the build began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// A build and what it ran in.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What it made for one platform.
    pub image: &'a BuiltImage,
    /// What it ran in.
    pub sandbox: &'a Sandbox,
}

/// One path that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path in the image.
    pub path: String,
    /// What is not the same, and why.
    pub cause: Cause,
}

/// The paths of one step that are not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepDifferences {
    /// The step, as the progress names it.
    pub step: String,
    /// Its line in the Dockerfile.
    pub line: Option<usize>,
    /// A step whose result it used, and which differs itself: what differs here may come from there.
    pub after: Option<String>,
    /// The paths.
    pub differences: Vec<Difference>,
}

/// Compares what two builds made, step by step, in the order of the graph.
pub fn compare(
    store: &Store,
    request: &BuildRequest,
    first: Side<'_>,
    second: Side<'_>,
) -> Result<Vec<StepDifferences>> {
    let graph = &first.image.graph;
    let mut differing: BTreeSet<VertexId> = BTreeSet::new();
    let mut found = Vec::new();
    for one in &first.image.layers {
        let Some(other) = second.image.layers.iter().find(|l| l.vertex == one.vertex) else {
            continue;
        };
        let layers = store.layers();
        let folders = [layers.require(&one.layer)?, layers.require(&other.layer)?];
        let [a, b] = folders.each_ref().map(|layer| layer.fs().as_path());
        let changes = differences(a, b, graph.epoch).map_err(|source| Error::Cache {
            act: "compare",
            path: a.to_owned(),
            source,
        })?;
        if changes.is_empty() {
            continue;
        }
        let vertex = graph.vertex(one.vertex);
        let text = &request.dockerfile.text;
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        found.push(StepDifferences {
            step: vertex.name.clone(),
            line: vertex.span.map(|span| line(span.start)),
            after: differing_input(graph, one.vertex, &differing),
            differences: changes
                .into_iter()
                .map(|(path, change)| {
                    let cause = cause::of(&change, first.sandbox, second.sandbox);
                    Difference { path, cause }
                })
                .collect(),
        });
        differing.insert(one.vertex);
    }
    Ok(found)
}

/// The nearest step that a vertex used, directly or not, and that differs.
fn differing_input(graph: &Graph, of: VertexId, differing: &BTreeSet<VertexId>) -> Option<String> {
    let mut queue = direct(graph, of);
    let mut seen = BTreeSet::new();
    while let Some(id) = queue.pop() {
        if differing.contains(&id) {
            return Some(graph.vertex(id).name.clone());
        }
        if seen.insert(id) {
            queue.extend(direct(graph, id));
        }
    }
    None
}

fn direct(graph: &Graph, id: VertexId) -> Vec<VertexId> {
    graph.vertex(id).inputs()
}

impl fmt::Display for StepDifferences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        writeln!(f)?;
        if let Some(after) = &self.after {
            writeln!(f, "  it builds on {after}, which differs")?;
        }
        for difference in &self.differences {
            writeln!(f, "  {}: {}", difference.path, difference.cause)?;
        }
        Ok(())
    }
}
