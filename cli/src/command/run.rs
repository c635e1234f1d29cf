use engine::runtime::{AttachEnd, AttachOptions, DetachKeys, Input, SignalProxy, Streams};

use super::Session;
use super::container_options::ContainerOptions;
use super::create::make;
use crate::error::{Error, Result};

/// Create and run a new container from an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: ContainerOptions,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, default_value = "true", action = clap::ArgAction::SetFalse)]
    sig_proxy: bool,
    #[arg(value_name = "IMAGE", required = true)]
    image: String,
    #[arg(value_name = "[COMMAND] [ARG...]", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    /// Creates, starts, and stays with the container until it ends.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let in_run = Error::in_container("run");
        let mut request = self.options.request(&self.command).map_err(&in_run)?;
        request.stdin_once = self.options.interactive && !self.detach;
        if self.options.tty
            && !self.detach
            && self.options.interactive
            && !session.ui.stdin_terminal
        {
            return Err(Error::Refused {
                message: "the input device is not a TTY".to_owned(),
                hint: "leave out -t where input comes from a file or a pipe".to_owned(),
                kind: engine::ErrorKind::Invalid,
            });
        }
        let attach =
            attach_options(self.options.interactive, self.detach_keys.as_deref(), self.sig_proxy)
                .map_err(&in_run)?;
        let id = make(session, &self.options, &self.image, request).map_err(&in_run)?;
        let containers = session.engine()?.containers();
        if self.detach {
            containers.start(&id).map_err(|error| in_run(error.into()))?;
            return session.ui.line(&id);
        }
        match containers.start_attached(&id, attach).map_err(|error| in_run(error.into()))? {
            AttachEnd::Exited(0) | AttachEnd::Detached => Ok(()),
            AttachEnd::Exited(code) => Err(Error::Status(u8::try_from(code & 0xff).unwrap_or(1))),
        }
    }
}

/// This process's streams, lent to a container.
pub(crate) fn attach_options(
    interactive: bool,
    detach_keys: Option<&str>,
    sig_proxy: bool,
) -> Result<AttachOptions> {
    let input = if interactive { Input::Forwarded } else { Input::Closed };
    Ok(AttachOptions {
        streams: Streams::inherit(input).map_err(engine::Error::from)?,
        detach_keys: detach_keys
            .map_or_else(|| Ok(DetachKeys::default()), str::parse)
            .map_err(engine::Error::from)?,
        signals: if sig_proxy { SignalProxy::Forward } else { SignalProxy::Keep },
    })
}
