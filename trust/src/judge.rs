//! One image, one policy, its evidence: one verdict.

use jiff::Timestamp;
use oci::{Descriptor, Digest, ManifestOrIndex, Raw, Reference};

use crate::dialect::{cosign, dsse};
use crate::evidence::Evidence;
use crate::policy::{Mode, Policy, Requirement, Rule, TufRequirement};
use crate::tuf::{
    self, Change, FoundTarget, Freshness, RELEASES, RoleName, Targets, TrustedState, Updater, Want,
    drive,
};
use crate::verdict::{Origin, Proof, Reason, Verdict, Waiver};
use crate::{Error, limits};

/// The image that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The name it is to have or has.
    pub reference: &'a Reference,
    /// Its manifest or index: resolve once, judge this, use this.
    pub descriptor: &'a Descriptor,
    /// Where it comes from.
    pub origin: Origin,
}

/// New trusted state under one pin, to be kept whatever the verdict is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateUpdate {
    /// The pin, by [`crate::policy::Pin::id`].
    pub pin: String,
    /// What changed, in the order to keep it.
    pub changes: Vec<Change>,
}

/// The verdict with everything it rests on.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub(crate) reference: Reference,
    pub(crate) descriptor: Descriptor,
    pub(crate) policy: Digest,
    pub(crate) now: Timestamp,
    pub(crate) verdict: Verdict,
    updates: Vec<StateUpdate>,
}

impl Judgement {
    /// The verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The image that was judged.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The name it was judged for.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Trusted state to keep, also after a denial: roots that were walked stay walked.
    pub fn state_updates(&self) -> &[StateUpdate] {
        &self.updates
    }
}

/// Decides whether the policy accepts the image. Asks the clock nothing: `now` is one time for all of it.
pub fn judge(
    policy: &Policy,
    subject: Subject<'_>,
    evidence: &mut Evidence<'_>,
    now: Timestamp,
) -> Judgement {
    let mut updates = Vec::new();
    let verdict = decide(policy, subject, evidence, now, &mut updates);
    let verdict = match (policy.mode(), verdict) {
        (Mode::Warn, Verdict::Denied { reasons }) => {
            Verdict::Waived { waiver: Waiver::PolicyWarns, reasons }
        }
        (_, verdict) => verdict,
    };
    Judgement {
        reference: subject.reference.clone(),
        descriptor: subject.descriptor.bare(),
        policy: policy.digest().clone(),
        now,
        verdict,
        updates,
    }
}

fn decide(
    policy: &Policy,
    subject: Subject<'_>,
    evidence: &mut Evidence<'_>,
    now: Timestamp,
    updates: &mut Vec<StateUpdate>,
) -> Verdict {
    let (rule, scope) = policy.rule(subject.reference.repository());
    if subject.origin == Origin::BuiltHere && *policy.built_here() == Rule::Allow {
        return Verdict::Waived { waiver: Waiver::BuiltHere, reasons: Vec::new() };
    }
    let scope = scope.map_or("default".to_owned(), |scope| format!("scope {:?}", scope.prefix));
    let requirements = match rule {
        Rule::Allow => {
            return Verdict::Waived { waiver: Waiver::PolicyAllows, reasons: Vec::new() };
        }
        Rule::Reject => return Verdict::Denied { reasons: vec![Reason::PolicyRejects { scope }] },
        Rule::Warn => {
            let reasons = vec![Reason::Unsigned { wanted: format!("rule but to warn ({scope})") }];
            return Verdict::Waived { waiver: Waiver::PolicyWarns, reasons };
        }
        Rule::Require(requirements) => requirements,
    };
    let mut proofs = Vec::new();
    let mut reasons = Vec::new();
    // All requirements hold, or none of them counts; all that fail are told at once.
    for requirement in requirements {
        match check(requirement, subject, evidence, now, updates) {
            Ok(proof) => proofs.push(proof),
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() && !proofs.is_empty() {
        return Verdict::Proven { proofs };
    }
    Verdict::Denied { reasons }
}

fn check(
    requirement: &Requirement,
    subject: Subject<'_>,
    evidence: &mut Evidence<'_>,
    now: Timestamp,
    updates: &mut Vec<StateUpdate>,
) -> Result<Proof, Reason> {
    let digests = covered_by(subject.descriptor, &evidence.parents);
    match requirement {
        Requirement::Attestation(wanted) => dsse::check(wanted, &digests, &evidence.attached),
        Requirement::Cosign(wanted) => {
            cosign::check(wanted, subject.reference, &digests, &evidence.attached)
        }
        Requirement::Tuf(wanted) => check_tuf(wanted, subject, &digests, evidence, now, updates),
    }
}

/// The digests whose signature covers the image: its own, and those of indexes it descends from.
fn covered_by(descriptor: &Descriptor, parents: &[std::sync::Arc<[u8]>]) -> Vec<Digest> {
    let mut digests = vec![descriptor.digest().clone()];
    // Parents may come in any order: go on until a round finds nothing new.
    for _ in 0..parents.len().min(oci::limits::INDEX_DEPTH_MAX) {
        for bytes in parents {
            let Ok(parent) = Raw::<ManifestOrIndex>::parse(bytes.clone()) else { continue };
            let Some(index) = parent.as_index() else { continue };
            let contains = index.manifests().iter().any(|child| digests.contains(child.digest()));
            if contains && !digests.contains(&parent.digest()) {
                digests.push(parent.digest());
            }
        }
    }
    digests
}

fn check_tuf(
    wanted: &TufRequirement,
    subject: Subject<'_>,
    digests: &[Digest],
    evidence: &mut Evidence<'_>,
    now: Timestamp,
    updates: &mut Vec<StateUpdate>,
) -> Result<Proof, Reason> {
    let pin = wanted.pin.id();
    let state = evidence.states.get(&pin).cloned().unwrap_or_default();
    if evidence.tuf.is_none() && state.is_empty() {
        return Err(Reason::Unsigned { wanted: "trust data (TUF metadata)".to_owned() });
    }
    let mut updater = start(wanted, state, evidence, now).map_err(|error| Reason::from(&error))?;
    let mut nothing = Nothing;
    let source: &mut dyn tuf::Fetch = match &mut evidence.tuf {
        Some(source) if evidence.freshness == Freshness::Fetch => *source,
        _ => &mut nothing,
    };
    let refreshed = drive(&mut updater, source);
    let result = match refreshed {
        Ok(()) => find_and_compare(wanted, subject, digests, &mut updater, source),
        // Nothing was ever trusted here but the root: offline, the image is as good as unsigned.
        Err(Error::MetadataMissing { .. }) if evidence.tuf.is_none() => {
            Err(Reason::Unsigned { wanted: "trust data here that were trusted before".to_owned() })
        }
        Err(error) => Err(Reason::from(&error)),
    };
    let changes = updater.take_changes();
    if !changes.is_empty() {
        let state = evidence.states.entry(pin.clone()).or_default();
        changes.iter().for_each(|change| state.apply(change));
        updates.push(StateUpdate { pin, changes });
    }
    result
}

fn start(
    wanted: &TufRequirement,
    state: TrustedState,
    evidence: &mut Evidence<'_>,
    now: Timestamp,
) -> Result<Updater, Error> {
    let anchor = match state.get("root.json") {
        // A pin that carries no root was checked when the state began.
        Some(kept) if !matches!(wanted.pin, crate::policy::Pin::Root(_)) => kept.clone(),
        _ => match &mut evidence.tuf {
            Some(source) => wanted.pin.anchor(Some(&mut **source))?,
            None => wanted.pin.anchor(None)?,
        },
    };
    Updater::start(&anchor, state, evidence.freshness, now)
}

fn find_and_compare(
    wanted: &TufRequirement,
    subject: Subject<'_>,
    digests: &[Digest],
    updater: &mut Updater,
    source: &mut dyn tuf::Fetch,
) -> Result<Proof, Reason> {
    let path = subject.reference.repository().path();
    let repository = wanted.signed_as.as_deref().unwrap_or(path);
    if let Some(found) = tuf::bound_repository(updater.root()).filter(|found| *found != repository)
    {
        let expected = repository.to_owned();
        return Err(Reason::OtherRepository { found: found.to_owned(), expected });
    }
    let found = match subject.reference.tag() {
        Some(tag) => find_tag(repository, tag, updater, source)?,
        None => find_digest(repository, digests, updater, source)?,
    };
    let signed = tuf::digest_of(&found.file).ok_or_else(|| Reason::Malformed {
        detail: format!("{} has no usable hash", found.path),
    })?;
    let is_subject = signed == *subject.descriptor.digest();
    let size_differs = is_subject && found.file.length != subject.descriptor.size();
    if !digests.contains(&signed) || size_differs {
        let found_digest = subject.descriptor.digest().clone();
        return Err(Reason::ContentChanged { tag: found.path, signed, found: found_digest });
    }
    let signers = signers_of(wanted, &found, updater, source);
    check_signers(wanted, &signers)?;
    let expired = || Reason::Malformed { detail: "the refresh is not complete".to_owned() };
    Ok(Proof::Tuf {
        role: found.role.to_string(),
        signers,
        snapshot_version: updater.snapshot().ok_or_else(expired)?.version,
        expires: updater.expires().ok_or_else(expired)?,
    })
}

fn find_tag(
    repository: &str,
    tag: &str,
    updater: &mut Updater,
    source: &mut dyn tuf::Fetch,
) -> Result<FoundTarget, Reason> {
    let path = tuf::target_path(repository, tag);
    let not_signed = || Reason::NotSigned { tag: path.clone() };
    match updater.find(&path, source) {
        Ok(found) => found.ok_or_else(not_signed),
        // Signers are declared and none of them has signed yet.
        Err(Error::MetadataMissing { file }) if file.starts_with("targets/") => Err(not_signed()),
        Err(error) => Err(Reason::from(&error)),
    }
}

/// A reference by digest alone holds if any tag of the repository is signed as that digest.
fn find_digest(
    repository: &str,
    digests: &[Digest],
    updater: &mut Updater,
    source: &mut dyn tuf::Fetch,
) -> Result<FoundTarget, Reason> {
    let mut counting = vec![RoleName::targets()];
    if let Ok(releases) = RoleName::new(RELEASES)
        && let Ok(true) = updater.load(&releases, source)
    {
        counting.push(releases);
    }
    let mut paths: Vec<String> = Vec::new();
    for targets in counting.iter().filter_map(|role| updater.role(role)) {
        let tags = tuf::tags_of(repository, targets).into_iter();
        let signed = tags.filter(|tag| digests.contains(&tag.digest));
        paths.extend(signed.map(|tag| tuf::target_path(repository, &tag.name)));
    }
    for path in paths {
        // Through the search, so that a role which may not speak of the path is not believed.
        if let Ok(Some(found)) = updater.find(&path, source)
            && tuf::digest_of(&found.file).is_some_and(|digest| digests.contains(&digest))
        {
            return Ok(found);
        }
    }
    let tag = digests.first().map(Digest::to_string).unwrap_or_default();
    Err(Reason::NotSigned { tag })
}

/// The signers who list the same target in their own role.
///
/// Where the policy asks for none, only roles that cost no request are looked at: who signed is then
/// told as far as it is known.
fn signers_of(
    wanted: &TufRequirement,
    found: &FoundTarget,
    updater: &mut Updater,
    source: &mut dyn tuf::Fetch,
) -> Vec<String> {
    let names: Vec<String> =
        updater.role(&RoleName::targets()).map(Targets::signer_names).unwrap_or_default();
    let asked_for = !wanted.signers.is_empty() || wanted.minimum_signers > 0;
    let want = if asked_for { Want::Must } else { Want::IfAtHand };
    let mut signers = Vec::new();
    for name in names.into_iter().take(limits::DELEGATIONS_MAX) {
        let Ok(role) = RoleName::new(format!("targets/{name}")) else { continue };
        let loaded = updater.load_if(&role, want, source).unwrap_or(false);
        let listed = updater.role(&role).and_then(|targets| targets.targets.get(&found.path));
        if loaded && listed.is_some_and(|file| file.hashes == found.file.hashes) {
            signers.push(name);
        }
    }
    signers
}

fn check_signers(wanted: &TufRequirement, signers: &[String]) -> Result<(), Reason> {
    let missing: Vec<&str> =
        wanted.signers.iter().filter(|name| !signers.contains(name)).map(String::as_str).collect();
    if missing.is_empty() && signers.len() as u64 >= wanted.minimum_signers {
        return Ok(());
    }
    let all = match missing.as_slice() {
        [] => format!("{} signers", wanted.minimum_signers),
        names => names.join(", "),
    };
    Err(Reason::SignersMissing { signed_by: signers.to_vec(), wanted: all })
}

/// The source of evidence that is to be used offline: it has nothing that was not trusted before.
struct Nothing;

impl tuf::Fetch for Nothing {
    fn fetch(&mut self, _: &tuf::Request) -> Result<Option<Vec<u8>>, tuf::FetchError> {
        Ok(None)
    }
}
