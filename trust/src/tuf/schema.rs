//! The metadata of the four top-level roles and of delegated targets (TUF 4.3 to 4.6).

use std::collections::BTreeMap;

use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::name::RoleName;
use crate::key::{KeyId, KeyTable};

/// What each kind of metadata has in common.
pub trait Role: Serialize + for<'de> Deserialize<'de> {
    /// The value of `_type`.
    const TYPE: &'static str;
    /// The version.
    fn version(&self) -> u64;
    /// When it expires.
    fn expires(&self) -> Time;
    /// Rules that the shape alone does not hold; an error says which is broken.
    fn check(&self) -> Result<(), String>;
}

/// The keys of a role and how many distinct ones must sign (TUF 4.3, `ROLE`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Ids of the keys.
    pub keyids: Vec<KeyId>,
    /// Distinct keys that must sign.
    pub threshold: u64,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl RoleKeys {
    /// The role held by these keys.
    pub fn new(keyids: Vec<KeyId>, threshold: u64) -> Self {
        Self { keyids, threshold, extra: Map::new() }
    }

    fn check(&self, role: &str) -> Result<(), String> {
        if self.threshold < 1 {
            return Err(format!("role {role} has a threshold of {}", self.threshold));
        }
        Ok(())
    }
}

/// Root metadata (TUF 4.3).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Root {
    #[serde(rename = "_type")]
    pub(crate) kind: String,
    /// The specification's version.
    pub spec_version: String,
    /// The version of this document.
    pub version: u64,
    /// When it expires.
    #[serde(with = "time")]
    pub expires: Time,
    /// Whether file names carry versions and hashes (TUF 6.2).
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// All keys.
    pub keys: KeyTable,
    /// The four top-level roles.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Timestamp metadata (TUF 4.6).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timestamp {
    #[serde(rename = "_type")]
    pub(crate) kind: String,
    /// The specification's version.
    pub spec_version: String,
    /// The version of this document.
    pub version: u64,
    /// When it expires.
    #[serde(with = "time")]
    pub expires: Time,
    /// `snapshot.json` and nothing else.
    pub meta: BTreeMap<String, MetaFile>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Snapshot metadata (TUF 4.4).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    #[serde(rename = "_type")]
    pub(crate) kind: String,
    /// The specification's version.
    pub spec_version: String,
    /// The version of this document.
    pub version: u64,
    /// When it expires.
    #[serde(with = "time")]
    pub expires: Time,
    /// Every targets role by its file name.
    pub meta: BTreeMap<String, MetaFile>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Which version of a file is current, and optionally how long it is and what it hashes to (`METAFILES`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// The current version.
    pub version: u64,
    /// The file's length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The file's hashes; all known ones must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<BTreeMap<String, String>>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Targets metadata, of the top-level role and of delegated ones (TUF 4.5).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Targets {
    #[serde(rename = "_type")]
    pub(crate) kind: String,
    /// The specification's version.
    pub spec_version: String,
    /// The version of this document.
    pub version: u64,
    /// When it expires.
    #[serde(with = "time")]
    pub expires: Time,
    /// Targets by path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Roles this one trusts for some paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a target's content must be (TUF 4.5, `TARGETS`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Length in bytes.
    pub length: u64,
    /// Hashes in lower-case hex by algorithm.
    pub hashes: BTreeMap<String, String>,
    /// What the application says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The roles a targets role trusts (TUF 4.5, `DELEGATIONS`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// Keys of the delegated roles.
    pub keys: KeyTable,
    /// Roles in order of priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<DelegatedRole>>,
    /// Bins named by rule (TAP 15); instead of `roles`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succinct_roles: Option<SuccinctRoles>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One delegated role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// Its name.
    pub name: String,
    /// Its keys and threshold, as this delegator sees them.
    #[serde(flatten)]
    pub keys: DelegatedKeys,
    /// Whether the search ends here for the paths it is trusted with.
    pub terminating: bool,
    /// Patterns of paths it is trusted with; or:
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// prefixes of the SHA-256 of paths it is trusted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
}

/// Key ids and threshold inside a delegation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedKeys {
    /// Ids of the keys.
    pub keyids: Vec<KeyId>,
    /// Distinct keys that must sign.
    pub threshold: u64,
}

/// Delegated bins whose names follow from a number (TAP 15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccinctRoles {
    /// Ids of the keys of every bin.
    pub keyids: Vec<KeyId>,
    /// Distinct keys that must sign a bin.
    pub threshold: u64,
    /// Bits of the path's hash that choose the bin.
    pub bit_length: u32,
    /// What every bin's name starts with.
    pub name_prefix: String,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The specification's version we write.
pub(crate) const SPEC_VERSION: &str = "1.0.33";
/// The roles that root alone may speak of.
pub(crate) const TOP_LEVEL: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

fn check_head(version: u64, spec_version: &str) -> Result<(), String> {
    if version < 1 {
        return Err("its version is 0".to_owned());
    }
    // TUF 4.3: metadata of another major version may not be understood.
    if spec_version.split('.').next() != Some("1") {
        return Err(format!("its spec_version {spec_version:?} is not 1.x"));
    }
    Ok(())
}

fn check_meta(meta: &BTreeMap<String, MetaFile>) -> Result<(), String> {
    for (name, file) in meta {
        if file.version < 1 {
            return Err(format!("{name} has version 0"));
        }
        if file.hashes.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err(format!("{name} has an empty table of hashes"));
        }
    }
    Ok(())
}

macro_rules! role {
    ($type:ident, $name:literal) => {
        impl Role for $type {
            const TYPE: &'static str = $name;

            fn version(&self) -> u64 {
                self.version
            }

            fn expires(&self) -> Time {
                self.expires
            }

            fn check(&self) -> Result<(), String> {
                check_head(self.version, &self.spec_version)?;
                self.check_rules()
            }
        }
    };
}

role!(Root, "root");
role!(Snapshot, "snapshot");
role!(Targets, "targets");
role!(Timestamp, "timestamp");

impl Root {
    fn check_rules(&self) -> Result<(), String> {
        for role in TOP_LEVEL {
            let keys = self.roles.get(role).ok_or_else(|| format!("it has no role {role}"))?;
            keys.check(role)?;
        }
        Ok(())
    }

    /// A top-level role's keys; [`Role::check`] made sure that they are there.
    pub fn role(&self, role: &str) -> Option<&RoleKeys> {
        self.roles.get(role)
    }
}

impl Timestamp {
    fn check_rules(&self) -> Result<(), String> {
        check_meta(&self.meta)?;
        if self.meta.len() != 1 || !self.meta.contains_key("snapshot.json") {
            return Err("it must list snapshot.json and nothing else".to_owned());
        }
        Ok(())
    }

    /// What it says of the snapshot.
    pub fn snapshot(&self) -> Option<&MetaFile> {
        self.meta.get("snapshot.json")
    }
}

impl Snapshot {
    fn check_rules(&self) -> Result<(), String> {
        check_meta(&self.meta)
    }

    /// What it says of a role.
    pub fn listing(&self, role: &RoleName) -> Option<&MetaFile> {
        self.meta.get(&role.listed())
    }
}

impl MetaFile {
    /// A listing of a version only.
    pub fn new(version: u64) -> Self {
        Self { version, length: None, hashes: None, extra: Map::new() }
    }
}

impl Targets {
    fn check_rules(&self) -> Result<(), String> {
        if let Some((path, _)) = self.targets.iter().find(|(_, file)| file.hashes.is_empty()) {
            return Err(format!("target {path:?} has no hash"));
        }
        self.delegations.as_ref().map_or(Ok(()), Delegations::check)
    }

    /// The signers: the delegated roles `targets/<name>` but `targets/releases`, with their keys.
    pub fn signers(&self) -> Vec<(String, Vec<KeyId>)> {
        let roles = self.delegations.as_ref().and_then(|delegations| delegations.roles.as_deref());
        let named = roles.unwrap_or_default().iter().filter_map(|role| {
            let name = role.name.strip_prefix("targets/").filter(|name| *name != "releases")?;
            Some((name.to_owned(), role.keys.keyids.clone()))
        });
        named.collect()
    }

    /// The names of the signers.
    pub(crate) fn signer_names(&self) -> Vec<String> {
        self.signers().into_iter().map(|(name, _)| name).collect()
    }
}

impl Delegations {
    fn check(&self) -> Result<(), String> {
        match (&self.roles, &self.succinct_roles) {
            (Some(roles), None) => roles.iter().try_for_each(DelegatedRole::check),
            (None, Some(succinct)) => succinct.check(),
            _ => Err("delegations need exactly one of roles and succinct_roles".to_owned()),
        }
    }
}

impl DelegatedRole {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if TOP_LEVEL.contains(&name.as_str()) || RoleName::new(name.as_str()).is_err() {
            return Err(format!("{name:?} cannot be delegated to"));
        }
        if self.keys.threshold < 1 {
            return Err(format!("role {name} has a threshold of {}", self.keys.threshold));
        }
        if self.paths.is_some() == self.path_hash_prefixes.is_some() {
            return Err(format!("role {name} needs exactly one of paths and path_hash_prefixes"));
        }
        Ok(())
    }
}

impl SuccinctRoles {
    fn check(&self) -> Result<(), String> {
        if self.threshold < 1 {
            return Err(format!("succinct roles have a threshold of {}", self.threshold));
        }
        if !(1..=32).contains(&self.bit_length) {
            return Err(format!("succinct roles have a bit_length of {}", self.bit_length));
        }
        RoleName::new(self.name_prefix.as_str()).map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Expiry dates: `YYYY-MM-DDTHH:MM:SSZ` (TUF 4.2.1).
mod time {
    use jiff::Timestamp;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let whole = Timestamp::from_second(time.as_second()).unwrap_or(*time);
        serializer.collect_str(&whole)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| D::Error::custom(format!("bad date {text:?}: {error}")))
    }
}
