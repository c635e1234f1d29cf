#![no_main]
//! TUF metadata come from a registry that nobody need trust: no bytes may panic the client.

use libfuzzer_sys::fuzz_target;
use trust::tuf::{Freshness, Response, TrustedState, Updater};

const ROOT: &[u8] = include_bytes!("../../testdata/trust/published/1.root.json");

fuzz_target!(|bytes: &[u8]| {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let _ = Updater::start(bytes, TrustedState::new(), Freshness::Fetch, now);
    let _ = trust::tuf::Draft::parse(bytes);
    // As each of the files that an update asks for.
    for position in 0..4 {
        let Ok(mut updater) = Updater::start(ROOT, TrustedState::new(), Freshness::Fetch, now) else {
            return;
        };
        let mut asked = 0;
        while let Ok(Some(request)) = updater.advance() {
            let genuine: Option<&[u8]> = match request.file.as_str() {
                "timestamp.json" => Some(include_bytes!("../../testdata/trust/published/timestamp.json")),
                "3.snapshot.json" => Some(include_bytes!("../../testdata/trust/published/3.snapshot.json")),
                _ => None,
            };
            let answer = if asked == position { Some(bytes) } else { genuine };
            asked += 1;
            let response = answer.map_or(Response::NotFound, |bytes| Response::Found(bytes.to_vec()));
            if updater.supply(response).is_err() {
                break;
            }
        }
    }
});
