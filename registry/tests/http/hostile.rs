//! What a hostile or broken client sends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use oci::Digest;

use crate::site::{OCI_MANIFEST, Site, noise};

/// Sends bytes as they are; what comes back until the server closes.
fn raw(site: &Site, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(site.running().local_addr()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    // The server may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(line: &str, headers: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn a_name_that_climbs_is_invalid_and_touches_nothing_outside() {
    let site = Site::start();
    std::fs::write(site.root().join("secret"), "secret").expect("written");
    for path in [
        "/v2/../secret/tags/list",
        "/v2/a/../../secret/manifests/v1",
        "/v2/%2e%2e/manifests/v1",
        "/v2/..%2f..%2fsecret/tags/list",
        "/v2/a/%2e%2e/%2e%2e/tags/list",
        "/v2/_uploads/tags/list",
        "/v2/a/_tags/manifests/v1",
        "/v2/.hidden/tags/list",
        "/v2/a%00/tags/list",
        "/v2/A/tags/list",
        "/v2//tags/list",
        "/v2/a//b/tags/list",
    ] {
        let answer = raw(&site, &request(&format!("GET {path}"), ""));
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("NAME_INVALID"),
            "{path}: {answer}"
        );
    }
    for path in ["/v2/a/manifests/..%2f..%2fsecret", "/v2/a/manifests/%2e%2e"] {
        let answer = raw(&site, &request(&format!("PUT {path}"), "content-length: 2\r\n\r\n{}"));
        assert!(answer.contains("MANIFEST_INVALID"), "{path}: {answer}");
    }
    let answer = raw(&site, &request("GET /v2/a/blobs/sha256:..%2f..%2f..%2fsecret", ""));
    assert!(answer.contains("DIGEST_INVALID"), "{answer}");
    assert_eq!(
        std::fs::read_dir(site.root().join("registry/repositories")).expect("a folder").count(),
        0
    );
}

#[tokio::test]
async fn a_name_of_256_bytes_is_invalid_and_one_of_255_works() {
    let site = Site::start();
    let (longest, longer) = (format!("{}/{}", "a".repeat(127), "b".repeat(127)), "a".repeat(256));
    site.push_image(&longest, "v1", "x").await;
    site.get(&format!("/v2/{longest}/manifests/v1")).await.is(200);
    site.get(&format!("/v2/{longer}/tags/list")).await.refused(400, "NAME_INVALID");
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut() {
    let site = Site::with(|config| config.limits.head_seconds = 1);
    for bytes in [&b""[..], b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let started = Instant::now();
        let answer = raw(&site, bytes);
        assert!(started.elapsed() < Duration::from_secs(10), "{answer}");
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    site.get("/v2/").await.is(200);
}

#[tokio::test]
async fn a_connection_that_stays_idle_between_requests_is_cut() {
    let site = Site::with(|config| config.limits.head_seconds = 1);
    let started = Instant::now();
    let answer = raw(&site, b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_that_stops_is_given_up_and_what_came_is_kept() {
    let site = Site::with(|config| config.limits.idle_seconds = 1);
    let location = site.open("a").await;
    let answer = raw(
        &site,
        &[
            request(&format!("PATCH {location}"), "content-length: 100\r\n").as_slice(),
            b"0123456789",
        ]
        .concat(),
    );
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("SIZE_INVALID"), "{answer}");
    assert_eq!(site.get(&location).await.is(204).header("range"), "0-9");
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_refused() {
    let site = Site::start();
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let answer = raw(&site, &request("GET /v2/", &many));
    assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let long = format!("x: {}\r\n", "y".repeat(300_000));
    let answer = raw(&site, &request("GET /v2/", &long));
    assert!(
        answer.is_empty()
            || answer.starts_with("HTTP/1.1 431")
            || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    site.get("/v2/").await.is(200);
}

#[tokio::test]
async fn a_broken_connection_leaves_an_upload_that_can_go_on() {
    let site = Site::start();
    let content = noise(1_000_000, 4);
    let location = site.open("a").await;
    let mut stream = TcpStream::connect(site.running().local_addr()).expect("connected");
    let head = request(
        &format!("PATCH {location}"),
        "content-range: 0-999999\r\ncontent-length: 1000000\r\n",
    );
    stream.write_all(&head).expect("written");
    stream.write_all(&content[..400_000]).expect("written");
    stream.shutdown(Shutdown::Both).expect("shut");
    drop(stream);
    // A status that comes before the broken request was read says 0; one that comes during it
    // waits for the session to be let go.
    let deadline = Instant::now() + Duration::from_secs(10);
    let last: usize = loop {
        let status = site.get(&location).await.is(204);
        let last = status.header("range").trim_start_matches("0-").parse().expect("a number");
        if last > 0 || Instant::now() > deadline {
            break last;
        }
    };
    assert!(last > 0 && last < 400_000, "{last}");
    let next = last + 1;
    let range = format!("{next}-999999");
    site.send("PATCH", &location, &[("content-range", &range)], content[next..].to_vec())
        .await
        .is(202);
    let put = format!("{location}?digest={}", Digest::sha256(&content));
    let done = site.send("PUT", &put, &[], "").await.is(201);
    assert_eq!(site.get(done.header("location")).await.body, content);
}

#[tokio::test]
async fn a_monolithic_push_that_breaks_off_leaves_nothing() {
    let site = Site::start();
    let digest = Digest::sha256(&noise(500_000, 1));
    let mut stream = TcpStream::connect(site.running().local_addr()).expect("connected");
    let path = format!("POST /v2/a/blobs/uploads/?digest={digest}");
    stream.write_all(&request(&path, "content-length: 500000\r\n")).expect("written");
    stream.write_all(&noise(200_000, 1)).expect("written");
    drop(stream);
    let location = site.open("b").await;
    site.get(&location).await.is(204);
    site.get(&format!("/v2/a/blobs/{digest}")).await.is(404);
    let uploads = site.root().join("registry/repositories/a/_uploads");
    let deadline = Instant::now() + Duration::from_secs(10);
    let left = || std::fs::read_dir(&uploads).map_or(0, Iterator::count);
    while left() > 0 && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert_eq!(left(), 0);
}

#[tokio::test]
async fn a_refused_body_does_not_eat_the_answer() {
    let site = Site::start();
    let large = vec![b' '; 6 * 1024 * 1024];
    let refused = site
        .send("PUT", "/v2/a/manifests/v1", &[("content-type", OCI_MANIFEST)], large.clone())
        .await;
    refused.refused(413, "MANIFEST_INVALID");
    let gone = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";
    site.send("PATCH", gone, &[], large).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn one_upload_too_many_is_told_when_to_come_back() {
    let site = Site::with(|config| config.limits.uploads = 1);
    let (first, second) = (site.open("a").await, site.open("a").await);
    let mut stream = TcpStream::connect(site.running().local_addr()).expect("connected");
    stream
        .write_all(&request(&format!("PATCH {first}"), "content-length: 10\r\n"))
        .expect("written");
    stream.write_all(b"01234").expect("written");
    site.until_metric("wherry_registry_uploads_receiving 1").await;
    let refused = site.send("PATCH", &second, &[], "x").await;
    refused.refused(429, "TOOMANYREQUESTS");
    assert_eq!(refused.header("retry-after"), "1");
    stream.write_all(b"56789").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    site.send("PATCH", &second, &[], "x").await.is(202);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served() {
    let site = Site::with(|config| {
        config.limits.connections = 2;
        config.limits.head_seconds = 1;
    });
    let addr = site.running().local_addr();
    let idle: Vec<_> = (0..4).map(|_| TcpStream::connect(addr).expect("connected")).collect();
    site.get("/v2/").await.is(200);
    drop(idle);
}

#[tokio::test]
async fn what_is_no_http_is_dropped() {
    let site = Site::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = raw(&site, bytes);
        assert!(!answer.contains("200"), "{answer}");
    }
    site.get("/v2/").await.is(200);
}

/// A file system of its own that is soon full; `None` where this machine does not allow it.
fn small_disk(folder: &std::path::Path) -> Option<Mounted> {
    let mount = ["-t", "tmpfs", "-o", "size=3m", "tmpfs"];
    let mounted = std::process::Command::new("mount").args(mount).arg(folder).status();
    mounted.is_ok_and(|status| status.success()).then(|| Mounted(folder.to_owned()))
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: whatever still has a file open there lets go of it soon.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(_disk) = small_disk(folder.path()) else {
        println!("skipped: this machine does not let the test mount a tmpfs");
        return;
    };
    let site = Site::with(|config| config.root = folder.path().join("root"));
    site.push_image("a", "v1", "x").await;
    let (location, content) = (site.open("a").await, noise(8_000_000, 1));
    let full = site.send("PATCH", &location, &[], content.clone()).await;
    full.refused(507, "UNKNOWN");
    assert!(String::from_utf8_lossy(&full.body).contains("disk is full"), "{full:?}");
    let digest = Digest::sha256(&content);
    let post =
        site.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], content).await;
    assert_eq!(post.status, 507);
    site.get(&format!("/v2/a/blobs/{digest}")).await.is(404);
    site.get("/v2/a/manifests/v1").await.is(200);
    // What the failed upload held can be given back, and then there is room again.
    site.delete(&location).await.is(204);
    site.push_image("a", "v2", "y").await;
    site.get("/v2/a/manifests/v2").await.is(200);
}

#[tokio::test]
async fn a_disk_that_refuses_links_leaves_no_half_written_name() {
    let site = Site::start();
    let manifest = site.image("a", "x").await;
    let staging = site.root().join("registry/staging");
    std::fs::remove_dir_all(&staging).expect("removed");
    site.put_manifest("a", "v1", &manifest).await.refused(500, "UNKNOWN");
    let blob = Digest::sha256(b"blob");
    let path = format!("/v2/a/blobs/uploads/?digest={blob}");
    site.send("POST", &path, &[], "blob").await.refused(500, "UNKNOWN");
    std::fs::create_dir(&staging).expect("made");
    site.get(&format!("/v2/a/blobs/{blob}")).await.refused(404, "BLOB_UNKNOWN");
    site.get("/v2/a/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    site.put_manifest("a", "v1", &manifest).await.is(201);
}
