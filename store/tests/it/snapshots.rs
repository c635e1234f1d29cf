//! The contract of a snapshotter, run against every driver.

use std::path::{Path, PathBuf};

use oci::Digest;
use store::tar::{Entry, Kind};
use store::{Access, DiffOptions, Driver, Error, LayerId, Mounts, Persistence, SnapshotKey};
use store::{Snapshotter, unmount};

use crate::support::{Tar, TestStore, is_tree, store, tree};

const DRIVERS: [Driver; 2] = [Driver::Overlay, Driver::Native];

/// A mounted snapshot; unmounted with its test.
struct Mounted(PathBuf);

impl Mounted {
    fn new(store: &TestStore, mounts: &Mounts, persistence: Persistence) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let target = store.scratch(&format!("mount{number}"));
        mounts.mount(&target, persistence).expect("mounts");
        Self(target)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0).expect("unmounts");
    }
}

impl std::ops::Deref for Mounted {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

fn key(text: &str) -> SnapshotKey {
    text.parse().expect("a key")
}

fn each(test: impl Fn(&TestStore, &dyn Snapshotter)) {
    for driver in DRIVERS {
        let store = store();
        let snapshots = store.snapshots_by(driver);
        test(&store, &*snapshots);
    }
}

fn base(store: &TestStore) -> Option<LayerId> {
    let lower = Tar::new()
        .dir("tmp/", 0o1777)
        .file("etc/a", b"lower")
        .file("etc/gone", b"x")
        .file("same", b"unchanged")
        .file("dir/old", b"old")
        .hardlink("dir/link", "dir/old")
        .symlink("s", "etc/a")
        .build();
    let upper = Tar::new().file("etc/a", b"upper").file("etc/.wh.gone", b"").build();
    store.unpack(&[lower, upper]).expect("unpacks")
}

/// Covers: B06-30, B06-31
#[test]
fn the_higher_layer_wins_and_hides_the_lower() {
    each(|store, snapshots| {
        let mounts = snapshots.view(&key("v"), base(store).as_ref()).expect("makes");
        let root = Mounted::new(store, &mounts, Persistence::Durable);
        is_tree(
            &root,
            &[
                ("dir", "dir 755"),
                ("dir/link", "old"),
                ("dir/old", "old"),
                ("etc", "dir 755"),
                ("etc/a", "upper"),
                ("s", "-> etc/a"),
                ("same", "unchanged"),
                ("tmp", "dir 1777"),
            ],
        );
        assert!(std::fs::write(root.join("new"), b"").is_err(), "a view cannot be changed");
    });
}

#[test]
fn what_is_written_stays_in_the_snapshot_and_not_in_the_layers() {
    each(|store, snapshots| {
        let parent = base(store);
        let layers: Vec<_> = store.layers().list().expect("lists");
        let before: Vec<_> = layers
            .iter()
            .map(|id| tree(store.layers().require(id).expect("is there").fs()))
            .collect();
        let mounts = snapshots.prepare(&key("c"), parent.as_ref()).expect("makes");
        {
            let root = Mounted::new(store, &mounts, Persistence::Durable);
            std::fs::write(root.join("etc/a"), b"changed").expect("writes");
            std::fs::remove_dir_all(root.join("dir")).expect("removes");
        }
        let mounts = snapshots.mounts(&key("c")).expect("is there");
        let root = Mounted::new(store, &mounts, Persistence::Durable);
        assert_eq!(std::fs::read(root.join("etc/a")).expect("reads"), b"changed");
        assert!(!root.join("dir").exists());
        let after: Vec<_> = layers
            .iter()
            .map(|id| tree(store.layers().require(id).expect("is there").fs()))
            .collect();
        assert_eq!(before, after);
    });
}

/// Covers: RUN-40, BLD-90, BLD-91
#[test]
fn every_driver_finds_the_same_changes() {
    let mut diffs = Vec::new();
    for driver in DRIVERS {
        let store = store();
        let snapshots = store.snapshots_by(driver);
        let mounts = snapshots.prepare(&key("c"), base(&store).as_ref()).expect("makes");
        {
            let root = Mounted::new(&store, &mounts, Persistence::Volatile);
            std::fs::write(root.join("etc/a"), b"changed").expect("writes");
            std::fs::remove_dir_all(root.join("dir")).expect("removes");
            std::fs::create_dir(root.join("dir")).expect("creates");
            std::fs::write(root.join("dir/new"), b"new").expect("writes");
            std::fs::remove_file(root.join("s")).expect("removes");
            std::fs::create_dir(root.join("s")).expect("creates");
            std::fs::write(root.join("tmp/idle"), b"").expect("writes");
            std::fs::remove_file(root.join("tmp/idle")).expect("removes");
        }
        let options = DiffOptions { epoch: Some(0), ..DiffOptions::default() };
        let diff = snapshots.diff(&key("c"), &options).expect("diffs");
        let bytes = store.content().small(diff.descriptor.digest(), 1 << 20).expect("reads");
        let tar = crate::support::gunzip(&bytes);
        let mut reader = store::tar::Reader::new(&tar[..]);
        let mut paths = Vec::new();
        while let Some(Entry { path, .. }) = reader.next_entry().expect("parses") {
            paths.push(String::from_utf8_lossy(&path).into_owned());
        }
        diffs.push((paths, diff.diff_id));
    }
    let expected = ["dir/", "dir/.wh.link", "dir/.wh.old", "dir/new", "etc/", "etc/a", "s/"];
    assert_eq!(diffs[0].0, expected);
    assert_eq!(diffs[0], diffs[1]);
}

/// Covers: B06-02
#[test]
fn a_committed_snapshot_is_a_layer_that_others_stand_on() {
    each(|store, snapshots| {
        let parent = base(store);
        let mounts = snapshots.prepare(&key("c"), parent.as_ref()).expect("makes");
        {
            let root = Mounted::new(store, &mounts, Persistence::Volatile);
            std::fs::write(root.join("etc/b"), b"built").expect("writes");
            std::fs::remove_file(root.join("same")).expect("removes");
        }
        let id = LayerId::from(Digest::sha256(b"step 1"));
        snapshots.commit(&key("c"), &id, None).expect("commits");
        assert!(snapshots.list().expect("lists").is_empty());
        let layer = store.layers().require(&id).expect("is there");
        assert_eq!((layer.parent(), layer.bytes()), (parent, 5));
        let mounts = snapshots.prepare(&key("d"), Some(&id)).expect("makes");
        let root = Mounted::new(store, &mounts, Persistence::Volatile);
        assert_eq!(std::fs::read(root.join("etc/b")).expect("reads"), b"built");
        assert!(!root.join("same").exists());
    });
}

#[test]
fn a_commit_under_an_id_that_exists_keeps_the_first() {
    each(|store, snapshots| {
        let id = LayerId::from(Digest::sha256(b"step"));
        for content in ["first", "second"] {
            let mounts = snapshots.prepare(&key("c"), None).expect("makes");
            {
                let root = Mounted::new(store, &mounts, Persistence::Volatile);
                std::fs::write(root.join("x"), content).expect("writes");
            }
            snapshots.commit(&key("c"), &id, None).expect("commits");
        }
        is_tree(store.layers().require(&id).expect("is there").fs(), &[("x", "first")]);
    });
}

#[test]
fn snapshots_of_nothing_are_empty() {
    each(|store, snapshots| {
        for (name, access) in [("v", Access::View), ("p", Access::Writable)] {
            let mounts = snapshots.create(&key(name), None, access).expect("makes");
            let root = Mounted::new(store, &mounts, Persistence::Durable);
            assert!(tree(&root).is_empty());
        }
    });
}

#[test]
fn keys_are_taken_once_and_free_after_removal() {
    each(|_, snapshots| {
        snapshots.prepare(&key("c"), None).expect("makes");
        let error = snapshots.prepare(&key("c"), None).expect_err("taken");
        assert!(matches!(error, Error::SnapshotExists { .. }), "{error}");
        snapshots.remove(&key("c")).expect("removes");
        snapshots.remove(&key("c")).expect("nothing to remove");
        assert!(matches!(snapshots.mounts(&key("c")), Err(Error::NoSuchSnapshot { .. })));
        snapshots.prepare(&key("c"), None).expect("makes");
    });
}

#[test]
fn a_snapshot_on_a_layer_that_is_not_there_leaves_nothing() {
    each(|store, snapshots| {
        let absent = LayerId::from(Digest::sha256(b"absent"));
        let error = snapshots.prepare(&key("c"), Some(&absent)).expect_err("absent");
        assert!(matches!(error, Error::NoSuchLayer { .. }), "{error}");
        assert!(snapshots.list().expect("lists").is_empty());
        assert_eq!(std::fs::read_dir(store.root().join("staging")).expect("lists").count(), 0);
    });
}

#[test]
fn the_root_looks_as_in_the_layers() {
    each(|store, snapshots| {
        let mut root = Entry::new(Kind::Directory, "./");
        (root.mode, root.uid, root.gid) = (0o711, 5, 6);
        let parent = store.unpack(&[Tar::new().entry(root).build()]).expect("unpacks");
        let mounts = snapshots.prepare(&key("c"), parent.as_ref()).expect("makes");
        let mounted = Mounted::new(store, &mounts, Persistence::Durable);
        let meta = std::fs::metadata(&*mounted).expect("looks");
        use std::os::unix::fs::MetadataExt;
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o711, 5, 6));
    });
}

#[test]
fn overlay_mounts_six_hundred_layers() {
    let store = store();
    let mut tars: Vec<Vec<u8>> =
        (0..600).map(|n| Tar::new().file(&format!("f{n}"), b"1").build()).collect();
    tars.push(Tar::new().file(".wh.f0", b"").build());
    let top = store.unpack(&tars).expect("unpacks");
    let snapshots = store.snapshots_by(Driver::Overlay);
    let mounts = snapshots.prepare(&key("c"), top.as_ref()).expect("makes");
    let root = Mounted::new(&store, &mounts, Persistence::Volatile);
    assert_eq!(std::fs::read_dir(&*root).expect("lists").count(), 599);
    assert!(!root.join("f0").exists(), "the bottom is hidden by a layer far above");
}

/// Commits a layer with one file, as a build step does.
fn step(store: &TestStore, name: &str) -> LayerId {
    let snapshots = store.snapshots();
    snapshots.prepare(&key("step"), None).expect("makes");
    let changes = snapshots.changes(&key("step")).expect("is there");
    std::fs::write(changes.folder().join("x"), name).expect("writes");
    let id = LayerId::from(Digest::sha256(name.as_bytes()));
    snapshots.commit(&key("step"), &id, None).expect("commits");
    id
}

/// What a restart of the machine leaves of a layer that was not synced: its old boot's mark.
fn restart(store: &TestStore) {
    for id in store.layers().list().expect("lists") {
        let path = store.root().join("layers/sha256").join(id.digest().hex()).join("layer.json");
        let text = std::fs::read_to_string(&path).expect("reads");
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("reads");
        std::fs::write(&path, text.replace(boot.trim(), "another boot")).expect("writes");
    }
}

#[test]
fn a_layer_that_was_not_synced_counts_for_nothing_after_a_restart() {
    let store = store();
    let id = step(&store, "one");
    let alias = LayerId::from(Digest::sha256(b"alias"));
    let diff_id = Digest::sha256(b"diff");
    store.layers().alias(&alias, &id, None, &diff_id).expect("aliases");
    assert!(store.layers().get(&alias).expect("looks").is_some());
    restart(&store);
    assert!(store.layers().get(&alias).expect("looks").is_none());
    assert!(store.layers().get(&id).expect("looks").is_none());
    step(&store, "one");
    assert!(store.layers().get(&id).expect("looks").is_some());
}

#[test]
fn a_layer_survives_a_restart_once_a_collection_or_a_container_has_settled_it() {
    let store = store();
    let id = step(&store, "one");
    let lease = store.lease("test").expect("lease");
    lease.hold_layer(&id).expect("holds");
    let roots = || Ok(store::Roots::default());
    let what = store::Collection { stamped_since: None, partials_since: None, roots: &roots };
    store.collect(&what).expect("collects");
    // What a container stands on is asked for by its chain.
    let other = step(&store, "two");
    let tar = Tar::new().file("x", b"two").build();
    let diff_id = Digest::sha256(&tar);
    let chain = LayerId::from(diff_id.clone());
    store.layers().alias(&chain, &other, None, &diff_id).expect("aliases");
    let unpack = store.layers().start_unpack(&[diff_id], &lease).expect("plans");
    assert!(unpack.missing().is_empty());
    unpack.finish().expect("settles");
    restart(&store);
    for id in [id, other, chain] {
        assert!(store.layers().get(&id).expect("looks").is_some());
    }
}

#[test]
fn committing_a_step_does_not_wait_for_the_disk() {
    let syncs = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = syncs.clone();
    let disk = store::Disk::with_fault(std::sync::Arc::new(move |act, _| {
        count.fetch_add(u32::from(act == "sync"), std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }));
    let store = TestStore::on(disk);
    let before = syncs.load(std::sync::atomic::Ordering::SeqCst);
    step(&store, "one");
    assert_eq!(syncs.load(std::sync::atomic::Ordering::SeqCst), before);
}

#[test]
fn what_a_power_cut_left_of_a_record_is_no_layer_and_no_snapshot() {
    let store = store();
    let id = step(&store, "one");
    let home = store.root().join("layers/sha256").join(id.digest().hex());
    std::fs::write(home.join("layer.json"), b"").expect("empties");
    assert!(store.layers().get(&id).expect("looks").is_none());
    let snapshots = store.snapshots();
    snapshots.prepare(&key("c"), None).expect("makes");
    std::fs::write(store.root().join("snapshots/c/snapshot.json"), b"").expect("empties");
    assert!(matches!(snapshots.mounts(&key("c")), Err(Error::NoSuchSnapshot { .. })));
    let roots = || Ok(store::Roots::default());
    let what = store::Collection { stamped_since: None, partials_since: None, roots: &roots };
    store.collect(&what).expect("is not stopped by it");
    snapshots.remove(&key("c")).expect("removes");
}
