//! `_tags/<tag>`: what a tag means. The file holds a digest.

use std::io;
use std::path::PathBuf;

use oci::Digest;

use super::{Repositories, entries, read_small};
use crate::name::{RepositoryName, Tag};

impl Repositories {
    /// Points a tag at a manifest, atomically.
    pub(crate) fn set_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> io::Result<()> {
        self.write(&self.tag_file(name, tag), format!("{digest}\n").as_bytes())
    }

    /// What a tag means.
    pub(crate) fn tag(&self, name: &RepositoryName, tag: &Tag) -> io::Result<Option<Digest>> {
        let Some(text) = read_small(&self.tag_file(name, tag))? else { return Ok(None) };
        let digest = text.trim_end().parse();
        digest.map(Some).map_err(|error| io::Error::other(format!("tag {tag} of {name}: {error}")))
    }

    /// Removes a tag; whether it was there.
    pub(crate) fn remove_tag(&self, name: &RepositoryName, tag: &Tag) -> io::Result<bool> {
        self.remove(&self.tag_file(name, tag))
    }

    /// All tags in the order of their bytes.
    pub(crate) fn tags(&self, name: &RepositoryName) -> io::Result<Vec<Tag>> {
        let listed = entries(&self.of(name).join("_tags"))?;
        let mut tags: Vec<Tag> = listed.iter().filter_map(|text| text.parse().ok()).collect();
        tags.sort_unstable();
        Ok(tags)
    }

    /// The tags that mean a manifest.
    pub(crate) fn tags_of(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Vec<Tag>> {
        let mut found = Vec::new();
        for tag in self.tags(name)? {
            if self.tag(name, &tag)?.as_ref() == Some(digest) {
                found.push(tag);
            }
        }
        Ok(found)
    }

    pub(super) fn tag_file(&self, name: &RepositoryName, tag: &Tag) -> PathBuf {
        self.of(name).join("_tags").join(tag.as_str())
    }
}
