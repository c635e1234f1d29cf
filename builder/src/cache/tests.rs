use super::mounts::{acquire, prune};
use super::stat::{Look, StatCache};
use super::*;
use crate::frontend::Sharing;

fn index() -> (tempfile::TempDir, CacheIndex) {
    let root = tempfile::tempdir().unwrap();
    let index = CacheIndex::open(root.path()).unwrap();
    (root, index)
}

fn at_second(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn look(ino: u64, ctime_nanos: i64) -> Look {
    Look { dev: 1, ino, size: 3, mtime: 5, ctime: ctime_nanos }
}

/// Covers: BLD-71
#[test]
fn a_file_counts_as_known_only_while_its_inode_looks_the_same() {
    let (_root, index) = index();
    let hash = [7; 32];
    let folder = Path::new("/ctx");
    let cache = StatCache::open(&index, folder, at_second(100));
    let old = look(7, 50_000_000_123);
    cache.put(old, &hash);
    cache.save(&index).unwrap();
    let again = StatCache::open(&index, folder, at_second(200));
    assert_eq!(again.get(&old), Some(hash));
    for changed in [
        Look { size: 4, ..old },
        Look { mtime: 6, ..old },
        Look { ctime: 1, ..old },
        Look { dev: 2, ..old },
        Look { ino: 8, ..old },
    ] {
        assert_eq!(again.get(&changed), None, "{changed:?}");
    }
    assert!(StatCache::open(&index, Path::new("/other"), at_second(200)).get(&old).is_none());
}

#[test]
fn a_file_that_changed_just_now_is_not_trusted() {
    let (_root, index) = index();
    let folder = Path::new("/ctx");
    let fresh =
        [look(1, 100_000_000_000 - 10_000_000), look(2, 99_000_000_000), look(3, 90_000_000_000)];
    let cache = StatCache::open(&index, folder, at_second(100));
    fresh.iter().for_each(|l| cache.put(*l, &[1; 32]));
    cache.save(&index).unwrap();
    let again = StatCache::open(&index, folder, at_second(200));
    let known: Vec<bool> = fresh.iter().map(|l| again.get(l).is_some()).collect();
    // 10 ms ago; one second ago on a clock that counts seconds; ten seconds ago on such a clock.
    assert_eq!(known, [false, false, true]);
}

#[test]
fn a_damaged_stat_cache_is_empty() {
    let (_root, index) = index();
    let cache = StatCache::open(&index, Path::new("/c"), at_second(100));
    let old = look(7, 5_000_000_001);
    cache.put(old, &[1; 32]);
    cache.save(&index).unwrap();
    let file =
        std::fs::read_dir(index.root().join("stat")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(StatCache::open(&index, Path::new("/c"), at_second(200)).get(&old).is_none());
}

/// Covers: BLD-30
#[test]
fn a_busy_private_cache_gets_a_copy_and_a_shared_one_is_shared() {
    let (_root, index) = index();
    let first = acquire(&index, "id", Sharing::Private).unwrap();
    let second = acquire(&index, "id", Sharing::Private).unwrap();
    assert!(first.is_new && second.is_new);
    assert_ne!(first.folder, second.folder);
    let kept = first.folder.clone();
    drop((first, second));
    let again = acquire(&index, "id", Sharing::Private).unwrap();
    assert!(!again.is_new);
    assert_eq!(again.folder, kept);
    drop(again);
    let one = acquire(&index, "shared", Sharing::Shared).unwrap();
    let two = acquire(&index, "shared", Sharing::Shared).unwrap();
    assert_eq!(one.folder, two.folder);
    // What is in use is not pruned.
    assert_eq!(prune(&index).unwrap(), 2);
    assert!(one.folder.exists());
}

/// Covers: BLD-30
#[test]
fn a_locked_cache_is_waited_for() {
    let (_root, index) = index();
    let first = acquire(&index, "id", Sharing::Locked).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let second = acquire(&index, "id", Sharing::Locked).unwrap();
            sender.send(second.folder.clone()).unwrap();
        });
        assert!(receiver.try_recv().is_err());
        let folder = first.folder.clone();
        drop(first);
        assert_eq!(receiver.recv().unwrap(), folder);
    });
}

#[test]
fn what_a_dead_session_left_is_swept_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    let store = store::Store::open(root.path()).unwrap();
    let index = CacheIndex::open(root.path()).unwrap();
    let snapshots = store.snapshots();
    let live = session::Session::begin(&index, snapshots.as_ref(), at_second(1)).unwrap();
    let kept = live.snapshot_key().unwrap();
    snapshots.prepare(&kept, None).unwrap();
    let dead: store::SnapshotKey = "build-1.5.0".parse().unwrap();
    snapshots.prepare(&dead, None).unwrap();
    std::fs::create_dir(index.root().join("tmp/build-1.5")).unwrap();
    std::fs::write(index.root().join("tmp/build-1.5.lock"), "").unwrap();
    let _next = session::Session::begin(&index, snapshots.as_ref(), at_second(2)).unwrap();
    assert_eq!(snapshots.list().unwrap(), [kept]);
    assert!(!index.root().join("tmp/build-1.5").exists());
    assert!(live.temporary().parent().unwrap().exists());
}
