//! Every durable call of every multi-step operation fails once, and once for good as in a
//! crash: the store stays sound, no name points at something incomplete, nothing half-done is
//! visible, and the operation succeeds when it is tried again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use oci::{Compression, Descriptor, MediaType, Reference, Sink};
use store::{
    Collection, DiffOptions, Disk, Displaced, Error, ErrorKind, LayerId, Name, Roots, SaveFormat,
    Saved, Store,
};

use crate::support::{Tar, TestStore};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// One call fails, as when the disk was full for a moment.
    Once,
    /// Every call from that one on fails, clean-up included: what a crash leaves.
    ForGood,
}

/// Runs `operation` with its n-th durable call failing, for every n.
fn each_call_fails(
    prepare: impl Fn(&TestStore),
    operation: impl Fn(&Store, &Path) -> store::Result<()>,
) {
    for failure in [Failure::Once, Failure::ForGood] {
        for n in 1.. {
            if !call_fails(n, failure, &prepare, &operation) {
                assert!(n > 2, "the operation has no steps");
                break;
            }
            assert!(n < 500, "the operation never ends");
        }
    }
}

/// Says whether there was an n-th call.
fn call_fails(
    n: usize,
    failure: Failure,
    prepare: &impl Fn(&TestStore),
    operation: &impl Fn(&Store, &Path) -> store::Result<()>,
) -> bool {
    let armed = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let disk = {
        let (armed, calls) = (armed.clone(), calls.clone());
        Disk::with_fault(Arc::new(move |_, _| {
            if !armed.load(Ordering::SeqCst) {
                return Ok(());
            }
            let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
            match failure {
                Failure::Once if call == n => {}
                Failure::ForGood if call >= n => {}
                _ => return Ok(()),
            }
            Err(std::io::ErrorKind::StorageFull.into())
        }))
    };
    let store = TestStore::on(disk);
    prepare(&store);
    armed.store(true, Ordering::SeqCst);
    let outside = store.dir.path().join("outside");
    let result = operation(&store, &outside);
    armed.store(false, Ordering::SeqCst);
    let reached = calls.load(Ordering::SeqCst) >= n;
    if reached && let Err(error) = &result {
        assert_eq!(error.kind(), ErrorKind::Full, "call {n}, {failure:?}: {error}");
        assert!(error.to_string().contains("no space left"), "{error}");
    }
    assert!(reached || result.is_ok(), "{result:?}");
    sound(&store.again(), n, failure);
    if outside.exists() {
        std::fs::remove_dir_all(&outside).expect("removes");
    }
    operation(&store.again(), &outside).expect("succeeds when tried again");
    sound(&store.again(), n, failure);
    collect(&store.again()).expect("collects");
    for folder in ["staging", "ingest"] {
        let left = std::fs::read_dir(store.root().join(folder)).expect("lists").count();
        assert_eq!(left, 0, "{folder} after call {n}, {failure:?}");
    }
    let hidden = std::fs::read_dir(store.root()).expect("lists").filter(|entry| {
        let name = entry.as_ref().expect("lists").file_name();
        name.to_string_lossy().starts_with('.')
    });
    assert_eq!(hidden.count(), 0);
    reached
}

fn sound(store: &Store, n: usize, failure: Failure) {
    let report = store.check(None).expect("checks");
    assert!(report.is_sound(), "call {n}, {failure:?}: {:?}", report.findings);
    for entry in store.names().list().expect("lists") {
        assert_eq!(store.content().first_missing(&entry.descriptor).expect("looks"), None);
    }
}

fn collect(store: &Store) -> store::Result<()> {
    let roots = || Ok(Roots::default());
    let what = Collection { stamped_since: None, partials_since: None, roots: &roots };
    store.prune(&what).map(drop)
}

fn name(text: &str) -> Name {
    Name::from(&text.parse::<Reference>().expect("a reference").or_latest())
}

fn tar() -> Vec<u8> {
    Tar::new().file("a", b"1").file(".wh.b", b"").build()
}

fn layer() -> Descriptor {
    Descriptor::of(MediaType::OciLayer(Compression::None), &tar())
}

/// Covers: DST-68
#[test]
fn a_blob_is_synced_before_it_has_its_name_and_its_folder_after() {
    let acts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = acts.clone();
    let disk = Disk::with_fault(Arc::new(move |act, path: &Path| {
        let name = path.parent().and_then(Path::file_name).unwrap_or_default().to_os_string();
        log.lock().expect("one thread").push((act, name.to_string_lossy().into_owned()));
        Ok(())
    }));
    let store = TestStore::on(disk);
    acts.lock().expect("one thread").clear();
    store.content().put(&layer(), &tar()).expect("stores");
    let acts = acts.lock().expect("one thread");
    let acts: Vec<(&str, &str)> = acts.iter().map(|(act, dir)| (*act, dir.as_str())).collect();
    let expected = [
        ("create", "ingest"),
        ("write", "ingest"),
        ("sync", "ingest"),
        ("rename", "sha256"),
        ("sync", "blobs"),
        ("remove", "ingest"),
    ];
    assert_eq!(acts, expected);
}

#[test]
fn a_name_can_be_taken_away_on_a_disk_that_is_full() {
    let full = Arc::new(AtomicBool::new(false));
    let armed = full.clone();
    // There is place for the names once, and their copy has it.
    let disk = Disk::with_fault(Arc::new(move |act, path: &Path| {
        let copy = path.parent().unwrap_or(path).join("index.json.backup");
        match armed.load(Ordering::SeqCst) && act == "write" && copy.exists() {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }));
    let store = TestStore::on(disk);
    let image = store.image(&[tar()]);
    let name: Name = "docker.io/library/app:v1".parse().expect("a name");
    store.names().set(&name, &image, Displaced::Forget).expect("sets");
    full.store(true, Ordering::SeqCst);
    assert_eq!(store.names().remove(&name, Displaced::Forget).expect("removes"), Some(image));
    assert!(store.names().list().expect("lists").is_empty());
}

/// Covers: DST-81
#[test]
fn storing_a_blob() {
    each_call_fails(|_| {}, |store, _| Ok(store.content().accept(&layer(), &mut &tar()[..])?));
    each_call_fails(|_| {}, |store, _| store.content().put(&layer(), &tar()));
}

/// Covers: DST-81
#[test]
fn naming_an_image() {
    each_call_fails(
        |store| {
            let image = store.image(&[b"before".to_vec()]);
            store.names().set(&name("app"), &image, Displaced::Forget).expect("sets");
            store.image(&[tar()]);
        },
        |store, _| {
            let image = TestStoreRef(store).image_of(&tar());
            store.names().set(&name("app"), &image, Displaced::KeepDangling).map(drop)
        },
    );
}

struct TestStoreRef<'a>(&'a Store);

impl TestStoreRef<'_> {
    /// The descriptor of the image that `TestStore::image` made of one tar.
    fn image_of(&self, tar: &[u8]) -> Descriptor {
        let mut config = oci::ImageConfig::scratch(&oci::Platform::host());
        config.rootfs.diff_ids = vec![oci::Digest::sha256(tar)];
        let config = oci::Raw::encode(&config).expect("encodes");
        let layer = Descriptor::of(MediaType::OciLayer(Compression::None), tar);
        let manifest = oci::Manifest::new(config.descriptor(), vec![layer]);
        assert!(self.0.content().stat(&config.digest()).expect("looks").is_some());
        oci::Raw::encode(&manifest).expect("encodes").descriptor()
    }
}

/// Covers: DST-81
#[test]
fn unpacking_layers() {
    let upper = Tar::new().file("c", b"2").build();
    let blobs = [tar(), upper.clone()].map(|tar| store::LayerBlob {
        descriptor: Descriptor::of(MediaType::OciLayer(Compression::None), &tar),
        diff_id: oci::Digest::sha256(&tar),
    });
    each_call_fails(
        |store| {
            store.blob(&tar());
            store.blob(&upper);
        },
        |store, _| {
            let lease = store.lease("test")?;
            let top = store.layers().unpack(&blobs, &lease)?.expect("a top");
            let chain = store.layers().chain(Some(&top))?;
            assert_eq!(chain.len(), 2);
            assert_eq!(std::fs::read(chain[0].fs().join("c")).expect("whole"), b"2");
            Ok(())
        },
    );
}

#[test]
fn writing_a_layer() {
    each_call_fails(
        |store| {
            let lease = store.lease("test").expect("lease");
            store.unpack_under(&[tar()], &lease).expect("unpacks");
        },
        |store, _| {
            let ids = store.layers().list()?;
            let folder = store.layers().require(&ids[0])?.fs().clone();
            store.layers().diff_folder(&folder, None, &DiffOptions::default()).map(drop)
        },
    );
}

#[test]
fn committing_a_snapshot() {
    each_call_fails(
        |_| {},
        |store, _| {
            let snapshots = store.snapshots();
            let key = "step".parse().expect("a key");
            match snapshots.prepare(&key, None) {
                Err(Error::SnapshotExists { .. }) => {}
                other => drop(other?),
            }
            let upper = snapshots.changes(&key)?.folder().to_path_buf();
            if upper.exists() {
                std::fs::write(upper.join("x"), b"built").expect("writes");
            }
            let id = LayerId::from(oci::Digest::sha256(b"step"));
            match snapshots.commit(&key, &id, None) {
                // A crash between publishing and removal: the layer is there.
                Err(error) if store.layers().get(&id)?.is_some() => return Err(error),
                other => other?,
            }
            let layer = store.layers().require(&id)?;
            assert_eq!(std::fs::read(layer.fs().join("x")).expect("whole"), b"built");
            Ok(())
        },
    );
}

#[test]
fn collecting() {
    each_call_fails(
        |store| {
            let kept = store.image(&[tar()]);
            store.unpack(&[tar()]).expect("unpacks");
            store.names().set(&name("kept"), &kept, Displaced::Forget).expect("sets");
            store.image(&[b"dead".to_vec()]);
            let other = Tar::new().file("dead", b"").build();
            store.unpack(&[other]).expect("unpacks");
        },
        |store, _| {
            // The stamps of what was just made must be older than the cycle.
            let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
            for entry in std::fs::read_dir(store.root().join("blobs/sha256")).expect("lists") {
                let path = entry.expect("lists").path();
                std::fs::File::open(path).and_then(|file| file.set_modified(old)).expect("sets");
            }
            collect(store)
        },
    );
}

#[test]
fn loading_and_saving() {
    let archive = {
        let from = crate::support::store();
        let saved = [Saved { descriptor: from.image(&[tar()]), names: vec![name("app")] }];
        let mut archive = Vec::new();
        from.archives().save(&saved, SaveFormat::Docker, &mut archive).expect("saves");
        archive
    };
    each_call_fails(
        |_| {},
        |store, outside| {
            let lease = store.lease("load")?;
            let loaded = store.archives().load(&archive[..], &lease)?;
            let descriptor = loaded[0].descriptor.clone();
            store.names().set(&name("app"), &descriptor, Displaced::Forget)?;
            let saved = [Saved { descriptor, names: vec![name("app")] }];
            store.archives().save_directory(&saved, outside)
        },
    );
}

#[test]
fn making_a_store() {
    for n in 1..100 {
        let dir = tempfile::tempdir().expect("temporary directory");
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        let disk = Disk::with_fault(Arc::new(move |_, _| {
            match count.fetch_add(1, Ordering::SeqCst) + 1 >= n {
                true => Err(std::io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }));
        let made = Store::open_on(dir.path().join("root"), disk);
        if calls.load(Ordering::SeqCst) < n {
            assert!(made.is_ok() && n > 10);
            return;
        }
        assert_eq!(made.expect_err("failed").kind(), ErrorKind::Full);
        let store = Store::open(dir.path().join("root")).expect("a second try");
        assert!(store.check(None).expect("checks").is_sound());
    }
    panic!("making a store never ends");
}

/// A file system of its own, unmounted with its test.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &std::ffi::CStr) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, Some(size)).expect("mounts");
        Self(dir)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        store::unmount(self.0.path()).expect("unmounts");
    }
}

/// Covers: DST-81
#[test]
fn a_disk_that_is_really_full() {
    let disk = Tmpfs::new(c"size=3m");
    let store = Store::open(disk.0.path()).expect("opens");
    let mut state = 88_172_645_463_325_252u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let noise: Vec<u8> = (0..6_000_000).map(|_| random()).collect();
    let tar = Tar::new().file("big", &noise).build();
    let full = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        let text = error.to_string();
        assert!(text.contains("no space left") && text.contains("prune"), "{text}");
    };
    full(store.layers().add_tar(&tar[..], &DiffOptions::default()).expect_err("no room"));
    let zeros = Tar::new().file("big", &vec![1u8; 6_000_000]).build();
    let packed = crate::support::gzip(&zeros);
    let descriptor = Descriptor::of(MediaType::OciLayer(Compression::Gzip), &packed);
    store.content().put(&descriptor, &packed).expect("small enough");
    let lease = store.lease("test").expect("lease");
    let layer = store::LayerBlob { descriptor, diff_id: oci::Digest::sha256(&zeros) };
    full(store.layers().unpack(&[layer], &lease).expect_err("no room"));
    for folder in ["staging", "ingest", "layers/sha256"] {
        let left = std::fs::read_dir(store.root().join(folder)).expect("lists").count();
        assert_eq!(left, 0, "{folder}");
    }
    assert!(store.check(None).expect("checks").is_sound());
}

#[test]
fn a_root_that_is_read_only() {
    let disk = Tmpfs::new(c"size=8m");
    let store = Store::open(disk.0.path()).expect("opens");
    store.content().put(&layer(), &tar()).expect("stores");
    let flags = rustix::mount::MountFlags::RDONLY;
    rustix::mount::mount_remount(disk.0.path(), flags, "").expect("remounts");
    let store = Store::open(disk.0.path()).expect("reading needs no writing");
    assert_eq!(store.content().rely(layer().digest()).expect("is there"), Some(tar().len() as u64));
    assert!(store.names().list().expect("lists").is_empty());
    for error in [
        store.lease("pull").expect_err("writes"),
        store.content().put(&Descriptor::empty(), b"{}").expect_err("writes"),
        store.names().set(&name("app"), &layer(), Displaced::Forget).expect_err("writes"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("Read-only file system"), "{error}");
    }
}
