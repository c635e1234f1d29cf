//! Edits: signers, tags, keys.

use std::collections::BTreeSet;

use oci::Descriptor;
use serde_json::Map;

use super::target::target_of;
use super::{RELEASES, Repository, RotateRole, empty_targets};
use crate::key::{KeyId, KeyTable, PublicKey, Signer, SignerName};
use crate::tuf::name::RoleName;
use crate::tuf::schema::{DelegatedKeys, DelegatedRole, Delegations, Targets};
use crate::tuf::signed::Signed;
use crate::{Error, Result};

impl Repository {
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
        self.retire(&RoleName::new(signer.role())?);
        // What the removed key signed must be signed again by one that stays.
        let releases = RoleName::new(RELEASES)?;
        if self.delegation(RELEASES).is_none() {
            self.retire(&releases);
        } else if self.role(&releases).is_some() {
            self.edit_targets(&releases)?;
        }
        Ok(())
    }

    fn retire(&mut self, role: &RoleName) {
        self.dirty.targets.remove(role);
        if let Some(gone) = self.targets.remove(role) {
            self.retired.insert(role.clone(), gone.version);
        }
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

    /// Has a role signed anew at the next commit though nothing in it changes, because it expires.
    ///
    /// Snapshot and timestamp are signed at every commit; root only when it is asked for here.
    pub fn renew(&mut self, role: &RoleName) -> Result<()> {
        if role.as_str() == "root" {
            self.dirty.root = Some(self.root().clone());
            return Ok(());
        }
        self.edit_targets(role).map(|_| ())
    }

    /// Lets more keys sign snapshot and timestamp, each alone: their holders can then publish what they
    /// sign from another machine, without a copy of anybody's key. The root must sign this.
    ///
    /// Such a holder can also withhold what is newer until the timestamp expires, no more than that:
    /// what clients have seen cannot be rolled back.
    pub fn add_publishers(&mut self, keys: &[PublicKey]) -> Result<()> {
        let mut root = self.root().clone();
        for role in ["snapshot", "timestamp"] {
            let missing = || Error::MetadataMissing { file: format!("role {role}") };
            let held = root.roles.get_mut(role).ok_or_else(missing)?;
            for key in keys {
                let id = key.id();
                if !held.keyids.contains(&id) {
                    held.keyids.push(id.clone());
                }
                root.keys.insert(id, key.clone());
            }
        }
        self.dirty.root = Some(root);
        self.dirty.snapshot = true;
        Ok(())
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
