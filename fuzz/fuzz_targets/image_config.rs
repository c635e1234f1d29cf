#![no_main]
//! An image config that parses must survive being encoded again.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(raw) = oci::Raw::<oci::ImageConfig>::parse(bytes) {
        let parsed = raw.into_parsed();
        let again = oci::Raw::encode(&parsed).expect("a parsed config encodes").into_parsed();
        assert_eq!(again, parsed);
    }
});
