//! The gate: one policy, one verdict, every way in.

use std::sync::Arc;

use jiff::Timestamp;
use oci::{Descriptor, Digest, Reference};
use trust::artifact::{Artifact, ArtifactSource};
use trust::dialect::vsa;
use trust::key::Signer;
use trust::policy::{Mode, Rule};
use trust::tuf::{Fetch, FetchError, Request};
use trust::{
    Attached, Basis, Evidence, Judgement, NotVerified, Origin, Policy, Subject, Verdict, Verified,
    danger, judge,
};

use super::carried::Carried;
use super::policies::{InForce, PolicySource};
use super::state::State;
use super::verify::Where;
use super::{attached, metadata};
use crate::Engine;
use crate::error::{Error, Result};

/// Judges images for one engine.
pub(crate) struct Gate<'a> {
    engine: &'a Engine,
    state: State,
}

/// What `verify` found.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// The name.
    pub reference: Reference,
    /// What it resolves to.
    pub descriptor: Descriptor,
    /// The verdict with its reasons or proofs.
    pub verdict: Verdict,
    /// Where the policy comes from that it was judged by.
    pub policy: PolicySource,
    /// That policy's digest.
    pub policy_digest: Digest,
    judgement: Judgement,
}

impl VerifyReport {
    /// A signed summary of the verdict (SLSA VSA), as a DSSE envelope.
    pub fn summary(&self, verifier_id: &str, signer: &dyn Signer) -> Result<Vec<u8>> {
        Ok(vsa::summarise(&self.judgement, verifier_id, signer)?)
    }
}

impl<'a> Gate<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine, state: State::new(&engine.config().root) }
    }

    /// Judges what a registry has under a name.
    pub(crate) fn judge_remote(
        &self,
        act: &'static str,
        reference: &Reference,
        descriptor: Descriptor,
    ) -> Result<Verified<Descriptor>> {
        let policy = self.policy()?;
        let judgement = self.with_registry(&policy, reference, &descriptor)?;
        accept(act, &policy, &judgement)
    }

    /// Judges what came from elsewhere than a registry: an archive, a folder, this machine.
    pub(crate) fn judge_local(
        &self,
        act: &'static str,
        reference: &Reference,
        descriptor: &Descriptor,
        origin: Origin,
    ) -> Result<Verified<Descriptor>> {
        let policy = self.policy()?;
        accept(act, &policy, &self.offline(&policy, reference, descriptor, origin)?)
    }

    /// Judges what came in an archive: by what is known here, else by what the archive carries.
    pub(crate) fn judge_carried(
        &self,
        act: &'static str,
        reference: &Reference,
        descriptor: &Descriptor,
        carried: &Carried,
    ) -> Result<Verified<Descriptor>> {
        let policy = self.policy()?;
        let known = self.offline(&policy, reference, descriptor, Origin::Elsewhere)?;
        if known.verdict().is_accepted() || !asks_for_proof(&policy, reference) {
            return accept(act, &policy, &known);
        }
        let subject = Subject { reference, descriptor, origin: Origin::Elsewhere };
        let evidence = carried.attached().fold(Evidence::none(), Evidence::with_attached);
        let content = self.engine.store().content();
        let mut blob = |wanted: &Descriptor| {
            Ok(content.small(wanted.digest(), trust::limits::TARGETS_BYTES_MAX)?)
        };
        let judgement = match carried.pointer() {
            Some(artifact) => {
                let mut source = ArtifactSource { artifact, blob: &mut blob };
                let evidence = evidence.with_tuf(&mut source);
                let mut evidence = self.with_states(&policy, reference, evidence)?;
                self.decide(&policy, subject, &mut evidence)?
            }
            None => {
                let mut evidence = self.with_states(&policy, reference, evidence)?;
                self.decide(&policy, subject, &mut evidence)?
            }
        };
        accept(act, &policy, &judgement)
    }

    /// Judges an image of the store before a container of it starts: by the recorded verdict
    /// where it still answers, else by the metadata trusted before, else by the registry.
    pub(crate) fn judge_start(
        &self,
        act: &'static str,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Verified<Descriptor>> {
        let policy = self.policy()?;
        let now = crate::clock::now();
        if let Some(record) = self.state.verdict(reference)?
            && let Ok(verified) = record.recheck(&policy, reference, descriptor, now)
        {
            return Ok(verified);
        }
        let judgement = self.known_first(&policy, reference, descriptor)?;
        let verified = accept(act, &policy, &judgement)?;
        self.record(reference, &verified)?;
        Ok(verified)
    }

    /// Judges what is not in the store any more: only where there is no policy may it start.
    pub(crate) fn judge_unknown(&self, act: &'static str, image: &str) -> Result<()> {
        let policy = self.policy()?;
        if policy.source == PolicySource::None {
            return Ok(());
        }
        Err(Error::Denied {
            act,
            reference: image.to_owned(),
            policy: policy.source.to_string().into(),
            codes: ["unsigned"].into(),
            reasons: "its image is not in the store any more, so nothing proves it".into(),
        })
    }

    /// Where an image that already has a name comes from: from this machine only if the record of
    /// its making says so. A pulled image does not become one's own by another name.
    pub(crate) fn origin_of(&self, name: &Reference, descriptor: &Descriptor) -> Result<Origin> {
        let record = self.state.verdict(name)?;
        let made_here = record.is_some_and(|record| {
            record.basis() == Basis::BuiltHere && record.manifest() == descriptor.digest()
        });
        Ok(if made_here { Origin::BuiltHere } else { Origin::Elsewhere })
    }

    /// Judges without accepting: what `verify` prints.
    pub(crate) fn report(
        &self,
        reference: &Reference,
        descriptor: Descriptor,
        at: Where,
    ) -> Result<VerifyReport> {
        let policy = self.policy()?;
        let judgement = match at {
            Where::Local => self.known_first(&policy, reference, &descriptor)?,
            Where::Remote => self.with_registry(&policy, reference, &descriptor)?,
        };
        let verdict = judgement.verdict().clone();
        let policy_digest = policy.digest().clone();
        let (reference, policy) = (reference.clone(), policy.source);
        Ok(VerifyReport { reference, descriptor, verdict, policy, policy_digest, judgement })
    }

    /// Keeps a verdict for later starts. Without a policy there is nothing to keep.
    pub(crate) fn record(
        &self,
        reference: &Reference,
        verified: &Verified<Descriptor>,
    ) -> Result<()> {
        let built_here = verified.record().basis() == Basis::BuiltHere;
        if !built_here && self.policy()?.source == PolicySource::None {
            return Ok(());
        }
        self.state.record(reference, verified.record())
    }

    /// The policy that applies. A file that cannot be read denies everything by being an error.
    pub(crate) fn policy(&self) -> Result<InForce> {
        InForce::find(self.engine)
    }

    /// Judges by what is known here, and asks the registry only where that is not enough.
    fn known_first(
        &self,
        policy: &Policy,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Judgement> {
        let local = self.offline(policy, reference, descriptor, Origin::Elsewhere)?;
        match local.verdict() {
            Verdict::Denied { .. } if asks_for_proof(policy, reference) => {
                self.with_registry(policy, reference, descriptor)
            }
            _ => Ok(local),
        }
    }

    fn offline(
        &self,
        policy: &Policy,
        reference: &Reference,
        descriptor: &Descriptor,
        origin: Origin,
    ) -> Result<Judgement> {
        let subject = Subject { reference, descriptor, origin };
        let mut evidence = self.with_states(policy, reference, Evidence::none())?;
        self.decide(policy, subject, &mut evidence)
    }

    /// Judges with what stands beside the image in its registry, as far as the policy asks for it.
    fn with_registry(
        &self,
        policy: &Policy,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Judgement> {
        let subject = Subject { reference, descriptor, origin: Origin::Elsewhere };
        let pointer = self.pointer(policy, reference);
        let alone = self.beside(policy, subject, None)?;
        let judgement = self.judge_with(policy, subject, &pointer, &alone)?;
        // What a proof lacks may be a signature on the index, which costs a request more.
        let lacking =
            !judgement.verdict().reasons().is_empty() && asks_for_proof(policy, reference);
        let parent = match lacking {
            true => attached::parent(self.engine, reference, descriptor)?,
            false => None,
        };
        let Some(parent) = parent else { return Ok(judgement) };
        let together = self.beside(policy, subject, Some(parent))?;
        self.judge_with(policy, subject, &pointer, &together)
    }

    fn judge_with(
        &self,
        policy: &Policy,
        subject: Subject<'_>,
        pointer: &Pointer,
        beside: &Beside,
    ) -> Result<Judgement> {
        let reference = subject.reference;
        match pointer {
            Pointer::Found(artifact) => {
                let mut blob =
                    |wanted: &Descriptor| metadata::fetch_blob(self.engine, reference, wanted);
                let mut source = ArtifactSource { artifact, blob: &mut blob };
                let evidence = beside.evidence().with_tuf(&mut source);
                let mut evidence = self.with_states(policy, reference, evidence)?;
                self.decide(policy, subject, &mut evidence)
            }
            // No trust data, and a registry that does not answer, are judged by what is known.
            Pointer::None => {
                let mut evidence = self.with_states(policy, reference, beside.evidence())?;
                self.decide(policy, subject, &mut evidence)
            }
            Pointer::Unreachable(reason) => {
                let mut source = Unreachable(reason.clone());
                let evidence = beside.evidence().with_tuf(&mut source);
                let mut evidence = self.with_states(policy, reference, evidence)?;
                self.decide(policy, subject, &mut evidence)
            }
        }
    }

    /// The trust artifact, where the policy asks for TUF metadata.
    fn pointer(&self, policy: &Policy, reference: &Reference) -> Pointer {
        if policy.pins(reference.repository()).is_empty() {
            return Pointer::None;
        }
        match metadata::fetch_pointer(self.engine, reference.repository()) {
            Ok(Some(artifact)) => Pointer::Found(Box::new(artifact)),
            Ok(None) => Pointer::None,
            Err(error) => Pointer::Unreachable(error.to_string()),
        }
    }

    /// What is attached to the image and to its index, where the policy asks for such things.
    fn beside(
        &self,
        policy: &Policy,
        subject: Subject<'_>,
        parent: Option<Arc<[u8]>>,
    ) -> Result<Beside> {
        let mut beside = Beside { attached: Vec::new(), parent };
        let repository = subject.reference.repository();
        if policy.wants_attached(repository) {
            let mut digests = vec![subject.descriptor.digest().clone()];
            digests.extend(beside.parent.as_ref().map(|bytes| Digest::sha256(bytes)));
            match attached::fetch(self.engine, repository, &digests) {
                Ok(found) => beside.attached = found,
                Err(error) if policy.mode() == Mode::Warn => {
                    tracing::warn!("signatures of {}: {error}", subject.reference.familiar());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(beside)
    }

    fn with_states<'e>(
        &self,
        policy: &Policy,
        reference: &Reference,
        mut evidence: Evidence<'e>,
    ) -> Result<Evidence<'e>> {
        for pin in policy.pins(reference.repository()) {
            let state = self.state.trusted(reference.repository(), &pin.id())?;
            evidence = evidence.with_state(pin, state);
        }
        Ok(evidence)
    }

    /// Decides, and keeps what was learnt whatever the verdict is.
    fn decide(
        &self,
        policy: &Policy,
        subject: Subject<'_>,
        evidence: &mut Evidence<'_>,
    ) -> Result<Judgement> {
        let now: Timestamp = crate::clock::now();
        let judgement = judge(policy, subject, evidence, now);
        for update in judgement.state_updates() {
            self.state.keep(subject.reference.repository(), update)?;
        }
        Ok(judgement)
    }
}

/// The proof, or the refusal with its reasons. What the policy accepts without proof passes
/// through the one door that is named for it.
fn accept(
    act: &'static str,
    policy: &InForce,
    judgement: &Judgement,
) -> Result<Verified<Descriptor>> {
    for reason in judgement.verdict().reasons() {
        if judgement.verdict().is_accepted() {
            tracing::warn!(image = %judgement.reference().familiar(), "accepted with a warning: {reason}");
        }
    }
    danger::accept_unsigned(judgement).map_err(|refused| Error::Denied {
        act,
        reference: judgement.reference().familiar(),
        policy: policy.source.to_string().into(),
        codes: refused.reasons().iter().map(trust::Reason::code).collect(),
        reasons: match refused {
            NotVerified::Denied { reasons, .. } | NotVerified::Waived { reasons, .. } => {
                let told = reasons.iter().map(|reason| format!("{}: {reason}", reason.code()));
                told.collect::<Vec<_>>().join("; ").into()
            }
        },
    })
}

/// Whether anything in a registry could change the verdict.
fn asks_for_proof(policy: &Policy, reference: &Reference) -> bool {
    matches!(policy.rule(reference.repository()).0, Rule::Require(_))
}

/// What stands beside an image besides TUF metadata.
struct Beside {
    attached: Vec<Attached>,
    /// The index that lists the image.
    parent: Option<Arc<[u8]>>,
}

impl Beside {
    fn evidence<'e>(&self) -> Evidence<'e> {
        let attached = self.attached.iter().cloned();
        let evidence = attached.fold(Evidence::none(), Evidence::with_attached);
        match &self.parent {
            Some(parent) => evidence.with_parent(parent.clone()),
            None => evidence,
        }
    }
}

/// What a registry has at the place of the trust artifact.
enum Pointer {
    Found(Box<Artifact>),
    None,
    Unreachable(String),
}

/// Trust data that exist but cannot be had now.
struct Unreachable(String);

impl Fetch for Unreachable {
    fn fetch(&mut self, _: &Request) -> Result<Option<Vec<u8>>, FetchError> {
        Err(self.0.clone().into())
    }
}
