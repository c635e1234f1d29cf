//! `--help`, laid out as Docker lays it out, from the same grammar that parses.

use clap::{Arg, ArgAction, Command};

/// Verbs that `wherry --help` lists first, in Docker's order.
pub(crate) const COMMON: [&str; 11] =
    ["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "version", "info"];

/// The width for help texts; Docker's own where it does not know the terminal's.
const WIDTH: usize = 80;

/// Every verb's other spellings, canonical first, as the Aliases section lists them.
const ALIASES: &[&[&str]] = &[
    &["image build", "build", "buildx build", "builder build"],
    &["image history", "history"],
    &["image import", "import"],
    &["image load", "load"],
    &["image ls", "image list", "images"],
    &["image pull", "pull"],
    &["image push", "push"],
    &["image rm", "image remove", "rmi"],
    &["image save", "save"],
    &["image tag", "tag"],
    &["container attach", "attach"],
    &["container commit", "commit"],
    &["container create", "create"],
    &["container diff", "diff"],
    &["container exec", "exec"],
    &["container export", "export"],
    &["container kill", "kill"],
    &["container logs", "logs"],
    &["container ls", "container list", "container ps", "ps"],
    &["container pause", "pause"],
    &["container rename", "rename"],
    &["container restart", "restart"],
    &["container rm", "container remove", "rm"],
    &["container run", "run"],
    &["container start", "start"],
    &["container stats", "stats"],
    &["container stop", "stop"],
    &["container top", "top"],
    &["container unpause", "unpause"],
    &["container update", "update"],
    &["container wait", "wait"],
    &["system info", "info"],
];

/// The whole help text of `command`, reached as `path`.
pub(crate) fn render(command: &Command, path: &[String]) -> String {
    let mut out = format!("Usage:  {}\n", usage(command, path));
    let about = command
        .get_long_about()
        .or_else(|| command.get_about())
        .map(ToString::to_string)
        .unwrap_or_default();
    let about = about
        .split("\n\n")
        .map(|paragraph| paragraph.trim_end_matches('.'))
        .collect::<Vec<_>>()
        .join(".\n");
    out.push_str(&format!("\n{about}\n"));
    if let Some(aliases) = aliases(path) {
        out.push_str(&format!("\nAliases:\n  {aliases}\n"));
    }
    for (title, commands) in sections(command, path.len() == 1) {
        out.push_str(&format!("\n{title}:\n{}", listed(&commands)));
    }
    let flags = flags(command);
    if !flags.is_empty() {
        let title = if path.len() == 1 { "Global Options" } else { "Options" };
        out.push_str(&format!("\n{title}:\n{flags}"));
    }
    if command.has_subcommands() {
        let name = path.join(" ");
        out.push_str(&format!(
            "\nRun '{name} COMMAND --help' for more information on a command.\n"
        ));
    }
    out
}

/// The usage line, without its title.
pub(crate) fn usage(command: &Command, path: &[String]) -> String {
    let mut words = vec![path.join(" ")];
    if path.len() == 1 || (!command.has_subcommands() && shown_flags(command).next().is_some()) {
        words.push("[OPTIONS]".to_owned());
    }
    if command.has_subcommands() {
        words.push("COMMAND".to_owned());
    }
    words.extend(command.get_positionals().map(|arg| value_name(arg).to_owned()));
    words.join(" ")
}

/// Both spellings of a flag (`-t, --timeout`) by either of them.
pub(crate) fn flag_names(command: &Command, typed: &str) -> Option<String> {
    let name = typed.trim_start_matches('-');
    let arg = command.get_arguments().find(|arg| {
        arg.get_long() == Some(name)
            || arg.get_short().is_some_and(|short| short.to_string() == name)
    })?;
    Some(match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => return None,
    })
}

fn value_name(arg: &Arg) -> &str {
    arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str())
}

/// Other ways to reach what `path` reaches.
fn aliases(path: &[String]) -> Option<String> {
    let spelled = path.get(1..)?.join(" ");
    let set = ALIASES.iter().find(|set| set.contains(&spelled.as_str()))?;
    let names: Vec<String> = set.iter().map(|name| format!("{} {name}", path[0])).collect();
    Some(names.join(", "))
}

type Section<'c> = (&'static str, Vec<&'c Command>);

fn sections(command: &Command, root: bool) -> Vec<Section<'_>> {
    let mut visible: Vec<&Command> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    visible.sort_by_key(|sub| sub.get_name().to_owned());
    let common: Vec<&Command> = match root {
        true => COMMON.iter().filter_map(|name| command.find_subcommand(name)).collect(),
        false => Vec::new(),
    };
    visible.retain(|sub| !common.iter().any(|known| known.get_name() == sub.get_name()));
    let (groups, single): (Vec<&Command>, Vec<&Command>) =
        visible.into_iter().partition(|sub| sub.has_subcommands());
    [("Common Commands", common), ("Management Commands", groups), ("Commands", single)]
        .into_iter()
        .filter(|(_, commands)| !commands.is_empty())
        .collect()
}

fn listed(commands: &[&Command]) -> String {
    let width = commands.iter().map(|sub| sub.get_name().len()).max().unwrap_or(0).max(9);
    let line = |sub: &&Command| {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        format!("  {:width$}   {}\n", sub.get_name(), about.trim_end_matches('.'))
    };
    commands.iter().map(line).collect()
}

fn shown_flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set())
}

/// The flags, sorted, in two columns.
fn flags(command: &Command) -> String {
    let mut flags: Vec<&Arg> = shown_flags(command).collect();
    flags.sort_by_key(|arg| arg.get_long().unwrap_or_default().to_owned());
    let left: Vec<String> = flags.iter().map(|arg| flag_head(arg)).collect();
    let column = left.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (arg, head) in flags.iter().zip(left) {
        let text = flag_text(arg);
        out.push_str(&format!("{head:column$}{}\n", wrapped(&text, column)));
    }
    out
}

fn flag_head(arg: &Arg) -> String {
    let short = arg.get_short().map_or("    ".to_owned(), |short| format!("-{short}, "));
    let long = arg.get_long().unwrap_or_default();
    let switch = arg.is_require_equals_set() || !arg.get_action().takes_values();
    match value_name(arg) {
        name if !switch && !name.is_empty() => format!("  {short}--{long} {name}"),
        _ => format!("  {short}--{long}"),
    }
}

/// The help of a flag with its default, as pflag shows defaults.
fn flag_text(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.trim_end_matches('.');
    let default = arg.get_default_values().first().and_then(|value| value.to_str()).unwrap_or("");
    let plain =
        matches!(default, "" | "false" | "0") || matches!(arg.get_action(), ArgAction::Append);
    if plain {
        return help.to_owned();
    }
    match value_name(arg) {
        "int" | "duration" | "bytes" | "float" => format!("{help} (default {default})"),
        _ if default == "true" => format!("{help} (default true)"),
        _ => format!("{help} (default \"{default}\")"),
    }
}

/// `text` broken into lines that fit right of `column`.
fn wrapped(text: &str, column: usize) -> String {
    let room = WIDTH.saturating_sub(column).max(24);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join(&format!("\n{}", " ".repeat(column)))
}
