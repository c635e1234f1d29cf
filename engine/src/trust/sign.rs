//! The verbs that change a repository's trust data.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use oci::{Descriptor, Reference, Repository};
use registry_client::Selector;
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
    engine: &'a Engine,
    keys: &'a Keys<'a>,
}

/// The roles whose keys publish what others signed.
const PUBLISHING: [&str; 2] = ["snapshot", "timestamp"];
/// How often an edit is made anew because another signer published in the meantime.
const ROUNDS_MAX: u32 = 12;
/// The longest pause before the second round, in milliseconds; it grows with every round.
const PAUSE_MILLIS: u64 = 50;

/// Whether an edit changes the root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Online,
    Root,
}

/// What an edit does where there are no trust data yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Create,
    Refuse,
}

/// What is to be done to a repository's trust data.
#[derive(Clone, Copy)]
struct Edit {
    act: &'static str,
    needs: Needs,
    without: Without,
    commit: Commit,
}

/// A repository's verified metadata, open for an edit, with the artifact they came from.
struct Open {
    repository: tuf::Repository,
    before: Option<Artifact>,
}

impl<'a> Signing<'a> {
    pub(crate) fn new(engine: &'a Engine, keys: &'a Keys<'a>) -> Self {
        Self { engine, keys }
    }

    /// Makes the trust data of a repository and pins its root here. Keys that are missing are
    /// made: one root key for all repositories of this user, the others per repository.
    pub fn init(&self, repository: &Repository) -> Result<()> {
        let exists = || {
            Error::Conflict(format!(
                "trust init {repository}: it has trust data already; `wherry trust inspect` shows them"
            ))
        };
        if metadata::fetch_pointer(self.engine, repository)?.is_some() {
            return Err(exists());
        }
        let mut open = self.create(repository)?;
        let unlocked = self.unlock(&open.repository, Needs::Root, Vec::new())?;
        match self.publish(repository, &mut open, Commit::Edits, &unlocked)? {
            Published::Yes => Ok(()),
            Published::Overtaken => Err(exists()),
        }
    }

    /// Signs what the registry has under a tag. A repository without trust data gets them, with
    /// a first signer where a signer key is here.
    pub fn sign(&self, reference: &Reference) -> Result<Signed> {
        let tag = reference.tag().ok_or_else(|| {
            Error::Invalid(format!(
                "trust sign {reference}: name a tag; a digest needs no signature to stay what it is"
            ))
        })?;
        let repository = reference.repository();
        let client = self.engine.network().client()?.repository(repository);
        let selector = Selector::Tag(tag.to_owned());
        let descriptor = self.engine.network().block_on(client.resolve(&selector))??;
        let edit = Edit { without: Without::Create, ..Edit::online("trust sign") };
        let (roles, initialised) = self.edit(repository, edit, |metadata, signers| {
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

    /// Signs snapshot and timestamp again, so that they do not expire.
    pub fn refresh(&self, repository: &Repository) -> Result<()> {
        let edit = Edit { commit: Commit::Refresh, ..Edit::online("trust refresh") };
        self.edit(repository, edit, |_, _| Ok(()))?;
        Ok(())
    }

    /// Gives a top-level role a new key of this user in place of those it has. Root is signed by
    /// its old and its new keys.
    pub fn rotate(&self, repository: &Repository, role: KeyRole) -> Result<PublicKey> {
        let name = match role {
            KeyRole::Root => "root",
            KeyRole::Targets => "targets",
            KeyRole::Snapshot => "snapshot",
            KeyRole::Timestamp => "timestamp",
            KeyRole::Signer => {
                return Err(Error::Invalid(
                    "trust rotate: a signer's key is replaced by `trust signer remove` and \
                     `trust signer add`"
                        .to_owned(),
                ));
            }
        };
        self.must_open("trust rotate", repository)?;
        let label = if role == KeyRole::Root { "root" } else { repository.path() };
        let of = (role != KeyRole::Root).then_some(repository);
        let key = self.keys.generate(label, role, of)?.public().clone();
        let edit = Edit { needs: Needs::Root, ..Edit::online("trust rotate") };
        self.edit_with(repository, edit, std::slice::from_ref(&key), |metadata, _| {
            let setup = RoleSetup::single(&key);
            Ok(metadata.rotate(&RotateRole { role: name.to_owned(), setup })?)
        })?;
        Ok(key)
    }

    /// The repository's metadata, verified, for looking.
    pub fn look(&self, repository: &Repository) -> Result<Option<tuf::Repository>> {
        Ok(self.open(repository)?.map(|open| open.repository))
    }

    fn must_open(&self, act: &str, repository: &Repository) -> Result<Open> {
        self.open(repository)?.ok_or_else(|| no_trust_data(act, repository))
    }

    /// Makes an edit and publishes it. Where another signer publishes in the meantime, it is made
    /// again on what stands then, so that neither loses a signature. Says whether the trust data
    /// were made by this.
    fn edit<T>(
        &self,
        repository: &Repository,
        edit: Edit,
        change: impl FnMut(&mut tuf::Repository, &[&dyn Signer]) -> Result<T>,
    ) -> Result<(T, bool)> {
        self.edit_with(repository, edit, &[], change)
    }

    /// The same with keys that the repository does not know before the edit.
    fn edit_with<T>(
        &self,
        repository: &Repository,
        edit: Edit,
        new: &[PublicKey],
        mut change: impl FnMut(&mut tuf::Repository, &[&dyn Signer]) -> Result<T>,
    ) -> Result<(T, bool)> {
        let new: Vec<KeyId> = new.iter().map(PublicKey::id).collect();
        let mut unlocked = self.keys.unlock(&new)?;
        for round in 1..=ROUNDS_MAX {
            let (mut open, created) = match self.open(repository)? {
                Some(open) => (open, false),
                None if edit.without == Without::Create => (self.create(repository)?, true),
                None => return Err(no_trust_data(edit.act, repository)),
            };
            let needs = if created { Needs::Root } else { edit.needs };
            unlocked = self.unlock(&open.repository, needs, unlocked)?;
            let signers: Vec<&dyn Signer> = unlocked.iter().map(|signer| &**signer).collect();
            let done = change(&mut open.repository, &signers)?;
            match self.publish(repository, &mut open, edit.commit, &unlocked)? {
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
    fn open(&self, repository: &Repository) -> Result<Option<Open>> {
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
        let root = self.root_key()?;
        let key = |role| self.keys.generate(repository.path(), role, Some(repository));
        let (targets, snapshot, timestamp) =
            (key(KeyRole::Targets)?, key(KeyRole::Snapshot)?, key(KeyRole::Timestamp)?);
        let mut created = tuf::Repository::create(&Creation {
            repository: repository.path().to_owned(),
            root: RoleSetup::single(&root),
            targets: RoleSetup::single(targets.public()),
            snapshot: RoleSetup::single(snapshot.public()),
            timestamp: RoleSetup::single(timestamp.public()),
        })?;
        if let Some((name, public)) = self.first_signer()? {
            created.add_signer(&name, &[public])?;
        }
        Ok(Open { repository: created, before: None })
    }

    /// The root key of this user, made where there is none.
    fn root_key(&self) -> Result<PublicKey> {
        let existing = self.keys.list()?.into_iter().find(|file| file.role() == KeyRole::Root);
        match existing {
            Some(file) => Ok(file.public().clone()),
            None => Ok(self.keys.generate("root", KeyRole::Root, None)?.public().clone()),
        }
    }

    /// The signer key of this user: the first by id where there are several (TRU-44).
    fn first_signer(&self) -> Result<Option<(SignerName, PublicKey)>> {
        let signer = self.keys.list()?.into_iter().find(|file| file.role() == KeyRole::Signer);
        let Some(file) = signer else { return Ok(None) };
        let name: KeyName = file.name().parse()?;
        Ok(Some((name.as_str().parse()?, file.public().clone())))
    }

    /// Signs and publishes; the first root is pinned once it stands.
    fn publish(
        &self,
        repository: &Repository,
        open: &mut Open,
        what: Commit,
        unlocked: &[Box<dyn Signer>],
    ) -> Result<Published> {
        let now = crate::clock::now();
        let signers: Vec<&dyn Signer> = unlocked.iter().map(|signer| &**signer).collect();
        let files = open.repository.commit(what, &signers, Lifetimes::default(), now)?.clone();
        let done = metadata::publish(self.engine, repository, &files, open.before.as_ref())?;
        if done == Published::Yes
            && let (None, Some(root)) = (self.keys.pinned(repository)?, files.get("1.root.json"))
        {
            self.keys.pin(repository, root)?;
        }
        Ok(done)
    }

    /// The keys of this user that the repository knows, beside those unlocked before. The root
    /// key stays locked where the root does not change.
    fn unlock(
        &self,
        repository: &tuf::Repository,
        needs: Needs,
        mut unlocked: Vec<Box<dyn Signer>>,
    ) -> Result<Vec<Box<dyn Signer>>> {
        let mut wanted: Vec<KeyId> = Vec::new();
        let root = (needs == Needs::Root).then_some("root");
        for role in ["targets", "snapshot", "timestamp"].into_iter().chain(root) {
            let role = RoleName::new(role)?;
            wanted.extend(repository.keys_of(&role).into_iter().map(PublicKey::id));
        }
        wanted.extend(repository.signers().into_iter().flat_map(|(_, ids)| ids));
        wanted.retain(|id| unlocked.iter().all(|signer| signer.public().id() != *id));
        unlocked.extend(self.keys.unlock(&wanted)?);
        Ok(unlocked)
    }
}

impl Edit {
    /// An edit of what exists, without the root.
    fn online(act: &'static str) -> Self {
        Self { act, needs: Needs::Online, without: Without::Refuse, commit: Commit::Edits }
    }
}

fn no_trust_data(act: &str, repository: &Repository) -> Error {
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
