//! cosign signatures and attestations.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Digest, Reference};
use proptest::prelude::*;
use serde_json::{Value, json};
use trust::dialect::{cosign, dsse, vsa};
use trust::{Attached, Evidence, Origin, Proof, Reason, Subject, Verdict, judge};

use crate::policies::parse;
use crate::publisher::manifest;
use crate::world::{key, now};

const NAME: &str = "localhost:5000/shop/web:1.0";

fn judged(requirement: &str, attached: &[Attached]) -> Result<Proof, Reason> {
    let policy = parse(&format!(
        "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"localhost:5000/shop\"\n{requirement}"
    ))
    .unwrap();
    let reference: Reference = NAME.parse().unwrap();
    let descriptor = manifest("one");
    let mut evidence = Evidence::none();
    for found in attached {
        evidence = evidence.with_attached(found.clone());
    }
    let subject =
        Subject { reference: &reference, descriptor: &descriptor, origin: Origin::Elsewhere };
    match judge(&policy, subject, &mut evidence, now()).verdict() {
        Verdict::Proven { proofs } => Ok(proofs[0].clone()),
        other => Err(other.reasons()[0].clone()),
    }
}

const COSIGN: &str = "[[scope.cosign]]\nkey-files = [\"key.pub\"]\n";
const COSIGN_TWO: &str =
    "[[scope.cosign]]\nkey-files = [\"key.pub\", \"other.pub\"]\nthreshold = 2\n";

fn simple(repository: &str, digest: &Digest, seed: u8) -> Attached {
    let (payload, signature) =
        cosign::sign(&repository.parse().unwrap(), digest, &key(seed)).unwrap();
    Attached {
        media_type: cosign::PAYLOAD_MEDIA_TYPE.to_owned(),
        bytes: payload.into(),
        annotations: BTreeMap::from([(cosign::SIGNATURE_ANNOTATION.to_owned(), signature)]),
    }
}

fn enveloped(digest: &Digest, predicate_type: &str, predicate: Value, seed: u8) -> Attached {
    Attached {
        media_type: dsse::ENVELOPE_MEDIA_TYPE.to_owned(),
        bytes: dsse::sign("web", digest, predicate_type, predicate, &key(seed)).unwrap().into(),
        annotations: BTreeMap::new(),
    }
}

fn bundle(digest: &Digest, predicate_type: &str, seed: u8) -> Attached {
    let envelope = enveloped(digest, predicate_type, json!({}), seed);
    let envelope: Value = serde_json::from_slice(&envelope.bytes).unwrap();
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": envelope,
    });
    Attached {
        media_type: "application/vnd.dev.sigstore.bundle.v0.3+json".to_owned(),
        bytes: bundle.to_string().into_bytes().into(),
        annotations: BTreeMap::new(),
    }
}

const SHOP: &str = "localhost:5000/shop/web";

/// Covers: TRU-51, TRU-56
#[test]
fn both_forms_of_cosign_verify_by_key_without_a_log_and_say_which_one_it_was() {
    let one = manifest("one");
    let found = judged(COSIGN, &[simple(SHOP, one.digest(), 30)]).unwrap();
    assert!(matches!(found, Proof::Cosign { form, .. } if form == "simple-signing"));
    let found = judged(COSIGN, &[bundle(one.digest(), cosign::SIGN_PREDICATE_TYPE, 30)]).unwrap();
    assert!(matches!(found, Proof::Cosign { form, .. } if form == "bundle"));
}

/// Covers: TRU-51, TRU-63
#[test]
fn cosign_signatures_of_other_keys_images_and_repositories_prove_nothing() {
    let one = manifest("one");
    let two = manifest("two");
    let mut stripped = simple(SHOP, one.digest(), 30);
    stripped.annotations.clear();
    let mut changed = simple(SHOP, one.digest(), 30);
    let text = String::from_utf8(changed.bytes.to_vec()).unwrap();
    changed.bytes = text.replace("null", "{}").into_bytes().into();
    for (case, attached, reason) in [
        ("nothing", vec![], "unsigned"),
        ("other key", vec![simple(SHOP, one.digest(), 66)], "wrong-signer"),
        ("other image", vec![simple(SHOP, two.digest(), 30)], "statement-rejected"),
        (
            "other repository",
            vec![simple("localhost:5000/shop/api", one.digest(), 30)],
            "other-repository",
        ),
        ("no signature", vec![stripped], "malformed"),
        ("changed payload", vec![changed], "wrong-signer"),
        (
            "bundle of another image",
            vec![bundle(two.digest(), cosign::SIGN_PREDICATE_TYPE, 30)],
            "statement-rejected",
        ),
        (
            "bundle of another kind",
            vec![bundle(one.digest(), "https://example.com/other", 30)],
            "unsigned",
        ),
        (
            "bundle by another key",
            vec![bundle(one.digest(), cosign::SIGN_PREDICATE_TYPE, 66)],
            "wrong-signer",
        ),
    ] {
        let found = judged(COSIGN, &attached).unwrap_err();
        assert_eq!(found.code(), reason, "{case}: {found}");
    }
}

#[test]
fn a_cosign_threshold_counts_distinct_keys_over_both_forms() {
    let one = manifest("one");
    let a = simple(SHOP, one.digest(), 30);
    let a_again = bundle(one.digest(), cosign::SIGN_PREDICATE_TYPE, 30);
    let b = bundle(one.digest(), cosign::SIGN_PREDICATE_TYPE, 31);
    assert_eq!(judged(COSIGN_TWO, &[a.clone(), a_again]).unwrap_err().code(), "wrong-signer");
    assert!(judged(COSIGN_TWO, &[a, b]).is_ok());
}

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const ATTESTATION: &str = "[[scope.attestation]]\nkey-files = [\"key.pub\"]\n\
     predicate-type = \"https://slsa.dev/provenance/v1\"\n\
     builder-id = \"https://ci/builder\"\nbuild-type = \"https://ci/type\"\n\
     external-parameters = [\"ref\", \"path\"]\n";

fn provenance() -> Value {
    json!({
        "buildDefinition": {
            "buildType": "https://ci/type", "externalParameters": { "ref": "main" },
        },
        "runDetails": { "builder": { "id": "https://ci/builder" } },
    })
}

/// Covers: TRU-64, TRU-65
#[test]
fn provenance_is_held_to_key_subject_builder_type_and_parameters() {
    let one = manifest("one");
    let good = enveloped(one.digest(), PROVENANCE, provenance(), 30);
    assert!(judged(ATTESTATION, std::slice::from_ref(&good)).is_ok());
    for (path, value) in [
        ("/runDetails/builder/id", json!("https://ci/builder2")),
        ("/runDetails/builder/id", json!(null)),
        ("/buildDefinition/buildType", json!("https://ci/other")),
        ("/buildDefinition/externalParameters", json!({ "ref": "main", "surprise": 1 })),
        ("/buildDefinition/externalParameters", json!(null)),
    ] {
        let mut changed = provenance();
        *changed.pointer_mut(path).unwrap() = value;
        let attached = enveloped(one.digest(), PROVENANCE, changed, 30);
        assert_eq!(
            judged(ATTESTATION, &[attached]).unwrap_err().code(),
            "statement-rejected",
            "{path}"
        );
    }
    let other_image = enveloped(manifest("two").digest(), PROVENANCE, provenance(), 30);
    assert_eq!(judged(ATTESTATION, &[other_image]).unwrap_err().code(), "statement-rejected");
    let other_key = enveloped(one.digest(), PROVENANCE, provenance(), 66);
    assert_eq!(judged(ATTESTATION, &[other_key]).unwrap_err().code(), "wrong-signer");
    let other_type = enveloped(one.digest(), "https://spdx.dev/Document", provenance(), 30);
    assert_eq!(judged(ATTESTATION, &[other_type]).unwrap_err().code(), "unsigned");
    // A bad one beside a good one does no harm.
    let bad = enveloped(one.digest(), PROVENANCE, json!({}), 30);
    assert!(judged(ATTESTATION, &[bad, good]).is_ok());
}

/// Covers: TRU-64
#[test]
fn a_dsse_signature_covers_the_payload_type_too() {
    assert_eq!(dsse::pae("a/b", b"hello"), b"DSSEv1 3 a/b 5 hello");
    let one = manifest("one");
    let attached = enveloped(one.digest(), PROVENANCE, provenance(), 30);
    let mut envelope: Value = serde_json::from_slice(&attached.bytes).unwrap();
    envelope["payloadType"] = json!("text/plain");
    let changed = Attached { bytes: envelope.to_string().into_bytes().into(), ..attached.clone() };
    assert_eq!(judged(ATTESTATION, &[changed]).unwrap_err().code(), "malformed");
    // A payload that was signed as a bare message is not an envelope's.
    let mut envelope: Value = serde_json::from_slice(&attached.bytes).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let signature = trust::key::Signer::sign(&key(30), &payload).unwrap();
    envelope["signatures"][0]["sig"] = json!(STANDARD.encode(signature));
    let changed = Attached { bytes: envelope.to_string().into_bytes().into(), ..attached };
    assert_eq!(judged(ATTESTATION, &[changed]).unwrap_err().code(), "wrong-signer");
}

#[test]
fn cosign_tags_follow_its_naming() {
    let digest = manifest("one").digest().clone();
    assert_eq!(cosign::signature_tag(&digest), format!("sha256-{}.sig", digest.hex()));
    assert_eq!(cosign::attestation_tag(&digest), format!("sha256-{}.att", digest.hex()));
}

proptest! {
    /// Covers: TRU-52
    #[test]
    fn malformed_bundles_and_envelopes_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..400
    ) {
        prop_assert!(dsse::Envelope::parse(&bytes).is_err());
        let whole = bundle(manifest("one").digest(), cosign::SIGN_PREDICATE_TYPE, 30);
        let end = cut.min(whole.bytes.len() - 1);
        let part = Attached { bytes: whole.bytes[..end].into(), ..whole };
        prop_assert!(judged(COSIGN, &[part]).is_err());
    }
}

const SUMMARY: &str = "[[scope.attestation]]\nkey-files = [\"key.pub\"]\n\
     predicate-type = \"https://slsa.dev/verification_summary/v1\"\n\
     verifier-id = \"https://ci/verifier\"\n";

/// Covers: TRU-66
#[test]
fn a_signed_verdict_is_enough_where_a_policy_asks_for_one() {
    let judged_for = |policy: &str, attached: &[Attached]| {
        let policy = parse(policy).unwrap();
        let reference: Reference = NAME.parse().unwrap();
        let descriptor = manifest("one");
        let mut evidence = Evidence::none();
        for found in attached {
            evidence = evidence.with_attached(found.clone());
        }
        let subject =
            Subject { reference: &reference, descriptor: &descriptor, origin: Origin::Elsewhere };
        judge(&policy, subject, &mut evidence, now())
    };
    let slow = format!(
        "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"localhost:5000/shop\"\n{COSIGN}"
    );
    let summary = |attached: &[Attached], verifier: &str, seed: u8| {
        let judgement = judged_for(&slow, attached);
        let bytes = vsa::summarise(&judgement, verifier, &key(seed)).unwrap();
        Attached {
            media_type: dsse::ENVELOPE_MEDIA_TYPE.to_owned(),
            bytes: bytes.into(),
            annotations: BTreeMap::new(),
        }
    };
    let signed = [simple(SHOP, manifest("one").digest(), 30)];
    let passed = summary(&signed, "https://ci/verifier", 30);
    assert!(judged(SUMMARY, std::slice::from_ref(&passed)).is_ok());
    for (case, summary, reason) in [
        ("failed", summary(&[], "https://ci/verifier", 30), "statement-rejected"),
        ("other verifier", summary(&signed, "https://ci/other", 30), "statement-rejected"),
        ("other key", summary(&signed, "https://ci/verifier", 66), "wrong-signer"),
    ] {
        assert_eq!(judged(SUMMARY, &[summary]).unwrap_err().code(), reason, "{case}");
    }
    // What the policy waives is nothing to sum up.
    let waived = judged_for("version = 1\ndefault = \"allow\"", &signed);
    assert!(vsa::summarise(&waived, "v", &key(30)).is_err());
}

/// Covers: TRU-63
#[test]
fn a_containers_policy_holds_the_tag_that_the_payload_names() {
    let policy = |identity: &str| {
        let entry =
            format!("{{ \"type\": \"sigstoreSigned\", \"keyPath\": \"key.pub\" {identity} }}");
        parse(&format!("{{ \"default\": [{entry}] }}")).unwrap()
    };
    let named = |docker_reference: &str| {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": docker_reference },
                "image": { "docker-manifest-digest": manifest("one").digest() },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let bytes = payload.to_string().into_bytes();
        let signature = STANDARD.encode(trust::key::Signer::sign(&key(30), &bytes).unwrap());
        Attached {
            media_type: cosign::PAYLOAD_MEDIA_TYPE.to_owned(),
            bytes: bytes.into(),
            annotations: BTreeMap::from([(cosign::SIGNATURE_ANNOTATION.to_owned(), signature)]),
        }
    };
    let exact = "";
    let repository = ", \"signedIdentity\": { \"type\": \"matchRepository\" }";
    let other = ", \"signedIdentity\": { \"type\": \"exactRepository\", \"dockerRepository\": \"quay.io/a/b\" }";
    for (identity, name, payload, accepted) in [
        (exact, NAME, "localhost:5000/shop/web:1.0", true),
        (exact, NAME, "localhost:5000/shop/web:2.0", false),
        (exact, NAME, "localhost:5000/shop/web", false),
        (repository, NAME, "localhost:5000/shop/web", true),
        (repository, NAME, "localhost:5000/shop/web:2.0", true),
        (repository, NAME, "localhost:5000/shop/api", false),
        (other, NAME, "quay.io/a/b", true),
        (other, NAME, "localhost:5000/shop/web", false),
        (repository, "ubuntu:1.0", "index.docker.io/library/ubuntu", true),
    ] {
        let reference: Reference = name.parse().unwrap();
        let descriptor = manifest("one");
        let mut evidence = Evidence::none().with_attached(named(payload));
        let subject =
            Subject { reference: &reference, descriptor: &descriptor, origin: Origin::Elsewhere };
        let judgement = judge(&policy(identity), subject, &mut evidence, now());
        assert_eq!(judgement.verified().is_ok(), accepted, "{identity} {name} {payload}");
    }
}
