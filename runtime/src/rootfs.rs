//! The root file system: mounting it in a mount namespace of its own, and touching files in it without being led out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::error::{Error, Result};
use crate::record::RootFs;
use crate::sys;

/// Leaves the host's mount namespace for a copy that sees later mounts of the host but shows it none.
pub(crate) fn enter_private_mount_namespace() -> Result<()> {
    sys::unshare_mounts().map_err(Error::system("make a mount namespace"))?;
    rustix::mount::mount_change(
        c"/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .map_err(|error| Error::system("detach the mounts of the new mount namespace")(error.into()))
}

/// Mounts the root file system where it has to be mounted, and gives the folder it is at.
///
/// Only for processes in a mount namespace of their own: nothing is unmounted here, the mount goes with the namespace.
/// `stubs` (see [`make_stubs`]) becomes the lowest layer.
pub(crate) fn mount(rootfs: &RootFs, target: &Path, stubs: &Path) -> Result<PathBuf> {
    match rootfs {
        RootFs::Path { path } => {
            std::fs::canonicalize(path).map_err(Error::file("open the root file system", path))
        }
        RootFs::Overlay { lowers, upper, work } => {
            std::fs::create_dir_all(target).map_err(Error::file("create folder", target))?;
            for dir in [upper, work] {
                std::fs::create_dir_all(dir).map_err(Error::file("create folder", dir))?;
            }
            make_stubs(stubs)?;
            let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).chain([stubs]).collect();
            mount_overlay(&lowers, upper, work, target).map_err(|error| {
                Error::file("mount the root file system at", target)(error.into())
            })?;
            Ok(target.to_owned())
        }
    }
}

fn mount_overlay(
    lowers: &[&Path],
    upper: &Path,
    work: &Path,
    target: &Path,
) -> rustix::io::Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fd = context.as_fd();
    fsconfig_set_string(fd, "source", "overlay")?;
    for lower in lowers.iter().copied() {
        fsconfig_set_string(fd, "lowerdir+", lower)?;
    }
    fsconfig_set_string(fd, "upperdir", upper)?;
    fsconfig_set_string(fd, "workdir", work)?;
    fsconfig_create(fd)?;
    let mount = fsmount(fd, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(mount.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Mount points that every container needs. As the lowest layer they are there when an image lacks them, and neither its own
/// are hidden nor does the container's upper folder get files that its user never wrote.
pub(crate) const STUB_FOLDERS: [&str; 4] = ["dev", "proc", "sys", "etc"];
pub(crate) const STUB_FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

fn make_stubs(dir: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if dir.join("etc/resolv.conf").exists() {
        return Ok(());
    }
    for name in STUB_FOLDERS {
        let path = dir.join(name);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .map_err(Error::file("create folder", &path))?;
    }
    for name in STUB_FILES {
        let path = dir.join(name);
        std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o644)
            .open(&path)
            .map_err(Error::file("create", &path))?;
    }
    Ok(())
}

/// A folder that is the root for every path asked of it: symbolic links, absolute or with `..`, cannot lead out.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the folder.
    ///
    /// # Errors
    /// It is not there, or no folder.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| Error::file("open the root file system", path)(error.into()))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// Opens a path inside. `flags` must not make what is not there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_inside(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        loop {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(
                &self.dir,
                inside,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            ) {
                // A rename raced with the look-up: the kernel asks to try again.
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                other => return other.map_err(io::Error::from),
            }
        }
    }

    /// Reads a regular file inside; `None` where there is none (also where the path is a folder, a device or a pipe).
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let file = match self.open_inside(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
        {
            Ok(fd) => File::from(fd),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO)
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::file("open", self.path.join(path))(error)),
        };
        let act = || self.path.join(path.strip_prefix("/").unwrap_or(path));
        if !file.metadata().map_err(Error::file("read", act()))?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::file("read", act()))?;
        if bytes.len() as u64 > limit {
            return Err(Error::invalid(
                "image",
                path.display().to_string(),
                format!("the file is longer than {limit} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    /// Makes a folder and its parents inside, owned by root, and gives what was made, the outermost first.
    pub(crate) fn make_dirs(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let mut made = Vec::new();
        let mut current = PathBuf::from("/");
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let parent = self.open_dir(&current)?;
            current.push(name);
            match self.open_inside(&current, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(_) => continue,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(Error::file("use as a folder", &current)(error)),
            }
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => made.push(current.clone()),
                Err(error) => return Err(Error::file("create folder", &current)(error.into())),
            }
        }
        Ok(made)
    }

    /// Whether something is there, following links inside.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.open_inside(path, OFlags::PATH).is_ok()
    }

    /// Removes an empty folder or an empty file that a mount needed; anything with content stays.
    pub(crate) fn remove_stub(&self, path: &Path) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        let Ok(parent) = self.open_dir(parent) else { return };
        if is_empty_file(parent.as_fd(), name) {
            let _ = rustix::fs::unlinkat(&parent, name, AtFlags::empty());
        } else {
            let _ = rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
        }
    }

    fn open_dir(&self, path: &Path) -> Result<OwnedFd> {
        self.open_inside(path, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(Error::file("open folder", path))
    }
}

fn is_empty_file(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_size == 0
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    /// Covers: RUN-7
    #[test]
    fn links_cannot_lead_out_of_the_root() {
        let (dir, root) = root();
        symlink("/etc/hostname", dir.path().join("etc/passwd")).unwrap();
        symlink("../../../../../../etc/shadow", dir.path().join("etc/group")).unwrap();
        assert_eq!(
            root.read(Path::new("/etc/passwd"), 100).unwrap(),
            None,
            "an absolute link is looked up inside"
        );
        assert_eq!(root.read(Path::new("/etc/group"), 100).unwrap(), None, "dots stop at the root");
        std::fs::write(dir.path().join("etc/hostname"), "inside").unwrap();
        assert_eq!(root.read(Path::new("/etc/passwd"), 100).unwrap().unwrap(), b"inside");
    }

    #[test]
    fn special_files_are_not_read_and_long_ones_are_refused() {
        let (dir, root) = root();
        rustix::fs::mknodat(
            CWD,
            dir.path().join("etc/fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(root.read(Path::new("/etc/fifo"), 100).unwrap(), None);
        assert_eq!(root.read(Path::new("/etc"), 100).unwrap(), None);
        std::fs::write(dir.path().join("etc/long"), [b'x'; 200]).unwrap();
        assert!(root.read(Path::new("/etc/long"), 100).is_err());
    }

    #[test]
    fn folders_are_made_inside_and_through_links_of_the_image() {
        let (dir, root) = root();
        symlink("/srv", dir.path().join("app")).unwrap();
        std::fs::create_dir(dir.path().join("srv")).unwrap();
        let made = root.make_dirs(Path::new("/app/data/x")).unwrap();
        assert!(dir.path().join("srv/data/x").is_dir());
        assert_eq!(made, [PathBuf::from("/app/data"), PathBuf::from("/app/data/x")]);
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(root.make_dirs(Path::new("/file/below")).is_err());
        std::fs::write(dir.path().join("srv/data/kept"), "x").unwrap();
        root.remove_stub(Path::new("/srv/data/kept"));
        assert!(dir.path().join("srv/data/kept").exists(), "a file with content stays");
        root.remove_stub(Path::new("/file"));
        root.remove_stub(Path::new("/srv/data/x"));
        assert!(!dir.path().join("file").exists() && !dir.path().join("srv/data/x").exists());
    }
}
