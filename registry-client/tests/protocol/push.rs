use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::http::Method;
use bytes::Bytes;
use oci::{Algorithm, Descriptor, Digest, MediaType};
use registry_client::{
    Mounted, Problem, PushedBlob, RegistryError, Repository, Selector, TransferEvent,
    TransferJournal, UploadConfig, UploadKey, UploadMode, UploadRecord,
};

use crate::support::proxy::CuttingProxy;
use crate::support::registry::answer;
use crate::support::{Fault, FaultKind, Recorder, TestRegistry, client, name, noise, repository};

const KIB: u64 = 1024;

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/vnd.oci.image.layer.v1.tar".into(), bytes)
}

fn chunked(repository: Repository, chunk_bytes: u64) -> Repository {
    let mode = UploadMode::Chunked;
    repository.with_upload_config(UploadConfig { mode, chunk_bytes, ..UploadConfig::default() })
}

async fn push(repository: &Repository, bytes: &[u8]) -> Result<PushedBlob, RegistryError> {
    let content = Bytes::copy_from_slice(bytes);
    repository.push_blob(&layer(bytes), Box::new(content), &[]).await
}

/// Covers: DST-8
#[tokio::test]
async fn a_small_blob_goes_in_one_put_and_a_second_push_sends_nothing() {
    let registry = TestRegistry::start().await;
    let recorder = Arc::new(Recorder::default());
    let repository = repository(&client().0, &registry.host, "a/b").with_progress(recorder.clone());
    let bytes = noise(300_000);
    assert_eq!(push(&repository, &bytes).await.expect("uploads"), PushedBlob::Uploaded);
    assert_eq!(registry.blob("a/b", &Digest::sha256(&bytes)), Some(bytes.clone()));
    let put = &registry.seen(&Method::PUT, "uploads")[0];
    assert_eq!(put.header("content-length"), "300000");
    // The location's own parameter stays, ours comes behind it.
    assert!(put.uri.contains("?_state=0&digest=sha256:"), "{}", put.uri);
    assert_eq!(push(&repository, &bytes).await.expect("there"), PushedBlob::AlreadyThere);
    assert_eq!(registry.seen(&Method::POST, "uploads").len(), 1);
    assert_eq!(recorder.events().last(), Some(&TransferEvent::AlreadyThere));
}

/// Covers: DST-10
#[tokio::test]
async fn a_large_blob_goes_in_chunks_with_inclusive_ranges() {
    let registry = TestRegistry::start().await;
    let repository = chunked(repository(&client().0, &registry.host, "a"), 100 * KIB);
    let bytes = noise(250 * KIB as usize);
    push(&repository, &bytes).await.expect("uploads");
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
    let patches = registry.seen(&Method::PATCH, "uploads");
    let ranges = patches.iter().map(|seen| seen.header("content-range")).collect::<Vec<_>>();
    assert_eq!(ranges, ["0-102399", "102400-204799", "204800-255999"]);
    // Each goes to the location that the answer before gave.
    let states = patches.iter().map(|seen| seen.uri.split("_state=").nth(1).unwrap_or_default());
    assert_eq!(states.collect::<Vec<_>>(), ["0", "1", "2"]);
}

/// Covers: DST-11
#[tokio::test]
async fn chunks_are_as_large_as_the_registry_asks() {
    let registry = TestRegistry::start().await;
    registry.change(|contents| contents.abilities.chunk_min = Some(200 * KIB));
    let repository = chunked(repository(&client().0, &registry.host, "a"), 10 * KIB);
    push(&repository, &noise(500 * KIB as usize)).await.expect("uploads");
    let patches = registry.seen(&Method::PATCH, "uploads");
    let lengths = patches.iter().map(|seen| seen.header("content-length")).collect::<Vec<_>>();
    assert_eq!(lengths, ["204800", "204800", "102400"]);
}

/// Covers: DST-12, DST-59
#[tokio::test]
async fn an_upload_over_a_connection_that_breaks_sends_next_to_nothing_twice() {
    for keeps_partial_chunks in [true, false] {
        let registry = TestRegistry::start().await;
        registry.change(|contents| contents.abilities.keeps_partial_chunks = keeps_partial_chunks);
        let proxy = CuttingProxy::start(registry.host.clone(), 2_500_000, 6).await;
        let (client, _) = client();
        let repository = chunked(repository(&client, &proxy.host, "a"), 1024 * KIB);
        let bytes = noise(16 << 20);
        push(&repository, &bytes).await.expect("in the end");
        assert_eq!(registry.blob("a", &Digest::sha256(&bytes)).as_deref(), Some(&bytes[..]));
        let sent = proxy.bytes_from_clients();
        // Six cuts lose at most six chunks; where partial chunks are kept, next to nothing.
        let allowed = if keeps_partial_chunks { 2 << 20 } else { 6 << 20 };
        assert!(sent < bytes.len() as u64 + allowed, "{sent} bytes for {}", bytes.len());
    }
}

/// Covers: DST-12
#[tokio::test]
async fn an_upload_at_once_that_breaks_goes_on_in_chunks_from_what_arrived() {
    let registry = TestRegistry::start().await;
    let proxy = CuttingProxy::start(registry.host.clone(), 3_000_000, 1).await;
    let repository = repository(&client().0, &proxy.host, "a");
    let bytes = noise(8 << 20);
    push(&repository, &bytes).await.expect("in the end");
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)).as_deref(), Some(&bytes[..]));
    assert_eq!(registry.seen(&Method::POST, "uploads").len(), 1, "one session");
    assert!(proxy.bytes_from_clients() < bytes.len() as u64 + (1 << 20));
}

/// Covers: DST-12
#[tokio::test]
async fn a_session_that_the_registry_forgot_is_replaced_by_a_new_one() {
    let registry = TestRegistry::start().await;
    let lost = answer(404, &[], r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
    registry.fault(Fault::once(Method::PATCH, "uploads", lost.clone()).after(2));
    registry.fault(Fault::once(Method::GET, "uploads", lost));
    let repository = chunked(repository(&client().0, &registry.host, "a"), 100 * KIB);
    let bytes = noise(400 * KIB as usize);
    push(&repository, &bytes).await.expect("in the end");
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
    assert_eq!(registry.seen(&Method::POST, "uploads").len(), 2);
}

/// Covers: DST-12
#[tokio::test]
async fn a_registry_that_loses_every_upload_on_a_bad_link_gets_a_connection_for_each_chunk() {
    for mode in [UploadMode::Chunked, UploadMode::AtOnce] {
        let registry = TestRegistry::start().await;
        let lost = answer(404, &[], r#"{"errors":[{"code":"BLOB_UPLOAD_INVALID"}]}"#);
        registry.fault(Fault::once(Method::GET, "uploads", lost).times(1_000));
        let proxy = CuttingProxy::start(registry.host.clone(), 2_500_000, 1_000).await;
        let config = UploadConfig { mode, chunk_bytes: 1024 * KIB, ..UploadConfig::default() };
        let repository = repository(&client().0, &proxy.host, "a").with_upload_config(config);
        let bytes = noise(8 << 20);
        push(&repository, &bytes).await.expect("in the end");
        assert_eq!(registry.blob("a", &Digest::sha256(&bytes)).as_deref(), Some(&bytes[..]));
        assert_eq!(registry.seen(&Method::POST, "uploads").len(), 2);
    }
}

#[tokio::test]
async fn an_upload_that_is_lost_again_and_again_is_given_up() {
    let registry = TestRegistry::start().await;
    let lost = answer(404, &[], r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
    registry.fault(Fault::once(Method::PATCH, "uploads", lost.clone()).after(1).times(1_000));
    registry.fault(Fault::once(Method::GET, "uploads", lost).times(1_000));
    let repository = chunked(repository(&client().0, &registry.host, "a"), 100 * KIB);
    let error = push(&repository, &noise(300 * KIB as usize)).await.expect_err("never");
    assert!(error.is_temporary(), "{error}");
    assert!(registry.seen(&Method::POST, "uploads").len() <= 5);
}

/// Covers: DST-12
#[tokio::test]
async fn after_a_416_the_registry_is_asked_where_it_is() {
    let registry = TestRegistry::start().await;
    let off = answer(416, &[], r#"{"errors":[{"code":"RANGE_INVALID"}]}"#);
    registry.fault(Fault::once(Method::PATCH, "uploads", off).after(1));
    let (client, clock) = client();
    let repository = chunked(repository(&client, &registry.host, "a"), 100 * KIB);
    let bytes = noise(300 * KIB as usize);
    push(&repository, &bytes).await.expect("in the end");
    assert_eq!(registry.seen(&Method::GET, "uploads/").len(), 1);
    assert!(clock.waits().is_empty(), "to disagree is no reason to wait");
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
}

#[tokio::test]
async fn a_lost_answer_to_the_closing_put_is_no_second_upload() {
    let registry = TestRegistry::start().await;
    registry.fault(Fault::once(Method::PUT, "uploads", FaultKind::LoseAnswer));
    let repository = repository(&client().0, &registry.host, "a");
    let bytes = noise(100_000);
    assert_eq!(push(&repository, &bytes).await.expect("found"), PushedBlob::Uploaded);
    assert_eq!(registry.seen(&Method::POST, "uploads").len(), 1);
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
}

#[tokio::test]
async fn the_nth_request_of_a_push_may_fail_and_the_blob_arrives_whole() {
    for n in 0..12 {
        for method in [Method::HEAD, Method::POST, Method::PATCH, Method::PUT, Method::GET] {
            let registry = TestRegistry::start().await;
            let busy = answer(503, &[], "");
            registry.fault(Fault::once(method, "blobs", busy).after(n));
            let repository = chunked(repository(&client().0, &registry.host, "a"), 100 * KIB);
            let bytes = noise(450 * KIB as usize);
            push(&repository, &bytes).await.expect("in the end");
            assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes), "{n}");
        }
    }
}

/// Covers: DST-13, B06-42
#[tokio::test]
async fn an_upload_that_is_refused_is_cancelled_and_leaves_nothing() {
    let registry = TestRegistry::start().await;
    let denied = answer(403, &[], r#"{"errors":[{"code":"DENIED","message":"quota"}]}"#);
    registry.fault(Fault::once(Method::PATCH, "uploads", denied).after(1));
    let repository = chunked(repository(&client().0, &registry.host, "a"), 100 * KIB);
    let error = push(&repository, &noise(300 * KIB as usize)).await.expect_err("refused");
    assert!(error.is_denied() && error.to_string().contains("DENIED: quota"), "{error}");
    assert_eq!(registry.seen(&Method::DELETE, "uploads").len(), 1);
    let wrong = Descriptor::new("x/y".into(), Digest::sha256(b"other"), 5);
    let error = repository
        .push_blob(&wrong, Box::new(Bytes::from_static(b"bytes")), &[])
        .await
        .expect_err("not the content");
    assert!(error.has_code(&registry_client::ErrorCode::DigestInvalid), "{error}");
    assert!(registry.contents.lock().expect("lock").blobs.is_empty());
}

/// Covers: DST-14
#[tokio::test]
async fn a_blob_of_another_repository_is_mounted_or_else_uploaded_in_the_session_that_opened() {
    let registry = TestRegistry::start().await;
    let (bytes, other) = (noise(10_000), noise(20_000));
    registry.put_blob("base", &bytes);
    let repository = repository(&client().0, &registry.host, "app");
    let from = [name(&registry.host, "base"), name("elsewhere.example", "base")];
    let content = Box::new(Bytes::copy_from_slice(&bytes));
    let pushed = repository.push_blob(&layer(&bytes), content, &from).await.expect("mounts");
    assert_eq!(pushed, PushedBlob::Mounted { from: "base".to_owned() });
    assert!(registry.seen(&Method::PUT, "uploads").is_empty());
    let content = Box::new(Bytes::copy_from_slice(&other));
    let pushed = repository.push_blob(&layer(&other), content, &from).await.expect("uploads");
    assert_eq!(pushed, PushedBlob::Uploaded);
    let posts = registry.seen(&Method::POST, "uploads");
    assert_eq!(posts.len(), 2, "the declined mount's session was used: {posts:?}");
    assert!(posts[0].uri.contains("mount=sha256:") && posts[0].uri.ends_with("&from=base"));
}

/// Covers: DST-13, DST-14
#[tokio::test]
async fn a_mount_alone_cancels_what_it_opened() {
    let registry = TestRegistry::start().await;
    let bytes = noise(10);
    let repository = repository(&client().0, &registry.host, "app");
    let base = name(&registry.host, "base");
    assert_eq!(
        repository.mount_blob(&layer(&bytes), &base).await.expect("asks"),
        Mounted::Declined
    );
    assert_eq!(registry.seen(&Method::DELETE, "uploads").len(), 1);
    registry.put_blob("base", &bytes);
    assert_eq!(repository.mount_blob(&layer(&bytes), &base).await.expect("mounts"), Mounted::Yes);
}

/// Covers: DST-15
#[tokio::test]
async fn a_registry_that_finds_the_blob_by_itself_is_sent_nothing() {
    let registry = TestRegistry::start().await;
    registry.change(|contents| contents.abilities.finds_mounts = true);
    let bytes = noise(10_000);
    registry.put_blob("elsewhere", &bytes);
    let repository = repository(&client().0, &registry.host, "a");
    assert_eq!(push(&repository, &bytes).await.expect("found"), PushedBlob::AlreadyThere);
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
    assert!(registry.seen(&Method::PUT, "uploads").is_empty());
    registry.fault(Fault::once(Method::POST, "uploads", answer(400, &[], "")));
    push(&repository, &noise(77)).await.expect("without the question");
}

/// Covers: DST-9
#[tokio::test]
async fn a_single_post_is_enough_where_the_registry_takes_it() {
    for single_post in [true, false] {
        let registry = TestRegistry::start().await;
        registry.change(|contents| contents.abilities.single_post = single_post);
        let mode = UploadMode::SinglePost;
        let config = UploadConfig { mode, ..UploadConfig::default() };
        let repository = repository(&client().0, &registry.host, "a").with_upload_config(config);
        let bytes = noise(10_000);
        assert_eq!(push(&repository, &bytes).await.expect("uploads"), PushedBlob::Uploaded);
        assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
        assert_eq!(registry.seen(&Method::POST, "uploads").len(), 1);
        assert_eq!(registry.seen(&Method::PUT, "uploads").is_empty(), single_post);
    }
}

/// Covers: DST-17
#[tokio::test]
async fn many_tags_go_in_one_put_or_one_by_one() {
    let tags = ["v1", "v1.2", "latest"].map(str::to_owned);
    for tag_parameters in [true, false] {
        let registry = TestRegistry::start().await;
        registry.change(|contents| contents.abilities.tag_parameters = tag_parameters);
        let repository = repository(&client().0, &registry.host, "a");
        let bytes = Bytes::from_static(br#"{"schemaVersion":2,"layers":[]}"#);
        let put = repository.put_manifest_with_tags(&MediaType::OciManifest, bytes, &tags).await;
        let digest = put.expect("writes").descriptor.digest().to_string();
        for tag in tags.iter().chain([&digest]) {
            assert!(registry.manifest("a", tag).is_some(), "{tag}");
        }
        let puts = registry.seen(&Method::PUT, "manifests").len();
        assert_eq!(puts, if tag_parameters { 1 } else { 4 });
    }
}

#[tokio::test]
async fn a_registry_that_cannot_do_one_way_is_asked_the_other() {
    let table = [
        (Method::PUT, UploadMode::AtOnce, 413, "PATCH"),
        (Method::PUT, UploadMode::AtOnce, 405, "PATCH"),
        (Method::PATCH, UploadMode::Chunked, 405, "PUT"),
    ];
    for (method, mode, status, other) in table {
        let registry = TestRegistry::start().await;
        registry.fault(Fault::once(method, "uploads", answer(status, &[], "")));
        let config = UploadConfig { mode, chunk_bytes: 4 * KIB, ..UploadConfig::default() };
        let repository = repository(&client().0, &registry.host, "a").with_upload_config(config);
        let bytes = noise(10_000);
        push(&repository, &bytes).await.expect("the other way");
        assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes), "{other}");
    }
}

/// Covers: DST-18
#[tokio::test]
async fn a_sha512_blob_announces_its_algorithm() {
    let registry = TestRegistry::start().await;
    let bytes = noise(1_000);
    let digest = Digest::of(Algorithm::Sha512, &bytes);
    let descriptor = Descriptor::new("x/y".into(), digest.clone(), 1_000);
    let repository = repository(&client().0, &registry.host, "a");
    let content = Box::new(Bytes::copy_from_slice(&bytes));
    repository.push_blob(&descriptor, content, &[]).await.expect("uploads");
    assert_eq!(registry.blob("a", &digest), Some(bytes));
    let post = &registry.seen(&Method::POST, "uploads")[0];
    assert!(post.uri.contains("?digest-algorithm=sha512"), "{}", post.uri);
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    for mode in [UploadMode::Auto, UploadMode::Chunked] {
        let registry = TestRegistry::start().await;
        let config = UploadConfig { mode, ..UploadConfig::default() };
        let repository = repository(&client().0, &registry.host, "a").with_upload_config(config);
        push(&repository, b"").await.expect("uploads");
        assert_eq!(registry.blob("a", &Digest::sha256(b"")), Some(Vec::new()));
    }
}

#[derive(Default)]
struct MemoryJournal(Mutex<HashMap<UploadKey, UploadRecord>>);

impl TransferJournal for MemoryJournal {
    fn load(&self, key: &UploadKey) -> Option<UploadRecord> {
        self.0.lock().expect("lock").get(key).cloned()
    }

    fn save(&self, key: &UploadKey, record: &UploadRecord) {
        self.0.lock().expect("lock").insert(key.clone(), record.clone());
    }

    fn forget(&self, key: &UploadKey) {
        self.0.lock().expect("lock").remove(key);
    }
}

fn journaled(host: &str, journal: &Arc<MemoryJournal>) -> Repository {
    repository(&client().0, host, "a").with_upload_config(UploadConfig {
        mode: UploadMode::Chunked,
        chunk_bytes: 100 * KIB,
        journal: journal.clone(),
        ..UploadConfig::default()
    })
}

/// Covers: DST-59
#[tokio::test]
async fn another_process_goes_on_where_the_first_one_died() {
    let registry = TestRegistry::start().await;
    let journal = Arc::new(MemoryJournal::default());
    let bytes = noise(500 * KIB as usize);
    registry.fault(Fault::once(Method::PATCH, "uploads", FaultKind::Hang).after(3));
    let dying = journaled(&registry.host, &journal);
    let content = bytes.clone();
    let task = tokio::spawn(async move { push(&dying, &content).await });
    while registry.seen(&Method::PATCH, "uploads").len() < 4 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.expect_err("killed").is_cancelled());
    assert_eq!(journal.0.lock().expect("lock").len(), 1);
    registry.change(|contents| contents.body_bytes_in = 0);
    push(&journaled(&registry.host, &journal), &bytes).await.expect("goes on");
    assert_eq!(registry.contents.lock().expect("lock").body_bytes_in, 200 * KIB);
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
    assert!(journal.0.lock().expect("lock").is_empty(), "nothing is remembered of what is done");
}

/// Covers: DST-59
#[tokio::test]
async fn a_remembered_session_that_expired_is_forgotten_and_the_upload_starts_over() {
    let registry = TestRegistry::start().await;
    let journal = Arc::new(MemoryJournal::default());
    let bytes = noise(100);
    let key = UploadKey {
        registry: registry.host.clone(),
        repository: "a".to_owned(),
        digest: Digest::sha256(&bytes),
    };
    let location = format!("http://{}/v2/a/blobs/uploads/77?_state=3", registry.host);
    let location = registry_client::Secret::new(location);
    journal.save(&key, &UploadRecord { location, offset: 50, chunk_min: 0 });
    push(&journaled(&registry.host, &journal), &bytes).await.expect("starts over");
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
    assert_eq!(journal.load(&key), None);
}

/// Covers: DST-16, DST-41
#[tokio::test]
async fn a_manifest_is_written_byte_by_byte_with_its_own_type() {
    let registry = TestRegistry::start().await;
    let repository = repository(&client().0, &registry.host, "a");
    let bytes =
        br#"{"schemaVersion":2,   "mediaType":"application/vnd.oci.image.manifest.v1+json","x":1}"#;
    let content = Bytes::from_static(bytes);
    let selector = Selector::Tag("v1".to_owned());
    let pushed = repository.put_manifest(&selector, &MediaType::OciManifest, content.clone()).await;
    assert_eq!(*pushed.expect("writes").descriptor.digest(), Digest::sha256(bytes));
    assert_eq!(registry.manifest("a", "v1").as_deref(), Some(&bytes[..]));
    let put = &registry.seen(&Method::PUT, "manifests")[0];
    assert_eq!(put.header("content-type"), MediaType::OciManifest.as_str());
    let other = Selector::Digest(Digest::sha256(b"other"));
    let error = repository.put_manifest(&other, &MediaType::OciManifest, content).await;
    let error = error.expect_err("another digest");
    assert!(matches!(error.problem(), Problem::DigestMismatch { .. }), "{error}");
    assert_eq!(registry.seen(&Method::PUT, "manifests").len(), 1, "nothing was sent");
}

/// Covers: DST-25
#[tokio::test]
async fn a_manifest_put_is_retried_where_the_registry_is_busy_in_its_own_words() {
    let registry = TestRegistry::start().await;
    let busy = answer(400, &[], r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#);
    registry.fault(Fault::once(Method::PUT, "manifests", busy));
    let repository = repository(&client().0, &registry.host, "a");
    let selector = Selector::Tag("v1".to_owned());
    let content = Bytes::from_static(br#"{"schemaVersion":2}"#);
    repository.put_manifest(&selector, &MediaType::OciManifest, content).await.expect("retried");
    assert_eq!(registry.seen(&Method::PUT, "manifests").len(), 2);
}

/// Covers: DST-13
#[tokio::test]
async fn content_shorter_than_promised_is_our_own_error() {
    let registry = TestRegistry::start().await;
    let repository = repository(&client().0, &registry.host, "a");
    let promised = Descriptor::new("x/y".into(), Digest::sha256(b"12345"), 5);
    let content = Box::new(Bytes::from_static(b"123"));
    let error = repository.push_blob(&promised, content, &[]).await.expect_err("short");
    assert!(matches!(error.problem(), Problem::Content(_)), "{error:?}");
    assert!(error.to_string().contains("ends at byte 3"), "{error}");
}
