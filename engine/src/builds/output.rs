//! What a build leaves beside an image in the store: archives and folders.

use std::io::{self, Write};
use std::path::Path;

use builder::context::incoming;
use builder::{BuildResult, BuiltImage};
use oci::Reference;
use store::{Lease, Name, SaveFormat, Saved};

use super::Builds;
use crate::error::{Error, Result};
use crate::images::find;

impl Builds<'_> {
    /// Holds what builds make until it is dropped: what has no name yet is not collected meanwhile.
    pub fn hold(&self) -> Result<Lease> {
        Ok(self.engine.store().lease("build")?)
    }

    /// Writes the image as an archive.
    pub fn save(
        &self,
        result: &BuildResult,
        names: &[Reference],
        format: SaveFormat,
        out: &mut dyn Write,
    ) -> Result<()> {
        let saved = saved(result, names);
        Ok(self.engine.store().archives().save(&saved, format, out)?)
    }

    /// Writes the image as an OCI layout into a new or empty folder.
    pub fn save_layout(
        &self,
        result: &BuildResult,
        names: &[Reference],
        folder: &Path,
    ) -> Result<()> {
        Ok(self.engine.store().archives().save_directory(&saved(result, names), folder)?)
    }

    /// Writes the files of the image as a tar.
    pub fn write_tar(
        &self,
        result: &BuildResult,
        lease: &Lease,
        out: &mut dyn Write,
    ) -> Result<()> {
        let [image] = &result.images[..] else {
            return Err(Error::Invalid(
                "the files of several platforms do not fit into one tar: use type=local, or one platform"
                    .to_owned(),
            ));
        };
        self.write_files(image, lease, out)
    }

    /// Writes the files of the image into a folder, over what is there; of several platforms each into a folder of its own.
    pub fn write_folder(&self, result: &BuildResult, lease: &Lease, folder: &Path) -> Result<()> {
        for image in &result.images {
            let folder = match &result.images[..] {
                [_] => folder.to_owned(),
                _ => folder.join(image.platform.to_string().replace('/', "_")),
            };
            std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
            self.unpack(image, lease, &folder)?;
        }
        Ok(())
    }

    fn unpack(&self, image: &BuiltImage, lease: &Lease, folder: &Path) -> Result<()> {
        let (reader, mut writer) = io::pipe().map_err(|e| Error::io("write", folder, e))?;
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        std::thread::scope(|scope| {
            let exporter = scope.spawn(move || {
                let done = self.write_files(image, lease, &mut writer);
                drop(writer);
                done
            });
            let unpacked = incoming::unpack_over(reader, folder, owner);
            // A failed export ends the stream early: its error comes first.
            match exporter.join() {
                Ok(Err(error)) => Err(error),
                _ => Ok(unpacked?),
            }
        })
    }

    fn write_files(&self, image: &BuiltImage, lease: &Lease, out: &mut dyn Write) -> Result<()> {
        let store = self.engine.store();
        let opened = find::open(store, &image.manifest, Some(&image.platform))?;
        let top = store.layers().unpack(&opened.layers(), lease)?;
        Ok(store.layers().export(top.as_ref(), image.graph.epoch, out)?)
    }
}

fn saved(result: &BuildResult, names: &[Reference]) -> [Saved; 1] {
    let names = names.iter().map(|name| Name::from(&name.clone().or_latest())).collect();
    [Saved { descriptor: result.root.clone(), names }]
}
