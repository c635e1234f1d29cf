//! `_referrers/<algorithm>/<subject>/<algorithm>-<hex>`: which manifests refer to a subject. Each
//! file holds the descriptor that a listing shows, so that adding one never rewrites another.

use std::io;
use std::path::PathBuf;

use oci::{Descriptor, Digest};

use super::{Repositories, entries, read_small};
use crate::name::RepositoryName;

impl Repositories {
    /// Records that the manifest of `descriptor` refers to `subject`.
    pub(crate) fn add_referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        descriptor: &Descriptor,
    ) -> io::Result<()> {
        let mut text = serde_json::to_string(descriptor)?;
        text.push('\n');
        let file = self.referrers_folder(name, subject).join(file_name(descriptor.digest()));
        self.write(&file, text.as_bytes())
    }

    /// Forgets a referrer.
    pub(crate) fn remove_referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> io::Result<bool> {
        self.remove(&self.referrers_folder(name, subject).join(file_name(referrer)))
    }

    /// The referrers of a subject whose digest comes after `after`, in the order of digests.
    pub(crate) fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
    ) -> io::Result<Vec<Descriptor>> {
        let folder = self.referrers_folder(name, subject);
        let mut files = entries(&folder)?;
        files.sort_unstable();
        let after = after.map(file_name);
        let mut found = Vec::new();
        for file in files.iter().filter(|file| after.as_ref().is_none_or(|after| *file > after)) {
            // One that vanished since the listing was deleted: it refers to nothing any more.
            if let Some(text) = read_small(&folder.join(file))? {
                found.push(serde_json::from_str(&text)?);
            }
        }
        Ok(found)
    }

    fn referrers_folder(&self, name: &RepositoryName, subject: &Digest) -> PathBuf {
        self.link(name, "_referrers", subject)
    }
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.hex())
}
