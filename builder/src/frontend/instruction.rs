//! The nouns of a parsed Dockerfile.

use super::lines::Heredoc;
use super::mount::MountFlag;
use super::span::Span;

/// One instruction of a stage with its place in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it says.
    pub instruction: Instruction,
    /// Where it stands, from keyword to the last line.
    pub span: Span,
    /// The keyword as it was written.
    pub keyword: String,
    /// The logical line: continuations joined, comments gone.
    pub line: String,
}

/// A build stage: `FROM` and everything up to the next one.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its number, counted from 0.
    pub index: usize,
    /// The name behind `AS`, in lower case.
    pub name: Option<String>,
    /// The name as it was written.
    pub written_name: Option<String>,
    /// The word `AS` as it was written.
    pub written_as: Option<String>,
    /// What is built upon, unexpanded: an image, an earlier stage or `scratch`.
    pub base: String,
    /// The value of `--platform`, unexpanded.
    pub platform: Option<String>,
    /// The line of the `FROM`.
    pub line: String,
    /// The keyword of the `FROM` as it was written.
    pub keyword: String,
    /// Where the `FROM` stands.
    pub span: Span,
    /// The comment lines directly above it.
    pub comments: Vec<String>,
    /// The instructions, in order.
    pub nodes: Vec<Node>,
}

/// A name with an optional value, as in ARG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgPair {
    /// The name.
    pub name: String,
    /// The unexpanded default.
    pub default: Option<String>,
}

/// A name and a value, as in ENV and LABEL, unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
    /// True for the legacy form without `=`.
    pub legacy: bool,
}

/// Whether a command line goes through the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A string for the stage's shell.
    Shell,
    /// A JSON array, executed as it is.
    Exec,
}

/// A command in shell or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// Which of the two.
    pub form: Form,
    /// One string for the shell form, the arguments for the exec form.
    pub args: Vec<String>,
}

/// Network of a RUN step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// What the build was started with.
    Default,
    /// Only a loopback of its own.
    None,
    /// The host's.
    Host,
}

impl Network {
    /// The word for it in a Dockerfile.
    pub fn as_str(self) -> &'static str {
        match self {
            Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        }
    }
}

/// Security of a RUN step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// The default isolation.
    Sandbox,
    /// No isolation; needs the caller's consent.
    Insecure,
}

/// A RUN instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The command.
    pub command: CommandLine,
    /// Here-documents opened in the command.
    pub heredocs: Vec<Heredoc>,
    /// `--mount` flags.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
}

/// A file whose content stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name: the delimiter.
    pub name: String,
    /// Its content, tabs dropped where asked.
    pub content: String,
    /// Whether the builder expands variables in it.
    pub expand: bool,
}

/// COPY or ADD, unexpanded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// Source paths in order.
    pub sources: Vec<String>,
    /// Sources given as here-documents.
    pub inline: Vec<InlineFile>,
    /// Destination.
    pub destination: String,
    /// `--from`, of COPY only.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`, of COPY only.
    pub parents: bool,
    /// `--exclude`, repeatable.
    pub exclude: Vec<String>,
    /// `--checksum`, of ADD only.
    pub checksum: Option<String>,
    /// `--keep-git-dir`, of ADD only.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, of ADD only.
    pub unpack: Option<bool>,
}

/// HEALTHCHECK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`.
    pub test: Vec<String>,
    /// Nanoseconds between checks, 0 when not given.
    pub interval: i64,
    /// Nanoseconds a check may take.
    pub timeout: i64,
    /// Nanoseconds of grace after the start.
    pub start_period: i64,
    /// Nanoseconds between checks during the grace.
    pub start_interval: i64,
    /// Failures in a row until unhealthy.
    pub retries: i64,
}

/// An instruction inside a stage. `FROM` is [`Stage`].
#[derive(Debug, Clone, PartialEq)]
pub enum Instruction {
    /// ADD.
    Add(Copy),
    /// ARG.
    Arg(Vec<ArgPair>),
    /// CMD.
    Cmd(CommandLine),
    /// COPY.
    Copy(Copy),
    /// ENTRYPOINT.
    Entrypoint(CommandLine),
    /// ENV.
    Env(Vec<KeyValue>),
    /// EXPOSE.
    Expose(Vec<String>),
    /// HEALTHCHECK.
    Healthcheck(Health),
    /// LABEL.
    Label(Vec<KeyValue>),
    /// MAINTAINER.
    Maintainer(String),
    /// ONBUILD: the trigger as it is written.
    Onbuild(String),
    /// RUN.
    Run(Run),
    /// SHELL.
    Shell(Vec<String>),
    /// STOPSIGNAL.
    StopSignal(String),
    /// USER.
    User(String),
    /// VOLUME.
    Volume(Vec<String>),
    /// WORKDIR.
    Workdir(String),
}

impl Instruction {
    /// The keyword, in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Instruction::Add(_) => "ADD",
            Instruction::Arg(_) => "ARG",
            Instruction::Cmd(_) => "CMD",
            Instruction::Copy(_) => "COPY",
            Instruction::Entrypoint(_) => "ENTRYPOINT",
            Instruction::Env(_) => "ENV",
            Instruction::Expose(_) => "EXPOSE",
            Instruction::Healthcheck(_) => "HEALTHCHECK",
            Instruction::Label(_) => "LABEL",
            Instruction::Maintainer(_) => "MAINTAINER",
            Instruction::Onbuild(_) => "ONBUILD",
            Instruction::Run(_) => "RUN",
            Instruction::Shell(_) => "SHELL",
            Instruction::StopSignal(_) => "STOPSIGNAL",
            Instruction::User(_) => "USER",
            Instruction::Volume(_) => "VOLUME",
            Instruction::Workdir(_) => "WORKDIR",
        }
    }
}

/// Every keyword, FROM included, for suggestions and for the reference.
pub const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
