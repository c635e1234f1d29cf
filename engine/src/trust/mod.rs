//! Content trust: the gate that names pass, and the verbs that sign.

mod attach;
mod attached;
pub(crate) mod carried;
mod checkup;
mod drafts;
pub(crate) mod gate;
mod helper;
pub mod keys;
pub(crate) mod metadata;
mod migrate;
mod policies;
mod roots;
pub mod sign;
pub(crate) mod state;
mod tuf_http;
pub mod verify;

pub use attach::Attachment;
pub use checkup::{Checkup, Loss, Rehearsal, RoleHealth};
pub use gate::VerifyReport;
pub use helper::HelperAddress;
pub use keys::{PassphraseRequest, PassphraseSource};
pub use migrate::{Migrated, MigrationPlan};
pub use policies::{InForce, PolicySource, check_file, content_trust_asked};
pub use roots::{
    DEVICE, Finish, Finished, RECOVERY, Recovered, RecoveryPlan, RootHolder, RootPlan, new_phrase,
    phrase_signer,
};
pub use sign::Signed;
pub use tuf_http::TufClient;
pub use verify::Where;

/// A repository as one file name.
fn file_name(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F")
}
