use proptest::prelude::*;
use serde_json::json;

use super::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn submit(text: &str, declared: Option<&str>) -> Result<Submission, Fault> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Submission::parse(bytes, Digest::sha256(text.as_bytes()), declared)
}

fn descriptor(content: &str, media_type: &str) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(content.as_bytes()), "size": content.len() })
}

fn image() -> serde_json::Value {
    json!({
        "schemaVersion": 2, "mediaType": OCI,
        "config": descriptor("c", "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor("l", "application/vnd.oci.image.layer.v1.tar+gzip")],
    })
}

/// Covers: DST-16
#[test]
fn header_and_body_must_agree_on_the_type_and_parameters_are_ignored() {
    let text = image().to_string();
    let good =
        submit(&text, Some(&format!("{OCI}; charset=utf-8"))).expect("parameters are ignored");
    assert_eq!(good.media_type(), OCI);
    assert_eq!(submit(&text, None).expect("the body says it").media_type(), OCI);
    let wrong = submit(&text, Some(INDEX)).expect_err("they differ").summary();
    assert!(
        wrong.contains("MANIFEST_INVALID") && wrong.contains(INDEX) && wrong.contains(OCI),
        "{wrong}"
    );
    let mut silent = image();
    silent["mediaType"] = json!(null);
    assert_eq!(
        submit(&silent.to_string(), Some(OCI)).expect("the header says it").media_type(),
        OCI
    );
    assert!(submit(&silent.to_string(), None).is_err());
}

/// Covers: DST-42
#[test]
fn what_is_no_manifest_is_refused_with_a_reason() {
    let with = |field: &str, value: serde_json::Value| {
        let mut changed = image();
        changed[field] = value;
        changed.to_string()
    };
    let table = [
        ("".to_owned(), "does not parse"),
        ("[]".to_owned(), "does not parse"),
        ("{}{}".to_owned(), "does not parse"),
        (with("schemaVersion", json!(1)), "schema 1"),
        (with("fsLayers", json!([])), "schema 1"),
        (with("schemaVersion", json!(3)), "schemaVersion"),
        (with("config", json!(null)), "config"),
        (with("manifests", json!([])), "manifests"),
        (
            with("layers", json!([{ "mediaType": "a/b", "digest": "sha256:12", "size": 1 }])),
            "does not parse",
        ),
        (with("layers", json!([{ "mediaType": "a/b", "size": 1 }])), "digest"),
    ];
    for (text, reason) in table {
        let fault = submit(&text, Some(OCI)).expect_err(&text).summary();
        assert!(fault.contains("MANIFEST_INVALID") && fault.contains(reason), "{text}: {fault}");
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "layers": [] }).to_string();
    assert!(submit(&index, Some(INDEX)).is_err());
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let fault = submit("{\"schemaVersion\":1}", Some(schema1)).expect_err("schema 1").summary();
    assert!(fault.contains("schema 1"), "{fault}");
}

/// Covers: DST-47
#[test]
fn embedded_data_must_be_the_content_it_stands_for() {
    let mut good = image();
    good["config"]["data"] = json!("Yw==");
    assert!(submit(&good.to_string(), None).is_ok());
    let mut bad = image();
    bad["config"]["data"] = json!("ZA==");
    assert!(submit(&bad.to_string(), None).expect_err("d is not c").summary().contains("embedded"));
}

/// Covers: DST-45
#[test]
fn the_subject_and_layers_that_must_not_be_distributed_need_not_exist() {
    let mut manifest = image();
    manifest["subject"] = descriptor("s", OCI);
    manifest["layers"] = json!([
        descriptor("n", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        descriptor("f", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        descriptor("l", "application/vnd.oci.image.layer.v1.tar"),
    ]);
    let read = submit(&manifest.to_string(), None).expect("a manifest");
    let needed: Vec<_> = read.references().map(|(kind, d)| (kind, d.digest().clone())).collect();
    assert_eq!(needed, [(Kind::Blob, Digest::sha256(b"c")), (Kind::Blob, Digest::sha256(b"l"))]);
    assert_eq!(read.subject(), Some(&Digest::sha256(b"s")));
}

/// Covers: DST-19
#[test]
fn a_referrer_shows_its_artifact_type_or_its_configs_and_all_annotations() {
    let mut manifest = image();
    manifest["annotations"] = json!({ "a": "ü", "b": "" });
    let by_config = submit(&manifest.to_string(), None).expect("a manifest").as_referrer();
    assert_eq!(by_config.artifact_type(), Some("application/vnd.oci.image.config.v1+json"));
    assert_eq!(by_config.annotation("a"), Some("ü"));
    assert_eq!(by_config.annotation("b"), Some(""));
    manifest["artifactType"] = json!("application/vnd.example");
    let own = submit(&manifest.to_string(), None).expect("a manifest").as_referrer();
    assert_eq!(own.artifact_type(), Some("application/vnd.example"));
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string();
    assert_eq!(submit(&index, None).expect("an index").as_referrer().artifact_type(), None);
}

/// Covers: DST-41
#[test]
fn unknown_fields_and_types_of_blobs_are_kept_and_the_blobs_needed() {
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    let text = json!({ "mediaType": artifact, "blobs": [descriptor("b", "x/y")], "extra": 1 });
    let read = submit(&text.to_string(), Some(artifact)).expect("kept");
    read.require_known_type().expect("it is one of OCI's");
    assert_eq!(read.references().count(), 1);
    assert_eq!(read.bytes().as_ref(), text.to_string().as_bytes());
}

#[test]
fn a_type_that_is_none_of_manifests_is_refused_and_what_may_be_pushed_is_named() {
    for media_type in ["text/html", "application/json", "application/vnd.new+json"] {
        let mut manifest = image();
        manifest["mediaType"] = json!(null);
        let silent = submit(&manifest.to_string(), Some(media_type)).expect("readable");
        manifest["mediaType"] = json!(media_type);
        let agreed = submit(&manifest.to_string(), Some(media_type)).expect("readable");
        for read in [silent, agreed] {
            let fault = read.require_known_type().expect_err(media_type).summary();
            assert!(fault.contains("MANIFEST_INVALID") && fault.contains(OCI), "{fault}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parser(bytes: Vec<u8>, declared in proptest::option::of("[ -~]{0,40}")) {
        let digest = Digest::sha256(&bytes);
        let _ = Submission::parse(bytes.into(), digest, declared.as_deref());
    }
}
