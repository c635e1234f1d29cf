//! Pull and push: our client and our registry, and other people's on either side.

use serde_json::{Value, json};
use tests::chaos::{Fault, Proxy};
use tests::fixture::{Layer, Layout, digest};
use tests::peer::skopeo;
use tests::text::{column, digest_in, is_digest, is_hex};
use tests::{Need, Registry, Run, Site, have, http};

/// Puts bytes into a registry by its plain protocol, as any client would.
fn put_blob(registry: &Registry, repository: &str, bytes: &[u8], digest: &str) -> http::Answer {
    let start = http::request(
        registry.address(),
        "POST",
        &format!("/v2/{repository}/blobs/uploads/"),
        &[],
        b"",
    )
    .expect("POST");
    assert_eq!(start.status, 202, "{}", start.text());
    let location = start.header("location").expect("an upload has a location").to_owned();
    let path = location
        .split_once(registry.address())
        .map_or(location.as_str(), |(_, path)| path)
        .to_owned();
    let mark = if path.contains('?') { '&' } else { '?' };
    let headers = [("Content-Type", "application/octet-stream")];
    http::request(
        registry.address(),
        "PUT",
        &format!("{path}{mark}digest={digest}"),
        &headers,
        bytes,
    )
    .expect("PUT")
}

fn put_manifest(
    registry: &Registry,
    repository: &str,
    tag: &str,
    manifest: &Value,
) -> http::Answer {
    let media_type = manifest["mediaType"].as_str().expect("a manifest says its type");
    let body = manifest.to_string();
    let path = format!("/v2/{repository}/manifests/{tag}");
    http::request(
        registry.address(),
        "PUT",
        &path,
        &[("Content-Type", media_type)],
        body.as_bytes(),
    )
    .expect("PUT")
}

/// Copies a blob of a layout into a registry.
fn upload(registry: &Registry, repository: &str, layout: &Layout, descriptor: &Value) {
    let digest = digest(descriptor);
    let bytes = std::fs::read(layout.path().join("blobs/sha256").join(&digest[7..]))
        .expect("a blob of the layout");
    let answer = put_blob(registry, repository, &bytes, &digest);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// An image of these layers, put into the registry under these tags by plain requests; gives the manifest's digest.
fn seed(
    registry: &Registry,
    site: &Site,
    repository: &str,
    tags: &[&str],
    layers: Vec<Layer>,
) -> String {
    let layout = Layout::new(&site.path().join(format!("layout-{}", tags[0])));
    let manifest = layout.image(layers, architecture(), json!({ "Cmd": ["/none"] }));
    let path = layout.path().join("blobs/sha256").join(&digest(&manifest)[7..]);
    let parsed: Value =
        serde_json::from_slice(&std::fs::read(path).expect("a manifest")).expect("JSON");
    upload(registry, repository, &layout, &parsed["config"]);
    for layer in parsed["layers"].as_array().expect("layers") {
        upload(registry, repository, &layout, layer);
    }
    for tag in tags {
        let answer = put_manifest(registry, repository, tag, &parsed);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    digest(&manifest)
}

fn architecture() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" }
}

fn layer(n: u32) -> Layer {
    Layer::new().file(&format!("file{n}"), &format!("content of layer {n}\n"))
}

fn lines_with<'a>(run: &'a Run, end: &str) -> Vec<&'a str> {
    run.stdout.lines().filter(|line| line.ends_with(end)).collect()
}

/// Covers: B06-06, B06-13
#[test]
fn pull_prints_docker_s_lines() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let manifest =
        seed(&registry, &site, "library/redis", &["7.0"], vec![layer(1), layer(2), layer(3)]);
    let name = registry.name("library/redis:7.0");
    let run = site.run(&["pull", &name]).ok();
    let lines = run.lines();
    assert_eq!(lines[0], "7.0: Pulling from library/redis");
    let complete = lines_with(&run, ": Pull complete");
    assert_eq!(complete.len(), 3, "one line per layer: {run}");
    assert!(
        complete.iter().all(|line| is_hex(line.split(':').next().expect("a first part"), 12)),
        "{run}"
    );
    let tail: Vec<&str> = lines[lines.len() - 3..].to_vec();
    let digest = format!("Digest: {manifest}");
    let status = format!("Status: Downloaded newer image for {name}");
    assert_eq!(tail, [digest.as_str(), status.as_str(), name.as_str()]);
    assert_eq!(site.layers(&name).len(), complete.len(), "as many layers as lines");
    let again = site.run(&["pull", &name]).ok();
    assert!(again.stdout.contains(&format!("Status: Image is up to date for {name}")), "{again}");
}

/// Covers: B06-11
#[test]
fn a_missing_tag_is_latest() {
    let (site, registry) = (Site::new(), Registry::embedded());
    seed(&registry, &site, "team/app", &["latest"], vec![layer(1)]);
    seed(&registry, &site, "team/other", &["v1"], vec![layer(1)]);
    let run = site.run(&["pull", &registry.name("team/app")]).ok();
    assert_eq!(
        run.lines()[..2],
        ["Using default tag: latest", "latest: Pulling from team/app"],
        "{run}"
    );
    site.run(&["pull", &registry.name("team/other")]).fails_with(&["team/other"]);
    assert_eq!(site.wherry("images -q").ok().lines().len(), 1);
}

/// Covers: B06-32
#[test]
fn a_layer_that_is_there_is_not_pulled_again() {
    let (site, registry) = (Site::new(), Registry::embedded());
    seed(&registry, &site, "team/app", &["v1"], vec![layer(1), layer(2)]);
    seed(&registry, &site, "team/app", &["v2"], vec![layer(1), layer(2), layer(3)]);
    let first = site.run(&["pull", &registry.name("team/app:v1")]).ok();
    assert_eq!(lines_with(&first, ": Pull complete").len(), 2, "{first}");
    let second = site.run(&["pull", &registry.name("team/app:v2")]).ok();
    assert_eq!(lines_with(&second, ": Already exists").len(), 2, "{second}");
    assert_eq!(lines_with(&second, ": Pull complete").len(), 1, "{second}");
}

/// Covers: B06-33, B06-34
#[test]
fn pull_a_brings_all_tags() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let digest = seed(&registry, &site, "team/app", &["latest", "v2"], vec![layer(1), layer(2)]);
    seed(&registry, &site, "team/app", &["v1"], vec![layer(1), layer(3)]);
    let name = registry.name("team/app");
    let run = site.run(&["pull", "-a", &name]).ok();
    for tag in ["latest", "v1", "v2"] {
        assert!(run.stdout.contains(&format!("{tag}: Pulling from team/app\n")), "{run}");
    }
    assert_eq!(run.stdout.matches("Digest: sha256:").count(), 3, "{run}");
    assert_eq!(lines_with(&run, ": Pull complete").len(), 3, "{run}");
    let lines = run.lines();
    assert_eq!(lines[lines.len() - 2], format!("Status: Downloaded newer image for {name}"));
    assert_eq!(lines[lines.len() - 1], name);
    let listed = site.run(&["images", "--digests", &name]).ok();
    assert_eq!(column(&listed.stdout, "TAG").len(), 3, "{listed}");
    assert_eq!(
        column(&listed.stdout, "DIGEST").iter().filter(|d| **d == digest).count(),
        2,
        "{listed}"
    );
    assert_eq!(site.image_id(&format!("{name}:latest")), site.image_id(&format!("{name}:v2")));
    assert_ne!(site.image_id(&format!("{name}:latest")), site.image_id(&format!("{name}:v1")));
}

/// Covers: B06-22
#[test]
fn digests_are_listed_as_pull_printed_them() {
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    let manifest = seed(&registry, &site, "team/app", &["v1"], vec![layer(1)]);
    let run = site.run(&["pull", &registry.name("team/app:v1")]).ok();
    assert_eq!(digest_in(&run.stdout), manifest);
    let listed = site.run(&["images", "--digests", &registry.name("team/app")]).ok();
    let header: Vec<&str> =
        listed.lines()[0].split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
    assert_eq!(header, ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!(column(&listed.stdout, "DIGEST"), [manifest], "only the repository that was named");
}

/// Covers: B06-37, B06-56, B06-35, B06-36
#[test]
fn a_digest_pins_what_a_tag_lets_go() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let old = seed(&registry, &site, "team/app", &["1.5"], vec![layer(1)]);
    let pinned = registry.name(&format!("team/app@{old}"));
    let run = site.run(&["pull", &pinned]).ok();
    let lines = run.lines();
    assert_eq!(lines[0], format!("{pinned}: Pulling from team/app"));
    assert!(lines.contains(&format!("Digest: {old}").as_str()), "{run}");
    assert!(
        lines.contains(&format!("Status: Downloaded newer image for {pinned}").as_str()),
        "{run}"
    );
    assert_eq!(lines.last(), Some(&pinned.as_str()));
    let id = site.image_id(&pinned);
    let other = Site::new();
    let new = seed(&registry, &other, "team/app", &["1.5"], vec![layer(2)]);
    assert_ne!(old, new, "other content, other digest");
    assert_eq!(registry.digest("team/app", "1.5"), new, "the tag was replaced without a word");
    let tag = registry.name("team/app:1.5");
    assert_eq!(digest_in(&site.run(&["pull", &tag]).ok().stdout), new);
    assert_ne!(site.image_id(&tag), id);
    site.run(&["pull", &pinned]).ok();
    assert_eq!(site.image_id(&pinned), id, "the digest means what it meant");
}

/// Covers: B06-30
#[test]
fn a_higher_layer_hides_the_file_below() {
    if !have(&[Need::Root]) {
        return;
    }
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    let lower = Layer::new().file("data/1", "1").file("data/2", "2").file("data/3", "3");
    let upper = Layer::new().file("data/4", "4").file("data/5", "5").file("data/6", "6");
    let update = Layer::new().file("data/5", "7");
    seed(&registry, &site, "team/files", &["v1"], vec![lower, upper, update]);
    let name = registry.name("team/files:v1");
    site.dockerfile(&format!(
        "FROM {name} AS files\nFROM busybox\nCOPY --from=files /data /data\n"
    ));
    site.build("shown", "");
    let run =
        site.wherry("run --rm --network none shown sh -c 'ls /data | wc -l; cat /data/5'").ok();
    assert_eq!(run.out(), "6\n7");
    assert_eq!(site.layers(&name).len(), 3);
}

/// Covers: B06-41
#[test]
fn a_layer_has_one_hash_compressed_and_one_uncompressed() {
    let (site, registry) = (Site::new(), Registry::embedded());
    seed(&registry, &site, "team/app", &["v1"], vec![layer(1)]);
    let manifest = registry.get("/v2/team/app/manifests/v1").json();
    let compressed = manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    let name = registry.name("team/app:v1");
    let run = site.run(&["pull", &name]).ok();
    assert!(run.stdout.contains(&format!("{}: Pull complete", &compressed[7..19])), "{run}");
    let uncompressed = site.layers(&name)[0].clone();
    assert_ne!(uncompressed, compressed);
    let tar = layer(1).tar();
    assert_eq!(uncompressed, oci::Digest::sha256(&tar).to_string());
    let run = site.run(&["rmi", &name]).ok();
    assert!(run.stdout.contains(&format!("Deleted: {uncompressed}")), "{run}");
    assert!(
        run.lines()[1].starts_with(&format!("Untagged: {}@sha256:", registry.name("team/app"))),
        "{run}"
    );
}

/// Covers: B06-43, B06-44
#[test]
fn the_platform_is_chosen_from_the_index() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let config = json!({});
    let images = ["amd64", "arm64", "s390x"].map(|arch| {
        (layout.image(vec![Layer::new().file("arch", arch)], arch, config.clone()), arch)
    });
    for (manifest, _) in &images {
        let path = layout.path().join("blobs/sha256").join(&digest(manifest)[7..]);
        let parsed: Value =
            serde_json::from_slice(&std::fs::read(path).expect("a manifest")).expect("JSON");
        upload(&registry, "team/app", &layout, &parsed["config"]);
        upload(&registry, "team/app", &layout, &parsed["layers"][0]);
        assert_eq!(put_manifest(&registry, "team/app", &digest(manifest), &parsed).status, 201);
    }
    let index = layout.index(&images);
    let path = layout.path().join("blobs/sha256").join(&digest(&index)[7..]);
    let parsed: Value =
        serde_json::from_slice(&std::fs::read(path).expect("an index")).expect("JSON");
    assert_eq!(put_manifest(&registry, "team/app", "v1", &parsed).status, 201);

    let name = registry.name("team/app:v1");
    let run = site.run(&["pull", &name]).ok();
    assert_eq!(digest_in(&run.stdout), digest(&index), "the digest is the tag's");
    assert_eq!(site.inspect(&name)["Architecture"], architecture());
    let other = Site::new();
    other.run(&["pull", "--platform", "linux/s390x", &name]).ok();
    assert_eq!(other.inspect(&name)["Architecture"], "s390x");
    let none = Site::new();
    none.run(&["pull", "--platform", "linux/riscv64", &name]).fails_with(&["linux/riscv64"]);
    assert_eq!(none.wherry("images -q").ok().stdout, "");
}

/// Covers: B06-48
#[test]
fn a_tag_without_an_index_is_pulled_too() {
    let (site, registry) = (Site::new(), Registry::embedded());
    seed(&registry, &site, "team/plain", &["v1"], vec![layer(1)]);
    let answer = registry.get("/v2/team/plain/manifests/v1");
    assert_eq!(answer.header("content-type"), Some("application/vnd.oci.image.manifest.v1+json"));
    site.run(&["pull", &registry.name("team/plain:v1")]).ok();
    assert_eq!(site.inspect(&registry.name("team/plain:v1"))["Architecture"], architecture());
}

/// Covers: B06-42, B06-09
#[test]
fn the_registry_refuses_what_does_not_match_its_digest() {
    let registry = Registry::embedded();
    let wrong = oci::Digest::sha256(b"something else").to_string();
    let answer = put_blob(&registry, "team/app", b"these bytes", &wrong);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["errors"][0]["code"], "DIGEST_INVALID");
    assert_eq!(registry.get(&format!("/v2/team/app/blobs/{wrong}")).status, 404);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": wrong, "size": 3 }, "layers": [],
    });
    let answer = put_manifest(&registry, "team/app", "v1", &manifest);
    assert_eq!(answer.json()["errors"][0]["code"], "MANIFEST_BLOB_UNKNOWN", "{}", answer.text());
    assert_eq!(registry.get("/v2/team/app/manifests/v1").status, 404);
    assert_eq!(registry.get("/v2/").status, 200);
}

/// Covers: B06-42
#[test]
fn a_client_refuses_bytes_that_were_changed_on_the_way() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let text = "x".repeat(1000)
        + &(0..200_000).map(|n: u64| n.wrapping_mul(0x9e37_79b9).to_string()).collect::<String>();
    seed(&registry, &site, "team/big", &["v1"], vec![Layer::new().file("big", &text)]);
    let proxy = Proxy::new(registry.address(), Fault::CorruptAt(100_000), u64::MAX);
    site.run(&["pull", &proxy.name("team/big:v1")]).fails_with(&["sha256:"]);
    assert!(proxy.harmed() > 0);
    assert_eq!(site.wherry("images -q").ok().stdout, "", "no name points at something incomplete");
    site.check_store();
    site.run(&["pull", &registry.name("team/big:v1")]).ok();
}

#[test]
fn a_registry_that_goes_away_in_mid_transfer_is_named_and_leaves_nothing() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let text: String = (0..200_000).map(|n: u64| n.wrapping_mul(0x9e37_79b9).to_string()).collect();
    seed(&registry, &site, "team/big", &["v1"], vec![Layer::new().file("big", &text)]);
    let gone = Proxy::new(registry.address(), Fault::CutAfter(50_000), u64::MAX);
    let run = site.run(&["pull", &gone.name("team/big:v1")]);
    assert!(run.code.is_some_and(|code| code != 0) || gone.carried() > 50_000, "{run}");
    site.check_store();
    let flaky = Proxy::new(registry.address(), Fault::CutAfter(50_000), 1);
    let other = Site::new();
    other.run(&["pull", &flaky.name("team/big:v1")]).ok();
    assert_eq!(flaky.harmed(), 1, "the pull went on after the cut");
    site.run(&["pull", "127.0.0.1:1/team/big:v1"]).fails_with(&["127.0.0.1:1"]);
    site.check_store();
}

/// Covers: B08-32, B08-31
#[test]
fn push_prints_docker_s_lines() {
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    site.dockerfile("FROM busybox\nCOPY Dockerfile /one\nCOPY Dockerfile /two\n");
    let name = registry.name("nigelpoulton/ddd-book:ch8.1");
    site.build(&name, "");
    let layers = site.layers(&name);
    let run = site.run(&["push", &name]).ok();
    let lines = run.lines();
    assert_eq!(
        lines[0],
        format!("The push refers to repository [{}]", registry.name("nigelpoulton/ddd-book"))
    );
    let pushed = lines_with(&run, ": Pushed");
    let expected: Vec<String> =
        layers.iter().rev().map(|layer| format!("{}: Pushed", &layer[7..19])).collect();
    let mut as_they_were_done = pushed.clone();
    as_they_were_done.sort_unstable();
    let mut by_name: Vec<&str> = expected.iter().map(String::as_str).collect();
    by_name.sort_unstable();
    assert_eq!(as_they_were_done, by_name, "every layer, by the uncompressed hash");
    let first: Vec<&str> = lines[1..=layers.len()].iter().map(|line| &line[..12]).collect();
    let top_first: Vec<&str> = expected.iter().map(|line| &line[..12]).collect();
    assert_eq!(first, top_first, "they are named top layer first: {run}");
    let last = lines.last().expect("a last line");
    let answer = registry.get("/v2/nigelpoulton/ddd-book/manifests/ch8.1");
    let digest = registry.digest("nigelpoulton/ddd-book", "ch8.1");
    assert_eq!(*last, format!("ch8.1: digest: {digest} size: {}", answer.body.len()));
    assert!(is_digest(&digest));
}

/// Covers: B08-53
#[test]
fn push_sends_only_what_the_registry_lacks() {
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    let base = registry.name("team/app:base");
    site.run(&["tag", "busybox", &base]).ok();
    site.run(&["push", &base]).ok();
    site.dockerfile("FROM busybox\nCOPY Dockerfile /own\n");
    let child = registry.name("team/app:child");
    site.build(&child, "");
    let run = site.run(&["push", &child]).ok();
    assert_eq!(lines_with(&run, ": Layer already exists").len(), 1, "{run}");
    assert_eq!(lines_with(&run, ": Pushed").len(), 1, "{run}");
    let again = site.run(&["push", &child]).ok();
    assert_eq!(lines_with(&again, ": Layer already exists").len(), 2, "{again}");
    site.run(&["push", &registry.name("team/never-built")]).fails_with(&["team/never-built"]);
}

/// Covers: B06-09
#[test]
fn skopeo_and_the_embedded_registry_understand_each_other() {
    if !have(&[Need::Skopeo]) {
        return;
    }
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    let mut layout = Layout::new(&site.path().join("layout"));
    let manifest = layout.image(vec![layer(1), layer(2)], architecture(), json!({}));
    layout.tag(&manifest, "v1");
    let there = registry.name("team/from-skopeo:v1");
    skopeo(&format!(
        "copy --dest-tls-verify=false oci:{}:v1 docker://{there}",
        layout.path().display()
    ))
    .ok();
    assert_eq!(registry.digest("team/from-skopeo", "v1"), digest(&manifest));
    site.run(&["pull", &there]).ok();
    assert_eq!(site.layers(&there).len(), 2);

    let ours = registry.name("team/from-us:v1");
    site.run(&["tag", "busybox", &ours]).ok();
    let pushed = digest_in(&site.run(&["push", &ours]).ok().stdout);
    let back = site.path().join("back");
    skopeo(&format!("copy --src-tls-verify=false docker://{ours} oci:{}:v1", back.display())).ok();
    let seen = skopeo(&format!("inspect --tls-verify=false docker://{ours}")).ok().json();
    assert_eq!(seen["Digest"], pushed.as_str());
    assert_eq!(seen["Layers"].as_array().map(Vec::len), Some(1));
    let tags =
        skopeo(&format!("list-tags --tls-verify=false docker://{}", registry.name("team/from-us")))
            .ok()
            .json();
    assert_eq!(tags["Tags"], json!(["v1"]));
    skopeo(&format!("delete --tls-verify=false docker://{ours}")).ok();
    assert_eq!(registry.get("/v2/team/from-us/manifests/v1").status, 404);
}

#[test]
fn skopeo_reads_our_store_as_a_layout() {
    if !have(&[Need::Skopeo]) {
        return;
    }
    let site = Site::with_busybox();
    let index: Value = serde_json::from_slice(
        &std::fs::read(site.root().join("index.json")).expect("a layout has an index"),
    )
    .expect("JSON");
    let name = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
        .as_str()
        .expect("a name")
        .to_owned();
    assert!(name.contains("busybox"), "{name}");
    let seen = skopeo(&format!("inspect oci:{}:{name}", site.root().display())).ok().json();
    assert_eq!(seen["Os"], "linux");
    let config =
        skopeo(&format!("inspect --config oci:{}:{name}", site.root().display())).ok().json();
    assert_eq!(config["rootfs"]["diff_ids"][0].as_str(), Some(site.layers("busybox")[0].as_str()));
}

#[test]
fn we_and_docker_registry_understand_each_other() {
    if !have(&[Need::DockerRegistry]) {
        return;
    }
    let (site, registry) = (Site::with_busybox(), Registry::peer());
    let name = registry.name("team/app:v1");
    site.run(&["tag", "busybox", &name]).ok();
    let pushed = digest_in(&site.run(&["push", &name]).ok().stdout);
    assert_eq!(registry.digest("team/app", "v1"), pushed);
    let other = Site::new();
    let run = other.run(&["pull", &name]).ok();
    assert_eq!(digest_in(&run.stdout), pushed);
    assert_eq!(other.image_id(&name), site.image_id("busybox"));
    let pinned = registry.name(&format!("team/app@{pushed}"));
    other.run(&["pull", &pinned]).ok();
    other.run(&["pull", &registry.name("team/app:v2")]).fails_with(&["team/app:v2"]);
    let again = site.run(&["push", &name]).ok();
    assert_eq!(lines_with(&again, ": Layer already exists").len(), 1, "{again}");
}

#[test]
fn buildah_pulls_what_we_pushed() {
    if !have(&[Need::Root, Need::Buildah]) {
        return;
    }
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    let name = registry.name("team/app:v1");
    site.run(&["tag", "busybox", &name]).ok();
    site.run(&["push", &name]).ok();
    let home = site.path().join("buildah");
    let policy = format!("--signature-policy={}", home.join("policy.json").display());
    let id = tests::peer::buildah(&home, &format!("pull {policy} --tls-verify=false {name}")).ok();
    assert_eq!(format!("sha256:{}", id.out()), site.image_id("busybox"));
}

/// Covers: B06-46
#[test]
fn a_manifest_is_looked_at_without_pulling() {
    let (site, registry) = (Site::new(), Registry::embedded());
    seed(&registry, &site, "team/app", &["v1"], vec![layer(1), layer(2)]);
    let run = site.run(&["manifest", "inspect", &registry.name("team/app:v1")]).ok();
    let manifest = run.json();
    assert_eq!(manifest["schemaVersion"], 2, "{run}");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2), "{run}");
    assert_eq!(site.wherry("images -q").ok().stdout, "");
}

#[test]
fn a_registry_keeps_what_it_accepted_over_a_kill() {
    let site = Site::with_busybox();
    let mut registry = Registry::embedded();
    let name = registry.name("team/app:v1");
    site.run(&["tag", "busybox", &name]).ok();
    let pushed = digest_in(&site.run(&["push", &name]).ok().stdout);
    registry.kill_and_restart();
    assert_eq!(registry.digest("team/app", "v1"), pushed);
    Site::new().run(&["pull", &name]).ok();
}

#[test]
fn a_taken_port_is_named() {
    let registry = Registry::embedded();
    let site = Site::new();
    let root = site.path().join("second");
    let run = site.run(&[
        "registry",
        "serve",
        "--addr",
        registry.address(),
        "--root",
        &root.display().to_string(),
    ]);
    run.fails_with(&[registry.address()]);
}
