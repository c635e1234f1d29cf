use super::Session;
use crate::error::Result;

/// Rename a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    #[arg(value_name = "NEW_NAME", required = true)]
    name: String,
}

impl Args {
    /// Renames.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let containers = session.runtime()?;
        Ok(containers.rename(&containers.resolve(&self.container)?, &self.name)?)
    }
}
