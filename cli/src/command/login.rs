use std::io::{BufRead as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::Session;
use crate::error::{Error, Result};
use crate::ui::Ui;

/// Authenticate to a registry
///
/// Defaults to Docker Hub if no server is specified.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "string", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "string")]
    username: Option<String>,
    #[arg(value_name = "[SERVER]")]
    server: Option<String>,
}

/// The key of Docker Hub in `config.json`.
pub(crate) const DEFAULT_SERVER: &str = "docker.io";

/// The longest password read: a token is a few kilobytes at most.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

impl Args {
    /// Asks for what is missing, tries it, and keeps it.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.password.is_some() {
            session
                .ui
                .note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        if self.password_stdin && self.username.is_none() {
            return Err(Error::refused(
                "the --password-stdin option requires --username to be set",
                "",
            ));
        }
        let username = match self.username {
            Some(username) => username,
            None => ask(session, "Username: ")?,
        };
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => from_stdin()?,
            None => hidden(session.ui, "Password: ")?,
        };
        if username.is_empty() || password.is_empty() {
            return Err(Error::refused("username and password must not be empty", ""));
        }
        let server = self.server.as_deref().unwrap_or(DEFAULT_SERVER);
        let registries = session.engine()?.registries();
        registries.login(server, &username, &password)?;
        let file = registries.credential_file();
        if is_plain(&file) {
            session.ui.note(format_args!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove \
                 this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
                file.display()
            ));
        }
        session.ui.line("Login Succeeded")
    }
}

/// Whether the file holds a secret itself: a helper leaves none in it.
fn is_plain(file: &std::path::Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let entries = config["auths"].as_object();
    entries.is_some_and(|entries| {
        entries.values().any(|entry| entry["auth"].as_str().is_some_and(|auth| !auth.is_empty()))
    })
}

fn read_failed(source: std::io::Error) -> Error {
    Error::File { act: "read", path: "standard input".to_owned(), source }
}

fn from_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map_err(read_failed)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask(session: &Session, prompt: &str) -> Result<String> {
    if !session.ui.stdin_terminal {
        return Err(Error::refused(
            "cannot perform an interactive login from a non TTY device",
            "use --username and --password-stdin",
        ));
    }
    line(prompt)
}

fn line(prompt: &str) -> Result<String> {
    {
        let mut stdout = std::io::stdout().lock();
        write!(stdout, "{prompt}").and_then(|()| stdout.flush()).map_err(Error::Output)?;
    }
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).map_err(read_failed)?;
    Ok(text.trim().to_owned())
}

/// Reads a line from the terminal without showing it.
pub(crate) fn hidden(ui: Ui, prompt: &str) -> Result<String> {
    if !ui.stdin_terminal {
        return Err(Error::refused(
            "cannot perform an interactive login from a non TTY device",
            "use --username and --password-stdin",
        ));
    }
    let stdin = std::io::stdin();
    let shown = tcgetattr(&stdin).map_err(|e| read_failed(e.into()))?;
    let mut silent = shown.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(|e| read_failed(e.into()))?;
    let text = line(prompt);
    // The terminal must show what is typed again, whatever came of the line.
    tcsetattr(&stdin, OptionalActions::Now, &shown).map_err(|e| read_failed(e.into()))?;
    ui.line("")?;
    text
}
