//! What Docker has and Wherry does not have yet: refused by name, and told apart from a typing mistake.

const NO_CLUSTER: &str = "clusters are not there yet: containers run on this machine only";
const ONE_BUILDER: &str = "there is one builder, this machine, and it has no instances to manage";

/// Docker's commands, by the words after the program's name, each with what to do instead.
const COMMANDS: &[(&str, &str)] = &[
    ("buildx bake", "name the Dockerfile with `wherry build -f FILE`, one image at a time"),
    ("buildx create", ONE_BUILDER),
    ("buildx imagetools", "`wherry manifest inspect` shows what a registry has"),
    ("buildx inspect", ONE_BUILDER),
    ("buildx ls", ONE_BUILDER),
    ("buildx rm", ONE_BUILDER),
    ("buildx stop", ONE_BUILDER),
    ("buildx use", ONE_BUILDER),
    ("checkpoint", "the state of a running container cannot be kept yet"),
    ("compose", "Compose files are not read yet: start the containers with `wherry run`"),
    ("config", NO_CLUSTER),
    ("context", "there is no daemon to choose: everything happens on this machine"),
    ("node", NO_CLUSTER),
    ("plugin", "there is no daemon that plugins could extend"),
    (
        "search",
        "searching is a service of Docker Hub; `wherry tags REPOSITORY` lists one repository",
    ),
    ("secret", NO_CLUSTER),
    ("service", NO_CLUSTER),
    ("stack", NO_CLUSTER),
    ("swarm", NO_CLUSTER),
];

/// Docker's flags by the verb's first name. `run` speaks for `create` too.
const FLAGS: &[(&str, &[&str])] = &[
    (
        "run",
        &[
            "cgroup-parent",
            "disable-content-trust",
            "gpus",
            "isolation",
            "kernel-memory",
            "link",
            "link-local-ip",
            "runtime",
            "storage-opt",
            "use-api-socket",
            "userns",
            "volume-driver",
        ],
    ),
    (
        "build",
        &[
            "builder",
            "cgroup-parent",
            "compress",
            "disable-content-trust",
            "force-rm",
            "isolation",
            "rm",
            "security-opt",
        ],
    ),
    ("pull", &["disable-content-trust"]),
    ("images", &["tree"]),
    ("rmi", &["no-prune", "platform"]),
    ("ps", &["size"]),
    ("logs", &["details"]),
    ("start", &["checkpoint", "checkpoint-dir"]),
    ("exec", &["env-file"]),
    ("rm", &["link"]),
];

/// What to do instead of a flag that is not there, where there is something.
const INSTEAD: &[(&str, &str)] =
    &[("disable-content-trust", "the trust policy decides: see `wherry verify` and --policy")];

/// What to do instead of Docker's command with these words; nothing where it is none, or is there.
pub(super) fn command(words: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(name, _)| *name == words).map(|(_, instead)| *instead)
}

/// Whether Docker's `verb` has this flag: its long name, or its letter.
pub(super) fn flag(verb: &str, name: &str) -> bool {
    FLAGS.iter().any(|(verbs, flags)| same_verb(verbs, verb) && flags.contains(&name))
}

/// What to do instead of a flag.
pub(super) fn instead_of(name: &str) -> Option<&'static str> {
    INSTEAD.iter().find(|(flag, _)| *flag == name).map(|(_, instead)| *instead)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::grammar;

    #[test]
    fn what_is_said_to_be_missing_is_missing() {
        let root = grammar();
        for (words, instead) in COMMANDS {
            let found = words.split(' ').try_fold(&root, |at, word| at.find_subcommand(word));
            assert!(found.is_none(), "wherry {words} is there");
            assert!(!instead.is_empty(), "{words}");
        }
        for (verb, flags) in FLAGS {
            let command = root.find_subcommand(verb).unwrap_or_else(|| panic!("no verb {verb}"));
            for flag in *flags {
                let found = command.get_arguments().find(|arg| arg.get_long() == Some(*flag));
                assert!(found.is_none(), "wherry {verb} --{flag} is there");
            }
        }
    }

    #[test]
    fn letters_are_their_flags() {
        for (verb, name, there) in [
            ("run", "gpus", true),
            ("create", "gpus", true),
            ("pull", "gpus", false),
            ("ls", "tree", true),
            ("images", "q", false),
        ] {
            assert_eq!(flag(verb, name), there, "{verb} {name}");
        }
    }
}
