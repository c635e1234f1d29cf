//! The distribution protocol as a client: authentication, resolve, pull, push, mount, referrers,
//! resume, budgets and mirrors, over HTTP.
//!
//! The core is async; [`blocking`] has the [`oci::Source`] and [`oci::Sink`] of a repository for
//! threads. Nothing here reads the environment or a disk: settings are a [`ClientConfig`],
//! credentials come through a [`Keychain`], uploads are remembered by a [`TransferJournal`].

pub mod auth;
pub mod blocking;
mod budget;
mod client;
mod clock;
mod config;
mod content;
pub mod copy;
mod credentials;
pub mod docker_config;
mod error;
mod exchange;
mod host;
mod journal;
pub mod limits;
mod progress;
mod redact;
mod repository;
mod retry;
pub mod sync;
mod transport;

pub use budget::{BudgetKey, BudgetLedger, NoLedger, Priority, Quota};
pub use client::{Client, Login};
pub use clock::{Clock, SystemClock};
pub use config::{
    ApiRoot, BudgetConfig, ClientConfig, ClientIdentity, HostConfig, Mirror, MirrorCapabilities,
    NamespaceQuery, ProxyConfig, RetryPolicy, TlsConfig,
};
pub use content::{BlobContent, NotRewindable, source_content};
pub use credentials::{Anonymous, Credential, FixedKeychain, Keychain, KeychainError};
pub use error::{
    Act, ConnectionFailure, ErrorAnswer, ErrorCode, ErrorDetail, Problem, RegistryError,
};
pub use host::{Insecure, Scheme, is_loopback};
pub use journal::{NoJournal, TransferJournal, UploadKey, UploadRecord};
pub use progress::{Progress, Silent, TransferEvent};
pub use redact::Secret;
pub use repository::{
    AnonymousMount, BlobStream, FetchedManifest, Mounted, PushedBlob, PushedManifest, Referrers,
    ReferrersFilter, ReferrersSource, Repository, Selector, UploadConfig, UploadMode,
};
pub use transport::{
    HttpBody, HttpRequest, HttpResponse, IncomingStream, OutgoingStream, Transport,
    install_crypto_provider,
};
