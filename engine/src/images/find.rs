//! From what a user types to an image in the store.

use oci::{Descriptor, Digest, Platform, Reference};
use store::{Image, Name, Named, Store};

use crate::error::{Error, Result};

/// Shortest id prefix that is looked up: one hex digit, as Docker.
const ID_PREFIX_MIN: usize = 1;

/// What a text turned out to mean.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one is made per command")]
pub enum Found {
    /// A name of the store: the entry is the name's.
    ByName(Named),
    /// An id or a prefix of one: all entries that are this image.
    ById(Vec<Named>),
}

impl Found {
    /// What to look at.
    pub fn target(&self) -> Option<&Descriptor> {
        match self {
            Self::ByName(named) => Some(&named.descriptor),
            Self::ById(entries) => entries.first().map(|entry| &entry.descriptor),
        }
    }
}

/// Finds an image by name, by `repo@digest`, by id or by a prefix of its id, in Docker's order.
pub fn find(store: &Store, text: &str) -> Result<Found> {
    let entries = store.names().list()?;
    if let Ok(reference) = text.parse::<Reference>()
        && let Some(named) = by_reference(&entries, &reference)
    {
        return Ok(Found::ByName(named));
    }
    match by_id(store, &entries, text)? {
        found if !found.is_empty() => Ok(Found::ById(found)),
        _ => Err(Error::NoSuchImage { name: text.to_owned() }),
    }
}

fn by_reference(entries: &[Named], reference: &Reference) -> Option<Named> {
    let named = |wanted: &Name| entries.iter().find(|e| e.name.as_ref() == Some(wanted)).cloned();
    let Some(digest) = reference.digest() else {
        return named(&Name::from(&reference.clone().or_latest()));
    };
    named(&Name::from(&reference.with_digest(digest.clone())))
        .or_else(|| entries.iter().find(|entry| is_pinned(entry, reference, digest)).cloned())
}

/// `repo@digest` means any tag of that repository with that digest.
fn is_pinned(entry: &Named, reference: &Reference, digest: &Digest) -> bool {
    entry.descriptor.digest() == digest
        && entry
            .name
            .as_ref()
            .and_then(Name::reference)
            .is_some_and(|name| name.repository() == reference.repository())
}

fn by_id(store: &Store, entries: &[Named], text: &str) -> Result<Vec<Named>> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if prefix.len() < ID_PREFIX_MIN || prefix.len() > 64 || !is_hex {
        return Ok(Vec::new());
    }
    let mut matching: Vec<(Digest, Named)> = Vec::new();
    for entry in entries {
        let id = id_of(store, &entry.descriptor)?;
        if id.hex().starts_with(prefix) || entry.descriptor.digest().hex().starts_with(prefix) {
            matching.push((id, entry.clone()));
        }
    }
    let mut ids: Vec<&Digest> = matching.iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.dedup();
    if ids.len() > 1 {
        let candidates: Vec<&str> = ids.iter().map(|id| id.short()).collect();
        return Err(Error::AmbiguousId {
            prefix: text.to_owned(),
            candidates: candidates.join(", "),
        });
    }
    Ok(matching.into_iter().map(|(_, entry)| entry).collect())
}

/// The id of what a name points at: the config's digest where it is an image, else its own.
pub fn id_of(store: &Store, target: &Descriptor) -> Result<Digest> {
    match open(store, target, None) {
        Ok(image) => Ok(image.id().clone()),
        Err(Error::Store(
            store::Error::NotAnImage { .. }
            | store::Error::NoPlatform { .. }
            | store::Error::NotFound { .. },
        )) => Ok(target.digest().clone()),
        Err(error) => Err(error),
    }
}

/// The image that `target` is on `platform`. Where none is asked for, the host's, else the one
/// that is here: a pull for another platform leaves exactly that one.
pub fn open(store: &Store, target: &Descriptor, platform: Option<&Platform>) -> Result<Image> {
    let images = store.images();
    let Some(wanted) = platform else {
        return match images.open(target, &Platform::host()) {
            Err(store::Error::NoPlatform { .. }) => only_present(store, target),
            other => Ok(other?),
        };
    };
    let image = images.open(target, wanted)?;
    let found = image.config().platform();
    match found.rank_for(wanted) {
        Some(_) => Ok(image),
        None => Err(store::Error::NoPlatform {
            digest: target.digest().clone(),
            wanted: wanted.to_string(),
            available: found.to_string(),
        }
        .into()),
    }
}

fn only_present(store: &Store, target: &Descriptor) -> Result<Image> {
    let variants = store.images().variants(target)?;
    match variants.iter().find(|variant| variant.present) {
        Some(variant) => Ok(store.images().open_manifest(&variant.descriptor)?),
        None => Ok(store.images().open(target, &Platform::host())?),
    }
}
