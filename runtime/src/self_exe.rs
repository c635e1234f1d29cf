//! The program started as monitor or helper: not the file itself but a view of it that nothing can write to.
//!
//! A container's first process is this program until its `execve`. Through `/proc/self/exe` a hostile image could then open the
//! program for writing and replace it on the host (CVE-2019-5736). So it is executed from a detached, read-only clone of its
//! mount, which is in nobody's mount namespace and cannot be made writable again; where the kernel refuses that, from a sealed
//! copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Error, Result};
use crate::sys;

/// An executable that cannot be written to, open for as long as it lives.
#[derive(Debug)]
pub(crate) struct SealedProgram {
    file: OwnedFd,
    _mount: Option<OwnedFd>,
}

impl SealedProgram {
    /// A sealed view of the program at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        read_only_clone(path)
            .or_else(|_| sealed_copy(path))
            .map_err(Error::file("open the program", path))
    }

    /// A path that executes it, valid in this process and in a child until its `execve`.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

fn read_only_clone(path: &Path) -> io::Result<SealedProgram> {
    let mount =
        open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    sys::make_mount_read_only(&mount)?;
    // Opened by way of the clone: the open file belongs to the read-only mount, and so does every later /proc/…/exe.
    let by_clone = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let file = rustix::fs::open(by_clone, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(SealedProgram { file, _mount: Some(mount) })
}

fn sealed_copy(path: &Path) -> io::Result<SealedProgram> {
    let mut source = File::open(path)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("wherry", flags)?);
    io::copy(&mut source, &mut copy)?;
    rustix::fs::fcntl_add_seals(
        copy.as_fd(),
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(SealedProgram { file: copy.into(), _mount: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cannot_be_written(program: &SealedProgram) {
        let error = std::fs::OpenOptions::new().write(true).open(program.path()).unwrap_err();
        let expected = [libc::EROFS, libc::EPERM, libc::EACCES, libc::ETXTBSY];
        assert!(expected.contains(&error.raw_os_error().unwrap()), "{error}");
    }

    /// Covers: RUN-8
    #[test]
    fn neither_view_of_the_program_can_be_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/true\n").unwrap();
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        cannot_be_written(&read_only_clone(file.path()).unwrap());
        let copy = sealed_copy(file.path()).unwrap();
        let mut reopened = std::fs::OpenOptions::new().write(true).open(copy.path()).unwrap();
        assert!(
            io::Write::write_all(&mut reopened, b"x").is_err(),
            "a sealed memory file takes no bytes"
        );
        std::fs::write(file.path(), "still writable by its owner").unwrap();
    }
}
