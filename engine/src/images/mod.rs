//! Images: what is in the store, how it gets there and how it leaves.

pub(crate) mod admit;
pub mod archive;
pub mod change;
pub mod copy;
pub mod filter;
pub mod find;
pub mod import;
pub mod list;
pub mod manifest_list;
pub mod pull;
pub mod push;
mod remote;
pub mod remove;
pub mod sync;
pub mod usage;

use std::io::{Read, Write};
use std::sync::Arc;

use oci::{Digest, Platform, Reference};
use runtime::EventKind;
use serde_json::Value;

use crate::Engine;
use crate::error::{Error, Result};

pub use archive::LoadedImage;
pub use copy::{Attachments, Copied, CopyRequest, Place};
pub use filter::Filters;
pub use find::Found;
pub use import::ImportRequest;
pub use list::{HistoryRow, Summary};
pub use manifest_list::{AfterPush, Amend, Annotation, ManifestLists};
pub use pull::{Freshness, PullEvent, PullProgress, PullRequest, Pulled, Quiet};
pub use push::{LayerPush, PushEvent, PushProgress, PushRequest, Pushed};
pub use remove::{Force, PruneScope, Removed};
pub use store::Image;
pub use usage::ImageUsage;

/// The images of one engine.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    pub(crate) engine: &'a Engine,
}

impl<'a> Images<'a> {
    /// The manifest lists that are being made here.
    pub fn manifest_lists(&self) -> ManifestLists<'a> {
        ManifestLists { engine: self.engine }
    }
}

impl Images<'_> {
    /// The rows of `images`.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Summary>> {
        list::list(self.engine.store(), filters)
    }

    /// The rows of `system df -v`.
    pub fn usage(&self) -> Result<Vec<ImageUsage>> {
        usage::usage(self.engine.store(), &self.engine.containers().image_users()?)
    }

    /// Finds an image by name, digest, id or a prefix of its id.
    pub fn open(&self, text: &str, platform: Option<&Platform>) -> Result<Image> {
        let found = find::find(self.engine.store(), text)?;
        let target = found.target().ok_or_else(|| Error::NoSuchImage { name: text.to_owned() })?;
        find::open(self.engine.store(), target, platform)
    }

    /// What `inspect` prints.
    pub fn inspect(&self, text: &str) -> Result<Value> {
        list::inspect(self.engine.store(), &self.open(text, None)?)
    }

    /// The rows of `history`, newest first.
    pub fn history(&self, text: &str) -> Result<Vec<HistoryRow>> {
        list::history(self.engine.store(), &self.open(text, None)?)
    }

    /// Pulls one image.
    pub fn pull(&self, request: &PullRequest, progress: &dyn PullProgress) -> Result<Pulled> {
        let pulled = pull::pull(self.engine, request, progress)?;
        self.note_name("pull", &request.reference);
        Ok(pulled)
    }

    /// All tags that the registry lists for a repository, in its order.
    pub fn remote_tags(&self, repository: &oci::Repository) -> Result<Vec<String>> {
        pull::tags(self.engine, repository)
    }

    /// The manifest or index that a registry has under a name, as it stands there.
    pub fn remote_manifest(&self, reference: &Reference) -> Result<Vec<u8>> {
        pull::manifest(self.engine, reference)
    }

    /// Pushes one name.
    pub fn push(&self, request: &PushRequest, progress: &Arc<dyn PushProgress>) -> Result<Pushed> {
        let pushed = push::push(self.engine, request, progress)?;
        self.note_name("push", &request.reference);
        Ok(pushed)
    }

    /// Gives an image one more name.
    pub fn tag(&self, source: &str, name: &Reference) -> Result<()> {
        import::tag(self.engine, source, name)?;
        self.note_name("tag", name);
        Ok(())
    }

    /// Copies from place to place, with signatures and trust data.
    pub fn copy(&self, request: &CopyRequest) -> Result<Copied> {
        copy::copy(self.engine, request)
    }

    /// Keeps repositories equal, telling of each pair as it is done.
    pub fn sync(
        &self,
        request: &sync::SyncRequest,
        told: &mut dyn FnMut(sync::SyncOutcome),
    ) -> Result<()> {
        sync::sync(self.engine, request, told)
    }

    /// Makes an image of a tar stream.
    pub fn import(&self, tar: impl Read + Send, request: &ImportRequest) -> Result<Digest> {
        let id = import::import(self.engine, tar, request)?;
        let name = request.reference.as_ref().map(Reference::familiar);
        self.note("import", &id.to_string(), name.as_deref().unwrap_or_default());
        Ok(id)
    }

    /// Writes images as one archive.
    pub fn save(
        &self,
        texts: &[String],
        format: store::SaveFormat,
        out: &mut dyn Write,
    ) -> Result<()> {
        archive::save(self.engine, texts, format, out)?;
        texts.iter().for_each(|text| self.note("save", text, text));
        Ok(())
    }

    /// Reads an archive.
    pub fn load(&self, input: impl Read + Send) -> Result<Vec<LoadedImage>> {
        let loaded = archive::load(self.engine, input)?;
        for image in &loaded {
            match image {
                LoadedImage::Named(name) => self.note_name("load", name),
                LoadedImage::Nameless(id) => self.note("load", &id.to_string(), ""),
            }
        }
        Ok(loaded)
    }

    /// Removes an image by what the user typed.
    pub fn remove(&self, text: &str, force: Force) -> Result<Vec<Removed>> {
        let users = self.engine.containers().image_users()?;
        let removed = remove::remove(self.engine.store(), text, force, &users)?;
        self.engine.collect_garbage()?;
        self.note_removed(&removed);
        Ok(removed)
    }

    /// Removes all images of a scope that no container uses.
    pub fn prune(&self, scope: PruneScope, filters: &Filters) -> Result<Vec<Removed>> {
        let users = self.engine.containers().image_users()?;
        let removed = remove::prune(self.engine.store(), scope, filters, &users)?;
        self.engine.collect_garbage()?;
        self.note_removed(&removed);
        Ok(removed)
    }

    fn note_removed(&self, removed: &[Removed]) {
        for one in removed {
            match one {
                Removed::Untagged(name) => self.note("untag", name, name),
                Removed::Deleted(id) => self.note("delete", &id.to_string(), &id.to_string()),
            }
        }
    }

    fn note_name(&self, action: &str, name: &Reference) {
        let name = name.familiar();
        self.note(action, &name, &name);
    }

    fn note(&self, action: &str, id: &str, name: &str) {
        let attributes = [("name", name)];
        let attributes = if name.is_empty() { [].as_slice() } else { attributes.as_slice() };
        self.engine.journal().note(EventKind::Image, action, id, attributes);
    }
}
