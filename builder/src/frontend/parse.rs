//! Logical lines into instructions.

use super::args::{Args, Flag, split_words};
use super::golang;
use super::instruction::{
    ArgPair, CommandLine, Copy, Form, Health, InlineFile, Instruction, KEYWORDS, KeyValue, Network,
    Node, Run, Security, Stage,
};
use super::lines::{Heredoc, LogicalLine};
use super::mount::{Mount, MountFlag};
use super::span::{Diagnostic, Span, nearest};

/// A line is either the start of a stage or an instruction.
pub(super) enum Parsed {
    From(Box<Stage>),
    Other(Box<Node>),
}

/// Reads one logical line.
pub(super) fn parse_line(
    text: &str,
    line: &LogicalLine,
    escape: char,
) -> Result<Parsed, Diagnostic> {
    let keyword_end = line.text.find(char::is_whitespace).unwrap_or(line.text.len());
    let written = &line.text[..keyword_end];
    let keyword = written.to_ascii_uppercase();
    let mut args = Args {
        text,
        line,
        at: keyword_end,
        rest: &line.text[keyword_end..],
        keyword: &keyword,
        escape,
    };
    if !KEYWORDS.contains(&keyword.as_str()) {
        let span = line.locate(0, keyword_end);
        let hint = nearest(written, KEYWORDS).map(|near| format!("did you mean {near}?"));
        return Err(Diagnostic::new(text, span, format!("unknown instruction: {written}"))
            .maybe_hint(hint)
            .maybe_hint(Some(
                "a line that continues a command needs a \\ at the end of the line above"
                    .to_owned(),
            )));
    }
    let flags = args.take_flags();
    if keyword == "FROM" {
        return from(&args, &flags, written).map(|stage| Parsed::From(Box::new(stage)));
    }
    let instruction = instruction(&args, &flags)?;
    Ok(Parsed::Other(Box::new(Node {
        instruction,
        span: line.span,
        keyword: written.to_owned(),
        line: line.text.trim_end().to_owned(),
    })))
}

fn instruction(args: &Args<'_>, flags: &[Flag]) -> Result<Instruction, Diagnostic> {
    let plain = || args.check_flags(flags, &[], &[]);
    Ok(match args.keyword {
        "ADD" => Instruction::Add(copy(args, flags)?),
        "COPY" => Instruction::Copy(copy(args, flags)?),
        "RUN" => Instruction::Run(run(args, flags)?),
        "HEALTHCHECK" => Instruction::Healthcheck(health(args, flags)?),
        "ARG" => plain().and_then(|()| arg(args)).map(Instruction::Arg)?,
        "CMD" => plain().and_then(|()| command(args)).map(Instruction::Cmd)?,
        "ENTRYPOINT" => plain().and_then(|()| command(args)).map(Instruction::Entrypoint)?,
        "ENV" => plain().and_then(|()| key_values(args)).map(Instruction::Env)?,
        "LABEL" => plain().and_then(|()| key_values(args)).map(Instruction::Label)?,
        "EXPOSE" => plain()
            .and_then(|()| {
                at_least_one(args, args.rest.split_whitespace().map(str::to_owned).collect())
            })
            .map(Instruction::Expose)?,
        "MAINTAINER" => plain().and_then(|()| exactly_one(args)).map(Instruction::Maintainer)?,
        "ONBUILD" => plain().and_then(|()| onbuild(args)).map(Instruction::Onbuild)?,
        "SHELL" => plain().and_then(|()| shell(args)).map(Instruction::Shell)?,
        "STOPSIGNAL" => plain().and_then(|()| exactly_one(args)).map(Instruction::StopSignal)?,
        "USER" => plain().and_then(|()| exactly_one(args)).map(Instruction::User)?,
        "VOLUME" => plain().and_then(|()| volume(args)).map(Instruction::Volume)?,
        "WORKDIR" => plain().and_then(|()| exactly_one(args)).map(Instruction::Workdir)?,
        other => return Err(args.error(format!("unknown instruction: {other}"))),
    })
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
fn from(args: &Args<'_>, flags: &[Flag], keyword: &str) -> Result<Stage, Diagnostic> {
    args.check_flags(flags, &["platform"], &[])?;
    let words = args.words();
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (base, Some((word, name))),
        _ => {
            return Err(args
                .error("FROM requires either one or three arguments")
                .hint("write FROM IMAGE or FROM IMAGE AS NAME"));
        }
    };
    if let Some((_, name)) = name {
        let lower = name.to_lowercase();
        let fits = lower.starts_with(|c: char| c.is_ascii_lowercase())
            && lower.chars().all(|c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
            });
        if !fits || lower == "scratch" {
            let at = args.rest.rfind(name.as_str()).unwrap_or(0);
            let message = format!(
                "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
            );
            let message = if lower == "scratch" {
                "invalid name for build stage: \"scratch\", the name is reserved".to_owned()
            } else {
                message
            };
            return Err(args.error_at(at, name.len(), message));
        }
    }
    Ok(Stage {
        index: 0,
        name: name.map(|(_, n)| n.to_lowercase()),
        written_name: name.map(|(_, n)| n.clone()),
        written_as: name.map(|(w, _)| w.clone()),
        base: base.clone(),
        platform: flags.first().map(|f| args.value(f)).transpose()?,
        line: args.line.text.trim_end().to_owned(),
        keyword: keyword.to_owned(),
        span: args.line.span,
        comments: args.line.comments.clone(),
        nodes: Vec::new(),
    })
}

fn at_least_one(args: &Args<'_>, words: Vec<String>) -> Result<Vec<String>, Diagnostic> {
    if words.is_empty() {
        return Err(args.error(format!("{} requires at least one argument", args.keyword)));
    }
    Ok(words)
}

fn exactly_one(args: &Args<'_>) -> Result<String, Diagnostic> {
    if args.rest.is_empty() {
        return Err(args.error(format!("{} requires exactly one argument", args.keyword)));
    }
    Ok(args.rest.to_owned())
}

fn arg(args: &Args<'_>) -> Result<Vec<ArgPair>, Diagnostic> {
    let words = at_least_one(args, args.words())?;
    words
        .iter()
        .map(|word| {
            let (name, default) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(n, v)| (n, Some(v.to_owned())));
            if name.is_empty() {
                return Err(args.error("ARG names can not be blank"));
            }
            Ok(ArgPair { name: name.to_owned(), default })
        })
        .collect()
}

fn key_values(args: &Args<'_>) -> Result<Vec<KeyValue>, Diagnostic> {
    let words = at_least_one(args, args.words())?;
    if !words[0].contains('=') {
        let (key, value) = args.rest.split_once(char::is_whitespace).ok_or_else(|| {
            args.error(format!("{} must have two arguments", args.keyword))
                .hint(format!("write {} NAME=VALUE", args.keyword))
        })?;
        return Ok(vec![KeyValue {
            key: key.to_owned(),
            value: value.trim_start().to_owned(),
            legacy: true,
        }]);
    }
    words
        .iter()
        .map(|word| {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                let at = args.rest.rfind(word.as_str()).unwrap_or(0);
                args.error_at(
                    at,
                    word.len(),
                    format!(
                        "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                    ),
                )
                .hint("put a value that holds spaces in double quotes")
            })?;
            if key.is_empty() {
                return Err(args.error(format!("{} names can not be blank", args.keyword)));
            }
            Ok(KeyValue { key: key.to_owned(), value: value.to_owned(), legacy: false })
        })
        .collect()
}

fn command(args: &Args<'_>) -> Result<CommandLine, Diagnostic> {
    Ok(match args.json()? {
        Some(list) => CommandLine { form: Form::Exec, args: list },
        None if args.rest.is_empty() => CommandLine { form: Form::Exec, args: Vec::new() },
        None => CommandLine { form: Form::Shell, args: vec![args.rest.to_owned()] },
    })
}

fn volume(args: &Args<'_>) -> Result<Vec<String>, Diagnostic> {
    let (words, _) = args.json_or_fields()?;
    let words = at_least_one(args, words)?;
    if words.iter().any(|w| w.trim().is_empty()) {
        return Err(args.error("VOLUME specified can not be an empty string"));
    }
    Ok(words)
}

fn shell(args: &Args<'_>) -> Result<Vec<String>, Diagnostic> {
    match args.json()? {
        Some(list) if list.is_empty() => Err(args.error("SHELL requires at least one argument")),
        Some(list) => Ok(list),
        None => Err(args
            .error("SHELL requires the arguments to be in JSON form")
            .hint("write SHELL [\"/bin/bash\", \"-c\"]")),
    }
}

fn onbuild(args: &Args<'_>) -> Result<String, Diagnostic> {
    let trigger = args.rest.split_whitespace().next().unwrap_or_default();
    match trigger.to_ascii_uppercase().as_str() {
        "" => Err(args.error("ONBUILD requires at least one argument")),
        "ONBUILD" => Err(args.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        word @ ("FROM" | "MAINTAINER") => {
            Err(args.error(format!("{word} isn't allowed as an ONBUILD trigger")))
        }
        _ => {
            let mut inner = args.line.clone();
            let prefix = args.at;
            inner.text = args.rest.to_owned();
            inner.segments_shift(prefix);
            parse_line(args.text, &inner, args.escape)?;
            let mut expression = args.rest.to_owned();
            for heredoc in &args.line.heredocs {
                expression.push('\n');
                expression.push_str(&heredoc.content);
                expression.push_str(&heredoc.name);
            }
            Ok(expression)
        }
    }
}

fn run(args: &Args<'_>, flags: &[Flag]) -> Result<Run, Diagnostic> {
    args.check_flags(flags, &["mount", "network", "security", "device"], &["mount", "device"])?;
    let command = command(args)?;
    if command.args.is_empty() {
        return Err(args.error("RUN requires at least one argument"));
    }
    let mut run = Run {
        command,
        heredocs: args.line.heredocs.clone(),
        mounts: Vec::new(),
        network: Network::Default,
        security: Security::Sandbox,
    };
    for flag in flags {
        let value = args.value(flag)?;
        let refuse = |message: String, hint: &str| {
            Err(Diagnostic::new(args.text, flag.span, message).hint(hint))
        };
        match flag.name.as_str() {
            "mount" => run.mounts.push(mount(args, flag.span, value)?),
            "network" => match value.to_ascii_lowercase().as_str() {
                "default" => run.network = Network::Default,
                "none" => run.network = Network::None,
                "host" => run.network = Network::Host,
                other => {
                    return refuse(
                        format!("network {other:?} is not supported"),
                        "the values are default, none and host",
                    );
                }
            },
            "security" => match value.to_ascii_lowercase().as_str() {
                "sandbox" => run.security = Security::Sandbox,
                "insecure" => run.security = Security::Insecure,
                other => {
                    return refuse(
                        format!("security {other:?} is not valid"),
                        "the values are sandbox and insecure",
                    );
                }
            },
            _ => {
                return refuse(
                    "RUN --device is not supported".to_owned(),
                    "devices are not handed to build steps; remove the flag",
                );
            }
        }
    }
    Ok(run)
}

fn mount(args: &Args<'_>, span: Span, value: String) -> Result<MountFlag, Diagnostic> {
    // A record with variables is judged when their values are known.
    if !value.contains('$') {
        Mount::parse(&value, &|v| Ok(v.to_owned()))
            .map_err(|e| Diagnostic::new(args.text, span, e.message).maybe_hint(e.hint))?;
    }
    Ok(MountFlag { value, span })
}

fn copy(args: &Args<'_>, flags: &[Flag]) -> Result<Copy, Diagnostic> {
    let known: &[&str] = match args.keyword {
        "COPY" => &["chown", "chmod", "link", "exclude", "from", "parents"],
        _ => &["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"],
    };
    args.check_flags(flags, known, &["exclude"])?;
    let mut copy = Copy::default();
    for flag in flags {
        match flag.name.as_str() {
            "chown" => copy.chown = Some(args.value(flag)?),
            "chmod" => copy.chmod = Some(args.value(flag)?),
            "from" => copy.from = Some(args.value(flag)?),
            "checksum" => copy.checksum = Some(args.value(flag)?),
            "exclude" => copy.exclude.push(args.value(flag)?),
            "link" => copy.link = args.boolean(flag)?,
            "parents" => copy.parents = args.boolean(flag)?,
            "keep-git-dir" => copy.keep_git_dir = Some(args.boolean(flag)?),
            _ => copy.unpack = Some(args.boolean(flag)?),
        }
    }
    let (words, json) = args.json_or_fields()?;
    let words = if json { words } else { split_words(args.rest, args.escape) };
    let Some((destination, sources)) =
        words.split_last().filter(|(_, sources)| !sources.is_empty())
    else {
        let hint = format!("write {} SOURCE... DESTINATION", args.keyword);
        return Err(args
            .error(format!("{} requires at least two arguments", args.keyword))
            .hint(hint));
    };
    if Heredoc::parse_opening(destination).is_some() && !args.line.heredocs.is_empty() {
        return Err(
            args.error(format!("{} cannot accept a heredoc as a destination", args.keyword))
        );
    }
    let mut heredocs = args.line.heredocs.iter();
    for source in sources {
        match Heredoc::parse_opening(source).and_then(|_| heredocs.next()) {
            Some(heredoc) => copy.inline.push(InlineFile {
                name: heredoc.name.clone(),
                content: heredoc.body(),
                expand: heredoc.expand,
            }),
            None => copy.sources.push(source.clone()),
        }
    }
    copy.destination = destination.clone();
    Ok(copy)
}

fn health(args: &Args<'_>, flags: &[Flag]) -> Result<Health, Diagnostic> {
    args.check_flags(
        flags,
        &["interval", "timeout", "start-period", "start-interval", "retries"],
        &[],
    )?;
    let (kind, rest) = args.rest.split_once(char::is_whitespace).unwrap_or((args.rest, ""));
    let rest = rest.trim_start();
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(args.error("HEALTHCHECK requires at least one argument")),
        "NONE" if !rest.is_empty() => Err(args.error("HEALTHCHECK NONE takes no arguments")),
        "NONE" if !flags.is_empty() => Err(args.error("HEALTHCHECK NONE takes no flags")),
        "NONE" => Ok(Health { test: vec!["NONE".to_owned()], ..Health::default() }),
        "CMD" => {
            let inner = Args {
                text: args.text,
                line: args.line,
                at: args.at + (args.rest.len() - rest.len()),
                rest,
                keyword: args.keyword,
                escape: args.escape,
            };
            let command = command(&inner)?;
            if command.args.is_empty() {
                return Err(args.error("Missing command after HEALTHCHECK CMD"));
            }
            let first = if command.form == Form::Shell { "CMD-SHELL" } else { "CMD" };
            let mut health = Health {
                test: std::iter::once(first.to_owned()).chain(command.args).collect(),
                ..Health::default()
            };
            for flag in flags {
                health_flag(args, flag, &mut health)?;
            }
            Ok(health)
        }
        other => Err(args
            .error(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))
            .hint("write HEALTHCHECK CMD COMMAND or HEALTHCHECK NONE")),
    }
}

fn health_flag(args: &Args<'_>, flag: &Flag, health: &mut Health) -> Result<(), Diagnostic> {
    let value = args.value(flag)?;
    let refuse = |message: String| Diagnostic::new(args.text, flag.span, message);
    if flag.name == "retries" {
        health.retries = value.parse().ok().filter(|n| *n >= 0).ok_or_else(|| {
            refuse(format!("--retries cannot be {value:?}")).hint("give a number of 0 or more")
        })?;
        return Ok(());
    }
    let nanos = golang::parse_duration(&value).ok_or_else(|| {
        refuse(format!("time: invalid duration {value:?}"))
            .hint("write it like 30s, 1m30s or 500ms")
    })?;
    if nanos != 0 && nanos < 1_000_000 {
        return Err(refuse(format!("interval {:?} cannot be less than 1ms", flag.name)));
    }
    match flag.name.as_str() {
        "interval" => health.interval = nanos,
        "timeout" => health.timeout = nanos,
        "start-period" => health.start_period = nanos,
        _ => health.start_interval = nanos,
    }
    Ok(())
}
