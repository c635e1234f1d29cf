use super::*;

fn words(line: &str) -> Vec<OsString> {
    std::iter::once("wherry").chain(line.split_whitespace()).map(OsString::from).collect()
}

fn prepared(line: &str) -> String {
    let root = grammar();
    let words = Walk::along(&root, &words(line)).prepared;
    argv_strings(&words)[1..].join(" ")
}

fn hint(line: &str) -> Option<String> {
    parse(&words(line)).expect_err(line).hint().map(str::to_owned)
}

fn mistake(line: &str) -> (String, u8) {
    match parse(&words(line)) {
        Err(problem) => (problem.to_string(), problem.exit()),
        Ok(parsed) => panic!("{line} was accepted: {parsed:?}"),
    }
}

fn accepted(line: &str) -> String {
    match parse(&words(line)) {
        Ok(Parsed::Verb(cli)) => format!("{cli:?}"),
        other => panic!("{line}: {other:?}"),
    }
}

/// Covers: B07-01, B07-35
#[test]
fn what_follows_the_image_belongs_to_the_command() {
    for (line, prepared_line) in [
        ("run busybox ls -d --rm", "run busybox -- ls -d --rm"),
        ("run -d --name x busybox -d", "run -d --name x busybox -- -d"),
        ("run -it --name=x busybox -- sh", "run -it --name=x busybox -- -- sh"),
        ("run -itw /tmp busybox sh", "run -itw /tmp busybox -- sh"),
        ("run -ePATH=/ busybox", "run -ePATH=/ busybox --"),
        ("run --rm=true busybox true", "run --rm=true busybox -- true"),
        ("container run -e A busybox env -i", "container run -e A busybox -- env -i"),
        ("exec -it c ls -l", "exec -it c -- ls -l"),
        ("--root /r exec c true --help", "--root /r exec c -- true --help"),
        ("create busybox", "create busybox --"),
        ("run -- busybox sh -c", "run -- busybox sh -c"),
        ("rm c -f", "rm c -f"),
    ] {
        assert_eq!(prepared(line), prepared_line, "{line}");
    }
    let debug = accepted("run --rm busybox sh -c exit --rm");
    assert!(debug.contains(r#"command: ["sh", "-c", "exit", "--rm"]"#), "{debug}");
    assert!(accepted("exec c ls --help").contains(r#"command: ["ls", "--help"]"#));
}

/// Covers: B06-53, B07-21
#[test]
fn flags_are_accepted_after_the_names() {
    assert!(accepted("rmi one two -f").contains("force: true"));
    assert!(accepted("rm one -f").contains(r#"force: true, volumes: false, containers: ["one"]"#));
    assert!(accepted("rm -f=false one").contains("force: false"));
    assert!(accepted("images busybox -q --no-trunc=true").contains("no_trunc: true, quiet: true"));
    assert!(accepted("stop -t -1 c").contains("timeout: Some(-1)"));
    assert!(accepted("rm -f --force=0 c").contains("force: false"), "the last one counts");
}

#[test]
fn mistakes_read_as_dockers() {
    let table = [
        (
            "foo",
            "wherry: unknown command: wherry foo\n\nRun 'wherry --help' for more information",
            2,
        ),
        (
            "image foo",
            "wherry: unknown command: wherry image foo\n\nUsage:  wherry image COMMAND\n\nRun 'wherry image --help' for more information",
            2,
        ),
        (
            "pull",
            "wherry: 'wherry pull' requires 1 argument\n\nUsage:  wherry pull [OPTIONS] NAME[:TAG|@DIGEST]\n\nRun 'wherry pull --help' for more information",
            2,
        ),
        (
            "tag a",
            "wherry: 'wherry tag' requires 2 arguments\n\nUsage:  wherry tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]\n\nRun 'wherry tag --help' for more information",
            2,
        ),
        (
            "run --foo",
            "unknown flag: --foo\n\nUsage:  wherry run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'wherry run --help' for more information",
            125,
        ),
    ];
    for (line, text, exit) in table {
        assert_eq!(mistake(line), (text.to_owned(), exit), "{line}");
    }
}

#[test]
fn the_first_line_of_a_mistake_names_it() {
    for (line, first) in [
        ("run -z", "unknown shorthand flag: 'z' in -z"),
        ("run --name", "flag needs an argument: --name"),
        ("images a b", "wherry: 'wherry images' requires at most 1 argument"),
        ("rmi", "wherry: 'wherry rmi' requires at least 1 argument"),
        ("exec a", "wherry: 'wherry exec' requires at least 2 arguments"),
        ("ps x", "wherry: 'wherry ps' accepts no arguments"),
        ("run", "wherry: 'wherry run' requires at least 1 argument"),
        ("help foo", "unknown help topic: foo"),
        ("--zebra", "unknown flag: --zebra"),
        ("--root", "flag needs an argument: --root"),
        ("image --zebra", "unknown flag: --zebra"),
        ("trust key --zebra", "unknown flag: --zebra"),
        ("run --gpus all busybox", "flag not supported yet: --gpus"),
        ("run --runtime x busybox", "flag not supported yet: --runtime"),
        ("image ls --tree", "flag not supported yet: --tree"),
        (
            "rm -f=perhaps c",
            "invalid argument \"perhaps\" for \"-f, --force\" flag: strconv.ParseBool: parsing \"perhaps\": invalid syntax",
        ),
        (
            "stop -t x c",
            "invalid argument \"x\" for \"-t, --timeout\" flag: invalid digit found in string",
        ),
    ] {
        let (text, _) = mistake(line);
        assert_eq!(text.lines().next(), Some(first), "{line}: {text}");
    }
}

#[test]
fn slips_of_the_fingers_get_a_proposal_and_strangers_none() {
    for (line, proposal) in [
        ("imags", Some("did you mean `wherry images`?")),
        ("rnu busybox", Some("did you mean `wherry run`?")),
        ("image lss", Some("did you mean `wherry image ls`?")),
        ("trust key generte x", Some("did you mean `wherry trust key generate`?")),
        ("zebra", None),
        ("run --naem x busybox", Some("did you mean `--name`?")),
        ("container run --detatch busybox", Some("did you mean `--detach`?")),
        ("run -name x busybox", Some("did you mean `--name`?")),
        ("run --zebra busybox", None),
        ("run -z busybox", None),
        ("pull", None),
        ("swarm init", Some("clusters are not there yet: containers run on this machine only")),
        (
            "search nginx",
            Some(
                "searching is a service of Docker Hub; `wherry tags REPOSITORY` lists one repository",
            ),
        ),
    ] {
        assert_eq!(hint(line).as_deref(), proposal, "{line}");
    }
    assert!(mistake("swarm init").0.starts_with("wherry: command not supported yet: wherry swarm"));
}

#[test]
fn help_is_found_wherever_it_is_asked_for() {
    for line in [
        "--help",
        "run --help",
        "image --help",
        "image",
        "trust key",
        "--debug",
        "--root /x image",
        "help run",
        "help image ls",
        "",
        "rmi x --help",
    ] {
        match parse(&words(line)) {
            Ok(Parsed::Help(text)) => assert!(text.starts_with("Usage:  wherry"), "{line}: {text}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(matches!(parse(&words("--version")), Ok(Parsed::Verb(_))));
}

#[test]
fn the_grammar_is_sound() {
    grammar().debug_assert();
}

#[test]
fn every_verb_and_flag_has_help_text() {
    fn visit(command: &Command, path: &str) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let path = format!("{path} {}", sub.get_name());
            assert!(sub.get_about().is_some(), "{path} has no help");
            for arg in sub.get_arguments().filter(|arg| !arg.is_positional()) {
                assert!(arg.get_help().is_some(), "{path} --{} has no help", arg.get_id());
                assert!(arg.get_long().is_some(), "{path} {} has no long name", arg.get_id());
            }
            visit(sub, &path);
        }
    }
    visit(&grammar(), "wherry");
}
