//! Online collection: what no manifest of a repository needs loses its link, and what no link
//! needs leaves the store. Clients push and pull meanwhile.
//!
//! A blob that was pushed or asked about within the grace time is somebody's push under way and
//! stays: uploads, mounts and `HEAD` renew its link. Manifests stay until they are deleted.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use oci::Digest;
use store::{Collection, Roots};

use crate::clock;
use crate::error::Error;
use crate::handler::App;
use crate::manifest::Submission;
use crate::name::RepositoryName;
use crate::repository::Repositories;

/// The shortest grace: between the last byte of a blob and its link lies a moment.
pub(crate) const GRACE_MIN: Duration = Duration::from_secs(60);

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that no manifest of their repository needs, and that lost their link.
    pub unlinked: u64,
    /// Blobs that left the store.
    pub removed: u64,
    /// Bytes that this freed.
    pub bytes: u64,
}

/// One collection. Blocks; a repository is closed to writers while its links are looked through.
pub(crate) fn collect(app: &App, grace: Duration) -> Result<Collected, Error> {
    let grace = grace.max(GRACE_MIN);
    let failed = |source: io::Error| Error::Store { act: "collect garbage", source: source.into() };
    let mut unlinked = 0;
    for name in app.repositories.list().map_err(failed)? {
        unlinked += unlink_unneeded(app, &name, grace).map_err(failed)?;
    }
    let linked = || {
        let roots = roots(&app.repositories);
        roots.map_err(|source| store::Error::Io {
            act: "read the repositories of",
            path: app.repositories.staging(),
            source,
        })
    };
    let what = Collection {
        stamped_since: Some(clock::ago(grace)),
        partials_since: Some(clock::ago(grace)),
        roots: &linked,
    };
    let pruned = app.content.store().prune(&what);
    let pruned =
        pruned.map_err(|error| Error::Store { act: "collect garbage", source: error.into() })?;
    Ok(Collected { unlinked, removed: pruned.removed.len() as u64, bytes: pruned.bytes })
}

/// A manifest that cannot be read ends the collection: nothing is known to be unneeded then.
fn unlink_unneeded(app: &App, name: &RepositoryName, grace: Duration) -> io::Result<u64> {
    let _writing = app.writing_blocking(name);
    let mut needed = HashSet::new();
    for digest in app.repositories.manifests(name)? {
        needed.extend(references(app, name, &digest)?);
    }
    let mut unlinked = 0;
    for digest in app.repositories.blobs(name)? {
        if !needed.contains(&digest) {
            let gone = app.repositories.unlink_blob_unused_for(grace, name, &digest)?;
            unlinked += u64::from(gone);
        }
    }
    Ok(unlinked)
}

fn references(app: &App, name: &RepositoryName, digest: &Digest) -> io::Result<Vec<Digest>> {
    let Some(link) = app.repositories.manifest(name, digest)? else { return Ok(Vec::new()) };
    let unreadable = |why: &str| io::Error::other(format!("manifest {digest} of {name} {why}"));
    let bytes = app.content.small(digest, app.limits.manifest_bytes)?;
    let bytes = Bytes::from(bytes.ok_or_else(|| unreadable("is not in the store"))?);
    let read = Submission::parse(bytes, digest.clone(), Some(&link.media_type));
    let read = read.map_err(|fault| unreadable(&fault.summary()))?;
    Ok(read.references().map(|(_, descriptor)| descriptor.digest().clone()).collect())
}

/// Everything that any repository links.
fn roots(repositories: &Repositories) -> io::Result<Roots> {
    let mut blobs = HashSet::new();
    for name in repositories.list()? {
        blobs.extend(repositories.manifests(&name)?);
        blobs.extend(repositories.blobs(&name)?);
    }
    Ok(Roots { blobs: blobs.into_iter().collect(), layers: Vec::new() })
}
