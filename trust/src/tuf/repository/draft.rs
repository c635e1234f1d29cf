//! Metadata on their way from one signer to the next, over any channel that carries a file.

use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::commit::after;
use super::{Lifetimes, Repository};
use crate::key::{KeyId, KeyTable, PublicKey, Signer};
use crate::tuf::name::RoleName;
use crate::tuf::schema::{Root, Targets};
use crate::tuf::signed::Signed;
use crate::tuf::updater::verify_root;
use crate::{Error, Result, json};

const FORMAT: &str = "wherry-draft/1";

/// A role's next version that still needs signatures.
///
/// Signers may sign in any order and each on a copy: copies are merged, and no signature is lost.
#[derive(Clone, Debug)]
pub struct Draft {
    repository: String,
    role: RoleName,
    wanted: Vec<Wanted>,
    document: Document,
}

/// One group of keys of which enough must sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Why: `root`, `the previous root`, or the role.
    pub by: String,
    /// The keys.
    pub keys: KeyTable,
    /// How many distinct ones must sign.
    pub threshold: u64,
}

#[derive(Clone, Debug)]
enum Document {
    Root(Box<Signed<Root>>),
    Targets(Box<Signed<Targets>>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    repository: String,
    role: String,
    wanted: Vec<Wanted>,
    document: Value,
}

/// How far one group of keys has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The group.
    pub by: String,
    /// Distinct keys needed.
    pub needed: u64,
    /// Keys that signed.
    pub signed: Vec<KeyId>,
    /// Keys that have not.
    pub open: Vec<KeyId>,
}

impl Draft {
    /// Reads a draft that somebody sent.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let what = "the draft";
        let malformed = |error: serde_json::Error| Error::malformed(what, error.to_string());
        let value =
            json::parse(bytes).map_err(|source| Error::Json { what: what.to_owned(), source })?;
        let file = File::deserialize(value).map_err(malformed)?;
        if file.format != FORMAT {
            return Err(Error::FormatUnknown { what, found: file.format, supported: FORMAT });
        }
        let role = RoleName::new(file.role)?;
        let text = file.document.to_string();
        let document = if role.as_str() == "root" {
            Document::Root(Box::new(Signed::parse(what, text.as_bytes())?))
        } else {
            Document::Targets(Box::new(Signed::parse(what, text.as_bytes())?))
        };
        Ok(Self { repository: file.repository, role, wanted: file.wanted, document })
    }

    /// The draft as a file.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let malformed = |error: serde_json::Error| Error::malformed("the draft", error.to_string());
        let document = match &self.document {
            Document::Root(root) => root.to_bytes(),
            Document::Targets(targets) => targets.to_bytes(),
        };
        let file = File {
            format: FORMAT.to_owned(),
            repository: self.repository.clone(),
            role: self.role.to_string(),
            wanted: self.wanted.clone(),
            document: serde_json::from_slice(&document).map_err(malformed)?,
        };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(malformed)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The repository it belongs to.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The role it is the next version of.
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// What is to be signed, for the signer to read.
    pub fn content(&self) -> Value {
        // Not the canonical form: that one escapes no line ends, so PEM keys make it no JSON.
        let bytes = match &self.document {
            Document::Root(root) => root.to_bytes(),
            Document::Targets(targets) => targets.to_bytes(),
        };
        json::parse(&bytes).map(|mut file| file["signed"].take()).unwrap_or(Value::Null)
    }

    /// Signs, if the key is one of those that are asked for; says whether it is.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<bool> {
        let wanted = self.wanted.iter().flat_map(|group| &group.keys);
        let ids: Vec<KeyId> =
            wanted.filter(|(_, key)| *key == signer.public()).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            match &mut self.document {
                Document::Root(root) => root.sign(id, signer)?,
                Document::Targets(targets) => targets.sign(id, signer)?,
            }
        }
        Ok(!ids.is_empty())
    }

    /// Takes over the signatures of another copy of the same draft.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let tables: Vec<&KeyTable> = self.wanted.iter().map(|group| &group.keys).collect();
        let same = match (&mut self.document, &other.document) {
            _ if self.repository != other.repository || self.role != other.role => false,
            (Document::Root(ours), Document::Root(theirs)) => {
                let same = ours.take_signatures(theirs);
                ours.keep_valid(&tables);
                same
            }
            (Document::Targets(ours), Document::Targets(theirs)) => {
                let same = ours.take_signatures(theirs);
                ours.keep_valid(&tables);
                same
            }
            _ => false,
        };
        if same {
            return Ok(());
        }
        Err(Error::malformed("the draft", "the two copies are not of the same content"))
    }

    /// How far each group has signed.
    pub fn progress(&self) -> Vec<Progress> {
        let groups = self.wanted.iter().map(|group| {
            let ids: Vec<KeyId> = group.keys.keys().cloned().collect();
            let signed: Vec<KeyId> = ids
                .iter()
                .filter(|id| self.tally(group, std::slice::from_ref(id)) > 0)
                .cloned()
                .collect();
            let open = ids.into_iter().filter(|id| !signed.contains(id)).collect();
            Progress { by: group.by.clone(), needed: group.threshold, signed, open }
        });
        groups.collect()
    }

    fn tally(&self, group: &Wanted, ids: &[KeyId]) -> u64 {
        match &self.document {
            Document::Root(root) => root.tally(&group.keys, ids, group.threshold).valid(),
            Document::Targets(targets) => targets.tally(&group.keys, ids, group.threshold).valid(),
        }
    }
}

impl Repository {
    /// The next version of an edited role, to be signed by several people.
    pub fn draft(&self, role: &RoleName, life: Lifetimes, now: Time) -> Result<Draft> {
        let nothing = || Error::NotFound {
            what: "edit of role",
            name: role.to_string(),
            repository: self.name.clone(),
        };
        let (wanted, document) = if role.as_str() == "root" {
            let mut root = self.dirty.root.clone().ok_or_else(nothing)?;
            root.version = self.next_root_version();
            root.expires = after(now, life.root_days)?;
            let mut wanted = vec![wanted_of("root", &root.keys, root.role("root"))?];
            if root.version > 1 {
                let role = self.root.role("root");
                wanted.push(wanted_of("the previous root", &self.root.keys, role)?);
            }
            (wanted, Document::Root(Box::new(Signed::unsigned(root)?)))
        } else {
            let mut targets = self.dirty.targets.get(role).cloned().ok_or_else(nothing)?;
            targets.version = self.published_version(role) + 1;
            targets.expires = after(now, life.targets_days)?;
            let (keys, ids, threshold) = self.delegated_keys(role)?.ok_or_else(nothing)?;
            let keys = keys.into_iter().filter(|(id, _)| ids.contains(id)).collect();
            let wanted = vec![Wanted { by: role.to_string(), keys, threshold }];
            (wanted, Document::Targets(Box::new(Signed::unsigned(targets)?)))
        };
        Ok(Draft { repository: self.name.clone(), role: role.clone(), wanted, document })
    }

    /// Takes over a draft that enough people have signed; a commit then lists it.
    ///
    /// What the draft itself says about who must sign counts for nothing here.
    pub fn adopt(&mut self, draft: Draft) -> Result<()> {
        if draft.repository != self.name {
            return Err(Error::malformed(
                "the draft",
                format!("it is for {}, not for {}", draft.repository, self.name),
            ));
        }
        match draft.document {
            Document::Root(root) => self.adopt_root(*root),
            Document::Targets(targets) => self.adopt_targets(draft.role, *targets),
        }
    }

    fn adopt_root(&mut self, mut root: Signed<Root>) -> Result<()> {
        let file = format!("{}.root.json", root.version);
        let expected = self.next_root_version();
        check_version(&file, expected, root.version)?;
        verify_root(&root, &root)?;
        if expected > 1 {
            verify_root(&root, &self.root)?;
        }
        let new = root.keys.clone();
        root.keep_valid(&[&new, &self.root.keys]);
        self.files.insert(file, root.to_bytes().into());
        self.root = root;
        self.dirty.root = None;
        self.dirty.snapshot = true;
        Ok(())
    }

    fn adopt_targets(&mut self, role: RoleName, mut targets: Signed<Targets>) -> Result<()> {
        let file = role.served(Some(targets.version));
        let expected = self.published_version(&role) + 1;
        check_version(&file, expected, targets.version)?;
        let (keys, ids, threshold) = self.delegated_keys(&role)?.ok_or_else(|| {
            Error::NotFound { what: "role", name: role.to_string(), repository: self.name.clone() }
        })?;
        targets.verify(role.as_str(), &keys, &ids, threshold)?;
        targets.keep_valid(&[&keys]);
        self.files.insert(file, targets.to_bytes().into());
        self.dirty.targets.remove(&role);
        self.retired.remove(&role);
        self.targets.insert(role, targets);
        self.dirty.snapshot = true;
        Ok(())
    }

    /// Has the top-level targets signed anew at the next commit where the root, as it stands now,
    /// gives the role other keys than those that signed it.
    pub fn renew_unvouched(&mut self) -> Result<()> {
        let role = RoleName::targets();
        let Some((keys, ids, threshold)) = self.delegated_keys(&role)? else { return Ok(()) };
        let vouched = self.targets.get(&role).map(|targets| targets.tally(&keys, &ids, threshold));
        match vouched.is_some_and(|tally| tally.is_met()) {
            true => Ok(()),
            false => self.renew(&role),
        }
    }

    fn next_root_version(&self) -> u64 {
        match self.files.keys().any(|name| name.ends_with(".root.json")) {
            true => self.root.version + 1,
            false => 1,
        }
    }
}

fn check_version(file: &str, expected: u64, found: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    // Somebody else published in the meantime: the draft must be made again.
    Err(Error::WrongVersion { file: file.to_owned(), expected, found })
}

fn wanted_of(
    by: &str,
    keys: &KeyTable,
    role: Option<&crate::tuf::schema::RoleKeys>,
) -> Result<Wanted> {
    let role = role.ok_or_else(|| Error::MetadataMissing { file: format!("role {by}") })?;
    let named = |id: &KeyId| Some((id.clone(), keys.get(id).cloned()?));
    let keys: Vec<(KeyId, PublicKey)> = role.keyids.iter().filter_map(named).collect();
    Ok(Wanted { by: by.to_owned(), keys: keys.into_iter().collect(), threshold: role.threshold })
}
