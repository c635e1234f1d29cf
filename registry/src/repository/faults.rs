//! A disk whose n-th change fails, for tests of what a failure leaves behind.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use store::Disk;

use super::Repositories;
use crate::content::Content;

/// How many changes may still succeed; negative when none fails.
#[derive(Clone, Debug)]
pub(crate) struct Faults(Arc<AtomicI64>);

impl Default for Faults {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(-1)))
    }
}

impl Faults {
    /// Lets `changes` succeed and the next one fail.
    pub(crate) fn after(&self, changes: i64) {
        self.0.store(changes, Ordering::SeqCst);
    }

    /// Lets everything succeed.
    pub(crate) fn off(&self) {
        self.0.store(-1, Ordering::SeqCst);
    }

    pub(super) fn ask(&self) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            0 => Err(io::Error::other("the disk fails on cue")),
            left => {
                self.0.store(left - i64::from(left > 0), Ordering::SeqCst);
                Ok(())
            }
        }
    }
}

/// Repositories and content of a root that fail together on cue.
pub(crate) fn faulty(root: &Path) -> (Arc<Repositories>, Content, Faults) {
    let faults = Faults::default();
    let asked = faults.clone();
    let disk = Disk::with_fault(Arc::new(move |_, _| asked.ask()));
    let content = Content::open_on(root, disk).expect("a store");
    let mut repositories = Repositories::open(root).expect("a root");
    repositories.faults = faults.clone();
    (Arc::new(repositories), content, faults)
}
