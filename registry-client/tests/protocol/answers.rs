//! Whatever a server answers, the client ends, and what it gives out is proven.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use oci::{Descriptor, Digest};
use proptest::prelude::*;
use registry_client::{
    Client, ClientConfig, ConnectionFailure, Credential, FixedKeychain, HttpRequest, HttpResponse,
    ReferrersFilter, Repository, Selector, Transport,
};

use crate::support::{ManualClock, repository};

/// One answer: a status, headers, a body, and whether the body breaks off.
type Answer = (u16, Vec<(usize, String)>, String, bool);

const HEADERS: &[&str] = &[
    "content-type",
    "content-length",
    "content-range",
    "docker-content-digest",
    "etag",
    "link",
    "location",
    "oci-chunk-min-length",
    "oci-subject",
    "range",
    "ratelimit-remaining",
    "retry-after",
    "warning",
    "www-authenticate",
];

const STATUSES: &[u16] =
    &[200, 201, 202, 204, 206, 301, 307, 400, 401, 403, 404, 405, 412, 416, 429, 500, 503];

/// Gives its answers in turn, over and over.
struct Scripted {
    answers: Vec<Answer>,
    asked: Mutex<usize>,
}

#[async_trait]
impl Transport for Scripted {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectionFailure> {
        let index = {
            let mut asked = self.asked.lock().expect("lock");
            *asked += 1;
            *asked - 1
        };
        let (status, headers, body, breaks) = &self.answers[index % self.answers.len()];
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let broken = ConnectionFailure::Broken { host, reason: "as told".to_owned() };
        let mut pieces = vec![Ok(Bytes::from(body.clone()))];
        if *breaks {
            pieces.push(Err(broken));
        }
        Ok(HttpResponse {
            status: StatusCode::from_u16(*status).expect("valid"),
            headers: header_map(headers),
            body: futures_util::stream::iter(pieces).boxed(),
        })
    }
}

fn header_map(given: &[(usize, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(HeaderName::from_static(HEADERS[name % HEADERS.len()]), value);
        }
    }
    headers
}

fn value() -> impl Strategy<Value = String> {
    let interesting = [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "0",
        "2",
        "18446744073709551615",
        "bytes 0-1/2",
        "bytes 1-1/2",
        "0-1",
        "<https://reg.example/v2/a/tags/list?n=1>; rel=\"next\"",
        "<?x>; rel=next",
        "/v2/a/blobs/uploads/1?_state=x",
        "https://elsewhere.example/x",
        "Bearer realm=\"https://auth.example/t\",scope=\"repository:a:pull\"",
        "Bearer realm=\"http://auth.example/t\"",
        "Basic realm=\"x\"",
        "299 - \"w\"",
        "1",
    ];
    prop_oneof![
        4 => proptest::sample::select(interesting.to_vec()).prop_map(str::to_owned),
        1 => "[ -~]{0,20}",
    ]
}

fn body() -> impl Strategy<Value = String> {
    let interesting = [
        "{}",
        "",
        r#"{"schemaVersion":2,"layers":[]}"#,
        r#"{"schemaVersion":2,"manifests":[]}"#,
        r#"{"schemaVersion":1}"#,
        r#"{"token":"t","expires_in":1}"#,
        r#"{"token":""}"#,
        r#"{"tags":["a","b"]}"#,
        r#"{"tags":null}"#,
        r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#,
        r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#,
        "<html>",
    ];
    prop_oneof![
        4 => proptest::sample::select(interesting.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,60}",
    ]
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let headers = proptest::collection::vec((0..HEADERS.len(), value()), 0..5);
    let status = proptest::sample::select(STATUSES.to_vec());
    let one = (status, headers, body(), proptest::bool::weighted(0.2));
    proptest::collection::vec(one, 1..8)
}

fn against(answers: Vec<Answer>) -> (Repository, Arc<Scripted>) {
    let transport = Arc::new(Scripted { answers, asked: Mutex::default() });
    let password = Credential::password("bob", "hunter2");
    let config = ClientConfig {
        transport: Some(transport.clone()),
        clock: Arc::new(ManualClock::default()),
        keychain: Arc::new(FixedKeychain::single("reg.example", password)),
        ..ClientConfig::default()
    };
    (repository(&Client::new(config).expect("settings"), "reg.example", "a"), transport)
}

async fn ask_everything(repository: &Repository) -> Result<(), TestCaseError> {
    let wanted = Descriptor::empty();
    let by_digest = Selector::Digest(wanted.digest().clone());
    let shown = |error: &registry_client::RegistryError| format!("{error} {error:?}");
    for selector in [Selector::Tag("v1".to_owned()), by_digest] {
        match repository.manifest(&selector).await {
            Ok(fetched) => {
                let digest = fetched.descriptor.digest();
                prop_assert_eq!(&Digest::of(digest.algorithm(), &fetched.bytes), digest);
                if let Selector::Digest(asked) = &selector {
                    prop_assert_eq!(digest, asked);
                }
            }
            Err(error) => prop_assert!(!shown(&error).contains("hunter2")),
        }
        let _ = repository.resolve(&selector).await;
    }
    if let Ok(bytes) = repository.fetch_blob(&wanted, 100).await {
        prop_assert_eq!(&bytes[..], b"{}");
    }
    let content = Box::new(Bytes::from_static(b"{}"));
    let _ = repository.push_blob(&wanted, content, &[]).await;
    let _ = repository.tags().await;
    let _ = repository.referrers(wanted.digest(), &ReferrersFilter::default()).await;
    let _ = repository.delete_tag("v1").await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Covers: DST-5, DST-24
    #[test]
    fn whatever_a_server_answers_the_client_ends_and_gives_out_only_what_is_proven(script in answers()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (repository, transport) = against(script);
        runtime.block_on(ask_everything(&repository))?;
        // Lists may page up to their limit; everything else is a few requests.
        let asked = *transport.asked.lock().expect("lock");
        prop_assert!(asked < 60_000, "{} requests", asked);
    }
}
