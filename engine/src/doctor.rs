//! What this machine can do for containers, and what it costs where it cannot.

use std::fs;
use std::path::Path;

use rustix::mount::{FsOpenFlags, fsopen};

use crate::config::Config;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All there.
    Good,
    /// Something is missing that some uses need.
    Limited,
    /// Something is missing without which the main verbs fail.
    Broken,
}

/// One thing looked at.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub seen: String,
    /// What the lack costs, empty where nothing is lacking.
    pub cost: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    fn good(subject: &'static str, seen: impl Into<String>) -> Self {
        Self {
            subject,
            health: Health::Good,
            seen: seen.into(),
            cost: String::new(),
            remedy: String::new(),
        }
    }

    fn lacking(
        subject: &'static str,
        health: Health,
        seen: impl Into<String>,
        cost: &str,
        remedy: &str,
    ) -> Self {
        Self {
            subject,
            health,
            seen: seen.into(),
            cost: cost.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}

/// Looks at everything. Changes nothing.
pub fn examine(config: &Config) -> Vec<Finding> {
    vec![
        privileges(),
        root_folder(&config.root),
        overlay(),
        namespaces(),
        cgroups(Path::new("/sys/fs/cgroup")),
        seccomp(),
        emulation(Path::new("/proc/sys/fs/binfmt_misc")),
        policy(config),
    ]
}

fn privileges() -> Finding {
    if rustix::process::geteuid().is_root() {
        return Finding::good("privileges", "root");
    }
    Finding::lacking(
        "privileges",
        Health::Limited,
        format!("user {}", rustix::process::geteuid().as_raw()),
        "containers and layer ownership need root; pull, push, sign and verify do not",
        "run as root to build and run",
    )
}

/// The free space below which a pull of an ordinary image is likely to fail.
const FREE_BYTES_COMFORTABLE: u64 = 1 << 30;

fn root_folder(root: &Path) -> Finding {
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let remedy = "choose another folder with --root or WHERRY_ROOT";
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        let seen = format!("{} cannot be written", existing.display());
        return Finding::lacking("store", Health::Broken, seen, "nothing can be stored", remedy);
    }
    let free = rustix::fs::statvfs(existing).map(|fs| fs.f_bavail * fs.f_frsize).unwrap_or(0);
    let seen = format!("{}, {} MB free", root.display(), free / 1_000_000);
    if free < FREE_BYTES_COMFORTABLE {
        return Finding::lacking(
            "store",
            Health::Limited,
            seen,
            "large images will not fit",
            remedy,
        );
    }
    Finding::good("store", seen)
}

fn overlay() -> Finding {
    match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => Finding::good("overlay", "mount API and overlay present"),
        Err(rustix::io::Errno::PERM) => Finding::lacking(
            "overlay",
            Health::Limited,
            "not permitted",
            "layers are copied instead of stacked: slower, more disk",
            "run as root",
        ),
        Err(error) => Finding::lacking(
            "overlay",
            Health::Limited,
            error.to_string(),
            "layers are copied instead of stacked: slower, more disk",
            "load the overlay module, or use a kernel of 5.2 or later",
        ),
    }
}

fn namespaces() -> Finding {
    let missing: Vec<&str> = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"]
        .into_iter()
        .filter(|name| !Path::new("/proc/self/ns").join(name).exists())
        .collect();
    if missing.is_empty() {
        return Finding::good("namespaces", "mnt pid net ipc uts user cgroup");
    }
    Finding::lacking(
        "namespaces",
        Health::Broken,
        format!("missing: {}", missing.join(" ")),
        "containers cannot be isolated and will not start",
        "use a kernel with these namespaces",
    )
}

fn cgroups(mount: &Path) -> Finding {
    if let Ok(controllers) = fs::read_to_string(mount.join("cgroup.controllers")) {
        return lacking_controllers("cgroup v2", controllers.split_whitespace());
    }
    let names: Vec<String> = fs::read_dir(mount)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    if names.is_empty() {
        return Finding::lacking(
            "cgroups",
            Health::Broken,
            "not mounted",
            "containers cannot be limited, frozen or killed as a whole",
            "mount cgroup2 on /sys/fs/cgroup",
        );
    }
    lacking_controllers("cgroup v1", names.iter().flat_map(|name| name.split(',')))
}

fn lacking_controllers<'a>(version: &str, present: impl Iterator<Item = &'a str>) -> Finding {
    let present: Vec<&str> = present.collect();
    let missing: Vec<&str> =
        ["cpu", "memory", "pids"].into_iter().filter(|name| !present.contains(name)).collect();
    if missing.is_empty() {
        return Finding::good("cgroups", format!("{version} with cpu, memory, pids"));
    }
    Finding::lacking(
        "cgroups",
        Health::Limited,
        format!("{version} without {}", missing.join(", ")),
        "limits of that kind cannot be enforced",
        "enable the controllers on the kernel command line",
    )
}

fn seccomp() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) => Finding::good("seccomp", actions.trim()),
        Err(_) => Finding::lacking(
            "seccomp",
            Health::Limited,
            "not in this kernel",
            "containers may make every system call; the default profile cannot be in force",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn emulation(binfmt: &Path) -> Finding {
    let mut handlers: Vec<String> = fs::read_dir(binfmt)
        .map(|entries| {
            entries
                .flatten()
                .filter_map(|e| e.file_name().to_str()?.strip_prefix("qemu-").map(str::to_owned))
                .collect()
        })
        .unwrap_or_default();
    handlers.sort();
    if !handlers.is_empty() {
        return Finding::good("emulation", handlers.join(" "));
    }
    Finding::lacking(
        "emulation",
        Health::Limited,
        "no binfmt handler",
        "RUN steps for another architecture fail; copying and cross-compiling do not need it",
        "install qemu-user-static and binfmt-support",
    )
}

fn policy(config: &Config) -> Finding {
    let path = config.policy_path();
    if path.exists() {
        return Finding::good("policy", path.display().to_string());
    }
    Finding::lacking(
        "policy",
        Health::Limited,
        "none",
        "unsigned images are accepted",
        &format!("write {} to require signatures", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v2_mount_without_memory_says_what_that_costs() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::write(dir.path().join("cgroup.controllers"), "cpu pids io\n").expect("write");
        let finding = cgroups(dir.path());
        assert_eq!(finding.health, Health::Limited);
        assert_eq!(finding.seen, "cgroup v2 without memory");
    }

    #[test]
    fn joined_v1_controllers_count_each() {
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["cpu,cpuacct", "memory", "pids"] {
            fs::create_dir(dir.path().join(name)).expect("mkdir");
        }
        assert_eq!(cgroups(dir.path()).health, Health::Good);
    }

    #[test]
    fn a_registered_handler_is_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(emulation(dir.path()).health, Health::Limited);
        fs::write(dir.path().join("qemu-aarch64"), "enabled").expect("write");
        assert_eq!(emulation(dir.path()).seen, "aarch64");
    }
}
