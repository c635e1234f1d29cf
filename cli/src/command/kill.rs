use super::Session;
use crate::error::Result;

/// Kill one or more running containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string", default_value = "KILL")]
    signal: String,
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Prints each container's name as it was given.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let signal = super::stop::signal(&self.signal)?;
        let containers = session.runtime()?;
        super::for_each(&self.containers, |container| {
            containers.kill(&containers.resolve(container)?, signal)?;
            session.ui.line(container)
        })
    }
}
