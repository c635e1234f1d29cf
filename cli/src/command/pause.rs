use super::Session;
use crate::error::Result;

/// Pause all processes within one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Prints each container's name as it was given.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let containers = session.runtime()?;
        super::for_each(&self.containers, |container| {
            containers.pause(&containers.resolve(container)?)?;
            session.ui.line(container)
        })
    }
}
