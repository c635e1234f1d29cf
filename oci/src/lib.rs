//! The nouns of the OCI image, distribution and Docker specifications.
//!
//! Every type is parsed at one gate and cannot be built invalid. Nothing here
//! does I/O, reads a clock or knows an environment; [`Source`] and [`Sink`] are
//! the ports that media (a store, a registry, an archive) implement.

mod chain;
mod config;
mod descriptor;
mod digest;
mod json;
pub mod limits;
mod manifest;
mod media_type;
mod platform;
mod raw;
mod reference;
mod transfer;
mod verifier;

pub use chain::{ChainId, chain_ids};
pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{Descriptor, annotation};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use manifest::{Index, Manifest, ManifestError, ManifestOrIndex};
pub use media_type::{Compression, MediaType};
pub use platform::{Platform, PlatformError};
pub use raw::{Document, Raw, RawError};
pub use reference::{Reference, ReferenceError, Repository};
pub use transfer::{Sink, Source, TransferError, TransferErrorKind};
pub use verifier::{Verifier, VerifyError, VerifyingReader};
