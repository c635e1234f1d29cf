//! What is wrong with a command line, in Docker's words and with Docker's exit codes.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::help;

/// Exit code of `run`, `create`, `exec` and `start` where nothing was started, as Docker's.
const EXIT_CONTAINER: u8 = 125;
/// Exit code of any other misuse of the command line (ADR 5).
const EXIT_MISUSE: u8 = 2;

/// Flags of Docker that a verb does not have yet: told apart from a typing mistake.
const NOT_YET: &[(&str, &[&str])] = &[
    (
        "run",
        &[
            "attach",
            "annotation",
            "blkio-weight-device",
            "cgroup-parent",
            "cpu-rt-period",
            "cpu-rt-runtime",
            "device-cgroup-rule",
            "device-read-bps",
            "device-read-iops",
            "device-write-bps",
            "device-write-iops",
            "expose",
            "gpus",
            "ip",
            "ip6",
            "isolation",
            "kernel-memory",
            "link",
            "link-local-ip",
            "mac-address",
            "network-alias",
            "publish",
            "publish-all",
            "runtime",
            "storage-opt",
            "use-api-socket",
            "userns",
            "volume-driver",
            "volumes-from",
            "disable-content-trust",
        ],
    ),
    (
        "build",
        &[
            "attest",
            "builder",
            "cache-from",
            "cache-to",
            "call",
            "cgroup-parent",
            "check",
            "compress",
            "disable-content-trust",
            "force-rm",
            "isolation",
            "load",
            "metadata-file",
            "output",
            "provenance",
            "rm",
            "sbom",
            "security-opt",
        ],
    ),
    ("pull", &["disable-content-trust"]),
    ("push", &["disable-content-trust"]),
    ("images", &["tree"]),
    ("rmi", &["no-prune", "platform"]),
    ("ps", &["size"]),
    ("logs", &["details"]),
    ("start", &["checkpoint", "checkpoint-dir"]),
    ("exec", &["env-file"]),
    ("rm", &["link"]),
];

/// A command line that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Problem {
    text: String,
    exit: u8,
}

impl Problem {
    /// `wherry help WORDS` of something that is none.
    pub(crate) fn topic(words: &str) -> Self {
        Self { text: format!("unknown help topic: {words}"), exit: EXIT_MISUSE }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }
}

/// Puts clap's error into Docker's words.
pub(crate) fn explain(
    error: &clap::Error,
    command: &Command,
    path: &[String],
    argv: &[String],
) -> Problem {
    let usage = help::usage(command, path);
    let name = path.join(" ");
    let flag = |text: String| Problem {
        text: format!("{text}\n\nUsage:  {usage}\n\nRun '{name} --help' for more information"),
        exit: exit_of(path),
    };
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidArg)
                .or_else(|| context(error, ContextKind::InvalidSubcommand))
                .unwrap_or_default();
            if command.has_subcommands() && !word.starts_with('-') {
                return unknown_command(&word, command, path);
            }
            match unknown_flag(&word, path, argv) {
                Some(text) => flag(text),
                None => wrong_count(command, path),
            }
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::TooManyValues | ErrorKind::TooFewValues => {
            wrong_count(command, path)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
            flag(bad_value(error, command))
        }
        ErrorKind::ArgumentConflict => flag(conflict(error)),
        _ => flag(
            error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        ),
    }
}

/// The exit code of a misuse of the verb at `path`.
fn exit_of(path: &[String]) -> u8 {
    match path.last().map(String::as_str) {
        Some("run" | "create" | "exec" | "start") => EXIT_CONTAINER,
        _ => EXIT_MISUSE,
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

fn unknown_command(word: &str, command: &Command, path: &[String]) -> Problem {
    let name = path.join(" ");
    let tail = match path.len() {
        1 => format!("Run '{name} --help' for more information"),
        _ => format!(
            "Usage:  {}\n\nRun '{name} --help' for more information",
            help::usage(command, path)
        ),
    };
    Problem {
        text: format!("{}: unknown command: {name} {word}\n\n{tail}", path[0]),
        exit: EXIT_MISUSE,
    }
}

/// Docker's text for a flag that the verb does not know; nothing where `word` is no flag.
fn unknown_flag(word: &str, path: &[String], argv: &[String]) -> Option<String> {
    let verb = path.last().map_or("", String::as_str);
    if let Some(long) = word.strip_prefix("--") {
        let long = long.split('=').next().unwrap_or(long);
        let known =
            |(verbs, flags): &(&str, &[&str])| same_verb(verbs, verb) && flags.contains(&long);
        return Some(match NOT_YET.iter().any(known) {
            true => format!("flag not supported yet: --{long}"),
            false => format!("unknown flag: --{long}"),
        });
    }
    let letter = word.strip_prefix('-')?.chars().next()?;
    if same_verb("run", verb) && matches!(letter, 'a' | 'p' | 'P') {
        return Some(format!("flag not supported yet: -{letter}"));
    }
    let is_cluster = |typed: &&String| {
        typed.starts_with('-') && !typed.starts_with("--") && typed.contains(letter)
    };
    let typed = argv.iter().find(is_cluster).map_or(word, String::as_str);
    Some(format!("unknown shorthand flag: '{letter}' in {typed}"))
}

/// Whether `verb` is `canonical` or the same verb under its management command.
fn same_verb(canonical: &str, verb: &str) -> bool {
    match canonical {
        "run" => matches!(verb, "run" | "create"),
        "images" | "ps" => matches!(verb, "ls" | "list") || verb == canonical,
        "rmi" => matches!(verb, "rmi" | "rm" | "remove"),
        _ => verb == canonical,
    }
}

fn bad_value(error: &clap::Error, command: &Command) -> String {
    let arg = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let typed = arg.split([' ', '=', '[']).next().unwrap_or(&arg);
    let shown = help::flag_names(command, typed).unwrap_or_else(|| typed.to_owned());
    let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
    if value.is_empty() && std::error::Error::source(error).is_none() {
        return match typed.strip_prefix("--") {
            Some(_) => format!("flag needs an argument: {typed}"),
            None => {
                format!("flag needs an argument: '{}' in {typed}", typed.trim_start_matches('-'))
            }
        };
    }
    let reason = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!("must be one of {}", valid.join(", ")),
            _ => "invalid value".to_owned(),
        },
    };
    // A positional has no name that the user could have typed: the value and the reason say it.
    match shown.starts_with('<') || shown.starts_with('[') {
        true => format!("invalid argument {value:?}: {reason}"),
        false => format!("invalid argument {value:?} for \"{shown}\" flag: {reason}"),
    }
}

fn conflict(error: &clap::Error) -> String {
    let one = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let other = context(error, ContextKind::PriorArg).unwrap_or_default();
    let name = |text: &str| text.split([' ', '=', '[']).next().unwrap_or(text).to_owned();
    format!("conflicting options: cannot specify both {} and {}", name(&other), name(&one))
}

/// `'wherry tag' requires 2 arguments` and its kin.
fn wrong_count(command: &Command, path: &[String]) -> Problem {
    let (mut least, mut most) = (0, Some(0));
    for arg in command.get_positionals() {
        least += usize::from(arg.is_required_set());
        let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        most = most.filter(|_| !many).map(|n| n + 1);
    }
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    let wants = match (least, most) {
        (0, Some(0)) => "accepts no arguments".to_owned(),
        (n, Some(m)) if n == m => format!("requires {n} {}", plural(n)),
        (0, Some(m)) => format!("requires at most {m} {}", plural(m)),
        (n, Some(m)) => format!("requires at least {n} and at most {m} {}", plural(m)),
        (n, None) => format!("requires at least {n} {}", plural(n)),
    };
    let name = path.join(" ");
    Problem {
        text: format!(
            "{}: '{name}' {wants}\n\nUsage:  {}\n\nRun '{name} --help' for more information",
            path[0],
            help::usage(command, path)
        ),
        exit: exit_of(path),
    }
}
