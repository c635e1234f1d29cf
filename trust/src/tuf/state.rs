//! What a client trusted before, handed in and handed back.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The exact bytes of trusted metadata by file name (`root.json`, `timestamp.json`, `targets%2Fnigel.json`, …).
///
/// Whoever keeps it must write and remove files in the order of the [`Change`]s: then a crash between
/// two of them leaves a state from which the next update succeeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedState {
    files: BTreeMap<String, Arc<[u8]>>,
}

/// One step of keeping the trusted state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file is not trusted any more.
    Remove {
        /// Its name.
        file: String,
    },
    /// The file was verified: keep exactly these bytes.
    Write {
        /// Its name.
        file: String,
        /// What was received.
        bytes: Arc<[u8]>,
    },
}

impl TrustedState {
    /// Nothing trusted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file that was kept.
    pub fn insert(&mut self, file: impl Into<String>, bytes: impl Into<Arc<[u8]>>) {
        self.files.insert(file.into(), bytes.into());
    }

    /// A file's bytes.
    pub fn get(&self, file: &str) -> Option<&Arc<[u8]>> {
        self.files.get(file)
    }

    /// True if nothing was ever trusted.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files in order of name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Arc<[u8]>)> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Does what a change says.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Remove { file } => {
                self.files.remove(file);
            }
            Change::Write { file, bytes } => {
                self.files.insert(file.clone(), bytes.clone());
            }
        }
    }
}
