//! The build cache: what hits, what misses, what is planned and why.

mod support;

use builder::Builder;
use builder::lower::NoCache;
use support::World;

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
        changed.contains("  WAITS  [b 3/3] RUN write /out $V\n         on [b 2/3] COPY src /src\n"),
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
    assert!(!argued.contains("hunter2"), "{argued}");
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
