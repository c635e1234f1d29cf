//! What a site left behind in the kernel: mounts, processes, control groups.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lan::Host;
use crate::site::eventually;

/// Descriptions of what still belongs to the site below `site`. Processes that were told to end get a moment to do so.
pub fn left_behind(site: &Path) -> Vec<String> {
    let look = || {
        let mut left = mounts(site);
        left.extend(processes(site));
        left.extend(control_groups(site));
        left
    };
    let mut left = look();
    eventually(Duration::from_secs(5), || {
        left = look();
        left.is_empty()
    });
    left
}

/// What containers have left on a host of a test after the last of them was removed: their devices, and what maps ports to them.
pub fn left_on(host: &Host) -> Vec<String> {
    let mut left = Vec::new();
    let look = || -> Vec<String> {
        let mut left: Vec<String> = host
            .devices()
            .into_iter()
            .filter(|name| name.starts_with("veth"))
            .map(|name| format!("device {name}"))
            .collect();
        let sockets = host.shell("ss -Hlntu").stdout;
        left.extend(sockets.lines().map(|line| format!("listening socket {line}")));
        left
    };
    // A device of a namespace goes a moment after the namespace.
    eventually(Duration::from_secs(5), || {
        left = look();
        left.is_empty()
    });
    left
}

/// Ends and unmounts what is left, so that one leaking test does not harm the next.
pub fn clear(site: &Path) {
    for (pid, _) in process_list(site) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    for mount in mount_points(site).into_iter().rev() {
        let _ = Command::new("umount").arg("-l").arg(mount).status();
    }
}

fn mounts(site: &Path) -> Vec<String> {
    mount_points(site).into_iter().map(|at| format!("mount {}", at.display())).collect()
}

fn mount_points(site: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
    let points = table.lines().filter_map(|line| line.split_whitespace().nth(4));
    points.map(PathBuf::from).filter(|at| at.starts_with(site)).collect()
}

fn processes(site: &Path) -> Vec<String> {
    process_list(site).into_iter().map(|(pid, line)| format!("process {pid}: {line}")).collect()
}

/// Processes that name the site on their command line or in their environment, or whose root is mounted from it.
fn process_list(site: &Path) -> Vec<(i32, String)> {
    let mark = site.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("list the processes").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        if pid == std::process::id() as i32 {
            continue;
        }
        let read = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let line = read("cmdline");
        let root_is_ours = || {
            read("mountinfo")
                .lines()
                .any(|l| l.split_whitespace().nth(4) == Some("/") && l.contains(&mark))
        };
        if line.contains(&mark) || read("environ").contains(&mark) || root_is_ours() {
            let zombie = read("stat")
                .rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('Z'));
            if !zombie {
                found.push((pid, line));
            }
        }
    }
    found
}

/// Control groups that carry the id of a container of the site.
fn control_groups(site: &Path) -> Vec<String> {
    let ids = container_ids(&site.join("lib"));
    if ids.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 6, &mut |path| {
        let name =
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if ids.iter().any(|id| name.contains(id)) {
            found.push(format!("control group {}", path.display()));
        }
    });
    found
}

/// Names of folders below the root that look like a container's id.
fn container_ids(root: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    walk(root, 3, &mut |path| {
        let name =
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let in_containers = path.parent().is_some_and(|parent| parent.ends_with("containers"));
        if in_containers && crate::text::is_hex(&name, 64) {
            ids.push(name);
        }
    });
    ids
}

fn walk(at: &Path, depth: usize, visit: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(at) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            if depth > 0 {
                walk(&entry.path(), depth - 1, visit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_the_site_is_seen_until_it_ends() {
        let site = tempfile::tempdir().expect("temporary folder");
        let mut child = Command::new("sleep")
            .arg("1000")
            .env("WHERRY_ROOT", site.path())
            .spawn()
            .expect("start sleep");
        assert!(eventually(Duration::from_secs(5), || !process_list(site.path()).is_empty()));
        clear(site.path());
        child.wait().expect("it was killed");
        assert_eq!(left_behind(site.path()), Vec::<String>::new());
    }
}
