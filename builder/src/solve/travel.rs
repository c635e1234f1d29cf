//! Results of steps that come from caches of others, and those that go into one.

use store::{LayerBlob, LayerId};

use super::lines::Line;
use super::worker::{Node, Solver};
use crate::cache::Record;
use crate::cache::remote::{RemoteCache, RemoteStep};
use crate::error::{PortError, Result};
use crate::graph::{Op, Vertex, VertexId};
use crate::key::Keyed;
use crate::ports::digest_of;
use crate::request::CacheLayers;

impl Solver<'_> {
    /// The result of a step from a cache of others, made one of this cache. What cannot be had is a step that runs.
    pub(super) fn imported(
        &self,
        node: Node,
        vertex: &Vertex,
        keyed: &Keyed,
        line: &Line<'_>,
    ) -> Result<Option<Record>> {
        let Some(remote) = self.remote else { return Ok(None) };
        let Some(step) = remote.find(&keyed.key) else { return Ok(None) };
        match self.import(remote, node, vertex, &step) {
            Ok(layer) => {
                let record = Record {
                    step: vertex.name.clone(),
                    layer: layer.digest().clone(),
                    content: step.content,
                    created: step.created,
                    bytes: step.bytes,
                    took_ms: step.took_ms,
                    diffs: vec![step.diff],
                    parts: keyed.parts.clone(),
                };
                self.cache.put(&keyed.key, &record)?;
                Ok(Some(record))
            }
            Err(error) => {
                self.state_of_cancel()?;
                line.status(&format!("the cache's layer cannot be used: {error}"), None);
                Ok(None)
            }
        }
    }

    /// Unpacks the layer of a step on top of what the step builds on.
    fn import(
        &self,
        remote: &dyn RemoteCache,
        node: Node,
        vertex: &Vertex,
        step: &RemoteStep,
    ) -> Result<LayerId, PortError> {
        remote.fetch(step, self.lease)?;
        let blob =
            LayerBlob { descriptor: step.diff.blob.clone(), diff_id: step.diff.diff_id.clone() };
        let alone = self.store.layers().unpack(&[blob], self.lease)?;
        let alone = alone.ok_or("the layer unpacks to nothing")?;
        let is_link = matches!(&vertex.op, Op::Copy(copy) if copy.link);
        let below = match vertex.parent {
            Some(parent) if !is_link => self.ready_layer(Node { vertex: parent, ..node })?,
            _ => None,
        };
        let Some(below) = below else { return Ok(alone) };
        let id = LayerId::from(digest_of(&format!("imported\0{below}\0{alone}")));
        self.lease.hold_layer(&id)?;
        self.store.layers().alias(&id, &alone, Some(&below), &step.diff.diff_id)?;
        Ok(id)
    }

    /// The steps that go into a cache that travels, each once.
    pub(super) fn travelling_steps(&self) -> Result<Vec<RemoteStep>> {
        let mut steps: Vec<RemoteStep> = Vec::new();
        if self.request.cache_layers == CacheLayers::None {
            return Ok(steps);
        }
        for (number, graph) in self.graphs.iter().enumerate() {
            let chain = graph.result_chain();
            for vertex in &graph.vertices {
                let wanted =
                    self.request.cache_layers == CacheLayers::All || chain.contains(&vertex.id);
                let step = if wanted { self.travelling(number, vertex.id)? } else { None };
                if let Some(step) = step.filter(|new| !steps.iter().any(|s| s.key == new.key)) {
                    steps.push(step);
                }
            }
        }
        Ok(steps)
    }

    /// A step with the blob that this build writes for it; images have none.
    pub(super) fn travelling(&self, graph: usize, vertex: VertexId) -> Result<Option<RemoteStep>> {
        let output = self.output(Node { graph, vertex })?;
        let Some((key, _)) = &output.step else { return Ok(None) };
        // The record on disk has the blob that was written after the step was done.
        let Some(record) = self.cache.get(key)? else { return Ok(None) };
        let diff = record.diff(self.request.compression, self.graphs[graph].epoch);
        Ok(diff.map(|diff| RemoteStep::of(key, &record, diff)))
    }
}
