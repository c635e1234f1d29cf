//! Collecting garbage while clients push and pull.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use oci::Digest;

use crate::site::{OCI_MANIFEST, Site, digest_of, noise};

const GRACE: Duration = Duration::from_secs(3600);

fn blob_file(site: &Site, digest: &Digest) -> PathBuf {
    site.root().join("blobs/sha256").join(digest.hex())
}

/// Lets a blob and its link look as if nobody had touched them for two hours.
fn make_old(site: &Site, name: &str, digest: &Digest) {
    let link = site
        .root()
        .join("registry/repositories")
        .join(name)
        .join("_blobs/sha256")
        .join(digest.hex());
    let long_ago = SystemTime::now() - 2 * GRACE;
    for path in [link, blob_file(site, digest)] {
        let file = std::fs::File::options().write(true).open(&path);
        if let Ok(file) = file {
            file.set_modified(long_ago).expect("set");
        }
    }
}

async fn collect(site: &Site) -> registry::Collected {
    let control = site.running().control().clone();
    let collected = tokio::task::spawn_blocking(move || control.collect(GRACE));
    collected.await.expect("joined").expect("collected")
}

/// Covers: DST-71
#[tokio::test]
async fn only_what_nothing_needs_and_nobody_asked_about_lately_is_collected() {
    let site = Site::start();
    let manifest = site.push_image("a", "v1", "x").await;
    let (config, layer) = (Digest::sha256(b"{\"seed\":\"x\"}"), Digest::sha256(b"layer x"));
    let orphan = site.push_blob("a", b"orphan").await;
    let young = site.push_blob("a", b"young").await;
    let asked = site.push_blob("a", b"asked").await;
    let shared = site.push_blob("a", b"shared").await;
    site.push_blob("b", b"shared").await;
    for digest in [&manifest, &config, &layer, &orphan, &asked, &shared] {
        make_old(&site, "a", digest);
    }
    site.head(&format!("/v2/a/blobs/{asked}")).await.is(200);
    let collected = collect(&site).await;
    assert_eq!((collected.unlinked, collected.removed, collected.bytes), (2, 1, 6));
    assert!(!blob_file(&site, &orphan).exists());
    for (name, digest) in
        [("a", &config), ("a", &layer), ("a", &young), ("a", &asked), ("b", &shared)]
    {
        site.get(&format!("/v2/{name}/blobs/{digest}")).await.is(200);
    }
    site.get(&format!("/v2/a/blobs/{shared}")).await.refused(404, "BLOB_UNKNOWN");
    site.get("/v2/a/manifests/v1").await.is(200);
}

/// Covers: DST-71
#[tokio::test]
async fn what_was_deleted_is_collected() {
    let site = Site::start();
    let manifest = site.push_image("a", "v1", "x").await;
    site.delete(&format!("/v2/a/manifests/{manifest}")).await.is(202);
    for digest in
        [manifest.clone(), Digest::sha256(b"{\"seed\":\"x\"}"), Digest::sha256(b"layer x")]
    {
        make_old(&site, "a", &digest);
    }
    assert_eq!(collect(&site).await.removed, 3);
    assert_eq!(std::fs::read_dir(site.root().join("blobs/sha256")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_stops_the_collection() {
    let site = Site::start();
    let manifest = site.push_image("a", "v1", "x").await;
    let orphan = site.push_blob("a", b"orphan").await;
    make_old(&site, "a", &orphan);
    std::fs::write(blob_file(&site, &manifest), "damaged").expect("written");
    let control = site.running().control().clone();
    let failed = tokio::task::spawn_blocking(move || control.collect(GRACE)).await.expect("joined");
    assert!(failed.is_err());
    site.get(&format!("/v2/a/blobs/{orphan}")).await.is(200);
}

/// Covers: DST-71
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_pushes_and_collections_run_against_each_other() {
    let site = Arc::new(Site::start());
    let done = Arc::new(AtomicBool::new(false));
    let (collector, over) = (site.clone(), done.clone());
    let collecting = tokio::spawn(async move {
        let mut cycles = 0;
        while !over.load(Ordering::SeqCst) {
            collect(&collector).await;
            cycles += 1;
        }
        cycles
    });
    for round in 0..30 {
        // The same layer is pushed, dropped and pushed again while nothing else needs it.
        let layer = noise(20_000, round / 3);
        let config = format!("{{\"round\":{round}}}");
        let manifest = crate::site::image_of(config.as_bytes(), &layer);
        let digest = site.push_blob("a", &layer).await;
        site.head(&format!("/v2/a/blobs/{digest}")).await.is(200);
        site.push_blob("a", config.as_bytes()).await;
        site.put_manifest("a", "latest", &manifest).await.is(201);
        let pulled = site.get("/v2/a/manifests/latest").await.is(200);
        assert_eq!(Digest::sha256(&pulled.body), digest_of(&manifest));
        assert_eq!(pulled.header("content-type"), OCI_MANIFEST);
        assert_eq!(site.get(&format!("/v2/a/blobs/{digest}")).await.is(200).body, layer);
        site.delete(&format!("/v2/a/manifests/{}", digest_of(&manifest))).await.is(202);
        // From here on the collector may take it, at any moment of the next push of it.
        make_old(&site, "a", &digest);
    }
    done.store(true, Ordering::SeqCst);
    assert!(collecting.await.expect("joined") > 0);
}
