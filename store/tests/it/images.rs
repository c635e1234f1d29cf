//! Images as they are read.

use oci::{Descriptor, Digest, History, ImageConfig, Index, Manifest, MediaType, Platform, Raw};
use store::{Error, Named};

use crate::support::{Tar, TestStore, store};

fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

fn image_for(store: &TestStore, text: &str) -> Descriptor {
    let config = Raw::encode(&ImageConfig::scratch(&platform(text))).expect("encodes");
    let config = store.content().put_raw(&config).expect("stores");
    let manifest = Raw::encode(&Manifest::new(config, Vec::new())).expect("encodes");
    store.content().put_raw(&manifest).expect("stores").with_platform(platform(text))
}

fn index_of(store: &TestStore, entries: Vec<Descriptor>) -> Descriptor {
    let index = Raw::encode(&Index::new(entries)).expect("encodes");
    store.content().put_raw(&index).expect("stores")
}

/// Covers: DST-43, B06-43
#[test]
fn the_image_of_the_wanted_platform_is_found_also_in_a_nested_index() {
    let store = store();
    let (amd, arm) = (image_for(&store, "linux/amd64"), image_for(&store, "linux/arm/v6"));
    let inner = index_of(&store, vec![amd.clone(), arm.clone()]);
    let outer = index_of(&store, vec![inner.clone()]);
    for root in [&inner, &outer] {
        let found = store.images().open(root, &platform("linux/arm/v7")).expect("runs on v7");
        assert_eq!(found.descriptor().digest(), arm.digest());
        assert_eq!(found.root(), root);
        assert_eq!(found.id(), found.manifest().config().digest());
    }
}

/// Covers: B06-44
#[test]
fn a_platform_that_an_index_lacks_is_an_error_that_lists_what_there_is() {
    let store = store();
    let entries = vec![image_for(&store, "linux/amd64"), image_for(&store, "linux/arm64")];
    let root = index_of(&store, entries);
    let error = store.images().open(&root, &platform("linux/s390x")).expect_err("lacks it");
    let text = error.to_string();
    assert!(text.contains("linux/s390x") && text.contains("linux/amd64, linux/arm64"), "{text}");
}

/// Covers: B06-48
#[test]
fn a_plain_manifest_serves_whatever_platform_is_asked_for() {
    let store = store();
    let image = image_for(&store, "linux/arm64");
    assert!(store.images().open(&image, &platform("linux/amd64")).is_ok());
}

/// Covers: DST-43
#[test]
fn entries_for_the_unknown_platform_are_no_images() {
    let store = store();
    let attestation =
        Descriptor::of(MediaType::OciManifest, b"x").with_platform(platform("unknown/unknown"));
    let absent =
        Descriptor::of(MediaType::OciManifest, b"y").with_platform(platform("linux/s390x"));
    let amd = image_for(&store, "linux/amd64");
    let root = index_of(&store, vec![attestation, absent, amd]);
    let variants = store.images().variants(&root).expect("lists");
    let present: Vec<bool> = variants.iter().map(|variant| variant.present).collect();
    assert_eq!(present, [false, true]);
}

/// Covers: DST-46
#[test]
fn an_artifact_is_not_taken_for_an_image() {
    let store = store();
    store.content().put(&Descriptor::empty(), b"{}").expect("stores");
    let manifest = Manifest::artifact("application/vnd.example", vec![Descriptor::empty()]);
    let artifact =
        store.content().put_raw(&Raw::encode(&manifest).expect("encodes")).expect("stores");
    let error = store.images().open_manifest(&artifact).expect_err("is none");
    assert!(matches!(&error, Error::NotAnImage { kind, .. } if kind.contains("vnd.example")));
}

/// Covers: B06-29
#[test]
fn history_lists_steps_newest_first_and_only_those_with_a_layer_have_a_size() {
    let store = store();
    let tar = Tar::new().file("a", b"12345").build();
    store.unpack(std::slice::from_ref(&tar)).expect("unpacks");
    let mut config = ImageConfig::scratch(&Platform::host());
    config.rootfs.diff_ids = vec![oci::Digest::sha256(&tar)];
    let step = |by: &str, empty| History {
        created_by: Some(by.to_owned()),
        empty_layer: empty,
        ..History::default()
    };
    config.history = vec![step("ADD a", false), step("ENV x=y", true), step("CMD sh", true)];
    let config = store.content().put_raw(&Raw::encode(&config).expect("encodes")).expect("stores");
    let manifest = Manifest::new(config, vec![store.blob(&tar)]);
    let root = store.content().put_raw(&Raw::encode(&manifest).expect("encodes")).expect("stores");
    let image = store.images().open_manifest(&root).expect("opens");
    let lines = store.images().history(&image).expect("reads");
    let found: Vec<_> = lines
        .iter()
        .map(|line| (line.step.created_by.as_deref().unwrap_or(""), line.bytes))
        .collect();
    assert_eq!(found, [("CMD sh", 0), ("ENV x=y", 0), ("ADD a", 5)]);
    assert_eq!(store.images().bytes(&image).expect("adds up"), 5);
}

/// Covers: BLD-25
#[test]
fn a_layer_without_history_is_listed_all_the_same() {
    let store = store();
    let root = store.image(&[Tar::new().build(), Tar::new().file("a", b"1").build()]);
    let image = store.images().open_manifest(&root).expect("opens");
    let lines = store.images().history(&image).expect("reads");
    assert_eq!(lines.iter().filter(|line| line.diff_id.is_some()).count(), 2);
}

/// Covers: B06-39, B06-50
#[test]
fn only_what_no_other_image_has_is_freed_topmost_first() {
    let store = store();
    let base = Tar::new().file("base", b"1").build();
    let tars = |n: &str| vec![base.clone(), Tar::new().file(n, b"").build()];
    let (one, two) = (store.image(&tars("one")), store.image(&tars("two")));
    let named = |descriptor: &Descriptor| Named { name: None, descriptor: descriptor.clone() };
    let shared = store.images().freed_by(&one, &[named(&two)]).expect("counts");
    assert_eq!(shared.images.len(), 1);
    assert_eq!(shared.layers.len(), 1, "the base is the other's too");
    let last = store.images().freed_by(&one, &[]).expect("counts");
    let chain: Vec<_> = last.layers.iter().map(|layer| layer.chain_id.clone()).collect();
    let image = store.images().open_manifest(&one).expect("opens");
    let mut expected = image.config().chain_ids();
    expected.reverse();
    assert_eq!(chain, expected);
    let none = store.images().freed_by(&one, &[named(&one)]).expect("counts");
    assert!(none.images.is_empty() && none.layers.is_empty());
}

#[test]
fn an_image_whose_manifest_and_config_disagree_is_refused() {
    let store = store();
    let config = Raw::encode(&ImageConfig::scratch(&Platform::host())).expect("encodes");
    let config = store.content().put_raw(&config).expect("stores");
    let manifest = Manifest::new(config, vec![store.blob(b"layer")]);
    let root = store.content().put_raw(&Raw::encode(&manifest).expect("encodes")).expect("stores");
    let error = store.images().open_manifest(&root).expect_err("disagree");
    assert!(error.to_string().contains("1 layers and 0 layer ids"), "{error}");
}

/// Several images that go one after the other: a layer that two of them share is told with the later.
#[test]
fn what_several_images_free_is_told_of_the_last_that_has_it() {
    let store = store();
    let tar = |name: &str| Tar::new().file(name, b"1").build();
    let (base, a, b, c) = (tar("base"), tar("a"), tar("b"), tar("c"));
    let one = store.image(&[base.clone(), a.clone()]);
    let two = store.image(&[base.clone(), b.clone()]);
    let stays = store.image(std::slice::from_ref(&c));
    let named = Named { name: None, descriptor: stays };
    let freed =
        store.images().freed_by_each(&[one.clone(), two.clone()], &[named]).expect("counts");
    let layers = |n: usize| freed[n].layers.iter().map(|l| l.diff_id.clone()).collect::<Vec<_>>();
    assert_eq!(layers(0), [Digest::sha256(&a)]);
    assert_eq!(layers(1), [Digest::sha256(&b), Digest::sha256(&base)]);
    assert_eq!((freed[0].images.len(), freed[1].images.len()), (1, 1));
    let alone = store.images().freed_by(&two, &[Named { name: None, descriptor: one }]);
    assert_eq!(alone.expect("counts").layers.len(), 1, "the base is still needed");
}

#[test]
fn a_look_ahead_changes_no_size() {
    let store = store();
    let (one, two) = (Tar::new().file("a", b"12345").build(), Tar::new().file("b", b"1").build());
    let unpacked = store.image(std::slice::from_ref(&one));
    let packed = store.image(std::slice::from_ref(&two));
    store.unpack(&[one]).expect("unpacks");
    let images = store.images();
    images.look_ahead().expect("lists");
    for root in [unpacked, packed] {
        let image = images.open_manifest(&root).expect("opens");
        let plain = store.images().bytes(&image).expect("adds up");
        assert_eq!(images.bytes(&image).expect("adds up"), plain);
    }
    assert_eq!(two.len(), 2048, "a layer that was never unpacked counts as its blob");
}
