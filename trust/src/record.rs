//! Verdicts that were recorded, so that every later start is checked in microseconds.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use oci::{Descriptor, Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::judge::Judgement;
use crate::limits::RECORD_BYTES_MAX;
use crate::policy::Policy;
use crate::secret::Secret;
use crate::verdict::{Proof, Verdict, Waiver};
use crate::verified::{self, Verified};
use crate::{Error, Result, json};

const FORMAT: &str = "wherry-verdict/1";

/// What a recorded verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Built or committed on this machine.
    BuiltHere,
    /// The policy allows the repository.
    PolicyAllows,
    /// The policy only warns.
    PolicyWarns,
    /// Every requirement of the policy held.
    Proven,
}

/// A verdict as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VerdictRecord {
    format: String,
    reference: String,
    manifest: Digest,
    policy: Digest,
    basis: Basis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot_version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Moment>,
    decided: Moment,
}

/// A time as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Moment(String);

impl Moment {
    fn of(time: Timestamp) -> Self {
        Self(time.to_string())
    }

    fn time(&self) -> Option<Timestamp> {
        self.0.parse().ok()
    }
}

/// The key that authenticates this machine's records.
#[derive(Debug)]
pub struct RecordKey(Secret);

impl RecordKey {
    /// The key of these bytes, at least 32 random ones, kept readable by root only.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// A new key's bytes.
    pub fn generate() -> Result<Secret> {
        Ok(Secret::new(crate::key::random::<32>()?))
    }

    fn mac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.expose())
    }
}

/// Why a recorded verdict does not answer any more: the image must be judged again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The clock is before the time of the verdict.
    #[error("the clock was set back to before the verdict")]
    ClockSetBack,
    /// The record is of other content.
    #[error("the verdict is about {recorded}, and this is {found}")]
    ContentChanged {
        /// What the record speaks of.
        recorded: Digest,
        /// What is here.
        found: Digest,
    },
    /// The metadata behind the verdict expired.
    #[error("the verdict expired at {expires}")]
    Expired {
        /// When.
        expires: Timestamp,
    },
    /// The record is of another name.
    #[error("the verdict is about the name {recorded}")]
    OtherName {
        /// The name it speaks of.
        recorded: String,
    },
    /// The policy is another one now.
    #[error("the policy has changed since the verdict")]
    PolicyChanged,
}

impl VerdictRecord {
    pub(crate) fn of(judgement: &Judgement) -> Self {
        let proofs = match &judgement.verdict {
            Verdict::Proven { proofs } => proofs.as_slice(),
            Verdict::Denied { .. } | Verdict::Waived { .. } => &[],
        };
        let basis = match &judgement.verdict {
            Verdict::Proven { .. } => Basis::Proven,
            Verdict::Waived { waiver: Waiver::BuiltHere, .. } => Basis::BuiltHere,
            Verdict::Waived { waiver: Waiver::PolicyAllows, .. } => Basis::PolicyAllows,
            Verdict::Waived { .. } | Verdict::Denied { .. } => Basis::PolicyWarns,
        };
        let tuf = proofs.iter().filter_map(|proof| match proof {
            Proof::Tuf { snapshot_version, expires, .. } => Some((*snapshot_version, *expires)),
            Proof::Attestation { .. } | Proof::Cosign { .. } => None,
        });
        let (versions, expiries): (Vec<u64>, Vec<Timestamp>) = tuf.unzip();
        Self {
            format: FORMAT.to_owned(),
            reference: judgement.reference.to_string(),
            manifest: judgement.descriptor.digest().clone(),
            policy: judgement.policy.clone(),
            basis,
            snapshot_version: versions.into_iter().max(),
            expires: expiries.into_iter().min().map(Moment::of),
            decided: Moment::of(judgement.now),
        }
    }

    /// The record's bytes: one line of JSON and its MAC.
    pub fn seal(&self, key: &RecordKey) -> Result<Vec<u8>> {
        let body = serde_json::to_vec(self)
            .map_err(|error| Error::malformed("a verdict", error.to_string()))?;
        let tag = hmac::sign(&key.mac(), &body);
        let mut bytes = body;
        bytes.extend_from_slice(format!("\n{}\n", STANDARD.encode(tag.as_ref())).as_bytes());
        Ok(bytes)
    }

    /// Reads and authenticates a record.
    pub fn open(bytes: &[u8], key: &RecordKey) -> Result<Self> {
        let what = "the recorded verdict";
        if bytes.len() > RECORD_BYTES_MAX {
            let limit = RECORD_BYTES_MAX as u64;
            return Err(Error::TooLarge { what: what.to_owned(), limit });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Error::malformed(what, error.to_string()))?;
        let (body, tag) = text
            .trim_end_matches('\n')
            .rsplit_once('\n')
            .ok_or_else(|| Error::malformed(what, "it has no authentication code"))?;
        let forged = || Error::RecordForged { manifest: "this image".to_owned() };
        let tag = STANDARD.decode(tag).map_err(|_| forged())?;
        hmac::verify(&key.mac(), body.as_bytes(), &tag).map_err(|_| forged())?;
        let value = json::parse(body.as_bytes())
            .map_err(|source| Error::Json { what: what.to_owned(), source })?;
        let record =
            Self::deserialize(value).map_err(|error| Error::malformed(what, error.to_string()))?;
        if record.format != FORMAT {
            return Err(Error::FormatUnknown { what, found: record.format, supported: FORMAT });
        }
        Ok(record)
    }

    /// Whether the verdict still answers for this name and content under this policy.
    pub fn recheck(
        &self,
        policy: &Policy,
        reference: &Reference,
        descriptor: &Descriptor,
        now: Timestamp,
    ) -> std::result::Result<Verified<Descriptor>, Stale> {
        if self.policy != *policy.digest() {
            return Err(Stale::PolicyChanged);
        }
        if self.reference != reference.to_string() {
            return Err(Stale::OtherName { recorded: self.reference.clone() });
        }
        if self.manifest != *descriptor.digest() {
            return Err(Stale::ContentChanged {
                recorded: self.manifest.clone(),
                found: descriptor.digest().clone(),
            });
        }
        if self.decided.time().is_none_or(|decided| now < decided) {
            return Err(Stale::ClockSetBack);
        }
        if let Some(expires) = &self.expires {
            let expires = expires.time().unwrap_or(Timestamp::MIN);
            if expires <= now {
                return Err(Stale::Expired { expires });
            }
        }
        Ok(verified::from_record(self, descriptor))
    }

    /// The name the verdict is about.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The manifest the verdict is about.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    /// The policy it was made under.
    pub fn policy(&self) -> &Digest {
        &self.policy
    }

    /// What it rests on.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The TUF snapshot it rests on.
    pub fn snapshot_version(&self) -> Option<u64> {
        self.snapshot_version
    }

    /// When it stops answering.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires.as_ref().and_then(Moment::time)
    }
}
