//! Recorded verdicts.

use jiff::Timestamp;
use oci::Reference;
use proptest::prelude::*;
use trust::{
    Basis, Error, Evidence, Origin, Policy, RecordKey, Secret, Stale, Subject, VerdictRecord,
    danger, judge,
};

use crate::policies::parse;
use crate::publisher::*;
use crate::world::now;

const NAME: &str = "localhost:5000/shop/web:1.0";

fn policy() -> Policy {
    parse(
        "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"localhost:5000/shop\"\n\
         [[scope.tuf]]\nroot-file = \"root.json\"\n",
    )
    .unwrap()
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn record() -> VerdictRecord {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    let mut files = publisher.repository.files();
    let mut evidence = Evidence::none().with_tuf(&mut files);
    let (reference, descriptor) = (reference(NAME), manifest("one"));
    let subject =
        Subject { reference: &reference, descriptor: &descriptor, origin: Origin::Elsewhere };
    judge(&policy(), subject, &mut evidence, now()).verified().unwrap().record().clone()
}

fn key(byte: u8) -> RecordKey {
    RecordKey::new(Secret::new([byte; 32]))
}

#[test]
fn a_recorded_verdict_answers_for_what_it_was_made_for_and_for_nothing_else() {
    let bytes = record().seal(&key(1)).unwrap();
    let record = VerdictRecord::open(&bytes, &key(1)).unwrap();
    assert_eq!(record.basis(), Basis::Proven);
    let at = |time: &str| time.parse::<Timestamp>().unwrap();
    let one = manifest("one");
    let held = record.recheck(&policy(), &reference(NAME), &one, now()).unwrap();
    assert_eq!(held.digest(), one.digest());
    let other_policy = Policy::none();
    let table: [(&str, Result<_, Stale>, &str); 6] = [
        (
            "policy",
            record.recheck(&other_policy, &reference(NAME), &one, now()),
            "policy has changed",
        ),
        (
            "name",
            record.recheck(&policy(), &reference("localhost:5000/shop/api:1.0"), &one, now()),
            "about the name",
        ),
        (
            "tag",
            record.recheck(&policy(), &reference("localhost:5000/shop/web:2.0"), &one, now()),
            "about the name",
        ),
        (
            "content",
            record.recheck(&policy(), &reference(NAME), &manifest("0ne"), now()),
            "this is",
        ),
        (
            "expiry",
            record.recheck(&policy(), &reference(NAME), &one, at("2030-01-15T00:00:00Z")),
            "expired",
        ),
        (
            "clock",
            record.recheck(&policy(), &reference(NAME), &one, at("2029-12-31T00:00:00Z")),
            "set back",
        ),
    ];
    for (case, result, message) in table {
        let stale = result.err().unwrap_or_else(|| panic!("{case} must be stale"));
        assert!(stale.to_string().contains(message), "{case}: {stale}");
    }
}

#[test]
fn a_record_of_another_machine_or_with_a_changed_byte_does_not_authenticate() {
    let bytes = record().seal(&key(1)).unwrap();
    assert!(matches!(VerdictRecord::open(&bytes, &key(2)), Err(Error::RecordForged { .. })));
    for at in 0..bytes.len() - 1 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(VerdictRecord::open(&changed, &key(1)).is_err(), "byte {at}");
    }
    for cut in [0, 1, bytes.len() / 2] {
        assert!(VerdictRecord::open(&bytes[..cut], &key(1)).is_err());
    }
}

#[test]
fn an_accepted_but_unproven_image_is_recorded_as_what_it_is() {
    let (reference, descriptor) = (reference("ubuntu:latest"), manifest("one"));
    let subject =
        Subject { reference: &reference, descriptor: &descriptor, origin: Origin::Elsewhere };
    let judgement = judge(&Policy::none(), subject, &mut Evidence::none(), now());
    let record = danger::accept_unsigned(&judgement).unwrap().record().clone();
    assert_eq!((record.basis(), record.expires()), (Basis::PolicyAllows, None));
    let allowed = record.recheck(&Policy::none(), &reference, &descriptor, now());
    assert!(allowed.is_ok());
    // Under a policy that came later it proves nothing.
    assert_eq!(
        record.recheck(&policy(), &reference, &descriptor, now()).err(),
        Some(Stale::PolicyChanged)
    );
}

proptest! {
    #[test]
    fn opening_any_bytes_as_a_record_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(VerdictRecord::open(&bytes, &key(1)).is_err());
    }
}
