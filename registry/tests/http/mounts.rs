//! "Mounting a blob from another repository".

use oci::Digest;

use crate::site::Site;

/// Covers: DST-14
#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    let site = Site::start();
    let digest = site.push_blob("from/here", b"shared").await;
    let path = format!("/v2/to/there/blobs/uploads/?mount={digest}&from=from/here");
    let mounted = site.send("POST", &path, &[], "").await.is(201);
    assert_eq!(mounted.header("docker-content-digest"), digest.to_string());
    assert_eq!(site.get(mounted.header("location")).await.is(200).body, b"shared");
}

/// Covers: DST-14
#[tokio::test]
async fn a_mount_that_cannot_be_made_opens_an_upload() {
    let site = Site::start();
    let digest = Digest::sha256(b"shared");
    site.push_blob("other", b"something else").await;
    for from in ["other", "never/seen"] {
        let path = format!("/v2/to/blobs/uploads/?mount={digest}&from={from}");
        let opened = site.send("POST", &path, &[], "").await.is(202);
        let location = opened.header("location").to_owned();
        site.send("PUT", &format!("{location}?digest={digest}"), &[], "shared").await.is(201);
        site.delete(&format!("/v2/to/blobs/{digest}")).await.is(202);
    }
}

/// Covers: DST-15
#[tokio::test]
async fn without_a_source_any_readable_repository_will_do() {
    let site = Site::start();
    let digest = site.push_blob("somewhere/deep/down", b"shared").await;
    let mounted =
        site.send("POST", &format!("/v2/to/blobs/uploads/?mount={digest}"), &[], "").await.is(201);
    assert_eq!(site.get(mounted.header("location")).await.is(200).body, b"shared");
    let absent = Digest::sha256(b"absent");
    site.send("POST", &format!("/v2/to/blobs/uploads/?mount={absent}"), &[], "").await.is(202);
}

#[tokio::test]
async fn a_blob_whose_last_link_is_gone_cannot_be_mounted() {
    let site = Site::start();
    let digest = site.push_blob("from", b"shared").await;
    site.delete(&format!("/v2/from/blobs/{digest}")).await.is(202);
    for query in [format!("mount={digest}&from=from"), format!("mount={digest}")] {
        site.send("POST", &format!("/v2/to/blobs/uploads/?{query}"), &[], "").await.is(202);
    }
    site.get(&format!("/v2/to/blobs/{digest}")).await.is(404);
}

#[tokio::test]
async fn a_malformed_mount_is_refused() {
    let site = Site::start();
    let digest = Digest::sha256(b"x");
    site.send("POST", "/v2/to/blobs/uploads/?mount=sha256:12&from=a", &[], "")
        .await
        .refused(400, "DIGEST_INVALID");
    let climbing = format!("/v2/to/blobs/uploads/?mount={digest}&from=../a");
    site.send("POST", &climbing, &[], "").await.refused(400, "NAME_INVALID");
}
