//! "Pushing Manifests".

use oci::Digest;
use serde_json::json;

use crate::site::{OCI_INDEX, OCI_MANIFEST, Site, descriptor, digest_of, image_of};

/// Covers: DST-16
#[tokio::test]
async fn the_content_type_must_equal_the_media_type_and_may_have_parameters() {
    let site = Site::start();
    let text = site.image("a", "x").await.to_string();
    let put = async |content_type: &str| {
        let header = [("content-type", content_type)];
        site.send("PUT", "/v2/a/manifests/v1", &header, text.clone()).await
    };
    put(OCI_INDEX).await.refused(400, "MANIFEST_INVALID");
    put("text/plain").await.refused(400, "MANIFEST_INVALID");
    put("application/vnd.oci.image.manifest.v1+json; charset=utf-8").await.is(201);
    assert_eq!(site.get("/v2/a/manifests/v1").await.header("content-type"), OCI_MANIFEST);
    site.send("PUT", "/v2/a/manifests/v2", &[], text.clone()).await.is(201);
    assert_eq!(site.get("/v2/a/manifests/v2").await.header("content-type"), OCI_MANIFEST);
}

/// Covers: DST-16
#[tokio::test]
async fn a_manifest_of_four_mebibytes_is_accepted_and_a_larger_one_is_413() {
    let site = Site::start();
    let limit = 4 * 1024 * 1024;
    let base = site.image("a", "x").await.to_string();
    let sized = |length: usize| format!("{base}{}", " ".repeat(length - base.len()));
    let header = [("content-type", OCI_MANIFEST)];
    site.send("PUT", "/v2/a/manifests/most", &header, sized(limit)).await.is(201);
    assert_eq!(site.get("/v2/a/manifests/most").await.is(200).body.len(), limit);
    site.send("PUT", "/v2/a/manifests/more", &header, sized(limit + 1))
        .await
        .refused(413, "MANIFEST_INVALID");
    // Without an announced length it is found out on the way.
    let pieces = vec![Ok::<_, std::io::Error>(sized(limit)), Ok("  ".to_owned())];
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    site.send("PUT", "/v2/a/manifests/more", &header, body).await.refused(413, "MANIFEST_INVALID");
    site.get("/v2/a/manifests/more").await.is(404);
}

/// Covers: DST-16
#[tokio::test]
async fn missing_blobs_are_named_one_by_one() {
    let site = Site::start();
    let manifest = image_of(b"config", b"layer");
    let refused = site.put_manifest("a", "v1", &manifest).await;
    refused.refused(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(refused.codes(), ["MANIFEST_BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"]);
    site.push_blob("a", b"config").await;
    // The other repository's blob does not count.
    let layer = site.push_blob("b", b"layer").await;
    let refused = site.put_manifest("a", "v1", &manifest).await;
    assert_eq!(refused.codes(), ["MANIFEST_BLOB_UNKNOWN"]);
    assert_eq!(refused.json()["errors"][0]["detail"]["digest"], layer.to_string());
    site.get("/v2/a/manifests/v1").await.is(404);
    site.push_blob("a", b"layer").await;
    site.put_manifest("a", "v1", &manifest).await.is(201);
}

#[tokio::test]
async fn a_descriptor_that_lies_about_the_size_is_refused() {
    let site = Site::start();
    let mut manifest = site.image("a", "x").await;
    manifest["layers"][0]["size"] = json!(1);
    site.put_manifest("a", "v1", &manifest).await.refused(400, "MANIFEST_INVALID");
}

/// Covers: DST-44
#[tokio::test]
async fn an_index_needs_its_manifests_unless_sparse_ones_are_accepted() {
    let strict = Site::start();
    let present = strict.image("a", "x").await;
    strict.put_manifest("a", "v1", &present).await.is(201);
    let absent = descriptor(OCI_MANIFEST, b"absent");
    let with = |children: serde_json::Value| json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children });
    let child = descriptor(OCI_MANIFEST, present.to_string().as_bytes());
    let (full, sparse) = (with(json!([child])), with(json!([child, absent])));
    strict.put_manifest("a", "full", &full).await.is(201);
    strict
        .put_manifest(
            "a",
            "nested",
            &with(json!([descriptor(OCI_INDEX, full.to_string().as_bytes())])),
        )
        .await
        .is(201);
    strict.put_manifest("a", "empty", &with(json!([]))).await.is(201);
    strict.put_manifest("a", "sparse", &sparse).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
    // A blob is no manifest, whatever an index calls it.
    strict.push_blob("a", b"absent").await;
    strict.put_manifest("a", "sparse", &sparse).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
    let lenient = Site::with(|config| {
        config.missing_references = registry::config::MissingReferences::AcceptSparseIndexes
    });
    lenient.put_manifest("a", "sparse", &sparse).await.is(201);
    lenient.put_manifest("a", "v1", &present).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
}

/// Covers: DST-16, DST-19
#[tokio::test]
async fn a_missing_subject_is_accepted_and_named_in_the_answer() {
    let site = Site::start();
    let mut manifest = site.image("a", "x").await;
    manifest["subject"] = descriptor(OCI_MANIFEST, b"not here yet");
    let put = site.put_manifest("a", "sig", &manifest).await.is(201);
    assert_eq!(put.header("oci-subject"), Digest::sha256(b"not here yet").to_string());
    let plain = site.image("a", "y").await;
    assert_eq!(site.put_manifest("a", "v1", &plain).await.is(201).header("oci-subject"), "");
}

/// Covers: DST-45
#[tokio::test]
async fn layers_that_must_not_be_distributed_need_not_be_here() {
    let site = Site::start();
    let mut manifest = site.image("a", "x").await;
    let foreign =
        descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"windows");
    manifest["layers"].as_array_mut().expect("layers").push(foreign);
    site.put_manifest("a", "v1", &manifest).await.is(201);
}

#[tokio::test]
async fn a_manifest_pushed_by_digest_must_have_it() {
    let site = Site::start();
    let manifest = site.image("a", "x").await;
    let wrong = Digest::sha256(b"another");
    site.put_manifest("a", &wrong.to_string(), &manifest).await.refused(400, "DIGEST_INVALID");
    let put = site.put_manifest("a", &digest_of(&manifest).to_string(), &manifest).await.is(201);
    assert_eq!(put.header("docker-content-digest"), digest_of(&manifest).to_string());
    assert_eq!(site.get("/v2/a/tags/list").await.json()["tags"], json!([]));
}

/// Covers: DST-17
#[tokio::test]
async fn one_push_by_digest_may_set_many_tags() {
    let site = Site::start();
    let manifest = site.image("a", "x").await;
    let digest = digest_of(&manifest);
    let tags: Vec<String> = (10..30).map(|n| format!("t{n}")).collect();
    let query = tags.join("&tag=");
    let put = site.put_manifest("a", &format!("{digest}?tag={query}"), &manifest).await.is(201);
    let named: Vec<_> =
        put.headers.get_all("oci-tag").iter().map(|v| v.to_str().expect("text")).collect();
    assert_eq!(named, tags);
    for tag in &tags {
        assert_eq!(
            site.get(&format!("/v2/a/manifests/{tag}")).await.header("docker-content-digest"),
            digest.to_string()
        );
    }
    site.put_manifest("a", &format!("{digest}?tag=-bad"), &manifest)
        .await
        .refused(400, "MANIFEST_INVALID");
    let many = (0..101).map(|n| format!("tag=x{n}")).collect::<Vec<_>>().join("&");
    site.put_manifest("a", &format!("{digest}?{many}"), &manifest)
        .await
        .refused(414, "MANIFEST_INVALID");
}

#[tokio::test]
async fn an_invalid_tag_is_refused_and_sets_nothing() {
    let site = Site::start();
    let manifest = site.image("a", "x").await;
    for tag in ["-x", ".x", "a%20b", "a%2Fb", &"t".repeat(129)] {
        site.put_manifest("a", tag, &manifest).await.refused(400, "MANIFEST_INVALID");
    }
    site.get(&format!("/v2/a/manifests/{}", digest_of(&manifest))).await.is(404);
}

/// Covers: DST-42
#[tokio::test]
async fn what_is_no_manifest_is_invalid() {
    let site = Site::start();
    for (text, content_type) in [
        ("", OCI_MANIFEST),
        ("{", OCI_MANIFEST),
        ("[]", OCI_MANIFEST),
        ("{}", OCI_MANIFEST),
        ("{}", ""),
        (
            "{\"schemaVersion\":1,\"fsLayers\":[]}",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ),
    ] {
        let put =
            site.send("PUT", "/v2/a/manifests/v1", &[("content-type", content_type)], text).await;
        put.refused(400, "MANIFEST_INVALID");
    }
    site.get("/v2/a/manifests/v1").await.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_conditional_push_overwrites_only_what_it_read() {
    let site = Site::start();
    let (first, second) = (site.image("a", "1").await, site.image("a", "2").await);
    let put = async |manifest: &serde_json::Value, name: &str, condition: &str| {
        let headers = [("content-type", OCI_MANIFEST), (name, condition)];
        site.send("PUT", "/v2/a/manifests/v1", &headers, manifest.to_string()).await
    };
    put(&first, "if-match", "\"sha256:0\"").await.refused(412, "UNSUPPORTED");
    put(&first, "if-none-match", "*").await.is(201);
    put(&second, "if-none-match", "*").await.refused(412, "UNSUPPORTED");
    let etag = site.get("/v2/a/manifests/v1").await.header("etag").to_owned();
    put(&second, "if-match", &etag).await.is(201);
    put(&first, "if-match", &etag).await.refused(412, "UNSUPPORTED");
    let now = site.get("/v2/a/manifests/v1").await;
    assert_eq!(now.header("docker-content-digest"), digest_of(&second).to_string());
}

/// Covers: DST-20
#[tokio::test]
async fn of_many_writers_with_one_condition_one_wins() {
    let site = Site::start();
    site.push_image("a", "v1", "0").await;
    let etag = site.get("/v2/a/manifests/v1").await.header("etag").to_owned();
    let mut images = Vec::new();
    for n in 1..=24 {
        images.push(site.image("a", &n.to_string()).await);
    }
    let puts = images.iter().map(async |manifest| {
        let headers = [("content-type", OCI_MANIFEST), ("if-match", etag.as_str())];
        site.send("PUT", "/v2/a/manifests/v1", &headers, manifest.to_string()).await.status.as_u16()
    });
    let statuses = futures_util::future::join_all(puts).await;
    let won = statuses.iter().filter(|status| **status == 201).count();
    let lost = statuses.iter().filter(|status| **status == 412).count();
    assert_eq!((won, lost), (1, images.len() - 1), "{statuses:?}");
}

/// Covers: DST-16
#[tokio::test]
async fn nothing_is_served_under_a_type_of_the_pusher_s_choice() {
    let site = Site::start();
    let mut manifest = site.image("a", "x").await;
    for media_type in ["text/html", "application/vnd.new+json", "image/svg+xml"] {
        manifest.as_object_mut().expect("an object").remove("mediaType");
        let silent = manifest.to_string();
        manifest["mediaType"] = media_type.into();
        for text in [silent, manifest.to_string()] {
            let headers = [("content-type", media_type)];
            let put = site.send("PUT", "/v2/a/manifests/v1", &headers, text).await;
            put.refused(400, "MANIFEST_INVALID");
        }
    }
    site.get("/v2/a/manifests/v1").await.is(404);
}

#[tokio::test]
async fn a_tag_moves_and_the_old_manifest_stays_readable_by_digest() {
    let site = Site::start();
    let old = site.push_image("a", "latest", "1").await;
    let new = site.push_image("a", "latest", "2").await;
    assert_eq!(
        site.get("/v2/a/manifests/latest").await.header("docker-content-digest"),
        new.to_string()
    );
    site.get(&format!("/v2/a/manifests/{old}")).await.is(200);
}
