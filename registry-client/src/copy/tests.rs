use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::AtomicU32;

use oci::{Compression, Digest, Index, Manifest, MediaType, Platform, Raw};

use super::*;

/// A sink stricter than real ones: a document whose children are missing is refused, and so is
/// what was written before.
#[derive(Default)]
struct Memory {
    content: Mutex<HashMap<Digest, Vec<u8>>>,
    written: Mutex<Vec<Digest>>,
    asked: AtomicU32,
    opened: AtomicU32,
    /// Calls of `accept` until one fails once, with this kind.
    fail_at: Mutex<Option<(u32, TransferErrorKind)>>,
    foreign_allowed: bool,
    gaps_allowed: bool,
}

impl Memory {
    fn put(&self, media_type: MediaType, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.content.lock().expect("lock").insert(descriptor.digest().clone(), bytes.to_vec());
        descriptor
    }

    fn written(&self) -> usize {
        self.written.lock().expect("lock").len()
    }

    fn fails_now(&self) -> Option<TransferErrorKind> {
        let mut fail_at = self.fail_at.lock().expect("lock");
        let (calls, kind) = fail_at.as_mut()?;
        *calls -= 1;
        let kind = *kind;
        (*calls == 0).then(|| {
            *fail_at = None;
            kind
        })
    }
}

impl Source for Memory {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        match self.content.lock().expect("lock").get(descriptor.digest()) {
            Some(bytes) => Ok(Box::new(std::io::Cursor::new(bytes.clone()))),
            None => Err(TransferError::new(TransferErrorKind::NotFound, "open")),
        }
    }
}

impl Sink for Memory {
    fn has(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.content.lock().expect("lock").contains_key(descriptor.digest()))
    }

    fn accept(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), TransferError> {
        if let Some(kind) = self.fails_now() {
            return Err(TransferError::new(kind, "accept"));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|e| TransferError::from_io("accept", e))?;
        let mut map = self.content.lock().expect("lock");
        if let Ok(document) = Raw::<oci::ManifestOrIndex>::parse(&bytes[..]) {
            for child in document.children() {
                let foreign = self.foreign_allowed && child.media_type().is_non_distributable();
                assert!(
                    foreign || self.gaps_allowed || map.contains_key(child.digest()),
                    "parent before {child:?}"
                );
            }
        }
        let again = map.insert(descriptor.digest().clone(), bytes);
        assert!(again.is_none(), "{} written twice", descriptor.digest());
        self.written.lock().expect("lock").push(descriptor.digest().clone());
        Ok(())
    }
}

fn image(source: &Memory, layers: &[&[u8]]) -> Descriptor {
    let config =
        source.put(MediaType::OciConfig, format!("{{\"of\":{}}}", layers.len()).as_bytes());
    let gzip = MediaType::OciLayer(Compression::Gzip);
    let layers = layers.iter().map(|bytes| source.put(gzip.clone(), bytes)).collect();
    let manifest = Raw::encode(&Manifest::new(config, layers)).expect("encodes");
    source.put(MediaType::OciManifest, manifest.bytes())
}

fn index(source: &Memory, manifests: Vec<Descriptor>) -> Descriptor {
    let index = Raw::encode(&Index::new(manifests)).expect("encodes");
    source.put(MediaType::OciIndex, index.bytes())
}

fn two_platforms(source: &Memory) -> Descriptor {
    let amd64 =
        image(source, &[b"base", b"amd64"]).with_platform("linux/amd64".parse().expect("ok"));
    let arm64 = image(source, &[b"base", b"arm64", b"more"])
        .with_platform("linux/arm64".parse().expect("ok"));
    index(source, vec![amd64, arm64])
}

/// Covers: DST-54
#[test]
fn a_graph_is_copied_children_first_and_each_part_once() {
    let (source, sink) = (Memory::default(), Memory::default());
    let root = two_platforms(&source);
    let report = copy(&source, &sink, &root, &CopyOptions::default()).expect("copies");
    // Two configs, four layers of which one is shared, two manifests, the index.
    assert_eq!((report.copied.len(), report.present.len()), (9, 0));
    assert_eq!(sink.written.lock().expect("lock").last(), Some(root.digest()));
}

/// Covers: DST-54
#[test]
fn a_second_copy_writes_nothing_and_a_registry_is_asked_for_its_documents_only() {
    let (source, sink) = (Memory::default(), Memory::default());
    let root = two_platforms(&source);
    copy(&source, &sink, &root, &CopyOptions::default()).expect("copies");
    let (written, asked) = (sink.written(), sink.asked.load(Ordering::Relaxed));
    let opened = source.opened.load(Ordering::Relaxed);
    let report = copy(&source, &sink, &root, &CopyOptions::into_registry()).expect("copies");
    assert_eq!((sink.written(), report.copied.len()), (written, 0));
    // The index and its two manifests: what a manifest names is there with it.
    assert_eq!(sink.asked.load(Ordering::Relaxed), asked + 3);
    assert_eq!(source.opened.load(Ordering::Relaxed), opened + 1, "only the index was read");
}

/// Covers: DST-44
#[test]
fn an_index_with_gaps_is_filled_by_a_copy_of_more_platforms() {
    let (source, sink) = (Memory::default(), Memory { gaps_allowed: true, ..Memory::default() });
    let root = two_platforms(&source);
    let only = |platforms: &[&str]| CopyOptions {
        platforms: platforms.iter().map(|text| text.parse().expect("ok")).collect(),
        ..CopyOptions::into_registry()
    };
    let report = copy(&source, &sink, &root, &only(&["linux/arm64"])).expect("copies");
    assert_eq!(report.copied.len(), 6);
    let report = copy(&source, &sink, &root, &only(&[])).expect("copies the rest");
    assert_eq!((report.copied.len(), sink.written()), (3, 9));
}

#[test]
fn after_a_failure_at_any_write_the_next_copy_completes_and_nothing_dangles() {
    let source = Memory::default();
    let root = two_platforms(&source);
    for n in 1..=9 {
        let sink = Memory::default();
        *sink.fail_at.lock().expect("lock") = Some((n, TransferErrorKind::Full));
        let options = CopyOptions { parallel: 1, ..CopyOptions::default() };
        let error = copy(&source, &sink, &root, &options).expect_err("the n-th write fails");
        assert_eq!(error.kind(), TransferErrorKind::Full);
        assert!(!sink.content.lock().expect("lock").contains_key(root.digest()), "{n}");
        copy(&source, &sink, &root, &options).expect("the next copy");
        assert_eq!(sink.written(), 9, "{n}");
    }
}

#[test]
fn a_blob_is_tried_again_where_the_other_side_is_not_available() {
    let source = Memory::default();
    let root = two_platforms(&source);
    let sink = Memory::default();
    *sink.fail_at.lock().expect("lock") = Some((2, TransferErrorKind::Unavailable));
    copy(&source, &sink, &root, &CopyOptions::default()).expect("the second try");
    assert_eq!(sink.written(), 9);
}

/// Covers: DST-45
#[test]
fn layers_that_may_not_be_distributed_are_left_out_of_registries() {
    let source = Memory::default();
    let sink = Memory { foreign_allowed: true, ..Memory::default() };
    let config = source.put(MediaType::OciConfig, b"{}");
    let foreign = source.put(MediaType::OciNonDistributableLayer(Compression::Gzip), b"windows");
    let plain = source.put(MediaType::OciLayer(Compression::Gzip), b"ours");
    let manifest =
        Raw::encode(&Manifest::new(config, vec![foreign.clone(), plain])).expect("encodes");
    let root = source.put(MediaType::OciManifest, manifest.bytes());
    let report = copy(&source, &sink, &root, &CopyOptions::into_registry()).expect("copies");
    assert_eq!(report.foreign, [foreign]);
    assert_eq!(report.copied.len(), 3);
}

#[test]
fn content_that_is_not_what_its_digest_says_is_not_copied() {
    let (source, sink) = (Memory::default(), Memory::default());
    let root = image(&source, &[b"layer"]);
    let layer = Digest::sha256(b"layer");
    source.content.lock().expect("lock").insert(layer.clone(), b"lawyer"[..5].to_vec());
    let error = copy(&source, &sink, &root, &CopyOptions::default()).expect_err("corrupt");
    assert_eq!(error.kind(), TransferErrorKind::Corrupt);
    assert!(!sink.content.lock().expect("lock").contains_key(root.digest()));
}

#[test]
fn a_plan_prints_what_it_does_and_why_not_more() {
    let (source, sink) = (Memory::default(), Memory::default());
    let root = image(&source, &[b"layer"]);
    sink.put(MediaType::OciLayer(Compression::Gzip), b"layer");
    let plan = prepare(&source, &sink, &root, &CopyOptions::default()).expect("plans");
    let acts = plan.to_string();
    let acts = acts.lines().map(|line| line.split(" sha256").next().unwrap_or_default());
    assert_eq!(acts.collect::<Vec<_>>(), ["copy", "present", "write"]);
    assert_eq!(plan.bytes_to_copy(), root.size() + "{\"of\":1}".len() as u64);
    assert_eq!(sink.written(), 0);
}

/// Covers: B06-43, B06-44, DST-43
#[test]
fn a_platform_is_chosen_through_nested_indexes_or_named_as_missing() {
    let source = Memory::default();
    let inner = two_platforms(&source);
    let outer = index(&source, vec![inner.with_platform("linux/arm64".parse().expect("ok"))]);
    let arm64: Platform = "linux/arm64".parse().expect("ok");
    let chosen = select_platform(&source, &outer, &arm64).expect("there is one");
    assert_eq!(chosen.platform(), Some(&arm64));
    assert!(chosen.media_type().is_manifest());
    let plain = image(&source, &[b"x"]);
    assert_eq!(select_platform(&source, &plain, &arm64).expect("itself"), plain);
    let error = select_platform(&source, &outer, &"linux/s390x".parse().expect("ok"))
        .expect_err("not there");
    assert_eq!(error.kind(), TransferErrorKind::NotFound);
    assert!(error.to_string().contains("no matching manifest for linux/s390x"), "{error}");
}

#[test]
fn an_index_that_nests_too_deep_is_refused() {
    let source = Memory::default();
    let mut root = image(&source, &[b"x"]);
    for _ in 0..20 {
        root = index(&source, vec![root]);
    }
    let error =
        copy(&source, &Memory::default(), &root, &CopyOptions::default()).expect_err("too deep");
    assert!(error.to_string().contains("nested deeper"), "{error}");
}
