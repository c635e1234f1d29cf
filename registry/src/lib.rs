//! The distribution protocol as a server: an embedded registry over a content store.
//!
//! It implements the OCI distribution specification 1.1 with every optional part: chunked,
//! streamed, monolithic and mounted uploads that survive a restart, range requests, referrers,
//! deletion, pagination, SHA-512. Content goes into the `store` of the same root; repositories
//! are small files beside it (`docs/format/registry.md`). `tests/conformance` numbers the
//! clauses of the specification and the tests that hold them.
//!
//! ```no_run
//! # async fn run() -> Result<(), registry::Error> {
//! let server = registry::Server::bind(registry::Config::loopback("/srv/registry"))?;
//! println!("{}", server.local_addr());
//! server.serve(std::future::pending()).await
//! # }
//! ```

mod access;
mod body;
mod clock;
mod collection;
pub mod config;
mod content;
mod error;
mod fault;
mod handler;
pub mod limits;
mod log;
mod manifest;
mod metrics;
mod name;
mod patience;
mod pull_through;
mod range;
mod repository;
mod route;
mod sendfile;
mod server;
mod tls;
mod uploads;
mod upstream;

pub use access::{Action, Grant, RepositoryPattern};
pub use collection::Collected;
pub use config::{Config, Mode, VARIABLE_PREFIX};
pub use error::Error;
pub use name::{ManifestReference, NameError, ReferenceError, RepositoryName, Tag, TagError};
pub use server::{BoundServer, Control, Running, Server};
pub use upstream::{Upstream, UpstreamBlob, UpstreamError, UpstreamManifest};
