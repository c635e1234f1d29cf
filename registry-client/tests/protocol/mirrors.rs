use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use oci::{Descriptor, Digest};
use registry_client::{
    ApiRoot, Client, ClientConfig, Credential, FixedKeychain, HostConfig, Insecure, Mirror,
    MirrorCapabilities, NamespaceQuery, Repository, RetryPolicy, Selector,
};

use crate::support::registry::{Abilities, answer};
use crate::support::{Fault, FaultKind, TestRegistry, noise, repository};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;

fn mirror(registry: &TestRegistry, capabilities: MirrorCapabilities) -> Mirror {
    Mirror {
        url: format!("http://{}", registry.host).parse().expect("valid"),
        capabilities,
        namespace: NamespaceQuery::Omit,
        insecure: Insecure::No,
        api_root: ApiRoot::UnderV2,
        deadline: Duration::from_millis(300),
    }
}

fn mirrored(upstream: &TestRegistry, mirrors: Vec<Mirror>) -> Repository {
    let settings = HostConfig { mirrors, ..HostConfig::default() };
    let credential = Credential::password("bob", "pw");
    let config = ClientConfig {
        keychain: Arc::new(FixedKeychain::single(upstream.host.clone(), credential)),
        hosts: BTreeMap::from([(upstream.host.clone(), settings)]),
        retry: RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() },
        ..ClientConfig::default()
    };
    repository(&Client::new(config).expect("settings"), &upstream.host, "a")
}

async fn read(repository: &Repository, descriptor: &Descriptor) -> Vec<u8> {
    repository.fetch_blob(descriptor, 10 << 20).await.expect("reads").to_vec()
}

/// Covers: DST-62, DST-63
#[tokio::test]
async fn a_mirror_for_content_is_not_asked_what_a_name_means() {
    let (upstream, stale) = (TestRegistry::start().await, TestRegistry::start().await);
    let digest = upstream.put_manifest("a", "v1", OCI, MANIFEST);
    stale.put_manifest("a", "v1", OCI, br#"{"schemaVersion":2,"layers":[],"old":1}"#);
    stale.put_manifest("a", "copy", OCI, MANIFEST);
    let repository = mirrored(&upstream, vec![mirror(&stale, MirrorCapabilities::Pull)]);
    let found = repository.resolve(&Selector::Tag("v1".into())).await.expect("resolves");
    assert_eq!(*found.digest(), digest);
    assert!(stale.seen(&Method::HEAD, "manifests").is_empty());
    repository.manifest(&Selector::Digest(digest)).await.expect("from the mirror");
    assert_eq!(stale.seen(&Method::GET, "manifests").len(), 1);
    assert!(upstream.seen(&Method::GET, "manifests").is_empty());
    let trusted = mirrored(&upstream, vec![mirror(&stale, MirrorCapabilities::PullAndResolve)]);
    let found = trusted.resolve(&Selector::Tag("v1".into())).await.expect("resolves");
    assert_ne!(*found.digest(), Digest::sha256(MANIFEST));
}

/// Covers: DST-27
#[tokio::test]
async fn a_mirror_never_sees_the_registrys_credentials_and_only_a_proxy_is_told_its_name() {
    let challenge = r#"Basic realm="give me""#.to_owned();
    let closed =
        Abilities { passes: vec!["Basic Ym9iOnB3".into()], challenge, ..Abilities::default() };
    let (upstream, thief) =
        (TestRegistry::with(closed.clone()).await, TestRegistry::with(closed).await);
    let bytes = noise(1_000);
    upstream.put_blob("a", &bytes);
    let mut entry = mirror(&thief, MirrorCapabilities::Pull);
    entry.namespace = NamespaceQuery::Send;
    let repository = mirrored(&upstream, vec![entry]);
    assert_eq!(read(&repository, &Descriptor::of("x/y".into(), &bytes)).await, bytes);
    let asked = thief.seen(&Method::GET, "blobs");
    assert_eq!(asked.len(), 1);
    assert!(asked.iter().all(|seen| seen.header("authorization").is_empty()), "{asked:?}");
    assert!(asked[0].uri.ends_with(&format!("?ns={}", upstream.host)), "{}", asked[0].uri);
    assert!(upstream.seen(&Method::GET, "blobs").iter().all(|seen| !seen.uri.contains("ns=")));
}

/// Covers: DST-63
#[tokio::test]
async fn a_mirror_that_hangs_lies_lacks_or_breaks_costs_no_pull() {
    let bytes = noise(200_000);
    let table =
        [Some(FaultKind::Hang), Some(FaultKind::Cut(100_000)), Some(answer(500, &[], "")), None];
    for fault in table {
        let (upstream, broken) = (TestRegistry::start().await, TestRegistry::start().await);
        let digest = upstream.put_blob("a", &bytes);
        if let Some(kind) = fault.clone() {
            broken.put_blob("a", &bytes);
            broken.fault(Fault::once(Method::GET, "blobs", kind));
        }
        let repository = mirrored(&upstream, vec![mirror(&broken, MirrorCapabilities::Pull)]);
        assert_eq!(read(&repository, &Descriptor::of("x/y".into(), &bytes)).await, bytes);
        let asked = upstream.seen(&Method::GET, &digest.to_string());
        assert_eq!(asked.len(), 1, "{fault:?}");
        if matches!(fault, Some(FaultKind::Cut(_))) {
            assert_ne!(asked[0].header("range"), "", "the first half came from the mirror");
        }
    }
    let (upstream, liar) = (TestRegistry::start().await, TestRegistry::start().await);
    let digest = upstream.put_manifest("a", "v1", OCI, MANIFEST);
    liar.put_manifest("a", "v1", OCI, MANIFEST);
    liar.fault(Fault::once(Method::GET, "manifests", FaultKind::Corrupt(3)));
    let repository = mirrored(&upstream, vec![mirror(&liar, MirrorCapabilities::Pull)]);
    let fetched = repository.manifest(&Selector::Digest(digest)).await.expect("from upstream");
    assert_eq!(&fetched.bytes[..], MANIFEST);
}

#[tokio::test]
async fn a_mirror_that_failed_is_left_alone_for_a_while() {
    let (upstream, broken) = (TestRegistry::start().await, TestRegistry::start().await);
    let digest = upstream.put_manifest("a", "v1", OCI, MANIFEST);
    broken.fault(Fault::once(Method::GET, "manifests", answer(503, &[], "")).times(9));
    let repository = mirrored(&upstream, vec![mirror(&broken, MirrorCapabilities::Pull)]);
    for _ in 0..3 {
        repository.manifest(&Selector::Digest(digest.clone())).await.expect("from upstream");
    }
    assert_eq!(broken.seen(&Method::GET, "manifests").len(), 1);
}

/// Covers: DST-62
#[tokio::test]
async fn nothing_is_pushed_to_a_mirror() {
    let (upstream, copy) = (TestRegistry::start().await, TestRegistry::start().await);
    let entry = mirror(&copy, MirrorCapabilities::PullAndResolve);
    let repository = mirrored(&upstream, vec![entry]);
    let bytes = noise(100);
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    let content = Box::new(bytes::Bytes::copy_from_slice(&bytes));
    repository.push_blob(&descriptor, content, &[]).await.expect("pushes");
    assert!(upstream.blob("a", descriptor.digest()).is_some());
    assert!(copy.contents.lock().expect("lock").blobs.is_empty());
}

/// Covers: DST-63
#[tokio::test]
async fn a_mirror_may_have_its_api_under_a_path_of_its_own() {
    let (upstream, copy) = (TestRegistry::start().await, TestRegistry::start().await);
    let bytes = noise(100);
    copy.put_blob("proxy/hub/a", &bytes);
    let mut entry = mirror(&copy, MirrorCapabilities::Pull);
    entry.url = format!("http://{}/v2/proxy/hub", copy.host).parse().expect("valid");
    entry.api_root = ApiRoot::AtUrl;
    let repository = mirrored(&upstream, vec![entry]);
    assert_eq!(read(&repository, &Descriptor::of("x/y".into(), &bytes)).await, bytes);
    assert!(upstream.seen(&Method::GET, "blobs").is_empty());
}
