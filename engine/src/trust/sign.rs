//! The verbs that change a repository's trust data.

use jiff::{SignedDuration, Timestamp};
use oci::{Descriptor, Reference, Repository};
use registry_client::Selector;
use trust::artifact::Artifact;
use trust::key::{KeyId, KeyName, KeyRole, PublicKey, Signer, SignerName};
use trust::tuf::{
    self, Commit, Creation, Freshness, Lifetimes, MetadataFiles, RoleName, RoleSetup, TrustedState,
    Updater, drive,
};

use super::keys::Keys;
use super::metadata;
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

/// Whether an edit changes the root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Online,
    Root,
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
        if metadata::fetch_pointer(self.engine, repository)?.is_some() {
            return Err(Error::Conflict(format!(
                "trust init {repository}: it has trust data already; `wherry trust inspect` shows them"
            )));
        }
        let mut open = self.create(repository)?;
        self.commit(repository, &mut open, Commit::Edits)
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
        let (mut open, initialised) = match self.open(repository)? {
            Some(open) => (open, false),
            None => (self.create(repository)?, true),
        };
        let needs = if initialised { Needs::Root } else { Needs::Online };
        let signers = self.unlock(&open.repository, needs)?;
        let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
        let roles = open.repository.sign(tag, &descriptor, &signers)?;
        self.commit_with(repository, &mut open, Commit::Edits, &signers)?;
        let roles = roles.iter().map(ToString::to_string).collect();
        Ok(Signed { reference: reference.clone(), descriptor, roles, initialised })
    }

    /// Takes back the signature of a tag, or of all tags.
    pub fn revoke(&self, repository: &Repository, tag: Option<&str>) -> Result<()> {
        let mut open = self.must_open("trust revoke", repository)?;
        let signers = self.unlock(&open.repository, Needs::Online)?;
        let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
        match tag {
            Some(tag) => open.repository.revoke(tag, &signers)?,
            None => open.repository.revoke_all(&signers)?,
        };
        self.commit_with(repository, &mut open, Commit::Edits, &signers)
    }

    /// Adds a signer; a repository without trust data gets them first (TRU-42). Says whether it
    /// did.
    pub fn add_signer(
        &self,
        repository: &Repository,
        name: &SignerName,
        keys: &[PublicKey],
    ) -> Result<bool> {
        let (mut open, initialised) = match self.open(repository)? {
            Some(open) => (open, false),
            None => (self.create(repository)?, true),
        };
        open.repository.add_signer(name, keys)?;
        self.commit(repository, &mut open, Commit::Edits)?;
        Ok(initialised)
    }

    /// Removes a signer.
    pub fn remove_signer(&self, repository: &Repository, name: &SignerName) -> Result<()> {
        let mut open = self.must_open("trust signer remove", repository)?;
        open.repository.remove_signer(name)?;
        self.commit(repository, &mut open, Commit::Edits)
    }

    /// Signs snapshot and timestamp again, so that they do not expire.
    pub fn refresh(&self, repository: &Repository) -> Result<()> {
        let mut open = self.must_open("trust refresh", repository)?;
        self.commit(repository, &mut open, Commit::Refresh)
    }

    /// The repository's metadata, verified, for looking.
    pub fn look(&self, repository: &Repository) -> Result<Option<tuf::Repository>> {
        Ok(self.open(repository)?.map(|open| open.repository))
    }

    fn must_open(&self, act: &str, repository: &Repository) -> Result<Open> {
        self.open(repository)?.ok_or_else(|| Error::NoTrustData {
            act: act.to_owned(),
            repository: repository.familiar(),
        })
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
        let edited = tuf::Repository::load(repository.path(), files.clone())?;
        verify(&anchor, &files, last_valid_time(&edited))?;
        Ok(Some(Open { repository: edited, before: Some(artifact) }))
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

    fn commit(&self, repository: &Repository, open: &mut Open, what: Commit) -> Result<()> {
        let needs = if open.before.is_none() { Needs::Root } else { Needs::Online };
        let signers = self.unlock(&open.repository, needs)?;
        let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
        self.commit_with(repository, open, what, &signers)
    }

    fn commit_with(
        &self,
        repository: &Repository,
        open: &mut Open,
        what: Commit,
        signers: &[&dyn Signer],
    ) -> Result<()> {
        let now = crate::clock::now();
        let files = open.repository.commit(what, signers, Lifetimes::default(), now)?.clone();
        metadata::publish(self.engine, repository, &files, open.before.as_ref())?;
        if let (None, Some(root)) = (self.keys.pinned(repository)?, files.get("1.root.json")) {
            self.keys.pin(repository, root)?;
        }
        Ok(())
    }

    /// The keys of this user that the repository knows. The root key stays locked where the
    /// root does not change.
    fn unlock(&self, repository: &tuf::Repository, needs: Needs) -> Result<Vec<Box<dyn Signer>>> {
        let mut wanted: Vec<KeyId> = Vec::new();
        let root = (needs == Needs::Root).then_some("root");
        for role in ["targets", "snapshot", "timestamp"].into_iter().chain(root) {
            let role = RoleName::new(role)?;
            wanted.extend(repository.keys_of(&role).into_iter().map(PublicKey::id));
        }
        wanted.extend(repository.signers().into_iter().flat_map(|(_, ids)| ids));
        self.keys.unlock(&wanted)
    }
}

/// Now, or the last moment at which the metadata were current: who holds the keys may renew what
/// has expired, and every signature is checked all the same.
fn last_valid_time(repository: &tuf::Repository) -> Timestamp {
    let expiries = [
        Some(repository.root().expires),
        repository.snapshot().map(|role| role.expires),
        repository.timestamp().map(|role| role.expires),
        repository.role(&RoleName::targets()).map(|role| role.expires),
    ];
    let first = expiries.into_iter().flatten().min();
    let before = first.and_then(|time| time.checked_sub(SignedDuration::from_secs(1)).ok());
    before.map_or_else(crate::clock::now, |before| before.min(crate::clock::now()))
}

/// Runs the client's workflow over the files, from the anchor up.
fn verify(anchor: &[u8], files: &MetadataFiles, now: Timestamp) -> Result<()> {
    let mut updater = Updater::start(anchor, TrustedState::new(), Freshness::Fetch, now)?;
    drive(&mut updater, &mut Files(files))?;
    Ok(())
}

struct Files<'a>(&'a MetadataFiles);

impl tuf::Fetch for Files<'_> {
    fn fetch(&mut self, request: &tuf::Request) -> Result<Option<Vec<u8>>, tuf::FetchError> {
        Ok(self.0.get(&request.file).map(|bytes| bytes.to_vec()))
    }
}
