use engine::runtime::{OwnVolumes, Removal};

use super::Session;
use crate::error::Result;

/// Remove one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Removes and prints each container as it was named.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let removal = if self.force { Removal::Force } else { Removal::OnlyStopped };
        let volumes = if self.volumes { OwnVolumes::Remove } else { OwnVolumes::Keep };
        let containers = session.runtime()?;
        super::for_each(&self.containers, |container| {
            match containers.remove_with(container, removal, volumes) {
                // `rm -f` of what is gone already is no failure.
                Err(error)
                    if self.force && error.kind() == engine::runtime::ErrorKind::NotFound =>
                {
                    session.ui.note(format_args!("Error: {error}"));
                    return Ok(());
                }
                result => result.map(drop)?,
            }
            session.ui.line(container)
        })
    }
}
