//! "Pushing blobs": monolithic, chunked, streamed; status, cancel, order, errors.

use oci::{Algorithm, Digest};

use crate::site::{Site, noise};

/// Covers: DST-8
#[tokio::test]
async fn post_then_put_stores_the_blob() {
    let site = Site::start();
    let content = noise(1_000_000, 1);
    let digest = Digest::sha256(&content);
    let opened = site.send("POST", "/v2/a/blobs/uploads/", &[], "").await.is(202);
    let location = opened.header("location").to_owned();
    let id = location.rsplit('/').next().expect("an id");
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "the location holds a UUID");
    let put = site
        .send("PUT", &format!("{location}?digest={digest}"), &[], content.clone())
        .await
        .is(201);
    assert_eq!(put.header("location"), format!("/v2/a/blobs/{digest}"));
    assert_eq!(put.header("docker-content-digest"), digest.to_string());
    assert_eq!(site.get(put.header("location")).await.is(200).body, content);
    site.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

/// Covers: DST-9
#[tokio::test]
async fn a_single_post_stores_the_blob() {
    let site = Site::start();
    let digest = Digest::sha256(b"content");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let post = site
        .send("POST", &path, &[("content-type", "application/octet-stream")], "content")
        .await
        .is(201);
    assert_eq!(site.get(post.header("location")).await.is(200).body, b"content");
}

/// Covers: DST-10
#[tokio::test]
async fn chunks_in_order_make_the_blob_and_the_last_may_ride_the_put() {
    for last_in_put in [false, true] {
        let site = Site::start();
        let content = noise(3_000, 2);
        let mut location = site.open("a").await;
        for (at, chunk) in content.chunks(1_000).enumerate().take(if last_in_put { 2 } else { 3 }) {
            let range = format!("{}-{}", at * 1_000, at * 1_000 + 999);
            let patched = site
                .send("PATCH", &location, &[("content-range", &range)], chunk.to_vec())
                .await
                .is(202);
            assert_eq!(patched.header("range"), format!("0-{}", at * 1_000 + 999));
            location = patched.header("location").to_owned();
        }
        let put = format!("{location}?digest={}", Digest::sha256(&content));
        let done = match last_in_put {
            true => {
                site.send("PUT", &put, &[("content-range", "2000-2999")], content[2_000..].to_vec())
                    .await
            }
            false => site.send("PUT", &put, &[], "").await,
        };
        assert_eq!(site.get(done.is(201).header("location")).await.is(200).body, content);
    }
}

/// Covers: DST-10, DST-12
#[tokio::test]
async fn a_chunk_out_of_order_is_416_and_changes_nothing() {
    let site = Site::start();
    let location = site.open("a").await;
    let status = site.get(&location).await.is(204);
    assert_eq!(status.header("range"), "0-0");
    site.send("PATCH", &location, &[("content-range", "0-9")], "0123456789").await.is(202);
    for range in ["0-9", "5-14", "11-20", "20-29"] {
        let refused =
            site.send("PATCH", &location, &[("content-range", range)], "abcdefghij").await;
        refused.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(
            (refused.header("range"), refused.header("location")),
            ("0-9", location.as_str())
        );
        let digest = Digest::sha256(b"0123456789abcdefghij");
        let put = site
            .send(
                "PUT",
                &format!("{location}?digest={digest}"),
                &[("content-range", range)],
                "abcdefghij",
            )
            .await;
        put.refused(416, "BLOB_UPLOAD_INVALID");
        let status = site.get(&location).await.is(204);
        assert_eq!((status.header("range"), status.header("location")), ("0-9", location.as_str()));
    }
    let put = format!("{location}?digest={}", Digest::sha256(b"0123456789abcdefghij"));
    site.send("PUT", &put, &[("content-range", "10-19")], "abcdefghij").await.is(201);
}

#[tokio::test]
async fn a_malformed_content_range_is_refused_before_anything_is_kept() {
    let site = Site::start();
    let location = site.open("a").await;
    for bad in ["bytes 0-4/5", "bytes=0-4", "4-0", "0-", "-4", "a-b"] {
        let refused = site.send("PATCH", &location, &[("content-range", bad)], "01234").await;
        refused.refused(400, "BLOB_UPLOAD_INVALID");
    }
    let lying = site.send("PATCH", &location, &[("content-range", "0-9")], "01234").await;
    lying.refused(400, "SIZE_INVALID");
    assert_eq!(site.get(&location).await.is(204).header("range"), "0-0");
    site.send("PATCH", &location, &[("content-range", "0-4")], "01234").await.is(202);
}

#[tokio::test]
async fn a_chunk_of_unannounced_length_must_fit_its_range() {
    let site = Site::start();
    let location = site.open("a").await;
    site.send("PATCH", &location, &[("content-range", "0-4")], "01234").await.is(202);
    for content in ["5678", "567890"] {
        let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(content)]);
        let body = reqwest::Body::wrap_stream(stream);
        let refused = site.send("PATCH", &location, &[("content-range", "5-9")], body).await;
        refused.refused(400, "SIZE_INVALID");
        assert_eq!(site.get(&location).await.is(204).header("range"), "0-4", "undone");
    }
    let put = format!("{location}?digest={}", Digest::sha256(b"0123456789"));
    site.send("PUT", &put, &[("content-range", "5-9")], "56789").await.is(201);
}

/// Covers: DST-10
#[tokio::test]
async fn a_stream_without_a_range_is_appended_as_docker_and_skopeo_do() {
    let site = Site::start();
    let content = noise(2_500_000, 3);
    let location = site.open("a").await;
    let pieces: Vec<_> =
        content.chunks(70_001).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let patched = site.send("PATCH", &location, &[], body).await.is(202);
    assert_eq!(patched.header("range"), "0-2499999");
    let put = format!("{}?digest={}", patched.header("location"), Digest::sha256(&content));
    let done = site.send("PUT", &put, &[], "").await.is(201);
    assert_eq!(site.get(done.header("location")).await.body, content);
}

/// Covers: DST-13
#[tokio::test]
async fn a_cancelled_upload_is_gone_with_its_bytes() {
    let site = Site::start();
    let location = site.open("a").await;
    site.send("PATCH", &location, &[], "some bytes").await.is(202);
    site.delete(&location).await.is(204);
    site.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    site.send("PATCH", &location, &[], "more").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    site.delete(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let left = site.root().join("registry/repositories/a/_uploads");
    assert_eq!(std::fs::read_dir(left).expect("a folder").count(), 0);
}

/// Covers: DST-5, B06-42
#[tokio::test]
async fn content_of_another_digest_is_refused_by_every_way_in() {
    let site = Site::start();
    let (wrong, content) = (Digest::sha256(b"promised"), "sent");
    let post =
        site.send("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), &[], content).await;
    post.refused(400, "DIGEST_INVALID");
    let location = site.open("a").await;
    let put = format!("{location}?digest={wrong}");
    site.send("PUT", &put, &[], content).await.refused(400, "DIGEST_INVALID");
    let location = site.open("a").await;
    site.send("PATCH", &location, &[], content).await.is(202);
    site.send("PUT", &format!("{location}?digest={wrong}"), &[], "")
        .await
        .refused(400, "DIGEST_INVALID");
    let sha512 = Digest::of(Algorithm::Sha512, b"promised");
    let location = site.open("a").await;
    site.send("PUT", &format!("{location}?digest={sha512}"), &[], content)
        .await
        .refused(400, "DIGEST_INVALID");
    for digest in [wrong, Digest::sha256(content.as_bytes()), sha512] {
        site.get(&format!("/v2/a/blobs/{digest}")).await.is(404);
    }
    let left = site.root().join("registry/repositories/a/_uploads");
    assert_eq!(std::fs::read_dir(left).expect("a folder").count(), 0, "nothing half-done stays");
}

#[tokio::test]
async fn a_put_without_a_good_digest_leaves_the_upload_as_it_was() {
    let site = Site::start();
    let location = site.open("a").await;
    site.send("PATCH", &location, &[], "01234").await.is(202);
    site.send("PUT", &location, &[], "").await.refused(400, "DIGEST_INVALID");
    site.send("PUT", &format!("{location}?digest=sha256:12"), &[], "")
        .await
        .refused(400, "DIGEST_INVALID");
    assert_eq!(site.get(&location).await.is(204).header("range"), "0-4");
    site.send("PUT", &format!("{location}?digest={}", Digest::sha256(b"01234")), &[], "")
        .await
        .is(201);
}

#[tokio::test]
async fn an_upload_of_another_repository_is_unknown() {
    let site = Site::start();
    let location = site.open("a").await;
    let stolen = location.replace("/v2/a/", "/v2/b/");
    for (method, path) in [
        ("GET", stolen.clone()),
        ("PATCH", stolen.clone()),
        ("DELETE", stolen.clone()),
        ("PUT", format!("{stolen}?digest={}", Digest::sha256(b"x"))),
        ("GET", "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000".to_owned()),
        ("PATCH", "/v2/a/blobs/uploads/..%2f..%2f_tags".to_owned()),
    ] {
        site.send(method, &path, &[], "x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    site.get(&location).await.is(204);
}

#[tokio::test]
async fn a_blob_is_readable_only_through_a_repository_that_has_it() {
    let site = Site::start();
    let digest = site.push_blob("a", b"private").await;
    site.push_blob("b", b"other").await;
    site.get(&format!("/v2/a/blobs/{digest}")).await.is(200);
    site.get(&format!("/v2/b/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    site.head(&format!("/v2/b/blobs/{digest}")).await.is(404);
    // Pushed again, it is stored once and readable through both.
    site.push_blob("b", b"private").await;
    site.get(&format!("/v2/b/blobs/{digest}")).await.is(200);
    assert_eq!(std::fs::read_dir(site.root().join("blobs/sha256")).expect("a folder").count(), 2);
}

#[tokio::test]
async fn the_same_blob_uploaded_by_many_at_once_is_stored_once_and_whole() {
    let site = std::sync::Arc::new(Site::start());
    let content = noise(400_000, 7);
    let digest = Digest::sha256(&content);
    let pushes: Vec<_> = (0..12)
        .map(|at| {
            let (site, content, digest) = (site.clone(), content.clone(), digest.clone());
            tokio::spawn(async move {
                let name = if at % 2 == 0 { "a" } else { "b" };
                let location = site.open(name).await;
                site.send("PATCH", &location, &[], content).await.is(202);
                site.send("PUT", &format!("{location}?digest={digest}"), &[], "").await.is(201);
            })
        })
        .collect();
    for push in pushes {
        push.await.expect("pushed");
    }
    for name in ["a", "b"] {
        assert_eq!(site.get(&format!("/v2/{name}/blobs/{digest}")).await.is(200).body, content);
    }
    assert_eq!(std::fs::read_dir(site.root().join("blobs/sha256")).expect("a folder").count(), 1);
}

#[tokio::test]
async fn a_blob_above_the_limit_is_413_and_leaves_nothing() {
    let site = Site::with(|config| config.limits.blob_bytes = 1_000);
    let (small, large) = (noise(1_000, 1), noise(1_001, 2));
    site.push_blob("a", &small).await;
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&large));
    site.send("POST", &path, &[], large.clone()).await.refused(413, "SIZE_INVALID");
    let location = site.open("a").await;
    site.send("PATCH", &location, &[], small.clone()).await.is(202);
    site.send("PATCH", &location, &[], "x").await.refused(413, "SIZE_INVALID");
    assert_eq!(site.get(&location).await.is(204).header("range"), "0-999");
}
