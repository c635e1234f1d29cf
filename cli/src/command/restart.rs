use super::Session;
use crate::error::Result;

/// Restart one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, visible_alias = "time", value_name = "int", allow_negative_numbers = true)]
    timeout: Option<i64>,
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Prints each container's name as it was given.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let timeout = super::stop::timeout(self.timeout);
        let signal = self.signal.as_deref().map(super::stop::signal).transpose()?;
        let containers = session.runtime()?;
        super::for_each(&self.containers, |container| {
            containers.restart(&containers.resolve(container)?, timeout, signal)?;
            session.ui.line(container)
        })
    }
}
