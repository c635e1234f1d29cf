#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../trust/tests/it/parsers.rs"]
mod parsers;

fuzz_target!(|bytes: &[u8]| parsers::policy(bytes));
