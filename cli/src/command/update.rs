use engine::runtime::{Changes, Resources, RestartPolicy};

use super::Session;
use super::resource_options::ResourceOptions;
use crate::error::{Error, Result};

/// Update configuration of one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limits: ResourceOptions,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Changes each container and prints its name as it was given.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let changes = self.changes()?;
        let runtime = session.runtime()?;
        super::for_each(&self.containers, |container| {
            runtime.update(&runtime.resolve(container)?, &changes)?;
            session.ui.line(container)
        })
    }

    fn changes(&self) -> Result<Changes> {
        let resources = self.limits.resources()?;
        if resources == Resources::default() && self.restart.is_none() {
            return Err(Error::refused(
                "you must provide one or more flags when using this command",
                "",
            ));
        }
        Ok(Changes {
            resources,
            restart: self.restart.as_deref().map(str::parse::<RestartPolicy>).transpose()?,
        })
    }
}
