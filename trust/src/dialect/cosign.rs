//! cosign signatures by key: the payload form of version 2 and the bundle form of version 3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Digest, Reference, Repository};
use serde_json::{Value, json};

use super::dsse::{self, BUNDLE_MEDIA_TYPE_PREFIX, Envelope};
use crate::evidence::Attached;
use crate::json as strict;
use crate::key::Signer;
use crate::limits::ENVELOPE_BYTES_MAX;
use crate::policy::{CosignRequirement, Identity};
use crate::threshold::{Candidate, threshold};
use crate::verdict::{Proof, Reason};
use crate::{Error, Result};

/// The media type of a version 2 payload.
pub const PAYLOAD_MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The layer annotation that carries a version 2 signature.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// The predicate type of a version 3 signature.
pub const SIGN_PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The tag under which version 2 keeps an image's signatures: `sha256-<hex>.sig`.
pub fn signature_tag(digest: &Digest) -> String {
    format!("{}-{}.sig", digest.algorithm().as_str(), digest.hex())
}

/// The tag under which version 2 keeps an image's attestations: `sha256-<hex>.att`.
pub fn attestation_tag(digest: &Digest) -> String {
    format!("{}-{}.att", digest.algorithm().as_str(), digest.hex())
}

/// Makes a version 2 signature: the layer's content, and its signature for the annotation.
pub fn sign(
    repository: &Repository,
    digest: &Digest,
    signer: &dyn Signer,
) -> Result<(Vec<u8>, String)> {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": repository.to_string() },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string().into_bytes();
    let signature = STANDARD.encode(signer.sign(&payload)?);
    Ok((payload, signature))
}

/// The config of the manifest that carries version 2 signatures: an image's, as cosign writes it.
pub fn config(layers: &[Digest]) -> Vec<u8> {
    let config = json!({
        "architecture": "",
        "config": {},
        "created": "0001-01-01T00:00:00Z",
        "history": layers.iter().map(|_| json!({ "created": "0001-01-01T00:00:00Z" })).collect::<Vec<_>>(),
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": layers },
    });
    config.to_string().into_bytes()
}

/// A signature over a statement that names the image.
struct Found {
    form: &'static str,
    message: Vec<u8>,
    signatures: Vec<Vec<u8>>,
}

/// Counts the keys that signed this image in either form.
pub(crate) fn check(
    wanted: &CosignRequirement,
    reference: &Reference,
    digests: &[Digest],
    attached: &[Attached],
) -> Result<Proof, Reason> {
    let mut usable = Vec::new();
    let mut refused = Reason::Unsigned { wanted: "cosign signature".to_owned() };
    for layer in attached {
        let found = if layer.media_type == PAYLOAD_MEDIA_TYPE {
            read_payload(wanted, reference, digests, layer)
        } else if layer.media_type.starts_with(BUNDLE_MEDIA_TYPE_PREFIX) {
            read_bundle(wanted, digests, layer)
        } else {
            continue;
        };
        match found {
            Ok(Some(found)) => usable.push(found),
            Ok(None) => {}
            Err(reason) => refused = reason,
        }
    }
    if usable.is_empty() {
        return Err(refused);
    }
    let candidates = usable.iter().flat_map(|found| {
        let message = found.message.as_slice();
        found.signatures.iter().flat_map(move |signature| {
            wanted.keys.iter().map(move |key| Candidate { key, message, signature })
        })
    });
    let tally = threshold(wanted.threshold, candidates);
    if !tally.is_met() {
        let (valid, needed) = (tally.valid(), tally.needed);
        return Err(Reason::WrongSigner {
            detail: format!("its cosign signatures are by {valid} of the {needed} keys needed"),
        });
    }
    let mut forms: Vec<&str> = usable.iter().map(|found| found.form).collect();
    forms.dedup();
    Ok(Proof::Cosign {
        form: forms.join("+"),
        keys: tally.keys.iter().map(ToString::to_string).collect(),
    })
}

fn read_payload(
    wanted: &CosignRequirement,
    reference: &Reference,
    digests: &[Digest],
    layer: &Attached,
) -> Result<Option<Found>, Reason> {
    let payload = parse(&layer.bytes).map_err(|error| Reason::from(&error))?;
    let text = |path: &str| payload.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let image = text("/critical/image/docker-manifest-digest");
    if !digests.iter().any(|digest| digest.to_string() == image) {
        let detail = format!("its cosign signature is about {image}");
        return Err(Reason::StatementRejected { detail });
    }
    check_identity(wanted, reference, text("/critical/identity/docker-reference"))?;
    let signature = layer.annotations.get(SIGNATURE_ANNOTATION);
    let signature = signature.and_then(|text| STANDARD.decode(text).ok());
    let signature = signature.ok_or_else(|| Reason::Malformed {
        detail: format!("a cosign payload has no {SIGNATURE_ANNOTATION}"),
    })?;
    Ok(Some(Found {
        form: "simple-signing",
        message: layer.bytes.to_vec(),
        signatures: vec![signature],
    }))
}

/// Compares what the payload names, in expanded form. cosign itself names no tag, so a moved tag is
/// noticed only where [`Identity::Exact`] is asked for.
fn check_identity(
    wanted: &CosignRequirement,
    reference: &Reference,
    named: &str,
) -> Result<(), Reason> {
    let parsed = named.strip_prefix("index.").unwrap_or(named).parse::<Reference>().ok();
    let repository = reference.repository().to_string();
    let (expected, holds) = match &wanted.identity {
        Identity::Repository => {
            let same = parsed.is_some_and(|named| named.repository() == reference.repository());
            (repository, same)
        }
        Identity::SignedAs(name) => {
            let same = name.parse::<Repository>().ok();
            let same =
                parsed.zip(same).is_some_and(|(named, wanted)| *named.repository() == wanted);
            (name.clone(), same)
        }
        Identity::Exact => {
            let same = parsed.is_some_and(|named| {
                let tag = reference.tag();
                named.repository() == reference.repository()
                    && (tag.is_none() || named.tag() == tag)
            });
            (reference.to_string(), same)
        }
    };
    if holds {
        return Ok(());
    }
    Err(Reason::OtherRepository { found: named.to_owned(), expected })
}

fn read_bundle(
    wanted: &CosignRequirement,
    digests: &[Digest],
    layer: &Attached,
) -> Result<Option<Found>, Reason> {
    if wanted.identity == Identity::Exact {
        return Ok(None);
    }
    let bundle = parse(&layer.bytes).map_err(|error| Reason::from(&error))?;
    if bundle.get("dsseEnvelope").is_none() {
        // A bare message signature covers a blob's bytes, never an image.
        return Ok(None);
    }
    let envelope = Envelope::parse(&layer.bytes).map_err(|error| Reason::from(&error))?;
    let statement = envelope.statement().map_err(|error| Reason::from(&error))?;
    if statement.get("predicateType").and_then(Value::as_str) != Some(SIGN_PREDICATE_TYPE) {
        return Ok(None);
    }
    if !dsse::speaks_of(&statement, digests) {
        let detail = "its cosign bundle is about another image".to_owned();
        return Err(Reason::StatementRejected { detail });
    }
    let (message, signatures) = envelope.into_signed();
    Ok(Some(Found { form: "bundle", message, signatures }))
}

fn parse(bytes: &[u8]) -> Result<Value> {
    let what = "the cosign signature";
    if bytes.len() > ENVELOPE_BYTES_MAX {
        let limit = ENVELOPE_BYTES_MAX as u64;
        return Err(Error::TooLarge { what: what.to_owned(), limit });
    }
    strict::parse(bytes).map_err(|source| Error::Json { what: what.to_owned(), source })
}
