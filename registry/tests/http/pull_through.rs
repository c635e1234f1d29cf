//! A cache of another registry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use oci::Digest;
use registry::config::Proxy;
use registry::{
    ManifestReference, RepositoryName, Upstream, UpstreamBlob, UpstreamError, UpstreamManifest,
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::site::{OCI_INDEX, OCI_MANIFEST, Site, descriptor, image_of, noise};

/// A registry in memory that counts what it is asked for and fails on cue.
#[derive(Default)]
struct Memory {
    manifests: Mutex<HashMap<String, Bytes>>,
    blobs: Mutex<HashMap<Digest, Bytes>>,
    asked_manifests: AtomicUsize,
    asked_blobs: AtomicUsize,
    down: AtomicBool,
    hangs: AtomicBool,
    /// Pieces of a blob that may pass; `None` when all may.
    gate: Option<Semaphore>,
}

impl Memory {
    fn check(&self) -> Result<(), UpstreamError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(UpstreamError::Unavailable { source: "switched off".into() }),
            false => Ok(()),
        }
    }

    fn push(&self, tag: &str, seed: &str) -> Digest {
        let (config, layer) = (format!("config {seed}"), noise(300_000, seed.len() as u64));
        let manifest = Bytes::from(image_of(config.as_bytes(), &layer).to_string());
        for blob in [Bytes::from(config), Bytes::from(layer)] {
            self.blobs.lock().expect("not poisoned").insert(Digest::sha256(&blob), blob);
        }
        let digest = Digest::sha256(&manifest);
        let mut manifests = self.manifests.lock().expect("not poisoned");
        manifests.insert(tag.to_owned(), manifest.clone());
        manifests.insert(digest.to_string(), manifest);
        digest
    }
}

fn absent(what: impl ToString) -> UpstreamError {
    UpstreamError::NotFound { what: what.to_string() }
}

/// The registry as the server sees it.
struct Port(Arc<Memory>);

#[async_trait::async_trait]
impl Upstream for Port {
    async fn manifest(
        &self,
        _: &RepositoryName,
        reference: &ManifestReference,
        known: Option<&Digest>,
    ) -> Result<UpstreamManifest, UpstreamError> {
        self.0.check()?;
        if self.0.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.0.asked_manifests.fetch_add(1, Ordering::SeqCst);
        let bytes =
            self.0.manifests.lock().expect("not poisoned").get(&reference.to_string()).cloned();
        let bytes = bytes.ok_or_else(|| absent(reference))?;
        Ok(match known.is_some_and(|known| *known == Digest::sha256(&bytes)) {
            true => UpstreamManifest::Unchanged,
            false => UpstreamManifest::Manifest { media_type: OCI_MANIFEST.to_owned(), bytes },
        })
    }

    async fn blob(
        &self,
        _: &RepositoryName,
        digest: &Digest,
    ) -> Result<UpstreamBlob, UpstreamError> {
        self.0.check()?;
        self.0.asked_blobs.fetch_add(1, Ordering::SeqCst);
        let bytes = self.0.blobs.lock().expect("not poisoned").get(digest).cloned();
        let bytes = bytes.ok_or_else(|| absent(digest))?;
        let (size, memory) = (bytes.len() as u64, self.0.clone());
        let pieces: Vec<_> = bytes.chunks(50_000).map(Bytes::copy_from_slice).collect();
        let content = futures_util::stream::iter(pieces).then(move |piece| {
            let memory = memory.clone();
            async move {
                if let Some(gate) = &memory.gate {
                    gate.acquire().await.expect("open").forget();
                }
                Ok(piece)
            }
        });
        Ok(UpstreamBlob { size: Some(size), content: content.boxed() })
    }

    async fn tags(&self, _: &RepositoryName) -> Result<Vec<String>, UpstreamError> {
        self.0.check()?;
        let manifests = self.0.manifests.lock().expect("not poisoned");
        Ok(manifests.keys().filter(|key| !key.contains(':')).cloned().collect())
    }

    async fn referrers(
        &self,
        _: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Bytes>, UpstreamError> {
        self.0.check()?;
        let entry = descriptor(OCI_MANIFEST, subject.hex().as_bytes());
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
        Ok(Some(index.to_string().into()))
    }
}

fn cache(memory: &Arc<Memory>, tag_seconds: u64) -> Site {
    let upstream = Arc::new(Port(memory.clone()));
    Site::of(
        |config| {
            config.limits.idle_seconds = 5;
            config.proxy = Some(Proxy { upstream: "upstream.example".to_owned(), tag_seconds })
        },
        |server| server.with_upstream(upstream),
    )
}

/// Covers: DST-65
#[tokio::test]
async fn what_was_fetched_once_is_served_without_the_upstream() {
    let memory = Arc::new(Memory::default());
    let digest = memory.push("v1", "x");
    let site = cache(&memory, 3600);
    let layer = Digest::sha256(&noise(300_000, 1));
    for _ in 0..3 {
        let got = site.get("/v2/lib/app/manifests/v1").await.is(200);
        assert_eq!(Digest::sha256(&got.body), digest);
        site.head(&format!("/v2/lib/app/manifests/{digest}")).await.is(200);
        assert_eq!(
            site.get(&format!("/v2/lib/app/blobs/{layer}")).await.is(200).body,
            noise(300_000, 1)
        );
    }
    assert_eq!(memory.asked_manifests.load(Ordering::SeqCst), 1);
    assert_eq!(memory.asked_blobs.load(Ordering::SeqCst), 1);
    let part = site
        .send("GET", &format!("/v2/lib/app/blobs/{layer}"), &[("range", "bytes=10-19")], "")
        .await
        .is(206);
    assert_eq!(part.body, noise(300_000, 1)[10..20]);
}

/// Covers: DST-65
#[tokio::test]
async fn a_hundred_clients_that_want_one_blob_make_one_fetch_and_are_fed_while_it_runs() {
    let memory = Arc::new(Memory { gate: Some(Semaphore::new(0)), ..Memory::default() });
    memory.push("v1", "x");
    let site = Arc::new(cache(&memory, 3600));
    let content = noise(300_000, 1);
    let path = format!("/v2/a/blobs/{}", Digest::sha256(&content));
    let gate = memory.gate.as_ref().expect("a gate");
    gate.add_permits(2);
    let mut first = site.client.get(site.url(&path)).send().await.expect("an answer");
    assert_eq!(first.headers()["content-length"], "300000");
    let mut early = first.chunk().await.expect("bytes").expect("some").to_vec();
    assert!(!early.is_empty() && early.len() <= 100_000, "fed while the fetch waits");
    let pulls: Vec<_> = (0..100)
        .map(|_| {
            let (site, path) = (site.clone(), path.clone());
            tokio::spawn(async move { site.get(&path).await.is(200).body })
        })
        .collect();
    gate.add_permits(100);
    while let Some(chunk) = first.chunk().await.expect("bytes") {
        early.extend_from_slice(&chunk);
    }
    assert_eq!(early, content);
    for pull in pulls {
        assert_eq!(pull.await.expect("pulled"), content);
    }
    assert_eq!(memory.asked_blobs.load(Ordering::SeqCst), 1);
}

/// Covers: DST-65
#[tokio::test]
async fn a_tag_is_asked_for_again_when_its_time_is_over_and_served_stale_when_the_upstream_is_down()
{
    let memory = Arc::new(Memory::default());
    let old = memory.push("v1", "x");
    let site = cache(&memory, 0);
    let digest = async |path: &str| {
        let got = site.get(path).await.is(200);
        (got.header("docker-content-digest").to_owned(), got.header("warning").to_owned())
    };
    assert_eq!(digest("/v2/a/manifests/v1").await, (old.to_string(), String::new()));
    let new = memory.push("v1", "longer");
    assert_eq!(digest("/v2/a/manifests/v1").await, (new.to_string(), String::new()));
    memory.down.store(true, Ordering::SeqCst);
    let (stale, warning) = digest("/v2/a/manifests/v1").await;
    assert_eq!(stale, new.to_string());
    assert!(warning.starts_with("299 - \"the upstream registry is unavailable"), "{warning}");
    digest(&format!("/v2/a/manifests/{old}")).await;
    site.get("/v2/a/manifests/never").await.refused(502, "UNKNOWN");
    assert_eq!(site.get("/v2/a/tags/list").await.is(200).json()["tags"], json!(["v1"]));
    memory.down.store(false, Ordering::SeqCst);
    memory.manifests.lock().expect("not poisoned").remove("v1");
    site.get("/v2/a/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn content_of_another_digest_is_neither_kept_nor_given_out_whole() {
    let memory = Arc::new(Memory::default());
    let digest = memory.push("v1", "x");
    let layer = Digest::sha256(&noise(300_000, 1));
    memory.blobs.lock().expect("not poisoned").insert(layer.clone(), noise(300_000, 99).into());
    memory
        .manifests
        .lock()
        .expect("not poisoned")
        .insert(digest.to_string(), "{\"schemaVersion\":2}".into());
    let site = cache(&memory, 3600);
    site.get(&format!("/v2/a/manifests/{digest}")).await.refused(502, "UNKNOWN");
    let response =
        site.client.get(site.url(&format!("/v2/a/blobs/{layer}"))).send().await.expect("a head");
    assert!(response.bytes().await.is_err(), "the answer breaks off before its end");
    let ranged =
        site.send("GET", &format!("/v2/a/blobs/{layer}"), &[("range", "bytes=0-9")], "").await;
    ranged.refused(502, "UNKNOWN");
    assert!(!site.root().join("blobs/sha256").join(layer.hex()).exists());
}

#[tokio::test]
async fn what_the_upstream_has_not_is_404_and_pushes_are_refused() {
    let memory = Arc::new(Memory::default());
    let site = cache(&memory, 3600);
    let digest = Digest::sha256(b"x");
    assert_eq!(site.get("/v2/a/manifests/v1").await.status, 404);
    site.get(&format!("/v2/a/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    site.send("POST", "/v2/a/blobs/uploads/", &[], "").await.refused(405, "UNSUPPORTED");
    let referrers = site.get(&format!("/v2/a/referrers/{digest}")).await.is(200).json();
    assert_eq!(referrers["manifests"].as_array().map(Vec::len), Some(1));
}

/// Covers: DST-65
#[tokio::test]
async fn a_layer_that_another_repository_brought_is_not_fetched_again() {
    let memory = Arc::new(Memory::default());
    memory.push("v1", "x");
    let site = cache(&memory, 3600);
    let layer = Digest::sha256(&noise(300_000, 1));
    site.get(&format!("/v2/a/blobs/{layer}")).await.is(200);
    // Nothing says yet that the second repository has it.
    site.get("/v2/b/manifests/v1").await.is(200);
    assert_eq!(site.get(&format!("/v2/b/blobs/{layer}")).await.is(200).body.len(), 300_000);
    assert_eq!(memory.asked_blobs.load(Ordering::SeqCst), 1);
    site.get(&format!("/v2/c/blobs/{layer}")).await.is(200);
    assert_eq!(memory.asked_blobs.load(Ordering::SeqCst), 2);
}

/// Covers: DST-65
#[tokio::test]
async fn an_upstream_that_hangs_is_one_that_is_down() {
    let memory = Arc::new(Memory { gate: Some(Semaphore::new(1)), ..Memory::default() });
    let digest = memory.push("v1", "x");
    let upstream = Arc::new(Port(memory.clone()));
    let site = Site::of(
        |config| {
            config.limits.idle_seconds = 1;
            config.proxy = Some(Proxy { upstream: "x".to_owned(), tag_seconds: 0 });
        },
        |server| server.with_upstream(upstream),
    );
    site.get("/v2/a/manifests/v1").await.is(200);
    let layer = Digest::sha256(&noise(300_000, 1));
    let hanging =
        site.client.get(site.url(&format!("/v2/a/blobs/{layer}"))).send().await.expect("a head");
    assert!(hanging.bytes().await.is_err(), "the answer breaks off");
    memory.hangs.store(true, Ordering::SeqCst);
    let stale = site.get("/v2/a/manifests/v1").await.is(200);
    assert_eq!(stale.header("docker-content-digest"), digest.to_string());
    assert!(stale.header("warning").starts_with("299 - "));
    // Given back, it is asked again: the failed fetch stands in nobody's way.
    memory.hangs.store(false, Ordering::SeqCst);
    memory.gate.as_ref().expect("a gate").add_permits(100);
    assert_eq!(site.get(&format!("/v2/a/blobs/{layer}")).await.is(200).body.len(), 300_000);
    assert_eq!(
        std::fs::read_dir(site.root().join("registry/staging")).expect("a folder").count(),
        0
    );
}

#[test]
fn a_proxy_without_a_client_for_it_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let mut config = registry::Config::loopback(root.path());
    config.proxy = Some(Proxy { upstream: "x".to_owned(), tag_seconds: 1 });
    let Err(error) = registry::Server::bind(config) else { panic!("bound") };
    assert!(error.to_string().contains("proxy.upstream"), "{error}");
}
