//! DNS messages: no bytes make the reader panic, and every answer repeats its question and fits.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use network::dns::message::{Query, answers, fit, refusal, reverse_address, Status};

fuzz_target!(|bytes: &[u8]| {
    let addresses: Vec<IpAddr> = (0..=255u8).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    match Query::read(bytes) {
        Ok(query) => {
            let bytes_max = query.udp_bytes_max.max(bytes.len() + 16);
            let answer = query.addresses(&addresses, bytes_max);
            assert!(answers(&answer, query.question()));
            assert!(answer.len() <= bytes_max);
            assert!(answers(&query.pointer("web.localnet", bytes_max), query.question()));
            if let Some(name) = &query.name {
                let _ = reverse_address(name);
            }
        }
        Err(Some(status)) => assert!(refusal(bytes, status).is_some()),
        Err(None) => {}
    }
    let _ = fit(bytes.to_vec(), bytes.len() / 2, 12);
    let _ = refusal(bytes, Status::FormatError);
});
