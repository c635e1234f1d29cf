//! Keeping repositories equal: which tags, what is to be done, and doing it.
//!
//! Choosing and planning are functions of what was observed; only [`observe`] and [`carry_out`]
//! ask registries.

mod file;
mod plan;
mod run;
mod skopeo;
mod tags;
#[cfg(test)]
mod tests;
mod version;

pub use file::{SyncFile, SyncFileError, SyncJob, TagChoice, WithReferrers};
pub use plan::{Observed, Requests, SyncAct, SyncAction, SyncPlan, Vanished, plan};
pub use run::{SyncFailure, SyncOptions, SyncReport, carry_out, observe};
pub use skopeo::{Naming, SkopeoImage, SkopeoRegistry, parse_skopeo};
pub use tags::{TagPattern, TagRuleError, TagRules};
pub use version::{TagVersion, VersionRange, VersionRangeError};
