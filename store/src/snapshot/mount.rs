//! Mounting a snapshot.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_bind,
    mount_remount, move_mount,
};

use super::Access;
use crate::error::{Error, Result, at};

/// Options of the classic call must fit one page.
const MOUNT_OPTIONS_BYTES_MAX: usize = 4000;

/// Whether a mount must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It must: a container.
    Durable,
    /// It need not: a build step, which is thrown away unless it is committed, and then synced.
    Volatile,
}

/// How a snapshot is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// A directory as it is.
    Bind {
        /// The directory.
        source: PathBuf,
        /// Whether it can be changed through the mount.
        access: Access,
    },
    /// An overlay.
    Overlay {
        /// The layers' folders, topmost first.
        lower: Vec<PathBuf>,
        /// The upper and the work directory, where it can be changed.
        upper: Option<(PathBuf, PathBuf)>,
    },
}

impl Mounts {
    /// Mounts on `target`, an existing directory, in the caller's mount namespace.
    pub fn mount(&self, target: &Path, persistence: Persistence) -> Result<()> {
        match self {
            Self::Bind { source, access } => bind(source, *access, target),
            Self::Overlay { lower, upper } => {
                if let Some((_, work)) = upper {
                    forget_volatile(work)?;
                }
                overlay(lower, upper.as_ref(), target, persistence)
            }
        }
    }
}

/// Unmounts what is mounted on `target`; nothing is fine.
pub fn unmount(target: &Path) -> Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => Err(Error::Busy {
            what: format!("mount {}", target.display()),
            holder: "a process that works in it".to_owned(),
        }),
        Err(error) => Err(Error::io("unmount", target, error.into())),
    }
}

/// Whether this process can make overlay mounts.
pub(super) fn has_overlay() -> bool {
    fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}

fn bind(source: &Path, access: Access, target: &Path) -> Result<()> {
    mount_bind(source, target).map_err(at("bind mount", target))?;
    if access == Access::View {
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        if let Err(error) = mount_remount(target, flags, "") {
            unmount(target)?;
            return Err(Error::io("bind mount read-only", target, error.into()));
        }
    }
    Ok(())
}

/// A volatile mount leaves a mark that forbids the next mount; what it warns of does not
/// matter to a caller who knows that nothing was synced.
fn forget_volatile(work: &Path) -> Result<()> {
    let mark = work.join("work/incompat/volatile");
    match std::fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &mark, error))
        }
        _ => Ok(()),
    }
}

/// The new mount API takes each layer on its own, so hundreds fit; kernels before 6.5 know
/// only the one option string.
fn overlay(
    lower: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    target: &Path,
    persistence: Persistence,
) -> Result<()> {
    let volatile = upper.is_some() && persistence == Persistence::Volatile;
    let new = || -> rustix::io::Result<()> {
        let (lower, deep) = lower.split_at(lower.len().min(plain_count(lower.len())));
        // Kept open until the outer mount has taken it in.
        let bottom = (!deep.is_empty()).then(|| overlay_fd(deep, None, false)).transpose()?;
        let mut folders = lower.to_vec();
        folders
            .extend(bottom.as_ref().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd()).into()));
        let mount = overlay_fd(&folders, upper, volatile)?;
        move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    };
    match new() {
        Err(Errno::INVAL | Errno::NOSYS) => classic(lower, upper, target, volatile),
        other => other.map_err(at("mount overlay on", target)),
    }
}

/// How many folders the outer mount takes itself. The kernel's bound is 500; what is beyond
/// becomes one merged folder at the bottom, where nothing is below that its whiteouts would
/// have to hide.
fn plain_count(layers: usize) -> usize {
    if layers <= OVERLAY_FOLDERS_MAX { layers } else { OVERLAY_FOLDERS_MAX - 1 }
}

/// An overlay that is not mounted anywhere yet.
fn overlay_fd(
    lower: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    volatile: bool,
) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", "overlay")?;
    for folder in lower {
        fsconfig_set_string(&fs, "lowerdir+", folder)?;
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(&fs, "upperdir", upper)?;
        fsconfig_set_string(&fs, "workdir", work)?;
    }
    for (key, value) in PLAIN {
        fsconfig_set_string(&fs, key, value)?;
    }
    if volatile {
        fsconfig_set_flag(&fs, "volatile")?;
    }
    fsconfig_create(&fs)?;
    let attributes = match upper {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The kernel's bound on the folders of one overlay.
const OVERLAY_FOLDERS_MAX: usize = 500;

/// Upper directories must hold whole files under their own names, or a layer made of them
/// would not be one.
const PLAIN: [(&str, &str); 3] = [("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

fn classic(
    lower: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    target: &Path,
    volatile: bool,
) -> Result<()> {
    let folders: Vec<_> = lower.iter().map(|folder| folder.to_string_lossy()).collect();
    let mut options = format!("lowerdir={}", folders.join(":"));
    if let Some((upper, work)) = upper {
        options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
    }
    for (key, value) in PLAIN {
        options += &format!(",{key}={value}");
    }
    if volatile {
        options += ",volatile";
    }
    if options.len() > MOUNT_OPTIONS_BYTES_MAX {
        return Err(Error::Io {
            act: "mount overlay of so many layers (500 need Linux 6.5, 999 are the most) on",
            path: target.to_path_buf(),
            source: Errno::NAMETOOLONG.into(),
        });
    }
    let flags = if upper.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
    let options = std::ffi::CString::new(options)
        .map_err(|_| Error::io("mount overlay on", target, io::ErrorKind::InvalidInput.into()))?;
    rustix::mount::mount("overlay", target, "overlay", flags, Some(options.as_c_str()))
        .map_err(at("mount overlay on", target))
}
