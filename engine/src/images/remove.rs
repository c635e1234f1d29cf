//! `rmi` and `image prune`.

use std::collections::{BTreeMap, BTreeSet};

use oci::Digest;
use store::{Displaced, Freed, Name, Named, Store};

use super::filter::Filters;
use super::find::{self, Found};
use super::list::Summary;
use super::{admit, list};
use crate::error::{Error, Result};

/// A container that uses an image.
#[derive(Clone, Debug)]
pub struct User {
    /// The image's id.
    pub image: Digest,
    /// The container's id.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
}

/// Whether `-f` was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refuse where Docker refuses.
    No,
    /// Untag what stopped containers use, and remove all names of an id.
    Yes,
}

/// What a removal did, in the order that `rmi` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name went.
    Untagged(String),
    /// An image, or a layer that no other image has, went.
    Deleted(Digest),
}

/// Removes one image by what the user typed: a name loses that name, an id loses them all.
pub fn remove(store: &Store, text: &str, force: Force, users: &[User]) -> Result<Vec<Removed>> {
    let found = find::find(store, text)?;
    let entries = match &found {
        Found::ByName(named) => vec![named.clone()],
        Found::ById(entries) => entries.clone(),
    };
    let Some(first) = entries.first() else {
        return Err(Error::NoSuchImage { name: text.to_owned() });
    };
    let id = find::id_of(store, &first.descriptor)?;
    let others = names_elsewhere(store, &id, &entries)?;
    refuse_conflicts(&Request { text, found: &found, id: &id, others: &others, force, users })?;
    let in_use = users.iter().any(|user| user.image == id);
    let mut removed = untag(store, &entries, in_use && others.is_empty())?;
    if others.is_empty() && !in_use {
        removed.extend(delete(store, &entries)?);
    }
    Ok(removed)
}

struct Request<'a> {
    text: &'a str,
    found: &'a Found,
    id: &'a Digest,
    others: &'a [Named],
    force: Force,
    users: &'a [User],
}

/// Docker's conflicts: a running container always blocks; a stopped one, and several names
/// behind one id, block without force (C-03).
fn refuse_conflicts(request: &Request<'_>) -> Result<()> {
    let Request { text, found, id, others, force, users } = request;
    let using: Vec<&User> = users.iter().filter(|user| user.image == **id).collect();
    let by_id = match found {
        Found::ById(entries) => Some(entries),
        Found::ByName(_) => None,
    };
    let last_name = others.is_empty();
    let short = id.short();
    if last_name && let Some(user) = using.iter().find(|user| user.running) {
        let container = &user.container[..user.container.len().min(12)];
        return Err(Error::Conflict(match by_id {
            Some(_) => format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {container}"
            ),
            None => format!(
                "conflict: unable to remove repository reference \"{text}\" (cannot be forced) - container {container} is using its referenced image {short}"
            ),
        }));
    }
    if *force == Force::Yes {
        return Ok(());
    }
    if last_name && let Some(user) = using.first() {
        let container = &user.container[..user.container.len().min(12)];
        return Err(Error::Conflict(match by_id {
            Some(_) => format!(
                "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}"
            ),
            None => format!(
                "conflict: unable to remove repository reference \"{text}\" (must force) - container {container} is using its referenced image {short}"
            ),
        }));
    }
    if by_id.is_some_and(|entries| repositories(entries).len() > 1) {
        return Err(Error::Conflict(format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )));
    }
    Ok(())
}

fn repositories(entries: &[Named]) -> BTreeSet<String> {
    entries
        .iter()
        .filter_map(|entry| entry.name.as_ref()?.reference())
        .map(|reference| reference.repository().to_string())
        .collect()
}

/// Entries of the same image that this removal leaves.
fn names_elsewhere(store: &Store, id: &Digest, going: &[Named]) -> Result<Vec<Named>> {
    let mut others = Vec::new();
    for entry in store.names().list()? {
        if !going.contains(&entry) && find::id_of(store, &entry.descriptor)? == *id {
            others.push(entry);
        }
    }
    Ok(others)
}

/// Takes the names away. An image that a stopped container uses stays, without a name.
fn untag(store: &Store, entries: &[Named], keep: bool) -> Result<Vec<Removed>> {
    let displaced = if keep { Displaced::KeepDangling } else { Displaced::Forget };
    let mut removed = Vec::new();
    let mut pinned = BTreeSet::new();
    for entry in entries {
        let Some(name) = &entry.name else { continue };
        admit::withdraw(store, name, displaced)?;
        let Some(reference) = name.reference() else { continue };
        if reference.tag().is_some() {
            removed.push(Removed::Untagged(reference.familiar()));
        }
        pinned.insert(reference.with_digest(entry.descriptor.digest().clone()).familiar());
    }
    let left: BTreeSet<String> = still_pinned(store)?;
    removed.extend(pinned.into_iter().filter(|name| !left.contains(name)).map(Removed::Untagged));
    Ok(removed)
}

fn still_pinned(store: &Store) -> Result<BTreeSet<String>> {
    Ok(store
        .names()
        .list()?
        .iter()
        .filter_map(|entry| {
            let reference = entry.name.as_ref().and_then(Name::reference)?;
            Some(reference.with_digest(entry.descriptor.digest().clone()).familiar())
        })
        .collect())
}

/// Forgets the image and says which of its layers no other image has, topmost first.
fn delete(store: &Store, entries: &[Named]) -> Result<Vec<Removed>> {
    let mut removed = Vec::new();
    for entry in entries {
        admit::forget(store, entry.descriptor.digest())?;
        let freed = store.images().freed_by(&entry.descriptor, &store.names().list()?)?;
        for deleted in deleted(freed) {
            if !removed.contains(&deleted) {
                removed.push(deleted);
            }
        }
    }
    Ok(removed)
}

/// Which images a prune takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneScope {
    /// Only those without a name.
    Dangling,
    /// Every one that no container uses.
    Unused,
}

/// Removes all images of a scope that no container uses.
pub fn prune(
    store: &Store,
    scope: PruneScope,
    filters: &Filters,
    users: &[User],
) -> Result<Vec<Removed>> {
    let used: BTreeSet<&Digest> = users.iter().map(|user| &user.image).collect();
    let scope = match filters.dangling() {
        Some(true) => PruneScope::Dangling,
        Some(false) => PruneScope::Unused,
        None => scope,
    };
    let entries = list::entries(store)?;
    let rows = entries.iter().map(|(_, row)| row.clone()).collect();
    let key = |row: &Summary| (row.digest.clone(), row.reference.as_ref().map(ToString::to_string));
    let passing: BTreeSet<_> = filters.apply(store, rows)?.iter().map(key).collect();
    let mut doomed: BTreeMap<&Digest, Vec<Named>> = BTreeMap::new();
    for (entry, row) in &entries {
        let in_scope = scope == PruneScope::Unused || row.reference.is_none();
        if in_scope && !used.contains(&row.id) && passing.contains(&key(row)) {
            doomed.entry(&row.id).or_default().push(entry.clone());
        }
    }
    let mut all: BTreeMap<&Digest, usize> = BTreeMap::new();
    entries.iter().for_each(|(_, row)| *all.entry(&row.id).or_default() += 1);
    let doomed = doomed.into_iter().map(|(id, going)| {
        let last = all.get(id) == Some(&going.len());
        (going, last)
    });
    prune_entries(store, doomed.collect())
}

/// Takes away the entries of several images; `true` beside those that are all of an image. What
/// goes with them is looked up once, for all.
fn prune_entries(store: &Store, doomed: Vec<(Vec<Named>, bool)>) -> Result<Vec<Removed>> {
    let mut untagged = Vec::with_capacity(doomed.len());
    for (entries, _) in &doomed {
        untagged.push(untag(store, entries, false)?);
    }
    let (mut gone, mut owners) = (Vec::new(), Vec::new());
    for (owner, (entries, _)) in doomed.iter().enumerate().filter(|(_, (_, last))| *last) {
        for entry in entries {
            admit::forget(store, entry.descriptor.digest())?;
            gone.push(entry.descriptor.clone());
            owners.push(owner);
        }
    }
    let freed = store.images().freed_by_each(&gone, &store.names().list()?)?;
    for (owner, freed) in owners.into_iter().zip(freed) {
        untagged[owner].extend(deleted(freed));
    }
    Ok(untagged.into_iter().flatten().collect())
}

fn deleted(freed: Freed) -> impl Iterator<Item = Removed> {
    let layers = freed.layers.into_iter().map(|layer| layer.chain_id.digest().clone());
    freed.images.into_iter().chain(layers).map(Removed::Deleted)
}
