use std::io::Read;
use std::sync::Arc;

use axum::http::Method;
use oci::{
    Compression, Descriptor, Digest, Manifest, MediaType, Raw, Sink, Source, TransferErrorKind,
};
use registry_client::blocking::BlockingRepository;
use registry_client::copy::{CopyOptions, Presence, copy};
use registry_client::{PushedBlob, Selector, TransferEvent, UploadConfig, UploadMode};
use tokio::runtime::Runtime;

use crate::support::registry::answer;
use crate::support::{Fault, FaultKind, Recorder, TestRegistry, client, name, noise, repository};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn blocking(runtime: &Runtime, registry: &TestRegistry, path: &str) -> BlockingRepository {
    let repository = repository(&client().0, &registry.host, path);
    BlockingRepository::new(repository, runtime.handle().clone())
}

/// An image with three layers in the registry.
fn image(registry: &TestRegistry, path: &str) -> Descriptor {
    let put = |media_type: MediaType, bytes: &[u8]| {
        registry.put_blob(path, bytes);
        Descriptor::of(media_type, bytes)
    };
    let config = put(MediaType::OciConfig, br#"{"architecture":"amd64","os":"linux"}"#);
    let gzip = MediaType::OciLayer(Compression::Gzip);
    let layers = [100, 400_000, 2_000_000].map(|size| put(gzip.clone(), &noise(size)));
    let manifest = Raw::encode(&Manifest::new(config, layers.to_vec())).expect("encodes");
    registry.put_manifest(path, "v1", MediaType::OciManifest.as_str(), manifest.bytes());
    manifest.descriptor()
}

/// Covers: DST-54
#[test]
fn an_image_is_copied_between_registries_and_a_second_copy_asks_once() {
    let runtime = runtime();
    let from = runtime.block_on(TestRegistry::start());
    let to = runtime.block_on(TestRegistry::start());
    let root = image(&from, "a");
    let (source, sink) = (blocking(&runtime, &from, "a"), blocking(&runtime, &to, "b"));
    assert_eq!(source.resolve(&Selector::Tag("v1".into())).expect("resolves"), root);
    let report = copy(&source, &sink, &root, &CopyOptions::into_registry()).expect("copies");
    assert_eq!(report.copied.len(), 5);
    sink.tag(&root, "v1").expect("tags");
    assert_eq!(to.manifest("b", "v1"), from.manifest("a", "v1"));
    let heads = to.seen(&Method::HEAD, "").len();
    let report = copy(&source, &sink, &root, &CopyOptions::into_registry()).expect("copies");
    assert_eq!((report.copied.len(), report.present.len()), (0, 1));
    assert_eq!(to.seen(&Method::HEAD, "").len(), heads + 1);
}

#[test]
fn whatever_breaks_once_on_either_side_the_copy_arrives() {
    let runtime = runtime();
    let busy = || answer(503, &[], "");
    let faults = [
        ("from", Fault::once(Method::GET, "blobs", FaultKind::Cut(1_000)).times(4)),
        ("from", Fault::once(Method::GET, "blobs", busy()).times(3)),
        ("from", Fault::once(Method::GET, "manifests", busy())),
        ("to", Fault::once(Method::POST, "uploads", busy()).times(2)),
        ("to", Fault::once(Method::PATCH, "uploads", busy()).times(2)),
        ("to", Fault::once(Method::PUT, "", FaultKind::LoseAnswer).times(2)),
        ("to", Fault::once(Method::PUT, "manifests", busy())),
    ];
    for (side, fault) in faults {
        let from = runtime.block_on(TestRegistry::start());
        let to = runtime.block_on(TestRegistry::start());
        let root = image(&from, "a");
        match side {
            "from" => from.fault(fault.clone()),
            _ => to.fault(fault.clone()),
        }
        let (source, sink) = (blocking(&runtime, &from, "a"), blocking(&runtime, &to, "b"));
        let options = CopyOptions { presence: Presence::AskForEach, ..CopyOptions::default() };
        copy(&source, &sink, &root, &options).expect("arrives");
        assert!(to.manifest("b", &root.digest().to_string()).is_some(), "{fault:?}");
        assert_eq!(to.contents.lock().expect("lock").blobs.len(), 4, "{fault:?}");
    }
}

#[test]
fn a_reader_that_is_dropped_early_stops_the_transfer_and_an_error_comes_out_of_read() {
    let runtime = runtime();
    let registry = runtime.block_on(TestRegistry::start());
    let bytes = noise(5_000_000);
    registry.put_blob("a", &bytes);
    let source = blocking(&runtime, &registry, "a");
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    let mut reader = source.open(&descriptor).expect("opens");
    let mut start = [0; 1_000];
    reader.read_exact(&mut start).expect("reads");
    assert_eq!(start[..], bytes[..1_000]);
    drop(reader);
    registry.fault(Fault::once(Method::GET, "blobs", FaultKind::Corrupt(4_000_000)).times(9));
    let mut all = Vec::new();
    let error = source.open_verified(&descriptor).expect("opens").read_to_end(&mut all);
    let error = oci::TransferError::from_io("read", error.expect_err("corrupt"));
    assert_eq!(error.kind(), TransferErrorKind::Corrupt, "{error}");
    let missing = Descriptor::of("x/y".into(), b"missing");
    let error = source.fetch(&missing, 100).expect_err("missing");
    assert_eq!(error.kind(), TransferErrorKind::NotFound, "{error}");
}

#[test]
fn content_that_comes_once_survives_a_failed_chunk() {
    let runtime = runtime();
    let registry = runtime.block_on(TestRegistry::start());
    registry.fault(Fault::once(Method::PATCH, "uploads", answer(503, &[], "")).after(1).times(2));
    let config =
        UploadConfig { mode: UploadMode::Chunked, chunk_bytes: 1 << 20, ..UploadConfig::default() };
    let repository = repository(&client().0, &registry.host, "a").with_upload_config(config);
    let sink = BlockingRepository::new(repository, runtime.handle().clone());
    let bytes = noise(5 << 20);
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    assert!(!sink.has(&descriptor).expect("asks"));
    assert_eq!(sink.push_blob(&descriptor, &mut &bytes[..]).expect("pushes"), PushedBlob::Uploaded);
    assert_eq!(registry.blob("a", descriptor.digest()), Some(bytes));
    assert!(sink.has(&descriptor).expect("asks"));
}

/// Covers: DST-14, DST-54
#[test]
fn a_push_mounts_before_it_uploads_and_reads_nothing_of_what_it_mounts() {
    let runtime = runtime();
    let registry = runtime.block_on(TestRegistry::start());
    let bytes = noise(100_000);
    registry.put_blob("base", &bytes);
    let recorder = Arc::new(Recorder::default());
    let repository = repository(&client().0, &registry.host, "app").with_progress(recorder.clone());
    let sink = BlockingRepository::new(repository, runtime.handle().clone())
        .with_mount_sources(vec![name(&registry.host, "base")]);
    let descriptor = Descriptor::of("x/y".into(), &bytes);
    sink.accept(&descriptor, &mut &bytes[..]).expect("mounts");
    assert_eq!(registry.blob("app", &Digest::sha256(&bytes)), Some(bytes));
    assert!(registry.seen(&Method::PUT, "uploads").is_empty());
    assert_eq!(recorder.events(), [TransferEvent::Mounted { from: "base".to_owned() }]);
}
