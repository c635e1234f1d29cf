use engine::runtime::WaitCondition;

use super::Session;
use crate::error::Result;

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Waits for one after the other and prints the codes.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let containers = session.runtime()?;
        super::for_each(&self.containers, |container| {
            let code =
                containers.wait(&containers.resolve(container)?, WaitCondition::NotRunning)?;
            session.ui.line(code)
        })
    }
}
