//! DSSE envelopes around in-toto statements.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use oci::Digest;
use serde_json::{Value, json};

use super::vsa;
use crate::evidence::Attached;
use crate::json as strict;
use crate::key::{PublicKey, Signer};
use crate::limits::ENVELOPE_BYTES_MAX;
use crate::policy::AttestationRequirement;
use crate::threshold::{Candidate, Tally, threshold};
use crate::verdict::{Proof, Reason};
use crate::{Error, Result};

/// The media type of a bare envelope.
pub const ENVELOPE_MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";
/// What the start of every Sigstore bundle's media type is.
pub const BUNDLE_MEDIA_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// The payload type of in-toto statements.
pub const STATEMENT_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The type of the statements we write.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A parsed envelope: what was signed, and the signatures.
#[derive(Clone, Debug)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Vec<u8>>,
}

impl Envelope {
    /// Parses an envelope, bare or inside a Sigstore bundle.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let what = "the envelope";
        if bytes.len() > ENVELOPE_BYTES_MAX {
            let limit = ENVELOPE_BYTES_MAX as u64;
            return Err(Error::TooLarge { what: what.to_owned(), limit });
        }
        let document =
            strict::parse(bytes).map_err(|source| Error::Json { what: what.to_owned(), source })?;
        Self::from_value(document.get("dsseEnvelope").unwrap_or(&document))
    }

    fn from_value(value: &Value) -> Result<Self> {
        let malformed = |detail: &str| Error::malformed("the envelope", detail);
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let payload_type = text("payloadType").ok_or_else(|| malformed("no payloadType"))?;
        let payload = text("payload").and_then(base64_any);
        let payload = payload.ok_or_else(|| malformed("its payload is not base64"))?;
        let listed = value.get("signatures").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| malformed("no signatures"))?;
        let signatures = listed.iter().filter_map(|sig| base64_any(sig.get("sig")?.as_str()?));
        Ok(Self {
            payload_type: payload_type.to_owned(),
            payload,
            signatures: signatures.collect(),
        })
    }

    /// The distinct keys of `keys` that signed.
    pub fn tally(&self, keys: &[PublicKey], needed: u64) -> Tally {
        let message = pae(&self.payload_type, &self.payload);
        let pairs = self.signatures.iter().flat_map(|signature| {
            let message = message.as_slice();
            keys.iter().map(move |key| Candidate { key, message, signature })
        });
        threshold(needed, pairs)
    }

    /// The bytes that were signed, and the signatures.
    pub(crate) fn into_signed(self) -> (Vec<u8>, Vec<Vec<u8>>) {
        (pae(&self.payload_type, &self.payload), self.signatures)
    }

    /// The statement inside; only to be believed after [`Envelope::tally`] is met.
    pub fn statement(&self) -> Result<Value> {
        let what = "the statement";
        if self.payload_type != STATEMENT_PAYLOAD_TYPE {
            return Err(Error::malformed(
                what,
                format!("the payload type is {:?}", self.payload_type),
            ));
        }
        let statement = strict::parse(&self.payload)
            .map_err(|source| Error::Json { what: what.to_owned(), source })?;
        let kind = statement.get("_type").and_then(Value::as_str).unwrap_or_default();
        if kind != STATEMENT_TYPE && kind != "https://in-toto.io/Statement/v0.1" {
            return Err(Error::malformed(what, format!("its _type is {kind:?}")));
        }
        Ok(statement)
    }
}

/// The bytes that a DSSE signature covers (DSSE protocol, "PAE").
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Signs a statement that `predicate` of `predicate_type` holds for the image `subject`.
pub fn sign(
    subject_name: &str,
    subject: &Digest,
    predicate_type: &str,
    predicate: Value,
    signer: &dyn Signer,
) -> Result<Vec<u8>> {
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{
            "name": subject_name,
            "digest": { subject.algorithm().as_str(): subject.hex() },
        }],
        "predicateType": predicate_type,
        "predicate": predicate,
    });
    let payload = statement.to_string().into_bytes();
    let signature = signer.sign(&pae(STATEMENT_PAYLOAD_TYPE, &payload))?;
    let envelope = json!({
        "payloadType": STATEMENT_PAYLOAD_TYPE,
        "payload": STANDARD.encode(payload),
        "signatures": [{ "keyid": signer.public().id(), "sig": STANDARD.encode(signature) }],
    });
    Ok(envelope.to_string().into_bytes())
}

/// True if a statement names one of the digests as its subject.
pub(crate) fn speaks_of(statement: &Value, digests: &[Digest]) -> bool {
    let subjects = statement.get("subject").and_then(Value::as_array);
    subjects.into_iter().flatten().any(|subject| {
        digests.iter().any(|digest| {
            let listed = subject.get("digest").and_then(|d| d.get(digest.algorithm().as_str()));
            listed.and_then(Value::as_str) == Some(digest.hex())
        })
    })
}

pub(crate) fn is_envelope(media_type: &str) -> bool {
    media_type == ENVELOPE_MEDIA_TYPE || media_type.starts_with(BUNDLE_MEDIA_TYPE_PREFIX)
}

/// Looks for a statement that satisfies the requirement; the last reason for refusing one is told.
pub(crate) fn check(
    wanted: &AttestationRequirement,
    digests: &[Digest],
    attached: &[Attached],
) -> Result<Proof, Reason> {
    let mut refused =
        Reason::Unsigned { wanted: format!("attestation of type {}", wanted.predicate_type) };
    for found in attached.iter().filter(|found| is_envelope(&found.media_type)) {
        match check_one(wanted, digests, &found.bytes) {
            Ok(Some(proof)) => return Ok(proof),
            Ok(None) => {}
            Err(reason) => refused = reason,
        }
    }
    Err(refused)
}

/// `None` for a statement of another type, which another requirement may ask for.
fn check_one(
    wanted: &AttestationRequirement,
    digests: &[Digest],
    bytes: &[u8],
) -> Result<Option<Proof>, Reason> {
    let envelope = Envelope::parse(bytes).map_err(|error| Reason::from(&error))?;
    let statement = envelope.statement().map_err(|error| Reason::from(&error))?;
    let predicate_type = statement.get("predicateType").and_then(Value::as_str);
    if predicate_type != Some(wanted.predicate_type.as_str()) {
        return Ok(None);
    }
    let tally = envelope.tally(&wanted.keys, wanted.threshold);
    if !tally.is_met() {
        let (valid, needed) = (tally.valid(), tally.needed);
        return Err(Reason::WrongSigner {
            detail: format!("its attestation is signed by {valid} of the {needed} keys it needs"),
        });
    }
    let rejected = |detail: String| Reason::StatementRejected { detail };
    if !speaks_of(&statement, digests) {
        return Err(rejected("its subject is another image".to_owned()));
    }
    let predicate = statement.get("predicate").unwrap_or(&Value::Null);
    if wanted.predicate_type == vsa::PREDICATE_TYPE {
        vsa::check(predicate, wanted.verifier_id.as_deref()).map_err(rejected)?;
    }
    check_provenance(wanted, predicate).map_err(rejected)?;
    Ok(Some(Proof::Attestation {
        predicate_type: wanted.predicate_type.clone(),
        keys: tally.keys.iter().map(ToString::to_string).collect(),
    }))
}

/// The rules about SLSA provenance, versions 1 and 0.2. What is not as expected fails closed.
fn check_provenance(wanted: &AttestationRequirement, predicate: &Value) -> Result<(), String> {
    let field = |paths: [&str; 2]| paths.iter().find_map(|path| predicate.pointer(path));
    let builder = field(["/runDetails/builder/id", "/builder/id"]).and_then(Value::as_str);
    if let Some(expected) = wanted.builder_id.as_deref().filter(|id| Some(*id) != builder) {
        return Err(format!("the builder is {builder:?}, and it must be {expected:?}"));
    }
    let kind = field(["/buildDefinition/buildType", "/buildType"]).and_then(Value::as_str);
    if let Some(expected) = wanted.build_type.as_deref().filter(|kind_| Some(*kind_) != kind) {
        return Err(format!("the build type is {kind:?}, and it must be {expected:?}"));
    }
    let Some(known) = &wanted.external_parameters else { return Ok(()) };
    let parameters = field(["/buildDefinition/externalParameters", "/invocation/parameters"]);
    let parameters = parameters.and_then(Value::as_object);
    let parameters = parameters.ok_or("it has no external parameters to check")?;
    match parameters.keys().find(|name| !known.contains(name)) {
        Some(unknown) => Err(format!("the external parameter {unknown:?} is not expected")),
        None => Ok(()),
    }
}

fn base64_any(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}
