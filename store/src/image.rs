//! Images as they are read: the manifest for a platform, its config, sizes, history, and what
//! goes when a name goes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use oci::limits::INDEX_DEPTH_MAX;
use oci::{
    ChainId, Descriptor, Digest, History, ImageConfig, Manifest, ManifestOrIndex, Platform, Raw,
};

use crate::content::Content;
use crate::error::{Error, Result, at};
use crate::layer::{LayerBlob, LayerId, Layers};
use crate::names::Named;

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct Image {
    root: Descriptor,
    descriptor: Descriptor,
    manifest: Raw<Manifest>,
    config: Raw<ImageConfig>,
}

impl Image {
    /// What was asked for: the manifest itself or the index that it is in.
    pub fn root(&self) -> &Descriptor {
        &self.root
    }

    /// The manifest's descriptor.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The manifest's exact bytes.
    pub fn manifest_bytes(&self) -> &[u8] {
        self.manifest.bytes()
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The config.
    pub fn config(&self) -> &Raw<ImageConfig> {
        &self.config
    }

    /// The image's id: the digest of its config.
    pub fn id(&self) -> &Digest {
        self.manifest().config().digest()
    }

    /// The layers by both their hashes, base first.
    pub fn layers(&self) -> Vec<LayerBlob> {
        let pairs = self.manifest().layers().iter().zip(self.config.diff_ids());
        pairs
            .map(|(descriptor, diff_id)| LayerBlob {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
            })
            .collect()
    }

    /// The id of the topmost layer, unpacked or not; an image may have no layer.
    pub fn top(&self) -> Option<LayerId> {
        Layers::id_of(self.config.diff_ids())
    }
}

/// One line of an image's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// What the config says of the step.
    pub step: History,
    /// The layer's content, where the step added one.
    pub diff_id: Option<Digest>,
    /// Bytes of the layer's files.
    pub bytes: u64,
}

/// An image listed under an index, whether or not its content is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The manifest.
    pub descriptor: Descriptor,
    /// Whether the manifest is in the store.
    pub present: bool,
}

/// What the removal of a name frees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Ids of the images that nothing names any more.
    pub images: Vec<Digest>,
    /// Their layers that no other image has, topmost first.
    pub layers: Vec<FreedLayer>,
}

/// A layer that no image has any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreedLayer {
    /// Its content.
    pub diff_id: Digest,
    /// The stack up to it: what Docker prints after `Deleted:`.
    pub chain_id: ChainId,
}

/// What other images still need.
#[derive(Default)]
struct Kept {
    ids: HashSet<Digest>,
    chains: HashSet<ChainId>,
}

/// The images of a store, for reading.
#[derive(Clone, Debug)]
pub struct Images {
    content: Content,
    layers: Layers,
    /// Sizes of layers that were looked up: images share them.
    sizes: Arc<Mutex<HashMap<Digest, u64>>>,
    /// The records there are, where many images are looked at.
    recorded: Arc<OnceLock<HashSet<OsString>>>,
}

impl Images {
    pub(crate) fn new(content: Content, layers: Layers) -> Self {
        Self { content, layers, sizes: Arc::default(), recorded: Arc::default() }
    }

    /// Looks once which layers have a record of their size, before many images are looked at: layers
    /// that were never unpacked would each be looked for in vain.
    pub fn look_ahead(&self) -> Result<()> {
        let dir = self.content.layout().records();
        let mut names = HashSet::new();
        for entry in std::fs::read_dir(&dir).map_err(at("list", &dir))? {
            names.insert(entry.map_err(at("list", &dir))?.file_name());
        }
        // Who looked first has seen as much.
        let _ = self.recorded.set(names);
        Ok(())
    }

    /// The image under `root` that serves `platform` best. A plain manifest serves as it is.
    pub fn open(&self, root: &Descriptor, platform: &Platform) -> Result<Image> {
        let (mut descriptor, mut depth) = (root.clone(), 0);
        loop {
            let document = self.content.manifest(descriptor.digest())?;
            let Some(index) = document.as_index() else {
                return self.assemble(root.clone(), descriptor, document);
            };
            let present = self.present(index.manifests())?;
            depth += 1;
            let next = platform.choose(&present).filter(|_| depth <= INDEX_DEPTH_MAX);
            descriptor = match next.or_else(|| sole_index(&present)) {
                Some(next) if depth <= INDEX_DEPTH_MAX => next.clone(),
                _ => return Err(no_platform(root, platform, &present)),
            };
        }
    }

    /// The image that a manifest's descriptor names, whatever its platform.
    pub fn open_manifest(&self, descriptor: &Descriptor) -> Result<Image> {
        let document = self.content.manifest(descriptor.digest())?;
        self.assemble(descriptor.clone(), descriptor.clone(), document)
    }

    /// Every image manifest under `root`, nested indexes included, whether here or not.
    /// Entries for the platform `unknown` are no images.
    pub fn variants(&self, root: &Descriptor) -> Result<Vec<Variant>> {
        let mut variants = Vec::new();
        self.collect_variants(root, 0, &mut variants)?;
        Ok(variants)
    }

    fn collect_variants(
        &self,
        root: &Descriptor,
        depth: usize,
        variants: &mut Vec<Variant>,
    ) -> Result<()> {
        let present = self.content.stat(root.digest())?.is_some();
        if !(root.media_type().is_index() && present) {
            variants.push(Variant { descriptor: root.clone(), present });
            return Ok(());
        }
        if depth >= INDEX_DEPTH_MAX {
            return Ok(());
        }
        let document = self.content.manifest(root.digest())?;
        for child in document.children() {
            if child.platform().is_none_or(|platform| platform.os() != "unknown") {
                self.collect_variants(child, depth + 1, variants)?;
            }
        }
        Ok(())
    }

    /// Bytes of all files in all layers, as Docker's SIZE shows them.
    pub fn bytes(&self, image: &Image) -> Result<u64> {
        image.layers().iter().map(|layer| self.layer_bytes(layer)).sum()
    }

    /// The steps that made an image, newest first. A layer that the config does not account for
    /// is listed all the same.
    pub fn history(&self, image: &Image) -> Result<Vec<HistoryLine>> {
        let layers = image.layers();
        let mut next = layers.iter();
        let mut lines = Vec::new();
        for step in &image.config().history {
            let layer = if step.empty_layer { None } else { next.next() };
            lines.push(self.history_line(step.clone(), layer)?);
        }
        for layer in next {
            lines.push(self.history_line(History::default(), Some(layer))?);
        }
        lines.reverse();
        Ok(lines)
    }

    fn history_line(&self, step: History, layer: Option<&LayerBlob>) -> Result<HistoryLine> {
        let bytes = layer.map(|layer| self.layer_bytes(layer)).transpose()?.unwrap_or(0);
        Ok(HistoryLine { step, diff_id: layer.map(|layer| layer.diff_id.clone()), bytes })
    }

    /// Bytes of one layer's files: known once the layer was unpacked or made here; before that,
    /// the blob's length.
    pub fn layer_bytes(&self, layer: &LayerBlob) -> Result<u64> {
        let sizes = || self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = sizes().get(&layer.diff_id) {
            return Ok(*bytes);
        }
        let path = self.content.layout().diff_record(&layer.diff_id);
        let there = |names: &HashSet<OsString>| path.file_name().is_some_and(|n| names.contains(n));
        if self.recorded.get().is_some_and(|names| !there(names)) {
            return Ok(layer.descriptor.size());
        }
        match self.layers.diff_record(&layer.diff_id)? {
            Some(record) => {
                sizes().insert(layer.diff_id.clone(), record.bytes);
                Ok(record.bytes)
            }
            None => Ok(layer.descriptor.size()),
        }
    }

    /// What becomes free when `removed` goes and only `remaining` stay. What cannot be read of
    /// the image that goes is not listed; what stays must be readable.
    pub fn freed_by(&self, removed: &Descriptor, remaining: &[Named]) -> Result<Freed> {
        let mut freed = self.freed_by_each(std::slice::from_ref(removed), remaining)?;
        Ok(freed.pop().unwrap_or_default())
    }

    /// The same of several that go one after the other: what two of them share becomes free with
    /// the later one.
    pub fn freed_by_each(&self, removed: &[Descriptor], remaining: &[Named]) -> Result<Vec<Freed>> {
        let mut kept = Kept::default();
        let mut seen = HashSet::new();
        for entry in remaining.iter().filter(|entry| seen.insert(entry.descriptor.digest())) {
            for image in self.images_under(&entry.descriptor)? {
                kept.ids.insert(image.id().clone());
                kept.chains.extend(image.config().chain_ids());
            }
        }
        let freed = removed.iter().rev().map(|removed| self.freed(removed, &mut kept));
        let mut freed = freed.collect::<Result<Vec<Freed>>>()?;
        freed.reverse();
        Ok(freed)
    }

    fn freed(&self, removed: &Descriptor, kept: &mut Kept) -> Result<Freed> {
        let mut freed = Freed::default();
        for image in self.images_under(removed)? {
            if !kept.ids.insert(image.id().clone()) {
                continue;
            }
            freed.images.push(image.id().clone());
            let pairs = image.config().chain_ids().into_iter().zip(image.config().diff_ids());
            for (chain_id, diff_id) in pairs.rev() {
                if kept.chains.insert(chain_id.clone()) {
                    freed.layers.push(FreedLayer { diff_id: diff_id.clone(), chain_id });
                }
            }
        }
        Ok(freed)
    }

    /// Artifacts beside images are passed over.
    fn images_under(&self, root: &Descriptor) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for variant in self.variants(root)?.into_iter().filter(|variant| variant.present) {
            match self.open_manifest(&variant.descriptor) {
                Ok(image) => images.push(image),
                Err(Error::NotAnImage { .. }) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(images)
    }

    fn present(&self, manifests: &[Descriptor]) -> Result<Vec<Descriptor>> {
        let mut present = Vec::new();
        for manifest in manifests {
            if self.content.stat(manifest.digest())?.is_some() {
                present.push(manifest.clone());
            }
        }
        Ok(present)
    }

    fn assemble(
        &self,
        root: Descriptor,
        descriptor: Descriptor,
        manifest: Raw<ManifestOrIndex>,
    ) -> Result<Image> {
        let digest = descriptor.digest().clone();
        let Some(parsed) = manifest.as_manifest() else {
            return Err(Error::NotAnImage { digest, kind: "an index".to_owned() });
        };
        if !parsed.config().media_type().is_config() {
            let kind = parsed.artifact_type().unwrap_or("an artifact").to_owned();
            return Err(Error::NotAnImage { digest, kind });
        }
        let config: Raw<ImageConfig> = self.content.document(parsed.config().digest())?;
        if config.diff_ids().len() != parsed.layers().len() {
            let (layers, diff_ids) = (parsed.layers().len(), config.diff_ids().len());
            return Err(Error::LayersDiffer { digest, layers, diff_ids });
        }
        let manifest = Raw::parse(manifest.bytes().clone())
            .map_err(|source| Error::Document { digest, source })?;
        Ok(Image { root, descriptor, manifest, config })
    }
}

/// A nested index carries no platform: it is followed where there is no other choice.
fn sole_index(present: &[Descriptor]) -> Option<&Descriptor> {
    let mut indexes = present.iter().filter(|child| child.media_type().is_index());
    indexes.next().filter(|_| indexes.next().is_none())
}

fn no_platform(root: &Descriptor, platform: &Platform, present: &[Descriptor]) -> Error {
    let names: Vec<String> =
        present.iter().filter_map(Descriptor::platform).map(ToString::to_string).collect();
    let available = match names.is_empty() {
        true => "none of its platforms in this store".to_owned(),
        false => names.join(", "),
    };
    Error::NoPlatform { digest: root.digest().clone(), wanted: platform.to_string(), available }
}
