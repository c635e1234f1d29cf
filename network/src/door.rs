//! The door to disk and kernel: every call that changes something asks here first, so that a test can make the
//! *n*-th one fail.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Decides for each call whether it fails: gets the call's name and its object.
pub type Fault = dyn Fn(&'static str, &str) -> io::Result<()> + Send + Sync;

/// The real world, or one that fails on cue.
#[derive(Clone, Default)]
pub struct Door {
    fault: Option<Arc<Fault>>,
}

impl Door {
    /// A world that asks `fault` before every call that changes something.
    pub fn with_fault(fault: Arc<Fault>) -> Self {
        Self { fault: Some(fault) }
    }

    /// Asks whether the call may go ahead.
    pub(crate) fn ask(&self, act: &'static str, object: &str) -> io::Result<()> {
        match &self.fault {
            Some(fault) => fault(act, object),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.fault.is_some() { "Door(faulty)" } else { "Door" })
    }
}
