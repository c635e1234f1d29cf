//! Everything that is shown goes through here: results to standard output, news and questions to standard error.

mod build;
mod layers;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

pub(crate) use build::{BuildProgress, ProgressMode, VertexEvent};
pub(crate) use layers::{LayerBoard, LayerStatus, Stream};

use crate::error::{Error, Result};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Results and progress.
    Normal,
    /// Results only (`--quiet`).
    Quiet,
}

/// Where output goes and what it can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    /// Whether standard output is a terminal.
    pub(crate) stdout_terminal: bool,
    /// Whether standard error is a terminal.
    pub(crate) stderr_terminal: bool,
    /// Whether standard input is a terminal.
    pub(crate) stdin_terminal: bool,
}

impl Ui {
    /// Looks at the three streams.
    pub(crate) fn detect() -> Self {
        Self {
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal: io::stderr().is_terminal(),
            stdin_terminal: io::stdin().is_terminal(),
        }
    }

    /// Writes `text` and nothing else to standard output.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Error::Output)
    }

    /// Writes a line to standard output.
    pub(crate) fn line(&self, text: impl std::fmt::Display) -> Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").map_err(Error::Output)
    }

    /// Writes a line of news to standard error; a closed standard error is no reason to stop working.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        let _unheard = writeln!(io::stderr().lock(), "{text}");
    }

    /// Writes lines of news, each with its own line feed, to standard error.
    pub(crate) fn note_lines(&self, text: &str) {
        let _unheard = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Refuses to write binary data to a terminal.
    pub(crate) fn refuse_terminal(&self) -> Result<()> {
        if self.stdout_terminal {
            return Err(Error::refused(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
                "",
            ));
        }
        Ok(())
    }

    /// Asks a yes-or-no question; anything but `y` is no, as is the end of input.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool> {
        {
            let mut stdout = io::stdout().lock();
            write!(stdout, "{question} [y/N] ")
                .and_then(|()| stdout.flush())
                .map_err(Error::Output)?;
        }
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(|source| Error::File {
            act: "read",
            path: "standard input".to_owned(),
            source,
        })?;
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }
}
