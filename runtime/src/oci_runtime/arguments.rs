//! runc's command line, and the few words of crun's that podman needs.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// Options before the command.
#[derive(Debug, Clone)]
pub(super) struct Global {
    pub(super) root: PathBuf,
    pub(super) log: Option<PathBuf>,
    pub(super) json_log: bool,
}

impl Default for Global {
    fn default() -> Self {
        Self { root: PathBuf::from("/run/wherry-oci"), log: None, json_log: false }
    }
}

/// A command line.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) global: Global,
    pub(super) command: String,
    pub(super) flags: Flags,
}

/// Options and operands after the command.
#[derive(Debug, Default)]
pub(super) struct Flags {
    values: Vec<(String, String)>,
    operands: Vec<String>,
}

/// Options after the command that take a value, and those that do not.
const WITH_VALUE: [&str; 22] = [
    "bundle",
    "console-socket",
    "pid-file",
    "preserve-fds",
    "process",
    "cwd",
    "env",
    "user",
    "cap",
    "additional-gids",
    "format",
    "resources",
    "interval",
    "apparmor",
    "process-label",
    "cgroup",
    "memory",
    "cpu-quota",
    "cpu-period",
    "cpu-share",
    "pids-limit",
    "memory-swap",
];
const WITHOUT_VALUE: [&str; 13] = [
    "no-pivot",
    "no-new-keyring",
    "detach",
    "all",
    "force",
    "tty",
    "no-new-privs",
    "quiet",
    "stats",
    "rootless",
    "no-subreaper",
    "keep",
    "ignore-paused",
];
const SHORT: [(&str, &str); 10] = [
    ("b", "bundle"),
    ("d", "detach"),
    ("p", "process"),
    ("e", "env"),
    ("u", "user"),
    ("c", "cap"),
    ("t", "tty"),
    ("a", "all"),
    ("f", "format"),
    ("q", "quiet"),
];

impl Flags {
    /// The last value of an option.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of an option.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.values
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether a switch was given and not set to false.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }

    /// The container's id: the first operand.
    pub(super) fn id(&self) -> Result<&str> {
        self.operands
            .first()
            .map(String::as_str)
            .ok_or_else(|| Error::invalid("arguments", "", "a container id is required"))
    }

    /// Operands after the id.
    pub(super) fn rest(&self) -> &[String] {
        self.operands.get(1..).unwrap_or_default()
    }

    /// A number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>> {
        self.value(name)
            .map(|text| text.parse().map_err(|_| Error::invalid(name, text, "it must be a number")))
            .transpose()
    }
}

/// Reads a command line; what was understood of the options before the command comes with an error, for its log.
pub(super) fn parse(words: &[String]) -> Result<Parsed, (Global, Error)> {
    let mut global = Global::default();
    let mut words = words.iter();
    let command = loop {
        let Some(word) = words.next() else {
            return Err((
                global,
                Error::invalid("arguments", "", "a command is required; see oci-runtime --help"),
            ));
        };
        let Some(option) = word.strip_prefix('-').map(|rest| rest.trim_start_matches('-')) else {
            break word.clone();
        };
        let (name, inline) = option
            .split_once('=')
            .map_or((option, None), |(name, value)| (name, Some(value.to_owned())));
        if let "version" | "v" | "help" | "h" = name {
            break if name.starts_with('v') { "version".to_owned() } else { "help".to_owned() };
        }
        if let Err(error) = global_option(&mut global, name, inline, &mut words) {
            return Err((global, error));
        }
    };
    match command_flags(&command, words) {
        Ok(flags) => Ok(Parsed { global, command, flags }),
        Err(error) => Err((global, error)),
    }
}

fn global_option<'a>(
    global: &mut Global,
    name: &str,
    inline: Option<String>,
    words: &mut impl Iterator<Item = &'a String>,
) -> Result<()> {
    match name {
        "debug" => return Ok(()),
        "rootless" => return Ok(()),
        "systemd-cgroup" if inline.as_deref() == Some("false") => return Ok(()),
        "systemd-cgroup" => {
            return Err(Error::unsupported(
                "--systemd-cgroup",
                "control groups are made by files; use the cgroupfs driver",
            ));
        }
        _ => {}
    }
    let value = inline
        .or_else(|| words.next().cloned())
        .ok_or_else(|| Error::invalid("arguments", format!("--{name}"), "it needs a value"))?;
    match name {
        "root" => global.root = PathBuf::from(value),
        "log" => global.log = Some(PathBuf::from(value)),
        "log-format" => global.json_log = value == "json",
        "log-level" | "criu" => {}
        "cgroup-manager" if value == "cgroupfs" => {}
        "cgroup-manager" => {
            return Err(Error::unsupported(format!("--cgroup-manager {value}"), "use cgroupfs"));
        }
        _ => {
            return Err(Error::invalid(
                "option",
                format!("--{name}"),
                "it is unknown; see oci-runtime --help",
            ));
        }
    }
    Ok(())
}

fn command_flags<'a>(command: &str, words: impl Iterator<Item = &'a String>) -> Result<Flags> {
    let mut flags = Flags::default();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        // What follows the id of `exec` belongs to the program.
        let only_operands = command == "exec" && !flags.operands.is_empty();
        let option = word.strip_prefix('-').filter(|rest| !rest.is_empty() && !only_operands);
        let Some(option) = option else {
            flags.operands.push(word.clone());
            continue;
        };
        if option == "-" {
            flags.operands.extend(words.cloned());
            break;
        }
        let option = option.strip_prefix('-').unwrap_or(option);
        let (name, inline) = option
            .split_once('=')
            .map_or((option, None), |(name, value)| (name, Some(value.to_owned())));
        // `ps -f json` and `delete -f` use one letter for two things.
        let name = match (name, command) {
            ("f", "delete") => "force",
            ("r", "update") => "resources",
            _ => SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long),
        };
        let value = match inline {
            Some(value) => value,
            None if WITHOUT_VALUE.contains(&name) => "true".to_owned(),
            None if WITH_VALUE.contains(&name) => words.next().cloned().ok_or_else(|| {
                Error::invalid("arguments", format!("--{name}"), "it needs a value")
            })?,
            None => {
                return Err(Error::unsupported(
                    format!("--{name}"),
                    "this option is not known here",
                ));
            }
        };
        if !WITH_VALUE.contains(&name) && !WITHOUT_VALUE.contains(&name) {
            return Err(Error::unsupported(format!("--{name}"), "this option is not known here"));
        }
        flags.values.push((name.to_owned(), value));
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_lines_of_containerd_and_conmon_are_read() {
        let line = "--root /run/x --log /l --log-format json create --bundle /b --pid-file /p --console-socket=/c abc";
        let parsed = parse(&words(line)).unwrap();
        assert_eq!((parsed.global.root.to_str(), parsed.global.json_log), (Some("/run/x"), true));
        assert_eq!(parsed.command, "create");
        assert_eq!(parsed.flags.value("bundle"), Some("/b"));
        assert_eq!(parsed.flags.value("console-socket"), Some("/c"));
        assert_eq!(parsed.flags.id().unwrap(), "abc");
        let parsed =
            parse(&words("--cgroup-manager=cgroupfs exec -d --process /p.json abc")).unwrap();
        assert!(parsed.flags.has("detach"));
        let parsed = parse(&words("exec abc sh -c -d")).unwrap();
        assert_eq!(parsed.flags.rest(), words("sh -c -d"));
        assert!(!parsed.flags.has("detach"));
        let parsed = parse(&words("kill --all abc 9")).unwrap();
        assert_eq!(parsed.flags.rest(), ["9"]);
        assert!(parse(&words("delete -f abc")).unwrap().flags.has("force"));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        for line in [
            "--systemd-cgroup create abc",
            "--cgroup-manager=systemd list",
            "create --hollow abc",
            "--what x list",
            "create --bundle",
            "",
        ] {
            let (_, error) = parse(&words(line)).unwrap_err();
            assert!(
                matches!(error, Error::Unsupported { .. } | Error::Invalid { .. }),
                "{line}: {error}"
            );
        }
    }
}
