use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use oci::{Algorithm, Descriptor, Digest, MediaType, Verifier};
use registry_client::{ConnectionFailure, Problem, RegistryError, Selector, TransferEvent};

use crate::support::registry::answer;
use crate::support::{Fault, FaultKind, Recorder, TestRegistry, client, noise, repository};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const MANIFEST: &str = r#"{"schemaVersion":2, "config":{}, "layers":[],  "unknown":"kept"}"#;

fn tag(name: &str) -> Selector {
    Selector::Tag(name.to_owned())
}

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/vnd.oci.image.layer.v1.tar".into(), bytes)
}

async fn read(
    repository: &registry_client::Repository,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let mut stream = repository.blob(descriptor).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Covers: DST-3, B06-34
#[tokio::test]
async fn a_tag_is_resolved_by_head_alone() {
    let registry = TestRegistry::start().await;
    let digest = registry.put_manifest("a/b", "v1", OCI, MANIFEST.as_bytes());
    let repository = repository(&client().0, &registry.host, "a/b");
    let found = repository.resolve(&tag("v1")).await.expect("resolves");
    assert_eq!(found, Descriptor::new(MediaType::OciManifest, digest, MANIFEST.len() as u64));
    assert_eq!(registry.seen(&Method::HEAD, "manifests").len(), 1);
    assert!(registry.seen(&Method::GET, "manifests").is_empty());
}

/// Covers: DST-3
#[tokio::test]
async fn a_head_without_digest_or_not_allowed_at_all_falls_back_to_get() {
    for kind in [FaultKind::WithoutHeader("docker-content-digest"), answer(405, &[], "")] {
        let registry = TestRegistry::start().await;
        let digest = registry.put_manifest("a", "v1", OCI, MANIFEST.as_bytes());
        registry.fault(Fault::once(Method::HEAD, "manifests", kind));
        let repository = repository(&client().0, &registry.host, "a");
        let found = repository.resolve(&tag("v1")).await.expect("resolves");
        assert_eq!(*found.digest(), digest);
    }
}

/// Covers: DST-41, B06-37
#[tokio::test]
async fn a_manifest_comes_with_its_exact_bytes_by_tag_and_by_digest() {
    let registry = TestRegistry::start().await;
    let digest = registry.put_manifest("a", "v1", OCI, MANIFEST.as_bytes());
    let repository = repository(&client().0, &registry.host, "a");
    for selector in [tag("v1"), Selector::Digest(digest.clone())] {
        let fetched = repository.manifest(&selector).await.expect("fetches");
        assert_eq!(&fetched.bytes[..], MANIFEST.as_bytes());
        assert_eq!(*fetched.descriptor.digest(), digest);
    }
    let long = Digest::of(Algorithm::Sha512, MANIFEST.as_bytes());
    let fetched = repository.manifest(&Selector::Digest(long.clone())).await.expect("sha512");
    assert_eq!(*fetched.descriptor.digest(), long);
}

/// Covers: DST-4
#[tokio::test]
async fn every_manifest_request_asks_for_all_types() {
    let registry = TestRegistry::start().await;
    let digest = registry.put_manifest("a", "v1", OCI, MANIFEST.as_bytes());
    let repository = repository(&client().0, &registry.host, "a");
    repository.manifest(&Selector::Digest(digest)).await.expect("fetches");
    let seen = registry.seen(&Method::GET, "manifests");
    let accepted = seen[0].headers.get_all("accept").iter().map(|v| v.to_str().expect("text"));
    let accepted = accepted.collect::<Vec<_>>();
    for media_type in MediaType::MANIFESTS {
        assert!(accepted.contains(&media_type.as_str()), "{media_type} in {accepted:?}");
    }
}

/// Covers: DST-5, B06-36
#[tokio::test]
async fn a_manifest_with_one_byte_changed_is_refused() {
    let registry = TestRegistry::start().await;
    let digest = registry.put_manifest("a", "v1", OCI, MANIFEST.as_bytes());
    let repository = repository(&client().0, &registry.host, "a");
    for selector in [tag("v1"), Selector::Digest(digest)] {
        registry.fault(Fault::once(Method::GET, "manifests", FaultKind::Corrupt(30)));
        let error = repository.manifest(&selector).await.expect_err("changed");
        assert!(matches!(error.problem(), Problem::DigestMismatch { .. }), "{error}");
        assert!(!error.is_temporary());
    }
}

/// Covers: DST-5
#[tokio::test]
async fn a_digest_header_that_lies_is_found_out() {
    let registry = TestRegistry::start().await;
    let digest = registry.put_manifest("a", "v1", OCI, MANIFEST.as_bytes());
    let repository = repository(&client().0, &registry.host, "a");
    let lie = FaultKind::WithHeader("docker-content-digest", Digest::sha256(b"else").to_string());
    for method in [Method::HEAD, Method::GET] {
        registry.fault(Fault::once(method, "manifests", lie.clone()));
    }
    let by_digest = repository.resolve(&Selector::Digest(digest)).await;
    assert!(matches!(by_digest.expect_err("a lie").problem(), Problem::DigestMismatch { .. }));
    let by_tag = repository.manifest(&tag("v1")).await;
    assert!(matches!(by_tag.expect_err("a lie").problem(), Problem::DigestMismatch { .. }));
}

/// Covers: DST-4, DST-42
#[tokio::test]
async fn what_calls_itself_something_else_and_schema_1_are_refused() {
    let registry = TestRegistry::start().await;
    let docker =
        r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}"#;
    registry.put_manifest("a", "confused", OCI, docker.as_bytes());
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    registry.put_manifest("a", "old", old, br#"{"schemaVersion":1}"#);
    let repository = repository(&client().0, &registry.host, "a");
    let error = repository.manifest(&tag("confused")).await.expect_err("two types");
    assert!(matches!(error.problem(), Problem::MediaTypeMismatch { .. }), "{error}");
    for outcome in [
        repository.resolve(&tag("old")).await.map(drop),
        repository.manifest(&tag("old")).await.map(drop),
    ] {
        let error = outcome.expect_err("schema 1");
        assert!(matches!(error.problem(), Problem::Schema1), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_over_the_limit_is_refused_whatever_its_length_says() {
    let registry = TestRegistry::start().await;
    let huge = vec![b' '; (oci::limits::MANIFEST_BYTES_MAX + 1) as usize];
    registry.put_manifest("a", "huge", OCI, &huge);
    let repository = repository(&client().0, &registry.host, "a");
    for fault in [None, Some(FaultKind::Append("more"))] {
        if let Some(kind) = fault {
            registry.fault(Fault::once(Method::GET, "manifests", kind));
        }
        let error = repository.manifest(&tag("huge")).await.expect_err("too large");
        assert!(matches!(error.problem(), Problem::TooLarge { .. }), "{error}");
    }
}

/// Covers: B06-11, DST-24
#[tokio::test]
async fn a_missing_tag_is_not_found_in_the_registrys_words() {
    let registry = TestRegistry::start().await;
    let repository = repository(&client().0, &registry.host, "a");
    let error = repository.resolve(&tag("latest")).await.expect_err("missing");
    assert!(error.is_not_found(), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("resolve {}/a:latest: MANIFEST_UNKNOWN", registry.host)),
        "{text}"
    );
}

/// Covers: DST-6, DST-58
#[tokio::test]
async fn a_blob_is_taken_up_where_the_connection_broke() {
    let registry = TestRegistry::start().await;
    let bytes = noise(3_000_000);
    let digest = registry.put_blob("a", &bytes);
    for after in [1_000_000, 700_000, 0] {
        registry.fault(Fault::once(Method::GET, "blobs", FaultKind::Cut(after)));
    }
    let recorder = Arc::new(Recorder::default());
    let repository = repository(&client().0, &registry.host, "a").with_progress(recorder.clone());
    assert_eq!(read(&repository, &layer(&bytes)).await.expect("whole"), bytes);
    let ranges = registry.seen(&Method::GET, &digest.to_string());
    let ranges = ranges.iter().map(|seen| seen.header("range").to_owned()).collect::<Vec<_>>();
    assert_eq!(ranges[0], "");
    // What was read before each break is not asked for again.
    let offsets = ranges[1..].iter().map(|range| {
        range.trim_start_matches("bytes=").trim_end_matches('-').parse::<u64>().expect("a range")
    });
    let offsets = offsets.collect::<Vec<_>>();
    assert!(offsets.is_sorted() && offsets.last() <= Some(&1_700_000), "{ranges:?}");
    assert!(offsets.last() > Some(&0), "{ranges:?}");
    let events = recorder.events();
    assert_eq!(events.first(), Some(&TransferEvent::Started));
    assert_eq!(events.last(), Some(&TransferEvent::Finished));
}

/// Covers: DST-6
#[tokio::test]
async fn a_server_that_ignores_or_garbles_ranges_appends_nothing() {
    let table = [
        None,
        Some(FaultKind::WithHeader("content-range", "bytes 0-9/10".to_owned())),
        Some(FaultKind::WithoutHeader("content-range")),
    ];
    for garble in table {
        let registry = TestRegistry::start().await;
        registry.change(|contents| contents.abilities.ranges = garble.is_some());
        let bytes = noise(500_000);
        registry.put_blob("a", &bytes);
        registry.fault(Fault::once(Method::GET, "blobs", FaultKind::Cut(300_000)));
        if let Some(kind) = garble.clone() {
            registry.fault(Fault::once(Method::GET, "blobs", kind));
        }
        let repository = repository(&client().0, &registry.host, "a");
        assert_eq!(read(&repository, &layer(&bytes)).await.expect("whole"), bytes, "{garble:?}");
    }
}

/// Covers: DST-5, B06-42
#[tokio::test]
async fn a_blob_that_is_changed_too_long_or_too_short_is_refused() {
    let bytes = noise(100_000);
    let table = [(FaultKind::Corrupt(99_999), "changed"), (FaultKind::Append("x"), "too long")];
    for (kind, what) in table {
        let registry = TestRegistry::start().await;
        registry.put_blob("a", &bytes);
        registry.fault(Fault::once(Method::GET, "blobs", kind).times(9));
        let repository = repository(&client().0, &registry.host, "a");
        let error = read(&repository, &layer(&bytes)).await.expect_err(what);
        assert!(matches!(error.problem(), Problem::Verify(_)), "{what}: {error}");
    }
    let registry = TestRegistry::start().await;
    registry.put_blob_as("a", Digest::sha256(&bytes), &bytes[..99_000]);
    let repository = repository(&client().0, &registry.host, "a");
    let error = read(&repository, &layer(&bytes)).await.expect_err("too short");
    assert!(
        matches!(error.problem(), Problem::Connection { .. } | Problem::Protocol { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_always_breaks_is_given_up_after_the_tries_without_progress() {
    let registry = TestRegistry::start().await;
    let bytes = noise(1000);
    let digest = registry.put_blob("a", &bytes);
    registry.fault(Fault::once(Method::GET, "blobs", FaultKind::Cut(0)).times(100));
    let (client, clock) = client();
    let repository = repository(&client, &registry.host, "a");
    let error = read(&repository, &layer(&bytes)).await.expect_err("never whole");
    let problem = error.problem();
    assert!(
        matches!(problem, Problem::Connection { failure: ConnectionFailure::Broken { .. } }),
        "{error}"
    );
    assert!(error.is_temporary());
    assert_eq!(registry.seen(&Method::GET, &digest.to_string()).len(), 5);
    assert_eq!(clock.waits().len(), 4);
}

/// Covers: DST-58
#[tokio::test]
async fn a_half_blob_from_before_is_completed() {
    let registry = TestRegistry::start().await;
    let bytes = noise(10_000);
    registry.put_blob("a", &bytes);
    let descriptor = layer(&bytes);
    let mut verifier = Verifier::new(&descriptor);
    verifier.update(&bytes[..6_000]).expect("the first part");
    let repository = repository(&client().0, &registry.host, "a");
    let mut stream = repository.blob_from(&descriptor, verifier).await.expect("opens");
    let mut rest = Vec::new();
    while let Some(piece) = stream.next().await.expect("reads") {
        rest.extend_from_slice(&piece);
    }
    assert_eq!(rest, bytes[6_000..]);
    assert_eq!(registry.seen(&Method::GET, "blobs")[0].header("range"), "bytes=6000-");
}

#[tokio::test]
async fn a_receiver_that_proves_the_digest_itself_still_gets_the_right_length() {
    let registry = TestRegistry::start().await;
    let bytes = noise(10_000);
    registry.put_blob("a", &bytes);
    let descriptor = layer(&bytes);
    let repository = repository(&client().0, &registry.host, "a");
    registry.fault(Fault::once(Method::GET, "blobs", FaultKind::Cut(2_000)));
    let mut stream = repository.blob_for_receiver(&descriptor, 4_000).await.expect("opens");
    let mut rest = Vec::new();
    while let Some(piece) = stream.next().await.expect("reads") {
        rest.extend_from_slice(&piece);
    }
    assert_eq!(rest, bytes[4_000..]);
    assert_eq!(stream.next().await.expect("stays at the end"), None);
    let longer = Descriptor::new("x/y".into(), descriptor.digest().clone(), 9_999);
    let mut stream = repository.blob_for_receiver(&longer, 0).await.expect("opens");
    let error = stream.next().await.expect_err("a byte too many");
    assert!(matches!(error.problem(), Problem::Verify(_)), "{error}");
}

/// Covers: DST-18
#[tokio::test]
async fn a_sha512_blob_is_a_blob_like_any_other() {
    let registry = TestRegistry::start().await;
    let bytes = noise(1_000);
    let digest = Digest::of(Algorithm::Sha512, &bytes);
    registry.put_blob_as("a", digest.clone(), &bytes);
    let descriptor = Descriptor::new("x/y".into(), digest, 1_000);
    let repository = repository(&client().0, &registry.host, "a");
    assert_eq!(repository.fetch_blob(&descriptor, 1_000).await.expect("whole"), bytes);
    registry.fault(Fault::once(Method::GET, "blobs", FaultKind::Corrupt(0)).times(9));
    assert!(repository.fetch_blob(&descriptor, 1_000).await.is_err());
    let error = repository.fetch_blob(&descriptor, 999).await.expect_err("over the limit");
    assert!(matches!(error.problem(), Problem::TooLarge { .. }));
}

/// Covers: DST-25
#[tokio::test]
async fn a_rate_limit_is_waited_for_as_long_as_the_registry_asks() {
    let registry = TestRegistry::start().await;
    registry.put_manifest("a", "v1", OCI, MANIFEST.as_bytes());
    let limited = answer(429, &[("retry-after", "7")], "");
    registry.fault(Fault::once(Method::HEAD, "manifests", limited));
    let date = [
        ("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT"),
        ("date", "Wed, 21 Oct 2026 07:28:00 GMT"),
    ];
    registry.fault(Fault::once(Method::HEAD, "manifests", answer(503, &date, "")));
    let (client, clock) = client();
    repository(&client, &registry.host, "a").resolve(&tag("v1")).await.expect("in the end");
    let seconds = clock.waits().iter().map(Duration::as_secs).collect::<Vec<_>>();
    assert_eq!(seconds, [7, 30]);
}

/// Covers: DST-25
#[tokio::test]
async fn a_rate_limit_of_hours_is_an_error_that_says_so_and_no_more_is_asked() {
    let registry = TestRegistry::start().await;
    let limited = answer(429, &[("retry-after", "21600")], "");
    registry.fault(Fault::once(Method::HEAD, "manifests", limited));
    let (client, clock) = client();
    let error =
        repository(&client, &registry.host, "a").resolve(&tag("v1")).await.expect_err("limited");
    assert!(matches!(error.problem(), Problem::RateLimited { wait } if wait.as_secs() == 21600));
    assert!(error.is_temporary() && clock.waits().is_empty(), "{error}");
    assert_eq!(registry.seen(&Method::HEAD, "manifests").len(), 1);
    // While it lasts, everything else fails at once too, instead of waiting for hours.
    let error = repository(&client, &registry.host, "b").tags().await.expect_err("limited");
    assert!(matches!(error.problem(), Problem::RateLimited { .. }), "{error}");
    assert!(registry.seen(&Method::GET, "tags").is_empty() && clock.waits().is_empty());
    clock.advance(Duration::from_secs(21600));
    repository(&client, &registry.host, "b").tags().await.expect("afterwards");
}

/// Covers: DST-7
#[tokio::test]
async fn a_redirect_to_another_host_leaves_the_credentials_behind() {
    let storage = TestRegistry::start().await;
    let registry = TestRegistry::start().await;
    let bytes = noise(50_000);
    let digest = storage.put_blob("a", &bytes);
    let location = format!("http://{}/v2/a/blobs/{digest}?X-Signature=s3cret", storage.host);
    registry.fault(
        Fault::once(Method::GET, "blobs", answer(307, &[("location", &location)], "")).times(2),
    );
    storage.fault(Fault::once(Method::GET, "blobs", FaultKind::Cut(20_000)));
    registry.change(|contents| {
        contents.abilities.passes = vec!["Basic Ym9iOnB3".to_owned()];
        contents.abilities.challenge = "Basic realm=\"x\"".to_owned();
    });
    let keychain = registry_client::FixedKeychain::single(
        registry.host.clone(),
        registry_client::Credential::password("bob", "pw"),
    );
    let (client, _) = crate::support::client_with(Arc::new(keychain));
    client.ping(&registry.host).await.expect("the password is good");
    let repository = repository(&client, &registry.host, "a");
    assert_eq!(read(&repository, &layer(&bytes)).await.expect("whole"), bytes);
    for seen in storage.seen(&Method::GET, "blobs") {
        assert_eq!(seen.header("authorization"), "");
    }
    // The signed URL may be stale by then: the registry is asked again after the break.
    let asked = registry.seen(&Method::GET, "blobs");
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|seen| seen.header("authorization") == "Basic Ym9iOnB3"));
}

#[tokio::test]
async fn redirects_in_a_circle_and_to_other_schemes_are_refused() {
    let registry = TestRegistry::start().await;
    let here = answer(307, &[("location", "/v2/a/manifests/v1")], "");
    registry.fault(Fault::once(Method::GET, "manifests", here).times(50));
    let repository = repository(&client().0, &registry.host, "a");
    let error = repository.manifest(&tag("v1")).await.expect_err("a circle");
    assert!(error.to_string().contains("redirects"), "{error}");
    let file = answer(307, &[("location", "file:///etc/passwd")], "");
    registry.fault(Fault::once(Method::GET, "blobs", file));
    let error = read(&repository, &layer(b"x")).await.expect_err("a file");
    assert!(matches!(error.problem(), Problem::Protocol { .. }), "{error}");
}

/// Covers: DST-47
#[tokio::test]
async fn embedded_content_is_used_only_where_it_is_right() {
    let registry = TestRegistry::start().await;
    registry.put_blob("a", b"{}");
    let repository = repository(&client().0, &registry.host, "a");
    let right = Descriptor::empty().with_embedded(b"{}");
    assert_eq!(read(&repository, &right).await.expect("embedded"), b"{}");
    assert!(registry.seen(&Method::GET, "blobs").is_empty());
    let wrong = Descriptor::empty().with_embedded(b"[]");
    assert_eq!(read(&repository, &wrong).await.expect("fetched"), b"{}");
    assert_eq!(registry.seen(&Method::GET, "blobs").len(), 1);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named_after_few_tries() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let error = repository(&client().0, &host, "a").resolve(&tag("v1")).await.expect_err("nobody");
    assert!(error.to_string().contains(&format!("cannot connect to {host}")), "{error}");
    assert_eq!(error.act(), registry_client::Act::Resolve);
}
