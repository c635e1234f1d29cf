#![no_main]
//! A reference that parses must print to a text that parses to itself.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<oci::Reference>() {
        assert_eq!(reference.to_string().parse::<oci::Reference>().as_ref(), Ok(&reference));
        assert_eq!(reference.familiar().parse::<oci::Reference>().as_ref(), Ok(&reference));
    }
    let _ = text.parse::<oci::Platform>();
    let _ = text.parse::<oci::Digest>();
});
