//! `verify`: the gate's verdict about a name, without letting anything in.

use oci::{Descriptor, Reference};
use registry_client::Selector;

use super::gate::VerifyReport;
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::find;

/// What `verify` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// The image that the store has under the name.
    Local,
    /// What the registry has under the name now.
    Remote,
}

/// Judges a name.
pub(crate) fn verify(engine: &Engine, reference: &Reference, at: Where) -> Result<VerifyReport> {
    let reference = reference.clone().or_latest();
    let descriptor = match at {
        Where::Local => local(engine, &reference)?,
        Where::Remote => remote(engine, &reference)?,
    };
    engine.gate().report(&reference, descriptor, at)
}

fn local(engine: &Engine, reference: &Reference) -> Result<Descriptor> {
    let found = find::find(engine.store(), &reference.to_string())?;
    found.target().cloned().ok_or_else(|| Error::NoSuchImage { name: reference.familiar() })
}

fn remote(engine: &Engine, reference: &Reference) -> Result<Descriptor> {
    let client = engine.transport().client()?.repository(reference.repository());
    let selector = Selector::of(reference)
        .ok_or_else(|| Error::Invalid(format!("{reference}: neither tag nor digest")))?;
    Ok(engine.transport().block_on(client.resolve(&selector))??)
}
