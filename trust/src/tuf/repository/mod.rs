//! The repository side: creating, editing and signing the metadata of one image repository.
//!
//! A [`Repository`] is edited in memory; [`Repository::commit`] signs what changed, raises versions,
//! lists it in a new snapshot and timestamp, and lets two readers check the result before it is
//! handed out: our own client and `tough`.

mod commit;
mod draft;
mod edit;
mod labels;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp as Time;
use oci::Digest;
use serde_json::Map;

use super::drive::drive;
use super::name::{MetadataFile, RoleName};
use super::schema::{
    DelegatedRole, Delegations, Role, RoleKeys, Root, SPEC_VERSION, Snapshot, Targets, Timestamp,
};
use super::signed::Signed;
use super::state::TrustedState;
use super::updater::{Freshness, Updater};
use crate::key::{KeyId, KeyTable, PublicKey};
use crate::{Error, Result};

pub use draft::{Draft, Progress, Wanted};
pub(crate) use target::{digest_of, tags_of, target_path};

/// The role that all signers share and whose tags count.
pub(crate) const RELEASES: &str = "targets/releases";

/// All metadata files of a repository by the names they are served under.
pub type MetadataFiles = BTreeMap<String, Arc<[u8]>>;

/// How long each role's signature lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Days for root.
    pub root_days: u32,
    /// Days for targets and delegated roles.
    pub targets_days: u32,
    /// Days for snapshot.
    pub snapshot_days: u32,
    /// Days for timestamp.
    pub timestamp_days: u32,
}

impl Default for Lifetimes {
    /// Docker Content Trust's: ten years, three years, three years, fourteen days.
    fn default() -> Self {
        Self { root_days: 3650, targets_days: 1095, snapshot_days: 1095, timestamp_days: 14 }
    }
}

/// The keys a role starts with.
#[derive(Clone, Debug)]
pub struct RoleSetup {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many distinct ones must sign.
    pub threshold: u64,
}

impl RoleSetup {
    /// One key that signs alone.
    pub fn single(key: &PublicKey) -> Self {
        Self { keys: vec![key.clone()], threshold: 1 }
    }
}

/// What a new repository is made of.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The image repository's path, without the registry: `library/ubuntu`.
    pub repository: String,
    /// Who may change everything.
    pub root: RoleSetup,
    /// Who may add signers ("repository key").
    pub targets: RoleSetup,
    /// Who states which metadata belong together.
    pub snapshot: RoleSetup,
    /// Who states that they are current.
    pub timestamp: RoleSetup,
}

/// A signed tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The tag.
    pub name: String,
    /// The manifest it stands for.
    pub digest: Digest,
    /// The manifest's length.
    pub size: u64,
    /// The manifest's media type.
    pub media_type: Option<String>,
}

/// One top-level role whose keys change.
#[derive(Clone, Debug)]
pub struct RotateRole {
    /// `root`, `targets`, `snapshot` or `timestamp`.
    pub role: String,
    /// The keys from now on.
    pub setup: RoleSetup,
}

/// The metadata of one image repository.
#[derive(Clone, Debug)]
pub struct Repository {
    name: String,
    files: MetadataFiles,
    root: Signed<Root>,
    targets: BTreeMap<RoleName, Signed<Targets>>,
    /// Versions of roles that snapshot lists and nobody vouches for any more. They stay listed, and
    /// if the role comes back it goes on from its version, but without anything it once said.
    retired: BTreeMap<RoleName, u64>,
    snapshot: Option<Signed<Snapshot>>,
    timestamp: Option<Signed<Timestamp>>,
    dirty: Dirty,
}

#[derive(Clone, Debug, Default)]
struct Dirty {
    root: Option<Root>,
    targets: BTreeMap<RoleName, Targets>,
    snapshot: bool,
}

impl Dirty {
    fn is_empty(&self) -> bool {
        self.root.is_none() && self.targets.is_empty() && !self.snapshot
    }
}

/// What [`Repository::commit`] signs even where nothing was edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// What was edited, with a new snapshot and timestamp.
    Edits,
    /// A new snapshot and timestamp (`wherry trust refresh`): no key but these two is needed.
    Refresh,
    /// A new timestamp alone.
    RefreshTimestamp,
}

impl Repository {
    /// A new repository; nothing is signed before [`Repository::commit`].
    pub fn create(creation: &Creation) -> Result<Self> {
        let mut keys = KeyTable::new();
        let mut roles = BTreeMap::new();
        for (role, setup) in [
            ("root", &creation.root),
            ("targets", &creation.targets),
            ("snapshot", &creation.snapshot),
            ("timestamp", &creation.timestamp),
        ] {
            roles.insert(role.to_owned(), setup.register(role, &mut keys)?);
        }
        let root = Root {
            kind: Root::TYPE.to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: 1,
            expires: Time::UNIX_EPOCH,
            consistent_snapshot: true,
            keys,
            roles,
            extra: repository_field(&creation.repository),
        };
        let mut dirty = Dirty { root: Some(root.clone()), ..Dirty::default() };
        dirty.targets.insert(RoleName::targets(), empty_targets());
        Ok(Self {
            name: creation.repository.clone(),
            files: MetadataFiles::new(),
            root: Signed::unsigned(root)?,
            targets: BTreeMap::new(),
            retired: BTreeMap::new(),
            snapshot: None,
            timestamp: None,
            dirty,
        })
    }

    /// Reads metadata that are to be edited, after verifying them from `anchor`, a pinned root, on.
    ///
    /// What has expired is read all the same: signing it again is what it needs.
    pub fn load_trusted(repository: &str, files: MetadataFiles, anchor: &[u8]) -> Result<Self> {
        let state = TrustedState::new();
        let mut updater = Updater::start(anchor, state, Freshness::Fetch, Time::MIN)?;
        drive(&mut updater, &mut &files)?;
        let loaded = Self::load(repository, files)?;
        if let Some(found) = bound_repository(&loaded.root).filter(|found| *found != repository) {
            return Err(Error::PinMismatch {
                detail: format!("the trust data are those of {found}, not of {repository}"),
            });
        }
        Ok(loaded)
    }

    /// Reads metadata without verifying a signature, to show or to compare them.
    pub fn load(repository: &str, files: MetadataFiles) -> Result<Self> {
        let latest = newest(&files, "root")?;
        let root: Signed<Root> = Signed::parse(&latest, &files[&latest])?;
        let timestamp: Signed<Timestamp> = parse_file(&files, "timestamp.json")?;
        let listed = timestamp.snapshot().map_or(0, |listed| listed.version);
        let snapshot: Signed<Snapshot> =
            parse_file(&files, &RoleName::new("snapshot")?.served(Some(listed)))?;
        let mut targets = BTreeMap::new();
        for (listed, meta) in &snapshot.meta {
            let name = listed.strip_suffix(".json").unwrap_or(listed);
            let role = RoleName::new(name)?;
            let document = parse_file(&files, &role.served(Some(meta.version)))?;
            targets.insert(role, document);
        }
        let mut loaded = Self {
            name: repository.to_owned(),
            files,
            root,
            targets,
            retired: BTreeMap::new(),
            snapshot: Some(snapshot),
            timestamp: Some(timestamp),
            dirty: Dirty::default(),
        };
        loaded.retire_orphans()?;
        Ok(loaded)
    }

    /// Sets roles aside that are not delegated to, or not by the keys that signed them.
    fn retire_orphans(&mut self) -> Result<()> {
        let mut orphans = Vec::new();
        for (name, role) in &self.targets {
            let vouched = match self.delegated_keys(name)? {
                Some((keys, ids, threshold)) => role.tally(&keys, &ids, threshold).is_met(),
                None => false,
            };
            if !vouched && *name != RoleName::targets() {
                orphans.push((name.clone(), role.version));
            }
        }
        for (name, version) in orphans {
            self.targets.remove(&name);
            self.dirty.targets.remove(&name);
            self.retired.insert(name, version);
        }
        Ok(())
    }

    /// The version of a role that was published last, retired or not.
    fn published_version(&self, role: &RoleName) -> u64 {
        let retired = self.retired.get(role).copied();
        self.targets.get(role).map(|role| role.version).or(retired).unwrap_or(0)
    }

    /// The image repository's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All files as of the last commit.
    pub fn files(&self) -> &MetadataFiles {
        &self.files
    }

    /// The root as edited.
    pub fn root(&self) -> &Root {
        self.dirty.root.as_ref().unwrap_or(&self.root)
    }

    /// A targets role as edited.
    pub fn role(&self, role: &RoleName) -> Option<&Targets> {
        self.dirty.targets.get(role).or_else(|| self.targets.get(role).map(Signed::signed))
    }

    /// The timestamp of the last commit.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp.as_deref()
    }

    /// The snapshot of the last commit.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_deref()
    }

    /// When each role expires, the first one first.
    pub fn expiries(&self) -> Vec<(RoleName, Time)> {
        let mut expiries: Vec<(RoleName, Time)> =
            self.targets.iter().map(|(role, document)| (role.clone(), document.expires)).collect();
        let top = [
            ("root", Some(self.root.expires)),
            ("snapshot", self.snapshot.as_ref().map(|snapshot| snapshot.expires)),
            ("timestamp", self.timestamp.as_ref().map(|timestamp| timestamp.expires)),
        ];
        for (role, expires) in top {
            if let (Ok(role), Some(expires)) = (RoleName::new(role), expires) {
                expiries.push((role, expires));
            }
        }
        expiries.sort_by_key(|(role, expires)| (*expires, role.clone()));
        expiries
    }

    /// The signers, by name, with their keys.
    pub fn signers(&self) -> Vec<(String, Vec<KeyId>)> {
        self.role(&RoleName::targets()).map(Targets::signers).unwrap_or_default()
    }

    /// The public keys behind a signer or a top-level role.
    pub fn keys_of(&self, role: &RoleName) -> Vec<&PublicKey> {
        let (ids, keys) = match self.root().role(role.as_str()) {
            Some(top) => (top.keyids.as_slice(), &self.root().keys),
            None => match self.delegation(role.as_str()) {
                Some((delegated, keys)) => (delegated.keys.keyids.as_slice(), keys),
                None => return Vec::new(),
            },
        };
        ids.iter().filter_map(|id| keys.get(id)).collect()
    }

    fn delegations(&self) -> Option<&Delegations> {
        self.role(&RoleName::targets())?.delegations.as_ref()
    }

    fn delegation(&self, role: &str) -> Option<(&DelegatedRole, &KeyTable)> {
        let delegations = self.delegations()?;
        let roles = delegations.roles.as_deref().unwrap_or_default();
        Some((roles.iter().find(|delegated| delegated.name == role)?, &delegations.keys))
    }

    fn target_path(&self, tag: &str) -> String {
        target_path(&self.name, tag)
    }

    fn pattern(&self) -> String {
        target_path(&self.name, "*")
    }
}

impl RoleSetup {
    /// Enters the keys into the table and gives the role that names them.
    fn register(&self, role: &str, table: &mut KeyTable) -> Result<RoleKeys> {
        let distinct: BTreeSet<KeyId> = self.keys.iter().map(PublicKey::id).collect();
        if self.threshold < 1
            || distinct.len() as u64 > 64
            || self.threshold > distinct.len() as u64
        {
            return Err(Error::malformed(
                format!("role {role}"),
                format!("{} of {} keys cannot sign", self.threshold, distinct.len()),
            ));
        }
        for key in &self.keys {
            table.insert(key.id(), key.clone());
        }
        Ok(RoleKeys::new(distinct.into_iter().collect(), self.threshold))
    }
}

/// The root's field that binds it to one repository.
const REPOSITORY_FIELD: &str = "x-wherry-repository";

fn repository_field(name: &str) -> Map<String, serde_json::Value> {
    Map::from_iter([(REPOSITORY_FIELD.to_owned(), name.into())])
}

/// The repository that a root binds itself to, if it does.
pub(crate) fn bound_repository(root: &Root) -> Option<&str> {
    root.extra.get(REPOSITORY_FIELD)?.as_str()
}

/// Targets metadata without a target; version and expiry are set when it is signed.
fn empty_targets() -> Targets {
    Targets {
        kind: Targets::TYPE.to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version: 1,
        expires: Time::UNIX_EPOCH,
        targets: BTreeMap::new(),
        delegations: None,
        extra: Map::new(),
    }
}

/// The name of the newest version of a role's file.
fn newest(files: &MetadataFiles, role: &str) -> Result<String> {
    let versions = files.keys().filter_map(|name| {
        let file = MetadataFile::parse(name)?;
        (file.role.as_str() == role).then_some((file.version?, name))
    });
    let newest = versions.max().map(|(_, name)| name.clone());
    newest.ok_or_else(|| Error::MetadataMissing { file: format!("{role}.json") })
}

fn parse_file<T: Role>(files: &MetadataFiles, name: &str) -> Result<Signed<T>> {
    let bytes = files.get(name).ok_or_else(|| Error::MetadataMissing { file: name.to_owned() })?;
    Signed::parse(name, bytes)
}
