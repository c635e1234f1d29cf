//! `copy` and `sync`: images between registries, archives and folders, with all that vouches for them.

use std::collections::BTreeMap;

use serde_json::json;
use tests::fixture::{Layer, Layout, digest};
use tests::peer::skopeo;
use tests::seed::{self, architecture, image, push, referrer, referrers, requests, tags};
use tests::{Need, Registry, Site, have, http};

/// What changed between two looks at a registry's counters: writes, and manifests that were read.
fn since(
    before: &BTreeMap<(String, String), u64>,
    after: &BTreeMap<(String, String), u64>,
) -> (u64, u64) {
    let more = |wanted: &dyn Fn(&str, &str) -> bool| {
        after
            .iter()
            .filter(|((endpoint, method), _)| wanted(endpoint, method))
            .map(|(key, count)| count - before.get(key).copied().unwrap_or(0))
            .sum()
    };
    let writes = more(&|_, method| matches!(method, "PUT" | "POST" | "PATCH" | "DELETE"));
    (writes, more(&|endpoint, method| endpoint.starts_with("manifest") && method == "GET"))
}

/// Covers: DST-54, DST-55, DST-61
#[test]
fn a_second_sync_only_looks() {
    let (site, from, to) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    for n in 0..20 {
        image(&from, &layout, "team/app", &format!("1.{n}.0"), &format!("own content {n}"));
    }
    let (source, target) = (from.name("team/app"), to.name("mirror/app"));
    let first = site.run(&["sync", &source, &target]).ok();
    assert_eq!(first.stdout.lines().filter(|l| l.starts_with("create ")).count(), 20, "{first}");
    assert!(first.stdout.contains("20 changed, 0 unchanged, 0 failed"), "{first}");
    assert_eq!(tags(&to, "mirror/app"), tags(&from, "team/app"));
    assert_eq!(to.digest("mirror/app", "1.7.0"), from.digest("team/app", "1.7.0"));

    let (source_before, target_before) = (requests(&from), requests(&to));
    let second = site.run(&["sync", &source, &target]).ok();
    assert!(second.stdout.contains("0 changed, 20 unchanged, 0 failed; 0 bytes"), "{second}");
    assert_eq!(since(&source_before, &requests(&from)), (0, 0), "nothing counted as a pull");
    assert_eq!(since(&target_before, &requests(&to)), (0, 0), "nothing is written");

    image(&from, &layout, "team/app", "1.3.0", "moved");
    let third = site.run(&["sync", &source, &target]).ok();
    assert!(third.stdout.contains(&format!("move {target}:1.3.0 sha256:")), "{third}");
    assert!(third.stdout.contains("1 changed, 19 unchanged"), "{third}");
}

/// Covers: DST-55
#[test]
fn a_plan_is_shown_and_nothing_is_done() {
    let (site, from, to) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    for tag in ["1.0.0", "1.1.0", "2.0.0", "2.1.0-rc1", "nightly"] {
        image(&from, &layout, "team/app", tag, tag);
    }
    let (source, target) = (from.name("team/app"), to.name("team/app"));
    let planned = |more: &[&str]| {
        let mut args = vec!["sync", "--dry-run"];
        args.extend(more);
        args.extend([source.as_str(), target.as_str()]);
        let run = site.run(&args).ok();
        let created = run.stdout.lines().filter_map(|line| line.strip_prefix("create "));
        let tags: Vec<String> = created
            .map(|rest| {
                rest.split(' ')
                    .next()
                    .expect("a name")
                    .rsplit(':')
                    .next()
                    .expect("a tag")
                    .to_owned()
            })
            .collect();
        assert!(run.stdout.contains(" looks and at least "), "{run}");
        tags
    };
    assert_eq!(planned(&[]), ["1.0.0", "1.1.0", "2.0.0", "2.1.0-rc1", "nightly"]);
    assert_eq!(planned(&["--semver", ">=1.1"]), ["1.1.0", "2.0.0"]);
    assert_eq!(planned(&["--latest", "2"]), ["2.0.0", "2.1.0-rc1"]);
    assert_eq!(planned(&["--allow", "1\\..*", "--deny", ".*\\.1\\.0"]), ["1.0.0"]);
    assert_eq!(planned(&["--tag", "nightly,1.0.0"]), ["1.0.0", "nightly"]);
    assert_eq!(tags(&to, "team/app"), Vec::<String>::new(), "nothing was done");
    site.run(&["sync", "--allow", "(", &source, &target]).fails_with(&["invalid tag pattern"]);
    site.run(&["sync", "--semver", "newest", &source, &target]).fails_with(&["newest"]);
    site.run(&["sync", &source]).fails_with(&["sync"]);
}

/// Covers: DST-55, DST-23
#[test]
fn what_the_source_has_no_more_goes_only_when_asked() {
    let (site, from, to) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    for tag in ["v1", "v2", "other"] {
        image(&from, &layout, "team/app", tag, tag);
    }
    let (source, target) = (from.name("team/app"), to.name("team/app"));
    site.run(&["sync", &source, &target]).ok();
    let path = "/v2/team/app/manifests/v1";
    assert_eq!(
        http::request(from.address(), "DELETE", path, &[], b"").expect("DELETE").status,
        202
    );
    site.run(&["sync", &source, &target]).ok();
    assert_eq!(tags(&to, "team/app"), ["other", "v1", "v2"]);
    // A rule that does not speak of a tag does not delete it.
    site.run(&["sync", "--delete", "--allow", "o.*", &source, &target]).ok();
    assert_eq!(tags(&to, "team/app"), ["other", "v1", "v2"]);
    let run = site.run(&["sync", "--delete", &source, &target]).ok();
    assert!(run.stdout.contains(&format!("delete {target}:v1\n")), "{run}");
    assert_eq!(tags(&to, "team/app"), ["other", "v2"]);
}

/// Covers: DST-60
#[test]
fn one_bad_tag_does_not_stop_the_others() {
    let (site, from, to) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    for n in 0..6 {
        image(&from, &layout, "team/app", &format!("v{n}"), &format!("content {n}"));
    }
    let manifest = from.get("/v2/team/app/manifests/v3").json();
    let layer = digest(&manifest["layers"][1]);
    let repository = from.root().join("registry/repositories/team/app");
    let lose = |kind: &str, digest: &str| {
        std::fs::remove_file(repository.join(kind).join("sha256").join(&digest[7..]))
            .expect("lost");
    };
    lose("_blobs", &layer);
    lose("_manifests", &from.digest("team/app", "v5"));
    let file = site.write(
        "sync.yaml",
        format!(
            "jobs:\n- source: {}\n  target: {}\n- source: {}\n  target: {}\n",
            from.name("team/none"),
            to.name("team/none"),
            from.name("team/app"),
            to.name("team/app")
        ),
    );
    let run = site.run(&["sync", "--json", "--file", &file.display().to_string()]);
    assert_ne!(run.code, Some(0), "{run}");
    assert_eq!(tags(&to, "team/app"), ["v0", "v1", "v2", "v4"]);
    let reports: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(reports[0]["error"].as_str().is_some_and(|e| e.contains("team/none")), "{run}");
    let failed = reports[1]["failed"].as_array().expect("a list");
    let failed: Vec<&serde_json::Value> = failed.iter().map(|one| &one["tag"]).collect();
    assert_eq!(failed, ["v5", "v3"], "{run}");
    assert!(run.stderr.contains(&layer), "{run}");
}

/// Covers: DST-44
#[test]
fn one_platform_of_an_index_is_synced_as_what_it_is() {
    let (site, from, to) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let of = |arch: &str| {
        (layout.image(vec![Layer::new().file("arch", arch)], arch, json!({})), arch.to_owned())
    };
    let (amd, arm) = (of("amd64"), of("arm64"));
    let index = layout.index(&[(amd.0.clone(), "amd64"), (arm.0.clone(), "arm64")]);
    push(&from, "team/app", &layout, &index, "v1");
    let (source, target) = (from.name("team/app"), to.name("team/app"));
    site.run(&["sync", "--platform", "linux/arm64", &source, &target]).ok();
    assert_eq!(to.digest("team/app", "v1"), digest(&arm.0));
    assert_eq!(to.get(&format!("/v2/team/app/manifests/{}", digest(&amd.0))).status, 404);
    let again = site.run(&["sync", "--platform", "linux/arm64", &source, &target]).ok();
    assert!(again.stdout.contains("0 changed, 1 unchanged"), "{again}");
    let whole = to.name("team/whole");
    site.run(&["sync", &source, &whole]).ok();
    assert_eq!(to.digest("team/whole", "v1"), digest(&index));
}

/// Covers: DST-55
#[test]
fn a_file_of_skopeo_means_what_it_means_to_skopeo() {
    if !have(&[Need::Skopeo]) {
        return;
    }
    let (site, from) = (Site::new(), Registry::embedded());
    let (ours, theirs) = (Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    for tag in ["v1", "v2", "edge"] {
        image(&from, &layout, "team/app", tag, tag);
        image(&from, &layout, "team/tool", tag, &format!("tool {tag}"));
    }
    let file = site.write(
        "skopeo.yaml",
        format!(
            "{}:\n  tls-verify: false\n  images:\n    team/app: [v1]\n  images-by-tag-regex:\n    team/tool: ^v\\d$\n",
            from.address()
        ),
    );
    let file = file.display().to_string();
    skopeo(&format!(
        "sync --src yaml --dest docker --dest-tls-verify=false {file} {}",
        theirs.name("mirror")
    ))
    .ok();
    site.run(&["sync", "--skopeo", &file, "--to", &ours.name("mirror")]).ok();
    for (repository, wanted) in [("app", vec!["v1"]), ("tool", vec!["v1", "v2"])] {
        let there = format!("mirror/{repository}");
        assert_eq!(tags(&ours, &there), wanted);
        assert_eq!(tags(&theirs, &there), wanted);
        for tag in wanted {
            assert_eq!(ours.digest(&there, tag), from.digest(&format!("team/{repository}"), tag));
            assert_eq!(ours.digest(&there, tag), theirs.digest(&there, tag));
        }
    }
    site.run(&["sync", "--scoped", "--skopeo", &file, "--to", &ours.name("all")]).ok();
    let scoped = format!("all/{}/team/tool", from.address().replace(':', "-"));
    assert_eq!(tags(&ours, &scoped), ["v1", "v2"]);
    let twice = site.write(
        "twice.yaml",
        format!("{}:\n  images:\n    team/app: []\n    other/app: []\n", from.address()),
    );
    let twice = twice.display().to_string();
    site.run(&["sync", "--skopeo", &twice, "--to", &ours.name("x")])
        .fails_with(&["would both become", "--scoped"]);
}

/// An image with an index, a signature on one of its platforms, something that refers to the signature, and a
/// signature under cosign's tag. Gives the index, the platform's manifest, and the two referrers.
fn signed_image(from: &Registry, layout: &Layout) -> [serde_json::Value; 4] {
    let of = |arch: &str| layout.image(vec![Layer::new().file("arch", arch)], arch, json!({}));
    let (amd, arm) = (of("amd64"), of("arm64"));
    let index = layout.index(&[(amd.clone(), "amd64"), (arm.clone(), "arm64")]);
    push(from, "team/app", layout, &index, "v1");
    let signature = referrer(layout, &arm, "application/vnd.example.signature", "signed");
    push(from, "team/app", layout, &signature, "");
    let stamp = referrer(layout, &signature, "application/vnd.example.timestamp", "at noon");
    push(from, "team/app", layout, &stamp, "");
    let cosign =
        layout.image(vec![Layer::new().file("payload", "cosign's")], architecture(), json!({}));
    let tag = format!("{}.sig", digest(&index).replace(':', "-"));
    push(from, "team/app", layout, &cosign, &tag);
    [index, arm, signature, stamp]
}

/// Covers: DST-67, DST-20, DST-44
#[test]
fn a_copy_takes_along_all_that_vouches_for_the_image() {
    let (site, from, to) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let [index, arm, signature, stamp] = signed_image(&from, &layout);
    let tag = format!("{}.sig", digest(&index).replace(':', "-"));
    let run = site.run(&["copy", &from.name("team/app:v1"), &to.name("mirror/app:v1")]).ok();
    assert!(run.stdout.contains("referrers: 3"), "{run}");
    assert_eq!(to.digest("mirror/app", "v1"), digest(&index));
    assert_eq!(referrers(&to, "mirror/app", &digest(&arm)), [digest(&signature)]);
    assert_eq!(referrers(&to, "mirror/app", &digest(&signature)), [digest(&stamp)]);
    assert_eq!(to.digest("mirror/app", &tag), from.digest("team/app", &tag));

    let other = Registry::embedded();
    let run = site.run(&["copy", "--image-only", &from.name("team/app:v1"), &other.name("a:v1")]);
    assert!(run.ok().stdout.contains("referrers: 0"));
    assert_eq!(referrers(&other, "a", &digest(&arm)), Vec::<String>::new());

    let synced = Registry::embedded();
    site.run(&["sync", &from.name("team/app"), &synced.name("a")]).ok();
    assert_eq!(referrers(&synced, "a", &digest(&signature)), [digest(&stamp)]);
    // A signature that is made later goes along with the next sync, though no tag has moved.
    let late = referrer(&layout, &index, "application/vnd.example.signature", "late");
    push(&from, "team/app", &layout, &late, "");
    let run = site.run(&["sync", &from.name("team/app"), &synced.name("a")]).ok();
    assert!(run.stdout.contains("attach "), "{run}");
    assert_eq!(referrers(&synced, "a", &digest(&index)), [digest(&late)]);
    let run = site.run(&["sync", &from.name("team/app"), &synced.name("a")]).ok();
    assert!(run.stdout.contains("0 changed"), "{run}");
}

/// Covers: DST-67
#[test]
fn a_copy_that_would_lose_a_signature_fails_and_names_it() {
    let (site, from, to) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let [_, _, signature, stamp] = signed_image(&from, &layout);
    let source = from.name("team/app:v1");
    for target in [
        format!("dir:{}", site.path().join("d").display()),
        format!("docker-archive:{}", site.path().join("a.tar").display()),
        "store:app:v1".to_owned(),
    ] {
        site.run(&["copy", &source, &target]).fails_with(&[&digest(&signature), "--image-only"]);
    }
    assert_eq!(site.wherry("images -q").ok().stdout, "");
    assert!(!site.path().join("a.tar").exists());
    let link = format!("registry/repositories/team/app/_manifests/sha256/{}", &digest(&stamp)[7..]);
    std::fs::remove_file(from.root().join(link)).expect("the registry loses a manifest");
    site.run(&["copy", &source, &to.name("a:v1")]).fails_with(&["missing", &digest(&stamp)]);
    assert_eq!(to.get("/v2/a/manifests/v1").status, 404, "no name without its signatures");
}

/// Covers: DST-66, DST-67
#[test]
fn signatures_survive_the_way_through_a_layout_and_an_archive() {
    let (site, from, to) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let [index, arm, signature, stamp] = signed_image(&from, &layout);
    let oci = format!("oci:{}", site.path().join("kept").display());
    let archive = format!("oci-archive:{}", site.path().join("kept.tar").display());
    site.run(&["copy", &from.name("team/app:v1"), &format!("{oci}:v1")]).ok();
    let again = site.run(&["copy", &from.name("team/app:v1"), &format!("{oci}:v2")]).ok();
    assert!(again.stdout.contains("Sent: 0 of "), "what is there is not sent again: {again}");
    site.run(&["copy", &format!("{oci}:v1"), &format!("{archive}:v1")]).ok();
    for (repository, source) in
        [("by-layout", format!("{oci}:v1")), ("by-archive", archive.clone())]
    {
        site.run(&["copy", &source, &to.name(&format!("{repository}:v1"))]).ok();
        assert_eq!(to.digest(repository, "v1"), digest(&index));
        assert_eq!(referrers(&to, repository, &digest(&arm)), [digest(&signature)]);
        assert_eq!(referrers(&to, repository, &digest(&signature)), [digest(&stamp)]);
        let tag = format!("{}.sig", digest(&index).replace(':', "-"));
        assert_eq!(to.digest(repository, &tag), from.digest("team/app", &tag));
    }
    site.run(&["copy", &format!("{oci}:none"), &to.name("x:v1")]).fails_with(&["none"]);
    let full = site.path().join("full");
    std::fs::create_dir_all(full.join("photos")).expect("a folder");
    let full = full.display().to_string();
    for place in [format!("oci:{full}:v1"), format!("dir:{full}")] {
        site.run(&["copy", &from.name("team/app:v1"), &place]).fails_with(&[&full, "empty"]);
    }
}

/// Covers: DST-66
#[test]
fn skopeo_and_we_read_each_other_s_folders_and_archives() {
    if !have(&[Need::Skopeo]) {
        return;
    }
    let (site, from) = (Site::new(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let manifest = image(&from, &layout, "team/app", "v1", "content");
    let source = from.name("team/app:v1");
    let at = |name: &str| site.path().join(name).display().to_string();
    for (kind, place) in [
        ("dir", format!("dir:{}", at("ours-dir"))),
        ("oci", format!("oci:{}:v1", at("ours-oci"))),
        ("oci-archive", format!("oci-archive:{}:v1", at("ours.tar"))),
        ("docker-archive", format!("docker-archive:{}:team/app:v1", at("ours-docker.tar"))),
    ] {
        site.run(&["copy", &source, &place]).ok();
        let seen = skopeo(&format!("inspect --raw {place}")).ok().json();
        assert_eq!(seen["layers"].as_array().map(Vec::len), Some(2), "{kind}: {seen}");
        if kind != "docker-archive" {
            assert_eq!(
                seen["config"]["digest"],
                from.get("/v2/team/app/manifests/v1").json()["config"]["digest"]
            );
        }
    }
    for (name, place) in [
        ("dir", format!("dir:{}", at("theirs-dir"))),
        ("oci", format!("oci:{}:v1", at("theirs-oci"))),
        ("oci-archive", format!("oci-archive:{}:v1", at("theirs.tar"))),
        ("docker-archive", format!("docker-archive:{}:team/app:v1", at("theirs-docker.tar"))),
    ] {
        skopeo(&format!("copy --src-tls-verify=false docker://{source} {place}")).ok();
        site.run(&["copy", &place, &from.name(&format!("back/{name}:v1"))]).ok();
        if name != "docker-archive" {
            assert_eq!(from.digest(&format!("back/{name}"), "v1"), digest(&manifest), "{name}");
        }
        let stored = format!("store:back/{name}:v1");
        site.run(&["copy", &place, &stored]).ok();
        assert_eq!(site.layers(&format!("back/{name}:v1")).len(), 2, "{name}");
    }
    site.check_store();
    site.run(&["copy", "store:back/oci:v1", &from.name("again/app:v1")]).ok();
    assert_eq!(from.digest("again/app", "v1"), digest(&manifest));
}

#[test]
fn a_copy_into_the_store_passes_the_gate_as_a_pull_does() {
    let (site, from) = (Site::new(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    image(&from, &layout, "team/app", "v1", "content");
    let source = from.name("team/app:v1");
    site.run(&["copy", &source, &format!("store:{source}")]).ok();
    let pulled = site.run(&["pull", &source]).ok();
    assert!(pulled.stdout.contains("Image is up to date"), "{pulled}");
    site.write("config/policy.toml", "version = 1\ndefault = \"reject\"\n");
    let denied = site.run(&["copy", &source, "store:other:v1"]);
    assert_eq!(denied.code, Some(3), "{denied}");
    assert_eq!(site.wherry("images -q other").ok().stdout, "");
}

/// Covers: DST-62
#[test]
fn a_mirror_is_asked_first_and_a_blocked_registry_not_at_all() {
    let (site, origin, mirror) = (Site::new(), Registry::embedded(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    image(&origin, &layout, "team/app", "v1", "content");
    let here = origin.name("team/app:v1");
    site.run(&["copy", &here, &mirror.name("kept/team/app:v1")]).ok();
    let conf = |text: &str| site.write("config/registries.conf", text);
    conf(&format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/kept\"\n",
        origin.address(),
        mirror.address()
    ));
    let (before, at_mirror) = (requests(&origin), requests(&mirror));
    site.run(&["pull", "-q", &here]).ok();
    let blobs = |counts: &BTreeMap<(String, String), u64>| {
        counts
            .iter()
            .filter(|((e, m), _)| e.starts_with("blob") && m == "GET")
            .map(|(_, n)| n)
            .sum::<u64>()
    };
    assert_eq!(blobs(&before), blobs(&requests(&origin)), "the content came from the mirror");
    assert!(blobs(&requests(&mirror)) > blobs(&at_mirror));
    drop(mirror);
    let other = Site::new();
    std::fs::create_dir_all(other.path().join("config")).expect("a folder");
    std::fs::copy(
        site.path().join("config/registries.conf"),
        other.path().join("config/registries.conf"),
    )
    .expect("copied");
    other.run(&["pull", "-q", &here]).ok();
    conf(&format!("[[registry]]\nprefix = \"{}\"\nblocked = true\n", origin.address()));
    site.run(&["pull", &here]).fails_with(&["registries.conf", "blocks"]);
    conf("[[registry]\n");
    site.run(&["pull", &here]).fails_with(&["registries.conf"]);
}

#[test]
fn a_registry_may_be_elsewhere_than_its_name_says() {
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    site.write(
        "config/registries.conf",
        format!(
            "[[registry]]\nprefix = \"registry.example\"\nlocation = \"{}/kept/here\"\n",
            registry.address()
        ),
    );
    let name = "registry.example/team/app:v1";
    site.run(&["tag", "busybox", name]).ok();
    let pushed = site.run(&["push", "-q", name]).ok();
    assert_eq!(tags(&registry, "kept/here/team/app"), ["v1"], "{pushed}");
    site.run(&["rmi", name]).ok();
    let pulled = site.run(&["pull", name]).ok();
    assert!(pulled.stdout.contains("Pulling from team/app"), "its name stays: {pulled}");
    assert_eq!(site.image_id(name), site.image_id("busybox"));
    assert_eq!(site.run(&["tags", "registry.example/team/app"]).ok().out(), "v1");
}

/// Covers: DST-82
#[test]
fn a_pull_fetches_a_damaged_manifest_again() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let manifest = image(&registry, &layout, "team/app", "v1", "content");
    let name = registry.name("team/app:v1");
    site.run(&["pull", "-q", &name]).ok();
    let config = digest(&registry.get("/v2/team/app/manifests/v1").json()["config"]);
    for damaged in [digest(&manifest), config] {
        let path = site.root().join("blobs/sha256").join(&damaged[7..]);
        let length = std::fs::metadata(&path).expect("a blob").len() as usize;
        std::fs::write(&path, vec![b' '; length]).expect("damaged");
        site.run(&["store", "check"]).fails_with(&[]);
        site.run(&["pull", "-q", &name]).ok();
        site.check_store();
    }
}

/// A registry that is tired: it answers every request with 429, and counts them.
fn tired(wait: u64) -> (String, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    use std::io::{Read, Write};
    use std::sync::atomic::Ordering;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound").to_string();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0_u8; 4096];
            let n = stream.read(&mut buffer).unwrap_or(0);
            let head = String::from_utf8_lossy(&buffer[..n]).into_owned();
            let answer = match head.contains(" /v2/ ") {
                true => {
                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
                }
                false => {
                    counter.fetch_add(1, Ordering::SeqCst);
                    format!(
                        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {wait}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                }
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

/// Covers: DST-25
#[test]
fn what_one_process_was_told_to_wait_the_next_one_waits_too() {
    use std::sync::atomic::Ordering;
    let site = Site::new();
    let (address, asked) = tired(3600);
    let name = format!("{address}/team/app:v1");
    site.run(&["pull", &name]).fails_with(&[&address]);
    let first = asked.load(Ordering::SeqCst);
    assert!(first > 0);
    site.run(&["pull", &name]).fails_with(&[&address]);
    site.run(&["digest", &name]).fails_with(&[&address]);
    assert_eq!(asked.load(Ordering::SeqCst), first, "nobody asks before the hour is over");
    Site::new().run(&["digest", &name]).fails_with(&[&address]);
    assert!(asked.load(Ordering::SeqCst) > first, "another installation has its own ledger");
}

/// Covers: DST-64
#[test]
fn registries_that_a_file_would_search_are_not_asked_for_short_names() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    image(&registry, &layout, "library/short", "latest", "squatted");
    site.write(
        "config/registries.conf",
        format!(
            "unqualified-search-registries = [\"{}\"]\n[[registry]]\nprefix = \"docker.io\"\nblocked = true\n",
            registry.address()
        ),
    );
    site.run(&["pull", "short"]).fails_with(&["docker.io", "blocks"]);
    assert_eq!(seed::requests(&registry).get(&("blob".to_owned(), "GET".to_owned())), None);
}

/// Covers: B06-46
#[test]
fn an_image_in_a_registry_is_inspected_without_pulling_it() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let of = |arch: &str| {
        let layers = vec![Layer::new().file("arch", arch), Layer::new().file("more", arch)];
        layout.image(layers, arch, json!({ "Cmd": ["/none"], "Labels": { "arch": arch } }))
    };
    let index = layout.index(&[(of("amd64"), "amd64"), (of("arm64"), "arm64")]);
    push(&registry, "team/app", &layout, &index, "v1");
    let name = registry.name("team/app:v1");
    let run = site.run(&["inspect", "--remote", "--platform", "linux/arm64", &name]).ok();
    let shown = &run.json()[0];
    assert_eq!(shown["Architecture"], "arm64");
    assert_eq!(shown["Config"]["Labels"]["arch"], "arm64");
    assert_eq!(shown["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["RepoDigests"][0], registry.name(&format!("team/app@{}", digest(&index))));
    let run = site.run(&["inspect", "--remote", "--format", "{{.Config.Cmd}}", &name]).ok();
    assert_eq!(run.out(), "[/none]");
    assert_eq!(site.wherry("images -q").ok().stdout, "");
    site.run(&["inspect", "--remote", &registry.name("team/none:v1")]).fails_with(&["team/none"]);
    site.run(&["inspect", "--remote", "--platform", "linux/s390x", &name])
        .fails_with(&["no matching manifest", "linux/s390x"]);
}

#[test]
fn a_registry_is_configured_by_variables() {
    let mut site = Site::new();
    site.set_env("WHERRY_REGISTRY_ADDR", "127.0.0.1:0");
    site.set_env("WHERRY_REGISTRY_METRICS", "off");
    let mut child = site.spawn("registry serve --read-only");
    let stderr = child.stderr.take().expect("a pipe was asked for");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    let said = lines.next().expect("it says where it listens").expect("it is text");
    let address = said.split("http://").nth(1).expect("an address").to_owned();
    assert_eq!(http::get(&address, "/metrics").status, 404);
    assert_eq!(http::get(&address, "/v2/").status, 200);
    let post = http::request(&address, "POST", "/v2/a/blobs/uploads/", &[], b"").expect("POST");
    assert_eq!(post.status, 405, "{}", post.text());
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    site.set_env("WHERRY_REGISTRY_COLOUR", "red");
    site.run(&["registry", "serve"]).fails_with(&["WHERRY_REGISTRY_COLOUR"]);
}
