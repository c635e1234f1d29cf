//! Dockerfile + arguments + target + platform → [`Graph`].
//!
//! Decisions only: the one thing asked from outside is the config of base images, through [`ImageResolver`].

mod globals;
mod metadata;
mod mounts;
mod ports;
mod remote;
mod stage;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use oci::{Platform, Reference};

use crate::error::{Error, PortError, Result};
use crate::frontend::span::nearest;
use crate::frontend::{Dockerfile, Instruction, MountKind, Network, Span};
use crate::graph::{BaseImage, CopyFrom, Finding, Graph, Op, Vertex, VertexId};
pub(crate) use globals::platform_arg_names;
pub use remote::{GitAddress, is_commit, is_url, without_credentials};
use stage::StageState;

/// Where base images are looked up: name and platform to manifest and config, no layer fetched.
pub trait ImageResolver: Send + Sync {
    /// The image for the platform.
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> std::result::Result<BaseImage, PortError>;
}

/// Whether the platform was asked for or is the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformChoice {
    /// `--platform` was given.
    Requested,
    /// Nothing was said: a base image of another architecture decides.
    Implicit,
}

/// Which steps must not be taken from the cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NoCache {
    /// The cache is used.
    #[default]
    Use,
    /// `--no-cache`.
    All,
    /// `--no-cache-filter`: the stages named here.
    Stages(Vec<String>),
}

/// What a name of `--build-context` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A local folder.
    Folder(std::path::PathBuf),
    /// An image.
    Image(Reference),
}

/// What is built.
#[derive(Debug, Clone)]
pub struct LowerOptions {
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// The platform built for.
    pub platform: Platform,
    /// Whether it was asked for.
    pub platform_choice: PlatformChoice,
    /// The platform that RUN steps run on natively.
    pub build_platform: Platform,
    /// True when the step names say their platform: several are built.
    pub several_platforms: bool,
    /// `--build-context`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--network`.
    pub network: Network,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
}

impl LowerOptions {
    /// A plain build for one platform.
    pub fn new(platform: Platform) -> Self {
        LowerOptions {
            build_args: BTreeMap::new(),
            target: None,
            build_platform: platform.clone(),
            platform,
            platform_choice: PlatformChoice::Requested,
            several_platforms: false,
            contexts: BTreeMap::new(),
            network: Network::Default,
            no_cache: NoCache::Use,
            labels: BTreeMap::new(),
        }
    }
}

/// Makes the graph of one platform.
pub fn lower(
    file: &Dockerfile,
    options: &LowerOptions,
    images: &dyn ImageResolver,
) -> Result<Graph> {
    let mut lowering = Lowering::new(file, options, images)?;
    let target = lowering.target()?;
    for index in lowering.reachable(target)? {
        lowering.ensure_stage(index)?;
    }
    lowering.ensure_stage(target)?;
    lowering.finish(target)
}

/// The stages that a build of `target` needs, as far as names tell (ONBUILD triggers may add some).
pub fn needed_stages(
    file: &Dockerfile,
    options: &LowerOptions,
    images: &dyn ImageResolver,
) -> Result<Vec<usize>> {
    let lowering = Lowering::new(file, options, images)?;
    let target = lowering.target()?;
    lowering.reachable(target)
}

/// One lowering under way.
struct Lowering<'a> {
    file: &'a Dockerfile,
    options: &'a LowerOptions,
    images: &'a dyn ImageResolver,
    /// Platform arguments and global ARGs, in force in FROM lines.
    globals: Vec<(String, String)>,
    /// Names of arguments that some ARG declared.
    declared: BTreeSet<String>,
    epoch: Option<i64>,
    stages: Vec<StageSlot>,
    vertices: Vec<Vertex>,
    image_vertices: BTreeMap<(String, String), VertexId>,
    findings: Vec<Finding>,
}

/// A stage of the Dockerfile on its way to a result.
enum StageSlot {
    Todo,
    Busy,
    Done(Box<StageState>),
}

/// What a stage is built upon.
enum Base {
    Scratch,
    Stage(usize),
    Folder(String),
    Image(Reference),
}

impl<'a> Lowering<'a> {
    fn new(
        file: &'a Dockerfile,
        options: &'a LowerOptions,
        images: &'a dyn ImageResolver,
    ) -> Result<Self> {
        let mut lowering = Lowering {
            file,
            options,
            images,
            globals: globals::platform_args(options),
            declared: BTreeSet::new(),
            epoch: None,
            stages: file.stages.iter().map(|_| StageSlot::Todo).collect(),
            vertices: Vec::new(),
            image_vertices: BTreeMap::new(),
            findings: Vec::new(),
        };
        lowering.read_globals()?;
        lowering.epoch = globals::epoch(&options.build_args, &lowering.globals)?;
        Ok(lowering)
    }

    fn target(&self) -> Result<usize> {
        let Some(name) = &self.options.target else { return Ok(self.file.stages.len() - 1) };
        self.file.stage_index(name).ok_or_else(|| {
            let names = self.file.stages.iter().filter_map(|s| s.name.as_deref());
            Error::TargetNotFound {
                name: name.clone(),
                near: nearest(name, names).map(str::to_owned),
            }
        })
    }

    fn error(&self, span: Span, message: impl Into<String>) -> Error {
        self.file.diagnostic(span, message).into()
    }

    /// Everything that `target` leads to by name, in the order of the file.
    fn reachable(&self, target: usize) -> Result<Vec<usize>> {
        let mut found = BTreeSet::new();
        let mut todo = vec![target];
        while let Some(index) = todo.pop() {
            if !found.insert(index) {
                continue;
            }
            let stage = &self.file.stages[index];
            if let Base::Stage(base) = self.base(index)? {
                todo.push(base);
            }
            for node in &stage.nodes {
                for name in sources_of(&node.instruction) {
                    let numbered = matches!(node.instruction, Instruction::Copy(_));
                    if let Some(source) = self.source_stage(&name, numbered) {
                        if source == index {
                            return Err(self.error(
                                node.span,
                                format!("circular dependency detected on stage: {name}"),
                            ));
                        }
                        if source > index {
                            return Err(self
                                .file
                                .diagnostic(node.span, format!("cannot copy from stage {name:?}, it needs to be defined before current stage"))
                                .hint("move the stage up, above the one that uses it")
                                .into());
                        }
                        todo.push(source);
                    }
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The stage that `--from` names, if it is one.
    fn source_stage(&self, name: &str, numbered: bool) -> Option<usize> {
        let lower = name.to_lowercase();
        let named = self.file.stages.iter().rposition(|s| s.name.as_deref() == Some(&lower));
        named.or_else(|| {
            if numbered { name.parse().ok().filter(|i| *i < self.file.stages.len()) } else { None }
        })
    }

    /// What stage `index` is built upon, with its variables replaced.
    fn base(&self, index: usize) -> Result<Base> {
        let stage = &self.file.stages[index];
        let name = self
            .lexer()
            .word(&stage.base, &self.globals)
            .map_err(|e| self.error(stage.span, e.to_string()))?;
        if name.trim().is_empty() {
            return Err(self
                .file
                .diagnostic(stage.span, format!("base name ({}) should not be blank", stage.base))
                .hint("give the ARG a default before the first FROM, or pass it with --build-arg")
                .into());
        }
        if let Some(context) = stage.name.as_deref().and_then(|n| self.options.contexts.get(n)) {
            return Ok(named_base(stage.name.as_deref().unwrap_or_default(), context));
        }
        let earlier = self.file.stages[..index]
            .iter()
            .rposition(|s| s.name.as_deref() == Some(&name.to_lowercase()));
        if let Some(earlier) = earlier {
            return Ok(Base::Stage(earlier));
        }
        self.outside_base(&name, stage.span)
    }

    /// A name that is no stage: `scratch`, a named context or an image.
    fn outside_base(&self, name: &str, span: Span) -> Result<Base> {
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some(context) = self.options.contexts.get(name) {
            return Ok(named_base(name, context));
        }
        let reference: Reference = name.parse().map_err(|e| {
            let names: Vec<&str> =
                self.file.stages.iter().filter_map(|s| s.name.as_deref()).collect();
            let hint = nearest(name, names).map(|near| format!("did you mean the stage {near}?"));
            Error::from(
                self.file
                    .diagnostic(span, format!("failed to parse stage name {name:?}: {e}"))
                    .maybe_hint(hint),
            )
        })?;
        let reference = reference.or_latest();
        let canonical = reference.to_string();
        for (key, context) in &self.options.contexts {
            if key.parse::<Reference>().is_ok_and(|k| k.or_latest().to_string() == canonical) {
                return Ok(named_base(key, context));
            }
        }
        Ok(Base::Image(reference))
    }

    /// The vertex of an image; the same image is one vertex however often it is named.
    fn image_vertex(
        &mut self,
        image: &BaseImage,
        name: String,
        span: Option<Span>,
        stage: &str,
    ) -> VertexId {
        let key = (image.reference.to_string(), image.config.platform().to_string());
        if let Some(id) = self.image_vertices.get(&key) {
            return *id;
        }
        let id = VertexId(self.vertices.len());
        let op = Op::Image(Box::new(image.clone()));
        let identity = name.clone();
        self.vertices.push(Vertex {
            id,
            op,
            parent: None,
            name,
            identity,
            stage: stage.to_owned(),
            span,
            ignore_cache: false,
        });
        self.image_vertices.insert(key, id);
        id
    }

    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage> {
        self.images.resolve(reference, platform).map_err(|source| Error::Resolve {
            reference: reference.to_string(),
            platform: platform.to_string(),
            source,
        })
    }

    /// Where `--from=name` (or `from=name` of a mount) takes from.
    fn copy_source(
        &mut self,
        name: &str,
        numbered: bool,
        current: usize,
        span: Span,
        platform: &Platform,
    ) -> Result<CopyFrom> {
        if let Some(index) = self.source_stage(name, numbered) {
            if index >= current {
                return Err(self.error(span, format!("cannot copy from stage {name:?}, it needs to be defined before current stage")));
            }
            let head = self.ensure_stage(index)?.source();
            return Ok(head);
        }
        if numbered && name.parse::<usize>().is_ok() {
            return Err(self.error(span, format!("invalid stage index {name}")));
        }
        match self.outside_base(name, span)? {
            Base::Scratch => Ok(CopyFrom::Scratch),
            Base::Folder(name) => Ok(CopyFrom::Named(name)),
            Base::Stage(_) => Ok(CopyFrom::Scratch),
            Base::Image(reference) => {
                let image = self.resolve(&reference, platform)?;
                if image.layers.is_empty() {
                    return Ok(CopyFrom::Scratch);
                }
                Ok(CopyFrom::Vertex(self.image_vertex(
                    &image,
                    format!("FROM {}", pinned(&image)),
                    Some(span),
                    name,
                )))
            }
        }
    }

    fn finish(mut self, target: usize) -> Result<Graph> {
        let StageSlot::Done(state) = std::mem::replace(&mut self.stages[target], StageSlot::Todo)
        else {
            return Err(Error::TargetNotFound { name: target.to_string(), near: None });
        };
        let unused = globals::unused_args(&self.options.build_args, &self.declared);
        let StageState { mut config, history, head, platform, .. } = *state;
        for (key, value) in &self.options.labels {
            config.config.labels.insert(key.clone(), value.clone());
        }
        Ok(Graph {
            platform,
            vertices: self.vertices,
            result: head,
            config,
            history,
            unused_args: unused,
            epoch: self.epoch,
            findings: self.findings,
        })
    }
}

fn named_base(name: &str, context: &NamedContext) -> Base {
    match context {
        NamedContext::Folder(_) => Base::Folder(name.to_owned()),
        NamedContext::Image(reference) => Base::Image(reference.clone().or_latest()),
    }
}

/// `docker.io/library/alpine:3@sha256:…`.
fn pinned(image: &BaseImage) -> String {
    if image.reference.digest().is_some() {
        return image.reference.to_string();
    }
    format!("{}@{}", image.reference, image.manifest.digest())
}

/// The names that an instruction takes files from.
fn sources_of(instruction: &Instruction) -> Vec<String> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().cloned().collect(),
        Instruction::Run(run) => run
            .mounts
            .iter()
            .filter_map(|flag| {
                crate::frontend::Mount::parse(&flag.value, &|v| Ok(v.to_owned())).ok()
            })
            .filter(|mount| matches!(mount.kind, MountKind::Bind | MountKind::Cache))
            .filter_map(|mount| mount.from)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
