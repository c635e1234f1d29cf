//! The Update Framework: schema, client workflow, repository side.
//!
//! Clause numbers beside the code are those of the specification, version 1.0.33.

mod delegation;
mod download;
mod drive;
mod interop;
mod name;
mod repository;
mod schema;
mod search;
mod signed;
mod state;
mod updater;

pub use download::TargetVerifier;
pub(crate) use drive::Want;
pub use drive::{Fetch, FetchError, drive};
pub use name::{MetadataFile, RoleName};
pub use repository::{
    Commit, Creation, Draft, Lifetimes, MetadataFiles, Progress, Repository, RoleSetup, RotateRole,
    Tag, Wanted,
};
pub(crate) use repository::{RELEASES, bound_repository, digest_of, tags_of, target_path};
pub use schema::{
    DelegatedKeys, DelegatedRole, Delegations, MetaFile, Role, RoleKeys, Root, Snapshot,
    SuccinctRoles, TargetFile, Targets, Timestamp,
};
pub use search::{FoundTarget, Search};
pub use signed::{Signature, Signed};
pub use state::{Change, TrustedState};
pub use updater::{Freshness, Limits, Request, Response, Updater};
