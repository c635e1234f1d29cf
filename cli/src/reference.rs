//! `docs/reference/cli.md`: every verb with its help, written by the test below from the grammar that parses.

use clap::Command;

use crate::{args, help};

const HEAD: &str = "# Command line\n
Written by a test of the `cli` package (`UPDATE_EXPECT=1 cargo test -p cli reference`); what stands here is what `--help` prints.\n
## Exit status\n
| status | when |
|---|---|
| 0 | done |
| 1 | the operation failed, or some of several failed in different ways |
| 2 | the command line cannot be followed: an unknown verb or flag, a wrong number of arguments |
| 3 | refused by trust, credentials or rights |
| 4 | no such image, container, volume or file |
| 5 | in conflict with what is there: a name in use, a container that runs |
| 6 | the other side cannot be reached |
| 7 | no space left |
| 125 | `run`: nothing was started; `create`, `exec`, `start`: the command line cannot be followed |
| 126, 127 | `run`, `exec`: the command cannot be invoked, or is not there |
| other | `run`, `exec`, `start -a`: what the container's command returned; 128 and a signal's number where that ended it |\n
A message names what failed; lines that begin with `hint:` say what can be done about it.\n";

/// The whole page.
fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Environment\n\n| variable | what it is for |\n|---|---|\n");
    for (name, meaning) in engine::config::VARIABLES {
        out.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
    let root = args::grammar();
    out.push_str(&format!(
        "\n## wherry\n\n```text\n{}```\n",
        help::render(&root, &["wherry".to_owned()])
    ));
    section(&root, &["wherry".to_owned()], &mut out);
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

fn section(command: &Command, path: &[String], out: &mut String) {
    let mut verbs: Vec<&Command> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    verbs.sort_by_key(|sub| sub.get_name().to_owned());
    for verb in verbs {
        let mut path = path.to_vec();
        path.push(verb.get_name().to_owned());
        out.push_str(&format!(
            "\n## {}\n\n```text\n{}```\n",
            path.join(" "),
            help::render(verb, &path)
        ));
        section(verb, &path, out);
    }
}

#[test]
fn the_reference_page_says_what_help_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cli.md");
    let page = page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(file, &page).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        written == page,
        "docs/reference/cli.md is stale: run the test with UPDATE_EXPECT=1 and read the difference"
    );
}
