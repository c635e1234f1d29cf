//! What can go wrong outside a request.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A situation in which the server does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process listens on the address.
    #[error(
        "cannot listen on {addr}: the port is taken; stop the other process or choose another --addr"
    )]
    AddressTaken {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The root folder cannot be used.
    #[error("cannot use {} as the registry's root", path.display())]
    Root {
        /// The path that failed.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another server holds the root.
    #[error("{} is in use by another registry process; stop it or choose another root", path.display())]
    RootInUse {
        /// The root.
        path: PathBuf,
    },
    /// The root was written by a newer version.
    #[error("{} has repository layout {found}; this program reads layout {expected}", path.display())]
    Layout {
        /// The root.
        path: PathBuf,
        /// The version found.
        found: String,
        /// The version understood.
        expected: &'static str,
    },
    /// The content store cannot be opened or used.
    #[error("cannot {act} in the content store")]
    Store {
        /// What was attempted.
        act: &'static str,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file named in the configuration cannot be read.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration does not parse or contradicts itself.
    #[error("invalid registry configuration: {reason}")]
    Config {
        /// The key and what is wrong with it.
        reason: String,
    },
    /// A line of the htpasswd file is not usable.
    #[error("{}, line {line}: {reason}", path.display())]
    Htpasswd {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong; never the line itself, which is a secret.
        reason: &'static str,
    },
    /// A key or certificate is not usable.
    #[error("cannot use {what} {}: {reason}", path.display())]
    Key {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The asynchronous runtime cannot be started.
    #[error("cannot start the server's threads")]
    Threads {
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn root(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Root { path: path.into(), source }
    }

    pub(crate) fn config(reason: impl Into<String>) -> Self {
        Self::Config { reason: reason.into() }
    }
}
