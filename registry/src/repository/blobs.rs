//! `_blobs/<algorithm>/<hex>`: which blobs a repository has. The file holds the blob's size.

use std::io;

use oci::Digest;

use super::{Repositories, digests, read_small, remove};
use crate::name::RepositoryName;

impl Repositories {
    /// Makes a blob of the store readable through the repository.
    pub(crate) fn link_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
    ) -> io::Result<()> {
        self.write(&self.link(name, "_blobs", digest), format!("{size}\n").as_bytes())
    }

    /// The size of a blob that the repository has.
    pub(crate) fn blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<u64>> {
        let text = read_small(&self.link(name, "_blobs", digest))?;
        Ok(text.and_then(|text| text.trim_end().parse().ok()))
    }

    /// Takes a blob out of the repository; whether it was there.
    pub(crate) fn unlink_blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<bool> {
        remove(&self.link(name, "_blobs", digest))
    }

    /// The blobs of a repository.
    pub(crate) fn blobs(&self, name: &RepositoryName) -> io::Result<Vec<Digest>> {
        digests(&self.of(name).join("_blobs"))
    }
}
