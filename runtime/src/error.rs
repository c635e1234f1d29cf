//! Everything that can go wrong with a container, as situations; the texts are Docker's own where Docker has one.

use std::io;
use std::path::{Path, PathBuf};

/// Who can do something about an error; the command line derives exit codes and hints from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for cannot be meant: an option, a name or a value is wrong.
    Invalid,
    /// There is no such container, user, file or command.
    NotFound,
    /// The container's state or another container's name stands in the way.
    Conflict,
    /// Asked for something that is not there yet, or that this host cannot do.
    Unsupported,
    /// The machine refused: input/output, memory, a kernel call.
    System,
}

/// A failed operation on a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a name nor an id nor a prefix of one.
    #[error("No such container: {reference}")]
    NoSuchContainer {
        /// What was asked for.
        reference: String,
    },
    /// Several ids start with the prefix.
    #[error("Multiple IDs found with provided prefix: {prefix}")]
    AmbiguousPrefix {
        /// What was asked for.
        prefix: String,
    },
    /// The name belongs to another container.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The wanted name.
        name: String,
        /// Its owner.
        id: String,
    },
    /// The name has characters that Docker does not allow.
    #[error("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName {
        /// The wanted name.
        name: String,
    },
    /// The operation needs a running container.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// The operation needs a container that is not running.
    #[error("container {id} is already running")]
    AlreadyRunning {
        /// The container.
        id: String,
    },
    /// `rm` without force of a running container.
    #[error(
        "cannot remove container \"{reference}\": container is {state}: stop the container before removing or force remove"
    )]
    RemoveRunning {
        /// The name or id that was given.
        reference: String,
        /// `running` or `paused`.
        state: &'static str,
    },
    /// The container is frozen.
    #[error("container {id} is paused, unpause the container before {act}")]
    Paused {
        /// The container.
        id: String,
        /// What was to be done.
        act: &'static str,
    },
    /// Pausing twice.
    #[error("container {id} is already paused")]
    AlreadyPaused {
        /// The container.
        id: String,
    },
    /// Unpausing what is not paused.
    #[error("container {id} is not paused")]
    NotPaused {
        /// The container.
        id: String,
    },
    /// Another process changes the container at this moment.
    #[error("container {id} is busy: another command is starting or removing it; try again")]
    Busy {
        /// The container.
        id: String,
    },
    /// An option has a value that cannot be meant.
    #[error("invalid {option} \"{value}\": {reason}")]
    Invalid {
        /// The option as the user knows it.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Two options contradict each other.
    #[error("conflicting options: {0}")]
    ConflictingOptions(String),
    /// Not done here, or not possible on this host.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// The option or act.
        what: String,
        /// Why, and what to do instead.
        reason: String,
    },
    /// The user of the container is not in the image.
    #[error("unable to find user {user}: no matching entries in passwd file")]
    NoSuchUser {
        /// The user.
        user: String,
    },
    /// The group of the container is not in the image.
    #[error("unable to find group {group}: no matching entries in group file")]
    NoSuchGroup {
        /// The group.
        group: String,
    },
    /// No command, neither in the image nor given.
    #[error(
        "no command specified: the image has neither Cmd nor Entrypoint; name one after the image"
    )]
    NoCommand,
    /// The first process of a container, or a process of `exec`, could not be started.
    #[error("{message}")]
    Start {
        /// Docker's exit code for it: 125, 126 or 127.
        exit_code: u8,
        /// What happened, in Docker's words where it has them.
        message: String,
    },
    /// A file or folder of the state, the bundle or the host could not be used.
    #[error("cannot {act} {path}: {source}")]
    File {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A call to the system that concerns no file failed.
    #[error("cannot {act}: {source}")]
    System {
        /// What was tried.
        act: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the state folder does not hold what it must.
    #[error("{path} is damaged: {reason}; remove the container with `rm -f` and create it again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The monitor of a container went away in the middle of an exchange.
    #[error("the monitor of container {id} ended unexpectedly")]
    MonitorLost {
        /// The container.
        id: String,
    },
}

/// Result of this package.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer { .. } | Self::NoSuchUser { .. } | Self::NoSuchGroup { .. } => {
                ErrorKind::NotFound
            }
            Self::AmbiguousPrefix { .. }
            | Self::InvalidName { .. }
            | Self::Invalid { .. }
            | Self::ConflictingOptions(_)
            | Self::NoCommand => ErrorKind::Invalid,
            Self::NameInUse { .. }
            | Self::NotRunning { .. }
            | Self::AlreadyRunning { .. }
            | Self::RemoveRunning { .. }
            | Self::Paused { .. }
            | Self::AlreadyPaused { .. }
            | Self::NotPaused { .. }
            | Self::Busy { .. } => ErrorKind::Conflict,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Start { exit_code: 126 | 127, .. } => ErrorKind::NotFound,
            Self::Start { .. }
            | Self::File { .. }
            | Self::System { .. }
            | Self::Damaged { .. }
            | Self::MonitorLost { .. } => ErrorKind::System,
        }
    }

    /// The exit code `docker run` and `docker exec` give for it: 126 and 127 for commands, else 125.
    pub fn run_exit_code(&self) -> u8 {
        match self {
            Self::Start { exit_code, .. } => *exit_code,
            _ => 125,
        }
    }

    /// A failed act on a path.
    pub(crate) fn file(
        act: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::File { act, path, source }
    }

    /// A failed act without a path.
    pub(crate) fn system(act: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { act, source }
    }

    /// An option that cannot be meant.
    pub(crate) fn invalid(
        option: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Invalid { option, value: value.into(), reason: reason.into() }
    }

    /// A thing refused.
    pub(crate) fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), reason: reason.into() }
    }
}
