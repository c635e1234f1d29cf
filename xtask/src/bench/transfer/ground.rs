//! The file systems that the tools are measured on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, Context, Result};

const SIZE: &str = "size=14g,mode=0755";

/// A place on a file system of one kind; one that was mounted for it goes with it.
pub(super) struct Ground {
    name: &'static str,
    path: PathBuf,
    mounted: bool,
}

impl Ground {
    /// A file system in memory, mounted until it is dropped.
    pub(super) fn tmpfs(root: &Path) -> Result<Self> {
        let path = shell::target_dir(root).join("bench/memory");
        fs::create_dir_all(&path).context("make the folder of the bench")?;
        let at = path.to_string_lossy().into_owned();
        let args = ["-t", "tmpfs", "-o", SIZE, "tmpfs", at.as_str()];
        shell::read(&mut shell::command(root, "mount", &args))?;
        Ok(Ground { name: "tmpfs", path, mounted: true })
    }

    /// A place that somebody else has mounted.
    pub(super) fn at(name: &'static str, path: &Path) -> Self {
        Ground { name, path: path.to_path_buf(), mounted: false }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        let at = self.path.to_string_lossy().into_owned();
        let args = ["-l", at.as_str()];
        if let Err(failure) = shell::read(&mut shell::command(Path::new("/"), "umount", &args)) {
            eprintln!("{failure}");
        }
    }
}
