#![no_main]
//! Manifests and indexes come from strangers: no bytes may panic the parser.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(raw) = oci::Raw::<oci::ManifestOrIndex>::parse(bytes) {
        assert_eq!(&**raw.bytes(), bytes);
        let _ = raw.children();
        let _ = raw.descriptor();
    }
});
