//! One collection as a ladder of small steps over a port, so that a test can put any other
//! step of anybody between any two of them.
//!
//! Why nothing live is lost:
//! - Whoever relies on an item holds it (a lease), or stamps it, *before* looking whether it is
//!   there, and everything that looks for an item also looks under its tombstone and revives it.
//! - Leases are read before snapshots, roots and names: what moves from a lease to a name
//!   while we read is seen in one of them.
//! - An item is condemned only if it is not marked and not stamped since the cycle began; the
//!   stamp is looked at once more after the rename.
//! - Only what an *earlier* cycle condemned is removed, and only after this cycle's marks.
//! - An error while marking ends the cycle before it has changed anything.

use std::collections::{BTreeSet, HashSet};

use oci::{Descriptor, Digest};

use super::{Collected, Roots};
use crate::error::{Error, Result};
use crate::layer::LayerId;
use crate::lease::Item;

/// How surely a document must be readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is what a name points at: where it cannot be read, nothing can be said to be dead.
    Required,
    /// It is listed by an index, which may be sparse: it may be absent, but not unreadable.
    Optional,
    /// It may be anything: where it reads as a document, what that names is kept too.
    Guess,
}

/// What a blob keeps alive.
#[derive(Clone, Debug, Default)]
pub(super) struct References {
    pub(super) documents: Vec<(Digest, Reading)>,
    pub(super) blobs: Vec<Digest>,
    pub(super) layers: Vec<LayerId>,
}

/// What the collector needs of a store. Every call is one atomic act.
pub(super) trait Area {
    /// What live leases hold.
    fn leases(&self) -> Result<BTreeSet<Item>>;
    /// The layers that snapshots stand on.
    fn snapshots(&self) -> Result<Vec<LayerId>>;
    /// What the caller keeps.
    fn roots(&self) -> Result<Roots>;
    /// What names point at.
    fn names(&self) -> Result<Vec<Descriptor>>;
    /// Told which documents will be asked for: an area may read them ahead, all at once.
    fn foresee(&self, _documents: &[(Digest, Reading)]) -> Result<()> {
        Ok(())
    }
    /// What a blob keeps alive.
    fn references(&self, blob: &Digest, reading: Reading) -> Result<References>;
    /// What an unpacked layer keeps alive.
    fn below(&self, layer: &LayerId) -> Result<Vec<LayerId>>;
    /// Everything alive.
    fn alive(&self) -> Result<Vec<Item>>;
    /// Everything condemned.
    fn condemned(&self) -> Result<Vec<Item>>;
    /// Whether what a lately stamped item names is kept with it: where callers hold leases, only
    /// the item itself is.
    fn keeps_stamped(&self) -> bool;
    /// Whether an item that is alive was stamped too lately to be taken.
    fn is_fresh(&self, item: &Item) -> Result<bool>;
    /// Moves an item under its tombstone; says whether it was there and is still not fresh. One
    /// that turned out to be fresh is moved back.
    fn condemn(&self, item: &Item) -> Result<bool>;
    /// Moves an item back; says whether it was there.
    fn revive(&self, item: &Item) -> Result<bool>;
    /// Removes what is under a tombstone; gives its bytes, or `None` where it was revived.
    fn bury(&self, item: &Item) -> Result<Option<u64>>;
}

#[derive(Debug)]
enum Phase {
    Condemned,
    Leases,
    Snapshots,
    Roots,
    Fresh(Vec<Item>),
    Names,
    Trace,
    Bury(Vec<Item>),
    List,
    Look(Vec<Item>),
    Condemn(Vec<Item>, Item),
    Done,
}

/// A cycle under way.
#[derive(Debug)]
pub(super) struct Collector<'a, A> {
    area: &'a A,
    phase: Phase,
    old: Vec<Item>,
    marked: HashSet<Item>,
    /// Documents already read, and those to be read.
    read: HashSet<Digest>,
    documents: Vec<(Digest, Reading)>,
    layers: Vec<LayerId>,
    collected: Collected,
}

impl<'a, A: Area> Collector<'a, A> {
    pub(super) fn new(area: &'a A) -> Self {
        Self {
            area,
            phase: Phase::Condemned,
            old: Vec::new(),
            marked: HashSet::new(),
            read: HashSet::new(),
            documents: Vec::new(),
            layers: Vec::new(),
            collected: Collected::default(),
        }
    }

    /// What the cycle did.
    pub(super) fn finish(self) -> Collected {
        self.collected
    }

    /// Does one step; says whether the cycle has ended.
    pub(super) fn step(&mut self) -> Result<bool> {
        let phase = std::mem::replace(&mut self.phase, Phase::Done);
        self.phase = match phase {
            Phase::Bury(_) | Phase::List | Phase::Look(_) | Phase::Condemn(..) | Phase::Done => {
                self.sweep(phase)?
            }
            marking => self.mark(marking).map_err(unmarked)?,
        };
        Ok(matches!(self.phase, Phase::Done))
    }

    fn mark(&mut self, phase: Phase) -> Result<Phase> {
        Ok(match phase {
            Phase::Condemned => {
                self.old = self.area.condemned()?;
                Phase::Leases
            }
            Phase::Leases => {
                for item in self.area.leases()? {
                    self.keep(item);
                }
                Phase::Snapshots
            }
            Phase::Snapshots => {
                self.layers.extend(self.area.snapshots()?);
                Phase::Roots
            }
            Phase::Roots => {
                let roots = self.area.roots()?;
                self.layers.extend(roots.layers);
                roots.blobs.into_iter().for_each(|blob| self.keep(Item::Blob(blob)));
                match self.area.keeps_stamped() {
                    true => Phase::Fresh(self.area.alive()?),
                    false => Phase::Names,
                }
            }
            Phase::Fresh(mut items) => match items.pop() {
                Some(item) => {
                    if self.area.is_fresh(&item)? {
                        self.keep(item);
                    }
                    Phase::Fresh(items)
                }
                None => Phase::Names,
            },
            Phase::Names => {
                for descriptor in self.area.names()? {
                    let media_type = descriptor.media_type();
                    match media_type.is_index() || media_type.is_manifest() {
                        true => {
                            self.documents.push((descriptor.digest().clone(), Reading::Required))
                        }
                        false => self.keep(Item::Blob(descriptor.digest().clone())),
                    }
                }
                self.area.foresee(&self.documents)?;
                Phase::Trace
            }
            _ => self.trace()?,
        })
    }

    /// Follows one reference.
    fn trace(&mut self) -> Result<Phase> {
        if let Some((digest, reading)) = self.documents.pop() {
            self.marked.insert(Item::Blob(digest.clone()));
            if self.read.insert(digest.clone()) {
                let found = self.area.references(&digest, reading)?;
                self.documents.extend(found.documents);
                self.layers.extend(found.layers);
                self.marked.extend(found.blobs.into_iter().map(Item::Blob));
            }
            return Ok(Phase::Trace);
        }
        if let Some(layer) = self.layers.pop() {
            if self.marked.insert(Item::Layer(layer.clone())) {
                self.layers.extend(self.area.below(&layer)?);
            }
            return Ok(Phase::Trace);
        }
        Ok(Phase::Bury(std::mem::take(&mut self.old)))
    }

    /// Keeps an item of unknown kind, and what it leads to.
    fn keep(&mut self, item: Item) {
        match item {
            Item::Blob(digest) => self.documents.push((digest, Reading::Guess)),
            Item::Layer(id) => self.layers.push(id),
        }
    }

    fn sweep(&mut self, phase: Phase) -> Result<Phase> {
        Ok(match phase {
            Phase::Bury(mut old) => match old.pop() {
                Some(item) => {
                    self.settle(item)?;
                    Phase::Bury(old)
                }
                None => Phase::List,
            },
            Phase::List => {
                let mut alive = self.area.alive()?;
                alive.retain(|item| !self.marked.contains(item));
                Phase::Look(alive)
            }
            Phase::Look(mut dead) => match dead.pop() {
                Some(item) if self.area.is_fresh(&item)? => Phase::Look(dead),
                Some(item) => Phase::Condemn(dead, item),
                None => Phase::Done,
            },
            Phase::Condemn(dead, item) => {
                self.collected.condemned += u64::from(self.area.condemn(&item)?);
                Phase::Look(dead)
            }
            _ => Phase::Done,
        })
    }

    /// What an earlier cycle condemned comes back or goes.
    fn settle(&mut self, item: Item) -> Result<()> {
        if self.marked.contains(&item) {
            self.collected.revived += u64::from(self.area.revive(&item)?);
        } else if let Some(bytes) = self.area.bury(&item)? {
            self.collected.bytes += bytes;
            self.collected.removed.push(item);
        }
        Ok(())
    }
}

fn unmarked(error: Error) -> Error {
    Error::Unmarked { source: Box::new(error) }
}
