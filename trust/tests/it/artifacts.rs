//! The metadata as an OCI artifact.

use std::sync::Arc;

use proptest::prelude::*;
use trust::artifact::{ARTIFACT_TYPE, Artifact, Located, METADATA_MEDIA_TYPE, POINTER_TAG, pack};
use trust::tuf::MetadataFiles;

use crate::publisher::*;

fn published() -> MetadataFiles {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    publisher.repository.files().clone()
}

/// Covers: TRU-12
#[test]
fn what_is_packed_is_unpacked_byte_for_byte_in_one_request() {
    let files = published();
    let packed = pack(&files).unwrap();
    assert_eq!(pack(&files).unwrap().manifest.bytes(), packed.manifest.bytes());
    assert!(packed.manifest.bytes().len() < 40_000, "a cold verification stays small");
    let artifact = Artifact::parse(packed.manifest.bytes().clone()).unwrap();
    let unpacked = artifact
        .unpack(&mut |descriptor| Err(format!("asked for {}", descriptor.digest()).into()))
        .unwrap();
    assert_eq!(unpacked, files);
}

#[test]
fn the_manifest_is_an_oci_artifact_whose_every_layer_is_also_a_blob() {
    let files = published();
    let packed = pack(&files).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(packed.manifest.bytes()).unwrap();
    assert_eq!(manifest["artifactType"], ARTIFACT_TYPE);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    for layer in manifest["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], METADATA_MEDIA_TYPE);
        assert!(
            packed.blobs.iter().any(|(d, _)| d.digest().to_string() == layer["digest"]),
            "{layer}"
        );
    }
    assert!(packed.blobs.iter().any(|(_, bytes)| bytes[..] == *b"{}"));
    let role = &manifest["layers"][0]["annotations"];
    assert_eq!(role["vnd.wherry.tuf.role"], "timestamp");
    assert!("localhost:5000/a".parse::<oci::Repository>().unwrap().tagged(POINTER_TAG).is_ok());
}

#[test]
fn files_that_are_too_large_to_embed_travel_as_blobs() {
    let mut files = published();
    let large: Arc<[u8]> = vec![b' '; 100_000].into();
    files.insert("7.big.json".to_owned(), large.clone());
    let packed = pack(&files).unwrap();
    let artifact = Artifact::parse(packed.manifest.bytes().clone()).unwrap();
    let Located::Blob(descriptor) = artifact.locate("7.big.json") else { panic!() };
    assert!(matches!(artifact.locate("timestamp.json"), Located::Embedded(_)));
    assert_eq!(artifact.locate("9.root.json"), Located::Absent);
    let mut asked = 0;
    let unpacked = artifact.unpack(&mut |wanted| {
        asked += 1;
        assert_eq!(*wanted, *descriptor);
        Ok(packed.blobs.iter().find(|(d, _)| d == wanted).unwrap().1.to_vec())
    });
    assert_eq!((unpacked.unwrap(), asked), (files, 1));
}

#[test]
fn a_foreign_or_broken_artifact_is_refused() {
    let packed = pack(&published()).unwrap();
    let text = String::from_utf8(packed.manifest.bytes().to_vec()).unwrap();
    for (from, to) in [
        (ARTIFACT_TYPE, "application/vnd.other"),
        (METADATA_MEDIA_TYPE, "application/octet-stream"),
        ("\"timestamp.json\"", "\"../timestamp.json\""),
        ("\"timestamp.json\"", "\"1.root.json\""),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        assert!(Artifact::parse(changed.into_bytes()).is_err(), "{from} -> {to}");
    }
    // Embedded bytes that are not those of the digest are not used.
    let at = text.find("\"data\":\"").unwrap() + 8;
    let mut changed = text.into_bytes();
    changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
    let artifact = Artifact::parse(changed).unwrap();
    assert!(matches!(artifact.locate("timestamp.json"), Located::Blob(_)));
    let mut odd = MetadataFiles::new();
    odd.insert("../x".to_owned(), Arc::from(&b""[..]));
    assert!(pack(&odd).is_err());
}

proptest! {
    #[test]
    fn reading_any_bytes_as_an_artifact_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Artifact::parse(bytes);
    }
}

/// A registry that counts what it is asked for.
fn judged_from_artifact(publisher: &Publisher, requirement: &str) -> (usize, usize, bool) {
    use trust::artifact::ArtifactSource;
    use trust::{Evidence, Origin, Subject, judge};
    let packed = pack(publisher.repository.files()).unwrap();
    let artifact = Artifact::parse(packed.manifest.bytes().clone()).unwrap();
    let (mut requests, mut bytes) = (1, packed.manifest.bytes().len());
    let mut blob = |wanted: &oci::Descriptor| {
        requests += 1;
        let found = packed.blobs.iter().find(|(descriptor, _)| descriptor == wanted).unwrap();
        bytes += found.1.len();
        Ok(found.1.to_vec())
    };
    let policy = crate::policies::parse(&format!(
        "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"localhost:5000/shop\"\n\
         [[scope.tuf]]\nroot-file = \"root.json\"\n{requirement}"
    ))
    .unwrap();
    let reference = "localhost:5000/shop/web:1.0".parse().unwrap();
    let descriptor = manifest("one");
    let mut source = ArtifactSource { artifact: &artifact, blob: &mut blob };
    let mut evidence = Evidence::none().with_tuf(&mut source);
    let subject =
        Subject { reference: &reference, descriptor: &descriptor, origin: Origin::Elsewhere };
    let judgement = judge(&policy, subject, &mut evidence, crate::world::now());
    let verified = judgement.verified().is_ok();
    drop(evidence);
    (requests, bytes, verified)
}

#[test]
fn a_cold_verification_is_one_request_and_two_where_there_are_many_tags() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.add_signer("maria", 12);
    let signers = [crate::world::key(11), crate::world::key(12)];
    let signers: Vec<&dyn trust::key::Signer> =
        signers.iter().map(|s| s as &dyn trust::key::Signer).collect();
    publisher.sign("1.0", "one", &[11]);
    let (requests, bytes, verified) = judged_from_artifact(&publisher, "signers = [\"nigel\"]");
    assert!(verified);
    assert_eq!(requests, 1);
    assert!(bytes < 40_000, "{bytes}");
    for tag in 0..500 {
        let tag = format!("release-{tag}");
        publisher.repository.sign(&tag, &manifest(&tag), &signers).unwrap();
    }
    publisher.commit(&[11, 12, 3, 4]);
    let (requests, _, verified) = judged_from_artifact(&publisher, "");
    assert!(verified);
    assert_eq!(requests, 2, "the pointer and the list of tags; nobody asked who signed");
    let (requests, _, verified) = judged_from_artifact(&publisher, "signers = [\"nigel\"]");
    assert!(verified);
    assert_eq!(requests, 4);
}
