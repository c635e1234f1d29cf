//! The proof that an image was judged and accepted. Nothing outside of this file can make one.

use std::ops::Deref;

use oci::{Descriptor, Index, Raw};

use crate::judge::Judgement;
use crate::record::VerdictRecord;
use crate::verdict::{Reason, Verdict, Waiver};

/// A value that the policy accepted, with the record of the verdict.
///
/// ```compile_fail
/// let made_up = trust::Verified { value: 1, record: todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    record: VerdictRecord,
}

/// Why a judgement is no proof.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotVerified {
    /// The policy denies the image.
    #[error("{reference} is denied by the policy: {}", join(reasons))]
    Denied {
        /// The image's name.
        reference: String,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// The policy accepts the image without proof: only [`danger::accept_unsigned`] takes it.
    #[error("{reference} is accepted without proof ({waiver:?})")]
    Waived {
        /// The image's name.
        reference: String,
        /// Why it is acceptable.
        waiver: Waiver,
        /// What would have denied it.
        reasons: Vec<Reason>,
    },
}

fn join(reasons: &[Reason]) -> String {
    reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join("; ")
}

impl NotVerified {
    /// What speaks against the image.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Denied { reasons, .. } | Self::Waived { reasons, .. } => reasons,
        }
    }
}

impl Judgement {
    /// The proof, if every requirement of the policy holds.
    pub fn verified(&self) -> Result<Verified<Descriptor>, NotVerified> {
        let reference = self.reference.familiar();
        match &self.verdict {
            Verdict::Proven { .. } => Ok(self.seal()),
            Verdict::Denied { reasons } => {
                Err(NotVerified::Denied { reference, reasons: reasons.clone() })
            }
            Verdict::Waived { waiver, reasons } => {
                Err(NotVerified::Waived { reference, waiver: *waiver, reasons: reasons.clone() })
            }
        }
    }

    fn seal(&self) -> Verified<Descriptor> {
        Verified { value: self.descriptor.clone(), record: VerdictRecord::of(self) }
    }
}

/// Ways to accept what nothing proves; every use is found by searching for this module's name.
pub mod danger {
    use super::*;

    /// Accepts an image that the policy accepts without proof (allowed, warned about, built here).
    ///
    /// What the policy denies is not accepted here either. The reasons in the verdict are warnings
    /// that the caller shows.
    pub fn accept_unsigned(judgement: &Judgement) -> Result<Verified<Descriptor>, NotVerified> {
        match judgement.verified() {
            Err(NotVerified::Waived { .. }) => Ok(judgement.seal()),
            other => other,
        }
    }
}

impl Verified<Descriptor> {
    /// The proof of an index covers the manifests that it lists.
    pub fn descend(&self, index: &Raw<Index>, child: &Descriptor) -> Option<Self> {
        let is_this_index = index.digest() == *self.value.digest();
        let lists = index.manifests().iter().any(|listed| listed.digest() == child.digest());
        (is_this_index && lists).then(|| Self { value: child.clone(), record: self.record.clone() })
    }
}

impl<T> Verified<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The verdict it rests on, to be recorded.
    pub fn record(&self) -> &VerdictRecord {
        &self.record
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Makes the proof again from a record that was authenticated and still holds.
pub(crate) fn from_record(record: &VerdictRecord, descriptor: &Descriptor) -> Verified<Descriptor> {
    Verified { value: descriptor.bare(), record: record.clone() }
}
