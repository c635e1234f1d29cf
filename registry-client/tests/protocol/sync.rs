use axum::http::Method;
use bytes::Bytes;
use oci::{Compression, Descriptor, Index, Manifest, MediaType, Raw, TransferErrorKind};
use registry_client::blocking::BlockingRepository;
use registry_client::copy::{CopyOptions, copy_with_closure};
use registry_client::sync::{
    Requests, SyncOptions, TagPattern, TagRules, Vanished, WithReferrers, carry_out, observe, plan,
};
use tokio::runtime::Runtime;

use crate::support::registry::Abilities;
use crate::support::{TestRegistry, client, noise, repository};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn blocking(runtime: &Runtime, registry: &TestRegistry) -> BlockingRepository {
    let repository = repository(&client().0, &registry.host, "a");
    BlockingRepository::new(repository, runtime.handle().clone())
}

fn image(registry: &TestRegistry, tag: &str) -> Descriptor {
    let put = |media_type: MediaType, bytes: &[u8]| {
        registry.put_blob("a", bytes);
        Descriptor::of(media_type, bytes)
    };
    let config = put(MediaType::OciConfig, format!("{{\"for\":\"{tag}\"}}").as_bytes());
    let layer = put(MediaType::OciLayer(Compression::Gzip), &noise(10_000));
    let manifest = Raw::encode(&Manifest::new(config, vec![layer])).expect("encodes");
    registry.put_manifest("a", tag, MediaType::OciManifest.as_str(), manifest.bytes());
    manifest.descriptor()
}

/// Tags alone.
fn bare() -> SyncOptions {
    SyncOptions { referrers: WithReferrers::No, ..SyncOptions::default() }
}

fn sync(
    runtime: &Runtime,
    from: &TestRegistry,
    to: &TestRegistry,
    rules: &TagRules,
    vanished: Vanished,
    options: &SyncOptions,
) -> (registry_client::sync::SyncPlan, registry_client::sync::SyncReport) {
    let (source, target) = (blocking(runtime, from), blocking(runtime, to));
    let seen = observe(source.repository(), target.repository(), rules, options);
    let (seen, unreadable) = runtime.block_on(seen).expect("observes");
    let plan = plan(&seen, vanished);
    let mut report = carry_out(&plan, &source, &target, options);
    report.failed.extend(unreadable);
    (plan, report)
}

/// Covers: DST-54, DST-55, DST-61
#[test]
fn a_second_sync_only_looks_and_a_moved_tag_moves() {
    let runtime = runtime();
    let from = runtime.block_on(TestRegistry::start());
    let to = runtime.block_on(TestRegistry::start());
    for tag in ["v1", "v2", "v3", "edge"] {
        image(&from, tag);
    }
    let rules = TagRules::all().allow(TagPattern::whole("v.*").expect("valid"));
    let (_, report) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &bare());
    assert_eq!(report.done, ["v1", "v2", "v3"]);
    assert!(to.manifest("a", "edge").is_none() && report.failed.is_empty());
    // One layer is shared, and three configs and manifests differ.
    assert_eq!(to.contents.lock().expect("lock").blobs.len(), 4);
    assert_eq!(to.seen(&Method::POST, "uploads").len(), 4, "the shared layer was sent once");
    let gets = from.seen(&Method::GET, "/manifests/").len();
    let (plan, report) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &bare());
    assert!(plan.actions().is_empty() && report.done.is_empty());
    assert_eq!(plan.requests(), Requests { looks: 4, pulls: 0 });
    assert_eq!(from.seen(&Method::GET, "/manifests/").len(), gets, "no manifest was read");
    let moved = image(&from, "v2-new");
    let bytes = from.manifest("a", "v2-new").expect("there");
    from.put_manifest("a", "v2", MediaType::OciManifest.as_str(), &bytes);
    from.change(|contents| drop(contents.manifests.remove(&("a".to_owned(), "v1".to_owned()))));
    let (_, report) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &bare());
    assert_eq!(report.done, ["v2", "v2-new"]);
    assert_eq!(to.manifest("a", "v2"), to.manifest("a", &moved.digest().to_string()));
    assert!(to.manifest("a", "v1").is_some(), "a vanished tag stays unless asked");
    let (_, report) = sync(&runtime, &from, &to, &rules, Vanished::Delete, &bare());
    assert_eq!(report.done, ["v1"]);
    assert!(to.manifest("a", "v1").is_none() && to.manifest("a", "v3").is_some());
}

/// Covers: DST-60
#[test]
fn one_bad_image_of_many_is_reported_and_the_others_arrive() {
    let runtime = runtime();
    let from = runtime.block_on(TestRegistry::start());
    let to = runtime.block_on(TestRegistry::start());
    for tag in ["v1", "v2", "v3"] {
        image(&from, tag);
    }
    let broken = image(&from, "v4");
    from.change(|contents| {
        let config = br#"{"for":"v4"}"#;
        contents.blobs.remove(&("a".to_owned(), oci::Digest::sha256(config)));
    });
    let (_, report) = sync(&runtime, &from, &to, &TagRules::all(), Vanished::Keep, &bare());
    assert_eq!(report.done, ["v1", "v2", "v3"]);
    let [failure] = &report.failed[..] else { panic!("{:?}", report.failed) };
    assert_eq!((failure.tag.as_str(), failure.error.kind()), ("v4", TransferErrorKind::NotFound));
    assert!(to.manifest("a", "v4").is_none());
    assert!(to.manifest("a", &broken.digest().to_string()).is_none(), "nothing half-copied");
}

/// A signature, a signature of that signature, and one attached by a tag.
fn attach_all(runtime: &Runtime, registry: &TestRegistry, subject: &Descriptor) -> Vec<Descriptor> {
    let repository = repository(&client().0, &registry.host, "a");
    registry.put_blob("a", b"{}");
    let mut attached = Vec::new();
    let mut above = subject.clone();
    for artifact_type in ["a/signature", "a/countersignature"] {
        let manifest =
            Manifest::artifact(artifact_type, vec![Descriptor::empty()]).with_subject(above.bare());
        let manifest = Raw::encode(&manifest).expect("encodes");
        let selector = registry_client::Selector::Digest(manifest.digest());
        let bytes = Bytes::copy_from_slice(manifest.bytes());
        let put = repository.put_manifest(&selector, &MediaType::OciManifest, bytes);
        runtime.block_on(put).expect("attaches");
        above = manifest.descriptor();
        attached.push(above.clone());
    }
    let by_tag =
        Raw::encode(&Manifest::artifact("a/old", vec![Descriptor::empty()])).expect("encodes");
    let tag = format!("sha256-{}.sig", subject.digest().hex());
    registry.put_manifest("a", &tag, MediaType::OciManifest.as_str(), by_tag.bytes());
    attached.push(by_tag.descriptor());
    attached
}

/// Covers: DST-19, DST-20, DST-67
#[test]
fn an_image_moves_with_all_that_is_attached_to_it_and_its_platforms() {
    let runtime = runtime();
    for (source_lists, target_lists) in [(true, true), (false, true), (true, false)] {
        let start = |referrers| {
            runtime.block_on(TestRegistry::with(Abilities { referrers, ..Abilities::default() }))
        };
        let (from, to) = (start(source_lists), start(target_lists));
        let child = image(&from, "v1-amd64");
        let index = Raw::encode(&Index::new(vec![child.clone()])).expect("encodes");
        from.put_manifest("a", "v1", MediaType::OciIndex.as_str(), index.bytes());
        let mut expected = attach_all(&runtime, &from, &index.descriptor());
        expected.extend(attach_all(&runtime, &from, &child));
        let (source, target) = (blocking(&runtime, &from), blocking(&runtime, &to));
        let options = CopyOptions::into_registry();
        let report = copy_with_closure(&source, &target, &index.descriptor(), &options);
        let report = report.expect("all of it");
        // The artifact attached by tag is the same for both subjects, under two tags.
        assert_eq!(report.attached.len(), 6, "{:?}", report.attached);
        for descriptor in &expected {
            assert!(to.manifest("a", &descriptor.digest().to_string()).is_some(), "{descriptor:?}");
        }
        let listed = target.referrers(index.descriptor().digest()).expect("lists");
        assert_eq!(listed.len(), 1, "{source_lists} {target_lists}");
        for subject in [index.digest(), child.digest().clone()] {
            let tag = format!("sha256-{}.sig", subject.hex());
            assert!(to.manifest("a", &tag).is_some(), "{tag}");
        }
    }
}

#[test]
fn a_closure_of_which_a_part_is_missing_is_an_error_that_names_it() {
    let runtime = runtime();
    let from = runtime.block_on(TestRegistry::start());
    let to = runtime.block_on(TestRegistry::start());
    let subject = image(&from, "v1");
    let attached = attach_all(&runtime, &from, &subject);
    from.change(|contents| {
        contents.blobs.remove(&("a".to_owned(), Descriptor::empty().digest().clone()));
    });
    let (source, target) = (blocking(&runtime, &from), blocking(&runtime, &to));
    let error = copy_with_closure(&source, &target, &subject, &CopyOptions::into_registry())
        .expect_err("the signature's blob is gone");
    assert_eq!(error.kind(), TransferErrorKind::NotFound);
    for descriptor in attached {
        assert!(error.to_string().contains(&descriptor.digest().to_string()), "{error}");
    }
}

/// Covers: DST-55, DST-67
#[test]
fn a_signature_that_came_later_is_brought_by_the_next_sync() {
    let runtime = runtime();
    let from = runtime.block_on(TestRegistry::start());
    let to = runtime.block_on(TestRegistry::start());
    let subject = image(&from, "v1");
    let rules = TagRules::named(["v1".to_owned()]);
    let all = SyncOptions::default();
    let (_, report) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &all);
    assert_eq!(report.done, ["v1"]);
    let (plan, _) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &all);
    assert!(plan.actions().is_empty(), "{plan}");
    attach_all(&runtime, &from, &subject);
    let (plan, report) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &all);
    assert!(plan.to_string().starts_with("attach v1 "), "{plan}");
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let listed = blocking(&runtime, &to).referrers(subject.digest()).expect("lists");
    assert_eq!(listed.len(), 1);
    let (plan, _) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &all);
    assert!(plan.actions().is_empty(), "{plan}");
}

/// Covers: DST-43, DST-44
#[test]
fn one_platform_gets_its_manifest_and_several_the_index_with_gaps() {
    let runtime = runtime();
    let from = runtime.block_on(TestRegistry::start());
    let platforms =
        ["linux/amd64", "linux/arm64", "linux/s390x"].map(|text| text.parse().expect("ok"));
    let children = platforms.iter().map(|platform: &oci::Platform| {
        image(&from, &format!("v1-{}", platform.architecture())).with_platform(platform.clone())
    });
    let children = children.collect::<Vec<_>>();
    let index = Raw::encode(&Index::new(children.clone())).expect("encodes");
    from.put_manifest("a", "v1", MediaType::OciIndex.as_str(), index.bytes());
    let rules = TagRules::named(["v1".to_owned()]);
    for count in [1, 2] {
        let to = runtime.block_on(TestRegistry::start());
        let options = SyncOptions { platforms: platforms[..count].to_vec(), ..bare() };
        let (_, report) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &options);
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        let expected = if count == 1 { children[0].digest().clone() } else { index.digest() };
        let tagged = to.manifest("a", "v1").expect("tagged");
        assert_eq!(oci::Digest::sha256(&tagged), expected);
        for (child, there) in children.iter().zip([true, count > 1, false]) {
            assert_eq!(to.manifest("a", &child.digest().to_string()).is_some(), there);
        }
        let (plan, _) = sync(&runtime, &from, &to, &rules, Vanished::Keep, &options);
        assert!(plan.actions().is_empty(), "{plan}");
    }
    let to = runtime.block_on(TestRegistry::start());
    let options = SyncOptions { platforms: vec!["linux/riscv64".parse().expect("ok")], ..bare() };
    let (source, target) = (blocking(&runtime, &from), blocking(&runtime, &to));
    let seen = observe(source.repository(), target.repository(), &rules, &options);
    let (seen, failed) = runtime.block_on(seen).expect("the registry answers");
    assert!(seen.source.is_empty() && !failed.is_empty());
    for failure in failed {
        let error = failure.error.to_string();
        assert!(error.contains("no matching manifest for linux/riscv64"), "{error}");
    }
}
