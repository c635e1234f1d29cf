//! The situations in which a build cannot go on.

use std::path::PathBuf;

use crate::frontend::Diagnostic;

/// An error of a port: whatever the engine's adapter met.
pub type PortError = Box<dyn std::error::Error + Send + Sync>;

/// The result of the builder's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile says something wrong at one place.
    #[error("{0}")]
    Dockerfile(#[source] Box<Diagnostic>),
    /// `--target` names no stage.
    #[error("target stage {name:?} could not be found{}", hint(.near.as_deref()))]
    TargetNotFound {
        /// What was asked for.
        name: String,
        /// The stage that was likely meant.
        near: Option<String>,
    },
    /// The build checks found something, and the Dockerfile wants that to be an error.
    #[error("lint violation found for rules: {rules}\n{report}")]
    Checks {
        /// The rules.
        rules: String,
        /// Each finding with its place.
        report: String,
    },
    /// The package databases of an image cannot be read.
    #[error("cannot list the packages of layer {layer}: {reason}")]
    Packages {
        /// The layer.
        layer: oci::Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A value given with the request is malformed.
    #[error("invalid {what} {value:?}: {reason}")]
    Request {
        /// The option.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A base image could not be resolved.
    #[error("failed to resolve {reference} for {platform}")]
    Resolve {
        /// The image.
        reference: String,
        /// The platform.
        platform: String,
        /// Why.
        #[source]
        source: PortError,
    },
    /// The layers of a base image could not be made ready.
    #[error("failed to unpack {reference}")]
    Unpack {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: PortError,
    },
    /// A RUN step ended with a status other than 0.
    #[error("process {command:?} did not complete successfully: exit code: {code}\n{excerpt}")]
    StepFailed {
        /// The step's name.
        step: String,
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
        /// The lines of the Dockerfile with the step marked.
        excerpt: String,
        /// The last lines that it printed.
        log_tail: Vec<String>,
    },
    /// A RUN step could not be run at all.
    #[error("failed to run {step}")]
    Worker {
        /// The step's name.
        step: String,
        /// Why.
        #[source]
        source: PortError,
    },
    /// A source path of COPY or ADD does not exist.
    #[error("{step}: {path:?} not found in {place}{}", if *.ignored { " (it is excluded by the ignore file)" } else { "" })]
    SourceNotFound {
        /// The step's name.
        step: String,
        /// The path.
        path: String,
        /// Where it was looked for.
        place: String,
        /// True when it exists and an ignore pattern hides it.
        ignored: bool,
    },
    /// A file operation of a step met something that it must not do.
    #[error("{step}: {reason}")]
    Copy {
        /// The step's name.
        step: String,
        /// What is in the way.
        reason: String,
    },
    /// A file operation of a step failed in the operating system.
    #[error("{step}: {act} {}", .path.display())]
    CopyIo {
        /// The step's name.
        step: String,
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The build context cannot be read.
    #[error("failed to {act} {}", .path.display())]
    Context {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The ignore file is malformed.
    #[error("failed to read {}", .path.display())]
    IgnoreFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: crate::context::ignore::IgnoreError,
    },
    /// A name of `--chown` or USER is not in the image.
    #[error("{step}: unable to find {kind} {name:?} in {file} of the image")]
    UnknownAccount {
        /// The step's name.
        step: String,
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A required secret or ssh agent was not given.
    #[error("{step}: {kind} {id} is required and was not given with the build")]
    NotGiven {
        /// The step's name.
        step: String,
        /// `secret` or `ssh agent`.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// A step needs something that this build may not or cannot use.
    #[error("{step}: {reason}")]
    Refused {
        /// The step's name.
        step: String,
        /// What, and the way out.
        reason: String,
    },
    /// A remote source of ADD could not be fetched.
    #[error("{step}: failed to fetch {url}")]
    Fetch {
        /// The step's name.
        step: String,
        /// The address, without credentials.
        url: String,
        /// Why.
        #[source]
        source: PortError,
    },
    /// The value of a secret was found where it would have been published.
    #[error("the value of secret {id:?} was found in {place}: nothing was tagged")]
    SecretLeaked {
        /// The secret.
        id: String,
        /// Where it was found.
        place: String,
    },
    /// The build was told to stop.
    #[error("the build was cancelled")]
    Cancelled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The build cache on disk failed.
    #[error("build cache: failed to {act} {}", .path.display())]
    Cache {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A document could not be encoded.
    #[error("failed to encode the image")]
    Encode(#[from] oci::RawError),
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Error::Dockerfile(Box::new(diagnostic))
    }
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
}
