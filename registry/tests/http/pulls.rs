//! "Pulling manifests", "Pulling blobs", "Checking if content exists".

use oci::{Algorithm, Digest};

use crate::site::{OCI_MANIFEST, Site, digest_of, noise};

/// Covers: DST-1
#[tokio::test]
async fn the_base_says_that_the_registry_speaks_the_protocol() {
    let site = Site::start();
    for path in ["/v2/", "/v2"] {
        let answer = site.get(path).await.is(200);
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
        assert_eq!(answer.json(), serde_json::json!({}));
    }
    site.head("/v2/").await.is(200);
    site.send("POST", "/v2/", &[], "").await.refused(405, "UNSUPPORTED");
}

/// Covers: DST-3, DST-41, B06-09, B06-36
#[tokio::test]
async fn a_manifest_is_served_byte_for_byte_by_tag_and_by_digest() {
    let site = Site::start();
    let manifest = site.image("a/b", "x").await;
    // Spaces, order and unknown fields are the pusher's business.
    let text =
        format!(" {}\n\n", manifest.to_string().replacen('{', "{ \"unknown\" : [1, 2],\t", 1));
    let digest = Digest::sha256(text.as_bytes());
    let put = site
        .send("PUT", "/v2/a/b/manifests/v1", &[("content-type", OCI_MANIFEST)], text.clone())
        .await
        .is(201);
    assert_eq!(put.header("docker-content-digest"), digest.to_string());
    for reference in [
        "v1".to_owned(),
        digest.to_string(),
        put.header("location").rsplit('/').next().expect("a part").to_owned(),
    ] {
        let path = format!("/v2/a/b/manifests/{reference}");
        let got = site.get(&path).await.is(200);
        assert_eq!(got.body, text.as_bytes());
        let head = site.head(&path).await.is(200);
        assert!(head.body.is_empty());
        for answer in [&got, &head] {
            assert_eq!(answer.header("content-type"), OCI_MANIFEST);
            assert_eq!(answer.header("docker-content-digest"), digest.to_string());
            assert_eq!(answer.header("content-length"), text.len().to_string());
        }
    }
}

#[tokio::test]
async fn a_location_can_be_pulled() {
    let site = Site::start();
    let manifest = site.image("a", "x").await;
    let put = site.put_manifest("a", "v1", &manifest).await.is(201);
    assert_eq!(
        site.get(put.header("location")).await.is(200).body,
        manifest.to_string().as_bytes()
    );
    let digest = Digest::sha256(b"blob");
    let post = site
        .send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], "blob")
        .await
        .is(201);
    assert_eq!(site.get(post.header("location")).await.is(200).body, b"blob");
}

#[tokio::test]
async fn what_is_not_there_is_404_with_the_right_code() {
    let site = Site::start();
    let digest = Digest::sha256(b"absent");
    site.get("/v2/none/manifests/v1").await.refused(404, "NAME_UNKNOWN");
    site.get(&format!("/v2/none/blobs/{digest}")).await.refused(404, "NAME_UNKNOWN");
    site.push_image("a", "v1", "x").await;
    site.get("/v2/a/manifests/v2").await.refused(404, "MANIFEST_UNKNOWN");
    site.get("/v2/a/manifests/.INVALID_MANIFEST_NAME").await.refused(404, "MANIFEST_UNKNOWN");
    site.get(&format!("/v2/a/manifests/{digest}")).await.refused(404, "MANIFEST_UNKNOWN");
    site.get(&format!("/v2/a/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    let absent = Digest::of(Algorithm::Sha512, b"absent");
    site.get(&format!("/v2/a/blobs/{absent}")).await.refused(404, "BLOB_UNKNOWN");
    for path in [format!("/v2/a/manifests/{digest}"), format!("/v2/a/blobs/{digest}")] {
        assert!(site.head(&path).await.is(404).body.is_empty());
    }
}

#[tokio::test]
async fn a_malformed_digest_is_400() {
    let site = Site::start();
    for bad in ["sha256:12", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:", "x:y"] {
        site.get(&format!("/v2/a/blobs/{bad}")).await.refused(400, "DIGEST_INVALID");
        site.get(&format!("/v2/a/manifests/{bad}")).await.refused(400, "DIGEST_INVALID");
        site.get(&format!("/v2/a/referrers/{bad}")).await.refused(400, "DIGEST_INVALID");
    }
}

/// Covers: DST-6
#[tokio::test]
async fn a_blob_is_served_whole_or_in_the_range_asked_for() {
    let site = Site::start();
    let content = noise(700_000, 1);
    let path = format!("/v2/a/blobs/{}", site.push_blob("a", &content).await);
    let whole = site.get(&path).await.is(200);
    assert_eq!(whole.body, content);
    assert_eq!(whole.header("content-length"), "700000");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let table: [(&str, std::ops::Range<usize>); 6] = [
        ("bytes=0-0", 0..1),
        ("bytes=100-299999", 100..300_000),
        ("bytes=699999-", 699_999..700_000),
        ("bytes=5-", 5..700_000),
        ("bytes=-10", 699_990..700_000),
        ("bytes=-9999999", 0..700_000),
    ];
    for (range, expected) in table {
        let part = site.send("GET", &path, &[("range", range)], "").await.is(206);
        assert_eq!(part.body, content[expected.clone()], "{range}");
        let place = format!("bytes {}-{}/700000", expected.start, expected.end - 1);
        assert_eq!(part.header("content-range"), place);
        assert_eq!(part.header("content-length"), expected.len().to_string());
    }
    for range in ["bytes=700000-", "bytes=9-8", "bytes=-0"] {
        let refused = site.send("GET", &path, &[("range", range)], "").await;
        refused.refused(416, "SIZE_INVALID");
        assert_eq!(refused.header("content-range"), "bytes */700000");
    }
    for range in ["bytes=0-1,4-5", "bytes=x-y", "items=0-1"] {
        assert_eq!(
            site.send("GET", &path, &[("range", range)], "").await.is(200).body.len(),
            700_000
        );
    }
}

#[tokio::test]
async fn a_known_blob_or_manifest_is_not_sent_again() {
    let site = Site::start();
    let digest = site.push_image("a", "v1", "x").await;
    let etag = site.get("/v2/a/manifests/v1").await.header("etag").to_owned();
    assert_eq!(etag, format!("\"{digest}\""));
    let same =
        site.send("GET", "/v2/a/manifests/v1", &[("if-none-match", &etag)], "").await.is(304);
    assert!(same.body.is_empty());
    let blob = format!("/v2/a/blobs/{}", site.push_blob("a", b"0123456789").await);
    let etag = site.get(&blob).await.header("etag").to_owned();
    site.send("GET", &blob, &[("if-none-match", &etag)], "").await.is(304);
    let ranged = [("range", "bytes=1-2"), ("if-range", etag.as_str())];
    assert_eq!(site.send("GET", &blob, &ranged, "").await.is(206).body, b"12");
    let other = [("range", "bytes=1-2"), ("if-range", "\"another\"")];
    assert_eq!(site.send("GET", &blob, &other, "").await.is(200).body, b"0123456789");
}

#[tokio::test]
async fn a_head_of_a_blob_has_its_length_and_digest_and_no_body() {
    let site = Site::start();
    let digest = site.push_blob("a", &noise(300_000, 2)).await;
    let head = site.head(&format!("/v2/a/blobs/{digest}")).await.is(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), "300000");
    assert_eq!(head.header("docker-content-digest"), digest.to_string());
}

#[tokio::test]
async fn the_empty_blob_is_a_blob() {
    let site = Site::start();
    let digest = site.push_blob("a", b"").await;
    let got = site.get(&format!("/v2/a/blobs/{digest}")).await.is(200);
    assert_eq!((got.body.len(), got.header("content-length")), (0, "0"));
    let ranged =
        site.send("GET", &format!("/v2/a/blobs/{digest}"), &[("range", "bytes=0-")], "").await;
    ranged.refused(416, "SIZE_INVALID");
}

/// Covers: DST-18
#[tokio::test]
async fn a_sha512_image_is_pushed_and_pulled_like_any_other() {
    let site = Site::start();
    let sha512 = |bytes: &[u8]| Digest::of(Algorithm::Sha512, bytes);
    let (config, layer) = (b"{}".as_slice(), noise(5_000, 3));
    let mut manifest = crate::site::image_of(config, &layer);
    manifest["config"]["digest"] =
        site.push_blob_as("a", config, Algorithm::Sha512).await.to_string().into();
    manifest["layers"][0]["digest"] = sha512(&layer).to_string().into();
    // The other way in: a session that is told the algorithm, and streams.
    let opened =
        site.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", &[], "").await.is(202);
    let location = opened.header("location").to_owned();
    site.send("PATCH", &location, &[], layer.clone()).await.is(202);
    site.send("PUT", &format!("{location}?digest={}", sha512(&layer)), &[], "").await.is(201);
    let digest = sha512(manifest.to_string().as_bytes());
    let put = site.put_manifest("a", &digest.to_string(), &manifest).await.is(201);
    assert_eq!(put.header("docker-content-digest"), digest.to_string());
    let got = site.get(&format!("/v2/a/manifests/{digest}")).await.is(200);
    assert_eq!(sha512(&got.body), digest);
    // The same bytes under another algorithm are another manifest.
    site.get(&format!("/v2/a/manifests/{}", digest_of(&manifest)))
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    let unsupported = site.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], "").await;
    unsupported.refused(400, "DIGEST_INVALID");
}
