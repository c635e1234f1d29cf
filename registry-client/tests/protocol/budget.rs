use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use oci::Descriptor;
use registry_client::{
    Anonymous, BudgetConfig, BudgetKey, BudgetLedger, Client, ClientConfig, ConnectionFailure,
    HttpRequest, HttpResponse, Problem, Quota, Selector, Transport,
};

use crate::support::registry::answer;
use crate::support::{
    Fault, FaultKind, ManualClock, TestRegistry, client, client_with, noise, repository,
};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

fn v1() -> Selector {
    Selector::Tag("v1".to_owned())
}

async fn registry() -> TestRegistry {
    let registry = TestRegistry::start().await;
    registry.put_manifest("a", "v1", OCI, br#"{"schemaVersion":2,"layers":[]}"#);
    registry
}

/// Covers: DST-25
#[tokio::test]
async fn background_work_leaves_the_last_pulls_of_a_quota_to_those_who_wait() {
    let registry = registry().await;
    let told = |left: &str| FaultKind::WithHeader("ratelimit-remaining", left.to_owned());
    registry.fault(Fault::once(Method::HEAD, "manifests", told("80;w=21600")));
    let (client, _) = client();
    let interactive = repository(&client, &registry.host, "a");
    let background = interactive.clone().in_background();
    background.resolve(&v1()).await.expect("80 are left");
    let quota = Quota { limit: None, remaining: 80, window: Some(Duration::from_secs(21600)) };
    assert_eq!(client.quotas(&registry.host), [(None, quota)]);
    registry.fault(Fault::once(Method::HEAD, "manifests", told("3;w=21600")));
    interactive.resolve(&v1()).await.expect("3 are left");
    let asked = registry.seen(&Method::HEAD, "manifests").len();
    let error = background.resolve(&v1()).await.expect_err("they are not for a sync");
    assert!(matches!(error.problem(), Problem::QuotaFloor { remaining: 3, .. }), "{error}");
    assert!(error.is_temporary());
    assert_eq!(registry.seen(&Method::HEAD, "manifests").len(), asked, "nothing was asked");
    interactive.resolve(&v1()).await.expect("they are for this");
}

#[derive(Default)]
struct MemoryLedger {
    pauses: Mutex<Vec<(BudgetKey, Duration)>>,
    quotas: Mutex<Vec<Quota>>,
    from_others: Mutex<Option<Duration>>,
}

impl BudgetLedger for MemoryLedger {
    fn quota(&self, _: &BudgetKey) -> Option<Quota> {
        None
    }

    fn pause(&self, _: &BudgetKey) -> Option<Duration> {
        self.from_others.lock().expect("lock").take()
    }

    fn note_pause(&self, key: &BudgetKey, wait: Duration) {
        self.pauses.lock().expect("lock").push((key.clone(), wait));
    }

    fn note_quota(&self, _: &BudgetKey, quota: &Quota) {
        self.quotas.lock().expect("lock").push(*quota);
    }
}

/// Covers: DST-25
#[tokio::test]
async fn what_one_process_is_told_the_others_know() {
    let registry = registry().await;
    let ledger = Arc::new(MemoryLedger::default());
    let clock = Arc::new(ManualClock::default());
    let config = ClientConfig {
        keychain: Arc::new(Anonymous),
        ledger: ledger.clone(),
        clock: clock.clone(),
        ..ClientConfig::default()
    };
    let repository = repository(&Client::new(config).expect("settings"), &registry.host, "a");
    let limited = answer(429, &[("retry-after", "9"), ("ratelimit-remaining", "0")], "");
    registry.fault(Fault::once(Method::HEAD, "manifests", limited));
    repository.resolve(&v1()).await.expect("after the wait");
    let key = BudgetKey { host: registry.host.clone(), account: None };
    assert_eq!(*ledger.pauses.lock().expect("lock"), [(key, Duration::from_secs(9))]);
    assert_eq!(ledger.quotas.lock().expect("lock").len(), 1);
    *ledger.from_others.lock().expect("lock") = Some(Duration::from_secs(40));
    repository.resolve(&v1()).await.expect("after the wait that another was told");
    assert_eq!(clock.waits(), [Duration::from_secs(9), Duration::from_secs(40)]);
}

/// Covers: DST-40
#[tokio::test]
async fn blobs_that_are_being_read_do_not_keep_a_resolve_waiting() {
    let registry = registry().await;
    let bytes = noise(1_000);
    registry.put_blob("a", &bytes);
    let config = ClientConfig {
        budget: BudgetConfig { blobs: 1, documents: 1, ..BudgetConfig::default() },
        ..ClientConfig::default()
    };
    let client = Client::new(config).expect("settings");
    let repository = repository(&client, &registry.host, "a");
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    let mut first = repository.blob(&descriptor).await.expect("opens");
    assert!(first.next().await.expect("reads").is_some());
    let mut second = repository.blob(&descriptor).await.expect("opens");
    let waiting = tokio::spawn(async move { second.next().await.map(|piece| piece.is_some()) });
    repository.resolve(&v1()).await.expect("in its own lane");
    assert!(!waiting.is_finished(), "the only place for blobs is taken");
    drop(first);
    assert!(waiting.await.expect("ends").expect("reads"));
}

/// A server that closes its connections because of too many requests.
struct Overloaded(Mutex<u32>);

#[async_trait]
impl Transport for Overloaded {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectionFailure> {
        *self.0.lock().expect("lock") += 1;
        let host = request.url.host_str().unwrap_or_default().to_owned();
        Err(ConnectionFailure::Overloaded { host })
    }
}

/// Covers: DST-40
#[tokio::test]
async fn a_server_that_asks_for_calm_is_asked_a_few_times_with_growing_waits() {
    let transport = Arc::new(Overloaded(Mutex::new(0)));
    let clock = Arc::new(ManualClock::default());
    let config = ClientConfig {
        transport: Some(transport.clone()),
        clock: clock.clone(),
        ..ClientConfig::default()
    };
    let repository = repository(&Client::new(config).expect("settings"), "reg.example", "a");
    let error = repository.tags().await.expect_err("never calm");
    assert!(error.is_temporary() && error.to_string().contains("fewer requests"), "{error}");
    assert_eq!(*transport.0.lock().expect("lock"), 5);
    let waits = clock.waits();
    assert_eq!(waits.len(), 4);
    assert!(waits[3] > waits[0], "{waits:?}");
}

/// Covers: DST-22
#[tokio::test]
async fn the_catalog_is_read_where_there_is_one() {
    let registry = registry().await;
    let page = answer(
        200,
        &[("link", "</v2/_catalog?last=a&n=1>; rel=\"next\"")],
        r#"{"repositories":["a"]}"#,
    );
    registry.fault(Fault::once(Method::GET, "_catalog", page));
    let rest = answer(200, &[], r#"{"repositories":["b/c"]}"#);
    registry.fault(Fault::once(Method::GET, "_catalog", rest));
    let (client, _) = client_with(Arc::new(Anonymous));
    assert_eq!(client.catalog(&registry.host).await.expect("lists"), ["a", "b/c"]);
    let error = client.catalog(&registry.host).await.expect_err("no more");
    assert!(error.is_not_found(), "{error}");
}
