//! What the engine can fail of, and who can do something about it.

use std::path::PathBuf;

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who can mend a failure. The command line makes its exit status of this (ADR 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request contradicts the state: a name in use, a container that runs.
    Conflict,
    /// Trust, credentials or rights refuse it.
    Denied,
    /// No space left.
    Full,
    /// A defect, or the machine failing in a way nobody foresaw.
    Internal,
    /// The request itself is wrong.
    Invalid,
    /// The object does not exist.
    NotFound,
    /// The other side cannot be reached now.
    Unavailable,
}

/// A failure: the act and object in the message, the kind, the way out in hints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The build failed.
    #[error(transparent)]
    Build(#[from] builder::Error),
    /// More than one image starts with this id.
    #[error("image id prefix {prefix} is ambiguous: it could be any of {candidates}")]
    AmbiguousId {
        /// What was typed.
        prefix: String,
        /// The candidates, short.
        candidates: String,
    },
    /// A configuration or credential file cannot be used.
    #[error("{file}: {reason}")]
    Configuration {
        /// The file, or the variable.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The request contradicts the state.
    #[error("{0}")]
    Conflict(String),
    /// The policy refuses.
    #[error("{act} {reference}: refused by policy ({policy}): {reasons}")]
    Denied {
        /// What was tried.
        act: &'static str,
        /// On what.
        reference: String,
        /// The policy file, or what stands for it.
        policy: Box<str>,
        /// Why, for programs.
        codes: Box<[&'static str]>,
        /// Why, for people.
        reasons: Box<str>,
    },
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The repository has no trust data.
    #[error("{act} {repository}: no trust data; `wherry trust init {repository}` makes them")]
    NoTrustData {
        /// What was tried.
        act: String,
        /// The repository.
        repository: String,
    },
    /// The operating system refuses.
    #[error("{act} {}: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// What is to be pushed is not in the store.
    #[error("An image does not exist locally with the tag: {reference}")]
    NotHere {
        /// The name.
        reference: String,
    },
    /// The networks failed.
    #[error(transparent)]
    Networks(#[from] network::Error),
    /// The host's side of a published port cannot be had.
    #[error("driver failed programming external connectivity on endpoint {container}: {source}")]
    Ports {
        /// The container's name.
        container: String,
        /// Why.
        source: network::Error,
    },
    /// No such image.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// No such file in a container.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchFile {
        /// The path in the container.
        path: String,
        /// The container as it was named.
        container: String,
    },
    /// No such volume.
    #[error("get {name}: no such volume")]
    NoSuchVolume {
        /// What was asked for.
        name: String,
    },
    /// Nothing of that name of any kind.
    #[error("No such object: {name}")]
    NoSuchObject {
        /// What was asked for.
        name: String,
    },
    /// An image name cannot be read.
    #[error(transparent)]
    Reference(#[from] oci::ReferenceError),
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] registry_client::RegistryError),
    /// The container runtime failed.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The registry server failed.
    #[error(transparent)]
    Server(#[from] registry::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A transfer failed.
    #[error(transparent)]
    Transfer(#[from] oci::TransferError),
    /// Keys, metadata or a policy file are wrong.
    #[error(transparent)]
    Trust(#[from] trust::Error),
}

impl Error {
    /// An error of the operating system.
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { act, path: path.into(), source }
    }

    /// Who can mend it.
    pub fn kind(&self) -> ErrorKind {
        use oci::TransferErrorKind as Transfer;
        match self {
            Self::AmbiguousId { .. }
            | Self::Invalid(_)
            | Self::Reference(_)
            | Self::Configuration { .. } => ErrorKind::Invalid,
            Self::Build(error) => match behind(error) {
                Some(cause) => cause.kind(),
                None => of_build(error),
            },
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Denied { .. } | Self::Trust(_) => ErrorKind::Denied,
            Self::Io { source, .. } => of_io(source),
            Self::NoSuchImage { .. }
            | Self::NoSuchFile { .. }
            | Self::NoSuchVolume { .. }
            | Self::NoSuchObject { .. }
            | Self::NotHere { .. }
            | Self::NoTrustData { .. } => ErrorKind::NotFound,
            Self::Registry(error) => crate::transport::kind_of(error),
            Self::Networks(error) | Self::Ports { source: error, .. } => of_networks(error),
            Self::Runtime(error) => crate::containers::kind_of(error),
            Self::Server(error) => of_server(error),
            Self::Store(error) => of_store(error),
            Self::Transfer(error) => match error.kind() {
                Transfer::Corrupt | Transfer::Other => ErrorKind::Internal,
                Transfer::Denied => ErrorKind::Denied,
                Transfer::Full => ErrorKind::Full,
                Transfer::NotFound => ErrorKind::NotFound,
                Transfer::Unavailable => ErrorKind::Unavailable,
            },
        }
    }

    /// What the user can do, one sentence a line; none where the message says it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Build(error) => behind(error).map_or_else(Vec::new, Self::hints),
            Self::Denied { reference, .. } => {
                vec![format!("`wherry verify {reference}` shows each requirement and its outcome")]
            }
            Self::NoSuchImage { name } => {
                vec![format!("`wherry pull {name}` fetches it, `wherry images` lists what is here")]
            }
            _ => Vec::new(),
        }
    }
}

/// What a port of the engine told the builder: a refusal by policy, a registry that is down, an image that is not there.
fn behind(error: &builder::Error) -> Option<&Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// A build fails of what its author wrote, unless the disk was full.
fn of_build(error: &builder::Error) -> ErrorKind {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().map(of_io);
        io.or_else(|| cause.downcast_ref().map(of_store)) == Some(ErrorKind::Full)
    };
    if causes(error).any(full) { ErrorKind::Full } else { ErrorKind::Invalid }
}

/// What stands behind an error, the nearest cause first.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause.source())
}

/// Who can mend what the operating system refuses.
pub(crate) fn of_io(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Internal,
    }
}

fn of_networks(error: &network::Error) -> ErrorKind {
    use network::ErrorKind as Kind;
    match error.kind() {
        Kind::Conflict => ErrorKind::Conflict,
        Kind::Denied => ErrorKind::Denied,
        Kind::Exhausted => ErrorKind::Full,
        Kind::Invalid | Kind::Unsupported => ErrorKind::Invalid,
        Kind::NotFound => ErrorKind::NotFound,
        Kind::Corrupt | Kind::Other => ErrorKind::Internal,
    }
}

fn of_server(error: &registry::Error) -> ErrorKind {
    use registry::Error as Server;
    match error {
        Server::AddressTaken { .. } | Server::RootInUse { .. } => ErrorKind::Conflict,
        Server::Bind { .. } => ErrorKind::Unavailable,
        Server::Root { source, .. } | Server::Read { source, .. } => of_io(source),
        Server::Config { .. }
        | Server::Htpasswd { .. }
        | Server::Key { .. }
        | Server::Layout { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

fn of_store(error: &store::Error) -> ErrorKind {
    use store::Error as Store;
    match error {
        Store::Busy { .. } | Store::SnapshotExists { .. } => ErrorKind::Conflict,
        Store::Full { .. } => ErrorKind::Full,
        Store::Io { source, .. } => of_io(source),
        Store::NoPlatform { .. }
        | Store::NoSuchName { .. }
        | Store::NoSuchSnapshot { .. }
        | Store::NotFound { .. } => ErrorKind::NotFound,
        Store::InvalidName { .. } | Store::Archive { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}
