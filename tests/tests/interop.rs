//! Other people's clients and registries, both ways: what they push we pull, what we push they pull.

use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::IMAGE_LAYER_GZIP_MEDIA_TYPE;
use oci_client::secrets::RegistryAuth;
use serde_json::json;
use tests::fixture::{Layer, Layout, digest};
use tests::peer::{self, Dockerd, skopeo};
use tests::seed::{self, architecture, image, push};
use tests::text::digest_in;
use tests::{Need, Registry, Site, have};

/// Covers: DST-41
#[test]
fn docker_and_the_embedded_registry_understand_each_other() {
    if !have(&[Need::Dockerd]) {
        return;
    }
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    let docker = Dockerd::start();
    let ours = registry.name("team/ours:v1");
    site.run(&["tag", "busybox", &ours]).ok();
    let pushed = digest_in(&site.run(&["push", &ours]).ok().stdout);
    let pulled = docker.run(&format!("pull {ours}")).ok();
    assert!(pulled.stdout.contains(&format!("Digest: {pushed}")), "{pulled}");
    let id = docker.run(&format!("image inspect --format {{{{.Id}}}} {ours}")).ok();
    assert_eq!(id.out(), site.image_id("busybox"), "an image has one id everywhere");

    let theirs = registry.name("team/theirs:v1");
    docker.run(&format!("tag {ours} {theirs}")).ok();
    let sent = docker.run(&format!("push {theirs}")).ok();
    assert!(sent.stdout.contains("v1: digest: sha256:"), "{sent}");
    assert_eq!(registry.digest("team/theirs", "v1"), digest_in(&sent.stdout));
    let back = Site::new();
    back.run(&["pull", &theirs]).ok();
    assert_eq!(back.layers(&theirs), site.layers("busybox"), "docker compressed them anew");
    let again = docker.run(&format!("push {theirs}")).ok();
    assert!(again.stdout.contains("Layer already exists"), "{again}");

    let mounted = registry.name("other/place:v1");
    docker.run(&format!("tag {ours} {mounted}")).ok();
    let sent = docker.run(&format!("push {mounted}")).ok();
    assert!(sent.stdout.contains("Mounted from team/"), "{sent}");
    let listed = docker.run(&format!("manifest inspect --insecure {theirs}"));
    assert!(listed.stdout.contains("schemaVersion"), "{listed}");
    docker.run(&format!("pull {}", registry.name("team/none:v1"))).fails_with(&["not found"]);
}

#[test]
fn podman_and_buildah_push_what_we_pull_and_pull_what_we_push() {
    if !have(&[Need::Root, Need::Podman, Need::Buildah]) {
        return;
    }
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    let ours = registry.name("team/ours:v1");
    site.run(&["tag", "busybox", &ours]).ok();
    site.run(&["push", &ours]).ok();
    let home = site.path().join("podman");
    let policy = format!("--signature-policy={}", home.join("policy.json").display());
    let id = peer::podman(&home, &format!("pull -q --tls-verify=false {policy} {ours}")).ok();
    assert_eq!(format!("sha256:{}", id.out()), site.image_id("busybox"));
    let by_podman = registry.name("team/by-podman:v1");
    peer::podman(&home, &format!("push -q --tls-verify=false {policy} {ours} {by_podman}")).ok();
    let by_buildah = registry.name("team/by-buildah:v1");
    let home = site.path().join("buildah");
    let policy = format!("--signature-policy={}", home.join("policy.json").display());
    peer::buildah(&home, &format!("pull -q --tls-verify=false {policy} {ours}")).ok();
    peer::buildah(
        &home,
        &format!("push -q --tls-verify=false {policy} {ours} docker://{by_buildah}"),
    )
    .ok();
    for name in [by_podman, by_buildah] {
        let back = Site::new();
        back.run(&["pull", "-q", &name]).ok();
        assert_eq!(back.layers(&name), site.layers("busybox"), "{name}");
    }
}

/// Covers: DST-9, DST-10
#[test]
fn skopeo_moves_indexes_and_schema_2_through_both_registries() {
    if !have(&[Need::Skopeo, Need::DockerRegistry]) {
        return;
    }
    let (site, ours, theirs) = (Site::new(), Registry::embedded(), Registry::peer());
    let layout = Layout::new(&site.path().join("layout"));
    let of = |arch: &str| layout.image(vec![Layer::new().file("arch", arch)], arch, json!({}));
    let index = layout.index(&[(of("amd64"), "amd64"), (of("arm64"), "arm64")]);
    push(&ours, "team/index", &layout, &index, "v1");
    let flags = "--src-tls-verify=false --dest-tls-verify=false";
    let (here, there) = (ours.name("team/index:v1"), theirs.name("team/index:v1"));
    skopeo(&format!("copy --all {flags} docker://{here} docker://{there}")).ok();
    assert_eq!(theirs.digest("team/index", "v1"), digest(&index));
    site.run(&["copy", &there, &ours.name("team/back:v1")]).ok();
    assert_eq!(ours.digest("team/back", "v1"), digest(&index));

    image(&ours, &layout, "team/app", "v1", "content");
    let docker = ours.name("team/docker:v1");
    skopeo(&format!(
        "copy {flags} --format v2s2 docker://{} docker://{docker}",
        ours.name("team/app:v1")
    ))
    .ok();
    let kept = ours.get("/v2/team/docker/manifests/v1");
    assert_eq!(
        kept.header("content-type"),
        Some("application/vnd.docker.distribution.manifest.v2+json")
    );
    site.run(&["copy", &docker, &theirs.name("team/docker:v1")]).ok();
    assert_eq!(theirs.digest("team/docker", "v1"), ours.digest("team/docker", "v1"));
    site.run(&["pull", "-q", &theirs.name("team/docker:v1")]).ok();
}

/// Covers: DST-19, DST-20
#[test]
fn signatures_go_to_a_registry_without_a_list_of_referrers_and_come_back() {
    if !have(&[Need::DockerRegistry]) {
        return;
    }
    let (site, ours, theirs) = (Site::new(), Registry::embedded(), Registry::peer());
    let layout = Layout::new(&site.path().join("layout"));
    let manifest = image(&ours, &layout, "team/app", "v1", "content");
    let mut signatures: Vec<String> = (0..3)
        .map(|n| {
            let one = seed::referrer(&layout, &manifest, "application/vnd.x", &n.to_string());
            push(&ours, "team/app", &layout, &one, "");
            digest(&one)
        })
        .collect();
    signatures.sort();
    let there = theirs.name("team/app");
    let run = site.run(&["sync", &ours.name("team/app"), &there]).ok();
    assert!(run.stdout.contains("1 changed"), "{run}");
    let again = site.run(&["sync", &ours.name("team/app"), &there]).ok();
    assert!(again.stdout.contains("0 changed, 1 unchanged"), "{again}");
    let listed = site.run(&["referrers", &theirs.name("team/app:v1")]).ok();
    for signature in &signatures {
        assert!(listed.stdout.contains(&signature[7..19]), "{listed}");
    }
    site.run(&["sync", &there, &ours.name("team/back")]).ok();
    assert_eq!(seed::referrers(&ours, "team/back", &digest(&manifest)), signatures);
    assert_eq!(
        seed::tags(&ours, "team/back"),
        ["v1"],
        "the tag that stands for the list stays behind"
    );
}

#[test]
fn the_oci_client_crate_and_the_embedded_registry_understand_each_other() {
    // It wants a provider of cryptography, though nothing here is encrypted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (site, registry) = (Site::new(), Registry::embedded());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let settings = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let (client, auth) = (oci_client::Client::new(settings), RegistryAuth::Anonymous);
    let reference =
        |name: &str| registry.name(name).parse::<oci_client::Reference>().expect("a name");

    let tar = Layer::new().file("a", "b").tar();
    let layer = ImageLayer::oci_v1_gzip(tests::fixture::gzip(&tar), None);
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": { "Cmd": ["/none"] },
        "rootfs": { "type": "layers", "diff_ids": [oci::Digest::sha256(&tar).to_string()] },
    });
    let config = Config::oci_v1(config.to_string().into_bytes(), None);
    let theirs = reference("team/theirs:v1");
    runtime.block_on(client.push(&theirs, &[layer], config, &auth, None)).expect("it pushes");
    site.run(&["pull", "-q", &registry.name("team/theirs:v1")]).ok();
    let layers = site.layers(&registry.name("team/theirs:v1"));
    assert_eq!(layers, [oci::Digest::sha256(&tar).to_string()]);

    site.run(&["tag", &registry.name("team/theirs:v1"), &registry.name("team/ours:v1")]).ok();
    site.run(&["push", "-q", &registry.name("team/ours:v1")]).ok();
    let ours = reference("team/ours:v1");
    let pulled = client.pull(&ours, &auth, vec![IMAGE_LAYER_GZIP_MEDIA_TYPE]);
    let pulled = runtime.block_on(pulled).expect("it pulls");
    assert_eq!(pulled.digest.as_deref(), Some(registry.digest("team/ours", "v1").as_str()));
    assert_eq!(pulled.layers.len(), 1);
    let listed = runtime.block_on(client.list_tags(&ours, &auth, None, None)).expect("it lists");
    assert_eq!(listed.tags, ["v1"]);
    let missing = reference("team/ours:none");
    runtime.block_on(client.pull_manifest(&missing, &auth)).expect_err("there is no such tag");
}

#[test]
fn a_manifest_of_docker_s_own_type_is_pulled() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let layout = Layout::new(&site.path().join("layout"));
    let tar = Layer::new().file("a", "b").tar();
    let gz = tests::fixture::gzip(&tar);
    let layer = layout.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &gz);
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": { "Cmd": ["/none"] },
        "rootfs": { "type": "layers", "diff_ids": [oci::Digest::sha256(&tar).to_string()] },
    });
    let config = layout
        .blob("application/vnd.docker.container.image.v1+json", config.to_string().as_bytes());
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
    let manifest = layout.blob(media_type, manifest.to_string().as_bytes());
    push(&registry, "team/app", &layout, &manifest, "v1");
    site.run(&["pull", &registry.name("team/app:v1")]).ok();
    assert_eq!(site.image_id(&registry.name("team/app:v1")), digest(&config));
}
