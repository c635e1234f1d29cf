//! A container's files as it sees them, volumes included, for `cp`: those of a running one through its first process, those of
//! another mounted for the moment in a mount namespace that nobody else is in.

use std::path::Path;

use rustix::fs::{CWD, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::Runtime;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::mounts::{Access, MountKind, MountRequest};
use crate::process::ProcessRef;
use crate::record::Record;
use crate::rootfs::{self, Root};
use crate::{state, sys};

impl Runtime {
    /// Lends the container's root folder to `act`. While a stopped one is looked at it cannot be started.
    ///
    /// # Errors
    /// It cannot be mounted, another command is starting it, or `act` fails.
    pub fn with_files<T: Send>(
        &self,
        id: &ContainerId,
        act: impl FnOnce(&Root) -> T + Send,
    ) -> Result<T> {
        let container = self.get(id)?;
        if let (Some(pid), Some(start)) = (container.state.pid, container.state.pid_start) {
            let first = ProcessRef::recorded(pid, start);
            // The folder is open before the process is known to be the right one, and stays the container's after that.
            let root = Root::open(Path::new(&format!("/proc/{pid}/root")));
            if first.is_alive() {
                return Ok(act(&root?));
            }
        }
        let Some(lock) = self.dirs.try_lock(id)? else {
            return Err(Error::Busy { id: id.to_string() });
        };
        let mounted = std::thread::scope(|scope| {
            let record = &container.record;
            // A mount namespace belongs to a thread: this one's goes with everything in it when the thread ends.
            let mounted = scope.spawn(move || self.mount_files(record).map(|root| act(&root)));
            mounted.join()
        });
        state::remove_tree(&self.dirs.run(id))?;
        drop(lock);
        match mounted {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn mount_files(&self, record: &Record) -> Result<Root> {
        rootfs::enter_private_mount_namespace()?;
        let target = self.dirs.run(&record.id).join("files");
        state::make_private_dir(&target)?;
        let path = rootfs::mount(&record.rootfs, &target, &self.dirs.stubs())?;
        let root = Root::open(&path)?;
        let mut mounts: Vec<&MountRequest> = record.options.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.target.components().count());
        for mount in mounts {
            bind(&root, mount)?;
        }
        Ok(root)
    }
}

/// Binds a volume or a path of the host where the container would have it. Memory is empty while it does not run.
fn bind(root: &Root, mount: &MountRequest) -> Result<()> {
    let (source, subpath) = match &mount.kind {
        MountKind::Bind { source, .. } => (source, None),
        MountKind::Volume { source, subpath, .. } => (source, subpath.as_ref()),
        MountKind::Tmpfs { .. } => return Ok(()),
    };
    // A place that the next start would make is not there yet.
    let Ok(target) = root.open_inside(&mount.target, OFlags::PATH) else { return Ok(()) };
    let act = || Error::file("mount for the copy", source);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = match subpath {
        None => open_tree(CWD, source, flags),
        Some(subpath) => {
            let inside = Root::open(source)?.open_inside(subpath, OFlags::PATH).map_err(act())?;
            open_tree(&inside, "", flags | OpenTreeFlags::AT_EMPTY_PATH)
        }
    };
    let tree = tree.map_err(|error| act()(error.into()))?;
    if mount.access == Access::ReadOnly {
        sys::make_mount_read_only(&tree).map_err(act())?;
    }
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &target, "", empty).map_err(|error| act()(error.into()))
}
