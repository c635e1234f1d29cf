use engine::runtime::AttachEnd;

use super::Session;
use super::run::attach_options;
use crate::error::{Error, Result};

/// Start one or more stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Starts and prints the names, or stays with the one container.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.attach || self.interactive {
            return self.attached(session);
        }
        let containers = session.engine()?.containers();
        let runtime = session.runtime()?;
        super::for_each(&self.containers, |container| {
            containers.start(&runtime.resolve(container)?)?;
            session.ui.line(container)
        })
    }

    fn attached(self, session: &Session) -> Result<()> {
        let [container] = self.containers.as_slice() else {
            return Err(Error::refused(
                "you cannot start and attach multiple containers at once",
                "",
            ));
        };
        let containers = session.engine()?.containers();
        let attach = attach_options(self.interactive, self.detach_keys.as_deref(), true)?;
        match containers.start_attached(&session.runtime()?.resolve(container)?, attach)? {
            AttachEnd::Exited(0) | AttachEnd::Detached => Ok(()),
            AttachEnd::Exited(code) => Err(Error::Status(u8::try_from(code & 0xff).unwrap_or(1))),
        }
    }
}
