//! "Content Management".

use oci::Digest;
use registry::config::{Mode, Switch};
use serde_json::json;

use crate::site::{OCI_MANIFEST, Site, digest_of};

/// Covers: DST-23
#[tokio::test]
async fn a_deleted_tag_leaves_the_manifest_and_other_tags() {
    let site = Site::start();
    let digest = site.push_image("a", "v1", "x").await;
    site.push_image("a", "v2", "x").await;
    site.delete("/v2/a/manifests/v1").await.is(202);
    site.get("/v2/a/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    site.get("/v2/a/manifests/v2").await.is(200);
    site.get(&format!("/v2/a/manifests/{digest}")).await.is(200);
    site.delete("/v2/a/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    assert_eq!(site.get("/v2/a/tags/list").await.json()["tags"], json!(["v2"]));
}

/// Covers: DST-23
#[tokio::test]
async fn a_deleted_manifest_takes_every_tag_on_it_along() {
    let site = Site::start();
    let digest = site.push_image("a", "v1", "x").await;
    site.push_image("a", "v2", "x").await;
    site.push_image("a", "other", "y").await;
    site.delete(&format!("/v2/a/manifests/{digest}")).await.is(202);
    for reference in ["v1", "v2", &digest.to_string()] {
        site.get(&format!("/v2/a/manifests/{reference}")).await.refused(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(site.get("/v2/a/tags/list").await.json()["tags"], json!(["other"]));
    site.delete(&format!("/v2/a/manifests/{digest}")).await.refused(404, "MANIFEST_UNKNOWN");
    site.delete(&format!("/v2/none/manifests/{digest}")).await.refused(404, "NAME_UNKNOWN");
}

/// Covers: DST-23
#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_only() {
    let site = Site::start();
    let digest = site.push_blob("a", b"x").await;
    site.push_blob("b", b"x").await;
    site.delete(&format!("/v2/a/blobs/{digest}")).await.is(202);
    site.get(&format!("/v2/a/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    site.delete(&format!("/v2/a/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    site.get(&format!("/v2/b/blobs/{digest}")).await.is(200);
    site.delete(&format!("/v2/none/blobs/{digest}")).await.refused(404, "NAME_UNKNOWN");
}

/// Covers: DST-19
#[tokio::test]
async fn a_deleted_referrer_is_not_listed_any_more() {
    let site = Site::start();
    let subject = site.push_image("a", "v1", "x").await;
    let mut manifest = site.image("a", "y").await;
    manifest["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 });
    let digest = digest_of(&manifest);
    site.put_manifest("a", "sig", &manifest).await.is(201);
    let count = async || {
        let listed = site.get(&format!("/v2/a/referrers/{subject}")).await.is(200).json();
        listed["manifests"].as_array().map(Vec::len)
    };
    assert_eq!(count().await, Some(1));
    site.delete("/v2/a/manifests/sig").await.is(202);
    assert_eq!(count().await, Some(1), "a tag is only a name");
    site.delete(&format!("/v2/a/manifests/{digest}")).await.is(202);
    assert_eq!(count().await, Some(0));
}

#[tokio::test]
async fn a_repository_whose_content_was_deleted_is_empty_and_not_unknown() {
    let site = Site::start();
    let digest = site.push_image("a", "v1", "x").await;
    site.delete(&format!("/v2/a/manifests/{digest}")).await.is(202);
    assert_eq!(site.get("/v2/a/tags/list").await.is(200).json()["tags"], json!([]));
}

/// Covers: DST-23
#[tokio::test]
async fn deletion_can_be_switched_off() {
    let site = Site::with(|config| config.delete = Switch::Off);
    let digest = site.push_image("a", "v1", "x").await;
    let blob = Digest::sha256(b"layer x");
    for path in [
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/manifests/{digest}"),
        format!("/v2/a/blobs/{blob}"),
    ] {
        site.delete(&path).await.refused(405, "UNSUPPORTED");
        site.get(&path).await.is(200);
    }
    let location = site.open("a").await;
    site.delete(&location).await.is(204);
}

#[tokio::test]
async fn a_read_only_registry_serves_and_changes_nothing() {
    let site = Site::start();
    let digest = site.push_image("a", "v1", "x").await;
    let location = site.open("a").await;
    site.running().control().set_mode(Mode::ReadOnly);
    let manifest = site.get("/v2/a/manifests/v1").await.is(200).body;
    let refused = [
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("PATCH", location.clone()),
        ("DELETE", location.clone()),
        ("PUT", format!("{location}?digest={digest}")),
        ("PUT", "/v2/a/manifests/v2".to_owned()),
        ("DELETE", "/v2/a/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/a/blobs/{digest}")),
    ];
    for (method, path) in refused {
        site.send(method, &path, &[("content-type", OCI_MANIFEST)], manifest.clone())
            .await
            .refused(405, "UNSUPPORTED");
    }
    assert_eq!(site.get("/v2/a/tags/list").await.is(200).json()["tags"], json!(["v1"]));
    site.running().control().set_mode(Mode::ReadWrite);
    site.delete("/v2/a/manifests/v1").await.is(202);
}
