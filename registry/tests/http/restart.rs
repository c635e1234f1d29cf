//! What a stopped server leaves, and what the next one makes of it.

use oci::{Algorithm, Digest};

use crate::site::{Site, noise};

/// Covers: DST-12
#[tokio::test]
async fn an_upload_goes_on_after_a_restart_where_it_stopped() {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let mut site = Site::start();
        let content = noise(900_000, 5);
        let opened = site
            .send("POST", &format!("/v2/a/blobs/uploads/?digest-algorithm={algorithm}"), &[], "")
            .await
            .is(202);
        let location = opened.header("location").to_owned();
        site.send(
            "PATCH",
            &location,
            &[("content-range", "0-599999")],
            content[..600_000].to_vec(),
        )
        .await
        .is(202);
        site.restart(|_| {});
        let status = site.get(&location).await.is(204);
        assert_eq!(status.header("range"), "0-599999");
        site.send(
            "PATCH",
            &location,
            &[("content-range", "600000-899999")],
            content[600_000..].to_vec(),
        )
        .await
        .is(202);
        let digest = Digest::of(algorithm, &content);
        let done = site.send("PUT", &format!("{location}?digest={digest}"), &[], "").await.is(201);
        assert_eq!(site.get(done.header("location")).await.is(200).body, content);
    }
}

#[tokio::test]
async fn everything_that_was_pushed_is_there_after_a_restart() {
    let mut site = Site::start();
    let digest = site.push_image("a/b", "v1", "x").await;
    let before = site.get("/v2/a/b/manifests/v1").await.is(200).body;
    site.restart(|_| {});
    let after = site.get("/v2/a/b/manifests/v1").await.is(200);
    assert_eq!(
        (after.header("docker-content-digest"), after.body.as_slice()),
        (digest.to_string().as_str(), before.as_slice())
    );
    assert_eq!(site.get("/v2/_catalog").await.json()["repositories"], serde_json::json!(["a/b"]));
}

/// Covers: DST-73
#[tokio::test]
async fn an_upload_is_removed_when_its_last_write_is_too_old() {
    let mut site = Site::start();
    let (old, young) = (site.open("a").await, site.open("a").await);
    for location in [&old, &young] {
        site.send("PATCH", location, &[], "bytes").await.is(202);
    }
    let id = old.rsplit('/').next().expect("an id");
    let data = site.root().join("registry/repositories/a/_uploads").join(id).join("data");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3600);
    std::fs::File::options()
        .write(true)
        .open(&data)
        .expect("a file")
        .set_modified(long_ago)
        .expect("set");
    // The first look comes with the start.
    site.restart(|_| {});
    site.until_metric("wherry_registry_uploads_open 1").await;
    site.get(&old).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    site.get(&young).await.is(204);
}

#[tokio::test]
async fn a_second_server_on_the_root_or_the_port_is_refused_with_a_reason() {
    let site = Site::start();
    let Err(error) = registry::Server::bind(registry::Config::loopback(site.root())) else {
        panic!("bound twice")
    };
    assert!(matches!(error, registry::Error::RootInUse { .. }), "{error}");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let config = registry::Config::new(site.running().local_addr(), elsewhere.path());
    let Err(error) = registry::Server::bind(config) else { panic!("bound twice") };
    assert!(matches!(error, registry::Error::AddressTaken { .. }), "{error}");
    assert!(error.to_string().contains("the port is taken"), "{error}");
}

#[tokio::test]
async fn a_stopping_server_finishes_what_runs() {
    let mut site = Site::start();
    let content = noise(3_000_000, 9);
    let digest = Digest::sha256(&content);
    let location = site.open("a").await;
    let url = site.url(&format!("{location}?digest={digest}"));
    let (mut sender, receiver) = tokio::io::duplex(64 * 1024);
    let body =
        reqwest::Body::wrap_stream(futures_util::stream::unfold(receiver, async |mut receiver| {
            let mut buffer = vec![0; 32 * 1024];
            match tokio::io::AsyncReadExt::read(&mut receiver, &mut buffer).await {
                Ok(count) if count > 0 => {
                    Some((Ok::<_, std::io::Error>(buffer[..count].to_vec()), receiver))
                }
                _ => None,
            }
        }));
    let pushing = tokio::spawn(site.client.put(url).body(body).send());
    tokio::io::AsyncWriteExt::write_all(&mut sender, &content[..1_000_000]).await.expect("written");
    site.until_metric("wherry_registry_uploads_receiving 1").await;
    let server = site.server.take().expect("running");
    let stopping = tokio::task::spawn_blocking(move || server.stop());
    tokio::io::AsyncWriteExt::write_all(&mut sender, &content[1_000_000..]).await.expect("written");
    drop(sender);
    assert_eq!(pushing.await.expect("joined").expect("an answer").status(), 201);
    stopping.await.expect("joined").expect("stopped");
}
