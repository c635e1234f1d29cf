use super::Session;
use crate::error::{Error, Result};

/// Start the containers whose restart policy asks for it, after a reboot
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    /// Starts them, and fails with those that could not be.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        // Endpoints of before the reboot are nobody's any more.
        session.engine()?.networks().reconcile()?;
        let failed = session.runtime()?.boot()?;
        let mut errors: Vec<Error> = failed.into_iter().map(|(_, error)| error.into()).collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }
}
