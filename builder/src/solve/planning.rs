//! `build --plan` and `build why`: the pure planner fed from the cache and the local folders.

use oci::Digest;
use store::Lease;

use super::lines::Lines;
use super::worker::{Node, Output, Solver};
use super::{Builder, identity_of, lower_options};
use crate::cache::LastRun;
use crate::cache::session::Session;
use crate::check::{Report, check};
use crate::error::{Error, Result};
use crate::graph::{CopyFrom, CopyItem, Op, RunMount, Vertex, VertexId};
use crate::key::{self, CacheKey, Fingerprint, Keyed, Part};
use crate::outline::{Outline, outline};
use crate::plan::{BuildPlan, CacheView, PlannedStep, Verdict, plan};
use crate::ports::Silent;
use crate::request::BuildRequest;

/// Why a step ran, or would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The step and what would become of it now.
    pub step: PlannedStep,
    /// Why it ran when it last ran; empty when it never did.
    pub ran_because: Vec<String>,
}

impl Builder<'_> {
    /// What a build would do, without doing it: one plan per platform.
    pub fn plan(&self, request: &BuildRequest, lease: &Lease) -> Result<Vec<BuildPlan>> {
        let lines = Lines::new(&Silent, self.ports.clock);
        let graphs = self.graphs(request, &lines)?;
        let snapshots = self.store.snapshots();
        let session = Session::begin(&self.cache, snapshots.as_ref(), self.ports.clock.now())?;
        let shared = (self.open_folders(request, &lines)?, session);
        let solver = Solver::new(
            self.store,
            snapshots.as_ref(),
            &self.cache,
            self.ports,
            request,
            &graphs,
            shared,
            lease,
            &lines,
        );
        let plans = graphs.iter().enumerate().map(|(number, graph)| {
            plan(graph, &request.extra_hosts, &View { solver: &solver, graph: number })
        });
        let plans = plans.collect::<Result<Vec<_>>>()?;
        solver.folders.save(&self.cache)?;
        Ok(plans)
    }

    /// Checks the Dockerfile without building it. A base image that cannot be resolved leaves out the rules that need it.
    pub fn check(&self, request: &BuildRequest) -> Result<Report> {
        let lines = Lines::new(&Silent, self.ports.clock);
        let folders = self.open_folders(request, &lines)?;
        let ignore = folders.get(None).map(|folder| &folder.ignore);
        let graphs = match self.graphs(request, &lines) {
            Err(Error::Resolve { .. }) => Vec::new(),
            graphs => graphs?,
        };
        Ok(check(request, graphs.first(), ignore))
    }

    /// What the target takes: arguments, secrets, agents, caches.
    pub fn outline(&self, request: &BuildRequest) -> Result<Outline> {
        let platform = super::assemble::platforms(request).swap_remove(0);
        outline(&request.dockerfile, &lower_options(request, platform), self.ports.images)
    }

    /// Explains the steps whose name has `step` in it (a number `3/5`, a stage, a piece of the command).
    pub fn why(
        &self,
        request: &BuildRequest,
        lease: &Lease,
        step: &str,
    ) -> Result<Vec<Explanation>> {
        let lines = Lines::new(&Silent, self.ports.clock);
        let graphs = self.graphs(request, &lines)?;
        let plans = self.plan(request, lease)?;
        let mut found = Vec::new();
        for (graph, plan) in graphs.iter().zip(plans) {
            for planned in plan
                .steps
                .into_iter()
                .filter(|s| s.name.contains(step) && s.verdict != Verdict::Image)
            {
                let last = self.cache.last(&identity_of(graph.vertex(planned.vertex), request))?;
                found.push(Explanation {
                    step: planned,
                    ran_because: last.map(|l| l.ran_because).unwrap_or_default(),
                });
            }
        }
        Ok(found)
    }
}

/// The cache and the folders as the planner sees them.
struct View<'v, 's> {
    solver: &'v Solver<'s>,
    graph: usize,
}

impl CacheView for View<'_, '_> {
    fn fingerprints(
        &self,
        vertex: &Vertex,
        contents: &[Option<Digest>],
    ) -> Result<Option<Vec<Fingerprint>>> {
        // What finished steps hold is known by memo only: nothing is mounted to make a plan.
        for (number, content) in contents.iter().enumerate().filter(|(_, c)| c.is_some()) {
            let node = Node { graph: self.graph, vertex: VertexId(number) };
            self.solver.settle(node, Output { layer: None, content: content.clone(), step: None });
        }
        let node = Node { graph: self.graph, vertex: vertex.id };
        if !self.solver.knows_all(node, vertex)? {
            return Ok(None);
        }
        Ok(Some(self.solver.inputs(node, vertex, &mut None)?.fingerprints))
    }

    fn lookup(&self, key: &CacheKey) -> Result<Option<(Digest, u64)>> {
        Ok(self.solver.lookup(key)?.map(|record| (record.content, record.took_ms)))
    }

    fn reasons(&self, vertex: &Vertex, keyed: &Keyed) -> Result<Vec<String>> {
        let last = self.solver.cache.last(&identity_of(vertex, self.solver.request))?;
        self.solver.reasons(
            Node { graph: self.graph, vertex: vertex.id },
            vertex,
            last.as_ref(),
            keyed,
        )
    }
}

impl Solver<'_> {
    /// True when everything that the step reads can be told without fetching or mounting anything.
    fn knows_all(&self, node: Node, vertex: &Vertex) -> Result<bool> {
        match &vertex.op {
            Op::Copy(copy) => {
                let remote = copy.items.iter().any(|item| {
                    matches!(item, CopyItem::Url { checksum: None, .. } | CopyItem::Git { .. })
                });
                if remote {
                    return Ok(false);
                }
                copy.items.iter().try_fold(true, |all, item| {
                    Ok(all && self.has_memo(node, &copy.from, item, &copy.exclude)?)
                })
            }
            Op::Run(run) => run.mounts.iter().try_fold(true, |all, mount| {
                let (from, source): (&CopyFrom, &String) = match mount {
                    RunMount::Bind { from, source, .. } => (from, source),
                    RunMount::Cache { seed: Some((from, source)), .. } => (from, source),
                    _ => return Ok(all),
                };
                let item = CopyItem::Path { path: source.clone(), pattern: None, unpack: false };
                Ok(all && self.has_memo(node, from, &item, &[])?)
            }),
            Op::Image(_) | Op::Workdir(_) => Ok(true),
        }
    }

    /// Notes what the step depends on now and, when it runs, why.
    pub(super) fn remember(
        &self,
        node: Node,
        vertex: &Vertex,
        keyed: &Keyed,
        runs: bool,
    ) -> Result<()> {
        let identity = identity_of(vertex, self.request);
        let last = self.cache.last(&identity)?;
        let ran_because = match (&last, runs) {
            (Some(last), false) if last.parts == keyed.parts => return Ok(()),
            (Some(last), false) => last.ran_because.clone(),
            (None, false) => Vec::new(),
            (last, true) => self.reasons(node, vertex, last.as_ref(), keyed)?,
        };
        self.cache.put_last(&identity, &LastRun { parts: keyed.parts.clone(), ran_because })
    }

    /// Why a step cannot be taken from the cache, in sentences.
    fn reasons(
        &self,
        node: Node,
        vertex: &Vertex,
        last: Option<&LastRun>,
        keyed: &Keyed,
    ) -> Result<Vec<String>> {
        if vertex.ignore_cache {
            return Ok(vec!["the cache was not to be used (--no-cache)".to_owned()]);
        }
        let Some(last) = last else { return Ok(vec!["it was never run before".to_owned()]) };
        let mut reasons = Vec::new();
        for reason in key::differences(&last.parts, &keyed.parts) {
            match vertex.parent {
                Some(parent) if reason.starts_with("base changed") => {
                    let below = self.vertex(Node { vertex: parent, ..node });
                    reasons.push(format!("what it builds on changed: {}", below.written_name()));
                }
                _ => reasons.extend(self.path_reasons(&reason, &last.parts, &keyed.parts)?),
            }
        }
        if reasons.is_empty() {
            reasons.push("its result is no longer in the cache".to_owned());
        }
        Ok(reasons)
    }

    /// Names the paths behind a changed fingerprint where they are known.
    fn path_reasons(&self, reason: &str, old: &[Part], new: &[Part]) -> Result<Vec<String>> {
        let value = |parts: &[Part], name: &str| -> Option<Digest> {
            parts.iter().find(|p| p.name == name)?.value.parse().ok()
        };
        let name = reason.strip_suffix(" changed").filter(|n| n.starts_with(key::CONTENT));
        let digests = name.and_then(|name| Some((value(old, name)?, value(new, name)?)));
        let Some((old, new)) = digests else { return Ok(vec![reason.to_owned()]) };
        match (self.cache.listing(&old)?, self.cache.listing(&new)?) {
            (Some(old), Some(new)) => Ok(key::path_differences(&old, &new)),
            _ => Ok(vec![reason.to_owned()]),
        }
    }
}
