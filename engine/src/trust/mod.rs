//! Content trust: the gate that names pass, and the verbs that sign.

mod attached;
pub(crate) mod gate;
pub mod keys;
pub(crate) mod metadata;
pub mod sign;
mod state;
mod tuf_http;
pub mod verify;

pub use gate::VerifyReport;
pub use keys::{PassphraseRequest, PassphraseSource};
pub use sign::Signed;
pub use tuf_http::TufClient;
pub use verify::Where;

/// A repository as one file name.
fn file_name(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F")
}
