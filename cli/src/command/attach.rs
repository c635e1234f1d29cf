use engine::ErrorKind;
use engine::runtime::{AttachEnd, Status};

use super::Session;
use super::run::attach_options;
use crate::error::{Error, Result};

/// Attach local standard input, output, and error streams to a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, default_value = "true", action = clap::ArgAction::SetFalse)]
    sig_proxy: bool,
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Stays with the container until it ends or is left.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let runtime = session.runtime()?;
        let id = runtime.resolve(&self.container)?;
        let container = runtime.get(&id)?;
        let refusal = match container.state.status {
            Status::Paused => "you cannot attach to a paused container, unpause it first",
            Status::Restarting => {
                "you cannot attach to a restarting container, wait until it is running"
            }
            Status::Running => "",
            _ => "you cannot attach to a stopped container, start it first",
        };
        if !refusal.is_empty() {
            let (message, hint) = (refusal.to_owned(), String::new());
            return Err(Error::Refused { message, hint, kind: ErrorKind::Conflict });
        }
        let open_stdin = container.record.options.open_stdin;
        let attach = attach_options(
            open_stdin && !self.no_stdin,
            self.detach_keys.as_deref(),
            self.sig_proxy,
        )?;
        match runtime.attach(&id, attach)? {
            AttachEnd::Exited(0) | AttachEnd::Detached => Ok(()),
            AttachEnd::Exited(code) => Err(Error::Status(u8::try_from(code & 0xff).unwrap_or(1))),
        }
    }
}
