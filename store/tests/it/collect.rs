//! The collector on a real disk, `check` and `usage`.

use std::time::{Duration, SystemTime};

use oci::{Descriptor, Digest, Reference, Sink};
use store::{Collected, Collection, Displaced, Error, Item, Lease, Name, Problem, Roots, Store};

use crate::support::{Tar, TestStore, store};

fn name(text: &str) -> Name {
    Name::from(&text.parse::<Reference>().expect("a reference").or_latest())
}

fn nothing() -> store::Result<Roots> {
    Ok(Roots::default())
}

fn local() -> Collection<'static> {
    Collection { stamped_since: None, partials_since: None, roots: &nothing }
}

fn prune(store: &Store) -> Collected {
    store.prune(&local()).expect("prunes")
}

/// What happens within one tick of the kernel's clock counts as happening after.
fn let_the_stamps_age(store: &TestStore) {
    let old = SystemTime::now() - Duration::from_secs(60);
    for folder in ["blobs/sha256", "layers/sha256"] {
        for entry in std::fs::read_dir(store.root().join(folder)).expect("lists") {
            let mut path = entry.expect("lists").path();
            if path.is_dir() {
                path = path.join("layer.json");
            }
            let file = std::fs::File::options().append(true).open(path).expect("opens");
            file.set_modified(old).expect("sets");
        }
    }
}

fn image(store: &TestStore, seed: &str) -> (Descriptor, Vec<u8>) {
    let tar = Tar::new().file("a", seed.as_bytes()).build();
    (store.image(std::slice::from_ref(&tar)), tar)
}

/// Covers: B06-50, B06-23
#[test]
fn what_no_name_needs_goes_and_what_one_needs_stays() {
    let store = store();
    let (kept, tar) = image(&store, "kept");
    let (dead, dead_tar) = image(&store, "dead");
    store.unpack(&[tar]).expect("unpacks");
    store.unpack(std::slice::from_ref(&dead_tar)).expect("unpacks");
    store.names().set(&name("kept"), &kept, Displaced::Forget).expect("sets");
    let_the_stamps_age(&store);
    let collected = prune(&store);
    assert_eq!(store.content().first_missing(&kept).expect("looks"), None);
    assert_eq!(store.content().stat(dead.digest()).expect("looks"), None);
    assert_eq!(collected.removed.len(), 4, "manifest, config, layer blob, layer folder");
    assert!(collected.removed.contains(&Item::Blob(Digest::sha256(&dead_tar))));
    assert!(collected.bytes > 2000);
    assert_eq!(store.layers().list().expect("lists").len(), 1);
    assert!(store.check(None).expect("checks").findings.is_empty());
}

#[test]
fn the_first_cycle_only_condemns_and_a_look_revives() {
    let store = store();
    let blob = store.blob(b"dead");
    let_the_stamps_age(&store);
    let first = store.collect(&local()).expect("collects");
    assert_eq!((first.condemned, first.removed.len()), (1, 0));
    assert!(!store.content().path(blob.digest()).exists());
    assert_eq!(store.content().stat(blob.digest()).expect("looks"), Some(4));
    assert!(store.content().path(blob.digest()).exists());
}

/// Covers: DST-69
#[test]
fn what_a_live_lease_holds_stays_and_the_end_of_the_lease_frees_it() {
    let store = store();
    let (held, tar) = image(&store, "held");
    let lease: Lease = store.lease("pull").expect("lease");
    lease.hold(held.digest()).expect("holds");
    store.unpack_under(&[tar], &lease).expect("unpacks");
    let_the_stamps_age(&store);
    prune(&store);
    assert_eq!(store.content().first_missing(&held).expect("looks"), None);
    assert_eq!(store.layers().list().expect("lists").len(), 1);
    drop(lease);
    let_the_stamps_age(&store);
    prune(&store);
    assert_eq!(store.content().stat(held.digest()).expect("looks"), None);
    assert!(store.layers().list().expect("lists").is_empty());
}

/// Covers: DST-69
#[test]
fn a_layer_just_made_stays_until_its_maker_holds_it() {
    let store = store();
    let tar = Tar::new().file("a", b"1").build();
    let made = store.layers().add_tar(&tar[..], &store::DiffOptions::default()).expect("writes");
    let_the_stamps_age(&store);
    prune(&store);
    assert!(store.content().stat(made.descriptor.digest()).expect("looks").is_some());
    let digest = made.descriptor.digest().clone();
    drop(made);
    prune(&store);
    assert!(store.content().stat(&digest).expect("looks").is_none());
}

/// Covers: DST-69
#[test]
fn a_lease_of_a_dead_process_holds_nothing() {
    let store = store();
    let blob = store.blob(b"x");
    let dead = store.root().join("leases/pull-1-1");
    std::fs::write(&dead, format!("blob {}\n", blob.digest())).expect("writes");
    let_the_stamps_age(&store);
    prune(&store);
    assert_eq!(store.content().stat(blob.digest()).expect("looks"), None);
    assert!(!dead.exists());
}

/// Covers: DST-71
#[test]
fn what_was_stamped_lately_stays_with_what_it_names() {
    let store = store();
    let (image, _) = image(&store, "fresh");
    let_the_stamps_age(&store);
    store.content().has(&image).expect("a HEAD");
    let since = SystemTime::now() - Duration::from_secs(10);
    let what = Collection { stamped_since: Some(since), ..local() };
    store.prune(&what).expect("prunes");
    assert_eq!(store.content().first_missing(&image).expect("looks"), None);
}

/// Covers: DST-71
#[test]
fn an_error_while_marking_stops_the_cycle_before_it_changes_anything() {
    let store = store();
    let (kept, tar) = image(&store, "kept");
    store.names().set(&name("kept"), &kept, Displaced::Forget).expect("sets");
    let dead = store.blob(b"dead");
    for (path, content) in
        [(store.content().path(kept.digest()), &b"{"[..]), (store.root().join("index.json"), b"{")]
    {
        let before = std::fs::read(&path).expect("reads");
        std::fs::write(&path, content).expect("damages");
        let_the_stamps_age(&store);
        let error = store.prune(&local()).expect_err("cannot mark");
        assert!(matches!(error, Error::Unmarked { .. }), "{error}");
        std::fs::write(&path, before).expect("restores");
        assert!(store.content().path(dead.digest()).exists());
        assert!(store.content().path(&Digest::sha256(&tar)).exists());
    }
    let failing = || Err(Error::NoSuchName { name: "x".to_owned() });
    assert!(store.prune(&Collection { roots: &failing, ..local() }).is_err());
    assert!(store.content().path(dead.digest()).exists());
}

#[test]
fn what_a_snapshot_stands_on_stays() {
    let store = store();
    let (image, tar) = image(&store, "used");
    let top = store.unpack(&[tar]).expect("unpacks");
    let snapshots = store.snapshots();
    snapshots.prepare(&"container".parse().expect("a key"), top.as_ref()).expect("prepares");
    let_the_stamps_age(&store);
    prune(&store);
    assert_eq!(store.content().stat(image.digest()).expect("looks"), None);
    assert_eq!(store.layers().list().expect("lists").len(), 1);
    snapshots.remove(&"container".parse().expect("a key")).expect("removes");
    let_the_stamps_age(&store);
    prune(&store);
    assert!(store.layers().list().expect("lists").is_empty());
}

#[test]
fn what_the_caller_names_stays() {
    let store = store();
    let (image, tar) = image(&store, "container's");
    let top = store.unpack(&[tar]).expect("unpacks").expect("a top");
    let_the_stamps_age(&store);
    let roots = || Ok(Roots { blobs: vec![image.digest().clone()], layers: vec![top.clone()] });
    store.prune(&Collection { roots: &roots, ..local() }).expect("prunes");
    assert_eq!(store.content().first_missing(&image).expect("looks"), None);
    assert!(store.layers().get(&top).expect("looks").is_some());
}

/// Covers: DST-73
#[test]
fn leftovers_of_crashed_processes_go_and_partial_downloads_by_their_age() {
    let store = store();
    let ingest = store.root().join("ingest");
    std::fs::write(ingest.join("tmp-1-1"), b"x").expect("writes");
    let partial = ingest.join(format!("sha256-{}.part", "0".repeat(64)));
    std::fs::write(&partial, b"x").expect("writes");
    std::fs::create_dir_all(store.root().join("staging/1-1/fs/deep")).expect("creates");
    let collected = store.collect(&local()).expect("collects");
    assert_eq!(collected.leftovers, 2);
    assert!(partial.exists());
    let later = SystemTime::now() + Duration::from_secs(60);
    store.collect(&Collection { partials_since: Some(later), ..local() }).expect("collects");
    assert!(!partial.exists());
}

#[test]
fn a_running_unpack_is_no_leftover() {
    let store = store();
    let lease = store.lease("test").expect("lease");
    let tar = Tar::new().file("a", b"1").build();
    let unpack = store.layers().start_unpack(&[Digest::sha256(&tar)], &lease).expect("starts");
    let mut writer = store.content().writer(oci::Algorithm::Sha256).expect("starts");
    prune(&store);
    writer.append(&tar).expect("writes");
    let descriptor = writer
        .commit_as(oci::MediaType::OciLayer(oci::Compression::None), &lease)
        .expect("its file is there");
    unpack.layer(0, &descriptor).expect("unpacks");
    unpack.finish().expect("its folder is there");
}

/// Covers: DST-82
#[test]
fn a_check_names_what_is_damaged_missing_and_unreferenced_and_who_needs_it() {
    let store = store();
    let (good, _) = image(&store, "good");
    let (bad, bad_tar) = image(&store, "bad");
    let (gone, gone_tar) = image(&store, "gone");
    for (text, descriptor) in [("good", &good), ("bad", &bad), ("gone", &gone)] {
        store.names().set(&name(text), descriptor, Displaced::Forget).expect("sets");
    }
    let loose = store.blob(b"loose");
    let (bad_blob, gone_blob) = (Digest::sha256(&bad_tar), Digest::sha256(&gone_tar));
    std::fs::write(store.content().path(&bad_blob), b"damaged").expect("damages");
    std::fs::remove_file(store.content().path(&gone_blob)).expect("removes");
    std::fs::write(store.root().join("blobs/sha256/stray"), b"").expect("writes");
    let report = store.check(None).expect("checks");
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|f| (f.problem, f.subject.clone(), f.names.first().map(ToString::to_string)))
        .collect();
    let stray = store.root().join("blobs/sha256/stray").display().to_string();
    let needs = |text: &str| Some(format!("docker.io/library/{text}:latest"));
    assert_eq!(
        found,
        [
            (Problem::DamagedBlob, bad_blob.to_string(), needs("bad")),
            (Problem::MissingBlob, gone_blob.to_string(), needs("gone")),
            (Problem::StrayFile, stray, None),
            (Problem::Unreferenced, loose.digest().to_string(), None),
        ]
    );
    assert!(!report.is_sound());
    let refetch = |wanted: &Descriptor, names: &[Name]| {
        assert_eq!(names.len(), 1);
        let tar = if *wanted.digest() == bad_blob { &bad_tar } else { &gone_tar };
        let stream: Box<dyn std::io::Read + Send> = Box::new(std::io::Cursor::new(tar.clone()));
        Ok(Some(stream))
    };
    let report = store.check(Some(&refetch)).expect("repairs");
    assert_eq!(report.findings.iter().filter(|finding| finding.repaired).count(), 2);
    std::fs::remove_file(store.root().join("blobs/sha256/stray")).expect("removes");
    assert!(store.check(None).expect("checks").is_sound());
}

/// Covers: DST-82
#[test]
fn a_damaged_layer_folder_is_found_and_unpacked_anew_after_repair() {
    let store = store();
    let (image, tar) = image(&store, "x");
    store.names().set(&name("x"), &image, Displaced::Forget).expect("sets");
    let top = store.unpack(std::slice::from_ref(&tar)).expect("unpacks").expect("a top");
    let home = store.layers().require(&top).expect("is there").fs().clone();
    std::fs::write(home.with_file_name("layer.json"), b"").expect("damages");
    let report = store.check(None).expect("checks");
    assert_eq!(report.findings[0].problem, Problem::DamagedLayer);
    store.check(Some(&|_, _| Ok(None))).expect("repairs");
    store.unpack(&[tar]).expect("unpacks");
    assert!(store.check(None).expect("checks").is_sound());
}

#[test]
fn usage_counts_every_kind() {
    let store = store();
    let (_, tar) = image(&store, "12345");
    let top = store.unpack(&[tar]).expect("unpacks");
    store.snapshots().prepare(&"c".parse().expect("a key"), top.as_ref()).expect("prepares");
    let usage = store.usage().expect("counts");
    assert_eq!((usage.blobs, usage.layers, usage.layer_bytes, usage.snapshots), (3, 1, 5, 1));
    assert!(usage.blob_bytes > 1500);
}

/// Several collectors, pushers and deleters on one root, all at once.
/// Covers: DST-83, DST-69
#[test]
fn concurrent_pushes_and_collections_lose_nothing() {
    let shared = store();
    let root = shared.root();
    std::thread::scope(|scope| {
        for worker in 0..3u32 {
            let root = root.clone();
            scope.spawn(move || push_and_delete(&Store::open(root).expect("opens"), worker));
        }
        for _ in 0..2 {
            let root = root.clone();
            scope.spawn(move || {
                let store = Store::open(root).expect("opens");
                for _ in 0..30 {
                    store.collect(&local()).expect("collects");
                }
            });
        }
    });
    for entry in shared.names().list().expect("lists") {
        assert_eq!(shared.content().first_missing(&entry.descriptor).expect("looks"), None);
    }
    assert!(shared.check(None).expect("checks").is_sound());
}

fn push_and_delete(store: &Store, worker: u32) {
    let platform = oci::Platform::host();
    for round in 0..25u32 {
        let lease = store.lease("push").expect("lease");
        let tar = Tar::new().file("a", format!("{}", round % 5).as_bytes()).build();
        let layer = Descriptor::of(oci::MediaType::OciLayer(oci::Compression::None), &tar);
        let mut config = oci::ImageConfig::scratch(&platform);
        config.rootfs.diff_ids = vec![Digest::sha256(&tar)];
        let config = oci::Raw::encode(&config).expect("encodes");
        let manifest = oci::Manifest::new(config.descriptor(), vec![layer.clone()]);
        let manifest = oci::Raw::encode(&manifest).expect("encodes");
        for digest in [layer.digest(), &config.digest(), &manifest.digest()] {
            lease.hold(digest).expect("holds");
        }
        store.content().put(&layer, &tar).expect("stores");
        store.content().put_raw(&config).expect("stores");
        let descriptor = store.content().put_raw(&manifest).expect("stores");
        let name = name(&format!("app{worker}:{}", round % 3));
        store.names().set(&name, &descriptor, Displaced::Forget).expect("is complete");
        drop(lease);
        if round % 4 == 0 {
            store.names().remove(&name, Displaced::Forget).expect("removes");
        }
    }
}

#[test]
fn a_layer_whose_folder_another_uses_is_not_unreferenced() {
    let store = store();
    let (image, tar) = image(&store, "x");
    store.names().set(&name("x"), &image, Displaced::Forget).expect("sets");
    let holder = store::LayerId::from(Digest::sha256(b"step"));
    let snapshots = store.snapshots();
    snapshots.prepare(&"step".parse().expect("a key"), None).expect("prepares");
    snapshots.commit(&"step".parse().expect("a key"), &holder, None).expect("commits");
    let chain = store::LayerId::from(Digest::sha256(&tar));
    store.layers().alias(&chain, &holder, None, &Digest::sha256(&tar)).expect("aliases");
    assert!(store.check(None).expect("checks").findings.is_empty());
    let_the_stamps_age(&store);
    prune(&store);
    assert!(store.layers().get(&chain).expect("looks").is_some());
}

#[test]
fn a_check_that_knows_of_a_build_cache_does_not_call_it_unreferenced() {
    let store = store();
    let (image, tar) = image(&store, "cached");
    let top = store.unpack(&[tar]).expect("unpacks").expect("a top");
    let found = store.check(None).expect("checks").findings;
    assert_eq!(found.len(), 4, "manifest, config, layer blob, layer folder");
    let roots = Roots { blobs: vec![image.digest().clone()], layers: vec![top] };
    assert!(store.check_keeping(&roots, None).expect("checks").findings.is_empty());
}

/// Covers: DST-82
#[test]
fn a_source_that_fails_leaves_one_blob_missing_and_the_others_repaired() {
    let store = store();
    let images: Vec<_> = ["a", "b"].iter().map(|seed| image(&store, seed)).collect();
    for (number, (descriptor, tar)) in images.iter().enumerate() {
        let name = name(&format!("app:{number}"));
        store.names().set(&name, descriptor, Displaced::Forget).expect("sets");
        std::fs::remove_file(store.content().path(&Digest::sha256(tar))).expect("removes");
    }
    let refetch = |wanted: &Descriptor, _: &[Name]| {
        let (_, tar) = &images[1];
        let right = *wanted.digest() == Digest::sha256(tar);
        let bytes = if right { tar.clone() } else { b"an error page".to_vec() };
        let stream: Box<dyn std::io::Read + Send> = Box::new(std::io::Cursor::new(bytes));
        Ok(Some(stream))
    };
    let report = store.check(Some(&refetch)).expect("goes on");
    let mut repaired: Vec<bool> = report.findings.iter().map(|f| f.repaired).collect();
    repaired.sort();
    assert_eq!(repaired, [false, true]);
}

/// Everything a push does, done while a collection is in the middle of its marks.
/// Covers: DST-70
#[test]
fn nobody_waits_for_a_collection_and_what_comes_meanwhile_stays() {
    let store = store();
    let (reused, reused_tar) = image(&store, "reused");
    let_the_stamps_age(&store);
    let pushed = std::cell::RefCell::new(None);
    let roots = || {
        let lease = store.lease("push")?;
        let (fresh, tar) = image(&store, "fresh");
        store.unpack_under(&[tar], &lease)?;
        lease.hold(fresh.digest())?;
        store.names().set(&name("fresh"), &fresh, Displaced::Forget)?;
        store.names().set(&name("reused"), &reused, Displaced::Forget)?;
        *pushed.borrow_mut() = Some(fresh);
        Ok(Roots::default())
    };
    store.collect(&Collection { roots: &roots, ..local() }).expect("collects");
    let fresh = pushed.borrow().clone().expect("was pushed");
    for (descriptor, text) in [(&fresh, "fresh"), (&reused, "reused")] {
        assert!(store.content().path(descriptor.digest()).exists(), "{text}");
        assert_eq!(store.content().first_missing(descriptor).expect("looks"), None, "{text}");
    }
    assert!(store.content().path(&Digest::sha256(&reused_tar)).exists());
    assert_eq!(store.layers().list().expect("lists").len(), 1);
}

/// Damages `index.json`, and sees that everything that needs it names the way out.
fn damage_names(store: &Store, how: &str) -> std::path::PathBuf {
    let path = store.root().join("index.json");
    match how {
        "truncated" => {
            let bytes = std::fs::read(&path).expect("reads");
            std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("writes");
        }
        "empty" => std::fs::write(&path, b"").expect("writes"),
        _ => std::fs::remove_file(&path).expect("removes"),
    }
    let error = store.names().list().expect_err("is damaged").to_string();
    assert!(error.contains("index.json") && error.contains("store check --repair"), "{error}");
    let error = store.collect(&local()).expect_err("is damaged").to_string();
    assert!(error.contains("before anything was removed"), "{error}");
    path
}

/// Covers: DST-82, DST-81
#[test]
fn damaged_names_come_back_from_the_copy_of_the_last_change() {
    for how in ["truncated", "empty", "missing"] {
        let store = store();
        let (one, _) = image(&store, "one");
        let (two, _) = image(&store, "two");
        store.names().set(&name("one"), &one, Displaced::Forget).expect("sets");
        store.names().set(&name("two"), &two, Displaced::Forget).expect("sets");
        let before = store.names().list().expect("lists");
        let path = damage_names(&store, how);

        let report = store.check(None).expect("checks");
        let found: Vec<_> = report.findings.iter().map(|f| (f.problem, f.repaired)).collect();
        assert_eq!(found, [(Problem::DamagedNames, false)], "{how}: the rest cannot be told");
        assert!(!report.is_sound());
        assert!(store.names().list().is_err(), "a check alone changes nothing");

        let report = store.check(Some(&|_, _| Ok(None))).expect("repairs");
        let found: Vec<_> = report.findings.iter().map(|f| (f.problem, f.repaired)).collect();
        assert_eq!(found, [(Problem::DamagedNames, true)], "{how}");
        assert_eq!(store.names().list().expect("lists"), before, "{how}");
        assert_eq!(path.with_extension("json.damaged").exists(), how != "missing");
        assert!(store.check(None).expect("checks").findings.is_empty());
    }
}

/// Covers: DST-82
#[test]
fn without_that_copy_whole_images_come_back_without_names() {
    let store = store();
    let (whole, _) = image(&store, "whole");
    let (broken, tar) = image(&store, "broken");
    store.names().set(&name("whole"), &whole, Displaced::Forget).expect("sets");
    store.names().set(&name("broken"), &broken, Displaced::Forget).expect("sets");
    std::fs::remove_file(store.content().path(&Digest::sha256(&tar))).expect("removes");
    std::fs::remove_file(store.root().join("index.json.backup")).expect("removes");
    damage_names(&store, "truncated");
    store.check(Some(&|_, _| Ok(None))).expect("repairs");
    let found = store.names().list().expect("lists");
    assert_eq!(found.len(), 1, "an image that lacks a layer is no image: {found:?}");
    assert_eq!((&found[0].name, found[0].descriptor.digest()), (&None, whole.digest()));
    assert_eq!(found[0].descriptor.size(), whole.size());
}

/// What a collection has read of an image it does not read again in its second cycle, and still
/// it keeps what the image needs.
#[test]
fn a_document_that_goes_between_two_cycles_costs_no_other_blob() {
    let store = store();
    let (kept, tar) = image(&store, "kept");
    store.names().set(&name("kept"), &kept, Displaced::Forget).expect("sets");
    let_the_stamps_age(&store);
    let calls = std::cell::Cell::new(0);
    let roots = || {
        calls.set(calls.get() + 1);
        if calls.get() == 2 {
            std::fs::remove_file(store.content().path(kept.digest())).expect("removes");
        }
        Ok(Roots::default())
    };
    let collected = store.prune(&Collection { roots: &roots, ..local() }).expect("prunes");
    assert_eq!((calls.get(), collected.removed.len()), (2, 0));
    assert!(store.content().path(&Digest::sha256(&tar)).exists());
}
