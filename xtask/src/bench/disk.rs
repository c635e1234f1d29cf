//! The file system that all tools are measured on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, Context, Result};

const SIZE: &str = "12G";

/// A fresh ext4 with a journal in a sparse file, mounted through a loop device until it is dropped.
pub(super) struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    pub(super) fn new(root: &Path) -> Result<Self> {
        let folder = shell::target_dir(root).join("bench");
        let disk = Disk { image: folder.join("disk.img"), mount: folder.join("disk") };
        fs::create_dir_all(&disk.mount).context("make the folder of the bench")?;
        let (image, mount) = (disk.image.to_string_lossy(), disk.mount.to_string_lossy());
        shell::read(&mut shell::command(root, "truncate", &["-s", SIZE, image.as_ref()]))?;
        shell::read(&mut shell::command(root, "mkfs.ext4", &["-q", "-F", image.as_ref()]))?;
        let args = ["-o", "loop", image.as_ref(), mount.as_ref()];
        shell::read(&mut shell::command(root, "mount", &args))?;
        Ok(disk)
    }

    pub(super) fn path(&self) -> &Path {
        &self.mount
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mount = self.mount.to_string_lossy();
        let here = Path::new("/");
        if let Err(failure) =
            shell::read(&mut shell::command(here, "umount", &["-l", mount.as_ref()]))
        {
            eprintln!("{failure}");
        }
        if let Err(error) = fs::remove_file(&self.image) {
            eprintln!("cannot remove {}: {error}", self.image.display());
        }
    }
}
