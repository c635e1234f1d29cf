//! Base images for the builder: from the store where they are there, else from a registry.

use builder::PortError;
use builder::graph::BaseImage;
use builder::lower::ImageResolver;
use builder::ports::ImageSource;
use oci::{Descriptor, Platform, Reference};
use store::{Image, LayerBlob, LayerId, Lease};
use trust::Origin;

use crate::Engine;
use crate::containers::create::judge;
use crate::error::{Error, Result};
use crate::images::find;
use crate::images::pull::{self, PullRequest, Quiet};

/// Whether a base that is in the store is looked for in the registry all the same (`--pull`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullBases {
    /// Always ask the registry.
    Always,
    /// Use what is in the store.
    #[default]
    Missing,
}

/// The images of one engine, as the builder asks for them.
pub(crate) struct Bases<'a> {
    engine: &'a Engine,
    pull: PullBases,
    layouts: &'a [(Reference, Descriptor)],
}

impl<'a> Bases<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        pull: PullBases,
        layouts: &'a [(Reference, Descriptor)],
    ) -> Self {
        Self { engine, pull, layouts }
    }

    fn image(&self, reference: &Reference, platform: &Platform) -> Result<Image> {
        if let Some((_, target)) = self.layouts.iter().find(|(name, _)| name == reference) {
            self.engine.gate().judge_local("build from", reference, target, Origin::Elsewhere)?;
            return find::open(self.engine.store(), target, Some(platform));
        }
        if self.pull == PullBases::Missing
            && let Some(image) = self.local(reference, platform)?
        {
            return Ok(image);
        }
        let request =
            PullRequest { reference: reference.clone(), platform: Some(platform.clone()) };
        let pulled = pull::pull(self.engine, &request, &Quiet)?;
        find::open(self.engine.store(), &pulled.target, Some(platform))
    }

    /// The image in the store, after the gate; `None` where it is not here for the platform.
    fn local(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>> {
        let found = match find::find(self.engine.store(), &reference.to_string()) {
            Ok(found) => found,
            Err(Error::NoSuchImage { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(target) = found.target() else { return Ok(None) };
        match find::open(self.engine.store(), target, Some(platform)) {
            Ok(image) => {
                judge(self.engine, "build from", &found, target)?;
                Ok(Some(image))
            }
            Err(Error::Store(store::Error::NoPlatform { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl ImageResolver for Bases<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, PortError> {
        let reference = reference.clone().or_latest();
        let image = self.image(&reference, platform)?;
        Ok(BaseImage {
            reference,
            manifest: image.descriptor().clone(),
            config: (**image.config()).clone(),
            layers: image.manifest().layers().to_vec(),
        })
    }
}

impl ImageSource for Bases<'_> {
    fn unpack(&self, image: &BaseImage, lease: &Lease) -> Result<Option<LayerId>, PortError> {
        self.fetch(image, lease)?;
        let pairs = image.layers.iter().zip(image.config.diff_ids());
        let blobs: Vec<LayerBlob> = pairs
            .map(|(descriptor, diff_id)| LayerBlob {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
            })
            .collect();
        Ok(self.engine.store().layers().unpack(&blobs, lease)?)
    }

    fn fetch(&self, image: &BaseImage, lease: &Lease) -> Result<(), PortError> {
        lease.hold(image.manifest.digest())?;
        for layer in &image.layers {
            lease.hold(layer.digest())?;
            if self.engine.store().content().rely(layer.digest())?.is_none() {
                return Err(format!("layer {} is not in the store", layer.digest()).into());
            }
        }
        Ok(())
    }
}
