//! Where the result of a build goes beside the store, and build caches that travel.

use tests::{Need, Registry, Run, Site, have};

/// A site with busybox, or none where RUN steps cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::with_busybox)
}

/// Builds the site's context without a tag.
fn build(site: &Site, more: &str) -> Run {
    site.wherry(&format!("build --progress=plain {more} {}", site.context("").display()))
}

fn scratch(site: &Site) {
    site.write("context/a", "one\n");
    site.dockerfile("FROM busybox AS made\nRUN mkdir -p /out/d && echo two > /out/d/b && ln -s d/b /out/link && chmod 640 /out/d/b\nFROM scratch\nCOPY a /a\nCOPY --from=made /out /out\n");
}

/// Covers: BLD-84
#[test]
fn files_of_an_image_go_into_a_folder_or_a_tar() {
    let Some(site) = site() else { return };
    scratch(&site);
    site.write("out/kept", "was here\n");
    build(&site, "-o out").ok();
    let read = |path: &str| std::fs::read_to_string(site.path().join(path)).expect("read a file");
    assert_eq!((read("out/a").as_str(), read("out/out/d/b").as_str()), ("one\n", "two\n"));
    assert_eq!((read("out/out/link").as_str(), read("out/kept").as_str()), ("two\n", "was here\n"));
    assert_eq!(site.shell("stat -c %a out/out/d/b").ok().out(), "640");
    assert_eq!(site.wherry("images -q --filter dangling=true").ok().out(), "", "nothing was kept");
    let context = site.context("").display().to_string();
    let tar = site.shell(&format!("wherry build -q -o - {context} | tar -tf - | sort")).ok();
    assert_eq!(tar.lines(), ["a", "out/", "out/d/", "out/d/b", "out/link"]);
    build(&site, "-o type=tar,dest=image.tar").ok();
    assert_eq!(site.shell("tar -xOf image.tar a").ok().out(), "one");
    build(&site, "-o type=tar,dest=out").fails_with(&["is a folder"]);
    build(&site, "-o type=cloud").fails_with(&["type=cloud", "types are"]);
    site.check_store();
}

/// Covers: BLD-84
#[test]
fn a_folder_is_written_for_each_platform_and_links_of_an_image_lead_nowhere() {
    let Some(site) = site() else { return };
    site.write("context/a", "one\n");
    site.dockerfile("FROM scratch\nCOPY a /a\n");
    build(&site, "--platform linux/amd64,linux/arm64 -o out").ok();
    for name in ["linux_amd64", "linux_arm64"] {
        assert!(site.path().join("out").join(name).join("a").exists(), "{name}");
    }
    build(&site, "--platform linux/amd64,linux/arm64 -o -").fails_with(&["several platforms"]);
    site.write("victim/x", "untouched\n");
    site.dockerfile(&format!("FROM busybox AS b\nRUN mkdir /t && ln -s {} /t/evil\nFROM scratch\nCOPY --from=b /t /\nFROM b AS c\nRUN mkdir -p /t2/evil && echo overwritten > /t2/evil/x\nFROM scratch AS second\nCOPY --from=c /t2 /\n", site.path().join("victim").display()));
    build(&site, "--target second -o plain").ok();
    std::os::unix::fs::symlink(site.path().join("victim"), site.path().join("plain2"))
        .expect("link");
    build(&site, "-o type=local,dest=linked --target 1").ok();
    build(&site, "-o type=local,dest=linked --target second").ok();
    let victim = std::fs::read_to_string(site.path().join("victim/x")).expect("read");
    assert_eq!(
        victim, "untouched\n",
        "a link of an earlier image is not followed out of the folder"
    );
}

/// Covers: BLD-84, BLD-85, BLD-86, BLD-93
#[test]
fn several_outputs_come_from_one_build_each_in_its_form() {
    let Some(site) = site() else { return };
    scratch(&site);
    let more = "-t app:1 -o type=image,compression=zstd -o type=oci,dest=oci.tar,annotation.a=b -o type=docker,dest=docker.tar,oci-mediatypes=false -o type=oci,dest=layout,tar=false --annotation c=d --metadata-file meta.json --iidfile id";
    let run = build(&site, "-t x -o type=image,annotation.k=v,oci-mediatypes=false");
    run.fails_with(&["no annotations"]);
    let run = build(&site, &more.replace(" --annotation c=d", "")).ok();
    assert_eq!(run.all().matches("exporting to image").count(), 1, "it is shown once: {run}");
    let meta: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(site.path().join("meta.json")).expect("read"),
    )
    .expect("JSON");
    assert_eq!(meta["image.name"], "docker.io/library/app:1");
    assert_eq!(meta["containerimage.config.digest"], site.image_id("app:1").as_str());
    assert_eq!(
        std::fs::read_to_string(site.path().join("id")).expect("read"),
        site.image_id("app:1")
    );
    let list = |tar: &str| site.shell(&format!("tar -xOf {tar} index.json")).ok().json();
    let of = |tar: &str| {
        let digest =
            list(tar)["manifests"][0]["digest"].as_str().expect("a digest").replace(':', "/");
        site.shell(&format!("tar -xOf {tar} blobs/{digest}")).ok().json()
    };
    site.shell("wherry save --format oci-archive app:1 > stored.tar").ok();
    let stored = of("stored.tar");
    assert!(
        stored["layers"][0]["mediaType"].as_str().expect("text").ends_with("tar+zstd"),
        "{stored}"
    );
    assert_eq!(of("oci.tar")["annotations"]["a"], "b");
    assert!(of("docker.tar")["mediaType"].as_str().expect("text").contains("docker.distribution"));
    assert!(site.path().join("layout/oci-layout").exists());
    site.wherry("rmi app:1").ok();
    site.wherry("load -i docker.tar").ok().says("app:1");
    site.run(&["create", "--network", "none", "app:1", "x"]).ok();
}

/// Covers: BLD-84
#[test]
fn an_output_pushes_under_its_names() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    scratch(&site);
    let (one, two) = (registry.name("team/a:1"), registry.name("team/b:2"));
    build(&site, &format!("-o type=registry,name={one} -o type=image,name={two},push=true")).ok();
    let other = Site::new();
    for name in [&one, &two] {
        other.run(&["pull", "-q", name]).ok();
    }
    build(&site, "-o type=registry").fails_with(&["tag is needed"]);
}

/// How many steps were taken from a cache.
fn cached(run: &Run) -> usize {
    run.all().lines().filter(|line| line.contains("CACHED")).count()
}

/// Another machine: its own store with the same base image.
fn other(site: &Site) -> Site {
    let other = Site::new();
    site.shell("wherry save busybox > base.tar").ok();
    let tar = site.path().join("base.tar").display().to_string();
    other.run(&["load", "-q", "-i", &tar]).ok();
    other.write("context/a", "one\n");
    other
}

const STAGES: &str = "FROM busybox AS made\nRUN echo made > /made; cat /proc/sys/kernel/random/uuid > /uuid\nFROM busybox\nCOPY a /a\nRUN rm /etc/passwd; mkdir /d; cat /proc/sys/kernel/random/uuid > /d/uuid\nCOPY --from=made /made /made\n";

/// Covers: BLD-77, BLD-78
#[test]
fn a_cache_in_a_registry_makes_another_machine_run_nothing() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    site.write("context/a", "one\n");
    site.dockerfile(STAGES);
    let (max, min) = (registry.name("team/cache:max"), registry.name("team/cache:min"));
    let run = build(&site, &format!("-t app --cache-to type=registry,ref={max},mode=max")).ok();
    let said = run.all();
    let (named, exported) = (said.find("naming to"), said.find("exporting cache to registry"));
    assert!(named.is_some() && named < exported, "the image has its name first: {run}");
    build(&site, &format!("-t app --cache-to type=registry,ref={min}")).ok();
    let id = site.image_id("app");
    let second = other(&site);
    second.dockerfile(STAGES);
    let run = second.build("app", &format!("--cache-from {max}"));
    assert_eq!(cached(&run), 4, "{run}");
    assert_eq!(second.image_id("app"), id, "the same image to the byte");
    assert_eq!(second.cat("app", "/made"), "made\n");
    second.run(&["run", "--rm", "--network", "none", "app", "test", "-e", "/etc/passwd"]).exits(1);
    second.check_store();
    // What came is its own now: no registry is asked.
    let run = second.build("app", "");
    assert_eq!(cached(&run), 4, "{run}");
    let third = other(&site);
    third.dockerfile(STAGES);
    let run = third.build("app", &format!("--cache-from type=registry,ref={min}"));
    assert_eq!(cached(&run), 3, "the stage that is only copied from is not in it: {run}");
    assert_ne!(third.image_id("app"), "", "{run}");
}

/// Covers: BLD-77, BLD-79
#[test]
fn an_image_and_a_folder_can_be_caches_too() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    site.write("context/a", "one\n");
    site.dockerfile(STAGES);
    let name = registry.name("team/app:1");
    site.build(&name, "--push --cache-to type=inline");
    build(&site, "--cache-to type=local,dest=cache,mode=max").ok();
    build(&site, "--cache-to type=local,dest=cache,mode=max").ok();
    let second = other(&site);
    second.dockerfile(STAGES);
    let run = second.build("app", &format!("--cache-from {name}"));
    assert_eq!(cached(&run), 3, "{run}");
    let third = other(&site);
    third.dockerfile(STAGES);
    let folder = site.path().join("cache").display().to_string();
    let run = third.build("app", &format!("--cache-from type=local,src={folder}"));
    assert_eq!(cached(&run), 4, "{run}");
    let inside = std::fs::read_dir(site.path()).expect("list").flatten();
    let leftover: Vec<_> =
        inside.filter(|e| e.file_name().to_string_lossy().starts_with("cache.")).collect();
    assert!(leftover.is_empty(), "{leftover:?}");
    site.write("full/x", "");
    build(&site, "--cache-to type=local,dest=full").fails_with(&["neither empty nor a cache"]);
}

/// Covers: BLD-77
#[test]
fn a_cache_that_cannot_be_had_costs_only_time() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    site.write("context/a", "one\n");
    site.dockerfile(STAGES);
    let name = registry.name("team/cache:1");
    let run = site.build("app", &format!("--cache-from {name} --cache-from type=local,src=none"));
    assert!(run.all().contains("importing cache manifest"), "{run}");
    build(&site, &format!("--cache-to type=registry,ref={name},mode=max")).ok();
    drop(registry);
    let second = other(&site);
    second.dockerfile(STAGES);
    let run = second.build("app", &format!("--cache-from {name}"));
    assert_eq!(cached(&run), 0, "{run}");
    build(&site, &format!("--cache-to type=registry,ref={name}")).fails_with(&["team/cache"]);
    build(&site, &format!("--cache-to type=registry,ref={name},ignore-error=true")).ok();
    build(&site, "--cache-to type=gha").fails_with(&["types are"]);
}

/// Covers: BLD-33, BLD-77
#[test]
fn a_cache_that_travels_holds_no_arguments() {
    let Some(site) = site() else { return };
    site.write("context/a", "one\n");
    site.dockerfile("FROM busybox\nARG TOKEN\nRUN echo $TOKEN | wc -c > /n\n");
    build(&site, "--build-arg TOKEN=s3cr3t-value --cache-to type=local,dest=cache,mode=max").ok();
    site.shell("! grep -r s3cr3t cache").ok();
}
