//! `trust doctor`: how long trust data live, who can sign them, and what happens after a loss.

use std::sync::Arc;

use jiff::Timestamp;
use oci::Repository;
use trust::key::{self, KeyId, PublicKey, Signer};
use trust::tuf::{self, Commit, Lifetimes, RoleName, RoleSetup, RotateRole};

use super::roots::DEVICE;
use super::sign::{Needs, Signing};
use crate::error::{Error, Result};

/// Days before a role's expiry at which it is worth a warning.
const WARNING_DAYS: i64 = 30;
/// The same for the timestamp, which lives fourteen days.
const TIMESTAMP_WARNING_DAYS: i64 = 3;

/// What `trust doctor` found about one repository.
#[derive(Clone, Debug)]
pub struct Checkup {
    /// The repository.
    pub repository: Repository,
    /// Every role, the one that expires first first.
    pub roles: Vec<RoleHealth>,
    /// What happens when one of the root's keys is lost, each tried.
    pub losses: Vec<Loss>,
}

/// One role.
#[derive(Clone, Debug)]
pub struct RoleHealth {
    /// Its name.
    pub role: String,
    /// When its signature ends.
    pub expires: Timestamp,
    /// Whole days until then; negative after it.
    pub days: i64,
    /// Keys that must sign.
    pub needed: u64,
    /// Keys that could.
    pub keys: u64,
    /// Of those, the ones that this user has at hand.
    pub here: u64,
}

/// The loss of one root key.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Who holds the key.
    pub holder: String,
    /// The beginning of the key's id.
    pub short_id: String,
    /// What came of the rehearsal.
    pub outcome: Rehearsal,
}

/// What came of losing a key in rehearsal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rehearsal {
    /// A new root was made without it and trusted by a client that pinned the first one.
    Recovered,
    /// It needs the signatures of these holders too, who were not here to rehearse.
    Needs(Vec<String>),
    /// Nobody could make a new root.
    NoWayBack,
}

impl Checkup {
    /// Whether something is to be done soon.
    pub fn is_healthy(&self) -> bool {
        self.roles.iter().all(|role| !role.is_due())
            && self.losses.iter().all(|loss| loss.outcome != Rehearsal::NoWayBack)
    }
}

impl RoleHealth {
    /// Whether it expires soon, or has.
    pub fn is_due(&self) -> bool {
        let limit = if self.role == "timestamp" { TIMESTAMP_WARNING_DAYS } else { WARNING_DAYS };
        self.days < limit
    }
}

impl Signing<'_> {
    /// The repositories that this user pinned a root of.
    pub fn repositories(&self) -> Result<Vec<Repository>> {
        Ok(self.keys.roots()?.into_iter().map(|(repository, _)| repository).collect())
    }

    /// Looks at a repository's trust data and rehearses the loss of each of its root keys.
    pub fn check_up(&self, repository: &Repository) -> Result<Checkup> {
        let open = self.must_open("trust doctor", repository)?;
        self.unlock(&open.repository, Needs::Root)?;
        let metadata = open.repository;
        let now = crate::clock::now();
        let at_hand: Vec<KeyId> = self.at_hand().iter().map(|s| s.public().id()).collect();
        let mut roles = Vec::new();
        for (role, expires) in metadata.expiries() {
            let keys = metadata.keys_of(&role);
            let here = keys.iter().filter(|key| at_hand.contains(&key.id())).count() as u64;
            let needed = metadata.threshold_of(&role);
            let days = (expires.as_second() - now.as_second()).div_euclid(86_400);
            let keys = keys.len() as u64;
            roles.push(RoleHealth { role: role.to_string(), expires, days, needed, keys, here });
        }
        let mut losses = Vec::new();
        for (holder, key) in metadata.root_holders() {
            let outcome = self.rehearse(&metadata, &holder, &key, now)?;
            losses.push(Loss { holder, short_id: key.id().short(12).to_owned(), outcome });
        }
        Ok(Checkup { repository: repository.clone(), roles, losses })
    }

    /// Loses a key in memory: makes a new root without it, and new online keys where the machine
    /// went with it. The commit reads the result as a client does who starts from the first root.
    fn rehearse(
        &self,
        metadata: &tuf::Repository,
        holder: &str,
        lost: &PublicKey,
        now: Timestamp,
    ) -> Result<Rehearsal> {
        let threshold = metadata.threshold_of(&RoleName::new("root")?);
        let holders = metadata.root_holders();
        let left: Vec<&(String, PublicKey)> =
            holders.iter().filter(|(_, key)| key != lost).collect();
        let with_machine = holder == DEVICE || holders.len() == 1;
        let mut signers: Vec<Arc<dyn Signer>> = self.at_hand();
        signers.retain(|signer| match with_machine {
            // With the machine everything in its key folder is gone, but not paper and helpers.
            true => left.iter().any(|(_, key)| key == signer.public()),
            false => signer.public() != lost,
        });
        let here = |key: &PublicKey| signers.iter().any(|signer| signer.public() == key);
        let (present, absent): (Vec<_>, Vec<_>) =
            left.iter().copied().partition(|(_, key)| here(key));
        if (left.len() as u64) < threshold {
            return Ok(Rehearsal::NoWayBack);
        }
        if (present.len() as u64) < threshold {
            return Ok(Rehearsal::Needs(absent.iter().map(|(name, _)| name.clone()).collect()));
        }
        let mut rehearsed = metadata.clone();
        let mut keys: Vec<PublicKey> = left.iter().map(|(_, key)| key.clone()).collect();
        keys.push(fresh(&mut signers)?);
        let setup = RoleSetup { keys, threshold };
        rehearsed.rotate(&RotateRole { role: "root".to_owned(), setup })?;
        if with_machine {
            for role in ["targets", "snapshot", "timestamp"] {
                let setup = RoleSetup::single(&fresh(&mut signers)?);
                rehearsed.rotate(&RotateRole { role: role.to_owned(), setup })?;
            }
        }
        let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
        match rehearsed.commit(Commit::Edits, &signers, Lifetimes::default(), now) {
            Ok(_) => Ok(Rehearsal::Recovered),
            Err(error) => Err(Error::Trust(error)),
        }
    }
}

/// A key that lives as long as the rehearsal.
fn fresh(signers: &mut Vec<Arc<dyn Signer>>) -> Result<PublicKey> {
    let signer = key::generate()?;
    let public = signer.public().clone();
    signers.push(Arc::new(signer));
    Ok(public)
}
