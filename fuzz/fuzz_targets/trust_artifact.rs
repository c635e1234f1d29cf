#![no_main]
//! The pointer manifest is whatever stands under a tag that anybody with push rights can move.

use libfuzzer_sys::fuzz_target;
use trust::artifact::Artifact;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(artifact) = Artifact::parse(bytes.to_vec()) {
        let _ = artifact.unpack(&mut |_| Err("no blobs here".into()));
    }
});
