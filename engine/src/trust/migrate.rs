//! `trust migrate dct`: a repository of Docker Content Trust becomes one of ours.
//!
//! The client's folder of Docker Content Trust (`~/.docker/trust`) has the private keys and, for each
//! repository, the metadata that it fetched last. The keys are taken over, so that whoever knows them
//! knows the new root; the digests are signed anew, as far as the registry still has them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Descriptor, Repository};
use registry_client::Selector;
use trust::dialect::notary::{self, NotaryTarget};
use trust::key::{KeyRole, Signer, SignerName, foreign_facts, foreign_key};
use trust::limits::TARGETS_BYTES_MAX;
use trust::tuf::{Commit, RoleSetup};

use super::metadata::{self, Published};
use super::roots::DEVICE;
use super::sign::Signing;
use crate::error::{Error, Result};

/// What a migration is made from.
#[derive(Clone, Debug)]
pub struct MigrationPlan {
    /// The folder of Docker Content Trust, usually `~/.docker/trust`.
    pub from: PathBuf,
    /// The name that Notary knows the repository by; by default the repository's own.
    pub gun: Option<String>,
}

/// What a migration did.
#[derive(Clone, Debug, Default)]
pub struct Migrated {
    /// Keys that were taken over: what they were for, and the beginning of their id.
    pub keys: Vec<(String, String)>,
    /// Tags that are signed now.
    pub signed: Vec<String>,
    /// Tags that are not, and why.
    pub left_out: Vec<(String, String)>,
    /// Signers whose private key is not in the folder.
    pub signers_without_key: Vec<String>,
}

/// A private key of the folder, unlocked.
struct Found {
    role: String,
    signer: Arc<dyn Signer>,
}

/// What Notary had signed: what is signed again, and what is not, and why.
#[derive(Default)]
struct Tags {
    tags: Vec<(String, Descriptor)>,
    left_out: Vec<(String, String)>,
}

impl Signing<'_> {
    /// Makes a repository's trust data with the keys of Docker Content Trust, and signs the digests
    /// that it had signed.
    pub fn migrate(&self, repository: &Repository, plan: &MigrationPlan) -> Result<Migrated> {
        let act = format!("trust migrate dct {}", repository.familiar());
        if metadata::fetch_pointer(self.engine, repository)?.is_some() {
            return Err(Error::Conflict(format!("{act}: it has trust data already")));
        }
        let gun = plan.gun.clone().unwrap_or_else(|| repository.to_string());
        let cache = plan.from.join("tuf").join(&gun).join("metadata");
        let top = read(&cache.join("targets.json"))?.ok_or_else(|| {
            Error::Invalid(format!(
                "{act}: {} is not there; fetch the metadata once with docker or notary, or name another folder \
                 (--from) or repository (--gun)",
                cache.join("targets.json").display()
            ))
        })?;
        let names = notary::signers(&top)?;
        let found = self.keys_of_folder(&plan.from, &gun, &names)?;
        let Tags { tags, left_out } = self.tags(repository, &cache, &top, &names)?;
        let mut done = Migrated { left_out, ..Migrated::default() };
        let root = self.root_of(&act, &cache, &found)?;
        let targets = found.iter().find(|key| key.role == "targets");
        self.take_over(repository, &found, &mut done)?;
        let targets = targets.map(|key| key.signer.public().clone());
        let mut open = self.create_with(repository, RoleSetup::single(root.public()), targets)?;
        let device = BTreeMap::from([(root.public().id(), DEVICE.to_owned())]);
        open.repository.name_root_holders(&device);
        for name in names {
            match found.iter().find(|key| key.role == name) {
                Some(key) => {
                    let signer: SignerName = name.parse()?;
                    let public = [key.signer.public().clone()];
                    open.repository.add_signer(&signer, &public)?;
                    open.repository.add_publishers(&public)?;
                }
                None => done.signers_without_key.push(name),
            }
        }
        let at_hand = self.at_hand();
        let signers: Vec<&dyn Signer> = at_hand.iter().map(|signer| &**signer).collect();
        for (tag, descriptor) in tags {
            open.repository.sign(&tag, &descriptor, &signers)?;
            done.signed.push(tag);
        }
        match self.publish(repository, &mut open, Commit::Edits)? {
            Published::Yes => Ok(done),
            Published::Overtaken => Err(Error::Conflict(format!(
                "{act}: somebody else made trust data in the meantime"
            ))),
        }
    }

    /// The keys of the folder that have to do with this repository, each unlocked with the
    /// passphrase of its kind.
    fn keys_of_folder(&self, folder: &Path, gun: &str, signers: &[String]) -> Result<Vec<Found>> {
        let dir = folder.join("private");
        let mut paths = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|e| Error::io("list", &dir, e))? {
            paths.push(entry.map_err(|e| Error::io("list", &dir, e))?.path());
        }
        paths.sort();
        let mut found = Vec::new();
        for path in paths {
            let Some(text) = read(&path)?.and_then(|bytes| String::from_utf8(bytes).ok()) else {
                continue;
            };
            let Some(facts) = foreign_facts(&text) else { continue };
            let role = facts.role.unwrap_or_default();
            let ours = match role.as_str() {
                "root" => true,
                "targets" => facts.repository.as_deref() == Some(gun),
                name => signers.iter().any(|signer| signer == name),
            };
            if !ours {
                continue;
            }
            let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let secret = self.keys.passphrase_of(&role, kind(&role), &id.unwrap_or_default())?;
            let key = foreign_key(&path.display().to_string(), &text, &secret)?;
            found.push(Found { role, signer: Arc::from(key.signer) });
        }
        Ok(found)
    }

    /// The root key: the one that Notary's root names, where there are several.
    fn root_of(&self, act: &str, cache: &Path, found: &[Found]) -> Result<Arc<dyn Signer>> {
        let root = read(&cache.join("root.json"))?.unwrap_or_default();
        let roots: Vec<&Found> = found.iter().filter(|key| key.role == "root").collect();
        let named = |key: &&&Found| notary::root_names(&root, key.signer.public()).unwrap_or(false);
        match (roots.as_slice(), roots.iter().find(named)) {
            (_, Some(named)) => Ok(named.signer.clone()),
            ([only], None) => Ok(only.signer.clone()),
            ([], _) => Err(Error::Invalid(format!(
                "{act}: the folder has no root key; copy the key file there, or begin anew with `wherry trust init`"
            ))),
            _ => Err(Error::Invalid(format!(
                "{act}: the folder has several root keys and {} names none of them",
                cache.join("root.json").display()
            ))),
        }
    }

    fn take_over(
        &self,
        repository: &Repository,
        found: &[Found],
        done: &mut Migrated,
    ) -> Result<()> {
        for key in found {
            let kind = kind(&key.role);
            let of = (kind == KeyRole::Targets).then_some(repository);
            let name = if kind == KeyRole::Targets { repository.path() } else { &key.role };
            self.keys.adopt(&*key.signer, name, kind, of)?;
            let id = key.signer.public().id().short(12).to_owned();
            done.keys.push((key.role.clone(), id));
            self.take_in_hand(key.signer.clone());
        }
        Ok(())
    }

    /// The tags that Notary's metadata sign and that the registry still has the content of.
    fn tags(
        &self,
        repository: &Repository,
        cache: &Path,
        top: &[u8],
        signers: &[String],
    ) -> Result<Tags> {
        let mut listed: BTreeMap<String, NotaryTarget> = BTreeMap::new();
        // A tag counts if it stands in the role that all signers share, or in the top-level one.
        let releases = read(&cache.join("targets/releases.json"))?;
        for bytes in [Some(top.to_vec()), releases].into_iter().flatten() {
            listed.extend(notary::targets(&bytes)?.into_iter().map(|t| (t.tag.clone(), t)));
        }
        let Tags { mut tags, mut left_out } = Tags::default();
        for (tag, target) in listed {
            match self.still_there(repository, &target)? {
                Ok(descriptor) => tags.push((tag, descriptor)),
                Err(reason) => left_out.push((tag, reason)),
            }
        }
        for name in signers {
            let Some(bytes) = read(&cache.join(format!("targets/{name}.json")))? else { continue };
            for target in notary::targets(&bytes)? {
                if !tags.iter().any(|(tag, _)| *tag == target.tag) {
                    left_out.push((
                        target.tag,
                        format!("only {name} signed it, and it was not released"),
                    ));
                }
            }
        }
        Ok(Tags { tags, left_out })
    }

    /// The content behind a digest that was signed, or why it cannot be signed again.
    fn still_there(
        &self,
        repository: &Repository,
        target: &NotaryTarget,
    ) -> Result<std::result::Result<Descriptor, String>> {
        let client = self.engine.transport().client()?.repository(repository);
        let digest = &target.digest;
        let selector = Selector::Digest(digest.clone());
        Ok(match self.engine.transport().block_on(client.resolve(&selector))? {
            Ok(descriptor) if descriptor.size() == target.length => Ok(descriptor),
            Ok(descriptor) => Err(format!(
                "{digest} has {} bytes, and {} were signed",
                descriptor.size(),
                target.length
            )),
            Err(error) if error.is_not_found() => {
                Err(format!("the registry does not have {digest} any more"))
            }
            Err(error) => return Err(error.into()),
        })
    }
}

/// What kind of key of ours a key of Notary becomes.
fn kind(role: &str) -> KeyRole {
    match role {
        "root" => KeyRole::Root,
        "targets" => KeyRole::Targets,
        _ => KeyRole::Signer,
    }
}

/// A file of the folder, as far as it may be read; nothing where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let mut bytes = Vec::new();
    let read = file.take(TARGETS_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::io("read", path, e))?;
    Ok(Some(bytes))
}
