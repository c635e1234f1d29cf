//! What the root keys are to their owner: a machine, a piece of paper, a person.
//!
//! The names stand in the signed root, so that whoever recovers a repository on a new machine can
//! say which key was lost. They are for people: no rule looks at them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Repository;
use crate::key::{KeyId, PublicKey};
use crate::tuf::name::RoleName;

/// The root's field with the names of its keys.
const LABELS_FIELD: &str = "x-wherry-root-keys";

impl Repository {
    /// The root's keys with the names their owner gave them; a key without a name is `root`.
    pub fn root_holders(&self) -> Vec<(String, PublicKey)> {
        let root = self.root();
        let names = root.extra.get(LABELS_FIELD).and_then(Value::as_object);
        let ids = root.role("root").map(|role| role.keyids.as_slice()).unwrap_or_default();
        let named = ids.iter().filter_map(|id| {
            let name = names.and_then(|names| names.get(id.as_str())).and_then(Value::as_str);
            Some((name.unwrap_or("root").to_owned(), root.keys.get(id)?.clone()))
        });
        named.collect()
    }

    /// How many keys of a role must sign it; one where nobody names the role.
    pub fn threshold_of(&self, role: &RoleName) -> u64 {
        let top = self.root().role(role.as_str()).map(|role| role.threshold);
        let delegated = || self.delegation(role.as_str()).map(|(role, _)| role.keys.threshold);
        top.or_else(delegated).unwrap_or(1)
    }

    /// Names root keys; part of an edit of the root, which must be signed anew.
    pub fn name_root_holders(&mut self, names: &BTreeMap<KeyId, String>) {
        let mut root = self.root().clone();
        let held = root.role("root").map(|role| role.keyids.clone()).unwrap_or_default();
        let known = names.iter().filter(|(id, _)| held.contains(id));
        let table: Map<String, Value> =
            known.map(|(id, name)| (id.as_str().to_owned(), name.clone().into())).collect();
        root.extra.insert(LABELS_FIELD.to_owned(), Value::Object(table));
        self.dirty.root = Some(root);
    }
}
