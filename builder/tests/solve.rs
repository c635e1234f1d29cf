//! Builds with a fake worker and fake base images, down to the blobs.

mod support;

use builder::Error;
use builder::ports::Secret;
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

/// Covers: BLD-39
#[test]
fn limits_reach_the_step_and_are_no_part_of_its_key() {
    let world = World::new();
    let mut request = world.request("FROM base\nRUN write /a 1\n");
    request.limits.memory = Some(1 << 26);
    request.extra_hosts.push(("db".into(), "10.0.0.1".into()));
    world.build_request(&request).unwrap();
    let call = world.worker.calls.lock().unwrap()[0].clone();
    assert_eq!((call.memory, call.hosts), (Some(1 << 26), request.extra_hosts.clone()));
    request.limits.memory = Some(1 << 27);
    request.extra_hosts[0].1 = "10.0.0.2".into();
    assert_eq!(world.build_request(&request).unwrap().images[0].steps.cached, 1);
    request.extra_hosts[0].0 = "web".into();
    assert_eq!(
        world.build_request(&request).unwrap().images[0].steps.ran,
        1,
        "the name of a host is seen by the step"
    );
}

/// Covers: BLD-106
#[test]
fn two_builds_at_once_on_one_store_both_succeed() {
    let world = World::new();
    world.file("a", "a");
    let text = "FROM base\nCOPY a /a\nRUN write /b 1\nRUN write /c 2\n";
    let request = world.request(text);
    let build = || {
        let lease = world.store.lease("build").unwrap();
        builder::Builder::new(&world.store, world.ports()).unwrap().build(&request, &lease).unwrap()
    };
    let built = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..4).map(|_| scope.spawn(build)).collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect::<Vec<_>>()
    });
    for one in &built {
        assert_eq!(world.tree(one)["c"], "File 644 0:0 \"2\"");
    }
    assert!(world.store.snapshots().list().unwrap().is_empty());
    assert_eq!(world.steps(text), (3, 0));
}
