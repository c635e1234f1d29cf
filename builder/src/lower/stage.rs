//! One stage: its base, its variables, its instructions in order.

use std::collections::BTreeSet;

use oci::{History, ImageConfig, Platform};

use super::{Base, Lowering, NoCache, PlatformChoice, StageSlot, globals, pinned};
use crate::error::{Error, Result};
use crate::frontend::expand::Expanded;
use crate::frontend::{Instruction, Node, Span, parse_trigger};
use crate::graph::{CopyFrom, Finding, HistoryEntry, HistoryOrigin, Op, Vertex, VertexId};
use crate::limits;

/// What PATH is when the base image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage so far. A stage `FROM` another starts from a copy of it.
#[derive(Debug, Clone)]
pub(super) struct StageState {
    pub(super) index: usize,
    /// The name in front of the step numbers, `""` for none.
    pub(super) label: String,
    pub(super) platform: Platform,
    /// ENV and ARG together: what words expand in and RUN sees.
    pub(super) env: Vec<(String, String)>,
    /// Names set by ENV: an ARG does not replace them.
    pub(super) env_names: BTreeSet<String>,
    /// ARGs in force, for the history of RUN.
    pub(super) args: Vec<(String, Option<String>)>,
    pub(super) config: ImageConfig,
    pub(super) history: Vec<HistoryEntry>,
    pub(super) head: Option<VertexId>,
    /// The whole stage is this folder of `--build-context`.
    pub(super) folder: Option<String>,
    pub(super) cmd_set: bool,
    pub(super) entrypoint_set: bool,
    pub(super) healthcheck_set: bool,
    pub(super) workdir_set: bool,
    /// Steps numbered so far, and how many there are.
    pub(super) numbered: usize,
    pub(super) total: usize,
    pub(super) ignore_cache: bool,
}

/// An instruction with the place that errors point to.
pub(super) struct Step<'n> {
    pub(super) node: &'n Node,
    pub(super) span: Span,
    pub(super) onbuild: bool,
}

impl StageState {
    /// What COPY --from this stage takes from.
    pub(super) fn source(&self) -> CopyFrom {
        match (&self.folder, self.head) {
            (_, Some(id)) => CopyFrom::Vertex(id),
            (Some(name), None) => CopyFrom::Named(name.clone()),
            (None, None) => CopyFrom::Scratch,
        }
    }

    pub(super) fn commit(&mut self, created_by: String, origin: HistoryOrigin) {
        let empty_layer = !matches!(origin, HistoryOrigin::Step(_));
        let entry = History {
            created_by: Some(created_by),
            comment: Some("buildkit.dockerfile.v0".to_owned()),
            empty_layer,
            ..History::default()
        };
        self.history.push(HistoryEntry { origin, entry });
    }
}

impl Lowering<'_> {
    /// Lowers stage `index` if that was not done yet.
    pub(super) fn ensure_stage(&mut self, index: usize) -> Result<&StageState> {
        match &self.stages[index] {
            StageSlot::Done(_) => {}
            StageSlot::Busy => {
                let span = self.file.stages[index].span;
                return Err(self.error(span, "circular dependency between stages"));
            }
            StageSlot::Todo => {
                self.stages[index] = StageSlot::Busy;
                let state = self.lower_stage(index)?;
                self.stages[index] = StageSlot::Done(Box::new(state));
            }
        }
        match &self.stages[index] {
            StageSlot::Done(state) => Ok(state),
            _ => Err(Error::TargetNotFound { name: index.to_string(), near: None }),
        }
    }

    fn lower_stage(&mut self, index: usize) -> Result<StageState> {
        let stage = &self.file.stages[index];
        let mut state = self.start(index)?;
        // The triggers of the base run here and are gone from the result.
        let triggers = std::mem::take(&mut state.config.config.on_build);
        if triggers.len() > limits::ONBUILD_TRIGGERS {
            return Err(self.error(stage.span, "the base image has too many ONBUILD triggers"));
        }
        let mut nodes = Vec::new();
        for trigger in &triggers {
            nodes.push(parse_trigger(trigger).map_err(|e| {
                self.error(stage.span, format!("ONBUILD {trigger}: {}", e.message()))
            })?);
        }
        state.total = state.numbered
            + nodes.len()
            + stage.nodes.iter().filter(|n| is_step(&n.instruction)).count();
        for node in &nodes {
            self.dispatch(&mut state, &Step { node, span: stage.span, onbuild: true })?;
        }
        for node in &stage.nodes {
            self.dispatch(&mut state, &Step { node, span: node.span, onbuild: false })?;
        }
        Ok(state)
    }

    /// The state in front of the first instruction.
    fn start(&mut self, index: usize) -> Result<StageState> {
        let stage = &self.file.stages[index];
        let label = self.label(index);
        let platform = self.stage_platform(index)?;
        let wanted = platform.clone().unwrap_or_else(|| self.options.platform.clone());
        let ignore_cache = match &self.options.no_cache {
            NoCache::Use => false,
            NoCache::All => true,
            NoCache::Stages(names) => names.iter().any(|n| {
                stage.name.as_deref().is_some_and(|s| s.eq_ignore_ascii_case(n))
                    || *n == index.to_string()
            }),
        };
        let mut state = StageState {
            index,
            label,
            platform: wanted.clone(),
            env: Vec::new(),
            env_names: BTreeSet::new(),
            args: Vec::new(),
            config: ImageConfig::scratch(&wanted),
            history: Vec::new(),
            head: None,
            folder: None,
            cmd_set: false,
            entrypoint_set: false,
            healthcheck_set: false,
            workdir_set: false,
            numbered: 0,
            total: 0,
            ignore_cache,
        };
        match self.base(index)? {
            // An empty image has a working directory and a search path all the same.
            Base::Scratch => state.config.config.working_dir = "/".to_owned(),
            Base::Folder(name) => state.folder = Some(name),
            Base::Stage(earlier) => {
                let base = self.ensure_stage(earlier)?.clone();
                state = StageState {
                    index,
                    label: state.label,
                    ignore_cache,
                    cmd_set: false,
                    entrypoint_set: false,
                    healthcheck_set: false,
                    numbered: 0,
                    total: 0,
                    ..base
                };
            }
            Base::Image(reference) => {
                self.start_from_image(&mut state, &reference, platform.is_none())?
            }
        }
        if globals::get(&state.env, "PATH").is_none() && state.platform.os() != "windows" {
            state.config.config.env.push(format!("PATH={DEFAULT_PATH}"));
            state.env.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
            state.env_names.insert("PATH".to_owned());
        }
        if let Some(name) = state.folder.take() {
            self.start_from_folder(&mut state, name);
        }
        Ok(state)
    }

    fn start_from_image(
        &mut self,
        state: &mut StageState,
        reference: &oci::Reference,
        follow: bool,
    ) -> Result<()> {
        let span = self.file.stages[state.index].span;
        let wanted = state.platform.clone();
        let image = self.resolve(reference, &wanted)?;
        let own =
            self.file.stages[state.index].nodes.iter().filter(|n| is_step(&n.instruction)).count();
        state.total = 1 + image.config.config.on_build.len() + own;
        let name = prefix(state, self.options.several_platforms, false)
            + &format!("FROM {}", pinned(&image));
        let id = self.image_vertex(&image, name, Some(span), &state.label.clone());
        let found = image.config.platform();
        if follow && self.options.platform_choice == PlatformChoice::Implicit {
            state.platform = found.clone();
        } else if found.os() != wanted.os() || found.architecture() != wanted.architecture() {
            self.findings.push(Finding {
                rule: "InvalidBaseImagePlatform",
                message: format!("Base image {reference} was pulled with platform {found:?}, expected {wanted:?} for current build").replace('"', ""),
                span,
            });
        }
        inherit(state, &image.config);
        let nothing_in_it =
            image.layers.is_empty() && image.config.history.iter().all(|h| h.empty_layer);
        state.head = (!nothing_in_it).then_some(id);
        Ok(())
    }

    /// A stage that is a local folder: its files are copied into an empty file system.
    fn start_from_folder(&mut self, state: &mut StageState, name: String) {
        let id = VertexId(self.vertices.len());
        self.vertices.push(Vertex {
            id,
            op: Op::Copy(Box::new(crate::graph::CopyOp {
                from: CopyFrom::Named(name.clone()),
                items: vec![crate::graph::CopyItem::Path {
                    path: String::new(),
                    pattern: None,
                    unpack: false,
                }],
                destination: "/".to_owned(),
                chown: None,
                chmod: None,
                link: false,
                parents: false,
                exclude: Vec::new(),
            })),
            parent: None,
            identity: format!("context {name}"),
            name: format!("[context {name}] load files"),
            stage: state.label.clone(),
            span: Some(self.file.stages[state.index].span),
            ignore_cache: false,
        });
        state.head = Some(id);
        state.commit(format!("COPY / / # {name}"), HistoryOrigin::Step(id));
    }

    /// What stands in front of the numbers: nothing when there is one stage and no `--from` image.
    fn label(&self, index: usize) -> String {
        let stages = &self.file.stages;
        let from_outside = stages
            .iter()
            .flat_map(|s| &s.nodes)
            .flat_map(|n| super::sources_of(&n.instruction))
            .any(|name| self.source_stage(&name, true).is_none());
        if stages.len() == 1 && !from_outside {
            return String::new();
        }
        stages[index].name.clone().unwrap_or_else(|| format!("stage-{index}"))
    }

    fn stage_platform(&self, index: usize) -> Result<Option<Platform>> {
        let stage = &self.file.stages[index];
        let Some(text) = &stage.platform else { return Ok(None) };
        let value = self
            .lexer()
            .word(text, &self.globals)
            .map_err(|e| self.error(stage.span, e.to_string()))?;
        if value.is_empty() {
            return Err(self
                .file
                .diagnostic(stage.span, format!("empty platform value from expression {text}"))
                .hint("the platform arguments are BUILDPLATFORM and TARGETPLATFORM")
                .into());
        }
        value.parse().map(Some).map_err(|e: oci::PlatformError| {
            self.error(stage.span, format!("failed to parse platform {text}: {e}"))
        })
    }

    fn dispatch(&mut self, state: &mut StageState, step: &Step<'_>) -> Result<()> {
        match &step.node.instruction {
            Instruction::Run(run) => self.run(state, step, run),
            Instruction::Copy(copy) => self.copy(state, step, copy),
            Instruction::Add(add) => self.copy(state, step, add),
            Instruction::Workdir(path) => self.workdir(state, step, path),
            Instruction::Arg(pairs) => self.arg(state, step, pairs),
            Instruction::Onbuild(trigger) => {
                state.config.config.on_build.push(trigger.clone());
                Ok(())
            }
            metadata => self.metadata(state, step, metadata),
        }
    }

    /// A word with its variables replaced.
    pub(super) fn word(
        &mut self,
        state: &StageState,
        step: &Step<'_>,
        word: &str,
    ) -> Result<String> {
        self.expand(state, step, word).map(|e| e.text)
    }

    pub(super) fn expand(
        &mut self,
        state: &StageState,
        step: &Step<'_>,
        word: &str,
    ) -> Result<Expanded> {
        let expanded = self
            .lexer()
            .expand(word, &state.env)
            .map_err(|e| self.error(step.span, e.to_string()))?;
        for name in &expanded.unmatched {
            // An ARG without a value is known, and empty.
            if state.args.iter().any(|(n, _)| n == name) || globals::is_proxy(name) {
                continue;
            }
            let near =
                crate::frontend::span::nearest(name, state.env.iter().map(|(k, _)| k.as_str()));
            let hint = near.map_or_else(String::new, |near| format!(" (did you mean ${near}?)"));
            self.findings.push(Finding {
                rule: "UndefinedVar",
                message: format!("Usage of undefined variable '${name}'{hint}"),
                span: step.span,
            });
        }
        Ok(expanded)
    }

    /// The name of the next step: `[stage 2/5] RUN …`.
    pub(super) fn step_name(&self, state: &mut StageState, step: &Step<'_>, extra: &str) -> String {
        let lexer = self.lexer().raw_quotes().skip_unset();
        let shown: Vec<String> =
            step.node.line.split(' ').map(super::without_credentials).collect();
        let line = format!("{}{extra}", shown.join(" "));
        let text = lexer.word(&line, &state.env).unwrap_or(line);
        let (keyword, rest) = text.split_once(' ').unwrap_or((&text, ""));
        prefix(state, self.options.several_platforms, step.onbuild)
            + &format!("{} {rest}", keyword.to_ascii_uppercase())
    }

    pub(super) fn push(
        &mut self,
        state: &mut StageState,
        step: &Step<'_>,
        op: Op,
        name: String,
    ) -> VertexId {
        let id = VertexId(self.vertices.len());
        let ignore_cache = state.ignore_cache;
        let text = &step.node.line;
        let same =
            |v: &&Vertex| v.stage == state.label && v.identity.split('\0').next() == Some(text);
        let count = self.vertices.iter().filter(same).count();
        let identity = format!("{text}\0{count}\0{}", state.platform);
        self.vertices.push(Vertex {
            id,
            op,
            parent: state.head,
            name,
            identity,
            stage: state.label.clone(),
            span: Some(step.span),
            ignore_cache,
        });
        state.head = Some(id);
        id
    }
}

/// `[linux/amd64 stage 2/5] ONBUILD `.
fn prefix(state: &mut StageState, several_platforms: bool, onbuild: bool) -> String {
    state.numbered += 1;
    let width = state.total.max(1).ilog10() as usize + 1;
    let platform = if several_platforms { format!("{} ", state.platform) } else { String::new() };
    let label = if state.label.is_empty() { String::new() } else { format!("{} ", state.label) };
    let onbuild = if onbuild { "ONBUILD " } else { "" };
    format!("[{platform}{label}{:>width$}/{}] {onbuild}", state.numbered, state.total)
}

/// Takes over what a base image says.
fn inherit(state: &mut StageState, base: &ImageConfig) {
    let mut config = base.clone();
    config.created = None;
    config.rootfs.diff_ids.clear();
    config.extra.clear();
    config.config.extra.retain(|key, _| key == "ArgsEscaped");
    state.history = config
        .history
        .drain(..)
        .map(|entry| HistoryEntry { origin: HistoryOrigin::Base, entry })
        .collect();
    for entry in &config.config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        globals::set(&mut state.env, name, value);
        state.env_names.insert(name.to_owned());
    }
    if !config.config.working_dir.is_empty() {
        config.config.working_dir = crate::paths::absolute("/", &config.config.working_dir);
    }
    state.config = config;
}

/// Whether an instruction is counted in `[k/n]`.
fn is_step(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_)
    )
}
