use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use oci::{Descriptor, Digest};
use registry_client::{Progress, TransferEvent, UploadConfig, UploadMode};

use crate::support::proxy::{Cuts, CuttingProxy};
use crate::support::registry::{Abilities, answer};
use crate::support::{Fault, ManualClock, TestRegistry, client, noise, repository};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 24 * MIB;

/// A registry whose tokens live for a minute and which limits the rate of these requests now and
/// then, behind a link that breaks every four megabytes.
async fn bad_day(limited: [(Method, &'static str); 3]) -> (TestRegistry, CuttingProxy) {
    let registry = TestRegistry::with(Abilities {
        passes: vec!["Bearer t".to_owned()],
        challenge: r#"Bearer realm="http://{host}/token",service="reg""#.to_owned(),
        ..Abilities::default()
    })
    .await;
    registry.change(|contents| {
        contents.tokens = vec![r#"{"token":"t","expires_in":60}"#.to_owned()];
    });
    for (method, path) in limited {
        let limit = answer(429, &[("retry-after", "30")], "");
        registry.fault(Fault::once(method, path, limit));
    }
    let cuts = Cuts::after(4 * MIB, 4 * MIB, 1000);
    let proxy = CuttingProxy::with(registry.host.clone(), cuts).await;
    (registry, proxy)
}

/// A link on which a megabyte takes five seconds.
struct SlowLink {
    clock: Arc<ManualClock>,
    passed: Mutex<u64>,
}

impl Progress for SlowLink {
    fn event(&self, _: &Descriptor, event: TransferEvent) {
        let TransferEvent::Advanced { offset } = event else { return };
        let mut passed = self.passed.lock().expect("lock");
        while offset >= *passed + MIB {
            *passed += MIB;
            self.clock.advance(Duration::from_secs(5));
        }
    }
}

fn slow(clock: &Arc<ManualClock>) -> Arc<SlowLink> {
    Arc::new(SlowLink { clock: clock.clone(), passed: Mutex::default() })
}

fn waited(clock: &ManualClock) -> Duration {
    clock.waits().iter().sum()
}

/// Covers: DST-12, DST-25, DST-32
#[tokio::test]
async fn a_push_on_a_bad_day_sends_two_percent_more_than_the_blob() {
    let (registry, proxy) =
        bad_day([(Method::POST, "uploads"), (Method::GET, "/token"), (Method::GET, "/token")])
            .await;
    let (client, clock) = client();
    let repository = repository(&client, &proxy.host, "a").with_progress(slow(&clock));
    let repository = repository.with_upload_config(UploadConfig {
        mode: UploadMode::Chunked,
        chunk_bytes: 3 * MIB,
        ..UploadConfig::default()
    });
    let bytes = noise(SIZE as usize);
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    let content = Box::new(Bytes::from(bytes.clone()));
    repository.push_blob(&descriptor, content, &[]).await.expect("in the end");
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)).as_deref(), Some(&bytes[..]));
    assert!(waited(&clock) >= Duration::from_secs(60), "{:?}", clock.waits());
    assert!(registry.seen(&Method::GET, "/token").len() >= 3, "tokens were renewed");
    let sent = proxy.bytes_from_clients();
    assert!(sent * 100 <= SIZE * 102, "{sent} bytes for {SIZE}");
}

/// Covers: DST-6, DST-25, DST-32
#[tokio::test]
async fn a_pull_on_a_bad_day_reads_two_percent_more_than_the_blob() {
    let (registry, proxy) =
        bad_day([(Method::GET, "blobs"), (Method::GET, "/token"), (Method::GET, "blobs")]).await;
    let bytes = noise(SIZE as usize);
    registry.put_blob("a", &bytes);
    let (client, clock) = client();
    let repository = repository(&client, &proxy.host, "a").with_progress(slow(&clock));
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    let read = repository.fetch_blob(&descriptor, SIZE).await.expect("in the end");
    assert!(read == bytes, "the content");
    assert!(waited(&clock) >= Duration::from_secs(60), "{:?}", clock.waits());
    let received = proxy.bytes_from_server();
    assert!(received * 100 <= SIZE * 102, "{received} bytes for {SIZE}");
}
