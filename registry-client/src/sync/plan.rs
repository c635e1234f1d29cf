//! What a sync has to do, as data that prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use oci::{Descriptor, Digest};

/// What is to become of tags that the target has and the source has no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vanished {
    /// They stay.
    #[default]
    Keep,
    /// They are deleted, because somebody asked for it.
    Delete,
}

/// What both sides have: the wanted tags of the source, and the target's tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The wanted tags of the source.
    pub source: BTreeMap<String, Descriptor>,
    /// The same tags at the target, where they exist.
    pub target: BTreeMap<String, Descriptor>,
    /// Tags of the target that the rules would want and the source does not have.
    pub vanished: Vec<String>,
    /// Tags of `source` whose image is at the target, but not all that is attached to it.
    pub unattached: BTreeSet<String>,
    /// Requests that were made to find out.
    pub requests: Requests,
}

/// Requests by what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// HEADs and lists: not counted against pull quotas.
    pub looks: u64,
    /// Manifest GETs at the source: counted against pull quotas.
    pub pulls: u64,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAction {
    /// The tag.
    pub tag: String,
    /// What is done with it.
    pub act: SyncAct,
}

/// What is done with a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncAct {
    /// It is new at the target.
    Create(Descriptor),
    /// It points elsewhere at the target.
    Move {
        /// Where it will point.
        to: Descriptor,
        /// Where it points.
        from: Digest,
    },
    /// It is there; something new is attached to it.
    Attach(Descriptor),
    /// It is deleted at the target.
    Delete,
}

/// Everything to do for one repository, in order of the tags' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPlan {
    actions: Vec<SyncAction>,
    unchanged: usize,
    looked: Requests,
}

/// Compares what was observed with what is wanted.
pub fn plan(observed: &Observed, vanished: Vanished) -> SyncPlan {
    let mut actions = Vec::new();
    let mut unchanged = 0;
    for (tag, wanted) in &observed.source {
        let act = match observed.target.get(tag) {
            Some(found)
                if found.digest() == wanted.digest() && observed.unattached.contains(tag) =>
            {
                SyncAct::Attach(wanted.clone())
            }
            Some(found) if found.digest() == wanted.digest() => {
                unchanged += 1;
                continue;
            }
            Some(found) => SyncAct::Move { to: wanted.clone(), from: found.digest().clone() },
            None => SyncAct::Create(wanted.clone()),
        };
        actions.push(SyncAction { tag: tag.clone(), act });
    }
    if vanished == Vanished::Delete {
        let gone = observed.vanished.iter().filter(|tag| !observed.source.contains_key(*tag));
        actions.extend(gone.map(|tag| SyncAction { tag: tag.clone(), act: SyncAct::Delete }));
    }
    actions.sort_by(|a, b| a.tag.cmp(&b.tag));
    SyncPlan { actions, unchanged, looked: observed.requests }
}

impl SyncPlan {
    /// What is to be done.
    pub fn actions(&self) -> &[SyncAction] {
        &self.actions
    }

    /// Tags that need nothing.
    pub fn unchanged(&self) -> usize {
        self.unchanged
    }

    /// Requests at the source: those made so far and the least that carrying out takes. Images
    /// whose manifests are indexes take one more pull for each platform.
    pub fn requests(&self) -> Requests {
        let copies = self.actions.iter().filter(|action| action.act != SyncAct::Delete).count();
        Requests { looks: self.looked.looks, pulls: self.looked.pulls + copies as u64 }
    }
}

impl fmt::Display for SyncPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for action in &self.actions {
            let tag = &action.tag;
            match &action.act {
                SyncAct::Create(to) => writeln!(f, "create {tag} {}", to.digest())?,
                SyncAct::Move { to, from } => {
                    writeln!(f, "move {tag} {} (was {from})", to.digest())?;
                }
                SyncAct::Attach(to) => writeln!(f, "attach {tag} {}", to.digest())?,
                SyncAct::Delete => writeln!(f, "delete {tag}")?,
            }
        }
        let requests = self.requests();
        writeln!(
            f,
            "{} unchanged; {} looks and at least {} pulls at the source",
            self.unchanged, requests.looks, requests.pulls
        )
    }
}
