use engine::runtime::{DetachKeys, ExecConnection, ExecRequest, Input, Streams};

use super::Session;
use crate::error::{Error, Result};

/// Execute a command in a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    #[arg(
        value_name = "COMMAND [ARG...]",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

impl Args {
    /// Runs the command and ends with its exit code.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.tty && self.interactive && !self.detach && !session.ui.stdin_terminal {
            return Err(Error::refused(
                "the input device is not a TTY",
                "leave out -t where input comes from a file or a pipe",
            ));
        }
        let in_exec = Error::in_container("exec");
        let containers = session.runtime()?;
        let id = containers.resolve(&self.container)?;
        let request = ExecRequest {
            connection: self.connection()?,
            command: self.command,
            env: self.env,
            workdir: self.workdir,
            user: self.user,
            privileged: self.privileged,
            tty: self.tty,
        };
        match containers.exec(&id, request).map_err(|error| in_exec(error.into()))? {
            None | Some(0) => Ok(()),
            Some(code) => Err(Error::Status(u8::try_from(code & 0xff).unwrap_or(1))),
        }
    }

    fn connection(&self) -> Result<ExecConnection> {
        if self.detach {
            return Ok(ExecConnection::Detached);
        }
        let input = if self.interactive { Input::Forwarded } else { Input::Closed };
        let keys =
            self.detach_keys.as_deref().map_or_else(|| Ok(DetachKeys::default()), str::parse);
        Ok(ExecConnection::Attached {
            streams: Streams::inherit(input).map_err(engine::Error::from)?,
            detach_keys: keys.map_err(engine::Error::from)?,
        })
    }
}
