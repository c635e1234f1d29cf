//! What was decided, and why.

use std::fmt;

use jiff::Timestamp;
use oci::Digest;
use serde::Serialize;

use crate::Error;

/// Why an image was not accepted on evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The tag is signed, but for other content.
    ContentChanged {
        /// The tag or target.
        tag: String,
        /// What was signed.
        signed: Digest,
        /// What is here.
        found: Digest,
    },
    /// A signature was valid once; the metadata have expired.
    Expired {
        /// The role.
        role: String,
        /// When.
        expires: Timestamp,
    },
    /// The evidence cannot be read.
    Malformed {
        /// Why.
        detail: String,
    },
    /// Trust data exist, but they do not sign this tag (never signed, or revoked).
    NotSigned {
        /// The tag or digest.
        tag: String,
    },
    /// The trust data belong to another repository.
    OtherRepository {
        /// The repository they belong to.
        found: String,
        /// The repository asked for.
        expected: String,
    },
    /// The root is not the pinned one.
    PinMismatch {
        /// What was expected and found.
        detail: String,
    },
    /// The policy refuses this repository outright.
    PolicyRejects {
        /// The scope, or `default`.
        scope: String,
    },
    /// Older metadata were offered than were trusted before.
    RolledBack {
        /// What went back.
        detail: String,
    },
    /// Signed, but not by the signers that the policy wants.
    SignersMissing {
        /// Signers that signed.
        signed_by: Vec<String>,
        /// What the policy wants.
        wanted: String,
    },
    /// A signed statement does not say what the policy wants.
    StatementRejected {
        /// What is wrong.
        detail: String,
    },
    /// Evidence exists and could not be fetched.
    Unavailable {
        /// Why.
        detail: String,
    },
    /// There is no trust data at all.
    Unsigned {
        /// The evidence that was looked for.
        wanted: String,
    },
    /// Signed by keys that are not trusted for this.
    WrongSigner {
        /// What is signed wrongly.
        detail: String,
    },
}

impl Reason {
    /// The reason's name, as in JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ContentChanged { .. } => "content-changed",
            Self::Expired { .. } => "expired",
            Self::Malformed { .. } => "malformed",
            Self::NotSigned { .. } => "not-signed",
            Self::OtherRepository { .. } => "other-repository",
            Self::PinMismatch { .. } => "pin-mismatch",
            Self::PolicyRejects { .. } => "policy-rejects",
            Self::RolledBack { .. } => "rolled-back",
            Self::SignersMissing { .. } => "signers-missing",
            Self::StatementRejected { .. } => "statement-rejected",
            Self::Unavailable { .. } => "unavailable",
            Self::Unsigned { .. } => "unsigned",
            Self::WrongSigner { .. } => "wrong-signer",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContentChanged { tag, signed, found } => {
                write!(f, "{tag} is signed as {signed}, but this is {found}")
            }
            Self::Expired { role, expires } => {
                write!(f, "its {role} metadata expired at {expires}")
            }
            Self::Malformed { detail } => write!(f, "its trust data cannot be read: {detail}"),
            Self::NotSigned { tag } => {
                write!(f, "{tag} is not signed in its repository's trust data")
            }
            Self::OtherRepository { found, expected } => {
                write!(f, "the trust data are those of {found}, not of {expected}")
            }
            Self::PinMismatch { detail } => write!(f, "its root is not the pinned one: {detail}"),
            Self::PolicyRejects { scope } => write!(f, "the policy rejects it ({scope})"),
            Self::RolledBack { detail } => write!(f, "{detail}"),
            Self::SignersMissing { signed_by, wanted } if signed_by.is_empty() => {
                write!(f, "no signer has signed it, and {wanted} must")
            }
            Self::SignersMissing { signed_by, wanted } => {
                write!(f, "it is signed by {}, and {wanted} must", signed_by.join(", "))
            }
            Self::StatementRejected { detail } => {
                write!(f, "a signed statement is rejected: {detail}")
            }
            Self::Unavailable { detail } => write!(f, "its trust data are not available: {detail}"),
            Self::Unsigned { wanted } => write!(f, "it has no {wanted}"),
            Self::WrongSigner { detail } => write!(f, "{detail}"),
        }
    }
}

impl From<&Error> for Reason {
    fn from(error: &Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::RoleExpired { role, expires, .. } => {
                Self::Expired { role: role.clone(), expires: *expires }
            }
            Error::PinMismatch { detail } => Self::PinMismatch { detail: detail.clone() },
            Error::Rollback { .. } | Error::RoleRemoved { .. } => Self::RolledBack { detail },
            Error::Threshold { .. } => Self::WrongSigner { detail },
            Error::Transport { .. } => Self::Unavailable { detail },
            _ => Self::Malformed { detail },
        }
    }
}

/// What proved an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "dialect", rename_all = "kebab-case")]
pub enum Proof {
    /// A DSSE envelope around an in-toto statement.
    Attestation {
        /// The statement's predicate type.
        predicate_type: String,
        /// Ids of the keys that signed.
        keys: Vec<String>,
    },
    /// A cosign signature.
    Cosign {
        /// `simple-signing` (v2) or `bundle` (v3).
        form: String,
        /// Ids of the keys that signed.
        keys: Vec<String>,
    },
    /// A target in TUF metadata.
    Tuf {
        /// The role that lists it.
        role: String,
        /// The signers who list it in their own role.
        signers: Vec<String>,
        /// The version of the snapshot.
        snapshot_version: u64,
        /// When the first of the roles expires.
        expires: Timestamp,
    },
}

/// Why an image is accepted although nothing proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waiver {
    /// It was built or committed on this machine, and the policy allows that.
    BuiltHere,
    /// The policy allows the repository without evidence.
    PolicyAllows,
    /// The policy only warns.
    PolicyWarns,
}

/// What was decided about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Not acceptable, for all these reasons.
    Denied {
        /// Why.
        reasons: Vec<Reason>,
    },
    /// Every requirement of the policy holds.
    Proven {
        /// What proved each requirement.
        proofs: Vec<Proof>,
    },
    /// Acceptable without proof.
    Waived {
        /// Why it is acceptable.
        waiver: Waiver,
        /// What would have denied it; the caller shows these as warnings.
        reasons: Vec<Reason>,
    },
}

impl Verdict {
    /// True unless denied.
    pub fn is_accepted(&self) -> bool {
        !matches!(self, Self::Denied { .. })
    }

    /// What speaks against the image.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Denied { reasons } | Self::Waived { reasons, .. } => reasons,
            Self::Proven { .. } => &[],
        }
    }
}

/// Where an image came from, when it asks for a name or to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built or committed on this machine, from images that were accepted.
    BuiltHere,
    /// Everything else: a registry, an archive, another machine, the store itself.
    Elsewhere,
}
