//! Control groups of a container after it was made: freezing, killing what is left, removing, and telling of OOM kills.
//!
//! The groups are made by `libcontainer` at one path in every hierarchy ([`crate::spec::cgroup_path`]).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use oci_spec::runtime::LinuxResources;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::mounts::Access;
use crate::signal::Signal;
use crate::spec::{CgroupLayout, cgroup_path};
use crate::sys;

const ROOT: &str = "/sys/fs/cgroup";
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);
/// The kernel lets go of a group a moment after its last process was waited for.
const RETRY_AFTER: Duration = Duration::from_micros(200);

/// Which control groups this host has.
pub(crate) fn layout() -> CgroupLayout {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        CgroupLayout::V2
    } else {
        CgroupLayout::V1
    }
}

/// Whether the memory controller of this host limits swap too.
pub(crate) fn has_swap_limits() -> bool {
    match layout() {
        CgroupLayout::V2 => true,
        CgroupLayout::V1 => Path::new(ROOT).join("memory/memory.memsw.limit_in_bytes").exists(),
    }
}

/// The groups of one container or step.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    relative: PathBuf,
}

impl Cgroup {
    /// The groups that belong to this id.
    pub(crate) fn of(id: &str) -> Self {
        Self { relative: PathBuf::from(cgroup_path(id).trim_start_matches('/')) }
    }

    /// The folder of a controller (version 1), or the only folder (version 2).
    pub(crate) fn dir(&self, controller: &str) -> PathBuf {
        match layout() {
            CgroupLayout::V1 => Path::new(ROOT).join(controller).join(&self.relative),
            CgroupLayout::V2 => Path::new(ROOT).join(&self.relative),
        }
    }

    /// Lays out what a container sees at `/sys/fs/cgroup` on a host with version 1: its own group of every hierarchy and nothing
    /// above, in one tree that can be bound in at once. Only for a mount namespace of this process's own.
    pub(crate) fn lay_out_view(&self, target: &Path, access: Access) -> Result<()> {
        let act = "lay out the control groups at";
        fs::create_dir_all(target).map_err(Error::file("create folder", target))?;
        let top = mount_small_tmpfs(target).map_err(Error::file(act, target))?;
        for hierarchy in hierarchies() {
            let (group, place) =
                (Path::new(ROOT).join(&hierarchy).join(&self.relative), target.join(&hierarchy));
            let laid = fs::create_dir_all(&group)
                .and_then(|()| fs::create_dir(&place))
                .and_then(|()| clone_mount(&group, &place));
            laid.map_err(Error::file(act, &place))?;
        }
        for (name, hierarchy) in aliases() {
            std::os::unix::fs::symlink(hierarchy, target.join(name))
                .map_err(Error::file(act, target))?;
        }
        match access {
            Access::ReadOnly => sys::close_mounts_below(top).map_err(Error::file(act, target)),
            Access::ReadWrite => Ok(()),
        }
    }

    /// One value of a controller.
    pub(crate) fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.dir(controller).join(file)).ok()
    }

    /// Stops all processes where they are.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.set_frozen("FROZEN", "1")
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.set_frozen("THAWED", "0")
    }

    fn set_frozen(&self, v1: &str, v2: &str) -> Result<()> {
        let dir = self.dir("freezer");
        let (file, value) = match layout() {
            CgroupLayout::V1 => (dir.join("freezer.state"), v1),
            CgroupLayout::V2 => (dir.join("cgroup.freeze"), v2),
        };
        fs::write(&file, value).map_err(Error::file("write", &file))?;
        let deadline = Deadline::after(Some(FREEZE_PATIENCE));
        while !self.is_in_state(v1, v2) {
            if deadline.has_come() {
                let _ = fs::write(&file, if v1 == "FROZEN" { "THAWED" } else { value });
                return Err(Error::File {
                    act: "freeze the processes of",
                    path: dir,
                    source: io::ErrorKind::TimedOut.into(),
                });
            }
            std::thread::sleep(RETRY_AFTER);
        }
        Ok(())
    }

    fn is_in_state(&self, v1: &str, v2: &str) -> bool {
        match layout() {
            CgroupLayout::V1 => {
                self.read("freezer", "freezer.state").is_some_and(|state| state.trim() == v1)
            }
            CgroupLayout::V2 => self.read("", "cgroup.events").is_some_and(|events| {
                events.lines().any(|line| line.strip_prefix("frozen ") == Some(v2))
            }),
        }
    }

    /// Host pids of all processes in the group and below.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        let mut dirs = vec![self.dir("pids")];
        while let Some(dir) = dirs.pop() {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            dirs.extend(sub_folders(&dir));
        }
        pids
    }

    /// Writes limits (the `resources` of an OCI specification) into the groups of a container that runs.
    pub(crate) fn apply(&self, resources: serde_json::Value) -> Result<()> {
        let act = "change the limits of the container";
        let resources: LinuxResources =
            serde_json::from_value(resources).map_err(|error| Error::system(act)(error.into()))?;
        let failed = |error: String| Error::system(act)(io::Error::other(error));
        let config = CgroupConfig {
            cgroup_path: Path::new("/").join(&self.relative),
            systemd_cgroup: false,
            container_name: String::new(),
        };
        let option = ControllerOpt {
            resources: &resources,
            disable_oom_killer: false,
            oom_score_adj: None,
            freezer_state: None,
        };
        let manager = create_cgroup_manager(config).map_err(|error| failed(error.to_string()))?;
        manager.apply(&option).map_err(|error| failed(error.to_string()))
    }

    /// Kills every process, thawing them so that they notice.
    pub(crate) fn kill_all(&self) {
        let kill_file = self.dir("").join("cgroup.kill");
        if layout() == CgroupLayout::V2 && fs::write(kill_file, "1").is_ok() {
            return;
        }
        for pid in self.pids() {
            if let Ok(process) = crate::process::ProcessRef::of(pid) {
                let _ = process.signal(Signal::KILL);
            }
        }
        let _ = fs::write(self.dir("freezer").join("freezer.state"), "THAWED");
    }

    /// Removes the groups in every hierarchy, killing what is left in them.
    pub(crate) fn remove(&self) -> Result<()> {
        let deadline = Deadline::after(Some(REMOVE_PATIENCE));
        for dir in self.all_dirs() {
            loop {
                match remove_group(&dir) {
                    Ok(()) => break,
                    Err(error) if deadline.has_come() => {
                        return Err(Error::file("remove control group", &dir)(error));
                    }
                    Err(_) => {
                        self.kill_all();
                        std::thread::sleep(RETRY_AFTER);
                    }
                }
            }
        }
        Ok(())
    }

    fn all_dirs(&self) -> Vec<PathBuf> {
        let here = Path::new(ROOT).join(&self.relative);
        let hierarchies = match layout() {
            CgroupLayout::V2 => Vec::new(),
            CgroupLayout::V1 => sub_folders(Path::new(ROOT)),
        };
        hierarchies
            .into_iter()
            .map(|hierarchy| hierarchy.join(&self.relative))
            .chain([here])
            .filter(|dir| dir.is_dir())
            .collect()
    }

    /// Whether the kernel has killed a process of the group for lack of memory.
    pub(crate) fn saw_oom_kill(&self) -> bool {
        let text = match layout() {
            CgroupLayout::V1 => self.read("memory", "memory.oom_control"),
            CgroupLayout::V2 => self.read("", "memory.events"),
        };
        text.is_some_and(|text| {
            text.lines()
                .filter_map(|line| line.strip_prefix("oom_kill "))
                .any(|count| count.trim().parse::<u64>().is_ok_and(|count| count > 0))
        })
    }
}

/// Hierarchies of version 1, by folder; `unified` is version 2 mounted beside them.
fn hierarchies() -> Vec<std::ffi::OsString> {
    let known = sub_folders(Path::new(ROOT));
    known
        .iter()
        .filter_map(|dir| dir.file_name())
        .filter(|name| *name != "unified")
        .map(ToOwned::to_owned)
        .collect()
}

/// `cpu` for `cpu,cpuacct` where two controllers share a hierarchy.
fn aliases() -> Vec<(std::ffi::OsString, PathBuf)> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().filter_map(|entry| entry.ok());
    entries
        .filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)))
        .collect()
}

fn mount_small_tmpfs(target: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "mode", "755")?;
    fsconfig_set_string(context.as_fd(), "size", "64k")?;
    fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
    move_mount(mount.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(mount)
}

fn clone_mount(source: &Path, target: &Path) -> io::Result<()> {
    let mount =
        open_tree(CWD, source, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    Ok(move_mount(mount.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Removes a group and those below it; one that is gone is removed.
fn remove_group(dir: &Path) -> io::Result<()> {
    for below in sub_folders(dir) {
        remove_group(&below)?;
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sub_folders(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
