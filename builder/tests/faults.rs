//! The disk fails at every point of a build in turn: an error, nothing half-done, and the next build succeeds.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use builder::Builder;
use store::{Disk, Fault, Store};
use support::World;

const TEXT: &str = "FROM base AS b\nWORKDIR /w\nCOPY a /w/a\nRUN write /w/out 1\nFROM scratch\nCOPY --link --from=b /w /\nCMD [\"x\"]\n";

/// Builds on a disk that is full from its `point`-th call on, then on a sound one. True when the first build got through.
fn survives(point: usize) -> bool {
    let mut world = World::new();
    world.file("a", "content");
    // The base is made on the sound disk.
    world.build("FROM base\n").unwrap();
    let calls = AtomicUsize::new(0);
    let fault: Arc<Fault> = Arc::new(move |_, _| match calls.fetch_add(1, Ordering::SeqCst) {
        call if call >= point => Err(std::io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    let sound = world.store.clone();
    world.store = Store::open_on(sound.root(), Disk::with_fault(Arc::clone(&fault)))
        .unwrap_or_else(|_| sound.clone());
    let first = world.store.lease("build").map_err(builder::Error::from).and_then(|lease| {
        Builder::new(&world.store, world.ports())?.build(&world.request(TEXT), &lease)
    });
    world.store = sound;
    let built = world.build(TEXT).unwrap_or_else(|e| panic!("after a failure at {point}: {e}"));
    let tree = world.tree(&built);
    assert_eq!(tree["out"], "File 644 0:0 \"1\"", "after a failure at {point}");
    assert_eq!(tree["a"], "File 644 0:0 \"content\"", "after a failure at {point}");
    assert!(
        world.store.snapshots().list().unwrap().is_empty(),
        "a snapshot stayed after a failure at {point}"
    );
    first.is_ok()
}

/// Covers: BLD-106
#[test]
fn a_disk_that_fails_at_any_point_leaves_a_cache_that_works() {
    let next = AtomicUsize::new(0);
    let through = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !through.load(Ordering::SeqCst) {
                    let point = next.fetch_add(1, Ordering::SeqCst);
                    if survives(point) {
                        assert!(point > 20, "the disk was not asked often enough: {point}");
                        through.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
}
