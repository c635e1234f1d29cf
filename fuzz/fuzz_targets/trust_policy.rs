#![no_main]
//! A policy file that is broken in any way is refused, never misread and never a panic.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(policy) = trust::Policy::parse(text, &mut |_| Ok(Vec::new())) {
        if let Ok(repository) = "docker.io/library/ubuntu".parse() {
            let _ = policy.explain(&repository);
        }
    }
});
