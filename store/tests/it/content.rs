//! Blobs.

use std::io::{Read, Write};

use oci::{Algorithm, Compression, Descriptor, Digest, MediaType, Sink, Source};
use store::{Error, ErrorKind, IngestStart};

use crate::support::{TestStore, store};

fn described(bytes: &[u8]) -> Descriptor {
    Descriptor::of(MediaType::OciLayer(Compression::None), bytes)
}

fn leftovers(store: &TestStore) -> usize {
    std::fs::read_dir(store.root().join("ingest")).expect("lists").count()
}

/// Covers: B06-36, DST-90
#[test]
fn a_blob_is_a_file_named_by_its_digest_in_a_valid_image_layout() {
    let store = store();
    let descriptor = store.blob(b"content");
    let hex = descriptor.digest().hex();
    let path = store.root().join("blobs/sha256").join(hex);
    assert_eq!(std::fs::read(path).expect("is there"), b"content");
    let layout = std::fs::read_to_string(store.root().join("oci-layout")).expect("is there");
    assert_eq!(layout, r#"{"imageLayoutVersion":"1.0.0"}"#);
    let index = std::fs::read(store.root().join("index.json")).expect("is there");
    oci::Raw::<oci::Index>::parse(index).expect("an index");
}

/// Covers: DST-18
#[test]
fn a_sha512_blob_has_its_own_folder() {
    let store = store();
    let digest = Digest::of(Algorithm::Sha512, b"x");
    let descriptor = Descriptor::new(MediaType::OciEmpty, digest.clone(), 1);
    store.content().put(&descriptor, b"x").expect("stores");
    assert!(store.root().join("blobs/sha512").join(digest.hex()).is_file());
    assert_eq!(store.content().stat(&digest).expect("looks"), Some(1));
}

/// Covers: DST-5
#[test]
fn content_that_is_not_what_it_should_be_never_becomes_visible() {
    let store = store();
    let expected = described(b"expected");
    for wrong in [&b"different"[..], b"expect", b"expectee", b""] {
        let mut writer = store.content().writer(Algorithm::Sha256).expect("starts");
        writer.write_all(wrong).expect("writes");
        let error = writer.commit(&expected).expect_err("wrong");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let error = store.content().accept(&expected, &mut &wrong[..]).expect_err("wrong");
        assert!(!error.to_string().is_empty());
        assert_eq!(store.content().stat(expected.digest()).expect("looks"), None);
    }
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let store = store();
    let mut writer = store.content().writer(Algorithm::Sha256).expect("starts");
    writer.write_all(b"half").expect("writes");
    assert_eq!(leftovers(&store), 1);
    drop(writer);
    assert_eq!(leftovers(&store), 0);
}

/// Covers: DST-58
#[test]
fn an_ingest_goes_on_where_an_earlier_one_stopped() {
    let store = store();
    let descriptor = described(b"0123456789");
    let IngestStart::Fetch(mut ingest) = store.content().ingest(&descriptor).expect("starts")
    else {
        panic!("is not there yet")
    };
    ingest.append(b"0123").expect("writes");
    drop(ingest);
    let other = store.again();
    let IngestStart::Fetch(mut ingest) = other.content().ingest(&descriptor).expect("starts")
    else {
        panic!("is not there yet")
    };
    assert_eq!(ingest.offset(), 4);
    ingest.append(b"456789").expect("writes");
    ingest.commit().expect("is right");
    assert!(matches!(store.content().ingest(&descriptor).expect("looks"), IngestStart::Present));
    assert_eq!(leftovers(&store), 0);
}

#[test]
fn an_ingest_of_wrong_bytes_is_forgotten_and_one_of_too_few_is_kept() {
    let store = store();
    let descriptor = described(b"0123456789");
    let start = |expected: u64| {
        let IngestStart::Fetch(ingest) = store.content().ingest(&descriptor).expect("starts")
        else {
            panic!("is not there yet")
        };
        assert_eq!(ingest.offset(), expected);
        ingest
    };
    let mut short = start(0);
    short.append(b"01234").expect("writes");
    assert!(matches!(short.commit(), Err(Error::Content(_))));
    let mut wrong = start(5);
    wrong.append(b"xxxxx").expect("writes");
    assert!(matches!(wrong.commit(), Err(Error::Content(_))));
    let mut long = start(0);
    assert!(long.append(b"0123456789a").is_err());
    drop(long);
    assert_eq!(start(0).offset(), 0);
}

/// Covers: DST-83
#[test]
fn two_fetches_of_one_blob_become_one() {
    let store = store();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let descriptor = described(&content);
    let fetched = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let other = store.again();
                match other.content().ingest(&descriptor).expect("starts") {
                    IngestStart::Present => {}
                    IngestStart::Fetch(mut ingest) => {
                        fetched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        for chunk in content[ingest.offset() as usize..].chunks(4096) {
                            ingest.append(chunk).expect("writes");
                        }
                        ingest.commit().expect("is right");
                    }
                }
            });
        }
    });
    assert_eq!(fetched.into_inner(), 1);
}

/// Covers: DST-82
#[test]
fn a_blob_that_the_disk_damaged_is_not_given_out_as_good() {
    let store = store();
    let descriptor = store.blob(b"content");
    std::fs::write(store.content().path(descriptor.digest()), b"cXntent").expect("damages");
    let mut bytes = Vec::new();
    let mut reader = Source::open_verified(store.content(), &descriptor).expect("opens");
    assert!(reader.read_to_end(&mut bytes).is_err());
    assert!(matches!(store.content().small(descriptor.digest(), 100), Err(Error::Content(_))));
}

#[test]
fn what_is_missing_under_an_image_is_named() {
    let store = store();
    let image = store.image(&[b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(store.content().first_missing(&image).expect("looks"), None);
    let gone = Digest::sha256(b"two");
    std::fs::remove_file(store.content().path(&gone)).expect("removes");
    assert_eq!(store.content().first_missing(&image).expect("looks"), Some(gone));
}

#[test]
fn a_store_of_a_newer_format_is_refused_with_a_way_out() {
    let store = store();
    std::fs::write(store.root().join("format"), "wherry-store 9\n").expect("writes");
    let error = store::Store::open(store.root()).expect_err("newer");
    let text = error.to_string();
    assert!(text.contains("wherry-store 9") && text.contains("--root"), "{text}");
}

#[test]
fn a_root_that_is_a_file_is_a_clear_error() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("file");
    std::fs::write(&path, b"").expect("writes");
    let error = store::Store::open(&path).expect_err("a file");
    assert!(error.to_string().contains("file"), "{error}");
}
