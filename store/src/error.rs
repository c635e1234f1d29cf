//! What can go wrong in the store, by situation.

use std::io;
use std::path::{Path, PathBuf};

use oci::{Digest, RawError, TransferError, TransferErrorKind, VerifyError};

use crate::tar::TarError;

/// A result of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the store: the act, its object and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An archive is not what it should be.
    #[error("{what} is not a readable archive: {reason}")]
    Archive {
        /// Which archive, or which part of it.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// Something is used by another process or container.
    #[error("{what} is in use by {holder}")]
    Busy {
        /// What was to be changed.
        what: String,
        /// Who uses it.
        holder: String,
    },
    /// Content is not what its descriptor says.
    #[error("refuse content: {0}")]
    Content(#[from] VerifyError),
    /// A stored document does not parse.
    #[error("read {digest}: {source}")]
    Document {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        source: RawError,
    },
    /// The disk or the quota is full.
    #[error("{act} {}: no space left; free some with `wherry image prune` or move the store with --root", path.display())]
    Full {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// The store was written by another version.
    #[error("{}: store format {found:?} is not known to this version (it knows {known}); use the version of wherry that wrote it, or another --root", path.display())]
    Format {
        /// The format file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this version reads.
        known: &'static str,
    },
    /// A name would point at something that is not all there.
    #[error(
        "cannot name {name}: content {missing} is not in the store; pull or load the image again"
    )]
    Incomplete {
        /// The name asked for.
        name: String,
        /// The first content missing.
        missing: Digest,
    },
    /// A text cannot be a name.
    #[error("invalid name {text:?}: {reason}")]
    InvalidName {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The operating system refuses.
    #[error("{act} {}: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// A layer cannot be unpacked.
    #[error("unpack layer {layer}: {source}")]
    Layer {
        /// The layer's digest.
        layer: Digest,
        /// Why.
        source: Box<LayerError>,
    },
    /// An image whose manifest and config disagree.
    #[error(
        "image {digest} has {layers} layers and {diff_ids} layer ids in its config: it cannot be unpacked"
    )]
    LayersDiffer {
        /// The manifest.
        digest: Digest,
        /// How many layers the manifest lists.
        layers: usize,
        /// How many the config lists.
        diff_ids: usize,
    },
    /// The names cannot be read.
    #[error("{} is damaged: {reason}; `wherry store check --repair` puts the copy of the last change in its place", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that is stored like an image and is none.
    #[error("{digest} is not an image: it is {kind}")]
    NotAnImage {
        /// The manifest.
        digest: Digest,
        /// What it is.
        kind: String,
    },
    /// No platform of the index fits.
    #[error("no image for platform {wanted} in {digest}; it has {available}")]
    NoPlatform {
        /// The index.
        digest: Digest,
        /// What was wanted.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// Content is not in the store.
    #[error("content {digest} is not in the store")]
    NotFound {
        /// What was asked for.
        digest: Digest,
    },
    /// No name like that.
    #[error("no such image: {name}")]
    NoSuchName {
        /// What was asked for.
        name: String,
    },
    /// No unpacked layer like that.
    #[error("layer {id} is not unpacked in the store")]
    NoSuchLayer {
        /// The layer's id.
        id: String,
    },
    /// No snapshot like that.
    #[error("no such snapshot: {key}")]
    NoSuchSnapshot {
        /// The snapshot's key.
        key: String,
    },
    /// A record of the store does not parse.
    #[error("{} is damaged: {reason}; see `wherry store check`", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is one like that already.
    #[error("snapshot {key} exists already")]
    SnapshotExists {
        /// The snapshot's key.
        key: String,
    },
    /// What was read for a copy failed.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A directory tree cannot be written as a layer.
    #[error("cannot archive {}: {reason}", path.display())]
    Unarchivable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The collector does not sweep after an error in marking: what it could not read may be live.
    #[error("collection stopped before anything was removed: {source}")]
    Unmarked {
        /// What could not be read.
        source: Box<Error>,
    },
}

/// Why one layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The stream does not decompress.
    #[error("{0}")]
    Decode(io::Error),
    /// The uncompressed content is not what the image's config says.
    #[error("uncompressed content is {found}, the image's config says {expected}")]
    DiffId {
        /// From the config.
        expected: Digest,
        /// From the content.
        found: Digest,
    },
    /// An entry cannot be created.
    #[error("{act} {path:?}: {source}")]
    Entry {
        /// What was tried.
        act: &'static str,
        /// The entry's path inside the layer.
        path: String,
        /// The operating system's words.
        source: io::Error,
    },
    /// An entry is refused.
    #[error("entry {path:?} is refused: {reason}")]
    Hostile {
        /// The entry's path inside the layer.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The layer is over a limit.
    #[error("more than {limit} {what}")]
    Limit {
        /// Of what there is too much.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
    /// The tar does not parse.
    #[error(transparent)]
    Tar(#[from] TarError),
}

/// Errors as far as their handling differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Somebody uses it.
    Busy,
    /// Content, archive or record is not what it should be.
    Corrupt,
    /// The operating system or a rule forbids it.
    Denied,
    /// No space.
    Full,
    /// The caller asked for something impossible.
    Invalid,
    /// It is not there.
    NotFound,
    /// Anything else.
    Other,
}

impl Error {
    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy { .. } | Self::SnapshotExists { .. } => ErrorKind::Busy,
            Self::Archive { .. }
            | Self::Content(_)
            | Self::Document { .. }
            | Self::LayersDiffer { .. }
            | Self::Layer { .. }
            | Self::Names { .. }
            | Self::Record { .. } => self.layer_kind(),
            Self::Full { .. } => ErrorKind::Full,
            Self::Format { .. }
            | Self::InvalidName { .. }
            | Self::NotAnImage { .. }
            | Self::Unarchivable { .. } => ErrorKind::Invalid,
            Self::Incomplete { .. }
            | Self::NoPlatform { .. }
            | Self::NotFound { .. }
            | Self::NoSuchName { .. }
            | Self::NoSuchLayer { .. }
            | Self::NoSuchSnapshot { .. } => ErrorKind::NotFound,
            Self::Io { source, .. } => io_kind(source),
            Self::Transfer(error) => match error.kind() {
                TransferErrorKind::Corrupt => ErrorKind::Corrupt,
                TransferErrorKind::Denied => ErrorKind::Denied,
                TransferErrorKind::Full => ErrorKind::Full,
                TransferErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Other,
            },
            Self::Unmarked { source } => source.kind(),
        }
    }

    fn layer_kind(&self) -> ErrorKind {
        match self {
            Self::Layer { source, .. } => match &**source {
                LayerError::Entry { source, .. } => io_kind(source),
                LayerError::Decode(source) if io_kind(source) == ErrorKind::Full => ErrorKind::Full,
                _ => ErrorKind::Corrupt,
            },
            _ => ErrorKind::Corrupt,
        }
    }

    /// Whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// An error of the operating system on `path`.
    pub(crate) fn io(act: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match io_kind(&source) {
            ErrorKind::Full => Self::Full { act, path, source },
            _ => Self::Io { act, path, source },
        }
    }
}

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::ResourceBusy => ErrorKind::Busy,
        _ => ErrorKind::Other,
    }
}

/// Turns an error of the operating system into one that names act and path.
pub(crate) fn at<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::io(act, path, source.into())
}

impl From<Error> for TransferError {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Corrupt => TransferErrorKind::Corrupt,
            ErrorKind::Denied => TransferErrorKind::Denied,
            ErrorKind::Full => TransferErrorKind::Full,
            ErrorKind::NotFound => TransferErrorKind::NotFound,
            _ => TransferErrorKind::Other,
        };
        match error {
            Error::Transfer(inner) => inner,
            other => Self::new(kind, other.to_string()),
        }
    }
}
