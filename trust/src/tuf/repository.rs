//! The repository side: creating, editing and signing the metadata of one image repository.
//!
//! A [`Repository`] is edited in memory; [`Repository::commit`] signs what changed, raises versions,
//! lists it in a new snapshot and timestamp, and lets two readers check the result before it is
//! handed out: our own client and `tough`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp as Time};
use oci::{Descriptor, Digest};
use serde_json::{Map, json};

use super::interop;
use super::name::{MetadataFile, RoleName};
use super::schema::Role;
use super::schema::{
    DelegatedKeys, DelegatedRole, Delegations, MetaFile, RoleKeys, Root, SPEC_VERSION, Snapshot,
    TargetFile, Targets, Timestamp,
};
use super::signed::Signed;
use crate::key::{KeyId, KeyTable, PublicKey, Signer, SignerName};
use crate::{Error, Result};

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
            snapshot: None,
            timestamp: None,
            dirty,
        })
    }

    /// Reads the metadata of a repository that is to be edited.
    ///
    /// Signatures are checked when a client verifies; whoever edits must have verified before.
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
        Ok(Self {
            name: repository.to_owned(),
            files,
            root,
            targets,
            snapshot: Some(snapshot),
            timestamp: Some(timestamp),
            dirty: Dirty::default(),
        })
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

    /// Adds a signer: its keys go to `targets/<name>` and to `targets/releases` alike.
    ///
    /// The signer's private key is not needed: the role gets its metadata when it first signs. A
    /// signer that exists gets the keys beside those it has.
    pub fn add_signer(&mut self, signer: &SignerName, keys: &[PublicKey]) -> Result<()> {
        if keys.is_empty() {
            return Err(Error::NotFound {
                what: "key of signer",
                name: signer.to_string(),
                repository: self.name.clone(),
            });
        }
        let path = self.pattern();
        let ids: Vec<KeyId> = keys.iter().map(PublicKey::id).collect();
        let top = self.edit_targets(&RoleName::targets())?;
        let delegations = top.delegations.get_or_insert_with(no_delegations);
        let roles = delegations.roles.get_or_insert_with(Vec::new);
        for (id, key) in ids.iter().zip(keys) {
            delegations.keys.insert(id.clone(), key.clone());
        }
        // Releases comes first and ends the search: a tag counts only if it stands there.
        if !roles.iter().any(|role| role.name == RELEASES) {
            roles.insert(0, delegated(RELEASES, &path, true));
        }
        for name in [RELEASES.to_owned(), signer.role()] {
            let at = match roles.iter().position(|role| role.name == name) {
                Some(at) => at,
                None => {
                    roles.push(delegated(&name, &path, false));
                    roles.len() - 1
                }
            };
            let held = &mut roles[at].keys.keyids;
            for id in &ids {
                if !held.contains(id) {
                    held.push(id.clone());
                }
            }
        }
        Ok(())
    }

    /// Removes a signer: its keys leave `targets/releases` first, then its role goes.
    ///
    /// Tags that stand in `targets/releases` stay signed by the other signers; with the last signer
    /// they all lose their signature.
    pub fn remove_signer(&mut self, signer: &SignerName) -> Result<()> {
        let missing = || Error::NotFound {
            what: "signer",
            name: signer.to_string(),
            repository: self.name.clone(),
        };
        let (role, _) = self.delegation(&signer.role()).ok_or_else(missing)?;
        let gone = role.keys.keyids.clone();
        let held_by_others: BTreeSet<KeyId> = self
            .signers()
            .into_iter()
            .filter(|(name, _)| name != signer.as_str())
            .flat_map(|(_, ids)| ids)
            .collect();
        let top = self.edit_targets(&RoleName::targets())?;
        let Some(delegations) = &mut top.delegations else { return Ok(()) };
        let roles = delegations.roles.get_or_insert_with(Vec::new);
        if let Some(releases) = roles.iter_mut().find(|role| role.name == RELEASES) {
            releases.keys.keyids.retain(|id| held_by_others.contains(id) || !gone.contains(id));
        }
        roles.retain(|role| role.name != signer.role());
        roles.retain(|role| role.name != RELEASES || !role.keys.keyids.is_empty());
        delegations.keys.retain(|id, _| roles.iter().any(|role| role.keys.keyids.contains(id)));
        self.dirty.targets.remove(&RoleName::new(signer.role())?);
        // What the removed key signed must be signed again by one that stays.
        let releases = RoleName::new(RELEASES)?;
        if self.delegation(RELEASES).is_some() && self.role(&releases).is_some() {
            self.edit_targets(&releases)?;
        }
        Ok(())
    }

    /// States that `tag` is `descriptor`, in every role that the signers at hand may sign.
    ///
    /// With signers declared, that is `targets/<signer>` for each of them whose key is here and
    /// `targets/releases`; without any, it is `targets` itself. Returns the roles.
    pub fn sign(
        &mut self,
        tag: &str,
        descriptor: &Descriptor,
        signers: &[&dyn Signer],
    ) -> Result<Vec<RoleName>> {
        let roles = self.writable_roles(signers)?;
        let path = self.target_path(tag);
        let file = target_of(descriptor);
        for role in &roles {
            self.edit_targets(role)?.targets.insert(path.clone(), file.clone());
        }
        Ok(roles)
    }

    /// Takes back the signature of one tag in every role that the signers at hand may sign.
    pub fn revoke(&mut self, tag: &str, signers: &[&dyn Signer]) -> Result<Vec<RoleName>> {
        let path = self.target_path(tag);
        self.revoke_where(|target| target == path, signers)?.ok_or_else(|| Error::NotFound {
            what: "signed tag",
            name: tag.to_owned(),
            repository: self.name.clone(),
        })
    }

    /// Takes back the signatures of all tags.
    pub fn revoke_all(&mut self, signers: &[&dyn Signer]) -> Result<Vec<RoleName>> {
        self.revoke_where(|_| true, signers)?.ok_or_else(|| Error::NotFound {
            what: "signed tag",
            name: "*".to_owned(),
            repository: self.name.clone(),
        })
    }

    fn revoke_where(
        &mut self,
        revoked: impl Fn(&str) -> bool,
        signers: &[&dyn Signer],
    ) -> Result<Option<Vec<RoleName>>> {
        let mut roles = self.writable_roles(signers)?;
        // A tag may also stand in the top-level role from before there were signers.
        if self.holds(&RoleName::targets(), signers) && !roles.contains(&RoleName::targets()) {
            roles.push(RoleName::targets());
        }
        let mut touched = Vec::new();
        for role in roles {
            let lists =
                self.role(&role).is_some_and(|t| t.targets.keys().any(|path| revoked(path)));
            if lists {
                self.edit_targets(&role)?.targets.retain(|path, _| !revoked(path));
                touched.push(role);
            }
        }
        Ok((!touched.is_empty()).then_some(touched))
    }

    /// Replaces a top-level role's keys; root is signed by its old and its new keys.
    pub fn rotate(&mut self, rotation: &RotateRole) -> Result<()> {
        let mut root = self.root().clone();
        if !root.roles.contains_key(&rotation.role) {
            return Err(Error::NotFound {
                what: "role",
                name: rotation.role.clone(),
                repository: self.name.clone(),
            });
        }
        let keys = rotation.setup.register(&rotation.role, &mut root.keys)?;
        root.roles.insert(rotation.role.clone(), keys);
        let roles = &root.roles;
        root.keys.retain(|id, _| roles.values().any(|role| role.keyids.contains(id)));
        self.dirty.root = Some(root);
        if rotation.role == "targets" {
            self.edit_targets(&RoleName::targets())?;
        }
        // Clients forget timestamp and snapshot when either's key rotates: both are made anew.
        self.dirty.snapshot = true;
        Ok(())
    }

    /// Signs what was edited and everything that follows from it.
    ///
    /// On an error nothing has changed: the repository may be committed again with more keys.
    pub fn commit(
        &mut self,
        what: Commit,
        signers: &[&dyn Signer],
        lifetimes: Lifetimes,
        now: Time,
    ) -> Result<&MetadataFiles> {
        let mut next = self.clone();
        next.commit_root(signers, lifetimes, now)?;
        next.commit_targets(signers, lifetimes, now)?;
        let first = next.snapshot.is_none();
        if first || what != Commit::RefreshTimestamp || !self.dirty.is_empty() {
            next.commit_snapshot(signers, lifetimes, now)?;
        }
        next.commit_timestamp(signers, lifetimes, now)?;
        next.dirty = Dirty::default();
        interop::check(&next.files, now)?;
        *self = next;
        Ok(&self.files)
    }

    fn commit_root(&mut self, signers: &[&dyn Signer], life: Lifetimes, now: Time) -> Result<()> {
        let Some(mut root) = self.dirty.root.take() else { return Ok(()) };
        let first = !self.files.keys().any(|name| name.ends_with(".root.json"));
        root.version = if first { 1 } else { self.root.version + 1 };
        root.expires = after(now, life.root_days)?;
        let mut document = Signed::unsigned(root.clone())?;
        let new = role_keys(&root, "root")?;
        sign_with(&mut document, &root.keys, &new.keyids, signers)?;
        if !first {
            let old = role_keys(&self.root, "root")?.clone();
            let old_keys = self.root.keys.clone();
            sign_with(&mut document, &old_keys, &old.keyids, signers)?;
            enough(&document, "root", &old_keys, &old.keyids, old.threshold)?;
        }
        enough(&document, "root", &root.keys, &new.keyids, new.threshold)?;
        let file = format!("{}.root.json", root.version);
        self.files.insert(file, document.to_bytes().into());
        self.root = document;
        Ok(())
    }

    fn commit_targets(
        &mut self,
        signers: &[&dyn Signer],
        life: Lifetimes,
        now: Time,
    ) -> Result<()> {
        let edited = std::mem::take(&mut self.dirty.targets);
        // The top-level role first: delegated ones are signed by the keys it gives them now.
        for (name, mut role) in edited.into_iter() {
            role.version = self.targets.get(&name).map_or(0, |old| old.version) + 1;
            role.expires = after(now, life.targets_days)?;
            let delegated = self.delegated_keys(&name)?;
            let Some((keys, ids, threshold)) = delegated else { continue };
            let mut document = Signed::unsigned(role)?;
            sign_with(&mut document, &keys, &ids, signers)?;
            enough(&document, name.as_str(), &keys, &ids, threshold)?;
            let file = name.served(Some(document.version));
            self.files.insert(file, document.to_bytes().into());
            self.targets.insert(name, document);
            self.dirty.snapshot = true;
        }
        Ok(())
    }

    /// The keys that must sign a role; none where nobody delegates to it any more.
    fn delegated_keys(&self, name: &RoleName) -> Result<Option<(KeyTable, Vec<KeyId>, u64)>> {
        if *name == RoleName::targets() {
            let keys = role_keys(&self.root, "targets")?;
            return Ok(Some((self.root.keys.clone(), keys.keyids.clone(), keys.threshold)));
        }
        Ok(self
            .delegation(name.as_str())
            .map(|(role, keys)| (keys.clone(), role.keys.keyids.clone(), role.keys.threshold)))
    }

    fn commit_snapshot(
        &mut self,
        signers: &[&dyn Signer],
        life: Lifetimes,
        now: Time,
    ) -> Result<()> {
        // Listed once means listed for ever, so roles that lost their delegation stay.
        let mut meta = BTreeMap::new();
        for (name, role) in &self.targets {
            let bytes = self.files.get(&name.served(Some(role.version)));
            meta.insert(name.listed(), listing(role.version, bytes));
        }
        let snapshot = Snapshot {
            kind: Snapshot::TYPE.to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: self.snapshot.as_ref().map_or(0, |old| old.version) + 1,
            expires: after(now, life.snapshot_days)?,
            meta,
            extra: Map::new(),
        };
        let mut document = Signed::unsigned(snapshot)?;
        self.sign_top_level(&mut document, "snapshot", signers)?;
        let file = RoleName::new("snapshot")?.served(Some(document.version));
        self.files.insert(file, document.to_bytes().into());
        self.snapshot = Some(document);
        self.forget_old_files()
    }

    fn commit_timestamp(
        &mut self,
        signers: &[&dyn Signer],
        life: Lifetimes,
        now: Time,
    ) -> Result<()> {
        let version = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
        let bytes = self.files.get(&RoleName::new("snapshot")?.served(Some(version)));
        let timestamp = Timestamp {
            kind: Timestamp::TYPE.to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: self.timestamp.as_ref().map_or(0, |old| old.version) + 1,
            expires: after(now, life.timestamp_days)?,
            meta: BTreeMap::from([("snapshot.json".to_owned(), listing(version, bytes))]),
            extra: Map::new(),
        };
        let mut document = Signed::unsigned(timestamp)?;
        self.sign_top_level(&mut document, "timestamp", signers)?;
        self.files.insert("timestamp.json".to_owned(), document.to_bytes().into());
        self.timestamp = Some(document);
        Ok(())
    }

    fn sign_top_level<T: Role>(
        &self,
        document: &mut Signed<T>,
        role: &str,
        signers: &[&dyn Signer],
    ) -> Result<()> {
        let keys = role_keys(&self.root, role)?;
        sign_with(document, &self.root.keys, &keys.keyids, signers)?;
        enough(document, role, &self.root.keys, &keys.keyids, keys.threshold)
    }

    /// Keeps every root (clients walk them) and only the current version of everything else.
    fn forget_old_files(&mut self) -> Result<()> {
        let mut current: BTreeSet<String> = BTreeSet::new();
        for (name, role) in &self.targets {
            current.insert(name.served(Some(role.version)));
        }
        let version = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
        current.insert(RoleName::new("snapshot")?.served(Some(version)));
        self.files.retain(|name, _| {
            let root = MetadataFile::parse(name).is_some_and(|file| file.role.as_str() == "root");
            root || name == "timestamp.json" || current.contains(name)
        });
        Ok(())
    }

    fn delegations(&self) -> Option<&Delegations> {
        self.role(&RoleName::targets())?.delegations.as_ref()
    }

    fn delegation(&self, role: &str) -> Option<(&DelegatedRole, &KeyTable)> {
        let delegations = self.delegations()?;
        let roles = delegations.roles.as_deref().unwrap_or_default();
        Some((roles.iter().find(|delegated| delegated.name == role)?, &delegations.keys))
    }

    /// True if the signers at hand reach the role's threshold.
    fn holds(&self, role: &RoleName, signers: &[&dyn Signer]) -> bool {
        let threshold = match self.root().role(role.as_str()) {
            Some(top) => top.threshold,
            None => self.delegation(role.as_str()).map_or(u64::MAX, |(d, _)| d.keys.threshold),
        };
        let keys = self.keys_of(role);
        let held = keys.iter().filter(|key| signers.iter().any(|signer| signer.public() == **key));
        threshold >= 1 && held.count() as u64 >= threshold
    }

    fn writable_roles(&self, signers: &[&dyn Signer]) -> Result<Vec<RoleName>> {
        let declared = self.signers();
        if declared.is_empty() {
            return Ok(vec![RoleName::targets()]);
        }
        let mut roles = Vec::new();
        for (name, _) in &declared {
            let role = RoleName::new(format!("targets/{name}"))?;
            if self.holds(&role, signers) {
                roles.push(role);
            }
        }
        if roles.is_empty() {
            let keys: Vec<&str> =
                declared.iter().flat_map(|(_, ids)| ids).map(|id| id.short(12)).collect();
            return Err(Error::MissingKeys {
                role: RELEASES.to_owned(),
                needed: 1,
                held: 0,
                missing: keys.join(", "),
            });
        }
        roles.push(RoleName::new(RELEASES)?);
        Ok(roles)
    }

    /// A role's metadata, to be edited: from now on it is signed anew at the next commit.
    fn edit_targets(&mut self, role: &RoleName) -> Result<&mut Targets> {
        let known = *role == RoleName::targets() || self.delegation(role.as_str()).is_some();
        if !known {
            return Err(Error::NotFound {
                what: "role",
                name: role.to_string(),
                repository: self.name.clone(),
            });
        }
        let present = self.targets.get(role).map(Signed::signed);
        let fresh = || present.cloned().unwrap_or_else(empty_targets);
        Ok(self.dirty.targets.entry(role.clone()).or_insert_with(fresh))
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

/// The target's path: the repository's path and the tag, without the registry, so that a mirror keeps it.
pub(crate) fn target_path(repository: &str, tag: &str) -> String {
    format!("{repository}:{tag}")
}

/// The tags a targets role lists for `repository`.
pub(crate) fn tags_of(repository: &str, targets: &Targets) -> Vec<Tag> {
    let prefix = target_path(repository, "");
    let tags = targets.targets.iter().filter_map(|(path, file)| {
        let name = path.strip_prefix(&prefix)?;
        Some(Tag {
            name: name.to_owned(),
            digest: digest_of(file)?,
            size: file.length,
            media_type: media_type_of(file),
        })
    });
    tags.collect()
}

/// The digest a target names; SHA-512 where both are given, as the stronger one.
pub(crate) fn digest_of(file: &TargetFile) -> Option<Digest> {
    ["sha512", "sha256"]
        .iter()
        .find_map(|name| format!("{name}:{}", file.hashes.get(*name)?).parse().ok())
}

/// The media type a target names.
pub(crate) fn media_type_of(file: &TargetFile) -> Option<String> {
    file.custom.as_ref()?.get("mediaType")?.as_str().map(str::to_owned)
}

fn target_of(descriptor: &Descriptor) -> TargetFile {
    let digest = descriptor.digest();
    let algorithm = digest.algorithm().as_str().to_owned();
    TargetFile {
        length: descriptor.size(),
        hashes: BTreeMap::from([(algorithm, digest.hex().to_owned())]),
        custom: Some(json!({ "mediaType": descriptor.media_type().as_str() })),
        extra: Map::new(),
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

fn no_delegations() -> Delegations {
    Delegations {
        keys: KeyTable::new(),
        roles: Some(Vec::new()),
        succinct_roles: None,
        extra: Map::new(),
    }
}

fn delegated(name: &str, path: &str, terminating: bool) -> DelegatedRole {
    DelegatedRole {
        name: name.to_owned(),
        keys: DelegatedKeys { keyids: Vec::new(), threshold: 1 },
        terminating,
        paths: Some(vec![path.to_owned()]),
        path_hash_prefixes: None,
    }
}

fn listing(version: u64, bytes: Option<&Arc<[u8]>>) -> MetaFile {
    let mut meta = MetaFile::new(version);
    meta.length = bytes.map(|bytes| bytes.len() as u64);
    meta.hashes = bytes.map(|bytes| {
        BTreeMap::from([("sha256".to_owned(), Digest::sha256(bytes).hex().to_owned())])
    });
    meta
}

fn after(now: Time, days: u32) -> Result<Time> {
    let whole = Time::from_second(now.as_second()).unwrap_or(now);
    whole
        .checked_add(SignedDuration::from_hours(24 * i64::from(days)))
        .map_err(|error| Error::malformed("a lifetime", error.to_string()))
}

fn role_keys<'a>(root: &'a Root, role: &str) -> Result<&'a RoleKeys> {
    root.role(role).ok_or_else(|| Error::MetadataMissing { file: format!("role {role}") })
}

fn sign_with<T: Role>(
    document: &mut Signed<T>,
    keys: &KeyTable,
    ids: &[KeyId],
    signers: &[&dyn Signer],
) -> Result<()> {
    for id in ids {
        let held = signers.iter().find(|signer| keys.get(id) == Some(signer.public()));
        if let Some(signer) = held {
            document.sign(id, *signer)?;
        }
    }
    Ok(())
}

fn enough<T: Role>(
    document: &Signed<T>,
    role: &str,
    keys: &KeyTable,
    ids: &[KeyId],
    threshold: u64,
) -> Result<()> {
    let tally = document.tally(keys, ids, threshold);
    if tally.is_met() {
        return Ok(());
    }
    let signed: Vec<&KeyId> = document.signatures().iter().map(|sig| &sig.keyid).collect();
    let missing: Vec<&str> =
        ids.iter().filter(|id| !signed.contains(id)).map(|id| id.short(12)).collect();
    Err(Error::MissingKeys {
        role: role.to_owned(),
        needed: threshold,
        held: tally.valid(),
        missing: missing.join(", "),
    })
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
