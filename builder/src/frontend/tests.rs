use super::*;

fn fails(text: &str) -> Diagnostic {
    parse(text).expect_err(text)
}

fn first(text: &str) -> Instruction {
    parse(&format!("FROM a\n{text}\n")).unwrap_or_else(|e| panic!("{e}")).stages[0].nodes[0]
        .instruction
        .clone()
}

/// Covers: B08-05, BLD-15
#[test]
fn instructions_are_case_insensitive_and_read_from_top_to_bottom() {
    let file = parse("arg V=1\nfrom --platform=$BUILDPLATFORM golang:1 as Build\nRun x\n\nFROM scratch\nCOPY --from=build /x /\n").unwrap();
    assert_eq!(file.global_args.len(), 1);
    let [build, last] = file.stages.as_slice() else { panic!() };
    assert_eq!(
        (build.name.as_deref(), build.base.as_str(), build.platform.as_deref()),
        (Some("build"), "golang:1", Some("$BUILDPLATFORM"))
    );
    assert_eq!((last.name.as_deref(), last.base.as_str(), last.index), (None, "scratch", 1));
    assert_eq!(file.stage_index("BUILD"), Some(0));
    assert_eq!(file.stage_index("1"), Some(1));
    assert_eq!(file.stage_index("2"), None);
}

/// Covers: BLD-5
#[test]
fn what_is_not_a_json_array_of_strings_is_the_shell_form() {
    for (text, form, args) in [
        ("CMD [\"a\", \"b\"]", Form::Exec, vec!["a", "b"]),
        ("CMD [ \"a\" ]", Form::Exec, vec!["a"]),
        ("CMD ['a']", Form::Shell, vec!["['a']"]),
        ("CMD [\"c:\\win\"]", Form::Shell, vec!["[\"c:\\win\"]"]),
        ("CMD [\"a\"", Form::Shell, vec!["[\"a\""]),
        ("CMD echo  $HOME", Form::Shell, vec!["echo  $HOME"]),
        ("CMD []", Form::Exec, vec![]),
    ] {
        let Instruction::Cmd(command) = first(text) else { panic!() };
        assert_eq!(
            (command.form, command.args),
            (form, args.into_iter().map(str::to_owned).collect()),
            "{text}"
        );
    }
    assert_eq!(
        fails("FROM a\nCMD [\"a\", 1]\n").message(),
        "when using JSON array syntax, arrays must be comprised of strings only"
    );
}

/// Covers: BLD-24, BLD-62, B08-08, B08-16
#[test]
fn env_and_label_take_both_forms() {
    let pairs = |text| match first(text) {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            pairs.into_iter().map(|p| (p.key, p.value, p.legacy)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        pairs("ENV a=1 b=\"x y\" c=x\\ y"),
        [
            ("a".into(), "1".into(), false),
            ("b".into(), "\"x y\"".into(), false),
            ("c".into(), "x\\ y".into(), false)
        ]
    );
    assert_eq!(pairs("ENV key some  value = 1"), [("key".into(), "some  value = 1".into(), true)]);
    assert_eq!(
        pairs("LABEL maintainer=\"me <a@b>\""),
        [("maintainer".into(), "\"me <a@b>\"".into(), false)]
    );
    assert_eq!(
        fails("FROM a\nENV a=1 b\n").message(),
        "Syntax error - can't find = in \"b\". Must be of the form: name=value"
    );
    assert_eq!(fails("FROM a\nENV alone\n").message(), "ENV must have two arguments");
    assert_eq!(fails("FROM a\nLABEL =x\n").message(), "LABEL names can not be blank");
}

/// Covers: BLD-44, BLD-45, BLD-47, BLD-48, BLD-54, BLD-56
#[test]
fn copy_and_add_have_their_own_flags() {
    let Instruction::Copy(copy) = first(
        "COPY --from=b --chown=1:2 --chmod=u=rwX --link --parents --exclude=*.md --exclude=x \"a b\" c /d/",
    ) else {
        panic!()
    };
    assert_eq!(
        (copy.sources.as_slice(), copy.destination.as_str()),
        (["\"a b\"".to_owned(), "c".to_owned()].as_slice(), "/d/")
    );
    assert_eq!(
        (copy.from.as_deref(), copy.chown.as_deref(), copy.chmod.as_deref()),
        (Some("b"), Some("1:2"), Some("u=rwX"))
    );
    assert!(copy.link && copy.parents);
    assert_eq!(copy.exclude, ["*.md", "x"]);
    let Instruction::Add(add) =
        first("ADD --checksum=sha256:00 --keep-git-dir --unpack=false https://e.org/x [d]")
    else {
        panic!()
    };
    assert_eq!(
        (add.checksum.as_deref(), add.keep_git_dir, add.unpack),
        (Some("sha256:00"), Some(true), Some(false))
    );
    assert!(fails("FROM a\nADD --from=x a b\n").to_string().contains("unknown flag: from"));
    assert!(
        fails("FROM a\nCOPY --checksum=x a b\n").to_string().contains("unknown flag: checksum")
    );
    assert_eq!(
        fails("FROM a\nCOPY --chown=1 --chown=2 a b\n").message(),
        "duplicate flag specified: chown"
    );
    assert_eq!(fails("FROM a\nCOPY --chown a b\n").message(), "missing a value on flag: chown");
    assert_eq!(
        fails("FROM a\nCOPY --link=maybe a b\n").message(),
        "expecting boolean value for flag link, not: maybe"
    );
    assert_eq!(fails("FROM a\nCOPY a\n").message(), "COPY requires at least two arguments");
}

/// Covers: BLD-7
#[test]
fn a_heredoc_source_is_an_inline_file() {
    let Instruction::Copy(copy) = first("COPY x <<A <<\"B\" /d/\none $V\nA\ntwo\nB") else {
        panic!()
    };
    assert_eq!(copy.sources, ["x"]);
    assert_eq!(
        (copy.inline[0].name.as_str(), copy.inline[0].content.as_str(), copy.inline[0].expand),
        ("A", "one $V\n", true)
    );
    assert!(!copy.inline[1].expand);
}

/// Covers: BLD-65
#[test]
fn healthchecks_read_their_options() {
    let Instruction::Healthcheck(h) = first(
        "HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2s --retries=2 CMD curl -f x || exit 1",
    ) else {
        panic!()
    };
    assert_eq!(h.test, ["CMD-SHELL", "curl -f x || exit 1"]);
    assert_eq!(
        (h.interval, h.timeout, h.start_period, h.start_interval, h.retries),
        (300_000_000_000, 3_000_000_000, 1_000_000_000, 2_000_000_000, 2)
    );
    let Instruction::Healthcheck(h) = first("HEALTHCHECK CMD [\"a\"]") else { panic!() };
    assert_eq!(h.test, ["CMD", "a"]);
    let Instruction::Healthcheck(h) = first("HEALTHCHECK none") else { panic!() };
    assert_eq!(h.test, ["NONE"]);
    for (text, message) in [
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --interval=1 CMD a", "time: invalid duration \"1\""),
        ("HEALTHCHECK --interval=1us CMD a", "interval \"interval\" cannot be less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD a", "--retries cannot be \"-1\""),
        ("HEALTHCHECK sh", "Unknown type \"SH\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
    ] {
        assert_eq!(fails(&format!("FROM a\n{text}\n")).message(), message);
    }
}

/// Covers: BLD-35, BLD-37
#[test]
fn run_flags_are_read_and_wrong_values_refused() {
    let Instruction::Run(run) =
        first("RUN --mount=type=cache,target=/c --network=none --security=insecure echo a")
    else {
        panic!()
    };
    assert_eq!(
        (run.mounts.len(), run.network, run.security),
        (1, Network::None, Security::Insecure)
    );
    assert_eq!(
        fails("FROM a\nRUN --network=some x\n").message(),
        "network \"some\" is not supported"
    );
    let e = fails("FROM a\nRUN --mount=type=cach,target=/c x\n");
    assert_eq!(
        (e.message(), e.way_out()),
        (
            "unsupported mount type \"cach\"",
            Some("the types are bind, cache, tmpfs, secret and ssh")
        )
    );
    assert_eq!(fails("FROM a\nRUN\n").message(), "RUN requires at least one argument");
    assert_eq!(fails("FROM a\nRUN --device=x y\n").message(), "RUN --device is not supported");
}

/// Covers: BLD-67
#[test]
fn onbuild_keeps_its_trigger_and_refuses_what_cannot_be_one() {
    assert_eq!(
        first("ONBUILD COPY --from=x a  b"),
        Instruction::Onbuild("COPY --from=x a  b".into())
    );
    assert_eq!(first("ONBUILD RUN <<E\nx\nE"), Instruction::Onbuild("RUN <<E\nx\nE".into()));
    for (text, message) in [
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD maintainer x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
    ] {
        assert_eq!(fails(&format!("FROM a\n{text}\n")).message(), message);
    }
    let e = fails("FROM a\nONBUILD CPOY a b\n");
    assert_eq!(
        (e.message(), e.column(), e.way_out()),
        ("unknown instruction: CPOY", 9, Some("did you mean COPY?"))
    );
    assert!(parse_trigger("RUN a\nRUN b").is_err());
    assert!(parse_trigger("ONBUILD RUN b").is_err());
}

/// Covers: BLD-60, BLD-64, BLD-66
#[test]
fn single_argument_instructions_check_theirs() {
    assert_eq!(
        first("VOLUME [\"/a\", \"/b\"]"),
        Instruction::Volume(vec!["/a".into(), "/b".into()])
    );
    assert_eq!(first("VOLUME /a /b"), Instruction::Volume(vec!["/a".into(), "/b".into()]));
    assert_eq!(
        first("SHELL [\"/bin/bash\", \"-c\"]"),
        Instruction::Shell(vec!["/bin/bash".into(), "-c".into()])
    );
    assert_eq!(
        first("EXPOSE 80 443/udp"),
        Instruction::Expose(vec!["80".into(), "443/udp".into()])
    );
    for (text, message) in [
        ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
        ("SHELL bash -c", "SHELL requires the arguments to be in JSON form"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("ARG", "ARG requires at least one argument"),
        ("USER --x u", "unknown flag: x"),
    ] {
        assert_eq!(fails(&format!("FROM a\n{text}\n")).message(), message);
    }
}

/// Covers: BLD-4
#[test]
fn errors_point_at_the_culprit_and_offer_a_way_out() {
    for (text, expect) in [
        (
            "FROM a\nRUNN x\n",
            "dockerfile parse error on line 2: unknown instruction: RUNN\n 2 | RUNN x\n   | ^^^^\nhint: did you mean RUN?",
        ),
        (
            "FROM a\nCOPY --chwon=1 \\\n  a b\n",
            "dockerfile parse error on line 2: unknown flag: chwon\n 2 | COPY --chwon=1 \\\n   |      ^^^^^^^^^\nhint: did you mean --chown?",
        ),
        (
            "FROM a\nRUN --mount=type=cache,target=/c \\\n  --netwrok=none x\n",
            "dockerfile parse error on line 3: unknown flag: netwrok\n 3 |   --netwrok=none x\n   |   ^^^^^^^^^^^^^^\nhint: did you mean --network?",
        ),
        (
            "RUN x\n",
            "dockerfile parse error on line 1: no build stage in current context: RUN before the first FROM\n 1 | RUN x\n   | ^^^^^\nhint: start the Dockerfile with FROM (only ARG may stand before it)",
        ),
        (
            "",
            "dockerfile parse error on line 1: file with no instructions\n 1 | \n   | ^\nhint: add a FROM instruction",
        ),
        (
            "ARG x\n",
            "dockerfile parse error on line 1: dockerfile contains no stages to build\n 1 | ARG x\n   | ^\nhint: add a FROM instruction",
        ),
        (
            "FROM a b\n",
            "dockerfile parse error on line 1: FROM requires either one or three arguments\n 1 | FROM a b\n   | ^^^^^^^^\nhint: write FROM IMAGE or FROM IMAGE AS NAME",
        ),
        (
            "FROM a AS 1b\n",
            "dockerfile parse error on line 1: invalid name for build stage: \"1b\", name can't start with a number or contain symbols\n 1 | FROM a AS 1b\n   |           ^^",
        ),
    ] {
        assert_eq!(fails(text).to_string(), expect);
    }
}

proptest::proptest! {
    #[test]
    fn any_text_parses_or_fails_without_a_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn text_of_dockerfile_pieces_parses_or_fails_without_a_panic(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "FROM a", "RUN ", "COPY ", "<<EOF", "<<-\"E\"", "EOF", "E", "\\", "\n", "\r\n", "#", " ", "\t", "--mount=", "--from=x",
            "[\"a\"", "]", "\"", "'", "$x", "${x", "ENV a=b", "ONBUILD ", "HEALTHCHECK ", "CMD ", "é", "`", "# escape=`\n", "ARG x=1",
        ]), 0..30)
    ) {
        let _ = parse(&pieces.concat());
    }
}
