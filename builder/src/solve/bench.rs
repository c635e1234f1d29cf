//! A worker thread's own mount namespace: where roots and sources are mounted while a step works on them.
//!
//! Mounts made here are seen by this thread and the processes it starts, and by nobody else; they are gone with it,
//! however it ends.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change};
use store::{Access, LayerId, Mounts, Persistence, Store};

use crate::cache::{CacheIndex, at};
use crate::error::Result;

/// Mount points that one step may use.
const POINTS_MAX: usize = 4096;

/// The namespace of this thread and the mount points in use.
#[derive(Debug)]
pub(super) struct Bench {
    folder: PathBuf,
    mounted: Vec<PathBuf>,
}

/// Unmounts a point. A process that another thread is starting this very moment holds what this thread had open until
/// it has begun its own program: the mount then goes with it.
fn unmount(point: &Path) -> Result<()> {
    match store::unmount(point) {
        Err(store::Error::Busy { .. }) => {
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            rustix::mount::unmount(point, flags).map_err(|e| at("unmount", point)(e.into()))
        }
        done => Ok(done?),
    }
}

impl Bench {
    /// Gives the calling thread a mount namespace of its own, from which nothing spreads.
    pub(super) fn set_up(index: &CacheIndex) -> Result<Bench> {
        let folder = index.root().join("mnt");
        // Only the mount namespace is unshared: file descriptors stay shared, which is what could be unsound.
        #[allow(deprecated)]
        let unshared = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS);
        unshared.map_err(|e| at("make a mount namespace for", &folder)(e.into()))?;
        let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", flags)
            .map_err(|e| at("set the propagation of mounts for", &folder)(e.into()))?;
        Ok(Bench { folder, mounted: Vec::new() })
    }

    /// An empty folder to mount on.
    fn point(&mut self) -> Result<PathBuf> {
        let number = self.mounted.len();
        let path = self.folder.join(number.to_string());
        if number >= POINTS_MAX {
            return Err(at("use so many mounts in", &self.folder)(
                std::io::ErrorKind::QuotaExceeded.into(),
            ));
        }
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.map_err(at("create", &path))?,
        }
        Ok(path)
    }

    /// Mounts a snapshot.
    pub(super) fn mount(&mut self, mounts: &Mounts) -> Result<PathBuf> {
        let point = self.point()?;
        mounts.mount(&point, Persistence::Volatile)?;
        self.mounted.push(point.clone());
        Ok(point)
    }

    /// Mounts layers read-only.
    pub(super) fn view(&mut self, store: &Store, top: &LayerId) -> Result<PathBuf> {
        let lower = store.layers().stack(Some(top))?.layers().to_vec();
        let mounts = match lower.as_slice() {
            [one] => Mounts::Bind { source: one.clone(), access: Access::View },
            _ => Mounts::Overlay { lower, upper: None },
        };
        self.mount(&mounts)
    }

    /// Mounts fresh memory.
    pub(super) fn memory(&mut self) -> Result<PathBuf> {
        let point = self.point()?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", &point, "tmpfs", flags, Some(c"mode=0755"))
            .map_err(|e| at("mount memory on", &point)(e.into()))?;
        self.mounted.push(point.clone());
        Ok(point)
    }

    /// How many mounts there are now, for [`Bench::back_to`].
    pub(super) fn depth(&self) -> usize {
        self.mounted.len()
    }

    /// Unmounts everything above `depth`, the latest first; every failure but the first is dropped.
    pub(super) fn back_to(&mut self, depth: usize) -> Result<()> {
        let mut result = Ok(());
        while self.mounted.len() > depth {
            let Some(point) = self.mounted.pop() else { break };
            result = result.and(unmount(&point));
        }
        result
    }
}
