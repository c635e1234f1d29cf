//! Ceremonies of the root: made of several keys, rotated, recovered after a loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use oci::Repository;
use trust::key::{KeyId, KeyRole, PublicKey, Signer, recovery_phrase, signer_from_phrase};
use trust::tuf::{self, Commit, Draft, Lifetimes, RoleName, RoleSetup, RotateRole};
use trust::{Secret, key};

use super::metadata::{self, Published};
use super::sign::{Edit, Needs, Signing};
use crate::error::{Error, Result};

/// What the root key of this user's machine is called in the root.
pub const DEVICE: &str = "device";
/// What a key on paper is called in the root.
pub const RECOVERY: &str = "recovery phrase";

/// A root key that somebody else holds, and their name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootHolder {
    /// Who or what holds it.
    pub name: String,
    /// The public half.
    pub key: PublicKey,
}

/// How a root is made.
#[derive(Clone, Debug, Default)]
pub struct RootPlan {
    /// How many of its keys must sign; 0 stands for one.
    pub threshold: u64,
    /// How many keys there are to be, where the user said it.
    pub keys: Option<u64>,
    /// Holders besides this machine.
    pub holders: Vec<RootHolder>,
}

/// What is lost, and what comes in its place.
#[derive(Clone, Debug, Default)]
pub struct RecoveryPlan {
    /// Root keys that are lost, by holder or by the beginning of their id; without one, the key of
    /// the machine that made the root.
    pub lost: Vec<String>,
    /// New keys of people who lost theirs, in the order of `lost`.
    pub replacements: Vec<RootHolder>,
}

/// How an edit that several people must sign is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Signed with what is at hand, and published.
    Publish,
    /// Signed with what is at hand, and handed to the others as a file.
    Draft,
}

/// What became of such an edit.
#[derive(Debug)]
pub enum Finished {
    /// It stands in the registry.
    Published,
    /// It waits for more signatures.
    Draft(Box<Draft>),
}

/// What a recovery made.
#[derive(Debug)]
pub struct Recovered {
    /// What was replaced, by holder.
    pub replaced: Vec<String>,
    /// Roles that got a new key on this machine.
    pub roles: Vec<String>,
    /// The new recovery phrase, where the old one was lost.
    pub phrase: Option<Secret>,
    /// Published, or a draft.
    pub finished: Finished,
}

/// New root keys in place of lost ones, by holder, and the phrase of the one on paper.
struct Replacements {
    phrase: Option<Secret>,
    keys: Vec<(String, PublicKey)>,
}

/// The three roles below root that a machine holds alone.
const ONLINE: [(&str, KeyRole); 3] = [
    ("targets", KeyRole::Targets),
    ("snapshot", KeyRole::Snapshot),
    ("timestamp", KeyRole::Timestamp),
];

/// A new key on paper: the phrase to write down, and the signer that it stands for.
pub fn new_phrase() -> Result<(Secret, Arc<dyn Signer>)> {
    let signer = key::generate()?;
    Ok((recovery_phrase(&signer), Arc::new(signer)))
}

/// The signer of a phrase that was typed in.
pub fn phrase_signer(phrase: &Secret) -> Result<Arc<dyn Signer>> {
    Ok(Arc::new(signer_from_phrase(phrase)?))
}

impl Signing<'_> {
    /// Makes the trust data of a repository and pins its root here. Keys that are missing are
    /// made: one root key for all repositories of this user, the others per repository. Enough of
    /// the root's keys must be at hand.
    pub fn init(&self, repository: &Repository, plan: &RootPlan) -> Result<()> {
        let exists = || {
            Error::Conflict(format!(
                "trust init {repository}: it has trust data already; `wherry trust inspect` shows them"
            ))
        };
        if metadata::fetch_pointer(self.engine, repository)?.is_some() {
            return Err(exists());
        }
        let (setup, names) = self.root_setup("trust init", plan)?;
        let mut open = self.create_with(repository, setup, None)?;
        if let Some((name, public)) = self.first_signer()? {
            open.repository.add_signer(&name, &[public])?;
        }
        open.repository.name_root_holders(&names);
        self.unlock(&open.repository, Needs::Root)?;
        match self.publish(repository, &mut open, Commit::Edits)? {
            Published::Yes => Ok(()),
            Published::Overtaken => Err(exists()),
        }
    }

    fn root_setup(
        &self,
        act: &str,
        plan: &RootPlan,
    ) -> Result<(RoleSetup, BTreeMap<KeyId, String>)> {
        let (threshold, here) = (plan.threshold.max(1), plan.holders.len() as u64 + 1);
        if let Some(wanted) = plan.keys.filter(|wanted| *wanted != here) {
            return Err(Error::Invalid(format!(
                "{act}: {threshold} of {wanted} keys are asked for and {here} are named: this machine's, then each \
                 --recovery-phrase, --holder and --signer"
            )));
        }
        if threshold > here {
            return Err(Error::Invalid(format!(
                "{act}: {threshold} of {here} keys cannot sign; name more with --recovery-phrase, --holder or --signer"
            )));
        }
        let device = self.root_key()?;
        let mut names = BTreeMap::from([(device.id(), DEVICE.to_owned())]);
        let mut keys = vec![device];
        for holder in &plan.holders {
            if names.insert(holder.key.id(), holder.name.clone()).is_some() {
                return Err(Error::Invalid(format!(
                    "{act}: the key of {} is named twice; each holder needs a key of their own",
                    holder.name
                )));
            }
            keys.push(holder.key.clone());
        }
        Ok((RoleSetup { keys, threshold }, names))
    }

    /// Gives a top-level role new keys in place of those it has: one of this user, or those of
    /// others. Root is signed by its old and its new keys.
    pub fn rotate(
        &self,
        repository: &Repository,
        role: KeyRole,
        others: &RootPlan,
        finish: Finish,
    ) -> Result<(Vec<PublicKey>, Finished)> {
        let name = top_level(role)?;
        let open = self.must_open("trust rotate", repository)?;
        let holders = open.repository.root_holders().len();
        if role == KeyRole::Root && holders > 1 && others.holders.is_empty() {
            return Err(Error::Invalid(format!(
                "trust rotate root {}: its root has {holders} keys, which one new key would replace; replace one of them                  with `wherry trust recover --lost HOLDER`, or name all new ones with --holder",
                repository.familiar()
            )));
        }
        let (setup, names) = match (others.holders.is_empty(), role) {
            (true, _) => {
                let key = self.generate(role, repository)?;
                let names = BTreeMap::from([(key.id(), DEVICE.to_owned())]);
                (RoleSetup::single(&key), names)
            }
            // This machine stays one of several holders of the root.
            (false, KeyRole::Root) => self.root_setup("trust rotate root", others)?,
            (false, _) => {
                let keys = others.holders.iter().map(|holder| holder.key.clone()).collect();
                (RoleSetup { keys, threshold: others.threshold.max(1) }, BTreeMap::new())
            }
        };
        let finished = self.edit_root("trust rotate", repository, finish, |metadata| {
            metadata.rotate(&RotateRole { role: name.to_owned(), setup: setup.clone() })?;
            if role == KeyRole::Root {
                metadata.name_root_holders(&names);
            }
            Ok(())
        })?;
        Ok((setup.keys, finished))
    }

    /// Replaces lost root keys, and gives this machine new keys of the roles whose keys are gone
    /// too. Consumers notice nothing: they walk from the root they pinned to the new one.
    pub fn recover(
        &self,
        repository: &Repository,
        plan: &RecoveryPlan,
        finish: Finish,
    ) -> Result<Recovered> {
        let open = self.must_open("trust recover", repository)?;
        self.unlock(&open.repository, Needs::Root)?;
        let holders = open.repository.root_holders();
        let lost = lost_among(repository, &holders, &plan.lost)?;
        let Replacements { phrase, keys: new } =
            self.replacements(repository, &lost, &plan.replacements)?;
        let kept = holders.iter().filter(|(_, key)| lost.iter().all(|(_, gone)| gone != key));
        let all: Vec<(String, PublicKey)> = kept.cloned().chain(new).collect();
        let threshold = open.repository.root().role("root").map_or(1, |role| role.threshold);
        let names: BTreeMap<KeyId, String> =
            all.iter().map(|(name, key)| (key.id(), name.clone())).collect();
        let keys: Vec<PublicKey> = all.into_iter().map(|(_, key)| key).collect();
        let online = self.lost_roles(repository, &open.repository)?;
        let finished = self.edit_root("trust recover", repository, finish, |metadata| {
            let setup = RoleSetup { keys: keys.clone(), threshold };
            metadata.rotate(&RotateRole { role: "root".to_owned(), setup })?;
            online.iter().try_for_each(|rotation| metadata.rotate(rotation))?;
            metadata.name_root_holders(&names);
            Ok(())
        })?;
        let replaced = lost.into_iter().map(|(name, _)| name).collect();
        let roles = online.into_iter().map(|rotation| rotation.role).collect();
        Ok(Recovered { replaced, roles, phrase, finished })
    }

    /// New keys for lost ones: this machine's own, a new phrase, or what a person handed in.
    fn replacements(
        &self,
        repository: &Repository,
        lost: &[(String, PublicKey)],
        handed_in: &[RootHolder],
    ) -> Result<Replacements> {
        let (mut phrase, mut new, mut handed_in) = (None, Vec::new(), handed_in.iter());
        for (name, old) in lost {
            let key = match name.as_str() {
                DEVICE => match self.root_key()? {
                    // The key that is lost for the others may be here: it is not used again.
                    own if own == *old => self.generate(KeyRole::Root, repository)?,
                    own => own,
                },
                RECOVERY => {
                    let (words, signer) = new_phrase()?;
                    phrase = Some(words);
                    let public = signer.public().clone();
                    self.take_in_hand(signer);
                    public
                }
                person => match handed_in.next() {
                    Some(holder) => holder.key.clone(),
                    None => {
                        return Err(Error::Invalid(format!(
                            "trust recover: {person} needs a new key; name it with --holder {person}=FILE.pub"
                        )));
                    }
                },
            };
            new.push((name.clone(), key));
        }
        Ok(Replacements { phrase, keys: new })
    }

    /// The online roles that nobody at hand can sign, each with a new key of this machine in place
    /// of those that are not a signer's.
    fn lost_roles(
        &self,
        repository: &Repository,
        metadata: &tuf::Repository,
    ) -> Result<Vec<RotateRole>> {
        let at_hand = self.at_hand();
        let of_signers: Vec<KeyId> =
            metadata.signers().into_iter().flat_map(|(_, ids)| ids).collect();
        let mut rotations = Vec::new();
        for (name, kind) in ONLINE {
            let held = metadata.keys_of(&RoleName::new(name)?);
            let threshold = metadata.root().role(name).map_or(1, |role| role.threshold);
            let here =
                held.iter().filter(|key| at_hand.iter().any(|s| s.public() == **key)).count();
            if here as u64 >= threshold {
                continue;
            }
            let stays = held.iter().filter(|key| of_signers.contains(&key.id()));
            let mut keys: Vec<PublicKey> = stays.map(|key| (*key).clone()).collect();
            keys.push(self.generate(kind, repository)?);
            let setup = RoleSetup { keys, threshold: 1 };
            rotations.push(RotateRole { role: name.to_owned(), setup });
        }
        Ok(rotations)
    }

    /// Edits the root, and publishes it or hands it on to those whose signatures are missing.
    fn edit_root(
        &self,
        act: &'static str,
        repository: &Repository,
        finish: Finish,
        mut change: impl FnMut(&mut tuf::Repository) -> Result<()>,
    ) -> Result<Finished> {
        if finish == Finish::Publish {
            let edit = Edit { needs: Needs::Root, ..Edit::online(act) };
            self.edit(repository, edit, |metadata, _| change(metadata))?;
            return Ok(Finished::Published);
        }
        let mut open = self.must_open(act, repository)?;
        change(&mut open.repository)?;
        let root = RoleName::new("root")?;
        let now = crate::clock::now();
        let mut draft = open.repository.draft(&root, Lifetimes::default(), now)?;
        self.sign_draft(&mut draft)?;
        Ok(Finished::Draft(Box::new(draft)))
    }
}

fn top_level(role: KeyRole) -> Result<&'static str> {
    match role {
        KeyRole::Root => Ok("root"),
        KeyRole::Targets => Ok("targets"),
        KeyRole::Snapshot => Ok("snapshot"),
        KeyRole::Timestamp => Ok("timestamp"),
        KeyRole::Signer => Err(Error::Invalid(
            "trust rotate: a signer's key is replaced by `trust signer remove` and `trust signer add`"
                .to_owned(),
        )),
    }
}

/// The root keys that the user calls lost.
fn lost_among(
    repository: &Repository,
    holders: &[(String, PublicKey)],
    named: &[String],
) -> Result<Vec<(String, PublicKey)>> {
    let device = [DEVICE.to_owned()];
    let named = if named.is_empty() { &device[..] } else { named };
    let mut lost = Vec::new();
    for text in named {
        let fits = |(name, key): &&(String, PublicKey)| {
            name == text || (text.len() >= 6 && key.id().as_str().starts_with(text.as_str()))
        };
        let found: Vec<_> = holders.iter().filter(fits).collect();
        let [one] = found.as_slice() else {
            let all: Vec<String> = holders
                .iter()
                .map(|(name, key)| format!("{name} ({})", key.id().short(12)))
                .collect();
            return Err(Error::Invalid(format!(
                "trust recover {}: {text:?} is {} of its root keys; they are {}; name the lost one with --lost",
                repository.familiar(),
                if found.is_empty() { "none" } else { "more than one" },
                all.join(", ")
            )));
        };
        lost.push((*one).clone());
    }
    Ok(lost)
}
