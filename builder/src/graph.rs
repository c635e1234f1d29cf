//! The build graph: what a Dockerfile, its arguments, a target and a platform come to.
//!
//! Only steps that make a layer are vertices; metadata instructions have done their work on the image config by then.
//! The printed form is stable: tests compare it, `build --plan` and bug reports show it.

use std::collections::BTreeMap;
use std::fmt;

use oci::{Descriptor, Digest, ImageConfig, Platform, Reference};

use crate::chmod::ModeChange;
use crate::frontend::{Network, Security, Sharing, Span};
use crate::lower::without_credentials;

/// The number of a vertex in its graph; inputs have smaller numbers than those who use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexId(pub usize);

/// A build for one platform.
#[derive(Debug, Clone)]
pub struct Graph {
    /// What is built for.
    pub platform: Platform,
    /// The steps, inputs first.
    pub vertices: Vec<Vertex>,
    /// The file system of the result, `None` for an empty one.
    pub result: Option<VertexId>,
    /// The config of the result, without layers and times.
    pub config: ImageConfig,
    /// The history of the result, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Build arguments that no ARG asked for.
    pub unused_args: Vec<String>,
    /// The time that everything is clamped to, in seconds since 1970.
    pub epoch: Option<i64>,
    /// What the build checks found while the variables were known.
    pub findings: Vec<Finding>,
}

/// A step of the build.
#[derive(Debug, Clone)]
pub struct Vertex {
    /// Its number.
    pub id: VertexId,
    /// What it does.
    pub op: Op,
    /// The file system it works on; `None` for an empty one.
    pub parent: Option<VertexId>,
    /// `[stage 2/5] RUN …`.
    pub name: String,
    /// What it is across builds: its text with nothing expanded, numbered where it stands several times.
    pub identity: String,
    /// The name of the stage, or its number.
    pub stage: String,
    /// Where it stands in the Dockerfile (not for images named by `--from` alone).
    pub span: Option<Span>,
    /// True when the cache must not be asked.
    pub ignore_cache: bool,
}

/// What a vertex does.
#[derive(Debug, Clone)]
pub enum Op {
    /// The layers of an image.
    Image(Box<BaseImage>),
    /// A command.
    Run(Box<RunOp>),
    /// Files from somewhere else.
    Copy(Box<CopyOp>),
    /// A folder.
    Workdir(WorkdirOp),
}

/// An image that was resolved.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// The name as it was asked for, canonical.
    pub reference: Reference,
    /// The manifest that it is for the platform.
    pub manifest: Descriptor,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers, base first, as the manifest lists them.
    pub layers: Vec<Descriptor>,
}

/// A RUN step.
#[derive(Debug, Clone)]
pub struct RunOp {
    /// The command with its shell.
    pub args: Vec<String>,
    /// The environment, build arguments included.
    pub env: Vec<(String, String)>,
    /// Proxy variables: in the environment, in no key and no history.
    pub proxy_env: Vec<(String, String)>,
    /// The host name that was asked for (`BUILDKIT_SANDBOX_HOSTNAME`).
    pub hostname: Option<String>,
    /// The working directory.
    pub cwd: String,
    /// The user, as USER gave it.
    pub user: String,
    /// The network.
    pub network: Network,
    /// The isolation.
    pub security: Security,
    /// Extra mounts in order.
    pub mounts: Vec<RunMount>,
    /// The platform of the rootfs.
    pub platform: Platform,
}

/// An extra mount of a RUN step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunMount {
    /// A folder or file of another file system.
    Bind {
        /// Where.
        target: String,
        /// From where.
        from: CopyFrom,
        /// Which path of it, from its root, `""` for all.
        source: String,
        /// Writes are seen by the step and then discarded.
        writable: bool,
    },
    /// A folder that outlives the build.
    Cache {
        /// Where.
        target: String,
        /// Which one.
        id: String,
        /// How it is shared.
        sharing: Sharing,
        /// What fills it when it is made.
        seed: Option<(CopyFrom, String)>,
        /// Permission bits when it is made.
        mode: Option<u32>,
        /// Owner when it is made.
        owner: Option<(u32, u32)>,
        /// Whether the step may not write.
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// Where.
        target: String,
        /// How much.
        size: Option<u64>,
    },
    /// A secret.
    Secret {
        /// Which one.
        id: String,
        /// The file, `None` when only a variable is wanted.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Whether a missing one is an error.
        required: bool,
        /// Permission bits of the file.
        mode: u32,
        /// Owner of the file.
        owner: (u32, u32),
    },
    /// The socket of an ssh agent.
    Ssh {
        /// Which one.
        id: String,
        /// The socket.
        target: String,
        /// Whether a missing one is an error.
        required: bool,
        /// Permission bits of the socket.
        mode: u32,
        /// Owner of the socket.
        owner: (u32, u32),
    },
    /// A file of the Dockerfile itself (a here-document that is a script).
    Inline {
        /// Where.
        target: String,
        /// What it holds.
        content: String,
    },
}

impl RunMount {
    /// Where it is mounted, for those that are.
    pub fn target(&self) -> Option<&str> {
        match self {
            RunMount::Bind { target, .. }
            | RunMount::Cache { target, .. }
            | RunMount::Tmpfs { target, .. }
            | RunMount::Ssh { target, .. }
            | RunMount::Inline { target, .. } => Some(target),
            RunMount::Secret { target, .. } => target.as_deref(),
        }
    }
}

/// Where COPY takes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFrom {
    /// The build context.
    Context,
    /// A local folder given as `--build-context NAME=PATH`.
    Named(String),
    /// A stage or an image.
    Vertex(VertexId),
    /// An empty stage.
    Scratch,
}

/// A COPY or ADD step.
#[derive(Debug, Clone)]
pub struct CopyOp {
    /// Where paths are taken from.
    pub from: CopyFrom,
    /// What is taken, in order.
    pub items: Vec<CopyItem>,
    /// Where to, absolute; a trailing slash says "into this folder".
    pub destination: String,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<ModeChange>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
}

/// One source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyItem {
    /// A path or wildcard, from the root of the source.
    Path {
        /// `""` is the root itself.
        path: String,
        /// With `--parents`: what of it, relative to `path`.
        pattern: Option<String>,
        /// Whether an archive is unpacked.
        unpack: bool,
    },
    /// A file whose content stands in the Dockerfile.
    Inline {
        /// Its name.
        name: String,
        /// Its content.
        content: String,
    },
    /// A file from a web server.
    Url {
        /// The address.
        url: String,
        /// The name it gets in a folder.
        file_name: String,
        /// What it must hash to.
        checksum: Option<Digest>,
        /// Whether it is unpacked.
        unpack: bool,
    },
    /// A git repository.
    Git {
        /// The address.
        remote: String,
        /// Branch, tag or commit.
        reference: Option<String>,
        /// The folder of it.
        subdir: Option<String>,
        /// Whether `.git` is kept.
        keep_git_dir: bool,
        /// Whether submodules are fetched too.
        submodules: bool,
        /// What the commit must begin with.
        checksum: Option<String>,
    },
}

/// WORKDIR: make a folder.
#[derive(Debug, Clone)]
pub struct WorkdirOp {
    /// The folder, absolute.
    pub path: String,
    /// Who owns what is made, as USER gave it.
    pub user: String,
}

/// A line of the result's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// What it came from.
    pub origin: HistoryOrigin,
    /// The entry; its time is set when the layers are known.
    pub entry: oci::History,
}

/// Where a history entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryOrigin {
    /// The base image: kept as it is.
    Base,
    /// A metadata instruction.
    Metadata,
    /// The step that made a layer.
    Step(VertexId),
}

/// Something a build check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// BuildKit's name of the rule.
    pub rule: &'static str,
    /// What is doubtful.
    pub message: String,
    /// Where.
    pub span: Span,
}

impl Graph {
    /// The vertex with this number.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0]
    }

    /// The result's file system from its base up.
    pub fn result_chain(&self) -> Vec<VertexId> {
        self.chain(self.result)
    }

    /// A vertex and everything below it, base first.
    pub fn chain(&self, top: Option<VertexId>) -> Vec<VertexId> {
        let mut chain: Vec<VertexId> =
            std::iter::successors(top, |id| self.vertex(*id).parent).collect();
        chain.reverse();
        chain
    }
}

impl Vertex {
    /// Its name with the instruction as it is written: what an argument was given as is not in it.
    pub fn written_name(&self) -> String {
        let text = self.identity.split('\0').next().unwrap_or_default();
        match (&self.op, self.name.split_once("] ")) {
            (Op::Image(_), _) | (_, None) => self.name.clone(),
            (_, Some((prefix, _))) => {
                let words: Vec<String> = text.split(' ').map(without_credentials).collect();
                format!("{prefix}] {}", words.join(" "))
            }
        }
    }

    /// Every vertex that must be done before this one.
    pub fn inputs(&self) -> Vec<VertexId> {
        let mut inputs: Vec<VertexId> = self.parent.into_iter().collect();
        let mut add = |from: &CopyFrom| {
            if let CopyFrom::Vertex(id) = from {
                inputs.push(*id);
            }
        };
        match &self.op {
            Op::Copy(copy) => add(&copy.from),
            Op::Run(run) => run.mounts.iter().for_each(|mount| match mount {
                RunMount::Bind { from, .. } | RunMount::Cache { seed: Some((from, _)), .. } => {
                    add(from)
                }
                _ => {}
            }),
            Op::Image(_) | Op::Workdir(_) => {}
        }
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }

    /// The paths of the build context (`None`) and of named contexts that the step reads.
    pub fn context_paths(&self) -> BTreeMap<Option<String>, Vec<String>> {
        let mut paths: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
        let mut add = |from: &CopyFrom, path: &str| match from {
            CopyFrom::Context => paths.entry(None).or_default().push(path.to_owned()),
            CopyFrom::Named(name) => {
                paths.entry(Some(name.clone())).or_default().push(path.to_owned())
            }
            CopyFrom::Vertex(_) | CopyFrom::Scratch => {}
        };
        match &self.op {
            Op::Copy(copy) => copy.items.iter().for_each(|item| {
                if let CopyItem::Path { path, .. } = item {
                    add(&copy.from, path);
                }
            }),
            Op::Run(run) => run.mounts.iter().for_each(|mount| match mount {
                RunMount::Bind { from, source, .. }
                | RunMount::Cache { seed: Some((from, source)), .. } => add(from, source),
                _ => {}
            }),
            Op::Image(_) | Op::Workdir(_) => {}
        }
        paths
    }
}

/// One line per vertex, then the config that comes out.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "platform {}", self.platform)?;
        for vertex in &self.vertices {
            let inputs: Vec<String> =
                vertex.inputs().iter().map(|id| format!("#{}", id.0)).collect();
            let inputs =
                if inputs.is_empty() { String::new() } else { format!(" <- {}", inputs.join(" ")) };
            writeln!(f, "#{} {}{inputs}", vertex.id.0, vertex.name.replace('\n', "\\n"))?;
            write!(f, "{}", Details(&vertex.op))?;
        }
        match self.result {
            Some(id) => writeln!(f, "result #{}", id.0)?,
            None => writeln!(f, "result scratch")?,
        }
        for entry in &self.history {
            let size = if entry.entry.empty_layer { "0B" } else { "layer" };
            writeln!(
                f,
                "history {size}: {}",
                entry.entry.created_by.as_deref().unwrap_or_default().replace('\n', "\\n")
            )?;
        }
        writeln!(
            f,
            "config {}",
            serde_json::to_string(&self.config.config).map_err(|_| fmt::Error)?
        )?;
        for finding in &self.findings {
            writeln!(f, "check {}: {}", finding.rule, finding.message)?;
        }
        match self.unused_args.as_slice() {
            [] => Ok(()),
            unused => writeln!(f, "unused args {unused:?}"),
        }
    }
}

/// The details of an op, indented.
struct Details<'a>(&'a Op);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Image(image) => {
                writeln!(f, "    image {} layers={}", image.reference, image.layers.len())
            }
            Op::Workdir(workdir) => {
                writeln!(f, "    mkdir {} user={:?}", workdir.path, workdir.user)
            }
            Op::Copy(copy) => {
                for item in &copy.items {
                    writeln!(f, "    {item:?}")?;
                }
                let flags = [
                    copy.chown.as_ref().map(|v| format!(" chown={v}")),
                    copy.chmod.as_ref().map(|v| format!(" chmod={v}")),
                    copy.link.then(|| " link".to_owned()),
                    copy.parents.then(|| " parents".to_owned()),
                    (!copy.exclude.is_empty()).then(|| format!(" exclude={:?}", copy.exclude)),
                ];
                writeln!(
                    f,
                    "    from {:?} to {}{}",
                    copy.from,
                    copy.destination,
                    flags.into_iter().flatten().collect::<String>()
                )
            }
            Op::Run(run) => {
                writeln!(f, "    args {:?}", run.args)?;
                let env: Vec<String> = run.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
                writeln!(
                    f,
                    "    env {env:?} cwd={} user={:?} network={}",
                    run.cwd,
                    run.user,
                    run.network.as_str()
                )?;
                run.mounts.iter().try_for_each(|mount| writeln!(f, "    {mount:?}"))
            }
        }
    }
}
