//! `build --plan`: which steps would come from the cache, which would run, and why. Pure: what is known comes through
//! [`CacheView`].

use std::fmt;

use oci::Digest;

use crate::error::Result;
use crate::graph::{Graph, Op, Vertex, VertexId};
use crate::key::{self, CacheKey, Fingerprint, KeyInputs, Keyed};

/// What is known before anything runs.
pub trait CacheView {
    /// What the step reads from local folders and from finished steps; `None` when that is not known before it runs.
    fn fingerprints(
        &self,
        vertex: &Vertex,
        contents: &[Option<Digest>],
    ) -> Result<Option<Vec<Fingerprint>>>;

    /// The content that the cache holds under a key, and how many milliseconds making it took.
    fn lookup(&self, key: &CacheKey) -> Result<Option<(Digest, u64)>>;

    /// Why a step with this key is not in the cache.
    fn reasons(&self, vertex: &Vertex, keyed: &Keyed) -> Result<Vec<String>>;
}

/// What would become of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A base image.
    Image,
    /// It is in the cache.
    Cached {
        /// How long it took when it ran.
        took_ms: u64,
    },
    /// It would run.
    Runs {
        /// Why.
        reasons: Vec<String>,
    },
    /// It depends on steps that would run: it is taken from the cache only if they change nothing.
    Waits {
        /// Those steps.
        on: Vec<VertexId>,
    },
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// Its vertex.
    pub vertex: VertexId,
    /// Its name.
    pub name: String,
    /// What would become of it.
    pub verdict: Verdict,
}

/// A build for one platform, before it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPlan {
    /// The platform.
    pub platform: String,
    /// The steps in order.
    pub steps: Vec<PlannedStep>,
}

/// Plans a build.
pub fn plan(
    graph: &Graph,
    extra_hosts: &[(String, String)],
    view: &dyn CacheView,
) -> Result<BuildPlan> {
    let mut sight = Sight {
        graph,
        extra_hosts,
        view,
        contents: vec![None; graph.vertices.len()],
        known: vec![false; graph.vertices.len()],
    };
    let mut steps = Vec::new();
    for vertex in &graph.vertices {
        let (verdict, content) = sight.judge(vertex)?;
        sight.known[vertex.id.0] = matches!(verdict, Verdict::Image | Verdict::Cached { .. });
        sight.contents[vertex.id.0] = content;
        steps.push(PlannedStep { vertex: vertex.id, name: vertex.written_name(), verdict });
    }
    Ok(BuildPlan { platform: graph.platform.to_string(), steps })
}

/// What is known so far.
struct Sight<'a> {
    graph: &'a Graph,
    extra_hosts: &'a [(String, String)],
    view: &'a dyn CacheView,
    contents: Vec<Option<Digest>>,
    known: Vec<bool>,
}

impl Sight<'_> {
    fn judge(&self, vertex: &Vertex) -> Result<(Verdict, Option<Digest>)> {
        if let Op::Image(image) = &vertex.op {
            return Ok((Verdict::Image, key::content_of_image(image.config.diff_ids())));
        }
        let open: Vec<VertexId> =
            vertex.inputs().into_iter().filter(|id| !self.known[id.0]).collect();
        if !open.is_empty() {
            return Ok((Verdict::Waits { on: open }, None));
        }
        let Some(fingerprints) = self.view.fingerprints(vertex, &self.contents)? else {
            let reasons = vec!["what it reads is not known before it runs".to_owned()];
            return Ok((Verdict::Runs { reasons }, None));
        };
        let parent = vertex.parent.and_then(|id| self.contents[id.0].as_ref());
        let inputs = KeyInputs {
            parent,
            fingerprints: &fingerprints,
            epoch: self.graph.epoch,
            extra_hosts: self.extra_hosts,
        };
        let Some(keyed) = key::key_of(vertex, &inputs) else { return Ok((Verdict::Image, None)) };
        let found = if vertex.ignore_cache { None } else { self.view.lookup(&keyed.key)? };
        match found {
            Some((content, took_ms)) => {
                let is_link = matches!(&vertex.op, Op::Copy(copy) if copy.link);
                let content = if is_link { key::content_above(parent, &content) } else { content };
                Ok((Verdict::Cached { took_ms }, Some(content)))
            }
            None => Ok((Verdict::Runs { reasons: self.view.reasons(vertex, &keyed)? }, None)),
        }
    }
}

/// One line per step; the reasons below it.
impl fmt::Display for BuildPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "platform {}", self.platform)?;
        for step in &self.steps {
            match &step.verdict {
                Verdict::Image => writeln!(f, "  BASE   {}", step.name)?,
                Verdict::Cached { .. } => writeln!(f, "  CACHED {}", step.name)?,
                Verdict::Waits { on } => {
                    let names =
                        on.iter().filter_map(|id| self.steps.get(id.0)).map(|s| s.name.as_str());
                    writeln!(
                        f,
                        "  WAITS  {}\n         on {}",
                        step.name,
                        names.collect::<Vec<_>>().join(", ")
                    )?;
                }
                Verdict::Runs { reasons } => {
                    writeln!(f, "  RUN    {}", step.name)?;
                    reasons
                        .iter()
                        .try_for_each(|reason| writeln!(f, "         because {reason}"))?;
                }
            }
        }
        Ok(())
    }
}
