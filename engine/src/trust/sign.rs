//! The verbs that change a repository's trust data.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oci::{Descriptor, Reference, Repository};
use trust::artifact::Artifact;
use trust::key::{KeyId, KeyName, KeyRole, PublicKey, Signer, SignerName};
use trust::tuf::{self, Commit, Creation, Lifetimes, RoleName, RoleSetup, RotateRole};

use super::keys::Keys;
use super::metadata::{self, Published};
use crate::Engine;
use crate::error::{Error, Result};

/// A signed tag.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The name.
    pub reference: Reference,
    /// What was signed.
    pub descriptor: Descriptor,
    /// The roles that list it now.
    pub roles: Vec<String>,
    /// Whether the repository's trust data were made by this.
    pub initialised: bool,
}

/// Signs for one engine with one set of keys.
pub struct Signing<'a> {
    pub(super) engine: &'a Engine,
    pub(super) keys: &'a Keys<'a>,
    /// Who can sign now: signers that were handed in, and key files once they are unlocked.
    hand: Mutex<Vec<Arc<dyn Signer>>>,
}

/// The roles whose keys publish what others signed.
const PUBLISHING: [&str; 2] = ["snapshot", "timestamp"];
/// How often an edit is made anew because another signer published in the meantime.
const ROUNDS_MAX: u32 = 12;
/// The longest pause before the second round, in milliseconds; it grows with every round.
const PAUSE_MILLIS: u64 = 50;

/// Whether an edit changes the root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Online,
    Root,
}

/// What an edit does where there are no trust data yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    Create,
    Refuse,
}

/// What is to be done to a repository's trust data.
#[derive(Clone, Copy)]
pub(super) struct Edit {
    pub(super) act: &'static str,
    pub(super) needs: Needs,
    pub(super) without: Without,
    pub(super) commit: Commit,
}

/// A repository's verified metadata, open for an edit, with the artifact they came from.
pub(super) struct Open {
    pub(super) repository: tuf::Repository,
    pub(super) before: Option<Artifact>,
}

impl<'a> Signing<'a> {
    pub(crate) fn new(engine: &'a Engine, keys: &'a Keys<'a>) -> Self {
        Self { engine, keys, hand: Mutex::default() }
    }

    /// The same with signers whose keys are not in files here: a recovery phrase, a helper program.
    pub fn with_signers(self, signers: impl IntoIterator<Item = Arc<dyn Signer>>) -> Self {
        signers.into_iter().for_each(|signer| self.take_in_hand(signer));
        self
    }

    /// Unlocks what a signature in this repository needs, so that a wrong passphrase ends a command
    /// before anything is pushed.
    pub fn ready(&self, repository: &Repository) -> Result<()> {
        match self.open(repository)? {
            Some(open) => self.unlock(&open.repository, Needs::Online).map(drop),
            None => {
                let first = self.first_signer()?.map(|(_, key)| key.id());
                let root = self.own_root_key()?.map(|key| key.id());
                self.unlock_ids(first.into_iter().chain(root).collect()).map(drop)
            }
        }
    }

    /// Signs what the registry has under a tag. A repository without trust data gets them, with
    /// a first signer where a signer key is here.
    pub fn sign(&self, reference: &Reference) -> Result<Signed> {
        tag_of(reference)?;
        self.sign_content(reference, self.resolve(reference)?)
    }

    /// Signs that a tag is this content.
    pub fn sign_content(&self, reference: &Reference, descriptor: Descriptor) -> Result<Signed> {
        let tag = tag_of(reference)?;
        let edit = Edit { without: Without::Create, ..Edit::online("trust sign") };
        let (roles, initialised) =
            self.edit(reference.repository(), edit, |metadata, signers| {
                Ok(metadata.sign(tag, &descriptor, signers)?)
            })?;
        let roles = roles.iter().map(ToString::to_string).collect();
        Ok(Signed { reference: reference.clone(), descriptor, roles, initialised })
    }

    /// Takes back the signature of a tag, or of all tags.
    pub fn revoke(&self, repository: &Repository, tag: Option<&str>) -> Result<()> {
        let mut revoked = false;
        let edit = Edit::online("trust revoke");
        self.edit(repository, edit, |metadata, signers| {
            let done = match tag {
                Some(tag) => metadata.revoke(tag, signers),
                None => metadata.revoke_all(signers),
            };
            match done {
                // In a later round the signature may be gone because of the one before.
                Err(trust::Error::NotFound { .. }) if revoked => {}
                done => drop(done?),
            }
            revoked = true;
            Ok(())
        })?;
        Ok(())
    }

    /// Adds a signer, who may also publish what is signed: its keys join those of snapshot and
    /// timestamp, so that nobody's key has to be copied to the signer's machine. A repository
    /// without trust data gets them first (TRU-42). Says whether it did.
    pub fn add_signer(
        &self,
        repository: &Repository,
        name: &SignerName,
        keys: &[PublicKey],
    ) -> Result<bool> {
        let edit = Edit {
            needs: Needs::Root,
            without: Without::Create,
            ..Edit::online("trust signer add")
        };
        let (_, initialised) = self.edit(repository, edit, |metadata, signers| {
            metadata.add_signer(name, keys)?;
            if !publish_already(metadata, keys)? {
                if holds_root(metadata, signers)? {
                    metadata.add_publishers(keys)?;
                } else {
                    tracing::warn!(
                        "{name} may sign in {repository}, but not publish what is signed: the root key \
                         is not on this machine; add {name} again where it is"
                    );
                }
            }
            Ok(())
        })?;
        Ok(initialised)
    }

    /// Removes a signer, and its right to publish where no other signer has the same key.
    pub fn remove_signer(&self, repository: &Repository, name: &SignerName) -> Result<()> {
        let edit = Edit { needs: Needs::Root, ..Edit::online("trust signer remove") };
        let mut removed = false;
        self.edit(repository, edit, |metadata, _| {
            let role = RoleName::new(name.role())?;
            let gone: Vec<PublicKey> = metadata.keys_of(&role).into_iter().cloned().collect();
            match metadata.remove_signer(name) {
                // In a later round the signer may be gone because of the one before.
                Err(trust::Error::NotFound { .. }) if removed => {}
                done => done?,
            }
            removed = true;
            stop_publishing(metadata, &gone)
        })?;
        Ok(())
    }

    /// Signs roles again, so that they do not expire: snapshot and timestamp always, the others where
    /// they are asked for, each with the content that it has.
    pub fn refresh(&self, repository: &Repository, roles: &[RoleName]) -> Result<()> {
        let root = roles.iter().any(|role| role.as_str() == "root");
        let needs = if root { Needs::Root } else { Needs::Online };
        let edit = Edit { commit: Commit::Refresh, needs, ..Edit::online("trust refresh") };
        let online = |role: &&RoleName| !PUBLISHING.contains(&role.as_str());
        self.edit(repository, edit, |metadata, _| {
            Ok(roles.iter().filter(online).try_for_each(|role| metadata.renew(role))?)
        })?;
        Ok(())
    }

    /// The repository's metadata, verified, for looking.
    pub fn look(&self, repository: &Repository) -> Result<Option<tuf::Repository>> {
        Ok(self.open(repository)?.map(|open| open.repository))
    }

    pub(super) fn must_open(&self, act: &str, repository: &Repository) -> Result<Open> {
        self.open(repository)?.ok_or_else(|| no_trust_data(act, repository))
    }

    /// Makes an edit and publishes it. Where another signer publishes in the meantime, it is made
    /// again on what stands then, so that neither loses a signature. Says whether the trust data
    /// were made by this.
    pub(super) fn edit<T>(
        &self,
        repository: &Repository,
        edit: Edit,
        mut change: impl FnMut(&mut tuf::Repository, &[&dyn Signer]) -> Result<T>,
    ) -> Result<(T, bool)> {
        for round in 1..=ROUNDS_MAX {
            let (mut open, created) = match self.open(repository)? {
                Some(open) => (open, false),
                None if edit.without == Without::Create => (self.create(repository)?, true),
                None => return Err(no_trust_data(edit.act, repository)),
            };
            let needs = if created { Needs::Root } else { edit.needs };
            let unlocked = self.unlock(&open.repository, needs)?;
            let signers: Vec<&dyn Signer> = unlocked.iter().map(|signer| &**signer).collect();
            let done = change(&mut open.repository, &signers)?;
            match self.publish(repository, &mut open, edit.commit)? {
                Published::Yes => return Ok((done, created)),
                Published::Overtaken => std::thread::sleep(pause(round)),
            }
        }
        Err(Error::Conflict(format!(
            "{} {}: other signers published {ROUNDS_MAX} times in the meantime; try again later",
            edit.act,
            repository.familiar()
        )))
    }

    /// Fetches and verifies before anything is edited: under the root pinned here where there is
    /// one, else under the repository's own first root, which then is pinned for next time.
    pub(super) fn open(&self, repository: &Repository) -> Result<Option<Open>> {
        let Some(artifact) = metadata::fetch_pointer(self.engine, repository)? else {
            return Ok(None);
        };
        let files = metadata::fetch_all(self.engine, repository, &artifact)?;
        let anchor = match self.keys.pinned(repository)? {
            Some(root) => root,
            None => files.get("1.root.json").map(|root| root.to_vec()).ok_or_else(|| {
                Error::Invalid(format!("trust data of {repository}: the first root is missing"))
            })?,
        };
        let trusted = tuf::Repository::load_trusted(repository.path(), files, &anchor)?;
        Ok(Some(Open { repository: trusted, before: Some(artifact) }))
    }

    fn create(&self, repository: &Repository) -> Result<Open> {
        let root = RoleSetup::single(&self.root_key()?);
        let mut open = self.create_with(repository, root, None)?;
        if let Some((name, public)) = self.first_signer()? {
            open.repository.add_signer(&name, &[public])?;
        }
        Ok(open)
    }

    /// Trust data with this root and keys of this user for the other roles, made where they are
    /// not given.
    pub(super) fn create_with(
        &self,
        repository: &Repository,
        root: RoleSetup,
        targets: Option<PublicKey>,
    ) -> Result<Open> {
        let key = |role| self.generate(role, repository);
        let targets = targets.map_or_else(|| key(KeyRole::Targets), Ok)?;
        let (snapshot, timestamp) = (key(KeyRole::Snapshot)?, key(KeyRole::Timestamp)?);
        let created = tuf::Repository::create(&Creation {
            repository: repository.path().to_owned(),
            root,
            targets: RoleSetup::single(&targets),
            snapshot: RoleSetup::single(&snapshot),
            timestamp: RoleSetup::single(&timestamp),
        })?;
        Ok(Open { repository: created, before: None })
    }

    /// Makes and keeps a key of this user, at hand from now on.
    pub(super) fn generate(&self, role: KeyRole, repository: &Repository) -> Result<PublicKey> {
        let signer = match role {
            KeyRole::Root => self.keys.generate("root", role, None)?,
            _ => self.keys.generate(repository.path(), role, Some(repository))?,
        };
        let public = signer.public().clone();
        self.take_in_hand(Arc::from(signer));
        Ok(public)
    }

    /// The root key of this user, made where there is none.
    pub(super) fn root_key(&self) -> Result<PublicKey> {
        if let Some(key) = self.own_root_key()? {
            return Ok(key);
        }
        let signer = self.keys.generate("root", KeyRole::Root, None)?;
        let public = signer.public().clone();
        self.take_in_hand(Arc::from(signer));
        Ok(public)
    }

    /// The root key of this user, where there is one.
    fn own_root_key(&self) -> Result<Option<PublicKey>> {
        let file = self.keys.list()?.into_iter().find(|file| file.role() == KeyRole::Root);
        Ok(file.map(|file| file.public().clone()))
    }

    /// The signer key of this user: the first by id where there are several (TRU-44).
    pub(super) fn first_signer(&self) -> Result<Option<(SignerName, PublicKey)>> {
        let signer = self.keys.list()?.into_iter().find(|file| file.role() == KeyRole::Signer);
        let Some(file) = signer else { return Ok(None) };
        let name: KeyName = file.name().parse()?;
        Ok(Some((name.as_str().parse()?, file.public().clone())))
    }

    /// Signs with everything at hand and publishes; the first root is pinned once it stands.
    pub(super) fn publish(
        &self,
        repository: &Repository,
        open: &mut Open,
        what: Commit,
    ) -> Result<Published> {
        let now = crate::clock::now();
        let at_hand = self.at_hand();
        let signers: Vec<&dyn Signer> = at_hand.iter().map(|signer| &**signer).collect();
        let files = open.repository.commit(what, &signers, Lifetimes::default(), now)?.clone();
        let done = metadata::publish(self.engine, repository, &files, open.before.as_ref())?;
        if done == Published::Yes
            && let (None, Some(root)) = (self.keys.pinned(repository)?, files.get("1.root.json"))
        {
            self.keys.pin(repository, root)?;
        }
        Ok(done)
    }

    /// The signers at hand that the repository knows, after its keys of this user were unlocked.
    /// The root key stays locked where the root does not change.
    pub(super) fn unlock(
        &self,
        repository: &tuf::Repository,
        needs: Needs,
    ) -> Result<Vec<Arc<dyn Signer>>> {
        let mut wanted: Vec<KeyId> = Vec::new();
        let root = (needs == Needs::Root).then_some("root");
        for role in ["targets", "snapshot", "timestamp"].into_iter().chain(root) {
            let role = RoleName::new(role)?;
            wanted.extend(repository.keys_of(&role).into_iter().map(PublicKey::id));
        }
        wanted.extend(repository.signers().into_iter().flat_map(|(_, ids)| ids));
        self.unlock_ids(wanted)
    }

    /// Those of these keys that can sign now; key files are unlocked at most once.
    pub(super) fn unlock_ids(&self, wanted: Vec<KeyId>) -> Result<Vec<Arc<dyn Signer>>> {
        let held: Vec<KeyId> = self.at_hand().iter().map(|signer| signer.public().id()).collect();
        let locked: Vec<KeyId> = wanted.iter().filter(|id| !held.contains(id)).cloned().collect();
        for signer in self.keys.unlock(&locked)? {
            self.take_in_hand(Arc::from(signer));
        }
        let mut signers = self.at_hand();
        signers.retain(|signer| wanted.contains(&signer.public().id()));
        Ok(signers)
    }

    pub(super) fn at_hand(&self) -> Vec<Arc<dyn Signer>> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn take_in_hand(&self, signer: Arc<dyn Signer>) {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner).push(signer);
    }
}

impl Edit {
    /// An edit of what exists, without the root.
    pub(super) fn online(act: &'static str) -> Self {
        Self { act, needs: Needs::Online, without: Without::Refuse, commit: Commit::Edits }
    }
}

fn tag_of(reference: &Reference) -> Result<&str> {
    reference.tag().ok_or_else(|| {
        Error::Invalid(format!(
            "trust sign {reference}: name a tag; a digest needs no signature to stay what it is"
        ))
    })
}

pub(super) fn no_trust_data(act: &str, repository: &Repository) -> Error {
    Error::NoTrustData { act: act.to_owned(), repository: repository.familiar() }
}

/// Whether all these keys may sign snapshot and timestamp.
fn publish_already(repository: &tuf::Repository, keys: &[PublicKey]) -> Result<bool> {
    for role in PUBLISHING {
        let held = repository.keys_of(&RoleName::new(role)?);
        if keys.iter().any(|key| !held.contains(&key)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the signers at hand can change the root.
fn holds_root(repository: &tuf::Repository, signers: &[&dyn Signer]) -> Result<bool> {
    let keys = repository.keys_of(&RoleName::new("root")?);
    let held = keys.iter().filter(|key| signers.iter().any(|signer| signer.public() == **key));
    let threshold = repository.root().role("root").map_or(u64::MAX, |role| role.threshold);
    Ok(held.count() as u64 >= threshold)
}

/// Takes the right to publish from keys that no signer has any more.
fn stop_publishing(repository: &mut tuf::Repository, gone: &[PublicKey]) -> Result<()> {
    let still: Vec<KeyId> = repository.signers().into_iter().flat_map(|(_, ids)| ids).collect();
    let leaves = |key: &PublicKey| gone.contains(key) && !still.contains(&key.id());
    for role in PUBLISHING {
        let held = repository.keys_of(&RoleName::new(role)?);
        let keys: Vec<PublicKey> =
            held.iter().filter(|key| !leaves(key)).map(|key| (*key).clone()).collect();
        if keys.len() == held.len() {
            continue;
        }
        let threshold = repository.root().role(role).map_or(1, |role| role.threshold);
        let setup = RoleSetup { keys, threshold };
        repository.rotate(&RotateRole { role: role.to_owned(), setup })?;
    }
    Ok(())
}

/// A pause of random length, so that two signers do not meet again.
fn pause(round: u32) -> Duration {
    let random = RandomState::new().hash_one(round);
    Duration::from_millis(random % (PAUSE_MILLIS * u64::from(round)))
}
