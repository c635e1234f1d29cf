//! Builds with a fake worker and fake base images, down to the blobs.

mod support;

use builder::lower::NoCache;
use builder::ports::Secret;
use builder::{Builder, Error};
use support::World;

/// Covers: B08-01, B08-06, B08-09, B08-10, B08-12, B08-27
#[test]
fn a_plain_build_makes_the_layers_config_and_history_of_its_instructions() {
    let world = World::new();
    world.file("app.js", "console.log(1)").file("lib/x.js", "x");
    let built = world
        .build("FROM base\nLABEL maintainer=\"me\"\nRUN write /bin/tool t\nCOPY . /src\nWORKDIR /src\nRUN append app.js //\nEXPOSE 8080\nENTRYPOINT [\"node\", \"./app.js\"]\n")
        .unwrap();
    let image = &built.images[0];
    let tree = world.tree(&built);
    assert_eq!(tree["src/app.js"], "File 644 0:0 \"console.log(1)//\"");
    assert_eq!(tree["src/lib/x.js"], "File 644 0:0 \"x\"");
    assert_eq!(tree["bin/tool"], "File 644 0:0 \"t\"");
    assert!(!tree.contains_key("proc") && !tree.contains_key("etc/resolv.conf"), "{tree:?}");
    let history: Vec<(String, bool)> = image
        .config
        .history
        .iter()
        .map(|h| (h.created_by.clone().unwrap(), h.empty_layer))
        .collect();
    let expect = [
        ("ADD file:base in /", false),
        ("LABEL maintainer=me", true),
        ("RUN /bin/sh -c write /bin/tool t # buildkit", false),
        ("COPY . /src # buildkit", false),
        ("WORKDIR /src", false),
        ("RUN /bin/sh -c append app.js // # buildkit", false),
        ("EXPOSE map[8080/tcp:{}]", true),
        ("ENTRYPOINT [\"node\" \"./app.js\"]", true),
    ];
    assert_eq!(history, expect.map(|(t, e)| (t.to_owned(), e)));
    assert_eq!(image.config.rootfs.diff_ids.len(), 5);
    assert_eq!(image.config.config.working_dir, "/src");
    assert_eq!(image.config.config.cmd, None);
    assert_eq!(world.worker.calls.lock().unwrap()[1].cwd, "/src");
    let manifest = world.store.content().manifest(image.manifest.digest()).unwrap();
    for blob in manifest.as_manifest().unwrap().children() {
        assert_eq!(world.store.content().stat(blob.digest()).unwrap(), Some(blob.size()));
    }
}

/// Covers: B08-21, B08-22, B08-23, B08-24, B08-25, BLD-20, BLD-27, BLD-49, BLD-80
#[test]
fn the_cache_is_hit_exactly_when_nothing_that_counts_has_changed() {
    let text = "FROM base\nARG V=1\nRUN write /one 1\nCOPY a b /in/\nRUN read /in/a\n";
    let world = World::new();
    world.file("a", "a").file("b", "b").file("unused", "u");
    let first = world.build(text).unwrap();
    assert_eq!((first.images[0].steps.cached, first.images[0].steps.ran), (0, 3));
    let again = world.build(text).unwrap();
    assert_eq!((again.images[0].steps.cached, again.images[0].steps.ran), (3, 0));
    assert_eq!(first.root, again.root, "an unchanged build gives the same image");
    // Neither times nor files that no step reads count.
    world.file("unused", "changed");
    std::fs::File::options()
        .append(true)
        .open(world.context.join("a"))
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(world.steps(text), (3, 0));
    // Content, of any source, counts from that step on.
    world.file("b", "B");
    assert_eq!(world.steps(text), (1, 2));
    // So do permission bits.
    std::fs::set_permissions(
        world.context.join("b"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    assert_eq!(world.steps(text), (1, 2));
    // The text of a RUN counts, and an argument counts for every RUN below it.
    assert_eq!(world.steps(&text.replace("write /one 1", "write /one 2")), (0, 3));
    let mut request = world.request(text);
    request.build_args.insert("V".into(), "2".into());
    let built = world.build_request(&request).unwrap();
    assert_eq!(
        built.images[0].steps.ran, 2,
        "COPY does not see the argument, and what RUN wrote is the same"
    );
    // --no-cache asks for nothing.
    let mut request = world.request(text);
    request.no_cache = NoCache::All;
    assert_eq!(world.build_request(&request).unwrap().images[0].steps.ran, 3);
}

/// Covers: BLD-80
#[test]
fn a_cache_filter_runs_the_named_stage_only() {
    let text = "FROM base AS one\nRUN write /a 1\nFROM base AS two\nRUN write /b 2\nCOPY --from=one /a /a\n";
    let world = World::new();
    world.build(text).unwrap();
    world.worker.forget();
    let mut request = world.request(text);
    request.no_cache = NoCache::Stages(vec!["ONE".into()]);
    world.build_request(&request).unwrap();
    assert_eq!(world.worker.commands(), ["write /a 1"]);
}

/// Covers: B08-23
#[test]
fn a_step_that_ran_again_and_changed_nothing_does_not_invalidate_its_children() {
    let world = World::new();
    let text = "FROM base\nRUN write /out same\nRUN write /next 1\n";
    world.build(text).unwrap();
    assert_eq!(
        world.steps(&text.replace("write /out same", "say hello ; write /out same")),
        (1, 1)
    );
}

/// Covers: B08-38, B08-39, B08-40, B08-41, B08-43, B08-44, BLD-16, BLD-17, BLD-43
#[test]
fn a_multi_stage_build_keeps_what_is_copied_and_nothing_else() {
    let world = World::new();
    world.file("go.mod", "m").file("main.go", "package main");
    let built = world
        .build(
            "FROM base AS build\nWORKDIR /src\nCOPY go.mod .\nCOPY . .\n\nFROM build AS client\nRUN write /bin/client c\n\nFROM build AS server\nRUN write /bin/server s\n\n\
             FROM base AS unused\nRUN exit 1\n\nFROM scratch AS prod\nCOPY --from=client /bin/client /bin/\nCOPY --from=2 /bin/server /bin/\nENTRYPOINT [ \"/bin/server\" ]\n",
        )
        .unwrap();
    let tree = world.tree(&built);
    let paths: Vec<&str> =
        tree.keys().map(String::as_str).filter(|p| !p.is_empty() && *p != ".").collect();
    assert_eq!(paths, ["bin", "bin/client", "bin/server"]);
    let history: Vec<&str> =
        built.images[0].config.history.iter().filter_map(|h| h.created_by.as_deref()).collect();
    assert_eq!(
        history,
        [
            "COPY /bin/client /bin/ # buildkit",
            "COPY /bin/server /bin/ # buildkit",
            "ENTRYPOINT [\"/bin/server\"]"
        ]
    );
    assert!(!world.worker.commands().contains(&"exit 1".to_owned()));
}

/// Covers: B08-45, BLD-17
#[test]
fn a_target_builds_only_what_leads_to_it() {
    let world = World::new();
    let text = "FROM base AS a\nRUN write /a 1\nFROM base AS b\nRUN write /b 1\n";
    let mut request = world.request(text);
    request.target = Some("A".into());
    world.build_request(&request).unwrap();
    assert_eq!(world.worker.commands(), ["write /a 1"]);
    request.target = Some("bb".into());
    let error = world.build_request(&request).unwrap_err().to_string();
    assert_eq!(error, "target stage \"bb\" could not be found (did you mean b?)");
}

/// Covers: B08-42, BLD-74
#[test]
fn independent_stages_run_at_the_same_time() {
    let world = World::new();
    let mut request = world.request("FROM base AS a\nRUN meet 2\nFROM base AS b\nRUN meet 2 ; say b\nFROM scratch\nCOPY --from=a /data /a\nCOPY --from=b /data /b\n");
    request.parallelism = Some(2);
    world.build_request(&request).unwrap();
}

/// Covers: B08-18, B08-19, B08-42, BLD-104
#[test]
fn progress_names_every_step_with_its_stage_and_number() {
    let world = World::new();
    world.file("hello", "h");
    let text = "FROM base\nLABEL a=b\nRUN say hi\nCOPY hello /h\nWORKDIR /w\nEXPOSE 80\n";
    let mut request = world.request(text);
    request.parallelism = Some(1);
    world.build_request(&request).unwrap();
    let starts: Vec<String> = world
        .progress
        .lines()
        .iter()
        .filter_map(|l| l.strip_prefix("start ").map(str::to_owned))
        .collect();
    let from = format!(
        "[1/4] FROM docker.io/library/base:latest@{}",
        support::sha256("base linux/amd64 manifest")
    );
    assert_eq!(
        starts,
        [
            "[internal] load build definition from Dockerfile",
            "[internal] load metadata for docker.io/library/base:latest",
            "[internal] load .dockerignore",
            "[internal] load build context",
            &from,
            "[2/4] RUN say hi",
            "[3/4] COPY hello /h",
            "[4/4] WORKDIR /w",
            "exporting to image"
        ]
    );
    assert!(world.progress.lines().contains(&"log [2/4] RUN say hi: hi".to_owned()));
    world.build(text).unwrap();
    assert!(world.progress.lines().contains(&"cached [2/4] RUN say hi".to_owned()));
}

/// Covers: B08-48, B08-51, BLD-22, BLD-97
#[test]
fn several_platforms_make_an_index_and_cache_each_on_its_own() {
    let world = World::new();
    let text = "FROM base\nARG TARGETARCH\nRUN write /arch $TARGETARCH\n";
    let mut request = world.request(text);
    request.platforms = vec!["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()];
    let built = world.build_request(&request).unwrap();
    assert!(built.root.media_type().is_index());
    let index = world.store.content().manifest(built.root.digest()).unwrap();
    let platforms: Vec<String> =
        index.as_index().unwrap().platforms().iter().map(ToString::to_string).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(built.images[1].config.architecture, "arm64");
    assert!(
        world
            .progress
            .lines()
            .iter()
            .any(|l| l == "start [linux/arm64 2/2] RUN write /arch $TARGETARCH"
                || l == "start [linux/arm64 2/2] RUN write /arch arm64")
    );
    let arches: Vec<String> =
        world.worker.calls.lock().unwrap().iter().map(|c| c.env["TARGETARCH"].clone()).collect();
    assert_eq!(arches.len(), 2);
    request.platforms.pop();
    assert_eq!(world.build_request(&request).unwrap().images[0].steps.cached, 1);
}

/// Covers: BLD-88, BLD-89, BLD-92
#[test]
fn two_roots_give_the_same_digest_with_an_epoch() {
    let build = |mtime: u64| {
        let world = World::new();
        world.file("a", "a").file("d/b", "b");
        for path in ["a", "d/b", "d"] {
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(mtime);
            std::fs::File::open(world.context.join(path)).unwrap().set_modified(time).unwrap();
        }
        let mut request =
            world.request("FROM base\nCOPY . /src/\nRUN write /x/y 1\nWORKDIR /w/v\nCMD [\"x\"]\n");
        request.build_args.insert("SOURCE_DATE_EPOCH".into(), "1700000000".into());
        let built = world.build_request(&request).unwrap();
        assert_eq!(built.images[0].config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
        let times: Vec<_> =
            built.images[0].config.history.iter().map(|h| h.created.clone().unwrap()).collect();
        assert_eq!(times[0], "2020-01-01T00:00:00Z", "a base keeps its own");
        assert!(times[1..].iter().all(|t| t == "2023-11-14T22:13:20Z"));
        built.root
    };
    assert_eq!(build(1_600_000_000), build(1_650_000_000));
    let world = World::new();
    let mut request = world.request("FROM scratch\nCMD [\"x\"]\n");
    request.build_args.insert("SOURCE_DATE_EPOCH".into(), "soon".into());
    assert_eq!(
        world.build_request(&request).unwrap_err().to_string(),
        "invalid SOURCE_DATE_EPOCH \"soon\": it takes seconds since 1970"
    );
}

/// Covers: BLD-40, BLD-52
#[test]
fn hostile_sources_never_leave_the_context() {
    let world = World::new();
    std::fs::write(world.root.path().join("secret"), "outside").unwrap();
    std::os::unix::fs::symlink("../secret", world.context.join("up")).unwrap();
    std::os::unix::fs::symlink(world.root.path().join("secret"), world.context.join("absolute"))
        .unwrap();
    std::os::unix::fs::symlink("/", world.context.join("rootdir")).unwrap();
    std::os::unix::fs::symlink("loop", world.context.join("loop")).unwrap();
    world.file("fine", "f");
    for source in
        ["up", "absolute", "../secret", "/../secret", "rootdir/etc/hostname", "../../etc/passwd"]
    {
        let error = world.build(&format!("FROM scratch\nCOPY {source} /x\n")).unwrap_err();
        assert!(matches!(error, Error::SourceNotFound { .. }), "{source}: {error}");
    }
    assert!(world.build("FROM scratch\nCOPY loop /x\n").is_err());
    // A whole folder keeps its links as links.
    let tree = world.tree(&world.build("FROM scratch\nCOPY . /all/\n").unwrap());
    assert_eq!(tree["all/up"], "Symlink 777 0:0 -> ../secret");
    // A link in the root of the image does not lead out of it either.
    let tree = world.tree(&world.build("FROM base\nCOPY fine /escape/f\n").unwrap());
    assert_eq!(tree["tmp/f"], "File 644 0:0 \"f\"");
}

/// Covers: BLD-40, BLD-41, BLD-42
#[test]
fn sources_and_destinations_follow_the_reference() {
    let world = World::new();
    world
        .file("a.txt", "a")
        .file("b.txt", "b")
        .file("dir/x", "x")
        .file("dir/sub/y", "y")
        .file("arr[0].txt", "0");
    let tree = |text: &str| {
        world.tree(
            &world.build(&format!("FROM base\n{text}\n")).unwrap_or_else(|e| panic!("{text}: {e}")),
        )
    };
    assert_eq!(tree("COPY dir /d")["d/sub/y"], "File 644 0:0 \"y\"");
    assert_eq!(tree("COPY dir/ /d/")["d/x"], "File 644 0:0 \"x\"");
    assert_eq!(tree("COPY a.txt /new/deep/name")["new/deep/name"], "File 644 0:0 \"a\"");
    assert_eq!(tree("COPY a.txt /new/")["new/a.txt"], "File 644 0:0 \"a\"");
    assert_eq!(
        tree("COPY a.txt /data")["data/a.txt"],
        "File 644 0:0 \"a\"",
        "an existing folder takes the file in"
    );
    assert_eq!(tree("COPY *.txt /t/").keys().filter(|k| k.starts_with("t/")).count(), 3);
    assert_eq!(tree("COPY arr[[]0].txt /t/")["t/arr[0].txt"], "File 644 0:0 \"0\"");
    assert_eq!(
        tree("COPY nothing* a.txt /t/").keys().filter(|k| k.starts_with("t/")).count(),
        1,
        "a wildcard may match nothing"
    );
    assert_eq!(tree("WORKDIR /w\nCOPY a.txt .")["w/a.txt"], "File 644 0:0 \"a\"");
    let error = |text: &str| world.build(&format!("FROM base\n{text}\n")).unwrap_err().to_string();
    assert!(error("COPY missing /x").contains("\"/missing\" not found in the build context"));
    assert!(
        error("COPY dir /data/a").contains("cannot copy to non-directory"),
        "{}",
        error("COPY dir /data/a")
    );
    assert!(error("COPY a.txt b.txt /x").contains("must be a directory and end with a /"));
}

/// Covers: BLD-44, BLD-45, BLD-46
#[test]
fn ownership_and_modes_are_set_as_asked() {
    let world = World::new();
    world.file("f", "f").file("d/x", "x");
    let tree = |text: &str| {
        world.tree(
            &world.build(&format!("FROM base\n{text}\n")).unwrap_or_else(|e| panic!("{text}: {e}")),
        )
    };
    assert_eq!(tree("COPY --chown=app f /n/f")["n/f"], "File 644 1000:1000 \"f\"");
    assert_eq!(tree("COPY --chown=app f /n/f")["n"], "Directory 755 1000:1000");
    assert_eq!(tree("COPY --chown=7 f /f")["f"], "File 644 7:7 \"f\"");
    assert_eq!(tree("USER app\nCOPY f /f")["f"], "File 644 0:0 \"f\"", "USER does not matter");
    assert_eq!(tree("COPY --chmod=u=rwX,go=rX d /d/")["d/x"], "File 644 0:0 \"x\"");
    assert_eq!(tree("ARG M=0750\nCOPY --chmod=$M f /f")["f"], "File 750 0:0 \"f\"");
    assert_eq!(tree("USER app\nWORKDIR /home/app/w")["home/app/w"], "Directory 755 1000:1000");
    assert_eq!(tree("COPY --link --chmod=600 f /l/f")["l/f"], "File 600 0:0 \"f\"");
    let error = world.build("FROM base\nCOPY --chown=ghost f /f\n").unwrap_err().to_string();
    assert!(
        error.ends_with("unable to find user \"ghost\" in /etc/passwd of the image"),
        "{error}"
    );
}

/// Covers: BLD-46
#[test]
fn a_linked_copy_is_the_same_layer_on_any_base() {
    let world = World::new();
    world.file("f", "f");
    let last = |base: &str| {
        let built = world.build(&format!("FROM {base}\nCOPY --link f /deep/f\n")).unwrap();
        (
            built.images[0].config.rootfs.diff_ids.last().cloned().unwrap(),
            built.images[0].steps.cached,
        )
    };
    let (on_base, _) = last("base");
    let (on_other, cached) = last("other");
    assert_eq!((on_base, cached), (on_other, 1));
}

/// Covers: BLD-47, BLD-48
#[test]
fn parents_and_excludes_choose_what_is_copied() {
    let world = World::new();
    world
        .file("src/a/x.go", "x")
        .file("src/a/x_test.go", "t")
        .file("src/b/y.go", "y")
        .file("src/b/n.md", "n");
    let copied = |text: &str| -> Vec<String> {
        let tree = world.tree(
            &world
                .build(&format!("FROM scratch\n{text}\n"))
                .unwrap_or_else(|e| panic!("{text}: {e}")),
        );
        tree.iter().filter(|(_, v)| v.starts_with("File")).map(|(k, _)| k.clone()).collect()
    };
    assert_eq!(
        copied("COPY --parents src/a/x.go src/b/n.md /d/"),
        ["d/src/a/x.go", "d/src/b/n.md"]
    );
    assert_eq!(copied("COPY --parents src/./a/x.go /d/"), ["d/a/x.go"]);
    assert_eq!(
        copied("COPY --parents **/*.go /d/"),
        ["d/src/a/x.go", "d/src/a/x_test.go", "d/src/b/y.go"]
    );
    assert_eq!(copied("COPY --exclude=**/*_test.go --exclude=b src /d/"), ["d/a/x.go"]);
    assert!(world.build("FROM scratch\nCOPY --parents src/a/none /d/\n").is_err());
    assert!(world.build("FROM scratch\nCOPY --parents src/*/none /d/\n").is_ok());
}

/// Covers: B08-20, BLD-69, BLD-70
#[test]
fn ignored_files_are_no_part_of_the_context() {
    let world = World::new();
    world
        .file("keep", "k")
        .file("logs/a.log", "l")
        .file("node_modules/m", "m")
        .file(".dockerignore", "**/*.log\nnode_modules\n!node_modules/k\n");
    let tree = world.tree(&world.build("FROM scratch\nCOPY . /c/\n").unwrap());
    let files: Vec<&String> =
        tree.iter().filter(|(_, v)| v.starts_with("File")).map(|(k, _)| k).collect();
    assert_eq!(files, ["c/.dockerignore", "c/keep"]);
    let error = world.build("FROM scratch\nCOPY node_modules/m /m\n").unwrap_err().to_string();
    assert!(error.contains("it is excluded by the ignore file"), "{error}");
    // A file of its own replaces the context's.
    let mut request = world.request("FROM scratch\nCOPY . /c/\n");
    std::fs::write(world.root.path().join("special"), "keep\n").unwrap();
    request.ignore_file = Some(world.root.path().join("special"));
    let tree = world.tree(&world.build_request(&request).unwrap());
    assert!(tree.contains_key("c/node_modules/m") && !tree.contains_key("c/keep"));
}

/// Covers: BLD-6, BLD-7
#[test]
fn heredocs_become_scripts_and_files() {
    let world = World::new();
    let built = world
        .build("FROM base\nARG WHO=you\nRUN <<EOF\nwrite /a 1\nwrite /b $WHO\nEOF\nRUN <<X\n#!/usr/bin/env python\nprint()\nX\nCOPY <<one <<\"two\" /f/\nhi $WHO\none\nhi $WHO\ntwo\nCOPY --chmod=755 <<E /script.sh\nx\nE\n")
        .unwrap();
    let tree = world.tree(&built);
    assert_eq!(tree["b"], "File 644 0:0 \"$WHO\"", "the builder never expands a script");
    assert_eq!(tree["f/one"], "File 644 0:0 \"hi you\\n\"");
    assert_eq!(tree["f/two"], "File 644 0:0 \"hi $WHO\\n\"");
    assert_eq!(tree["script.sh"], "File 755 0:0 \"x\\n\"");
    let call = world.worker.calls.lock().unwrap()[1].clone();
    assert_eq!(
        (call.args.as_slice(), call.mounts.as_slice()),
        (
            ["/bin/sh", "-c", "/dev/pipes/X"].map(str::to_owned).as_slice(),
            ["/dev/pipes/X".to_owned()].as_slice()
        )
    );
    assert!(!tree.contains_key("dev/pipes"));
}

/// Covers: BLD-28, BLD-29, BLD-30, BLD-32, BLD-33
#[test]
fn mounts_are_there_during_the_step_and_leave_no_trace() {
    let world = World::new();
    world.file("conf/x", "from context");
    let text = "FROM base AS b\nRUN write /out/f stage\nFROM base\nRUN --mount=target=/m,source=conf read /m/x\nRUN --mount=from=b,target=/s,source=/out,rw read /s/f ; write /s/g 1\n\
                RUN --mount=type=cache,target=/cache append /cache/log x ; read /cache/log\nRUN --mount=type=tmpfs,target=/t say tmp\n\
                RUN --mount=type=secret,id=tok read /run/secrets/tok ; say done\nRUN --mount=type=secret,id=tok,env=TOKEN env TOKEN\nRUN --mount=type=secret,id=absent say none\n";
    let mut request = world.request(text);
    request.credentials.secrets.insert("tok".into(), Secret::new("hunter2"));
    let built = world.build_request(&request).unwrap();
    let log: Vec<String> = world
        .progress
        .lines()
        .into_iter()
        .filter(|l| l.starts_with("log"))
        .map(|l| l.rsplit(": ").next().unwrap().to_owned())
        .collect();
    for expect in ["from context", "stage", "x", "***", "done", "none"] {
        assert!(log.contains(&expect.to_owned()), "{expect}: {log:?}");
    }
    let tree = world.tree(&built);
    for path in ["m", "s", "cache", "t", "run", "run/secrets", "run/secrets/tok", "out"] {
        assert!(!tree.contains_key(path), "{path} stayed behind");
    }
    // Nothing of the secret is on disk, in a key or in a record; another value is no reason to run again.
    assert!(!contains(world.root.path(), b"hunter2"));
    request.credentials.secrets.insert("tok".into(), Secret::new("other"));
    assert_eq!(world.build_request(&request).unwrap().images[0].steps.ran, 0);
    // A required one that is not given is named.
    let error = world
        .build("FROM base\nRUN --mount=type=secret,id=tok,required say x\n")
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("secret tok is required and was not given with the build"), "{error}");
}

fn contains(folder: &std::path::Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            return contains(&path, needle);
        }
        meta.is_file() && std::fs::read(&path).unwrap().windows(needle.len()).any(|w| w == needle)
    })
}

/// Covers: BLD-17, BLD-67
#[test]
fn triggers_of_the_base_run_first_and_are_gone_from_the_result() {
    let world = World::new();
    world.file("hello", "h");
    let built =
        world.build("FROM onbuild\nRUN env TRIGGERED\nONBUILD RUN write /late 1\n").unwrap();
    assert_eq!(world.tree(&built)["onbuild/hello"], "File 644 0:0 \"h\"");
    assert_eq!(built.images[0].config.config.on_build, ["RUN write /late 1"]);
    assert_eq!(world.worker.calls.lock().unwrap()[0].env["TRIGGERED"], "yes");
    assert!(
        world.progress.lines().contains(&"start [2/4] ONBUILD COPY hello /onbuild/".to_owned()),
        "{:?}",
        world.progress.lines()
    );
}

/// Covers: BLD-35, BLD-59
#[test]
fn a_step_gets_its_user_network_and_host_name() {
    let world = World::new();
    world
        .build("FROM base\nUSER app\nRUN --network=none env HOME\nUSER 77\nRUN env HOME\n")
        .unwrap();
    let calls = world.worker.calls.lock().unwrap().clone();
    assert_eq!(
        (calls[0].uid, calls[0].network, calls[0].env["HOME"].as_str()),
        (1000, "none", "/home/app")
    );
    assert_eq!(
        (calls[1].uid, calls[1].network, calls[1].hostname.as_str()),
        (77, "default", "buildkitsandbox")
    );
    let error = world.build("FROM base\nUSER ghost\nRUN x\n").unwrap_err().to_string();
    assert!(error.contains("unable to find user \"ghost\""), "{error}");
}

/// Covers: BLD-21
#[test]
fn proxy_arguments_reach_the_step_and_nothing_else() {
    let world = World::new();
    let mut request = world.request("FROM base\nRUN say x\n");
    request.build_args.insert("HTTP_PROXY".into(), "http://one".into());
    let built = world.build_request(&request).unwrap();
    assert_eq!(world.worker.calls.lock().unwrap()[0].env["http_proxy"], "http://one");
    assert!(!format!("{:?}", built.images[0].config).contains("http://one"));
    request.build_args.insert("HTTP_PROXY".into(), "http://two".into());
    assert_eq!(world.build_request(&request).unwrap().images[0].steps.cached, 1);
}

/// Covers: BLD-53, BLD-54, BLD-55, BLD-56, BLD-57, B08-11
#[test]
fn add_unpacks_archives_and_fetches_what_is_remote() {
    let world = World::new();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::default(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    header.set_uid(5);
    header.set_gid(6);
    header.set_cksum();
    tar.append_data(&mut header, "in/side", &b"hi"[..]).unwrap();
    let archive = tar.into_inner().unwrap().finish().unwrap();
    std::fs::write(world.context.join("odd.name"), &archive).unwrap();
    world.file("empty.tar.gz", "");
    world.fetcher.files.lock().unwrap().insert("https://e.org/x.tgz?q=1".into(), archive.clone());
    let tree = |text: &str| {
        world.tree(
            &world
                .build(&format!("FROM scratch\n{text}\n"))
                .unwrap_or_else(|e| panic!("{text}: {e}")),
        )
    };
    assert_eq!(tree("ADD odd.name /a")["a/in/side"], "File 640 5:6 \"hi\"");
    assert_eq!(tree("ADD --chown=1:2 odd.name /a")["a/in/side"], "File 640 1:2 \"hi\"");
    assert!(tree("ADD --unpack=false odd.name /a").contains_key("a"));
    assert!(tree("COPY odd.name /a/").contains_key("a/odd.name"));
    assert!(tree("ADD empty.tar.gz /a/").contains_key("a/empty.tar.gz"));
    assert!(tree("ADD https://e.org/x.tgz?q=1 /a/")["a/x.tgz"].starts_with("File 600 0:0"));
    assert_eq!(
        tree("ADD --unpack https://e.org/x.tgz?q=1 /a/")["a/in/side"],
        "File 640 5:6 \"hi\""
    );
    assert_eq!(tree("ADD https://e.org/r.git#v1:sub /g/")["g/file"], "File 644 0:0 \"v1\"");
    let good = oci::Digest::sha256(&archive);
    assert!(
        tree(&format!("ADD --checksum={good} https://e.org/x.tgz?q=1 /a/")).contains_key("a/x.tgz")
    );
    let before = world.fetcher.opened.load(std::sync::atomic::Ordering::SeqCst);
    tree(&format!("ADD --checksum={good} https://e.org/x.tgz?q=1 /a/"));
    assert_eq!(
        world.fetcher.opened.load(std::sync::atomic::Ordering::SeqCst),
        before,
        "a known checksum needs no fetch"
    );
    let wrong = support::sha256("x");
    let error = world
        .build(&format!("FROM scratch\nADD --checksum={wrong} https://e.org/x.tgz?q=1 /a/\n"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("digest mismatch"), "{error}");
    let error = world
        .build("FROM scratch\nADD https://user:pass@e.org/none /a/\n")
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("failed to fetch https://e.org/none"), "{error}");
    let error = world
        .build("FROM scratch\nADD --checksum=abc https://e.org/r.git /a/\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected a commit that begins with abc"), "{error}");
}

/// Covers: BLD-53
#[test]
fn a_hostile_archive_stays_inside_the_root() {
    let world = World::new();
    let archive = |path: &str, link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        match link {
            Some(link) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name_literal(link).unwrap();
                header.set_size(0);
            }
            None => header.set_size(3),
        }
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        if link.is_none() {
            bytes.extend(b"bad");
            bytes.resize(1024, 0);
        }
        bytes
    };
    let end = vec![0; 1024];
    std::fs::write(
        world.context.join("up.tar"),
        [archive("../../../../evil", None), end.clone()].concat(),
    )
    .unwrap();
    std::fs::write(
        world.context.join("abs.tar"),
        [archive("/abs/file", None), end.clone()].concat(),
    )
    .unwrap();
    std::fs::write(
        world.context.join("link.tar"),
        [archive("l", Some("/../../../etc")), archive("l/evil", None), end].concat(),
    )
    .unwrap();
    assert!(
        world
            .build("FROM scratch\nADD up.tar /d/\n")
            .unwrap_err()
            .to_string()
            .contains("a path with .. in it")
    );
    assert!(
        world
            .tree(&world.build("FROM scratch\nADD abs.tar /d/\n").unwrap())
            .contains_key("d/abs/file")
    );
    let tree = world.tree(&world.build("FROM scratch\nADD link.tar /d/\n").unwrap());
    assert_eq!(tree["etc/evil"], "File 644 0:0 \"bad\"", "the link leads to the image's own etc");
    assert!(!std::path::Path::new("/etc/evil").exists());
}

/// Covers: B08-26, BLD-100
#[test]
fn squash_puts_everything_into_one_layer() {
    let world = World::new();
    let mut request = world.request("FROM base\nRUN write /a 1\nRUN rm /data/a\n");
    request.squash = true;
    let built = world.build_request(&request).unwrap();
    assert_eq!(built.images[0].config.rootfs.diff_ids.len(), 1);
    let layers = built.images[0].config.history.iter().filter(|h| !h.empty_layer).count();
    assert_eq!(layers, 1);
    let tree = world.tree(&built);
    assert!(
        tree.contains_key("a") && tree.contains_key("etc/passwd") && !tree.contains_key("data/a")
    );
}

/// Covers: B08-09
#[test]
fn a_failed_step_names_the_command_its_code_and_its_place() {
    let world = World::new();
    let error = world.build("FROM base\nRUN say oops ; exit 7\nRUN say never\n").unwrap_err();
    let Error::StepFailed { code, command, excerpt, log_tail, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*code, command.as_str()), (7, "/bin/sh -c say oops ; exit 7"));
    assert_eq!(log_tail, &["oops"]);
    assert!(excerpt.contains("   2 | >>> RUN say oops ; exit 7"), "{excerpt}");
    assert_eq!(world.worker.commands().len(), 1);
    // Nothing half-done stays behind.
    assert!(world.store.snapshots().list().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(world.store.root().join("buildcache/tmp")).unwrap().count(), 0);
    assert_eq!(world.steps("FROM base\nRUN say oops ; exit 0\n"), (0, 1));
}

/// Covers: B08-07
#[test]
fn an_unknown_base_is_named_with_its_platform() {
    let error = World::new().build("FROM nowhere:1\nRUN x\n").unwrap_err();
    assert_eq!(error.to_string(), "failed to resolve docker.io/library/nowhere:1 for linux/amd64");
}

/// Covers: BLD-76
#[test]
fn a_fully_cached_build_does_not_unpack_its_base() {
    let world = World::new();
    world.build("FROM base\nRUN write /a 1\n").unwrap();
    world.build("FROM other\nCOPY --from=base /data /d\n").unwrap();
    let before = world.images.unpacked.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.steps("FROM base\nRUN write /a 1\n"), (1, 0));
    assert_eq!(world.steps("FROM other\nCOPY --from=base /data /d\n"), (1, 0));
    assert_eq!(world.images.unpacked.load(std::sync::atomic::Ordering::SeqCst), before);
}

/// Covers: BLD-83
#[test]
fn a_plan_says_what_would_run_and_why_without_running_it() {
    let world = World::new();
    world.file("src/a", "1").file("src/b", "1").file("conf", "c");
    let text = "FROM base AS b\nARG V=1\nCOPY src /src\nRUN write /out $V\nFROM base\nCOPY conf /conf\nCOPY --from=b /out /out\nRUN say last\n";
    let plan = |request: &builder::BuildRequest| {
        let lease = world.store.lease("plan").unwrap();
        Builder::new(&world.store, world.ports()).unwrap().plan(request, &lease).unwrap()[0]
            .to_string()
    };
    let request = world.request(text);
    assert_eq!(
        plan(&request).matches("because it was never run before").count(),
        2,
        "{}",
        plan(&request)
    );
    world.build_request(&request).unwrap();
    let calls = world.worker.commands().len();
    let all = plan(&request);
    assert_eq!((all.matches("CACHED").count(), all.matches("RUN    ").count()), (5, 0), "{all}");
    world.file("src/a", "2").file("src/new", "n");
    std::fs::remove_file(world.context.join("src/b")).unwrap();
    let changed = plan(&request);
    let expect = "  RUN    [b 2/3] COPY src /src\n         because a changed\n         because new was added\n         because b is gone\n";
    assert!(changed.contains(expect), "{changed}");
    assert!(
        changed.contains("  WAITS  [b 3/3] RUN write /out 1\n         on [b 2/3] COPY src /src\n"),
        "{changed}"
    );
    assert!(changed.contains("  CACHED [stage-1 2/4] COPY conf /conf\n"), "{changed}");
    // An argument is named and its value never shown.
    world.file("src/a", "1").file("src/b", "1");
    std::fs::remove_file(world.context.join("src/new")).unwrap();
    let mut other = request.clone();
    other.build_args.insert("V".into(), "hunter2".into());
    let argued = plan(&other);
    assert!(argued.contains("because environment V changed"), "{argued}");
    assert_eq!(
        argued.matches("hunter2").count(),
        argued.matches("write /out hunter2").count(),
        "{argued}"
    );
    assert_eq!(world.worker.commands().len(), calls, "nothing ran");
}

/// Covers: BLD-83
#[test]
fn why_explains_the_last_run_of_a_step() {
    let world = World::new();
    world.file("a", "1");
    let text = "FROM base\nRUN write /x 1\nCOPY a /a\nRUN read /a\n";
    world.build(text).unwrap();
    world.file("a", "2");
    world.build(text).unwrap();
    let why = |step: &str| {
        let lease = world.store.lease("why").unwrap();
        Builder::new(&world.store, world.ports())
            .unwrap()
            .why(&world.request(text), &lease, step)
            .unwrap()
    };
    assert_eq!(why("3/4")[0].ran_because, ["a changed"]);
    assert_eq!(why("RUN read")[0].ran_because, ["what it builds on changed: [3/4] COPY a /a"]);
    assert_eq!(why("2/4")[0].ran_because, ["it was never run before"]);
}

/// Covers: BLD-33
#[test]
fn a_secret_that_would_be_published_stops_the_build() {
    let world = World::new();
    let build = |text: &str| {
        let mut request = world.request(text);
        request.credentials.secrets.insert("tok".into(), Secret::new("hunter2-hunter2"));
        world.build_request(&request)
    };
    let error = build(
        "FROM base\nRUN --mount=type=secret,id=tok,env=T write /conf/x token=hunter2-hunter2\n",
    )
    .unwrap_err()
    .to_string();
    assert_eq!(
        error,
        "the value of secret \"tok\" was found in the image's config or history: nothing was tagged"
    );
    world.file("leak", "a=hunter2-hunter2");
    let error = build("FROM base\nCOPY leak /conf/leak\n").unwrap_err().to_string();
    assert_eq!(
        error,
        "the value of secret \"tok\" was found in /conf/leak of the layer of [2/2] COPY leak /conf/leak: nothing was tagged"
    );
    build("FROM base AS b\nCOPY leak /leak\nFROM base\nCOPY --from=b /data /d\n").unwrap();
}

/// Covers: BLD-12
#[test]
fn a_check_runs_nothing_and_knows_the_ignore_file() {
    let world = World::new();
    world.file("secret.txt", "x").file(".dockerignore", "*.txt\n");
    let request = world.request("FROM base AS Final\nCOPY secret.txt $WHERE/\nRUN never\n");
    let report = Builder::new(&world.store, world.ports()).unwrap().check(&request).unwrap();
    let rules: Vec<&str> = report.findings.iter().map(|f| f.rule).collect();
    assert_eq!(rules, ["StageNameCasing", "CopyIgnoredFile", "UndefinedVar"]);
    assert!(world.worker.commands().is_empty());
}

/// Covers: BLD-72, B08-20
#[test]
fn without_a_context_only_copies_from_it_are_refused() {
    let world = World::new();
    let mut request = world.request("FROM base\nRUN write /a 1\n");
    request.context = None;
    world.build_request(&request).unwrap();
    let mut request = world.request("FROM base\nCOPY a /a\n");
    request.context = None;
    let error = world.build_request(&request).unwrap_err().to_string();
    assert_eq!(
        error,
        "[2/2] COPY a /a: there is no build context: give a folder, or use COPY --from"
    );
}

/// Covers: BLD-73
#[test]
fn named_contexts_stand_for_stages_images_and_sources() {
    let world = World::new();
    let other = world.root.path().join("assets");
    std::fs::create_dir_all(other.join("d")).unwrap();
    std::fs::write(other.join("d/x"), "named").unwrap();
    let mut request = world.request("FROM replaced AS a\nCOPY --from=assets d/x /x\nRUN --mount=from=assets,target=/m read /m/d/x\nFROM assets\nCOPY --from=a /x /y\n");
    request.contexts.insert("assets".into(), builder::lower::NamedContext::Folder(other));
    request.contexts.insert(
        "docker.io/library/replaced".into(),
        builder::lower::NamedContext::Image("base".parse().unwrap()),
    );
    let tree = world.tree(&world.build_request(&request).unwrap());
    assert_eq!(tree["d/x"], "File 644 0:0 \"named\"");
    assert_eq!(tree["y"], "File 644 0:0 \"named\"");
    assert!(world.progress.lines().iter().any(|l| l.ends_with(": named")));
}

/// Covers: BLD-51
#[test]
fn hard_links_of_one_source_stay_links_and_special_files_are_carried() {
    let world = World::new();
    world.file("d/one", "content");
    std::fs::hard_link(world.context.join("d/one"), world.context.join("d/two")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.context.join("d/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.context.join("d/socket")).unwrap();
    let tree = world.tree(&world.build("FROM scratch\nCOPY d /d/\n").unwrap());
    assert_eq!(tree["d/two"], "HardLink 644 0:0 -> d/one");
    assert!(tree["d/pipe"].starts_with("Fifo 600"));
    assert!(!tree.contains_key("d/socket"));
}

/// Covers: BLD-29, BLD-81
#[test]
fn the_cache_is_listed_pruned_and_survives_damage() {
    let world = World::new();
    let text = "FROM base\nRUN write /a 12345\nRUN write /b 1\n";
    world.build(text).unwrap();
    let cache = builder::cache::CacheIndex::open(&world.store.root()).unwrap();
    let steps: Vec<String> = cache.list().unwrap().into_iter().map(|e| e.record.step).collect();
    assert_eq!(steps, ["[2/3] RUN write /a 12345", "[3/3] RUN write /b 1"]);
    assert_eq!(cache.roots().unwrap().len(), 4, "a layer and a blob for each");
    // A damaged record counts as none.
    let damaged = cache.root().join("steps").join(cache.list().unwrap()[0].key.digest().hex());
    std::fs::write(damaged, b"{").unwrap();
    assert_eq!(world.steps(text), (1, 1));
    let options = builder::cache::PruneOptions { keep_bytes: Some(1), ..Default::default() };
    assert_eq!(cache.prune(&options).unwrap().records, 1);
    assert_eq!(cache.prune(&builder::cache::PruneOptions::default()).unwrap().records, 1);
    assert_eq!(world.steps(text), (0, 2));
}
