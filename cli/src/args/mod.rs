//! From the words of a command line to the arguments of a verb, by Docker's rules.
//!
//! Clap parses; three of Docker's habits are laid over it. Everything after the image of `run` (and the container
//! of `exec`) belongs to the command, even where it looks like a flag. A switch may be spelled out as
//! `--rm=false`. And what is wrong is told in Docker's words, by [`problem`].

mod not_yet;
pub(crate) mod problem;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use crate::command::Cli;
use crate::help;
use problem::Problem;

/// What the words mean.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A verb with its arguments.
    Verb(Box<Cli>),
    /// `--help` in some form: the text.
    Help(String),
}

/// The whole grammar.
pub(crate) fn grammar() -> Command {
    let mut root = adapt(Cli::command());
    root.build();
    root
}

/// Parses a command line, the program's name first.
pub(crate) fn parse(argv: &[OsString]) -> Result<Parsed, Problem> {
    let root = grammar();
    let walk = Walk::along(&root, argv);
    if let Some(topic) = &walk.help_topic {
        return help_on(&root, topic);
    }
    let help = || Ok(Parsed::Help(help::render(walk.command, &walk.path)));
    if walk.asks_help {
        return help();
    }
    let matches = root.clone().try_get_matches_from(walk.prepared.clone());
    let parsed = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        // No verb was named, and nothing else was wrong.
        Ok(_) if walk.command.has_subcommands() && !walk.asks_version => help(),
        Err(error) if asks_for_a_verb(&error) => help(),
        Ok(cli) => Ok(Parsed::Verb(Box::new(cli))),
        Err(error) => Err(problem::explain(&error, walk.command, &walk.path, &argv_strings(argv))),
    }
}

fn asks_for_a_verb(error: &clap::Error) -> bool {
    use clap::error::ErrorKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    matches!(error.kind(), DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand)
}

fn argv_strings(argv: &[OsString]) -> Vec<String> {
    argv.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn help_on(root: &Command, topic: &[String]) -> Result<Parsed, Problem> {
    let mut command = root;
    let mut path = vec![root.get_name().to_owned()];
    for word in topic {
        let Some(next) = command.find_subcommand(word) else {
            return Err(Problem::topic(&topic.join(" ")));
        };
        path.push(next.get_name().to_owned());
        command = next;
    }
    Ok(Parsed::Help(help::render(command, &path)))
}

/// Where the words lead in the tree of commands.
struct Walk<'c> {
    command: &'c Command,
    path: Vec<String>,
    /// The words with `--` put before what belongs to the container's command.
    prepared: Vec<OsString>,
    /// The first word that is neither a flag nor a command.
    stopped_at: Option<usize>,
    asks_help: bool,
    asks_version: bool,
    help_topic: Option<Vec<String>>,
}

impl<'c> Walk<'c> {
    fn along(root: &'c Command, argv: &[OsString]) -> Self {
        let mut walk = Walk {
            command: root,
            path: vec![root.get_name().to_owned()],
            prepared: argv.first().cloned().into_iter().collect(),
            stopped_at: None,
            asks_help: false,
            asks_version: false,
            help_topic: None,
        };
        let mut positionals = 0;
        let mut at = 1;
        while at < argv.len() {
            let word = argv[at].to_string_lossy();
            walk.prepared.push(argv[at].clone());
            at += 1;
            if word == "--" {
                walk.stopped_at.get_or_insert(at);
                break;
            }
            if word.len() > 1 && word.starts_with('-') {
                walk.asks_help |= word == "--help";
                walk.asks_version |= walk.path.len() == 1 && matches!(&*word, "--version" | "-v");
                if takes_next_word(walk.command, &word) && at < argv.len() {
                    walk.prepared.push(argv[at].clone());
                    at += 1;
                }
                continue;
            }
            if walk.stopped_at.is_none() && walk.descend(&word) {
                if walk.path.len() == 2 && word == "help" {
                    walk.help_topic = Some(argv_strings(&argv[at..]));
                    return walk;
                }
                continue;
            }
            walk.stopped_at.get_or_insert(at);
            positionals += 1;
            if leading_positionals(walk.command) == Some(positionals) {
                walk.prepared.push("--".into());
                break;
            }
        }
        walk.prepared.extend(argv.iter().skip(at).cloned());
        walk
    }

    fn descend(&mut self, word: &str) -> bool {
        let Some(next) = self.command.find_subcommand(word) else {
            return false;
        };
        self.path.push(word.to_owned());
        self.command = next;
        true
    }
}

/// How many words come before the container's own command line, where the verb has one.
fn leading_positionals(command: &Command) -> Option<usize> {
    let positionals: Vec<&Arg> = command.get_positionals().collect();
    positionals.last().filter(|last| last.is_trailing_var_arg_set()).map(|_| positionals.len() - 1)
}

/// Whether the flag `word` takes the word after it.
fn takes_next_word(command: &Command, word: &str) -> bool {
    let takes = |arg: Option<&Arg>| {
        arg.is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
    };
    if let Some(name) = word.strip_prefix("--") {
        return !name.contains('=')
            && takes(command.get_arguments().find(|arg| arg.get_long() == Some(name)));
    }
    let letters: Vec<char> = word.chars().skip(1).collect();
    for (i, &letter) in letters.iter().enumerate() {
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter));
        if takes(arg) {
            return i + 1 == letters.len();
        }
        if letters.get(i + 1) == Some(&'=') {
            return false;
        }
    }
    false
}

/// Lays Docker's habits over a command and all below it.
fn adapt(command: Command) -> Command {
    let command = command
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .infer_long_args(false)
        .mut_args(|arg| match arg.get_action() {
            ArgAction::SetTrue => switch(arg, "false"),
            ArgAction::SetFalse => switch(arg, "true"),
            _ => arg,
        });
    command.mut_subcommands(adapt)
}

/// A switch that also takes `=true` and `=false`.
fn switch(arg: Arg, default: &'static str) -> Arg {
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value(default)
        .value_parser(boolean)
}

/// A boolean as Go's `strconv.ParseBool` reads it.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}
