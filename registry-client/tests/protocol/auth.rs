use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use bytes::Bytes;
use oci::{Descriptor, Digest};
use registry_client::auth::AuthError;
use registry_client::{
    Credential, FixedKeychain, Keychain, KeychainError, Problem, Secret, Selector, UploadConfig,
    UploadMode,
};

use crate::support::registry::{Abilities, answer};
use crate::support::{Fault, TestRegistry, client, client_with, noise, repository};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const BEARER: &str =
    r#"Bearer realm="http://{host}/token",service="reg",scope="repository:a:pull""#;

async fn bearer_registry(passes: &[&str], tokens: &[&str]) -> TestRegistry {
    let registry = TestRegistry::with(Abilities {
        passes: passes.iter().map(|pass| format!("Bearer {pass}")).collect(),
        challenge: BEARER.to_owned(),
        ..Abilities::default()
    })
    .await;
    registry.put_manifest("a", "v1", OCI, br#"{"schemaVersion":2,"layers":[]}"#);
    registry.change(|contents| {
        contents.tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
    });
    registry
}

fn v1() -> Selector {
    Selector::Tag("v1".to_owned())
}

/// Covers: DST-30
#[tokio::test]
async fn a_token_is_got_once_and_used_for_everything_it_covers() {
    let registry = bearer_registry(&["t1"], &[r#"{"token":"t1","expires_in":300}"#]).await;
    let (client, _) = client();
    let repository = repository(&client, &registry.host, "a");
    let tag = v1();
    let (first, second) = tokio::join!(repository.resolve(&tag), repository.manifest(&tag));
    first.expect("resolves");
    second.expect("fetches");
    repository.tags().await.expect("lists");
    let asked = registry.seen(&Method::GET, "/token");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].uri, "/token?service=reg&scope=repository%3Aa%3Apull");
}

/// Covers: DST-32
#[tokio::test]
async fn a_token_that_ends_in_mid_push_is_renewed_before_the_next_chunk() {
    let tokens = [r#"{"token":"t1","expires_in":60}"#, r#"{"token":"t2","expires_in":60}"#];
    let registry = bearer_registry(&["t1", "t2"], &tokens).await;
    let (client, clock) = client();
    let repository = repository(&client, &registry.host, "a").with_upload_config(UploadConfig {
        mode: UploadMode::Chunked,
        chunk_bytes: 100 * 1024,
        ..UploadConfig::default()
    });
    // Time passes while the second chunk waits for a busy registry.
    let busy = answer(503, &[("retry-after", "59")], "");
    registry.fault(Fault::once(Method::PATCH, "uploads", busy).after(1));
    let bytes = noise(300 * 1024);
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    let content = Box::new(Bytes::copy_from_slice(&bytes));
    repository.push_blob(&descriptor, content, &[]).await.expect("uploads");
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
    assert_eq!(clock.waits(), [Duration::from_secs(59)]);
    let used = registry.seen(&Method::PATCH, "uploads");
    let used = used.iter().map(|seen| seen.header("authorization")).collect::<Vec<_>>();
    assert_eq!(used, ["Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2"]);
}

/// Covers: DST-32
#[tokio::test]
async fn a_token_that_is_refused_early_is_replaced_once_and_no_byte_is_lost() {
    let tokens = [r#"{"token":"t1","expires_in":9999}"#, r#"{"token":"t2","expires_in":9999}"#];
    let registry = bearer_registry(&["t1", "t2"], &tokens).await;
    let (client, _) = client();
    let repository = repository(&client, &registry.host, "a");
    repository.resolve(&v1()).await.expect("t1 is good");
    registry.change(|contents| contents.abilities.passes = vec!["Bearer t2".to_owned()]);
    let bytes = noise(100_000);
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    let content = Box::new(Bytes::copy_from_slice(&bytes));
    repository.push_blob(&descriptor, content, &[]).await.expect("t2 is got");
    assert_eq!(registry.blob("a", &Digest::sha256(&bytes)), Some(bytes));
}

/// Covers: DST-30
#[tokio::test]
async fn a_token_that_never_passes_is_an_error_after_one_replay() {
    let registry = bearer_registry(&["good"], &[r#"{"token":"bad"}"#]).await;
    let (client, clock) = client();
    let error = repository(&client, &registry.host, "a").manifest(&v1()).await.expect_err("never");
    assert!(matches!(error.problem(), Problem::Auth(AuthError::NoCredentials { .. })), "{error}");
    assert!(error.is_denied() && clock.waits().is_empty());
    assert_eq!(registry.seen(&Method::GET, "manifests").len(), 2);
}

/// Covers: DST-31
#[tokio::test]
async fn an_identity_token_is_exchanged_in_a_body() {
    let registry = bearer_registry(&["t1"], &[r#"{"access_token":"t1"}"#]).await;
    let identity = Credential::IdentityToken { username: None, token: Secret::new("refresh") };
    let keychain = FixedKeychain::single(registry.host.clone(), identity);
    let (client, _) = client_with(Arc::new(keychain));
    repository(&client, &registry.host, "a").resolve(&v1()).await.expect("resolves");
    let asked = &registry.seen(&Method::POST, "/token")[0];
    assert_eq!(asked.uri, "/token");
    assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
}

/// Covers: DST-29
#[tokio::test]
async fn a_wrong_password_is_sent_once() {
    let registry = TestRegistry::with(Abilities {
        passes: vec!["Basic right".to_owned()],
        challenge: r#"Basic realm="x""#.to_owned(),
        ..Abilities::default()
    })
    .await;
    let keychain = FixedKeychain::single(registry.host.clone(), Credential::password("bob", "no"));
    let (client, _) = client_with(Arc::new(keychain));
    let error = repository(&client, &registry.host, "a").manifest(&v1()).await.expect_err("wrong");
    assert!(
        matches!(error.problem(), Problem::Auth(AuthError::WrongCredentials { .. })),
        "{error}"
    );
    let sent = registry.seen(&Method::GET, "manifests");
    let with_password = sent.iter().filter(|seen| !seen.header("authorization").is_empty());
    assert_eq!(with_password.count(), 1);
    assert!(!error.to_string().contains("Ym9i") && !format!("{error:?}").contains("Ym9i"));
}

#[tokio::test]
async fn a_login_proves_the_password_and_prefers_an_identity_token() {
    let registry = bearer_registry(
        &["t1"],
        &[r#"{"token":"t1"}"#, r#"{"token":"t1","refresh_token":"identity"}"#],
    )
    .await;
    let (client, _) = client();
    let login = client.login(&registry.host, Credential::password("bob", "pw")).await;
    let kept = login.expect("the password is good").credential;
    let identity = Credential::IdentityToken {
        username: Some("bob".to_owned()),
        token: Secret::new("identity"),
    };
    assert_eq!(kept, identity);
    let asked = registry.seen(&Method::GET, "/token");
    assert_eq!(asked[0].header("authorization"), "Basic Ym9iOnB3");
    assert!(asked[1].uri.contains("offline_token=true"), "{}", asked[1].uri);
    registry.change(|contents| contents.tokens.clear());
    let (fresh, _) = crate::support::client();
    let refused = fresh.login(&registry.host, Credential::password("bob", "no")).await;
    assert!(refused.expect_err("refused").is_denied());
}

#[tokio::test]
async fn a_busy_token_server_is_waited_for() {
    let registry = bearer_registry(&["t1"], &[r#"{"token":"t1"}"#]).await;
    let busy = answer(429, &[("retry-after", "3")], "");
    registry.fault(Fault::once(Method::GET, "/token", busy));
    let (client, clock) = client();
    repository(&client, &registry.host, "a").resolve(&v1()).await.expect("in the end");
    assert_eq!(clock.waits(), [Duration::from_secs(3)]);
}

/// Counts how often it is asked, and answers only for one path.
#[derive(Default)]
struct Counting(Mutex<Vec<String>>);

#[async_trait]
impl Keychain for Counting {
    async fn credential(&self, _: &str, repository: &str) -> Result<Credential, KeychainError> {
        self.0.lock().expect("lock").push(repository.to_owned());
        Ok(match repository {
            "team/app" => Credential::password("bob", "pw"),
            _ => Credential::Anonymous,
        })
    }
}

/// Covers: DST-35, DST-36
#[tokio::test]
async fn the_keychain_is_asked_once_for_each_repository() {
    let registry = TestRegistry::with(Abilities {
        passes: vec!["Basic Ym9iOnB3".to_owned()],
        challenge: r#"Basic realm="x""#.to_owned(),
        ..Abilities::default()
    })
    .await;
    registry.put_manifest("team/app", "v1", OCI, br#"{"schemaVersion":2,"layers":[]}"#);
    let keychain = Arc::new(Counting::default());
    let (client, _) = client_with(keychain.clone());
    let ours = repository(&client, &registry.host, "team/app");
    for _ in 0..3 {
        ours.resolve(&v1()).await.expect("with its own credentials");
    }
    let other = repository(&client, &registry.host, "team/other").resolve(&v1()).await;
    assert!(other.expect_err("nobody's").is_denied());
    assert_eq!(*keychain.0.lock().expect("lock"), ["team/app", "team/other"]);
}

struct Locked;

#[async_trait]
impl Keychain for Locked {
    async fn credential(&self, registry: &str, _: &str) -> Result<Credential, KeychainError> {
        let reason = "the keyring is locked".to_owned();
        Err(KeychainError { registry: registry.to_owned(), reason })
    }
}

/// Covers: DST-36
#[tokio::test]
async fn a_keychain_that_fails_stops_the_request_instead_of_going_on_as_nobody() {
    let registry = TestRegistry::start().await;
    let (client, _) = client_with(Arc::new(Locked));
    let error = repository(&client, &registry.host, "a").tags().await.expect_err("locked");
    assert!(error.to_string().contains("the keyring is locked"), "{error}");
    assert!(registry.seen(&Method::GET, "tags").is_empty());
}
