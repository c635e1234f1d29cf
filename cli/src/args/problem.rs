//! What is wrong with a command line, in Docker's words and with Docker's exit codes.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use engine::builder::frontend::span::nearest;

use super::not_yet;
use crate::error::EXIT_CONTAINER;
use crate::help;

/// Exit code of any other misuse of the command line (ADR 5).
const EXIT_MISUSE: u8 = 2;

/// A command line that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Problem {
    text: String,
    hint: Option<String>,
    exit: u8,
}

impl Problem {
    /// `wherry help WORDS` of something that is none.
    pub(crate) fn topic(words: &str) -> Self {
        Self { text: format!("unknown help topic: {words}"), hint: None, exit: EXIT_MISUSE }
    }

    /// What the user can do, where there is more than reading the help.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
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
    let problem = |text: String, hint: Option<String>| Problem {
        text: format!("{text}\n\nUsage:  {usage}\n\nRun '{name} --help' for more information"),
        hint,
        exit: exit_of(path),
    };
    let flag = |text: String| problem(text, None);
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidArg)
                .or_else(|| context(error, ContextKind::InvalidSubcommand))
                .unwrap_or_default();
            if command.has_subcommands() && !word.starts_with('-') {
                return unknown_command(&word, command, path);
            }
            match unknown_flag(&word, command, path, argv) {
                Some((text, hint)) => problem(text, hint),
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
    let words = format!("{} {word}", path[1..].join(" "));
    let (what, hint) = match not_yet::command(words.trim_start()) {
        Some(instead) => ("command not supported yet", Some(instead.to_owned())),
        None => ("unknown command", near_command(word, command, &name)),
    };
    Problem {
        text: format!("{}: {what}: {name} {word}\n\n{tail}", path[0]),
        hint,
        exit: EXIT_MISUSE,
    }
}

fn near_command(word: &str, command: &Command, name: &str) -> Option<String> {
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let names = shown.flat_map(|sub| sub.get_name_and_visible_aliases());
    // Of two that are equally near, the one in common use was meant.
    let common = help::COMMON.into_iter().filter(|name| command.find_subcommand(name).is_some());
    let near = nearest(word, common.chain(names))?;
    Some(format!("did you mean `{name} {near}`?"))
}

/// Docker's text for a flag that the verb does not know, and what was perhaps meant; nothing where `word` is no flag.
fn unknown_flag(
    word: &str,
    command: &Command,
    path: &[String],
    argv: &[String],
) -> Option<(String, Option<String>)> {
    let verb = path.last().map_or("", String::as_str);
    if let Some(long) = word.strip_prefix("--") {
        let long = long.split('=').next().unwrap_or(long);
        return Some(match not_yet::flag(verb, long) {
            true => (format!("flag not supported yet: --{long}"), instead_of(long)),
            false => (format!("unknown flag: --{long}"), near_flag(long, command)),
        });
    }
    let letter = word.strip_prefix('-')?.chars().next()?;
    let name = letter.to_string();
    if not_yet::flag(verb, &name) {
        return Some((format!("flag not supported yet: -{letter}"), instead_of(&name)));
    }
    let is_cluster = |typed: &&String| {
        typed.starts_with('-') && !typed.starts_with("--") && typed.contains(letter)
    };
    let typed = argv.iter().find(is_cluster).map_or(word, String::as_str);
    // `-name` is Go's spelling of `--name`, which Docker's own flags do not follow.
    let meant = command.get_arguments().find(|arg| arg.get_long() == Some(&typed[1..]));
    let hint = meant.map(|_| format!("did you mean `-{typed}`?"));
    Some((format!("unknown shorthand flag: '{letter}' in {typed}"), hint))
}

fn instead_of(flag: &str) -> Option<String> {
    not_yet::instead_of(flag).map(str::to_owned)
}

fn near_flag(long: &str, command: &Command) -> Option<String> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let near = nearest(long, shown.filter_map(clap::Arg::get_long))?;
    Some(format!("did you mean `--{near}`?"))
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
        hint: None,
        exit: exit_of(path),
    }
}
