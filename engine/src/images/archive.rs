//! `save` and `load`: images through files.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use oci::{Descriptor, Digest, Reference};
use store::{SaveFormat, Saved};

use super::find::{self, Found};
use super::import::{enter, judged_name};
use crate::Engine;
use crate::error::{Error, Result};
use crate::trust::carried::Carried;

/// What `load` brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadedImage {
    /// An image with this name.
    Named(Reference),
    /// An image without a name, by its id.
    Nameless(Digest),
}

/// Writes images by what the user typed. Two names of one image share its content.
pub(crate) fn save(
    engine: &Engine,
    texts: &[String],
    format: SaveFormat,
    out: &mut dyn Write,
) -> Result<()> {
    let store = engine.store();
    let lease = store.lease("save")?;
    let mut images: BTreeMap<Digest, Saved> = BTreeMap::new();
    for text in texts {
        let found = find::find(store, text)?;
        let target: Descriptor =
            found.target().cloned().ok_or_else(|| Error::NoSuchImage { name: text.clone() })?;
        lease.hold(target.digest())?;
        let digest = target.digest().clone();
        let saved =
            images.entry(digest).or_insert_with(|| Saved { descriptor: target, names: Vec::new() });
        if let Found::ByName(named) = found {
            saved.names.extend(named.name);
        }
    }
    let images: Vec<Saved> = images.into_values().collect();
    Ok(store.archives().save(&images, format, out)?)
}

/// Reads an archive. Its names pass the gate one by one; content that is refused a name stays
/// for the collector.
pub(crate) fn load(engine: &Engine, input: impl Read + Send) -> Result<Vec<LoadedImage>> {
    let store = engine.store();
    let lease = store.lease("load")?;
    let mut loaded = Vec::new();
    let images = store.archives().load(input, &lease)?;
    let carried = Carried::of(store, &images);
    // Evidence is no image: it gets no name, and goes with the lease where nothing asks for it.
    for image in images.into_iter().filter(|image| !carried.is_carrier(&image.descriptor)) {
        if let Ok(opened) = find::open(store, &image.descriptor, None) {
            store.layers().unpack(&opened.layers(), &lease)?;
        }
        let mut names: Vec<Reference> = Vec::new();
        for name in &image.names {
            names.push(name.parse::<Reference>()?.or_latest());
        }
        for name in &names {
            name_loaded(engine, Some(name), &image.descriptor, &carried)?;
        }
        if names.is_empty() {
            name_loaded(engine, None, &image.descriptor, &carried)?;
            loaded.push(LoadedImage::Nameless(find::id_of(store, &image.descriptor)?));
        }
        loaded.extend(names.into_iter().map(LoadedImage::Named));
    }
    Ok(loaded)
}

fn name_loaded(
    engine: &Engine,
    name: Option<&Reference>,
    image: &Descriptor,
    carried: &Carried,
) -> Result<()> {
    let judged = judged_name(name, image)?;
    let verified = engine.gate().judge_carried("load", &judged, image, carried)?;
    enter(engine, name, &judged, &verified)
}
