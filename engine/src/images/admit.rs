//! The one place that writes names into the store.
//!
//! Content may enter freely, its digest proves it. A name is a promise to whoever runs it, so it
//! takes the proof of a verdict; `cargo xtask tidy` refuses any other code that writes one.

use oci::{Descriptor, Digest};
use store::{Displaced, Name, Store};
use trust::Verified;

use crate::error::Result;

/// Points a name at a verified image; returns what it pointed at before. The image that loses
/// its last name stays as `<none>`.
pub(crate) fn admit(
    store: &Store,
    name: &Name,
    verified: &Verified<Descriptor>,
) -> Result<Option<Descriptor>> {
    Ok(store.names().set(name, verified, Displaced::KeepDangling)?)
}

/// Keeps a verified image without a name.
pub(crate) fn admit_nameless(store: &Store, verified: &Verified<Descriptor>) -> Result<()> {
    Ok(store.names().keep_dangling(verified)?)
}

/// Takes a name away.
pub(crate) fn withdraw(store: &Store, name: &Name, displaced: Displaced) -> Result<()> {
    store.names().remove(name, displaced)?;
    Ok(())
}

/// Forgets an image that has no name.
pub(crate) fn forget(store: &Store, digest: &Digest) -> Result<()> {
    store.names().forget_dangling(digest)?;
    Ok(())
}
