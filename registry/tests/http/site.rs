//! A running server with an empty root, and a client that says exactly what it means.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, Once};

use oci::{Algorithm, Digest};
use registry::{Config, Running, Server};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Body, Client, Method, StatusCode};
use serde_json::{Value, json};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What the access log of a site received.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("text")
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Site {
    pub(crate) server: Option<Running>,
    pub(crate) client: Client,
    pub(crate) log: Lines,
    root: Arc<tempfile::TempDir>,
}

/// A response that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error codes of the body, which must be of the specification's form.
    pub(crate) fn codes(&self) -> Vec<String> {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let errors = self.json()["errors"].as_array().expect("errors").clone();
        let code = |error: &Value| {
            assert!(error["message"].is_string(), "{error}");
            error["code"].as_str().expect("a code").to_owned()
        };
        errors.iter().map(code).collect()
    }

    /// Asserts status and first error code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.codes().first().map(String::as_str), Some(code), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).into_owned();
        assert_eq!(self.status.as_u16(), status, "{:?} {text}", self.headers);
        self
    }
}

pub(crate) fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first one");
    });
    Client::builder().no_proxy().build().expect("a client")
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::of(change, |server| server)
    }

    pub(crate) fn of(
        change: impl FnOnce(&mut Config),
        build: impl FnOnce(Server) -> Server,
    ) -> Self {
        let root = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut site = Self { server: None, client: client(), log: Lines::default(), root };
        site.boot(change, build);
        site
    }

    fn boot(&mut self, change: impl FnOnce(&mut Config), build: impl FnOnce(Server) -> Server) {
        let mut config = Config::loopback(self.root.path());
        change(&mut config);
        let server = Server::new(config).with_access_log(Box::new(self.log.clone()));
        self.server = Some(build(server).listen().expect("bound").spawn().expect("spawned"));
    }

    /// Stops the server and starts another on the same root.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&mut Config)) {
        self.server.take().expect("running").stop().expect("stopped");
        self.boot(change, |server| server);
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn running(&self) -> &Running {
        self.server.as_ref().expect("running")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.running().url())
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, self.url(path)).body(body);
        for (name, value) in headers {
            request =
                request.header(HeaderName::from_bytes(name.as_bytes()).expect("a name"), *value);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.expect("a whole body").to_vec();
        Answer { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        self.send("HEAD", path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// Waits until `/metrics` has the row.
    pub(crate) async fn until_metric(&self, row: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let page = String::from_utf8(self.get("/metrics").await.is(200).body).expect("text");
            if page.lines().any(|line| line == row) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{row} never came:\n{page}");
        }
    }

    /// Opens an upload session; its location.
    pub(crate) async fn open(&self, name: &str) -> String {
        let opened =
            self.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "").await.is(202);
        opened.header("location").to_owned()
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, name: &str, content: &[u8]) -> Digest {
        self.push_blob_as(name, content, Algorithm::Sha256).await
    }

    pub(crate) async fn push_blob_as(
        &self,
        name: &str,
        content: &[u8],
        algorithm: Algorithm,
    ) -> Digest {
        let digest = Digest::of(algorithm, content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        self.send("POST", &path, &[], content.to_vec()).await.is(201);
        digest
    }

    /// Puts a manifest under its own media type.
    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        manifest: &Value,
    ) -> Answer {
        let media_type = manifest["mediaType"].as_str().expect("a media type").to_owned();
        let path = format!("/v2/{name}/manifests/{reference}");
        self.send("PUT", &path, &[("content-type", &media_type)], manifest.to_string()).await
    }

    /// Pushes an image whose content depends on `seed`; its digest.
    pub(crate) async fn push_image(&self, name: &str, reference: &str, seed: &str) -> Digest {
        let manifest = self.image(name, seed).await;
        self.put_manifest(name, reference, &manifest).await.is(201);
        digest_of(&manifest)
    }

    /// Pushes the blobs of an image; its manifest.
    pub(crate) async fn image(&self, name: &str, seed: &str) -> Value {
        let (config, layer) = (format!("{{\"seed\":\"{seed}\"}}"), format!("layer {seed}"));
        self.push_blob(name, config.as_bytes()).await;
        self.push_blob(name, layer.as_bytes()).await;
        image_of(config.as_bytes(), layer.as_bytes())
    }
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(content), "size": content.len() })
}

pub(crate) fn image_of(config: &[u8], layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    })
}

pub(crate) fn digest_of(manifest: &Value) -> Digest {
    Digest::sha256(manifest.to_string().as_bytes())
}

/// Bytes without a pattern that a bug could hide behind.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
