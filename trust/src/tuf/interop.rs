//! Two readers look at metadata before it is handed out: our own client and `tough`.

use jiff::Timestamp as Time;
use tough::schema;

use super::drive::{Fetch, FetchError, drive};
use super::name::{MetadataFile, RoleName};
use super::repository::MetadataFiles;
use super::schema::{Delegations, Targets};
use super::state::TrustedState;
use super::updater::{Freshness, Request, Updater};
use crate::{Error, Result};

impl Fetch for &MetadataFiles {
    fn fetch(&mut self, request: &Request) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(self.get(&request.file).map(|bytes| bytes.to_vec()))
    }

    fn at_hand(&self, file: &str) -> bool {
        self.contains_key(file)
    }
}

/// Fails unless a new client, and an independent one, would trust these files from the first root on.
///
/// `retired` roles are listed only so that they cannot come back in an older version.
pub(crate) fn check(files: &MetadataFiles, retired: Vec<&RoleName>, now: Time) -> Result<()> {
    let anchor = files.get("1.root.json");
    let anchor = anchor.ok_or_else(|| Error::MetadataMissing { file: "1.root.json".to_owned() })?;
    let mut updater = Updater::start(anchor, TrustedState::new(), Freshness::Fetch, now)?;
    let mut source = files;
    drive(&mut updater, &mut source)?;
    for role in delegated_roles(&updater) {
        // A signer who has not signed yet has no metadata.
        let listed = updater.snapshot().is_some_and(|snapshot| snapshot.listing(&role).is_some());
        if listed && !retired.contains(&&role) {
            updater.load(&role, &mut source)?;
        }
    }
    check_with_tough(files, &updater)
}

fn delegated_roles(updater: &Updater) -> Vec<RoleName> {
    let delegations: Option<&Delegations> =
        updater.role(&RoleName::targets()).and_then(|targets| targets.delegations.as_ref());
    let roles = delegations.and_then(|delegations| delegations.roles.as_deref());
    roles.unwrap_or_default().iter().filter_map(|r| RoleName::new(r.name.as_str()).ok()).collect()
}

/// `tough` reads SHA-256 targets only; what it cannot read it is not asked about.
fn readable_by_tough(targets: &Targets) -> bool {
    targets.targets.values().all(|file| file.hashes.contains_key("sha256"))
        && targets.delegations.as_ref().is_none_or(|d| d.succinct_roles.is_none())
}

fn check_with_tough(files: &MetadataFiles, updater: &Updater) -> Result<()> {
    let root: schema::Signed<schema::Root> =
        parse(files, &format!("{}.root.json", updater.root().version), "root")?;
    let verified = |role: &str, result: schema::Result<()>| {
        result.map_err(|error| Error::Unpublishable {
            role: role.to_owned(),
            detail: error.to_string(),
        })
    };
    verified("root", root.signed.verify_role(&root))?;
    let timestamp: schema::Signed<schema::Timestamp> = parse(files, "timestamp.json", "timestamp")?;
    verified("timestamp", root.signed.verify_role(&timestamp))?;
    let version = updater.snapshot().map_or(0, |snapshot| snapshot.version);
    let snapshot: schema::Signed<schema::Snapshot> =
        parse(files, &format!("{version}.snapshot.json"), "snapshot")?;
    verified("snapshot", root.signed.verify_role(&snapshot))?;
    let Some(top) = updater.role(&RoleName::targets()).filter(|top| readable_by_tough(top)) else {
        return Ok(());
    };
    let file = RoleName::targets().served(Some(top.version));
    let targets: schema::Signed<schema::Targets> = parse(files, &file, "targets")?;
    verified("targets", root.signed.verify_role(&targets))?;
    for role in delegated_roles(updater) {
        let Some(child) = updater.role(&role).filter(|child| readable_by_tough(child)) else {
            continue;
        };
        let file = role.served(Some(child.version));
        let document: schema::Signed<schema::Targets> = parse(files, &file, role.as_str())?;
        let delegations = targets.signed.delegations.as_ref();
        let result = delegations.map(|d| d.verify_role(&document, role.as_str()));
        verified(role.as_str(), result.unwrap_or(Ok(())))?;
    }
    Ok(())
}

fn parse<T>(files: &MetadataFiles, file: &str, role: &str) -> Result<schema::Signed<T>>
where
    schema::Signed<T>: serde::de::DeserializeOwned,
{
    debug_assert!(MetadataFile::parse(file).is_some());
    let bytes = files.get(file).map(|bytes| &bytes[..]).unwrap_or_default();
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Unpublishable { role: role.to_owned(), detail: error.to_string() })
}
