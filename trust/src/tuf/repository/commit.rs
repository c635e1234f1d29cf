//! Signing what was edited and everything that follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp as Time};
use oci::Digest;
use serde_json::Map;

use super::{Commit, Dirty, Lifetimes, MetadataFiles, Repository};
use crate::key::{KeyId, KeyTable, Signer};
use crate::tuf::interop;
use crate::tuf::name::{MetadataFile, RoleName};
use crate::tuf::schema::{MetaFile, Role, RoleKeys, Root, SPEC_VERSION, Snapshot, Timestamp};
use crate::tuf::signed::Signed;
use crate::{Error, Result};

impl Repository {
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
        interop::check(&next.files, next.retired.keys().collect(), now)?;
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
            role.version = self.published_version(&name) + 1;
            role.expires = after(now, life.targets_days)?;
            let delegated = self.delegated_keys(&name)?;
            let Some((keys, ids, threshold)) = delegated else { continue };
            let mut document = Signed::unsigned(role)?;
            sign_with(&mut document, &keys, &ids, signers)?;
            enough(&document, name.as_str(), &keys, &ids, threshold)?;
            let file = name.served(Some(document.version));
            self.files.insert(file, document.to_bytes().into());
            self.retired.remove(&name);
            self.targets.insert(name, document);
            self.dirty.snapshot = true;
        }
        Ok(())
    }

    /// The keys that must sign a role; none where nobody delegates to it any more.
    pub(super) fn delegated_keys(
        &self,
        name: &RoleName,
    ) -> Result<Option<(KeyTable, Vec<KeyId>, u64)>> {
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
        for (name, version) in &self.retired {
            let bytes = self.files.get(&name.served(Some(*version)));
            meta.insert(name.listed(), listing(*version, bytes));
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
        current.extend(self.retired.iter().map(|(name, version)| name.served(Some(*version))));
        let version = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
        current.insert(RoleName::new("snapshot")?.served(Some(version)));
        self.files.retain(|name, _| {
            let root = MetadataFile::parse(name).is_some_and(|file| file.role.as_str() == "root");
            root || name == "timestamp.json" || current.contains(name)
        });
        Ok(())
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

pub(super) fn after(now: Time, days: u32) -> Result<Time> {
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
