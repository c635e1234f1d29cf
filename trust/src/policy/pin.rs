//! Where trust starts.

use std::sync::Arc;

use oci::Digest;

use crate::key::KeyId;
use crate::tuf::{Fetch, Request, Root, Signed};
use crate::{Error, Result, limits};

/// A pinned root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Whatever root is met first; only where the user wrote so.
    FirstUse,
    /// A first root signed by enough of these keys, named by what they *are* and not by the ids that
    /// metadata give them.
    Keys {
        /// Ids computed from the keys.
        keyids: Vec<KeyId>,
        /// How many distinct ones must have signed.
        threshold: u64,
        /// The version of the root that they signed.
        version: u64,
    },
    /// This root.
    Root(Arc<[u8]>),
    /// The root with this digest.
    Sha256 {
        /// Its SHA-256.
        digest: Digest,
        /// Its version.
        version: u64,
    },
}

impl Pin {
    /// A name for the state trusted under this pin: another pin starts from nothing.
    pub fn id(&self) -> String {
        let text = match self {
            Self::FirstUse => "first-use".to_owned(),
            Self::Keys { keyids, threshold, version } => {
                let ids: Vec<&str> = keyids.iter().map(KeyId::as_str).collect();
                format!("keys {threshold} {version} {}", ids.join(" "))
            }
            Self::Root(bytes) => format!("root {}", Digest::sha256(bytes)),
            Self::Sha256 { digest, version } => format!("sha256 {version} {digest}"),
        };
        Digest::sha256(text.as_bytes()).short().to_owned()
    }

    /// The root bytes to start from, fetched where the pin does not carry them itself.
    pub(crate) fn anchor(&self, source: Option<&mut dyn Fetch>) -> Result<Arc<[u8]>> {
        let version = match self {
            Self::Root(bytes) => return Ok(bytes.clone()),
            Self::FirstUse => 1,
            Self::Keys { version, .. } | Self::Sha256 { version, .. } => *version,
        };
        let file = format!("{version}.root.json");
        let missing = || Error::MetadataMissing { file: file.clone() };
        let source = source.ok_or_else(missing)?;
        let request = Request { file: file.clone(), limit: limits::ROOT_BYTES_MAX };
        let fetched = source
            .fetch(&request)
            .map_err(|source| Error::Transport { file: file.clone(), source })?;
        let bytes: Arc<[u8]> = fetched.ok_or_else(missing)?.into();
        self.check(&file, &bytes)?;
        Ok(bytes)
    }

    fn check(&self, file: &str, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > limits::ROOT_BYTES_MAX {
            let limit = limits::ROOT_BYTES_MAX;
            return Err(Error::TooLarge { what: file.to_owned(), limit });
        }
        match self {
            Self::FirstUse | Self::Root(_) => Ok(()),
            Self::Sha256 { digest, .. } => {
                let found = Digest::sha256(bytes);
                if found == *digest {
                    return Ok(());
                }
                Err(Error::PinMismatch { detail: format!("{file} is {found}, not {digest}") })
            }
            Self::Keys { keyids, threshold, .. } => check_keys(file, bytes, keyids, *threshold),
        }
    }
}

/// Counts signatures of the pinned keys, each known by the id computed from it: ids inside the
/// metadata are opaque, so an attacker may give any key the id of a pinned one.
fn check_keys(file: &str, bytes: &[u8], pinned: &[KeyId], threshold: u64) -> Result<()> {
    let root: Signed<Root> = Signed::parse(file, bytes)?;
    let trusted: Vec<KeyId> = root
        .keys
        .iter()
        .filter(|(_, key)| pinned.contains(&key.id()))
        .map(|(id, _)| id.clone())
        .collect();
    let tally = root.tally(&root.keys, &trusted, threshold);
    if tally.is_met() {
        return Ok(());
    }
    Err(Error::PinMismatch {
        detail: format!("{file} is signed by {} of {threshold} pinned keys", tally.valid()),
    })
}
