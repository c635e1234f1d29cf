//! Images through files, both ways with docker, podman and skopeo: ids, layers and, where the form of the archive carries
//! it, the manifest keep their digests.

use std::path::Path;

use tests::peer::{Dockerd, podman, skopeo};
use tests::text::is_digest;
use tests::{Need, Site, have};

/// An image of two layers with settings, beside its base.
fn maker() -> Site {
    let site = Site::with_busybox();
    site.dockerfile(
        "FROM busybox\nLABEL a=b\nENV C=d\nRUN echo one > /one; rm /etc/shells\nCMD [\"env\"]\n",
    );
    site.build("team/app:v1", "");
    site
}

/// The path of an archive beside the site.
fn file(site: &Site, name: &str) -> String {
    site.path().join(name).display().to_string()
}

fn manifest_digest(site: &Site, name: &str) -> String {
    let run = site.run(&["images", "--digests", "--format", "{{.Digest}}", name]).ok();
    assert!(is_digest(run.out()), "{run}");
    run.out().to_owned()
}

/// The image as another installation has it after `load`.
#[track_caller]
fn arrives(archive: &str, name: &str, from: &Site) -> Site {
    let other = Site::new();
    other.run(&["load", "-i", archive]).ok().says(&format!("Loaded image: {name}"));
    assert_eq!(other.image_id(name), from.image_id("team/app:v1"));
    assert_eq!(other.layers(name), from.layers("team/app:v1"));
    other.check_store();
    other
}

/// Covers: DST-66
#[test]
fn docker_loads_what_we_saved_and_we_load_what_docker_saved() {
    if !have(&[Need::Dockerd]) {
        return;
    }
    let (site, docker) = (maker(), Dockerd::start());
    site.wherry("save -o ours.tar team/app:v1 busybox").ok();
    docker
        .run(&format!("load -i {}", file(&site, "ours.tar")))
        .ok()
        .says("Loaded image: team/app:v1")
        .says("Loaded image: busybox:latest");
    let theirs = |template: &str| {
        let line = format!("image inspect --format '{template}' team/app:v1");
        docker.run(&line).ok().out().to_owned()
    };
    assert_eq!(theirs("{{.Id}}"), site.image_id("team/app:v1"));
    assert_eq!(theirs("{{join .RootFS.Layers \" \"}}"), site.layers("team/app:v1").join(" "));
    assert_eq!(theirs("{{json .Config.Cmd}} {{.Config.Labels.a}}"), "[\"env\"] b");

    docker.run(&format!("save -o {} team/app:v1", file(&site, "theirs.tar"))).ok();
    let other = arrives(&file(&site, "theirs.tar"), "team/app:v1", &site);
    assert_eq!(other.cat("team/app:v1", "/one"), "one\n");

    // An image that Docker has made itself.
    docker.run("tag busybox base").ok();
    docker.run("create --name web --network none base true").ok();
    docker.run("commit -c 'ENV X=y' web made:v2").ok();
    let id = docker.run("image inspect --format {{.Id}} made:v2").ok().out().to_owned();
    docker.run(&format!("save -o {} made:v2", file(&site, "made.tar"))).ok();
    other.run(&["load", "-i", &file(&site, "made.tar")]).ok();
    assert_eq!(other.image_id("made:v2"), id);
}

/// Covers: DST-66
#[test]
fn podman_loads_what_we_saved_and_we_load_what_podman_saved() {
    if !have(&[Need::Root, Need::Podman]) {
        return;
    }
    let site = maker();
    let digest = manifest_digest(&site, "team/app:v1");
    for format in ["docker-archive", "oci-archive"] {
        let home = site.path().join(format!("podman-{format}"));
        let (ours, theirs) = (
            file(&site, &format!("ours-{format}.tar")),
            file(&site, &format!("theirs-{format}.tar")),
        );
        site.run(&["save", "--format", format, "-o", &ours, "team/app:v1"]).ok();
        podman(&home, &format!("load -i {ours}")).ok().says("team/app:v1");
        let inspected = |template: &str| {
            podman(&home, &format!("image inspect --format '{template}' team/app:v1")).ok()
        };
        let id = site.image_id("team/app:v1");
        assert_eq!(format!("sha256:{}", inspected("{{.Id}}").out()), id, "{format}");
        if format == "oci-archive" {
            assert_eq!(
                inspected("{{.Digest}}").out(),
                digest,
                "the manifest travels in an OCI archive"
            );
        }
        podman(&home, &format!("save --format {format} -o {theirs} team/app:v1")).ok();
        // Podman says `docker.io/` for what it has loaded under a short name.
        let other = Site::new();
        other.run(&["load", "-i", &theirs]).ok().says("team/app:v1");
        let name = other.wherry("images --format {{.Repository}}:{{.Tag}}").ok().out().to_owned();
        assert_eq!(other.image_id(&name), id, "{format}");
        assert_eq!(other.layers(&name), site.layers("team/app:v1"), "{format}");
        other.check_store();
        forget(&home);
    }
}

/// Podman's storage may leave a mount of itself behind.
fn forget(home: &Path) {
    podman(home, "rmi -a -f").ok();
    let lib = home.join("lib/vfs").display().to_string();
    // Not every version mounts it.
    let _ = std::process::Command::new("umount").args(["-l", &lib]).output();
}

/// Covers: DST-66, DST-41
#[test]
fn skopeo_copies_our_archives_to_its_own_and_back_and_every_digest_stays() {
    if !have(&[Need::Skopeo]) {
        return;
    }
    let site = maker();
    let digest = manifest_digest(&site, "team/app:v1");
    site.wherry("save --format oci-archive -o ours-oci.tar team/app:v1").ok();
    site.wherry("save -o ours-docker.tar team/app:v1").ok();
    let raw = skopeo(&format!("inspect --raw oci-archive:{}", file(&site, "ours-oci.tar"))).ok();
    assert_eq!(oci::Digest::sha256(raw.stdout.as_bytes()).to_string(), digest);

    let target = file(&site, "theirs-oci.tar");
    let from = file(&site, "ours-oci.tar");
    skopeo(&format!("copy oci-archive:{from} oci-archive:{target}:docker.io/team/app:v1")).ok();
    let other = arrives(&target, "team/app:v1", &site);
    assert_eq!(manifest_digest(&other, "team/app:v1"), digest);

    let target = file(&site, "theirs-docker.tar");
    let from = file(&site, "ours-docker.tar");
    skopeo(&format!("copy docker-archive:{from} docker-archive:{target}:team/app:v1")).ok();
    arrives(&target, "team/app:v1", &site);
}

/// What we save goes through our own load with the very manifest, in either form.
#[test]
fn our_own_archives_keep_the_manifest() {
    let site = maker();
    let digest = manifest_digest(&site, "team/app:v1");
    for format in ["docker-archive", "oci-archive"] {
        let path = file(&site, &format!("{format}.tar"));
        site.run(&["save", "--format", format, "-o", &path, "team/app:v1"]).ok();
        let other = arrives(&path, "team/app:v1", &site);
        assert_eq!(manifest_digest(&other, "team/app:v1"), digest, "{format}");
    }
}
