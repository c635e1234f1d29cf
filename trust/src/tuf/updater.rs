//! The client workflow (TUF 5), without sockets, files or a clock.
//!
//! The caller asks [`Updater::advance`] what to fetch, hands the answer to [`Updater::supply`], and
//! keeps the [`Change`]s in order. Every rule is checked before a change is handed out.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp as Time;
use oci::{Algorithm, Digest};

use super::delegation::Child;
use super::name::RoleName;
use super::schema::{MetaFile, Role, Root, Snapshot, Targets, Timestamp};
use super::signed::Signed;
use super::state::{Change, TrustedState};
use crate::key::{KeyTable, PublicKey};
use crate::limits;
use crate::{Error, Result};

/// Bounds of one update; the defaults are those of [`crate::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most root rotations walked (TUF 5.3.3).
    pub root_rotations: u32,
    /// Largest root (TUF 5.3.3, "X").
    pub root_bytes: u64,
    /// Largest timestamp (TUF 5.4.1, "Y").
    pub timestamp_bytes: u64,
    /// Largest snapshot where no length is signed (TUF 5.5.1).
    pub snapshot_bytes: u64,
    /// Largest targets where no length is signed (TUF 5.6.1).
    pub targets_bytes: u64,
    /// Most delegated roles visited in one search (TUF 5.6.7.1).
    pub delegations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root_rotations: limits::ROOT_ROTATIONS_MAX,
            root_bytes: limits::ROOT_BYTES_MAX,
            timestamp_bytes: limits::TIMESTAMP_BYTES_MAX,
            snapshot_bytes: limits::SNAPSHOT_BYTES_MAX,
            targets_bytes: limits::TARGETS_BYTES_MAX,
            delegations: limits::DELEGATIONS_MAX,
        }
    }
}

/// Whether the repository is asked, or only what was trusted before is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Ask the repository for newer metadata.
    Fetch,
    /// Use the trusted state alone: not one request, all expiry dates still hold.
    LocalOnly,
}

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The file's name under the metadata URL (or in the artifact): one path element.
    pub file: String,
    /// The most bytes that may be read; the transport must stop there.
    pub limit: u64,
}

/// What fetching a file gave. Any failure but absence ends the update instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The file.
    Found(Vec<u8>),
    /// The repository has no such file.
    NotFound,
}

enum Stage {
    Root,
    Timestamp,
    Snapshot,
    Targets,
    Ready,
}

enum Pending {
    Root,
    Timestamp,
    Snapshot { listed: MetaFile },
    Role { child: Child, keys: KeyTable, listed: MetaFile },
}

/// One update of the trusted metadata and the searches in it.
pub struct Updater {
    /// TUF 5.1: one time for the whole update, so that a long one does not fail half-way.
    now: Time,
    freshness: Freshness,
    pub(super) limits: Limits,
    local: TrustedState,
    changes: Vec<Change>,
    root: Signed<Root>,
    rotations: u32,
    timestamp: Option<Signed<Timestamp>>,
    snapshot: Option<Signed<Snapshot>>,
    roles: BTreeMap<RoleName, Signed<Targets>>,
    stage: Stage,
    pending: Option<Pending>,
}

impl Updater {
    /// Starts from what was trusted before, or from `anchor`, the pinned root (TUF 5.2).
    ///
    /// The newer of the two is the start: a state older than a newly pinned root is superseded.
    pub fn start(
        anchor: &[u8],
        state: TrustedState,
        freshness: Freshness,
        now: Time,
    ) -> Result<Self> {
        let mut root: Signed<Root> = Signed::parse("root.json", anchor)?;
        verify_root(&root, &root)?;
        let mut changes = Vec::new();
        match state.get("root.json").map(|bytes| Signed::<Root>::parse("root.json", bytes)) {
            Some(Ok(kept)) if kept.version >= root.version => {
                verify_root(&kept, &kept)?;
                root = kept;
            }
            _ => changes.push(Change::Write { file: "root.json".to_owned(), bytes: anchor.into() }),
        }
        Ok(Self {
            now,
            freshness,
            limits: Limits::default(),
            local: state,
            changes,
            root,
            rotations: 0,
            timestamp: None,
            snapshot: None,
            roles: BTreeMap::new(),
            stage: Stage::Root,
            pending: None,
        })
    }

    /// Uses other bounds than the default ones.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Goes on without I/O as far as possible; `None` means that the refresh is complete.
    pub fn advance(&mut self) -> Result<Option<Request>> {
        loop {
            let request = match self.stage {
                Stage::Root => self.advance_root()?,
                Stage::Timestamp => self.advance_timestamp()?,
                Stage::Snapshot => self.advance_snapshot()?,
                Stage::Targets => self.advance_targets()?,
                Stage::Ready => return Ok(None),
            };
            if request.is_some() {
                return Ok(request);
            }
        }
    }

    /// Takes the answer to the last request.
    pub fn supply(&mut self, response: Response) -> Result<()> {
        match (self.pending.take(), response) {
            (Some(Pending::Root), Response::Found(bytes)) => self.accept_root(bytes),
            (Some(Pending::Root), Response::NotFound) => self.finish_root(),
            (Some(Pending::Timestamp), Response::Found(bytes)) => self.accept_timestamp(bytes),
            (Some(Pending::Timestamp), Response::NotFound) => Err(missing("timestamp.json")),
            (Some(Pending::Snapshot { listed }), Response::Found(bytes)) => {
                let snapshot = self.check_snapshot(&bytes, &listed)?;
                self.write("snapshot.json", bytes);
                self.snapshot = Some(snapshot);
                self.stage = Stage::Targets;
                Ok(())
            }
            (Some(Pending::Snapshot { .. }), Response::NotFound) => Err(missing("snapshot.json")),
            (Some(Pending::Role { child, keys, listed }), Response::Found(bytes)) => {
                let targets = self.check_role(&bytes, &child, &keys, &listed)?;
                self.write(&child.role.stored(), bytes);
                self.roles.insert(child.role, targets);
                Ok(())
            }
            (Some(Pending::Role { child, .. }), Response::NotFound) => {
                Err(missing(&child.role.stored()))
            }
            (None, _) => Ok(()),
        }
    }

    /// Takes back the last request: its answer is not wanted after all.
    pub(super) fn cancel(&mut self) {
        self.pending = None;
    }

    /// The changes since the last call, to be kept in this order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The trusted root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The trusted timestamp, once refreshed.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp.as_deref()
    }

    /// The trusted snapshot, once refreshed.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_deref()
    }

    /// A targets role, if it was loaded.
    pub fn role(&self, role: &RoleName) -> Option<&Targets> {
        self.roles.get(role).map(Signed::signed)
    }

    /// When the first of the roles that every verdict rests on expires.
    pub fn expires(&self) -> Option<Time> {
        let mut first = self.root.expires.min(self.timestamp.as_ref()?.expires);
        first = first.min(self.snapshot.as_ref()?.expires);
        Some(self.roles.values().map(|role| role.expires).fold(first, Time::min))
    }

    // 5.3: update the root role.

    fn advance_root(&mut self) -> Result<Option<Request>> {
        // 5.3.3: as many new roots as there are, up to a bound.
        if self.freshness == Freshness::LocalOnly || self.rotations >= self.limits.root_rotations {
            self.finish_root()?;
            return Ok(None);
        }
        self.pending = Some(Pending::Root);
        let file = format!("{}.root.json", self.root.version.saturating_add(1));
        Ok(Some(Request { file, limit: self.limits.root_bytes }))
    }

    fn accept_root(&mut self, bytes: Vec<u8>) -> Result<()> {
        let file = format!("{}.root.json", self.root.version.saturating_add(1));
        bound(&file, &bytes, self.limits.root_bytes)?;
        let new: Signed<Root> = Signed::parse(&file, &bytes)?;
        // 5.3.4: a threshold of the old keys and a threshold of the new ones.
        verify_root(&new, &self.root)?;
        verify_root(&new, &new)?;
        // 5.3.5: exactly the next version (CVE-2025-2885).
        let expected = self.root.version.saturating_add(1);
        if new.version != expected {
            return Err(Error::WrongVersion { file, expected, found: new.version });
        }
        // 5.3.11: recovery from fast-forward: rotating either key forgets both files. Forgetting
        // comes before the root is kept, so that a crash between them cannot skip it.
        if key_removed(&self.root, &new, "timestamp") || key_removed(&self.root, &new, "snapshot") {
            self.remove("timestamp.json");
            self.remove("snapshot.json");
        }
        // 5.3.6, 5.3.8: an expired root on the way is fine, and it is kept at once.
        self.write("root.json", bytes);
        self.root = new;
        self.rotations += 1;
        Ok(())
    }

    fn finish_root(&mut self) -> Result<()> {
        // 5.3.10: only the last root is checked against the time.
        self.check_expiry("root", self.root.expires)?;
        self.stage = Stage::Timestamp;
        Ok(())
    }

    // 5.4: update the timestamp role.

    fn advance_timestamp(&mut self) -> Result<Option<Request>> {
        // A kept copy counts for comparison even when it has expired.
        self.timestamp = self.local("timestamp.json").and_then(|bytes| {
            let kept: Signed<Timestamp> = Signed::parse("timestamp.json", &bytes).ok()?;
            self.verify_top_level("timestamp", &kept).ok()?;
            Some(kept)
        });
        if self.freshness == Freshness::LocalOnly {
            self.finish_timestamp()?;
            return Ok(None);
        }
        self.pending = Some(Pending::Timestamp);
        let limit = self.limits.timestamp_bytes;
        Ok(Some(Request { file: "timestamp.json".to_owned(), limit }))
    }

    fn accept_timestamp(&mut self, bytes: Vec<u8>) -> Result<()> {
        bound("timestamp.json", &bytes, self.limits.timestamp_bytes)?;
        let new: Signed<Timestamp> = Signed::parse("timestamp.json", &bytes)?;
        // 5.4.2: signatures.
        self.verify_top_level("timestamp", &new)?;
        if let Some(kept) = &self.timestamp {
            // 5.4.3.1: an equal version is the one we have, whatever else it says.
            if new.version == kept.version {
                return self.finish_timestamp();
            }
            not_older("timestamp.json", kept.version, new.version)?;
            // 5.4.3.2: before anything is kept (CVE-2025-2888).
            if let (Some(kept), Some(new)) = (kept.snapshot(), new.snapshot()) {
                not_older("snapshot.json", kept.version, new.version)?;
            }
        }
        // 5.4.4: freeze.
        self.check_expiry("timestamp", new.expires)?;
        // 5.4.5: keep it.
        self.write("timestamp.json", bytes);
        self.timestamp = Some(new);
        self.stage = Stage::Snapshot;
        Ok(())
    }

    fn finish_timestamp(&mut self) -> Result<()> {
        let expires = self.timestamp.as_ref().ok_or_else(|| missing("timestamp.json"))?.expires;
        self.check_expiry("timestamp", expires)?;
        self.stage = Stage::Snapshot;
        Ok(())
    }

    // 5.5: update the snapshot role.

    fn advance_snapshot(&mut self) -> Result<Option<Request>> {
        let listed = self.timestamp.as_ref().and_then(|timestamp| timestamp.snapshot()).cloned();
        let listed = listed.ok_or_else(|| missing("snapshot.json"))?;
        if let Some(bytes) = self.local("snapshot.json") {
            match self.check_snapshot(&bytes, &listed) {
                Ok(current) => {
                    self.snapshot = Some(current);
                    self.stage = Stage::Targets;
                    return Ok(None);
                }
                Err(error) if self.freshness == Freshness::LocalOnly => return Err(error),
                Err(_) => {}
            }
        }
        if self.freshness == Freshness::LocalOnly {
            return Err(missing("snapshot.json"));
        }
        let version = self.root.consistent_snapshot.then_some(listed.version);
        let file = RoleName::new("snapshot")?.served(version);
        let limit = listed.length.unwrap_or(self.limits.snapshot_bytes);
        self.pending = Some(Pending::Snapshot { listed });
        Ok(Some(Request { file, limit: limit.min(self.limits.snapshot_bytes) }))
    }

    fn check_snapshot(&self, bytes: &[u8], listed: &MetaFile) -> Result<Signed<Snapshot>> {
        bound("snapshot.json", bytes, self.limits.snapshot_bytes)?;
        // 5.5.2: length and hashes, where signed.
        check_content("snapshot.json", bytes, listed)?;
        let new: Signed<Snapshot> = Signed::parse("snapshot.json", bytes)?;
        // 5.5.3: signatures.
        self.verify_top_level("snapshot", &new)?;
        // 5.5.4: the version that timestamp names (mix and match).
        if new.version != listed.version {
            let (expected, found) = (listed.version, new.version);
            return Err(Error::WrongVersion { file: "snapshot.json".to_owned(), expected, found });
        }
        // 5.5.5: no role goes back or away, delegated ones included (CVE-2025-2887).
        if let Some(kept) = self.kept_snapshot() {
            for (file, listed) in &kept.meta {
                let offered = new.meta.get(file);
                let offered = offered.ok_or_else(|| Error::RoleRemoved { file: file.clone() })?;
                not_older(file, listed.version, offered.version)?;
            }
        }
        // 5.5.6: freeze.
        self.check_expiry("snapshot", new.expires)?;
        Ok(new)
    }

    /// The snapshot trusted before, if the present root still vouches for it; it may have expired.
    fn kept_snapshot(&self) -> Option<Signed<Snapshot>> {
        let kept: Signed<Snapshot> =
            Signed::parse("snapshot.json", &self.local("snapshot.json")?).ok()?;
        self.verify_top_level("snapshot", &kept).ok()?;
        Some(kept)
    }

    // 5.6: update the targets roles.

    fn advance_targets(&mut self) -> Result<Option<Request>> {
        let request = self.load_role(&self.top_targets(), &self.root.keys.clone())?;
        if request.is_none() {
            self.stage = Stage::Ready;
        }
        Ok(request)
    }

    /// The top-level targets role as root delegates to it.
    pub(super) fn top_targets(&self) -> Child {
        let keys = self.root.role("targets");
        Child {
            role: RoleName::targets(),
            keyids: keys.map(|keys| keys.keyids.clone()).unwrap_or_default(),
            threshold: keys.map_or(0, |keys| keys.threshold),
            terminating: false,
        }
    }

    /// Loads a targets role on behalf of one delegator; `None` means that it is there.
    ///
    /// A role that another delegator loaded is verified again with *this* delegator's keys: in a
    /// diamond each side vouches for itself.
    pub(super) fn load_role(&mut self, child: &Child, keys: &KeyTable) -> Result<Option<Request>> {
        let snapshot = self.snapshot.as_ref().ok_or_else(|| missing("snapshot.json"))?;
        // A delegation that snapshot does not list is an error, it is not fetched anyway.
        let listed = snapshot.listing(&child.role).cloned();
        let listed = listed.ok_or_else(|| missing(&child.role.listed()))?;
        if let Some(role) = self.roles.get(&child.role) {
            role.verify(child.role.as_str(), keys, &child.keyids, child.threshold)?;
            return Ok(None);
        }
        if let Some(bytes) = self.local(&child.role.stored()) {
            match self.check_role(&bytes, child, keys, &listed) {
                Ok(targets) => {
                    self.roles.insert(child.role.clone(), targets);
                    return Ok(None);
                }
                Err(error) if self.freshness == Freshness::LocalOnly => return Err(error),
                Err(_) => {}
            }
        }
        if self.freshness == Freshness::LocalOnly {
            return Err(missing(&child.role.stored()));
        }
        let file = child.role.served(self.root.consistent_snapshot.then_some(listed.version));
        let limit = listed.length.unwrap_or(self.limits.targets_bytes);
        let limit = limit.min(self.limits.targets_bytes);
        self.pending = Some(Pending::Role { child: child.clone(), keys: keys.clone(), listed });
        Ok(Some(Request { file, limit }))
    }

    /// The same checks for every targets role, delegated or not (CVE-2026-6967).
    fn check_role(
        &self,
        bytes: &[u8],
        child: &Child,
        keys: &KeyTable,
        listed: &MetaFile,
    ) -> Result<Signed<Targets>> {
        let file = child.role.stored();
        bound(&file, bytes, self.limits.targets_bytes)?;
        // 5.6.2: length and hashes, where signed.
        check_content(&file, bytes, listed)?;
        let targets: Signed<Targets> = Signed::parse(&file, bytes)?;
        // 5.6.3: signatures by the delegator's keys.
        targets.verify(child.role.as_str(), keys, &child.keyids, child.threshold)?;
        // 5.6.4: the version that snapshot names.
        if targets.version != listed.version {
            let (expected, found) = (listed.version, targets.version);
            return Err(Error::WrongVersion { file, expected, found });
        }
        // 5.6.5: freeze.
        self.check_expiry(child.role.as_str(), targets.expires)?;
        Ok(targets)
    }

    fn verify_top_level<T: Role>(&self, role: &str, document: &Signed<T>) -> Result<()> {
        let keys = self.root.role(role).ok_or_else(|| missing(role))?;
        document.verify(role, &self.root.keys, &keys.keyids, keys.threshold)
    }

    fn check_expiry(&self, role: &str, expires: Time) -> Result<()> {
        if expires > self.now {
            return Ok(());
        }
        Err(Error::RoleExpired { role: role.to_owned(), expires, now: self.now })
    }

    fn local(&self, file: &str) -> Option<Arc<[u8]>> {
        self.local.get(file).cloned()
    }

    fn write(&mut self, file: &str, bytes: Vec<u8>) {
        let change = Change::Write { file: file.to_owned(), bytes: bytes.into() };
        self.local.apply(&change);
        self.changes.push(change);
    }

    fn remove(&mut self, file: &str) {
        if self.local.get(file).is_some() {
            let change = Change::Remove { file: file.to_owned() };
            self.local.apply(&change);
            self.changes.push(change);
        }
    }
}

/// Fails unless `delegator`'s root role vouches for `new`, with the delegator's own key table.
pub(crate) fn verify_root(new: &Signed<Root>, delegator: &Root) -> Result<()> {
    let role = delegator.role("root").ok_or_else(|| missing("root.json"))?;
    new.verify("root", &delegator.keys, &role.keyids, role.threshold)
}

/// True if a key of the role was taken away: who holds it may have moved the versions to the end.
/// A key that was only added forgets nothing, or adding keys would undo the protection from rollback.
fn key_removed(old: &Root, new: &Root, role: &str) -> bool {
    fn keys<'a>(root: &'a Root, role: &str) -> Vec<&'a PublicKey> {
        let ids = root.role(role).map(|keys| keys.keyids.as_slice()).unwrap_or_default();
        ids.iter().filter_map(|id| root.keys.get(id)).collect()
    }
    let kept = keys(new, role);
    keys(old, role).iter().any(|key| !kept.contains(key))
}

fn not_older(file: &str, trusted: u64, offered: u64) -> Result<()> {
    if offered >= trusted {
        return Ok(());
    }
    Err(Error::Rollback { file: file.to_owned(), trusted, offered })
}

fn bound(file: &str, bytes: &[u8], limit: u64) -> Result<()> {
    if bytes.len() as u64 <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { what: file.to_owned(), limit })
}

fn missing(file: &str) -> Error {
    Error::MetadataMissing { file: file.to_owned() }
}

/// Length and *all* hashes of known algorithms; hashes of unknown algorithms alone prove nothing.
fn check_content(file: &str, bytes: &[u8], listed: &MetaFile) -> Result<()> {
    if let Some(expected) = listed.length.filter(|length| *length != bytes.len() as u64) {
        let found = bytes.len() as u64;
        return Err(Error::LengthMismatch { file: file.to_owned(), expected, found });
    }
    match &listed.hashes {
        Some(hashes) => check_hashes(file, bytes, hashes),
        None => Ok(()),
    }
}

/// Every hash of a known algorithm must match, and there must be one.
pub(crate) fn check_hashes(
    file: &str,
    bytes: &[u8],
    hashes: &BTreeMap<String, String>,
) -> Result<()> {
    let mut known = 0;
    for (name, algorithm) in [("sha256", Algorithm::Sha256), ("sha512", Algorithm::Sha512)] {
        let Some(expected) = hashes.get(name) else { continue };
        if Digest::of(algorithm, bytes).hex() != expected {
            return Err(Error::HashMismatch { file: file.to_owned(), algorithm: name.to_owned() });
        }
        known += 1;
    }
    if known == 0 {
        let algorithm = "set of known hashes (there is none)".to_owned();
        return Err(Error::HashMismatch { file: file.to_owned(), algorithm });
    }
    Ok(())
}
