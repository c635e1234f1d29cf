//! The search for a target through delegations (TUF 5.6.7): pre-order, depth first.

use std::collections::BTreeSet;

use super::delegation::Child;
use super::name::RoleName;
use super::schema::TargetFile;
use super::updater::{Request, Updater};
use crate::key::{KeyId, KeyTable};
use crate::{Error, Result};

/// A target and the role that vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTarget {
    /// The path searched for.
    pub path: String,
    /// What its content must be.
    pub file: TargetFile,
    /// The role that lists it.
    pub role: RoleName,
}

/// A search that has begun.
pub struct Search {
    path: String,
    /// Roles to visit, the next one last.
    stack: Vec<(Child, KeyTable)>,
    /// Roles visited, each with the keys its delegator gave it.
    visited: BTreeSet<(RoleName, Vec<KeyId>, u64)>,
    found: Option<FoundTarget>,
}

impl Search {
    /// The result, once [`Updater::advance_search`] gave `None`; none if no trusted role lists the path.
    pub fn into_found(self) -> Option<FoundTarget> {
        self.found
    }
}

impl Updater {
    /// Begins the search for `path`; the refresh must be complete.
    pub fn search(&self, path: &str) -> Search {
        Search {
            path: path.to_owned(),
            stack: vec![(self.top_targets(), self.root().keys.clone())],
            visited: BTreeSet::new(),
            found: None,
        }
    }

    /// Goes on with a search as far as possible without I/O; `None` means that it has ended.
    pub fn advance_search(&mut self, search: &mut Search) -> Result<Option<Request>> {
        while let Some((child, keys)) = search.stack.last().cloned() {
            let mut keyids = child.keyids.clone();
            keyids.sort();
            let visit = (child.role.clone(), keyids, child.threshold);
            if search.visited.contains(&visit) {
                search.stack.pop();
                continue;
            }
            // 5.6.7.1: a budget bounds cycles and bombs.
            if search.visited.len() > self.limits.delegations {
                return Err(Error::TooLarge {
                    what: format!("the delegation graph above {:?}", search.path),
                    limit: self.limits.delegations as u64,
                });
            }
            if let Some(request) = self.load_role(&child, &keys)? {
                return Ok(Some(request));
            }
            search.stack.pop();
            search.visited.insert(visit);
            self.visit(search, &child.role);
            if search.found.is_some() {
                search.stack.clear();
            }
        }
        Ok(None)
    }

    fn visit(&self, search: &mut Search, role: &RoleName) {
        let Some(targets) = self.role(role) else { return };
        if let Some(file) = targets.targets.get(&search.path) {
            search.found = Some(FoundTarget {
                path: search.path.clone(),
                file: file.clone(),
                role: role.clone(),
            });
            return;
        }
        let Some(delegations) = &targets.delegations else { return };
        let mut children = delegations.children_for(&search.path);
        // 5.6.7.2: a terminating role ends the whole search below it, whatever else was to be
        // visited, its delegator's other branches included (CVE-2025-2886).
        if let Some(end) = children.iter().position(|child| child.terminating) {
            children.truncate(end + 1);
            search.stack.clear();
        }
        let keys = &delegations.keys;
        search.stack.extend(children.into_iter().rev().map(|child| (child, keys.clone())));
    }
}
