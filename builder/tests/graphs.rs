//! Goldens: `testdata/dockerfiles/<case>/Dockerfile` against the printed graph, and wrong ones against the message.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use builder::frontend::{self, Network};
use builder::graph::BaseImage;
use builder::lower::{ImageResolver, LowerOptions, NoCache, lower};
use builder::{Error, PortError};
use oci::{Descriptor, Digest, ImageConfig, MediaType, Platform, Reference};

/// Every image exists and has one layer.
struct AnyImage;

impl ImageResolver for AnyImage {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, PortError> {
        let mut config = ImageConfig::scratch(platform);
        config.config.env = vec!["PATH=/usr/bin:/bin".to_owned()];
        match reference.familiar_repository().as_str() {
            "withcmd" => config.config.cmd = Some(vec!["inherited".to_owned()]),
            "onbuild" => {
                config.config.on_build = vec!["COPY . /app".to_owned(), "ENV A=b".to_owned()]
            }
            "badtrigger" => config.config.on_build = vec!["FROM x".to_owned()],
            _ => {}
        }
        let layer = Digest::sha256(reference.to_string().as_bytes());
        config.rootfs.diff_ids.push(layer.clone());
        let created_by = Some(format!("base {}", reference.familiar()));
        config.history.push(oci::History { created_by, ..oci::History::default() });
        let manifest =
            Descriptor::of(MediaType::OciManifest, format!("{reference} {platform}").as_bytes());
        let layers = vec![Descriptor::new(MediaType::OciLayer(oci::Compression::Gzip), layer, 1)];
        Ok(BaseImage { reference: reference.clone(), manifest, config, layers })
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles")
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|p| p.join("Dockerfile").exists()).collect();
    cases.sort();
    cases
}

fn options(case: &Path) -> LowerOptions {
    let mut options = LowerOptions::new("linux/amd64".parse().unwrap());
    let text = std::fs::read_to_string(case.join("args")).unwrap_or_default();
    for line in text.lines() {
        let (flag, value) = line.split_once(' ').unwrap_or((line, ""));
        let pair = |map: &mut BTreeMap<String, String>| {
            let (key, value) = value.split_once('=').unwrap();
            map.insert(key.to_owned(), value.to_owned());
        };
        match flag {
            "--build-arg" => pair(&mut options.build_args),
            "--label" => pair(&mut options.labels),
            "--target" => options.target = Some(value.to_owned()),
            "--platform" => options.platform = value.parse().unwrap(),
            "--build-platform" => options.build_platform = value.parse().unwrap(),
            "--several" => options.several_platforms = true,
            "--network" => {
                options.network = if value == "host" { Network::Host } else { Network::None }
            }
            "--no-cache-filter" => options.no_cache = NoCache::Stages(vec![value.to_owned()]),
            other => panic!("{}: unknown option {other}", case.display()),
        }
    }
    options
}

fn outcome(case: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(case.join("Dockerfile")).unwrap();
    let file = frontend::parse(&text)?;
    Ok(lower(&file, &options(case), &AnyImage)?.to_string())
}

fn check(path: &Path, found: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, found).unwrap();
    }
    let expect = std::fs::read_to_string(path).unwrap_or_default();
    if expect != found {
        wrong.push(format!("{}:\n--- expected\n{expect}--- found\n{found}", path.display()));
    }
}

/// Covers: B08-06, B08-07, B08-08, B08-12, B08-13, B08-14, B08-15, B08-16, B08-17, B08-19, B08-28, B08-38, B08-39, B08-40
#[test]
fn every_dockerfile_comes_to_its_graph() {
    let mut wrong = Vec::new();
    let cases = cases(&folder());
    assert!(cases.len() >= 20, "the cases are not where they should be");
    for case in cases {
        let found = outcome(&case).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
        check(&case.join("graph.txt"), &found, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Covers: BLD-4, BLD-8, BLD-16
#[test]
fn every_wrong_dockerfile_gets_one_clear_message() {
    let mut wrong = Vec::new();
    let cases = cases(&folder().join("wrong"));
    assert!(cases.len() >= 20, "the cases are not where they should be");
    for case in cases {
        let found = match outcome(&case) {
            Ok(graph) => format!("accepted:\n{graph}"),
            Err(error) => format!("{error}\n"),
        };
        check(&case.join("error.txt"), &found, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn graph(text: &str, change: impl FnOnce(&mut LowerOptions)) -> builder::graph::Graph {
    let mut options = LowerOptions::new("linux/amd64".parse().unwrap());
    change(&mut options);
    lower(&frontend::parse(text).unwrap(), &options, &AnyImage).unwrap_or_else(|e| panic!("{e}"))
}

fn last_line(text: &str) -> String {
    let graph = graph(text, |_| {});
    graph.history.last().unwrap().entry.created_by.clone().unwrap().replace(" # buildkit", "")
}

/// Covers: BLD-10
#[test]
fn variables_expand_in_exactly_the_instructions_that_say_so() {
    for (instruction, expect) in [
        ("ADD $V /$V", "ADD x /x"),
        ("COPY $V /$V", "COPY x /x"),
        ("ENV A=$V", "ENV A=x"),
        ("EXPOSE ${P}", "EXPOSE map[80/tcp:{}]"),
        ("LABEL $V=$V", "LABEL x=x"),
        ("STOPSIGNAL $S", "STOPSIGNAL TERM"),
        ("USER $V", "USER x"),
        ("VOLUME /$V", "VOLUME [/x]"),
        ("WORKDIR /$V", "WORKDIR /x"),
        ("RUN echo $V", "RUN |3 V=x P=80 S=TERM /bin/sh -c echo $V"),
        ("CMD [\"$V\"]", "CMD [\"$V\"]"),
        ("ENTRYPOINT [\"$V\"]", "ENTRYPOINT [\"$V\"]"),
        (
            "HEALTHCHECK CMD echo $V",
            "HEALTHCHECK {Test:[CMD-SHELL echo $V] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
    ] {
        assert_eq!(
            last_line(&format!("FROM a\nARG V=x P=80 S=TERM\n{instruction}\n")),
            expect,
            "{instruction}"
        );
    }
    let graph = graph("FROM ${IMG:-a}\nONBUILD COPY $V /\n", |_| {});
    assert_eq!(graph.config.config.on_build, ["COPY $V /"], "a trigger waits for its own time");
}

/// Covers: BLD-11, BLD-24
#[test]
fn all_words_of_one_instruction_see_the_environment_before_it() {
    let graph = graph("FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV PATH=/x:$PATH\n", |_| {});
    assert_eq!(graph.config.config.env, ["PATH=/x:/usr/bin:/bin", "abc=bye", "def=hello"]);
}

/// Covers: BLD-18, BLD-19
#[test]
fn an_argument_is_seen_where_it_was_declared_and_below() {
    let text = "ARG G=global\nFROM a:$G AS one\nUSER ${u:-nobody}\nARG u\nUSER ${u:-nobody}\nLABEL g=[$G]\nARG G\nLABEL h=[$G]\n\
                FROM one\nLABEL i=[$G]\nFROM a\nLABEL j=[$G]\n";
    let lines = |target: &str| {
        let graph = graph(text, |o| {
            o.target = Some(target.to_owned());
            o.build_args.insert("u".into(), "me".into());
        });
        graph.history.iter().filter_map(|h| h.entry.created_by.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        lines("1"),
        [
            "base a:global",
            "USER nobody",
            "ARG u=me",
            "USER me",
            "LABEL g=[]",
            "ARG G=global",
            "LABEL h=[global]",
            "LABEL i=[global]"
        ]
    );
    assert_eq!(
        lines("2").last().unwrap(),
        "LABEL j=[]",
        "an unrelated stage has to declare it again"
    );
}

/// Covers: BLD-63
#[test]
fn a_new_entry_point_resets_an_inherited_command_only() {
    let command = |text: &str| {
        let config = graph(text, |_| {}).config.config;
        (config.entrypoint, config.cmd)
    };
    let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    assert_eq!(command("FROM withcmd\n"), (None, list(&["inherited"])));
    assert_eq!(command("FROM withcmd\nENTRYPOINT [\"e\"]\n"), (list(&["e"]), None));
    assert_eq!(
        command("FROM withcmd\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n"),
        (list(&["e"]), list(&["c"]))
    );
    assert_eq!(
        command("FROM withcmd AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]\n"),
        (list(&["e"]), None)
    );
    assert_eq!(
        command("FROM a\nSHELL [\"bash\", \"-c\"]\nCMD x y\n"),
        (None, list(&["bash", "-c", "x y"]))
    );
}

/// Covers: BLD-58, BLD-68
#[test]
fn workdir_is_relative_to_the_one_before_and_maintainer_sets_the_author() {
    let graph =
        graph("FROM a\nMAINTAINER me <m@e>\nWORKDIR a\nWORKDIR ~/b\nWORKDIR ../c\n", |_| {});
    assert_eq!(graph.config.config.working_dir, "/a/~/c");
    assert_eq!(graph.config.author.as_deref(), Some("me <m@e>"));
    let layers = graph.history.iter().filter(|h| !h.entry.empty_layer).count();
    assert_eq!(layers, 4, "the base and one for each WORKDIR");
}

/// Covers: BLD-2
#[test]
fn a_syntax_line_is_read_and_no_frontend_is_run() {
    let file = frontend::parse("# syntax=docker/dockerfile:1.99-labs\nFROM a\n").unwrap();
    assert_eq!(file.directives.syntax.as_deref(), Some("docker/dockerfile:1.99-labs"));
    assert!(frontend::LANGUAGE_LEVEL.starts_with("docker/dockerfile:1."));
    assert!(lower(&file, &LowerOptions::new("linux/amd64".parse().unwrap()), &AnyImage).is_ok());
}

/// Covers: BLD-23
#[test]
fn arguments_for_the_builder_are_no_variables_and_not_unused() {
    let graph = graph(
        "FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN --mount=type=cache,target=/c x\n",
        |o| {
            o.build_args.insert("BUILDKIT_CACHE_MOUNT_NS".into(), "team".into());
            o.build_args.insert("BUILDKIT_MULTI_PLATFORM".into(), "1".into());
            o.build_args.insert("TYPO".into(), "1".into());
        },
    );
    let text = graph.to_string();
    assert!(text.contains("Cache { target: \"/c\", id: \"team//c\""), "{text}");
    assert!(!text.contains("SCAN_STAGE=true\"]"), "{text}");
    assert_eq!(graph.unused_args, ["TYPO"]);
}
