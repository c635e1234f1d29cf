//! What a monitor binds for the moment in its own mount namespace, so that the library is given paths in which nobody else can put
//! a link: parts of volumes, and the shared memory of a container whose IPC is joined.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{CWD, FileType, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};
use crate::mounts::MountKind;
use crate::options::RunOptions;
use crate::rootfs::Root;
use crate::spec::Facts;
use crate::{state, sys};

/// Bound paths. Gone when dropped, which must be before their folder is removed.
#[derive(Debug, Default)]
pub(crate) struct Binds(Vec<PathBuf>);

impl Binds {
    /// Binds what the options ask for below `dir` and notes it in the facts.
    pub(crate) fn make(facts: &mut Facts, options: &RunOptions, dir: &Path) -> Result<Self> {
        let mut bound = Self::default();
        for mount in &options.mounts {
            let MountKind::Volume { source, subpath: Some(subpath), .. } = &mount.kind else {
                continue;
            };
            let place = dir.join(format!("subpath-{}", bound.0.len()));
            bind_inside(source, subpath, &place)?;
            bound.0.push(place.clone());
            facts.subpaths.insert(mount.target.clone(), place);
        }
        if let Some(pid) = facts.ipc_of {
            let place = dir.join("shm");
            bind_shm(pid, &place)?;
            bound.0.push(place.clone());
            facts.joined_shm = Some(place);
        }
        Ok(bound)
    }
}

impl Drop for Binds {
    fn drop(&mut self) {
        for place in &self.0 {
            let _ = unmount(place, UnmountFlags::DETACH);
        }
    }
}

/// Binds a path inside a volume, looked up with the volume as the root of everything.
fn bind_inside(volume: &Path, subpath: &Path, place: &Path) -> Result<()> {
    let shown = volume.join(subpath);
    let inside = Root::open(volume)?
        .open_inside(subpath, OFlags::PATH)
        .map_err(Error::file("mount the part of the volume", &shown))?;
    let stat =
        rustix::fs::fstat(&inside).map_err(|error| Error::file("look at", &shown)(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode).is_dir() {
        true => state::make_private_dir(place)?,
        false => state::write_atomically(place, b"")?,
    }
    let act = || Error::file("mount the part of the volume", &shown);
    let flags = CLONE | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(&inside, "", flags).map_err(|error| act()(error.into()))?;
    attach(&tree, place).map_err(act())
}

/// Binds the `/dev/shm` of another container.
///
/// A path through `/proc/<pid>/root` does not do: whoever resolves that link by its text arrives in the host's own `/dev/shm`. The
/// mount is taken inside the other's mount namespace, where all that a link can lead to is the other's as well.
fn bind_shm(pid: i32, place: &Path) -> Result<()> {
    let shown = PathBuf::from(format!("/proc/{pid}/root/dev/shm"));
    let act = || Error::file("share the memory of the other container", &shown);
    state::make_private_dir(place)?;
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).map_err(act())?;
    let take = move || -> io::Result<OwnedFd> {
        // A thread that shares its working folder with others may not change its mount namespace.
        sys::unshare_working_folder()?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        let flags = CLONE | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        Ok(open_tree(CWD, "/dev/shm", flags)?)
    };
    let tree = thread::spawn(take)
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that takes the mount panicked")))
        .map_err(act())?;
    attach(&tree, place).map_err(act())
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

fn attach(tree: &OwnedFd, place: &Path) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}
