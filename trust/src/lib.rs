//! Content trust: keys, TUF metadata, policy and verdicts.
//!
//! This crate knows no registry, no disk and no clock: metadata come in and go out as bytes, `now`
//! is an argument, and what was trusted before is handed in and handed back.
//!
//! - [`key`]: ed25519 keys, encrypted key files, signers.
//! - [`tuf`]: The Update Framework, client and repository side.
//! - [`artifact`]: how a repository's metadata are packed beside its images in a registry.
//! - [`Policy`], [`judge`]: whether an image may get a name or start, and why not.
//! - [`Verified`]: the proof that it may, made in one file only.

pub mod artifact;
pub mod dialect;
pub mod error;
pub mod key;
pub mod limits;
pub mod policy;
pub mod tuf;

mod evidence;
mod inspect;
mod json;
mod judge;
mod record;
mod scheme;
mod secret;
mod threshold;
mod verdict;
mod verified;

pub use error::{Error, Result};
pub use evidence::{Attached, Evidence};
pub use inspect::{HeldKey, Inspection, KeyHolder, SignedTag, inspect};
pub use json::JsonError;
pub use judge::{Judgement, StateUpdate, Subject, judge};
pub use policy::Policy;
pub use record::{Basis, RecordKey, Stale, VerdictRecord};
pub use secret::Secret;
pub use threshold::{Candidate, Tally, threshold};
pub use verdict::{Origin, Proof, Reason, Verdict, Waiver};
pub use verified::{NotVerified, Verified, danger};
