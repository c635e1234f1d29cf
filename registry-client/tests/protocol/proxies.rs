use std::collections::BTreeMap;

use axum::http::Method;
use registry_client::{
    Client, ClientConfig, ConnectionFailure, HostConfig, Problem, ProxyConfig, Scheme, Selector,
};

use crate::support::registry::answer;
use crate::support::{Fault, TestRegistry, repository};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// Plain HTTP through a proxy: the proxy is asked with whole URLs.
fn through(proxy: &TestRegistry, except: Option<&str>) -> HostConfig {
    let url = format!("http://bob:hunter2@{}", proxy.host).parse().expect("valid");
    HostConfig {
        scheme: Scheme::HttpOnly,
        proxy: Some(ProxyConfig { url, except: except.map(str::to_owned) }),
        ..HostConfig::default()
    }
}

fn client(hosts: BTreeMap<String, HostConfig>) -> Client {
    let default_host = HostConfig { scheme: Scheme::HttpOnly, ..HostConfig::default() };
    Client::new(ClientConfig { hosts, default_host, ..ClientConfig::default() }).expect("settings")
}

fn v1() -> Selector {
    Selector::Tag("v1".to_owned())
}

/// Covers: DST-39
#[tokio::test]
async fn a_host_with_a_proxy_is_asked_through_it_and_others_are_not() {
    let proxy = TestRegistry::start().await;
    let direct = TestRegistry::start().await;
    for registry in [&proxy, &direct] {
        registry.put_manifest("a", "v1", OCI, br#"{"schemaVersion":2,"layers":[]}"#);
    }
    let hosts = BTreeMap::from([("registry.invalid".to_owned(), through(&proxy, None))]);
    let client = client(hosts);
    repository(&client, "registry.invalid", "a").resolve(&v1()).await.expect("through the proxy");
    let seen = &proxy.seen(&Method::HEAD, "")[0];
    assert_eq!(seen.uri, "http://registry.invalid/v2/a/manifests/v1");
    assert!(seen.header("proxy-authorization").starts_with("Basic "), "{seen:?}");
    repository(&client, &direct.host, "a").resolve(&v1()).await.expect("directly");
    assert_eq!(proxy.seen(&Method::HEAD, "").len(), 1);
    assert!(!format!("{client:?}").contains("hunter2"));
}

/// Covers: DST-39
#[tokio::test]
async fn hosts_and_networks_may_be_excepted_from_the_proxy() {
    let proxy = TestRegistry::start().await;
    let direct = TestRegistry::start().await;
    direct.put_manifest("a", "v1", OCI, br#"{"schemaVersion":2,"layers":[]}"#);
    for except in ["127.0.0.0/8", "127.0.0.1", "example.com, 127.0.0.1"] {
        let hosts = BTreeMap::from([(direct.host.clone(), through(&proxy, Some(except)))]);
        let found = repository(&client(hosts), &direct.host, "a").resolve(&v1()).await;
        found.expect("directly");
        assert!(proxy.seen(&Method::HEAD, "").is_empty(), "{except}");
    }
}

/// Covers: DST-7, DST-39
#[tokio::test]
async fn the_target_of_a_redirect_has_its_own_proxy_rules() {
    let (registry, proxy) = (TestRegistry::start().await, TestRegistry::start().await);
    let bytes = b"from the storage".to_vec();
    let digest = proxy.put_blob("a", &bytes);
    let location = format!("http://storage.invalid/v2/a/blobs/{digest}");
    registry.fault(Fault::once(Method::GET, "blobs", answer(307, &[("location", &location)], "")));
    let hosts = BTreeMap::from([("storage.invalid".to_owned(), through(&proxy, None))]);
    let repository = repository(&client(hosts), &registry.host, "a");
    let descriptor = oci::Descriptor::of("x/y".into(), &bytes);
    assert_eq!(repository.fetch_blob(&descriptor, 100).await.expect("reads"), bytes);
    assert_eq!(proxy.seen(&Method::GET, "")[0].uri, location);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_without_its_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://bob:hunter2@{}", listener.local_addr().expect("bound"));
    drop(listener);
    let settings = HostConfig {
        proxy: Some(ProxyConfig { url: url.parse().expect("valid"), except: None }),
        scheme: Scheme::HttpOnly,
        ..HostConfig::default()
    };
    let config = ClientConfig {
        hosts: BTreeMap::from([("registry.invalid".to_owned(), settings)]),
        retry: registry_client::RetryPolicy { tries_max: 1, ..Default::default() },
        ..ClientConfig::default()
    };
    let client = Client::new(config).expect("settings");
    let error = repository(&client, "registry.invalid", "a").resolve(&v1()).await;
    let error = error.expect_err("nobody there");
    let Problem::Connection { failure: ConnectionFailure::Connect { .. } } = error.problem() else {
        panic!("{error:?}");
    };
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}
