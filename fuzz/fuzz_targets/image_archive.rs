#![no_main]
//! Archives come from strangers: loading one gives complete images or an error, and leaves nothing
//! half-done.

use libfuzzer_sys::fuzz_target;
use store::Store;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a place in memory");
    let store = Store::open(dir.path()).expect("a new store");
    let lease = store.lease("fuzz").expect("a lease");
    if let Ok(images) = store.archives().load(bytes, &lease) {
        for image in images {
            let missing = store.content().first_missing(&image.descriptor).expect("reads");
            assert_eq!(missing, None);
        }
    }
    for folder in ["staging", "ingest"] {
        assert_eq!(std::fs::read_dir(dir.path().join(folder)).expect("lists").count(), 0);
    }
});
