#![no_main]
//! Envelopes, bundles and payloads are attached to images by anybody.

use libfuzzer_sys::fuzz_target;
use trust::dialect::dsse::Envelope;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse(bytes) {
        let _ = envelope.statement();
        assert!(!envelope.tally(&[], 1).is_met());
    }
});
