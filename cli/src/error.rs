//! From what went wrong to what the user reads: one message, hints, and an exit status by kind (ADR 5).

use std::io;
use std::process::ExitCode;

use engine::ErrorKind;

use crate::args::problem::Problem;
use crate::format;

/// A result of a verb.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The words themselves.
    #[error(transparent)]
    Words(#[from] Problem),
    /// The engine's refusal or failure.
    #[error("{0}")]
    Engine(#[from] engine::Error),
    /// A container could not be made or started: the status is 125, 126 or 127.
    #[error("{source}")]
    Container {
        /// The refusal or failure.
        source: Box<Error>,
        /// The verb, for the pointer to its help.
        verb: &'static str,
    },
    /// A `--format` that is no template or does not fit.
    #[error(transparent)]
    Listing(#[from] format::Error),
    /// A `--format` of `inspect`.
    #[error("template parsing error: {0}")]
    Template(#[from] crate::template::Error),
    /// A request that the engine was never asked, with its way out.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do instead; empty where the message says it.
        hint: String,
        /// How to exit.
        kind: ErrorKind,
    },
    /// A file of the user's.
    #[error("{act} {path}: {source}")]
    File {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: String,
        /// The operating system's words.
        source: io::Error,
    },
    /// What was written to cannot be written to any more.
    #[error("write output: {0}")]
    Output(#[source] io::Error),
    /// Several objects failed one by one; the rest was done.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Error>),
    /// Everything has been said already; only the status is left.
    #[error("exit status {0}")]
    Status(u8),
}

impl From<engine::runtime::Error> for Error {
    fn from(error: engine::runtime::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<engine::oci::ReferenceError> for Error {
    fn from(error: engine::oci::ReferenceError) -> Self {
        Self::Engine(error.into())
    }
}

impl Error {
    /// A refusal of the command line itself, beyond what parsing can see.
    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: hint.into(), kind: ErrorKind::Invalid }
    }

    /// A failure before the container's own status, with a pointer to the help of `verb`.
    pub(crate) fn in_container(verb: &'static str) -> impl Fn(Self) -> Self {
        move |error| match error {
            Self::Engine(_) | Self::Refused { .. } | Self::File { .. } => {
                Self::Container { source: Box::new(error), verb }
            }
            said => said,
        }
    }

    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Words(problem) => problem.exit(),
            Self::Engine(error) => of_kind(error.kind()),
            Self::Container { source, .. } => match source.as_ref() {
                Self::Engine(engine::Error::Runtime(error)) => error.run_exit_code(),
                _ => EXIT_CONTAINER,
            },
            Self::Listing(_) | Self::Template(_) => 1,
            Self::Refused { kind, .. } => of_kind(*kind),
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => of_kind(ErrorKind::NotFound),
                io::ErrorKind::StorageFull => of_kind(ErrorKind::Full),
                _ => 1,
            },
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => BROKEN_PIPE,
            Self::Output(_) => 1,
            Self::Several(errors) => {
                errors.iter().map(Self::status).reduce(same_or_one).unwrap_or(1)
            }
            Self::Status(code) => *code,
        }
    }

    /// What the user can do, a sentence a line.
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Words(problem) => problem.hint().into_iter().map(str::to_owned).collect(),
            Self::Engine(error) => error.hints(),
            Self::Container { source, .. } => source.hints(),
            Self::Refused { hint, .. } if !hint.is_empty() => vec![hint.clone()],
            Self::Several(errors) => errors.iter().flat_map(Self::hints).collect(),
            _ => Vec::new(),
        }
    }

    /// The lines for standard error; none where everything has been said or nobody listens.
    fn lines(&self) -> Vec<String> {
        let mut lines = match self {
            Self::Status(_) => return Vec::new(),
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => {
                return Vec::new();
            }
            Self::Several(errors) => errors.iter().flat_map(|error| error.message()).collect(),
            error => error.message(),
        };
        let mut hints = self.hints();
        hints.dedup();
        lines.extend(hints.into_iter().map(|hint| format!("hint: {hint}")));
        lines
    }

    fn message(&self) -> Vec<String> {
        match self {
            Self::Status(_) => Vec::new(),
            Self::Words(problem) => vec![problem.to_string()],
            Self::Engine(engine::Error::Build(error)) => build_lines(error),
            Self::Engine(error) => vec![format!("Error: {}", chain(error))],
            Self::Container { source, verb } => {
                vec![format!(
                    "wherry: {}\n\nRun 'wherry {verb} --help' for more information",
                    chain(source)
                )]
            }
            Self::Refused { message, .. } => vec![format!("wherry: {message}")],
            error => vec![error.to_string()],
        }
    }
}

/// Exit status where nothing of a container was started, as Docker's.
pub(crate) const EXIT_CONTAINER: u8 = 125;

/// Exit status of a command whose reader went away: 128 and SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// The status of a kind of failure; the table stands in ADR 5 and in the reference.
pub(crate) fn of_kind(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Internal | ErrorKind::Invalid => 1,
        ErrorKind::Denied => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::Conflict => 5,
        ErrorKind::Unavailable => 6,
        ErrorKind::Full => 7,
    }
}

/// Failures of one kind keep its status, mixed ones are 1.
fn same_or_one(one: u8, other: u8) -> u8 {
    if one == other { one } else { 1 }
}

/// How BuildKit tells of a failed build: the last lines of the step that failed, then what failed.
fn build_lines(error: &engine::builder::Error) -> Vec<String> {
    let mut lines = Vec::new();
    if let engine::builder::Error::StepFailed { step, log_tail, .. } = error {
        lines.push("------".to_owned());
        lines.push(format!(" > {step}:"));
        lines.extend(log_tail.iter().cloned());
        lines.push("------".to_owned());
    }
    lines.push(format!("ERROR: failed to solve: {}", chain(error)));
    lines
}

/// The message with those causes that it does not already say.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

/// What somebody typed, or a registry sent, is repeated in a message. A line is for reading: its length is bounded, and it does not
/// steer the terminal.
fn readable(line: &str) -> String {
    let harmless =
        |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    let mut text: String = line.chars().take(LINE_CHARACTERS).map(harmless).collect();
    let left = line.chars().count().saturating_sub(LINE_CHARACTERS);
    if left > 0 {
        text.push_str(&format!("… ({left} characters more)"));
    }
    text
}

/// The longest line of a message.
const LINE_CHARACTERS: usize = 2000;

/// Says what went wrong and gives the status.
pub(crate) fn report(error: &Error) -> ExitCode {
    use std::io::Write as _;
    let mut stderr = io::stderr().lock();
    let lines = error.lines().join("\n");
    for line in lines.lines() {
        if writeln!(stderr, "{}", readable(line)).is_err() {
            break;
        }
    }
    ExitCode::from(error.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_status_of_the_decision() {
        let table = [
            (ErrorKind::Internal, 1),
            (ErrorKind::Invalid, 1),
            (ErrorKind::Denied, 3),
            (ErrorKind::NotFound, 4),
            (ErrorKind::Conflict, 5),
            (ErrorKind::Unavailable, 6),
            (ErrorKind::Full, 7),
        ];
        for (kind, status) in table {
            assert_eq!(of_kind(kind), status, "{kind:?}");
        }
    }

    #[test]
    fn several_failures_of_one_kind_keep_its_status() {
        let missing = || Error::Engine(engine::Error::NoSuchImage { name: "x".into() });
        assert_eq!(Error::Several(vec![missing(), missing()]).status(), 4);
        let mixed = vec![missing(), Error::Engine(engine::Error::Conflict("c".into()))];
        assert_eq!(Error::Several(mixed).status(), 1);
    }

    #[test]
    fn nothing_started_is_125_whatever_stood_in_the_way() {
        let in_run = Error::in_container("run");
        let missing = || Error::Engine(engine::Error::NoSuchImage { name: "x".into() });
        let file =
            Error::File { act: "read", path: "/x".into(), source: io::ErrorKind::NotFound.into() };
        for error in [missing(), Error::refused("no", ""), file] {
            assert_eq!(in_run(error).status(), 125);
        }
        assert_eq!(in_run(Error::Status(3)).status(), 3, "the container's own status");
        let lines = in_run(missing()).lines();
        assert!(
            lines[0].ends_with("\n\nRun 'wherry run --help' for more information"),
            "{lines:?}"
        );
        assert!(lines[1].starts_with("hint: "), "{lines:?}");
    }

    #[test]
    fn hints_stand_on_lines_of_their_own() {
        let lines = Error::refused("no", "do this").lines();
        assert_eq!(lines, ["wherry: no", "hint: do this"]);
    }

    #[test]
    fn a_line_of_a_message_is_bounded_and_leaves_the_terminal_alone() {
        for (line, shown) in [
            ("short\tline", "short\tline".to_owned()),
            ("\u{1b}[2Jgone", "\u{fffd}[2Jgone".to_owned()),
            (&"é".repeat(2000), "é".repeat(2000)),
            (&"é".repeat(2003), "é".repeat(2000) + "… (3 characters more)"),
        ] {
            assert_eq!(readable(line), shown);
        }
    }

    #[test]
    fn a_reader_that_went_away_is_not_an_error_worth_words() {
        let error = Error::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((error.lines().len(), error.status()), (0, 141));
    }
}
