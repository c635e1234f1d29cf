//! What a token allows: a set of resources with actions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A set of scopes, printed one `type:name:action,action` per resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeSet(BTreeMap<String, BTreeSet<String>>);

impl ScopeSet {
    /// No scope: a token for the registry as such.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reading a repository.
    pub fn pull(path: &str) -> Self {
        Self::repository(path, &["pull"])
    }

    /// Reading and writing a repository.
    pub fn push(path: &str) -> Self {
        Self::repository(path, &["pull", "push"])
    }

    /// Deleting from a repository.
    pub fn delete(path: &str) -> Self {
        Self::repository(path, &["delete"])
    }

    fn repository(path: &str, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        Self(BTreeMap::from([(format!("repository:{path}"), actions)]))
    }

    /// Reads the `scope` of a challenge. What has not three parts is left out.
    pub fn parse(text: &str) -> Self {
        let mut set = Self::default();
        for scope in text.split_ascii_whitespace() {
            // A name may hold a colon (a port), type and actions never do.
            let Some((resource, actions)) = scope.rsplit_once(':') else { continue };
            if !resource.contains(':') {
                continue;
            }
            let actions = actions.split(',').filter(|a| !a.is_empty()).map(str::to_owned);
            set.0.entry(resource.to_owned()).or_default().extend(actions);
        }
        set
    }

    /// Both sets together.
    pub fn union(mut self, other: &Self) -> Self {
        for (resource, actions) in &other.0 {
            self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
        self
    }

    /// Whether everything in `wanted` is in here.
    pub fn covers(&self, wanted: &Self) -> bool {
        wanted.0.iter().all(|(resource, actions)| {
            self.0.get(resource).is_some_and(|have| {
                have.contains("*") || actions.iter().all(|action| have.contains(action))
            })
        })
    }

    /// One text per resource.
    pub fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(resource, actions)| {
            // Servers compare texts: `pull,push` is the order every client sends.
            let actions = actions.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            format!("{resource}:{actions}")
        })
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().collect::<Vec<_>>().join(" "))
    }
}
