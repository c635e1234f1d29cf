use proptest::prelude::*;

use super::*;

pub(crate) fn query(name: &str, kind: u16, extension: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(extension.is_some())];
    bytes.extend(write_name(name).unwrap());
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    if let Some(size) = extension {
        let size = size.to_be_bytes();
        bytes.extend([0, 0, 41, size[0], size[1], 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

#[test]
fn a_query_is_read_without_regard_to_case() {
    let bytes = query("Web.LocalNet", 28, Some(1232));
    let read = Query::read(&bytes).unwrap();
    assert_eq!(read.name.as_deref(), Some("web.localnet"));
    assert_eq!((read.kind, read.udp_bytes_max, read.internet), (Kind::Aaaa, 1232, true));
    let bytes = query("a", 15, None);
    let read = Query::read(&bytes).unwrap();
    assert_eq!((read.kind, read.udp_bytes_max), (Kind::Other(15), 512));
}

#[test]
fn an_answer_repeats_the_question_and_points_at_it() {
    let bytes = query("web", 1, None);
    let read = Query::read(&bytes).unwrap();
    let answer = read.addresses(&["172.18.0.2".parse().unwrap()], 512);
    let expected = [
        &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..],
        b"\x03web\0\0\x01\0\x01",
        b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\xac\x12\0\x02",
    ]
    .concat();
    assert_eq!(answer, expected);
    assert!(answers(&answer, read.question()));
    assert!(!answers(&bytes, read.question()));
}

#[test]
fn an_answer_that_does_not_fit_says_so() {
    let bytes = query("many", 1, None);
    let read = Query::read(&bytes).unwrap();
    let addresses: Vec<IpAddr> = (0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    let answer = read.addresses(&addresses, 512);
    assert!(answer.len() <= 512);
    assert_eq!(answer[2] & TRUNCATED, TRUNCATED);
    let over_tcp = read.addresses(&addresses, limits::DNS_UDP_BYTES_MAX);
    assert_eq!(over_tcp[2] & TRUNCATED, 0);
    assert_eq!(u16::from_be_bytes([over_tcp[6], over_tcp[7]]), 100);
    let cut = fit(over_tcp, read.question().len(), 512);
    assert_eq!((cut.len(), cut[2] & TRUNCATED), (12 + read.question().len(), TRUNCATED));
}

#[test]
fn what_cannot_be_read_is_refused_and_answers_are_never_answered() {
    assert_eq!(Query::read(&[0; 5]), Err(None));
    let mut answer = query("a", 1, None);
    answer[2] |= RESPONSE;
    assert_eq!(Query::read(&answer), Err(None));
    let mut notify = query("a", 1, None);
    notify[2] |= 4 << 3;
    assert_eq!(Query::read(&notify), Err(Some(Status::NotImplemented)));
    let mut two = query("a", 1, None);
    two[5] = 2;
    assert_eq!(Query::read(&two), Err(Some(Status::FormatError)));
    let pointer = [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12][..], &[0, 1, 0, 1]].concat();
    assert_eq!(Query::read(&pointer), Err(Some(Status::FormatError)));
    let refused = refusal(&two, Status::FormatError).unwrap();
    assert_eq!(refused[3] & 0x0f, 1);
}

#[test]
fn reverse_names_are_addresses() {
    for (name, expected) in [
        ("2.0.17.172.in-addr.arpa", Some("172.17.0.2")),
        ("0.17.172.in-addr.arpa", None),
        ("1.2.0.17.172.in-addr.arpa", None),
        ("x.0.17.172.in-addr.arpa", None),
        (
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            Some("fd00::2"),
        ),
        ("d.f.ip6.arpa", None),
        ("web", None),
    ] {
        assert_eq!(reverse_address(name), expected.map(|ip| ip.parse().unwrap()), "{name}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_every_answer_fits(
        bytes in proptest::collection::vec(any::<u8>(), 0..600), count in 0u8..255,
    ) {
        let addresses: Vec<IpAddr> = (0..count).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        if let Ok(read) = Query::read(&bytes) {
            let answer = read.addresses(&addresses, read.udp_bytes_max.max(bytes.len() + 12));
            prop_assert!(answers(&answer, read.question()));
            let _ = read.pointer("a.b", 512);
        }
        let _ = refusal(&bytes, Status::FormatError);
        let _ = answers(&bytes, b"abc");
        let _ = fit(bytes, 3, 20);
    }

    #[test]
    fn a_written_query_is_read_back(labels in proptest::collection::vec("[a-z0-9_-]{1,20}", 1..6), kind: u16) {
        let name = labels.join(".");
        let bytes = query(&name, kind, Some(4096));
        let read = Query::read(&bytes).unwrap();
        prop_assert_eq!(read.name.as_deref(), Some(name.as_str()));
        prop_assert_eq!(read.kind, Kind::of(kind));
    }

    #[test]
    fn no_text_makes_the_reverse_reader_panic(name in "[0-9a-f.]{0,80}(.ip6.arpa|.in-addr.arpa)?") {
        let _ = reverse_address(&name);
    }
}
