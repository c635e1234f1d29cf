//! What the fuzz targets do with bytes, one function a parser of foreign input. `fuzz/fuzz_targets` includes this file; the
//! tests beside it drive the same functions without a fuzzer.

use std::collections::BTreeMap;

use oci::{Descriptor, Digest, MediaType, Reference};
use trust::artifact::Artifact;
use trust::dialect::dsse::Envelope;
use trust::dialect::{cosign, dsse, notary};
use trust::key::{
    PrivateKeyFile, foreign_facts, public_key_from_pem, public_key_to_pem, signer_from_pem,
    signer_from_phrase,
};
use trust::policy::parse_cases;
use trust::tuf::{Draft, Freshness, Response, TrustedState, Updater};
use trust::{Attached, Evidence, Origin, Policy, Secret, Subject, judge};

const ROOT: &[u8] = include_bytes!("../../../testdata/trust/published/1.root.json");
const TIMESTAMP: &[u8] = include_bytes!("../../../testdata/trust/published/timestamp.json");
const SNAPSHOT: &[u8] = include_bytes!("../../../testdata/trust/published/3.snapshot.json");
const KEY: &[u8] = include_bytes!("../../../testdata/trust/keys/openssl-p256.pub");

/// TUF metadata come from a registry that nobody need trust: no bytes may panic the client.
pub(crate) fn metadata(bytes: &[u8]) {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let _ = Updater::start(bytes, TrustedState::new(), Freshness::Fetch, now);
    if let Ok(draft) = Draft::parse(bytes) {
        let _ = (draft.content(), draft.progress(), draft.to_bytes());
    }
    // As each of the files that an update asks for.
    for position in 0..4 {
        let start = Updater::start(ROOT, TrustedState::new(), Freshness::Fetch, now);
        let Ok(mut updater) = start else { return };
        let mut asked = 0;
        while let Ok(Some(request)) = updater.advance() {
            let genuine = match request.file.as_str() {
                "timestamp.json" => Some(TIMESTAMP),
                "3.snapshot.json" => Some(SNAPSHOT),
                _ => None,
            };
            let answer = if asked == position { Some(bytes) } else { genuine };
            asked += 1;
            let response =
                answer.map_or(Response::NotFound, |bytes| Response::Found(bytes.to_vec()));
            if updater.supply(response).is_err() {
                break;
            }
        }
    }
}

/// A policy file that is broken in any way is refused, never misread and never a panic.
pub(crate) fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = parse_cases(text);
    if let Ok(policy) = Policy::parse(text, &mut |_| Ok(KEY.to_vec()))
        && let Ok(repository) = "docker.io/library/ubuntu".parse()
    {
        let _ = policy.explain(&repository);
    }
}

/// Envelopes, bundles and payloads are attached to images by anybody.
pub(crate) fn statement(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::parse(bytes) {
        let _ = envelope.statement();
        assert!(!envelope.tally(&[], 1).is_met());
    }
    for kind in [
        cosign::PAYLOAD_MEDIA_TYPE,
        dsse::ENVELOPE_MEDIA_TYPE,
        "application/vnd.dev.sigstore.bundle.v0.3+json",
    ] {
        let verdict = judged(kind, bytes);
        assert!(verdict.is_none_or(|accepted| !accepted), "nobody signed this");
    }
}

/// Whether an image is accepted on the strength of these attached bytes, which no known key signed.
fn judged(kind: &str, bytes: &[u8]) -> Option<bool> {
    let text = "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"docker.io/library\"\n\
                [[scope.cosign]]\nkey-files = [\"k\"]\n[[scope.attestation]]\nkey-files = [\"k\"]\n\
                predicate-type = \"https://slsa.dev/provenance/v1\"\nbuilder-id = \"https://ci.example\"\n";
    let policy = Policy::parse(text, &mut |_| Ok(KEY.to_vec())).ok()?;
    let reference: Reference = "docker.io/library/ubuntu:1".parse().ok()?;
    let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().ok()?;
    let descriptor = Descriptor::new(MediaType::OciManifest, digest, 2);
    let signature = (cosign::SIGNATURE_ANNOTATION.to_owned(), "AAAA".to_owned());
    let attached = Attached {
        media_type: kind.to_owned(),
        bytes: bytes.into(),
        annotations: BTreeMap::from([signature]),
    };
    let subject =
        Subject { reference: &reference, descriptor: &descriptor, origin: Origin::Elsewhere };
    let mut evidence = Evidence::none().with_attached(attached);
    let now = jiff::Timestamp::UNIX_EPOCH;
    Some(judge(&policy, subject, &mut evidence, now).verdict().is_accepted())
}

/// Key files come by mail: reading one must not panic or believe it.
pub(crate) fn key(bytes: &[u8]) {
    let _ = PrivateKeyFile::parse("fuzz", bytes);
    let _ = signer_from_phrase(&Secret::new(bytes));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (foreign_facts(text), signer_from_pem("fuzz", text));
    if let Ok(key) = public_key_from_pem("fuzz", text) {
        let written = public_key_to_pem(&key).expect("what was read can be written");
        assert_eq!(public_key_from_pem("fuzz", &written).expect("and read again"), key);
    }
}

/// The pointer manifest is whatever stands under a tag that anybody with push rights can move.
pub(crate) fn artifact(bytes: &[u8]) {
    if let Ok(artifact) = Artifact::parse(bytes.to_vec()) {
        let _ = artifact.unpack(&mut |_| Err("no blobs here".into()));
    }
}

/// A folder of Notary's that is migrated may have been anywhere.
pub(crate) fn notary(bytes: &[u8]) {
    let _ = (notary::targets(bytes), notary::signers(bytes));
    let text = String::from_utf8_lossy(KEY);
    if let Ok(key) = public_key_from_pem("k", &text) {
        let _ = notary::root_names(bytes, &key);
    }
}
