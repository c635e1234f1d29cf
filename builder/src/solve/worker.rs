//! The solver: vertices in dependency order on a few threads, each from the cache or carried out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci::Digest;
use store::{Diff, DiffOptions, LayerId, Lease, Snapshotter, Store};

use super::Ports;
use super::bench::Bench;
use super::lines::{Line, Lines};
use super::sources::{Inputs, reads_folders_only};
use crate::cache::remote::RemoteCache;
use crate::cache::session::Session;
use crate::cache::{CacheIndex, DiffRecord, Record, compression_name};
use crate::context::Folders;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, Vertex, VertexId};
use crate::key::{self, CacheKey, KeyInputs, Keyed};
use crate::ports::digest_of;
use crate::request::{BuildRequest, CacheLayers, StepCount};
use crate::tree::hash_folder;

/// How often it is looked whether another build is done with a step.
const PATIENCE: Duration = Duration::from_millis(20);

/// Steps at once on a machine with few processors.
const STEPS_AT_ONCE: usize = 4;

/// A vertex of one of the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) graph: usize,
    pub(super) vertex: VertexId,
}

/// What a vertex came to.
#[derive(Debug, Clone)]
pub(super) struct Output {
    /// The layer on top of everything below, `None` for an empty file system.
    pub(super) layer: Option<LayerId>,
    /// The content identity of the file system.
    pub(super) content: Option<Digest>,
    /// Key and record of a step; images have none.
    pub(super) step: Option<(CacheKey, Record)>,
}

/// Everything that the threads share.
pub(super) struct Solver<'s> {
    pub(super) store: &'s Store,
    pub(super) snapshots: &'s dyn Snapshotter,
    pub(super) cache: &'s CacheIndex,
    pub(super) ports: Ports<'s>,
    pub(super) request: &'s BuildRequest,
    pub(super) graphs: &'s [Graph],
    pub(super) folders: Folders,
    pub(super) session: Session,
    pub(super) lease: &'s Lease,
    pub(super) lines: &'s Lines<'s>,
    pub(super) remote: Option<&'s dyn RemoteCache>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    nodes: Vec<Vec<Progressed>>,
    diffs: VecDeque<Node>,
    /// Steps and diffs not finished yet.
    open: usize,
    /// Keys that a thread is working on: another platform's equal step waits for it.
    keys: HashSet<CacheKey>,
    unpacked: HashSet<Node>,
    unpacking: HashSet<Node>,
    error: Option<Error>,
    counts: Vec<StepCount>,
    context: Context,
    /// What steps read from local folders, looked at ahead.
    ahead: HashMap<Node, Inputs>,
}

#[derive(Default)]
struct Progressed {
    taken: bool,
    output: Option<Output>,
    diff: Option<Diff>,
}

/// How far looking at the build context is.
#[derive(Default, PartialEq)]
enum Context {
    #[default]
    Todo,
    Busy,
    Done,
}

enum Job {
    Context,
    Step(Node),
    Diff(Node),
    Wait,
    End,
}

impl<'s> Solver<'s> {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        store: &'s Store,
        snapshots: &'s dyn Snapshotter,
        cache: &'s CacheIndex,
        ports: Ports<'s>,
        request: &'s BuildRequest,
        graphs: &'s [Graph],
        (folders, session): (Folders, Session),
        lease: &'s Lease,
        lines: &'s Lines<'s>,
    ) -> Self {
        let nodes = graphs
            .iter()
            .map(|g| g.vertices.iter().map(|_| Progressed::default()).collect())
            .collect();
        let reads_context = graphs.iter().flat_map(|g| &g.vertices).any(reads_folders_only);
        let steps: usize = graphs.iter().map(|g| g.vertices.len()).sum();
        let open = steps + usize::from(reads_context);
        let context = if reads_context { Context::Todo } else { Context::Done };
        let counts = vec![StepCount::default(); graphs.len()];
        let state = Mutex::new(State { nodes, open, counts, context, ..State::default() });
        Solver {
            store,
            snapshots,
            cache,
            ports,
            request,
            graphs,
            folders,
            session,
            lease,
            lines,
            remote: None,
            state,
            wake: Condvar::new(),
        }
    }

    pub(super) fn with_remote_cache(mut self, remote: Option<&'s dyn RemoteCache>) -> Self {
        self.remote = remote;
        self
    }

    /// Carries out every vertex of every graph, and writes the layers of the results.
    pub(super) fn solve(&self) -> Result<()> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // More than processors: steps wait for the network and the disk as often as they compute.
        let threads = self.request.parallelism.unwrap_or(processors.max(STEPS_AT_ONCE)).max(1);
        let work: usize = self.state().open;
        std::thread::scope(|scope| {
            for _ in 0..threads.min(work.max(1)) {
                scope.spawn(|| self.thread());
            }
        });
        let saved = self.folders.save(self.cache);
        match self.state().error.take() {
            Some(error) => Err(error),
            None => saved,
        }
    }

    fn thread(&self) {
        let mut bench = None;
        let _watch = Watch(self);
        loop {
            let job = self.next();
            let done = match job {
                Job::End => break,
                Job::Wait => continue,
                Job::Context => {
                    self.load_context();
                    self.state().context = Context::Done;
                    Ok(())
                }
                Job::Step(node) => {
                    self.step(node, &mut bench).map(|output| self.finished(node, output))
                }
                Job::Diff(node) => self.diff(node),
            };
            let mut state = self.state();
            match done {
                Ok(()) => state.open -= 1,
                Err(error) => {
                    state.error.get_or_insert(error);
                }
            }
            drop(state);
            self.wake.notify_all();
        }
    }

    pub(super) fn state_of_cancel(&self) -> Result<()> {
        if self.request.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next thing to do: a step whose inputs are there, else a layer to write.
    fn next(&self) -> Job {
        let mut state = self.state();
        if self.request.cancel.is_cancelled() {
            state.error.get_or_insert(Error::Cancelled);
        }
        if state.error.is_some() || state.open == 0 {
            self.wake.notify_all();
            return Job::End;
        }
        if state.context == Context::Todo {
            state.context = Context::Busy;
            return Job::Context;
        }
        for (graph, plan) in self.graphs.iter().enumerate() {
            for vertex in &plan.vertices {
                if state.context == Context::Busy && reads_folders_only(vertex) {
                    continue;
                }
                let there = |id: &VertexId| state.nodes[graph][id.0].output.is_some();
                if !state.nodes[graph][vertex.id.0].taken && vertex.inputs().iter().all(there) {
                    state.nodes[graph][vertex.id.0].taken = true;
                    return Job::Step(Node { graph, vertex: vertex.id });
                }
            }
        }
        if let Some(node) = state.diffs.pop_front() {
            return Job::Diff(node);
        }
        drop(self.wake.wait(state).unwrap_or_else(PoisonError::into_inner));
        Job::Wait
    }

    /// Notes an output; a layer of a result is queued to be written unless that was done before.
    fn finished(&self, node: Node, output: Output) {
        let graph = &self.graphs[node.graph];
        let in_result = graph.result_chain().contains(&node.vertex);
        let exported = match self.request.cache_layers {
            CacheLayers::None => in_result && !self.request.squash,
            CacheLayers::Result => in_result,
            CacheLayers::All => true,
        };
        let mut state = self.state();
        if let Some((_, record)) = output.step.as_ref().filter(|_| exported) {
            match self.known_diff(record, graph.epoch) {
                Some(diff) => state.nodes[node.graph][node.vertex.0].diff = Some(diff),
                None => {
                    state.diffs.push_back(node);
                    state.open += 1;
                }
            }
        }
        state.nodes[node.graph][node.vertex.0].output = Some(output);
    }

    /// A layer blob that was written by an earlier build and is still there.
    fn known_diff(&self, record: &Record, epoch: Option<i64>) -> Option<Diff> {
        let known = record.diff(self.request.compression, epoch)?;
        self.lease.hold(known.blob.digest()).ok()?;
        let there = self.store.content().rely(known.blob.digest()).ok()??;
        (there == known.blob.size()).then(|| Diff {
            descriptor: known.blob.clone(),
            diff_id: known.diff_id.clone(),
            bytes: record.bytes,
            entries: 1,
            held: store::Held::default(),
        })
    }

    pub(super) fn keep_inputs(&self, node: Node, inputs: Inputs) {
        self.state().ahead.insert(node, inputs);
    }

    /// Notes an output that is known without work.
    pub(super) fn settle(&self, node: Node, output: Output) {
        self.state().nodes[node.graph][node.vertex.0].output = Some(output);
    }

    pub(super) fn output(&self, node: Node) -> Result<Output> {
        let state = self.state();
        state.nodes[node.graph][node.vertex.0].output.clone().ok_or(Error::Cancelled)
    }

    pub(super) fn diff_of(&self, node: Node) -> Result<Diff> {
        let state = self.state();
        state.nodes[node.graph][node.vertex.0].diff.clone().ok_or(Error::Cancelled)
    }

    pub(super) fn counts(&self, graph: usize) -> StepCount {
        self.state().counts[graph]
    }

    pub(super) fn vertex(&self, node: Node) -> &'s Vertex {
        self.graphs[node.graph].vertex(node.vertex)
    }

    /// One vertex, from the cache or carried out.
    fn step(&self, node: Node, bench: &mut Option<Bench>) -> Result<Output> {
        self.state_of_cancel()?;
        let vertex = self.vertex(node);
        let line = self.lines.start(&vertex.name);
        let done = self.step_on(node, vertex, bench, &line);
        match &done {
            Ok(_) => line.finished(),
            Err(error) => line.failed(&error.to_string()),
        }
        done
    }

    fn step_on(
        &self,
        node: Node,
        vertex: &Vertex,
        bench: &mut Option<Bench>,
        line: &Line<'_>,
    ) -> Result<Output> {
        if let Op::Image(image) = &vertex.op {
            let diff_ids = image.config.diff_ids();
            return Ok(Output {
                layer: store::Layers::id_of(diff_ids),
                content: key::content_of_image(diff_ids),
                step: None,
            });
        }
        let ahead = self.state().ahead.remove(&node);
        let mut inputs = ahead.map_or_else(|| self.inputs(node, vertex, bench), Ok)?;
        let parent =
            vertex.parent.map(|id| self.output(Node { vertex: id, ..node })).transpose()?;
        let keyed = self.keyed(node, vertex, parent.as_ref(), &inputs)?;
        let _claim = self.claim(&keyed.key);
        let mut found = if vertex.ignore_cache { None } else { self.lookup(&keyed.key)? };
        let mut _ours = None;
        if found.is_none() && !vertex.ignore_cache {
            let (lock, waited) = self.take(&keyed.key, line)?;
            _ours = Some(lock);
            if waited {
                found = self.lookup(&keyed.key)?;
            }
        }
        if found.is_none() && !vertex.ignore_cache {
            found = self.imported(node, vertex, &keyed, line)?;
        }
        self.remember(node, vertex, &keyed, found.is_none())?;
        if let Some(record) = found {
            line.cached();
            self.state().counts[node.graph].cached += 1;
            return self.on_top(node, vertex, parent.as_ref(), keyed.key, record);
        }
        let record =
            self.carry_out(node, vertex, parent.as_ref(), &keyed, &mut inputs, bench, line)?;
        self.state().counts[node.graph].ran += 1;
        self.on_top(node, vertex, parent.as_ref(), keyed.key, record)
    }

    pub(super) fn keyed(
        &self,
        node: Node,
        vertex: &Vertex,
        parent: Option<&Output>,
        inputs: &Inputs,
    ) -> Result<Keyed> {
        let key_inputs = KeyInputs {
            parent: parent.and_then(|p| p.content.as_ref()),
            fingerprints: &inputs.fingerprints,
            epoch: self.graphs[node.graph].epoch,
            extra_hosts: &self.request.extra_hosts,
        };
        key::key_of(vertex, &key_inputs)
            .ok_or_else(|| self.refuse(vertex, "an image has no key".to_owned()))
    }

    /// The record of a key, if its layer is still there.
    pub(super) fn lookup(&self, key: &CacheKey) -> Result<Option<Record>> {
        let Some(record) = self.cache.get(key)? else { return Ok(None) };
        let layer = record.layer_id();
        // Held first, then looked at: the collector cannot come between.
        self.lease.hold_layer(&layer)?;
        if self.store.layers().get(&layer)?.is_none() {
            return Ok(None);
        }
        self.cache.touch(key, self.lines.now());
        Ok(Some(record))
    }

    /// The output of a step; the layer of a linked copy is put on top of whatever is below.
    fn on_top(
        &self,
        node: Node,
        vertex: &Vertex,
        parent: Option<&Output>,
        key: CacheKey,
        record: Record,
    ) -> Result<Output> {
        let own = record.layer_id();
        let parent_content = parent.and_then(|p| p.content.as_ref());
        let is_link = matches!(&vertex.op, Op::Copy(copy) if copy.link);
        if !is_link {
            return Ok(Output {
                layer: Some(own),
                content: Some(record.content.clone()),
                step: Some((key, record)),
            });
        }
        let content = Some(key::content_above(parent_content, &record.content));
        let Some(below) = parent.and_then(|p| p.layer.clone()) else {
            return Ok(Output { layer: Some(own), content, step: Some((key, record)) });
        };
        let diff_id = match self.store.layers().get(&own)?.and_then(|l| l.diff_id().cloned()) {
            Some(diff_id) => diff_id,
            None => self.write_layer(&own, None)?.diff_id,
        };
        if let Some(parent) = vertex.parent {
            self.ready_layer(Node { vertex: parent, ..node })?;
        }
        let id = LayerId::from(digest_of(&format!("link\0{below}\0{own}")));
        self.lease.hold_layer(&id)?;
        self.store.layers().alias(&id, &own, Some(&below), &diff_id)?;
        Ok(Output { layer: Some(id), content, step: Some((key, record)) })
    }

    /// Does the work of a step and records what came of it.
    #[allow(clippy::too_many_arguments)]
    fn carry_out(
        &self,
        node: Node,
        vertex: &Vertex,
        parent: Option<&Output>,
        keyed: &Keyed,
        inputs: &mut Inputs,
        bench: &mut Option<Bench>,
        line: &Line<'_>,
    ) -> Result<Record> {
        let is_link = matches!(&vertex.op, Op::Copy(copy) if copy.link);
        let below = match vertex.parent {
            Some(id) if !is_link => self.ready_layer(Node { vertex: id, ..node })?,
            _ => None,
        };
        let draft =
            Draft { snapshots: self.snapshots, key: self.session.snapshot_key()?, done: false };
        let depth = bench.as_ref().map_or(0, Bench::depth);
        let worked = self.work(node, vertex, below.as_ref(), &draft, inputs, bench, line);
        let cleaned = bench.as_mut().map_or(Ok(()), |b| b.back_to(depth));
        worked.and(cleaned)?;
        let content = match &vertex.op {
            Op::Run(_) => {
                let changes = self.snapshots.changes(&draft.key)?;
                let tree = hash_folder(changes.folder())
                    .map_err(|e| self.io(vertex, "read", changes.folder(), e))?;
                key::content_above(parent.and_then(|p| p.content.as_ref()), &tree)
            }
            _ => key::content_of(&keyed.key),
        };
        let created = self.lines.now();
        let layer =
            LayerId::from(digest_of(&format!("layer\0{}\0{content}\0{created}", keyed.key)));
        self.lease.hold_layer(&layer)?;
        draft.commit(&layer)?;
        let bytes = self.store.layers().require(&layer)?.bytes();
        let record = Record {
            step: vertex.name.clone(),
            layer: layer.digest().clone(),
            content,
            created: created.to_string(),
            bytes,
            took_ms: line.elapsed_ms(),
            diffs: Vec::new(),
            parts: keyed.parts.clone(),
        };
        self.cache.put(&keyed.key, &record)?;
        Ok(record)
    }

    #[allow(clippy::too_many_arguments)]
    fn work(
        &self,
        node: Node,
        vertex: &Vertex,
        below: Option<&LayerId>,
        draft: &Draft<'_>,
        inputs: &mut Inputs,
        bench: &mut Option<Bench>,
        line: &Line<'_>,
    ) -> Result<()> {
        let mounts = self.snapshots.prepare(&draft.key, below)?;
        let rootfs = self.bench(bench)?.mount(&mounts)?;
        match &vertex.op {
            Op::Run(run) => self.run_step(node, vertex, run, &rootfs, bench, line),
            Op::Copy(copy) => self.copy(node, vertex, copy, inputs, &rootfs, bench),
            Op::Workdir(workdir) => self.workdir(node, vertex, workdir, &rootfs),
            Op::Image(_) => Ok(()),
        }
    }

    /// The layer of a vertex, unpacked.
    pub(super) fn ready_layer(&self, node: Node) -> Result<Option<LayerId>> {
        let output = self.output(node)?;
        let Op::Image(image) = &self.vertex(node).op else { return Ok(output.layer) };
        let mut state = self.state();
        while state.unpacking.contains(&node) {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.unpacked.contains(&node) {
            return Ok(output.layer);
        }
        state.unpacking.insert(node);
        drop(state);
        let unpacked = self.ports.images.unpack(image, self.lease);
        let mut state = self.state();
        state.unpacking.remove(&node);
        if unpacked.is_ok() {
            state.unpacked.insert(node);
        }
        drop(state);
        self.wake.notify_all();
        unpacked.map_err(|source| Error::Unpack { reference: image.reference.to_string(), source })
    }

    /// Takes a step among all builds of this machine; says whether another build had it, and may have left its result.
    fn take(&self, key: &CacheKey, line: &Line<'_>) -> Result<(File, bool)> {
        if let Some(lock) = self.cache.try_lock_step(key)? {
            return Ok((lock, false));
        }
        line.status("waiting for another build that is at this step", None);
        loop {
            self.state_of_cancel()?;
            if let Some(lock) = self.cache.try_lock_step(key)? {
                return Ok((lock, true));
            }
            std::thread::sleep(PATIENCE);
        }
    }

    /// Waits until no other thread works on the same key, and takes it.
    fn claim(&self, key: &CacheKey) -> Claim<'_, 's> {
        let mut state = self.state();
        while state.keys.contains(key) {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.keys.insert(key.clone());
        Claim { solver: self, key: key.clone() }
    }

    /// Writes the layer of a step as a blob and remembers it.
    fn diff(&self, node: Node) -> Result<()> {
        self.state_of_cancel()?;
        let epoch = self.graphs[node.graph].epoch;
        let Some((key, mut record)) = self.output(node)?.step else { return Ok(()) };
        let diff = self.write_layer(&record.layer_id(), epoch)?;
        let compression = compression_name(self.request.compression).to_owned();
        record.diffs.retain(|d| d.compression != compression || d.epoch != epoch);
        record.diffs.push(DiffRecord {
            compression,
            epoch,
            diff_id: diff.diff_id.clone(),
            blob: diff.descriptor.clone(),
        });
        self.cache.put(&key, &record)?;
        self.state().nodes[node.graph][node.vertex.0].diff = Some(diff);
        Ok(())
    }

    fn write_layer(&self, layer: &LayerId, epoch: Option<i64>) -> Result<Diff> {
        let options = DiffOptions {
            compression: self.request.compression,
            dialect: self.request.dialect,
            epoch,
            threads: None,
        };
        let diff = self.store.layers().diff(layer, &options)?;
        self.lease.hold(diff.descriptor.digest())?;
        Ok(diff)
    }

    pub(super) fn bench<'b>(&self, bench: &'b mut Option<Bench>) -> Result<&'b mut Bench> {
        match bench {
            Some(bench) => Ok(bench),
            none => Ok(none.insert(Bench::set_up(self.cache)?)),
        }
    }

    pub(super) fn refuse(&self, vertex: &Vertex, reason: String) -> Error {
        Error::Refused { step: vertex.name.clone(), reason }
    }

    pub(super) fn io(
        &self,
        vertex: &Vertex,
        act: &'static str,
        path: &Path,
        source: std::io::Error,
    ) -> Error {
        Error::CopyIo { step: vertex.name.clone(), act, path: path.to_owned(), source }
    }

    /// The lines of the Dockerfile around a step, the step's own marked.
    pub(super) fn excerpt(&self, vertex: &Vertex) -> String {
        vertex.span.map_or_else(String::new, |span| {
            super::excerpt(&self.request.dockerfile_name, &self.request.dockerfile.text, span)
        })
    }
}

/// Sees to it that a thread that panics does not leave the others waiting for ever.
struct Watch<'w, 's>(&'w Solver<'s>);

impl Drop for Watch<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().error.get_or_insert(Error::Cancelled);
            self.0.wake.notify_all();
        }
    }
}

/// A key that this thread works on.
struct Claim<'c, 's> {
    solver: &'c Solver<'s>,
    key: CacheKey,
}

impl Drop for Claim<'_, '_> {
    fn drop(&mut self) {
        self.solver.state().keys.remove(&self.key);
        self.solver.wake.notify_all();
    }
}

/// A snapshot that is removed unless it becomes a layer.
struct Draft<'d> {
    snapshots: &'d dyn Snapshotter,
    key: store::SnapshotKey,
    done: bool,
}

impl Draft<'_> {
    fn commit(mut self, layer: &LayerId) -> Result<()> {
        self.snapshots.commit(&self.key, layer, None)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed now is swept by the next build.
            let _ = self.snapshots.remove(&self.key);
        }
    }
}
