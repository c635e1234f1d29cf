use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "list")]
    attach: Vec<String>,
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
        if self.detach && !self.attach.is_empty() {
            return Err(in_run(Error::refused(
                "conflicting options: cannot specify both --attach and --detach",
                "",
            )));
        }
        let chosen = Chosen::of(&self.attach).map_err(&in_run)?;
        let interactive = self.options.interactive && chosen.stdin;
        let mut attach = attach_options(interactive, self.detach_keys.as_deref(), self.sig_proxy)
            .map_err(&in_run)?;
        if !(chosen.stdout && chosen.stderr) {
            attach.streams = chosen.streams(interactive).map_err(&in_run)?;
        }
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

/// Which streams `--attach` names; all where it names none.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Chosen {
    fn of(names: &[String]) -> Result<Self> {
        let all = names.is_empty();
        let mut chosen = Self { stdin: all, stdout: all, stderr: all };
        for name in names {
            match name.to_ascii_lowercase().as_str() {
                "stdin" => chosen.stdin = true,
                "stdout" => chosen.stdout = true,
                "stderr" => chosen.stderr = true,
                _ => {
                    return Err(Error::refused(
                        format!(
                            "invalid argument {name:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
                        ),
                        "",
                    ));
                }
            }
        }
        Ok(chosen)
    }

    /// The streams that were chosen, and nothing in place of the others.
    fn streams(&self, interactive: bool) -> Result<Streams> {
        let fail = |source| Error::File { act: "open", path: "/dev/null".to_owned(), source };
        let lend = |wanted: bool, stream: BorrowedFd<'_>| -> std::io::Result<OwnedFd> {
            match wanted {
                true => stream.try_clone_to_owned(),
                false => Ok(File::options().write(true).open("/dev/null")?.into()),
            }
        };
        let stdin = match interactive {
            true => Some(std::io::stdin().as_fd().try_clone_to_owned().map_err(fail)?),
            false => None,
        };
        let stdout = lend(self.stdout, std::io::stdout().as_fd()).map_err(fail)?;
        let stderr = lend(self.stderr, std::io::stderr().as_fd()).map_err(fail)?;
        Ok(Streams::new(stdin, stdout, stderr))
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
