//! What has to be found out and made ready on the host before a container can be planned: `/etc/hosts` and its like, devices,
//! namespaces of other containers, missing bind sources, the working folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::cgroup::{self, Cgroup};
use crate::error::{Error, Result};
use crate::mounts::{Access, MissingSource, MountKind, MountRequest};
use crate::network::Attachment;
use crate::options::{Device, NamespaceMode, NetworkMode, RunOptions};
use crate::rootfs::Root;
use crate::spec::{CgroupLayout, DeviceNode, Facts};
use crate::state;
use crate::user;

/// What names the namespaces of a running container: its first process.
pub(crate) type FirstProcessOf<'a> = &'a dyn Fn(&str) -> Result<i32>;

/// What a plan is made of beside the host itself.
pub(crate) struct Ground<'a> {
    /// Where the root file system is mounted.
    pub(crate) rootfs: PathBuf,
    pub(crate) user: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) options: &'a RunOptions,
    /// The folder for the generated host files: the container's own, or that of the one whose network it joins.
    pub(crate) files: HostFiles,
    /// What its networks gave it.
    pub(crate) network: Option<&'a Attachment>,
}

/// Whose `/etc/hosts` and its like a container has.
pub(crate) enum HostFiles {
    /// Its own, in this folder.
    Own(PathBuf),
    /// Those of the container whose network it shares.
    Shared(PathBuf),
}

/// Gathers the facts for a plan.
pub(crate) fn gather(
    ground: Ground<'_>,
    first_process_of: FirstProcessOf<'_>,
) -> Result<(Facts, Root)> {
    let Ground { rootfs, user, hostname, options, files, network } = ground;
    let root = Root::open(&rootfs)?;
    let identity = user::look_up(&root, user, &options.group_add)?;
    for mount in &options.mounts {
        make_missing_source(mount)?;
    }
    let (mut joined, ipc_of) = joined_namespaces(options, first_process_of)?;
    if let Some(network) = network {
        joined.insert("network", network.namespace.clone());
    }
    let facts = Facts {
        rootfs,
        identity,
        cgroups: cgroup::layout(),
        swap_limits: cgroup::has_swap_limits(),
        devices: devices(options)?,
        joined,
        host_files: match files {
            HostFiles::Own(dir) => host_files(&dir, hostname, options, network)?,
            HostFiles::Shared(dir) => shared_files(&dir),
        },
        ipc_of,
        joined_shm: None,
        cgroup_view: None,
        subpaths: BTreeMap::new(),
        throttle_counters: throttle_counters(),
    };
    Ok((facts, root))
}

/// Lays out the control groups for a container that sees the host's hierarchy of version 1, which the library would mount one
/// by one and leave open to writing.
pub(crate) fn lay_out_cgroups(
    facts: &mut Facts,
    id: &str,
    options: &RunOptions,
    target: &Path,
) -> Result<()> {
    let on_host = matches!(options.cgroupns, None | Some(NamespaceMode::Host));
    if facts.cgroups == CgroupLayout::V1 && on_host {
        let access = if options.privileged { Access::ReadWrite } else { Access::ReadOnly };
        Cgroup::of(id).lay_out_view(target, access)?;
        facts.cgroup_view = Some(target.to_owned());
    }
    Ok(())
}

/// Refuses at once what `--mount` says must be there.
pub(crate) fn check_sources(mounts: &[MountRequest]) -> Result<()> {
    for mount in mounts {
        if let MountKind::Bind { source, missing: MissingSource::Refuse } = &mount.kind
            && !source.exists()
        {
            return Err(Error::invalid(
                "mount config for type",
                "bind",
                format!("bind source path does not exist: {}", source.display()),
            ));
        }
    }
    Ok(())
}

fn make_missing_source(mount: &MountRequest) -> Result<()> {
    match &mount.kind {
        MountKind::Bind { source, missing: MissingSource::Create } if !source.exists() => {
            fs::create_dir_all(source).map_err(Error::file("create the source of a mount", source))
        }
        MountKind::Bind { missing: MissingSource::Refuse, .. } => {
            check_sources(std::slice::from_ref(mount))
        }
        _ => Ok(()),
    }
}

/// The namespaces to join, and the process whose IPC is shared.
type Joined = (BTreeMap<&'static str, PathBuf>, Option<i32>);

fn joined_namespaces(options: &RunOptions, first_process_of: FirstProcessOf<'_>) -> Result<Joined> {
    let mut joined = BTreeMap::new();
    let mut ipc_of = None;
    let cgroupns = options.cgroupns.clone().unwrap_or_default();
    let modes = [
        ("pid", "pid", &options.pid),
        ("ipc", "ipc", &options.ipc),
        ("uts", "uts", &options.uts),
        ("cgroup", "cgroup", &cgroupns),
    ];
    for (name, file, mode) in modes {
        if let NamespaceMode::Container(reference) = mode {
            let pid = first_process_of(reference)?;
            joined.insert(name, PathBuf::from(format!("/proc/{pid}/ns/{file}")));
            if name == "ipc" {
                ipc_of = Some(pid);
            }
        }
    }
    if let NetworkMode::Container(reference) = &options.network {
        let pid = first_process_of(reference)?;
        joined.insert("network", PathBuf::from(format!("/proc/{pid}/ns/net")));
    }
    Ok((joined, ipc_of))
}

fn devices(options: &RunOptions) -> Result<Vec<DeviceNode>> {
    if options.privileged {
        let mut nodes = Vec::new();
        host_devices(Path::new("/dev"), &mut nodes);
        return Ok(nodes);
    }
    options.devices.iter().map(device).collect()
}

fn device(wanted: &Device) -> Result<DeviceNode> {
    let metadata =
        fs::metadata(&wanted.host).map_err(Error::file("use the device", &wanted.host))?;
    node(&metadata, &wanted.container, &wanted.permissions).ok_or_else(|| {
        Error::invalid("--device", wanted.host.display().to_string(), "not a device node")
    })
}

fn node(metadata: &fs::Metadata, path: &Path, permissions: &str) -> Option<DeviceNode> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return None,
    };
    let number = metadata.rdev();
    Some(DeviceNode {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        permissions: permissions.to_owned(),
    })
}

/// All nodes of the host but those a container has of its own.
fn host_devices(dir: &Path, nodes: &mut Vec<DeviceNode>) {
    const OWN: [&str; 8] = [
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/dev/fd",
        "/dev/console",
        "/dev/ptmx",
        "/dev/tty",
        "/dev/.udev",
    ];
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.filter_map(|entry| entry.ok()) {
        let path = entry.path();
        if OWN.iter().any(|own| path == Path::new(own)) {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => host_devices(&path, nodes),
            Ok(metadata) => nodes.extend(node(&metadata, &path, "rwm")),
            Err(_) => {}
        }
    }
}

/// The generated files: path inside, name in the container's folder.
const HOST_FILES: [(&str, &str); 3] =
    [("/etc/resolv.conf", "resolv.conf"), ("/etc/hostname", "hostname"), ("/etc/hosts", "hosts")];

fn shared_files(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    HOST_FILES.iter().map(|(target, name)| (*target, dir.join(name))).collect()
}

/// Files of the container's own over those of the image. What a user changed in them stays, but for the names of a container
/// in networks of its own: its addresses may be others at each start.
fn host_files(
    dir: &Path,
    hostname: &str,
    options: &RunOptions,
    network: Option<&Attachment>,
) -> Result<Vec<(&'static str, PathBuf)>> {
    state::make_private_dir(dir)?;
    let on_host_network = options.network == NetworkMode::Host;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let host_hosts = if on_host_network { read("/etc/hosts") } else { String::new() };
    let (resolv_conf, hosts) = match network {
        Some(network) => (network.resolv_conf.clone(), network.hosts.clone()),
        None => (resolv_conf(&read("/etc/resolv.conf"), options), hosts(&host_hosts, options)?),
    };
    let contents = [resolv_conf, format!("{hostname}\n"), hosts];
    let mut files = Vec::new();
    for ((target, name), content) in HOST_FILES.into_iter().zip(contents) {
        let path = dir.join(name);
        let again = match name {
            "hosts" => network.is_some(),
            "resolv.conf" => network.is_some() && is_as_written(&path),
            _ => false,
        };
        if again || !path.exists() {
            write_host_file(&path, &content)?;
        }
        files.push((target, path));
    }
    Ok(files)
}

/// Writes a file and beside it the digest of what was written, by which a change of the user's is known.
fn write_host_file(path: &Path, content: &str) -> Result<()> {
    state::write_atomically(path, content.as_bytes())?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .map_err(Error::file("set the mode of", path))?;
    state::write_atomically(&path.with_extension("sha256"), digest(content.as_bytes()).as_bytes())
}

/// Writes the files that networks make into the folder of a running container, in place: it has them mounted. A
/// `resolv.conf` that the user changed stays.
pub(crate) fn rewrite_network_files(dir: &Path, hosts: &str, resolv_conf: &str) -> Result<()> {
    for (name, content) in [("hosts", hosts), ("resolv.conf", resolv_conf)] {
        let path = dir.join(name);
        if name == "resolv.conf" && !is_as_written(&path) {
            continue;
        }
        state::write_in_place(&path, content.as_bytes()).map_err(Error::file("write", &path))?;
        let written = digest(content.as_bytes());
        state::write_atomically(&path.with_extension("sha256"), written.as_bytes())?;
    }
    Ok(())
}

fn is_as_written(path: &Path) -> bool {
    match (fs::read(path), fs::read_to_string(path.with_extension("sha256"))) {
        (Ok(content), Ok(written)) => digest(&content) == written,
        _ => false,
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

const OWN_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

fn hosts(host_file: &str, options: &RunOptions) -> Result<String> {
    let mut text = if host_file.is_empty() { OWN_HOSTS.to_owned() } else { host_file.to_owned() };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in &options.extra_hosts {
        let (name, address) = entry
            .split_once([':', '='])
            .filter(|(name, address)| {
                !name.is_empty()
                    && address.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
            })
            .ok_or_else(|| Error::invalid("--add-host", entry.as_str(), "write NAME:ADDRESS"))?;
        text.push_str(&format!("{}\t{name}\n", address.trim_matches(['[', ']'])));
    }
    Ok(text)
}

/// The host's resolver settings. Outside the host's network its own loopback is not the container's, so such servers go.
fn resolv_conf(host: &str, options: &RunOptions) -> String {
    let mut lines: Vec<String> = Vec::new();
    let own_network = options.network != NetworkMode::Host;
    for line in host.lines() {
        let mut words = line.split_whitespace();
        let keep = match words.next() {
            Some("nameserver") => {
                let is_loopback = words
                    .next()
                    .and_then(|a| a.parse::<std::net::IpAddr>().ok())
                    .is_some_and(|a| a.is_loopback());
                options.dns.is_empty() && !(own_network && is_loopback)
            }
            Some("search" | "domain") => options.dns_search.is_empty(),
            Some("options") => options.dns_options.is_empty(),
            _ => true,
        };
        if keep {
            lines.push(line.to_owned());
        }
    }
    lines.extend(options.dns.iter().map(|server| format!("nameserver {server}")));
    if !options.dns_search.is_empty() && options.dns_search != ["."] {
        lines.push(format!("search {}", options.dns_search.join(" ")));
    }
    if !options.dns_options.is_empty() {
        lines.push(format!("options {}", options.dns_options.join(" ")));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn throttle_counters() -> u32 {
    let has = |cpu: &u32| {
        Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")).exists()
    };
    u32::try_from((0..u32::MAX).take_while(has).count()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-51
    #[test]
    fn resolvers_of_the_hosts_loopback_stay_on_the_host() {
        let host = "# made by x\nsearch corp.example\nnameserver 127.0.0.53\nnameserver 9.9.9.9\noptions edns0\n";
        let own = RunOptions::default();
        assert_eq!(
            resolv_conf(host, &own),
            "# made by x\nsearch corp.example\nnameserver 9.9.9.9\noptions edns0\n"
        );
        let on_host = RunOptions { network: NetworkMode::Host, ..RunOptions::default() };
        assert_eq!(resolv_conf(host, &on_host), host);
        let given = RunOptions {
            dns: vec!["1.1.1.1".into()],
            dns_search: vec![".".into()],
            dns_options: vec!["ndots:1".into()],
            ..RunOptions::default()
        };
        assert_eq!(resolv_conf(host, &given), "# made by x\nnameserver 1.1.1.1\noptions ndots:1\n");
    }

    /// Covers: RUN-51
    #[test]
    fn a_resolv_conf_that_the_user_changed_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        assert!(!is_as_written(&path));
        write_host_file(&path, "nameserver 127.0.0.11\n").unwrap();
        assert!(is_as_written(&path));
        fs::write(&path, "nameserver 1.1.1.1\n").unwrap();
        assert!(!is_as_written(&path));
    }

    #[test]
    fn hosts_get_the_added_names() {
        let options = RunOptions {
            extra_hosts: vec!["db:10.0.0.2".into(), "six:[fe80::1]".into()],
            ..RunOptions::default()
        };
        let text = hosts("", &options).unwrap();
        assert!(
            text.starts_with("127.0.0.1\tlocalhost\n")
                && text.ends_with("10.0.0.2\tdb\nfe80::1\tsix\n"),
            "{text}"
        );
        let bad = RunOptions { extra_hosts: vec!["db".into()], ..RunOptions::default() };
        assert!(hosts("", &bad).is_err());
    }

    /// Covers: RUN-45
    #[test]
    fn a_missing_source_is_made_or_refused_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("a/b");
        let mount = |missing| MountRequest {
            kind: MountKind::Bind { source: source.clone(), missing },
            target: "/x".into(),
            access: Access::ReadWrite,
            propagation: "rprivate".into(),
        };
        let error = make_missing_source(&mount(MissingSource::Refuse)).unwrap_err();
        assert!(error.to_string().contains("bind source path does not exist"), "{error}");
        make_missing_source(&mount(MissingSource::Create)).unwrap();
        assert!(source.is_dir());
    }
}
