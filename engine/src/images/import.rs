//! `import` and `tag`: images that are made of what is here.

use std::io::Read;

use jiff::Timestamp;
use oci::{
    ContainerConfig, Descriptor, Digest, History, ImageConfig, Manifest, Platform, Raw, Reference,
};
use store::{DiffOptions, LayerBlob, Name};
use trust::{Origin, Verified};

use super::find::Found;
use super::{admit, find};
use crate::Engine;
use crate::error::{Error, Result};

/// What to import.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// The name of the new image; without one it is dangling.
    pub reference: Option<Reference>,
    /// For which platform; the host's where none is said.
    pub platform: Option<Platform>,
    /// The commit message.
    pub message: Option<String>,
    /// What `--change` set.
    pub config: ContainerConfig,
    /// When the image was made.
    pub created: Option<Timestamp>,
}

/// Makes an image of one layer from a tar stream, compressed or not. Returns its id.
pub(crate) fn import(
    engine: &Engine,
    tar: impl Read + Send,
    request: &ImportRequest,
) -> Result<Digest> {
    let store = engine.store();
    let lease = store.lease("import")?;
    let epoch = request.created.map(Timestamp::as_second);
    let layer = store.layers().add_tar(tar, &DiffOptions { epoch, ..DiffOptions::default() })?;
    lease.hold(layer.descriptor.digest())?;
    let created = request.created.unwrap_or_else(crate::clock::now).to_string();
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let mut config = ImageConfig::scratch(&platform);
    config.created = Some(created.clone());
    config.config = request.config.clone();
    config.rootfs.diff_ids = vec![layer.diff_id.clone()];
    let comment = request.message.clone().unwrap_or_else(|| "Imported from -".to_owned());
    config.history =
        vec![History { created: Some(created), comment: Some(comment), ..History::default() }];
    let config = Raw::encode(&config).map_err(invalid)?;
    let manifest = Raw::encode(&Manifest::new(config.descriptor(), vec![layer.descriptor.clone()]))
        .map_err(invalid)?;
    for descriptor in [config.descriptor(), manifest.descriptor()] {
        lease.hold(descriptor.digest())?;
    }
    store.content().put_raw(&config)?;
    store.content().put_raw(&manifest)?;
    let blob = LayerBlob { descriptor: layer.descriptor, diff_id: layer.diff_id };
    store.layers().unpack(&[blob], &lease)?;
    name_it(
        engine,
        "import",
        request.reference.as_ref(),
        &manifest.descriptor(),
        Origin::Elsewhere,
    )?;
    Ok(config.digest())
}

/// Gives an image that is complete in the store its name, through the gate.
pub(crate) fn name_it(
    engine: &Engine,
    act: &'static str,
    reference: Option<&Reference>,
    target: &Descriptor,
    origin: Origin,
) -> Result<()> {
    let judged = judged_name(reference, target)?;
    let verified = engine.gate().judge_local(act, &judged, target, origin)?;
    enter(engine, reference, &judged, &verified)
}

/// The name that an image is judged under: its own, or one that no scope of a policy covers.
pub(super) fn judged_name(reference: Option<&Reference>, target: &Descriptor) -> Result<Reference> {
    let nameless = || -> Result<Reference> {
        Ok("localhost/unnamed".parse::<Reference>()?.with_digest(target.digest().clone()))
    };
    reference.cloned().map_or_else(nameless, |name| Ok(name.or_latest()))
}

/// Gives a verified image its name, or keeps it without one.
pub(super) fn enter(
    engine: &Engine,
    reference: Option<&Reference>,
    judged: &Reference,
    verified: &Verified<Descriptor>,
) -> Result<()> {
    match reference {
        Some(_) => {
            admit::admit(engine.store(), &Name::from(judged), verified)?;
            engine.gate().record(judged, verified)
        }
        None => admit::admit_nameless(engine.store(), verified),
    }
}

/// Gives an image one more name.
pub(crate) fn tag(engine: &Engine, source: &str, name: &Reference) -> Result<()> {
    if name.digest().is_some() {
        return Err(Error::Invalid("refusing to create a tag with a digest reference".to_owned()));
    }
    let found = find::find(engine.store(), source)?;
    let Some(target) = found.target() else {
        return Err(Error::NoSuchImage { name: source.to_owned() });
    };
    let names = match &found {
        Found::ByName(named) => std::slice::from_ref(named),
        Found::ById(entries) => entries.as_slice(),
    };
    let mut origin = Origin::Elsewhere;
    for source in names.iter().filter_map(|named| named.name.as_ref().and_then(Name::reference)) {
        if engine.gate().origin_of(&source, target)? == Origin::BuiltHere {
            origin = Origin::BuiltHere;
        }
    }
    name_it(engine, "tag", Some(name), target, origin)
}

fn invalid(error: oci::RawError) -> Error {
    Error::Invalid(error.to_string())
}
