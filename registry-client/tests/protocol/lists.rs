use std::sync::Arc;

use axum::http::Method;
use bytes::Bytes;
use oci::{Descriptor, Digest, Index, Manifest, MediaType, Raw};
use registry_client::{Problem, ReferrersFilter, ReferrersSource, Repository, Selector};

use crate::support::registry::{Abilities, answer};
use crate::support::{Fault, FaultKind, TestRegistry, client, repository};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// Covers: DST-21
#[tokio::test]
async fn tags_are_read_page_by_page_to_the_end_of_the_links() {
    let registry = TestRegistry::with(Abilities { tags_page: 2, ..Abilities::default() }).await;
    for tag in ["a", "b", "c", "d", "e"] {
        registry.put_manifest("x", tag, OCI, tag.as_bytes());
    }
    let repository = repository(&client().0, &registry.host, "x");
    assert_eq!(repository.tags().await.expect("lists"), ["a", "b", "c", "d", "e"]);
    assert_eq!(registry.seen(&Method::GET, "tags").len(), 3);
}

/// Covers: DST-21
#[tokio::test]
async fn a_page_that_links_to_itself_or_to_another_server_ends_the_list_with_an_error() {
    let registry = TestRegistry::start().await;
    let (client, _) = client();
    let repository = repository(&client, &registry.host, "x");
    let own = format!("<http://{}/v2/x/tags/list?n=1000>; rel=\"next\"", registry.host);
    for link in [own.as_str(), "<http://127.0.0.1:1/v2/x/tags/list>; rel=\"next\""] {
        let page = answer(200, &[("link", link)], r#"{"tags":["a"]}"#);
        registry.fault(Fault::once(Method::GET, "tags", page).times(1));
        let error = repository.tags().await.expect_err("an evil link");
        assert!(matches!(error.problem(), Problem::Protocol { .. }), "{error}");
    }
    let null = answer(200, &[], r#"{"name":"x","tags":null}"#);
    registry.fault(Fault::once(Method::GET, "tags", null));
    assert!(repository.tags().await.expect("none").is_empty());
}

fn subject(registry: &TestRegistry) -> Descriptor {
    let bytes = br#"{"schemaVersion":2,"layers":[]}"#;
    registry.put_manifest("x", "v1", OCI, bytes);
    Descriptor::of(MediaType::OciManifest, bytes)
}

fn referrer(subject: &Descriptor, artifact_type: &str, salt: usize) -> Raw<Manifest> {
    let manifest = Manifest::artifact(artifact_type, vec![Descriptor::empty()])
        .with_subject(subject.bare())
        .with_annotations([("salt".to_owned(), salt.to_string())].into());
    Raw::encode(&manifest).expect("encodes")
}

async fn attach(
    repository: &Repository,
    subject: &Descriptor,
    artifact_type: &str,
    salt: usize,
) -> Digest {
    let document = referrer(subject, artifact_type, salt);
    let selector = Selector::Digest(document.digest());
    let bytes = Bytes::copy_from_slice(document.bytes());
    repository.put_manifest(&selector, &MediaType::OciManifest, bytes).await.expect("attaches");
    document.digest()
}

/// Covers: DST-19
#[tokio::test]
async fn referrers_come_from_the_registry_in_pages_and_filtered() {
    let registry =
        TestRegistry::with(Abilities { referrers_page: 2, ..Abilities::default() }).await;
    let subject = subject(&registry);
    let repository = repository(&client().0, &registry.host, "x");
    for salt in 0..5 {
        attach(&repository, &subject, "a/signature", salt).await;
    }
    let sbom = attach(&repository, &subject, "a/sbom", 9).await;
    let all =
        repository.referrers(subject.digest(), &ReferrersFilter::default()).await.expect("lists");
    assert_eq!((all.descriptors.len(), all.source), (6, ReferrersSource::Api));
    // This registry ignores the filter: it is applied here.
    let filter = ReferrersFilter::artifact_type("a/sbom");
    let found = repository.referrers(subject.digest(), &filter).await.expect("lists");
    assert_eq!(found.descriptors.iter().map(Descriptor::digest).collect::<Vec<_>>(), [&sbom]);
    assert!(registry.seen(&Method::GET, "artifactType=a/sbom").len() == 1);
    assert!(registry.manifest("x", &format!("sha256-{}", subject.digest().hex())).is_none());
}

/// Covers: DST-19, DST-20
#[tokio::test]
async fn without_the_list_the_fallback_tag_is_written_and_read() {
    let registry = TestRegistry::with(Abilities { referrers: false, ..Abilities::default() }).await;
    let subject = subject(&registry);
    let repository = repository(&client().0, &registry.host, "x");
    let none = repository.referrers(subject.digest(), &ReferrersFilter::default()).await;
    assert!(none.expect("an empty list").descriptors.is_empty());
    let signature = attach(&repository, &subject, "a/signature", 1).await;
    attach(&repository, &subject, "a/signature", 1).await;
    attach(&repository, &subject, "a/sbom", 2).await;
    let filter = ReferrersFilter::artifact_type("a/signature");
    let found = repository.referrers(subject.digest(), &filter).await.expect("lists");
    assert_eq!(found.source, ReferrersSource::FallbackTag);
    assert_eq!(found.descriptors.len(), 1);
    let entry = &found.descriptors[0];
    assert_eq!(*entry.digest(), signature);
    assert_eq!(entry.artifact_type(), Some("a/signature"));
    assert_eq!(entry.annotation("salt"), Some("1"));
    let tag = format!("sha256-{}", subject.digest().hex());
    let index = registry.manifest("x", &tag).expect("the tag");
    Raw::<Index>::parse(&index[..]).expect("an index");
    repository.forget_referrer(subject.digest(), &signature).await.expect("forgets");
    let found = repository.referrers(subject.digest(), &filter).await.expect("lists");
    assert!(found.descriptors.is_empty());
}

/// Covers: DST-20
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_parallel_lose_no_entry_with_conditions_and_without() {
    for conditions in [true, false] {
        let registry =
            TestRegistry::with(Abilities { referrers: false, conditions, ..Abilities::default() })
                .await;
        let subject = Arc::new(subject(&registry));
        let writers = (0..6).map(|salt| {
            let (client, _) = client();
            let repository = repository(&client, &registry.host, "x");
            let subject = subject.clone();
            tokio::spawn(async move { attach(&repository, &subject, "a/signature", salt).await })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("writes");
        }
        let repository = repository(&client().0, &registry.host, "x");
        let all = repository.referrers(subject.digest(), &ReferrersFilter::default()).await;
        let found = all.expect("lists").descriptors.len();
        if conditions {
            assert_eq!(found, 6);
        } else {
            // Without conditions each writer still saw its own entry after writing.
            assert!(found >= 1);
        }
    }
}

/// Covers: DST-20
#[tokio::test]
async fn an_image_under_the_fallback_tag_is_not_overwritten() {
    let registry = TestRegistry::with(Abilities { referrers: false, ..Abilities::default() }).await;
    let subject = subject(&registry);
    let tag = format!("sha256-{}", subject.digest().hex());
    let image = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
    registry.put_manifest("x", &tag, OCI, image);
    let repository = repository(&client().0, &registry.host, "x");
    let document = referrer(&subject, "a/signature", 1);
    let bytes = Bytes::copy_from_slice(document.bytes());
    let selector = Selector::Digest(document.digest());
    let error = repository.put_manifest(&selector, &MediaType::OciManifest, bytes).await;
    assert!(error.expect_err("refused").to_string().contains("is no index"));
    assert_eq!(registry.manifest("x", &tag).as_deref(), Some(&image[..]));
}

/// Covers: DST-23
#[tokio::test]
async fn a_tag_is_deleted_and_the_manifest_under_other_tags_stays() {
    for tag_delete in [true, false] {
        let registry = TestRegistry::with(Abilities { tag_delete, ..Abilities::default() }).await;
        let bytes = br#"{"schemaVersion":2,"layers":[]}"#;
        let digest = registry.put_manifest("x", "v1", OCI, bytes);
        registry.put_manifest("x", "v2", OCI, bytes);
        let repository = repository(&client().0, &registry.host, "x");
        repository.delete_tag("v1").await.expect("deletes");
        assert_eq!(repository.tags().await.expect("lists"), ["v2"], "{tag_delete}");
        assert!(registry.manifest("x", &digest.to_string()).is_some());
        let missing = repository.delete_tag("v9").await.expect_err("missing");
        assert!(missing.is_not_found(), "{missing}");
        assert_eq!(repository.tags().await.expect("lists"), ["v2"]);
    }
}

/// Covers: DST-23
#[tokio::test]
async fn deleting_by_digest_takes_all_tags_and_blobs_go_alone() {
    let registry = TestRegistry::start().await;
    let bytes = br#"{"schemaVersion":2,"layers":[]}"#;
    let digest = registry.put_manifest("x", "v1", OCI, bytes);
    registry.put_manifest("x", "v2", OCI, bytes);
    let blob = registry.put_blob("x", b"layer");
    let repository = repository(&client().0, &registry.host, "x");
    repository.delete_manifest(&digest).await.expect("deletes");
    assert!(repository.tags().await.expect("lists").is_empty());
    repository.delete_blob(&blob).await.expect("deletes");
    assert_eq!(repository.stat_blob(&blob).await.expect("asks"), None);
    assert!(repository.delete_blob(&blob).await.expect_err("gone").is_not_found());
}

/// Covers: DST-26
#[tokio::test]
async fn a_warning_is_given_once() {
    let registry = TestRegistry::start().await;
    registry.put_manifest("x", "v1", OCI, br#"{"schemaVersion":2}"#);
    let warning = FaultKind::WithHeader("warning", "299 - \"this tag is old\"".to_owned());
    registry.fault(Fault::once(Method::HEAD, "manifests", warning).times(3));
    let (client, _) = client();
    let repository = repository(&client, &registry.host, "x");
    for _ in 0..3 {
        repository.resolve(&Selector::Tag("v1".to_owned())).await.expect("resolves");
    }
    assert_eq!(client.take_warnings(), ["this tag is old"]);
    assert!(client.take_warnings().is_empty());
}

/// Covers: DST-1
#[tokio::test]
async fn the_ping_may_fail_and_the_pull_still_works() {
    let registry = TestRegistry::start().await;
    registry.put_manifest("x", "v1", OCI, br#"{"schemaVersion":2,"layers":[]}"#);
    let missing = Fault::once(Method::GET, "/v2/", answer(404, &[], "")).times(2);
    registry.fault(missing);
    let (client, _) = client();
    client.ping(&registry.host).await.expect_err("no ping here");
    let repository = repository(&client, &registry.host, "x");
    repository.resolve(&Selector::Tag("v1".to_owned())).await.expect("resolves");
}
