//! A registry in memory. It follows the specification unless told not to.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use oci::{Algorithm, Digest};

use super::uploads::Upload;

/// What goes wrong, where and how often.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The method it happens to.
    pub(crate) method: Method,
    /// A part of the path it happens to.
    pub(crate) path: &'static str,
    /// How many requests pass first.
    pub(crate) after: u32,
    /// How many requests it happens to.
    pub(crate) times: u32,
    pub(crate) kind: FaultKind,
}

#[derive(Clone, Debug)]
pub(crate) enum FaultKind {
    /// An answer instead of the right one.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// The right answer, without a header.
    WithoutHeader(&'static str),
    /// The right answer, with another header.
    WithHeader(&'static str, String),
    /// The connection breaks after this many bytes of the body.
    Cut(usize),
    /// One byte of the body is changed.
    Corrupt(usize),
    /// Bytes behind the body's end, with a Content-Length to match.
    Append(&'static str),
    /// The work is done and the answer is lost.
    LoseAnswer,
    /// No answer ever.
    Hang,
}

impl Fault {
    pub(crate) fn once(method: Method, path: &'static str, kind: FaultKind) -> Self {
        Self { method, path, after: 0, times: 1, kind }
    }

    pub(crate) fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    pub(crate) fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }
}

pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> FaultKind {
    FaultKind::Answer {
        status,
        headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        body: body.to_owned(),
    }
}

/// How the registry differs from the full specification.
#[derive(Clone, Debug)]
pub(crate) struct Abilities {
    pub(crate) ranges: bool,
    pub(crate) referrers: bool,
    pub(crate) referrers_page: usize,
    pub(crate) conditions: bool,
    pub(crate) tag_delete: bool,
    pub(crate) chunk_min: Option<u64>,
    pub(crate) keeps_partial_chunks: bool,
    pub(crate) tags_page: usize,
    pub(crate) finds_mounts: bool,
    pub(crate) single_post: bool,
    pub(crate) tag_parameters: bool,
    /// `Authorization` values that are let in; empty lets all in.
    pub(crate) passes: Vec<String>,
    pub(crate) challenge: String,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            ranges: true,
            referrers: true,
            referrers_page: usize::MAX,
            conditions: true,
            tag_delete: true,
            chunk_min: None,
            keeps_partial_chunks: true,
            tags_page: usize::MAX,
            finds_mounts: false,
            single_post: false,
            tag_parameters: false,
            passes: Vec::new(),
            challenge: String::new(),
        }
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) blobs: HashMap<(String, Digest), Vec<u8>>,
    pub(crate) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    pub(super) uploads: HashMap<u64, Upload>,
    pub(crate) next_upload: u64,
    pub(crate) body_bytes_in: u64,
    faults: Vec<Fault>,
    seen: Vec<Seen>,
    pub(crate) abilities: Abilities,
    /// What the token server hands out next.
    pub(crate) tokens: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct TestRegistry {
    pub(crate) contents: Arc<Mutex<Contents>>,
    pub(crate) host: String,
}

pub(crate) type Reply = Result<Response, StatusCode>;

impl TestRegistry {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("bound").to_string();
        let registry = Self { contents: Arc::default(), host };
        let app = registry.app();
        tokio::spawn(async move { axum::serve(listener, app).await });
        registry
    }

    pub(crate) fn app(&self) -> Router {
        Router::new().fallback(handle).with_state(self.clone())
    }

    pub(crate) async fn with(abilities: Abilities) -> Self {
        let registry = Self::start().await;
        registry.contents.lock().expect("lock").abilities = abilities;
        registry
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.contents.lock().expect("lock").faults.push(fault);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.contents.lock().expect("lock"));
    }

    pub(crate) fn put_blob(&self, path: &str, bytes: &[u8]) -> Digest {
        self.put_blob_as(path, Digest::sha256(bytes), bytes)
    }

    pub(crate) fn put_blob_as(&self, path: &str, digest: Digest, bytes: &[u8]) -> Digest {
        let key = (path.to_owned(), digest.clone());
        self.contents.lock().expect("lock").blobs.insert(key, bytes.to_vec());
        digest
    }

    pub(crate) fn put_manifest(
        &self,
        path: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Digest {
        let digest = Digest::sha256(bytes);
        self.contents.lock().expect("lock").store_manifest(path, tag, media_type, bytes);
        digest
    }

    pub(crate) fn blob(&self, path: &str, digest: &Digest) -> Option<Vec<u8>> {
        self.contents.lock().expect("lock").blobs.get(&(path.to_owned(), digest.clone())).cloned()
    }

    pub(crate) fn manifest(&self, path: &str, reference: &str) -> Option<Vec<u8>> {
        let contents = self.contents.lock().expect("lock");
        let key = (path.to_owned(), reference.to_owned());
        contents.manifests.get(&key).map(|(_, bytes)| bytes.clone())
    }

    /// The requests of one method whose path holds `part`.
    pub(crate) fn seen(&self, method: &Method, part: &str) -> Vec<Seen> {
        let contents = self.contents.lock().expect("lock");
        let matches = |seen: &&Seen| seen.method == method && seen.uri.contains(part);
        contents.seen.iter().filter(matches).cloned().collect()
    }

    fn take_fault(&self, method: &Method, path: &str) -> Option<FaultKind> {
        let mut contents = self.contents.lock().expect("lock");
        let fault = contents
            .faults
            .iter_mut()
            .find(|fault| fault.method == method && path.contains(fault.path) && fault.times > 0)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.kind.clone())
    }

    fn note(&self, request: &Request) {
        self.contents.lock().expect("lock").seen.push(Seen {
            method: request.method().clone(),
            uri: request.uri().to_string(),
            headers: request.headers().clone(),
        });
    }

    fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        let contents = self.contents.lock().expect("lock");
        let abilities = &contents.abilities;
        let given = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        if abilities.passes.is_empty() || abilities.passes.iter().any(|pass| pass == given) {
            return None;
        }
        let challenge = abilities.challenge.replace("{host}", &self.host);
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        let response = Response::builder().status(401).header("www-authenticate", challenge);
        Some(response.body(Body::from(body)).expect("valid"))
    }
}

impl Contents {
    pub(crate) fn store_manifest(
        &mut self,
        path: &str,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) {
        let value = (media_type.to_owned(), bytes.to_vec());
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, bytes).to_string();
            self.manifests.insert((path.to_owned(), digest), value.clone());
        }
        self.manifests.insert((path.to_owned(), name.to_owned()), value);
    }
}

async fn handle(State(registry): State<TestRegistry>, request: Request) -> Response {
    registry.note(&request);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let fault = registry.take_fault(&method, &path);
    match fault {
        Some(FaultKind::Answer { status, headers, body }) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body)).expect("valid")
        }
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(kind) => bent(kind, serve(&registry, request).await).await,
        None => serve(&registry, request).await,
    }
}

async fn serve(registry: &TestRegistry, request: Request) -> Response {
    if request.uri().path() == "/token" {
        return token(registry);
    }
    if let Some(refusal) = registry.refuses(request.headers()) {
        return refusal;
    }
    route(registry, request).await.unwrap_or_else(|status| {
        Response::builder().status(status).body(Body::empty()).expect("valid")
    })
}

fn token(registry: &TestRegistry) -> Response {
    let mut contents = registry.contents.lock().expect("lock");
    match contents.tokens.len() {
        0 => Response::builder().status(401).body(Body::empty()).expect("valid"),
        1 => Response::new(Body::from(contents.tokens[0].clone())),
        _ => Response::new(Body::from(contents.tokens.remove(0))),
    }
}

/// The right answer, bent.
async fn bent(kind: FaultKind, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = match kind {
        FaultKind::WithoutHeader(name) => {
            parts.headers.remove(name);
            body
        }
        FaultKind::WithHeader(name, value) => {
            parts.headers.insert(name, value.parse().expect("valid"));
            body
        }
        FaultKind::Cut(after) => cut(body, after).await,
        // Ends the connection's task without a word on stderr.
        FaultKind::LoseAnswer => std::panic::resume_unwind(Box::new("the answer is lost")),
        FaultKind::Corrupt(at) => {
            let mut bytes = whole(body).await.to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
            Body::from(bytes)
        }
        FaultKind::Append(more) => {
            let mut bytes = whole(body).await.to_vec();
            bytes.extend_from_slice(more.as_bytes());
            parts.headers.remove("content-length");
            Body::from(bytes)
        }
        FaultKind::Answer { .. } | FaultKind::Hang => body,
    };
    Response::from_parts(parts, body)
}

pub(crate) async fn whole(body: Body) -> Bytes {
    axum::body::to_bytes(body, usize::MAX).await.expect("whole")
}

async fn cut(body: Body, after: usize) -> Body {
    let bytes = whole(body).await;
    let start = Ok(bytes.slice(..after.min(bytes.len())));
    let pieces = futures_util::stream::iter([start]);
    // The break comes on its own, after what was sent.
    let end = futures_util::stream::once(async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    Body::from_stream(pieces.chain(end))
}

async fn route(registry: &TestRegistry, request: Request) -> Reply {
    let path = request.uri().path().to_owned();
    let Some(rest) = path.strip_prefix("/v2/") else { return Err(StatusCode::NOT_FOUND) };
    if rest.is_empty() {
        return Ok(Response::new(Body::from("{}")));
    }
    for (kind, separator) in [
        ("uploads", "/blobs/uploads/"),
        ("manifests", "/manifests/"),
        ("blobs", "/blobs/"),
        ("tags", "/tags/"),
        ("referrers", "/referrers/"),
    ] {
        if let Some((name, reference)) = rest.split_once(separator) {
            return match kind {
                "uploads" => super::uploads::serve(registry, name, reference, request).await,
                "manifests" => manifests(registry, name, reference, request).await,
                "blobs" => blobs(registry, name, reference, &request),
                "tags" => tags(registry, name, &request),
                _ => referrers(registry, name, reference, &request),
            };
        }
    }
    Err(StatusCode::NOT_FOUND)
}

pub(crate) fn query(request: &Request, key: &str) -> Option<String> {
    queries(request, key).into_iter().next()
}

fn queries(request: &Request, key: &str) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(name, _)| name == key).map(|(_, value)| value.into_owned()).collect()
}

pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(body.into()).expect("valid"))
}

pub(crate) fn error(status: u16, code: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{code} here"}}]}}"#);
    reply(status, &[("content-type", "application/json")], body)
}

async fn manifests(
    registry: &TestRegistry,
    name: &str,
    reference: &str,
    request: Request,
) -> Reply {
    let key = (name.to_owned(), reference.to_owned());
    let found = registry.contents.lock().expect("lock").manifests.get(&key).cloned();
    match (request.method().as_str(), found) {
        ("GET" | "HEAD", Some((media_type, bytes))) => {
            let algorithm = match reference.starts_with("sha512:") {
                true => Algorithm::Sha512,
                false => Algorithm::Sha256,
            };
            let digest = Digest::of(algorithm, &bytes).to_string();
            let length = bytes.len().to_string();
            let mut headers = vec![
                ("content-type", media_type.as_str()),
                ("docker-content-digest", digest.as_str()),
                ("content-length", length.as_str()),
            ];
            let etag = format!("\"{digest}\"");
            if registry.contents.lock().expect("lock").abilities.conditions {
                headers.push(("etag", etag.as_str()));
            }
            reply(200, &headers, bytes)
        }
        ("GET" | "HEAD", None) => error(404, "MANIFEST_UNKNOWN"),
        ("PUT", _) => put_manifest(registry, name, reference, request).await,
        ("DELETE", Some(_)) => delete_manifest(registry, name, reference),
        ("DELETE", None) => error(404, "MANIFEST_UNKNOWN"),
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn put_manifest(
    registry: &TestRegistry,
    name: &str,
    reference: &str,
    request: Request,
) -> Reply {
    let tags = queries(&request, "tag");
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    let bytes = whole(body).await;
    let mut contents = registry.contents.lock().expect("lock");
    let old = contents.manifests.get(&(name.to_owned(), reference.to_owned()));
    let etag = old.map(|(_, bytes)| format!("\"{}\"", Digest::sha256(bytes)));
    if contents.abilities.conditions {
        let stale = !header("if-match").is_empty() && Some(header("if-match")) != etag;
        if stale || (header("if-none-match") == "*" && etag.is_some()) {
            return Err(StatusCode::PRECONDITION_FAILED);
        }
    }
    let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let subject = document["subject"]["digest"].as_str().map(str::to_owned);
    contents.store_manifest(name, reference, &header("content-type"), &bytes);
    let mut taken = String::new();
    if contents.abilities.tag_parameters {
        for tag in &tags {
            contents.store_manifest(name, tag, &header("content-type"), &bytes);
        }
        taken = tags.join(", ");
    }
    let digest = Digest::sha256(&bytes).to_string();
    let mut headers = vec![("docker-content-digest", digest.as_str())];
    if !taken.is_empty() {
        headers.push(("oci-tag", &taken));
    }
    if let Some(subject) = subject.as_deref().filter(|_| contents.abilities.referrers) {
        headers.push(("oci-subject", subject));
    }
    reply(201, &headers, "")
}

fn delete_manifest(registry: &TestRegistry, name: &str, reference: &str) -> Reply {
    let mut contents = registry.contents.lock().expect("lock");
    if !reference.contains(':') {
        if !contents.abilities.tag_delete {
            return error(400, "UNSUPPORTED");
        }
        contents.manifests.remove(&(name.to_owned(), reference.to_owned()));
        return reply(202, &[], "");
    }
    let gone = contents.manifests.get(&(name.to_owned(), reference.to_owned())).cloned();
    contents.manifests.retain(|(path, _), value| path != name || Some(&*value) != gone.as_ref());
    reply(202, &[], "")
}

fn blobs(registry: &TestRegistry, name: &str, reference: &str, request: &Request) -> Reply {
    let Ok(digest) = reference.parse::<Digest>() else { return error(400, "DIGEST_INVALID") };
    let mut contents = registry.contents.lock().expect("lock");
    let key = (name.to_owned(), digest);
    let Some(bytes) = contents.blobs.get(&key).cloned() else { return error(404, "BLOB_UNKNOWN") };
    if request.method() == Method::DELETE {
        contents.blobs.remove(&key);
        return reply(202, &[], "");
    }
    let range = request.headers().get("range").and_then(|value| value.to_str().ok());
    match range.filter(|_| contents.abilities.ranges) {
        Some(range) => {
            let start = range.trim_start_matches("bytes=").trim_end_matches('-');
            let start: usize = start.parse().expect("a number");
            let said = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            reply(206, &[("content-range", &said)], bytes[start..].to_vec())
        }
        None => {
            let length = bytes.len().to_string();
            reply(200, &[("content-length", &length)], bytes)
        }
    }
}

fn tags(registry: &TestRegistry, name: &str, request: &Request) -> Reply {
    let contents = registry.contents.lock().expect("lock");
    let all = contents
        .manifests
        .keys()
        .filter(|(path, reference)| path == name && !reference.contains(':'))
        .map(|(_, tag)| tag.clone());
    let last = query(request, "last").unwrap_or_default();
    let left = all.filter(|tag| *tag > last).collect::<Vec<_>>();
    let page = contents.abilities.tags_page.min(left.len());
    let body = serde_json::json!({ "name": name, "tags": left[..page] }).to_string();
    match left.len() > page {
        true => {
            let link = format!("</v2/{name}/tags/list?last={}>; rel=\"next\"", left[page - 1]);
            reply(200, &[("link", &link)], body)
        }
        false => reply(200, &[], body),
    }
}

fn referrers(registry: &TestRegistry, name: &str, subject: &str, request: &Request) -> Reply {
    let contents = registry.contents.lock().expect("lock");
    if !contents.abilities.referrers {
        return reply(404, &[], "404 page not found");
    }
    let mut found = Vec::new();
    for ((path, reference), (media_type, bytes)) in &contents.manifests {
        let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        if path != name
            || !reference.starts_with("sha256:")
            || document["subject"]["digest"] != subject
        {
            continue;
        }
        found.push(serde_json::json!({
            "mediaType": media_type, "digest": reference, "size": bytes.len(),
            "artifactType": document["artifactType"],
        }));
    }
    let skip = query(request, "skip").and_then(|text| text.parse().ok()).unwrap_or(0);
    let left = &found[skip.min(found.len())..];
    let page = contents.abilities.referrers_page.min(left.len());
    let body = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": left[..page],
    });
    let mut headers = vec![("content-type", "application/vnd.oci.image.index.v1+json")];
    let link = format!("</v2/{name}/referrers/{subject}?skip={}>; rel=\"next\"", skip + page);
    if left.len() > page {
        headers.push(("link", &link));
    }
    reply(200, &headers, body.to_string())
}
