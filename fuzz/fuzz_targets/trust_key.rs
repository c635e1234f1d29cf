#![no_main]
//! Key files come by mail: reading one must not panic or believe it.

use libfuzzer_sys::fuzz_target;
use trust::key::{PrivateKeyFile, public_key_from_pem, public_key_to_pem, signer_from_pem};

fuzz_target!(|bytes: &[u8]| {
    let _ = PrivateKeyFile::parse("fuzz", bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = signer_from_pem("fuzz", text);
    if let Ok(key) = public_key_from_pem("fuzz", text) {
        let written = public_key_to_pem(&key).unwrap();
        assert_eq!(public_key_from_pem("fuzz", &written).unwrap(), key);
    }
});
