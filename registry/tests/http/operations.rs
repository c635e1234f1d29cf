//! Health, metrics and the access log.

use registry::config::Switch;

use crate::site::Site;

#[tokio::test]
async fn health_needs_no_credentials_and_says_ok() {
    let site = Site::start();
    assert_eq!(site.get("/healthz").await.is(200).json()["status"], "ok");
    site.send("POST", "/healthz", &[], "").await.refused(405, "UNSUPPORTED");
    std::fs::remove_dir_all(site.root().join("registry")).expect("removed");
    assert_eq!(site.get("/healthz").await.status, 503);
}

#[tokio::test]
async fn metrics_count_what_was_done() {
    let site = Site::start();
    site.push_image("a", "v1", "x").await;
    site.get("/v2/a/manifests/v1").await.is(200);
    site.get("/v2/a/manifests/none").await.is(404);
    site.open("a").await;
    let page = site.get("/metrics").await.is(200);
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(page.body).expect("text");
    for row in [
        "wherry_registry_requests_total{endpoint=\"manifest\",method=\"GET\",status=\"200\"} 1",
        "wherry_registry_requests_total{endpoint=\"manifest\",method=\"GET\",status=\"404\"} 1",
        "wherry_registry_requests_total{endpoint=\"manifest\",method=\"PUT\",status=\"201\"} 1",
        "wherry_registry_requests_total{endpoint=\"upload\",method=\"POST\",status=\"201\"} 2",
        "wherry_registry_uploads_open 1",
    ] {
        assert!(text.lines().any(|line| line == row), "{row} in\n{text}");
    }
    let off = Site::with(|config| config.metrics = Switch::Off);
    assert_eq!(off.get("/metrics").await.status, 404);
}

#[tokio::test]
async fn the_access_log_has_a_line_per_request_without_queries() {
    let site = Site::start();
    site.send("GET", "/v2/a/tags/list?n=secret", &[("user-agent", "probe/1")], "").await;
    let blob = site.push_blob("a", &crate::site::noise(300_000, 1)).await;
    site.get(&format!("/v2/a/blobs/{blob}")).await.is(200);
    let running = site.server.expect("running");
    running.stop().expect("stopped");
    let text = site.log.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].contains(" - GET \"/v2/a/tags/list\" 404 ") && lines[0].ends_with("\"probe/1\""),
        "{text}"
    );
    assert!(lines[2].contains(&format!("GET \"/v2/a/blobs/{blob}\" 200 300000 ")), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn methods_that_an_endpoint_has_not_are_405_with_the_ones_it_has() {
    let site = Site::start();
    let digest = oci::Digest::sha256(b"x");
    let table = [
        ("POST", "/v2/a/tags/list".to_owned(), "GET"),
        ("PUT", format!("/v2/a/blobs/{digest}"), "GET, HEAD, DELETE"),
        ("POST", "/v2/a/manifests/v1".to_owned(), "GET, HEAD, PUT, DELETE"),
        ("GET", "/v2/a/blobs/uploads/".to_owned(), "POST"),
        ("PUT", format!("/v2/a/referrers/{digest}"), "GET"),
        ("DELETE", "/v2/_catalog".to_owned(), "GET"),
        (
            "POST",
            "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000".to_owned(),
            "GET, PATCH, PUT, DELETE",
        ),
    ];
    for (method, path, allowed) in table {
        let refused = site.send(method, &path, &[], "").await;
        refused.refused(405, "UNSUPPORTED");
        assert_eq!(refused.header("allow"), allowed, "{path}");
    }
    site.get("/v2/a/nothing").await.refused(404, "UNSUPPORTED");
    site.get("/").await.refused(404, "UNSUPPORTED");
}
