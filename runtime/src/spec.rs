//! The isolation plan: from what a container is to its OCI runtime specification. Pure: everything read from the host or the
//! image is handed in as [`Facts`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::block_io::DeviceRule;
use crate::error::{Error, Result};
use crate::limits;
use crate::mounts::{Access, MountKind, MountRequest};
use crate::options::{NamespaceMode, NetworkMode, Resources, RunOptions, Ulimit};
use crate::user::Identity;

/// What was found out about host and image before planning.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Where the root file system is mounted.
    pub(crate) rootfs: PathBuf,
    /// The process's user.
    pub(crate) identity: Identity,
    /// Which control groups the host has.
    pub(crate) cgroups: CgroupLayout,
    /// Whether the memory controller counts swap.
    pub(crate) swap_limits: bool,
    /// Devices of the host to be made inside.
    pub(crate) devices: Vec<DeviceNode>,
    /// Namespaces of other containers to join, by OCI name.
    pub(crate) joined: BTreeMap<&'static str, PathBuf>,
    /// `/etc/hosts` and its like: path inside, file on the host.
    pub(crate) host_files: Vec<(&'static str, PathBuf)>,
    /// The first process of the container whose IPC namespace is joined.
    pub(crate) ipc_of: Option<i32>,
    /// Where the monitor has bound the `/dev/shm` of that container.
    pub(crate) joined_shm: Option<PathBuf>,
    /// The tree to be bound at `/sys/fs/cgroup`, where this program has laid one out.
    pub(crate) cgroup_view: Option<PathBuf>,
    /// Where the parts of volumes are that are mounted, by the path inside.
    pub(crate) subpaths: BTreeMap<PathBuf, PathBuf>,
    /// Number of processors that have throttling counters to hide.
    pub(crate) throttle_counters: u32,
}

/// The host's control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupLayout {
    /// Version 1, also where version 2 is mounted beside it without controllers.
    V1,
    /// Version 2.
    V2,
}

/// A device node as stat found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceNode {
    pub(crate) path: PathBuf,
    pub(crate) kind: char,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) permissions: String,
}

/// What a process of a container or of a build step is to be.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) id: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) args: &'a [String],
    pub(crate) env: Vec<String>,
    pub(crate) workdir: &'a Path,
    pub(crate) options: &'a RunOptions,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The environment of a first process: the merged one plus what only the start knows. What a user set wins.
pub(crate) fn complete_env(env: &[String], hostname: &str, home: &str, tty: bool) -> Vec<String> {
    let mut complete = env.to_vec();
    let mut add = |name: &str, value: &str| {
        if !complete.iter().any(|entry| entry.split('=').next() == Some(name)) {
            complete.push(format!("{name}={value}"));
        }
    };
    add("HOSTNAME", hostname);
    if tty {
        add("TERM", "xterm");
    }
    add("HOME", home);
    complete
}

/// The specification of the plan.
///
/// # Errors
/// A value that the OCI types refuse.
pub(crate) fn build(plan: &Plan<'_>, facts: &Facts) -> Result<Spec> {
    let options = plan.options;
    let mut process = json!({
        "terminal": options.tty,
        "user": {
            "uid": facts.identity.uid,
            "gid": facts.identity.gid,
            "additionalGids": facts.identity.groups,
        },
        "args": plan.args,
        "env": plan.env,
        "cwd": plan.workdir,
        "rlimits": options.ulimits.iter().map(rlimit).collect::<Vec<_>>(),
    });
    if let Some(score) = options.oom_score_adj {
        process["oomScoreAdj"] = json!(score);
    }
    // An explicit false would make libcontainer treat the flag as given.
    if options.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    let mut document = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": facts.rootfs, "readonly": options.read_only },
        "mounts": mounts(options, facts),
        "annotations": plan.annotations,
        "linux": linux(plan, facts)?,
    });
    if options.uts == NamespaceMode::Private {
        document["hostname"] = json!(plan.hostname);
        if let Some(domain) = &options.domainname {
            document["domainname"] = json!(domain);
        }
    }
    serde_json::from_value(document).map_err(|error| {
        Error::invalid("container options", plan.id, format!("no OCI specification: {error}"))
    })
}

/// Name of the control group of a container or a step, the same in every hierarchy.
pub(crate) fn cgroup_path(id: &str) -> String {
    format!("/wherry/{id}")
}

fn linux(plan: &Plan<'_>, facts: &Facts) -> Result<Value> {
    let options = plan.options;
    let mut linux = json!({
        "cgroupsPath": cgroup_path(plan.id),
        "namespaces": namespaces(options, facts),
        "resources": resources(options, facts)?,
        "devices": facts.devices.iter().map(device).collect::<Vec<_>>(),
        "rootfsPropagation": "private",
        "sysctl": sysctls(options),
    });
    if !options.privileged {
        linux["maskedPaths"] = json!(masked_paths(facts.throttle_counters));
        linux["readonlyPaths"] = json!(READ_ONLY_PATHS);
    }
    Ok(linux)
}

/// In a network namespace of its own a container needs no right to take a low port or to ping, as in Docker: the ports there
/// are its own.
fn sysctls(options: &RunOptions) -> BTreeMap<String, String> {
    const OWN_NETWORK: [(&str, &str); 2] = [
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.ping_group_range", "0 2147483647"),
    ];
    let mut all = options.sysctls.clone();
    if matches!(options.network, NetworkMode::None | NetworkMode::Named(_)) {
        for (name, value) in OWN_NETWORK {
            all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    all
}

/// Hidden from containers: they tell about, or let them touch, the host.
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn masked_paths(throttle_counters: u32) -> Vec<String> {
    let per_processor = |cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
    MASKED_PATHS
        .iter()
        .map(|path| (*path).to_owned())
        .chain((0..throttle_counters).map(per_processor))
        .collect()
}

fn namespaces(options: &RunOptions, facts: &Facts) -> Vec<Value> {
    let cgroup = options.cgroupns.clone().unwrap_or(match facts.cgroups {
        CgroupLayout::V2 => NamespaceMode::Private,
        CgroupLayout::V1 => NamespaceMode::Host,
    });
    let mut list = vec![json!({ "type": "mount" })];
    for (name, mode) in
        [("pid", &options.pid), ("ipc", &options.ipc), ("uts", &options.uts), ("cgroup", &cgroup)]
    {
        match (mode, facts.joined.get(name)) {
            (NamespaceMode::Private, _) => list.push(json!({ "type": name })),
            (NamespaceMode::Container(_), Some(path)) => {
                list.push(json!({ "type": name, "path": path }))
            }
            (NamespaceMode::Host | NamespaceMode::Container(_), _) => {}
        }
    }
    match (&options.network, facts.joined.get("network")) {
        (NetworkMode::Host, _) => {}
        (NetworkMode::None, _) => list.push(json!({ "type": "network" })),
        (NetworkMode::Namespace(path), _) => list.push(json!({ "type": "network", "path": path })),
        (NetworkMode::Container(_) | NetworkMode::Named(_), Some(path)) => {
            list.push(json!({ "type": "network", "path": path }))
        }
        (NetworkMode::Container(_), None) => {}
        // Never the host's by default: a plan without the namespace still gets one of its own.
        (NetworkMode::Named(_), None) => list.push(json!({ "type": "network" })),
    }
    list
}

fn mounts(options: &RunOptions, facts: &Facts) -> Vec<Value> {
    let taken = |target: &str| options.mounts.iter().any(|mount| mount.target == Path::new(target));
    let mut list: Vec<Value> = default_mounts(options, facts)
        .into_iter()
        .filter(|mount| !mount["destination"].as_str().is_some_and(taken))
        .collect();
    for (target, source) in &facts.host_files {
        if !taken(target) {
            list.push(mount(target, "bind", &source.display().to_string(), &["rbind", "rprivate"]));
        }
    }
    let mut requested: Vec<&MountRequest> = options.mounts.iter().collect();
    requested.sort_by_key(|mount| mount.target.components().count());
    list.extend(requested.into_iter().map(|request| requested_mount(request, facts)));
    list
}

fn default_mounts(options: &RunOptions, facts: &Facts) -> Vec<Value> {
    let sys_access = if options.privileged { "rw" } else { "ro" };
    let shm_size = format!("size={}", options.shm_size.unwrap_or(limits::SHM_BYTES));
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys_access]),
        match &facts.cgroup_view {
            Some(view) => {
                mount("/sys/fs/cgroup", "bind", &view.display().to_string(), &["rbind", "rprivate"])
            }
            None => mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &[sys_access, "nosuid", "noexec", "nodev"],
            ),
        },
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    list.push(match (&options.ipc, &facts.joined_shm) {
        (NamespaceMode::Host, _) => mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate"]),
        (NamespaceMode::Container(_), Some(shm)) => {
            mount("/dev/shm", "bind", &shm.display().to_string(), &["rbind", "rprivate"])
        }
        _ => mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm_size],
        ),
    });
    list
}

fn requested_mount(request: &MountRequest, facts: &Facts) -> Value {
    let access = match request.access {
        Access::ReadOnly => "ro",
        Access::ReadWrite => "rw",
    };
    let target = request.target.display().to_string();
    match &request.kind {
        MountKind::Bind { source, .. } | MountKind::Volume { source, .. } => {
            let source = facts.subpaths.get(&request.target).unwrap_or(source);
            let mut words = vec!["rbind", &request.propagation, access];
            if request.access == Access::ReadOnly {
                // Also what is mounted below the source.
                words.push("rro");
            }
            mount(&target, "bind", &source.display().to_string(), &words)
        }
        MountKind::Tmpfs { options } => {
            let mut all = vec!["nosuid", "nodev", access];
            if !options.iter().any(|option| option == "exec") {
                all.push("noexec");
            }
            all.extend(options.iter().map(String::as_str).filter(|option| *option != "exec"));
            mount(&target, "tmpfs", "tmpfs", &all)
        }
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn rlimit(limit: &Ulimit) -> Value {
    json!({ "type": limit.rlimit(), "soft": limit.soft(), "hard": limit.hard() })
}

fn device(node: &DeviceNode) -> Value {
    json!({
        "path": node.path, "type": node.kind.to_string(), "major": node.major, "minor": node.minor,
        "fileMode": node.mode & 0o7777, "uid": node.uid, "gid": node.gid,
    })
}

const CPU_PERIOD_MICROSECONDS: i64 = 100_000;
const NANOS_PER_CPU: i64 = 1_000_000_000;
const SMALLEST_MEMORY: i64 = 6 << 20;

fn resources(options: &RunOptions, facts: &Facts) -> Result<Value> {
    let mut resources = limits_document(&options.resources, facts.swap_limits)?;
    let mut rules = device_rules(options.privileged, &facts.devices);
    rules.extend(options.device_rules.iter().map(DeviceRule::document));
    resources["devices"] = json!(rules);
    for (name, value) in options.block_limits.document()? {
        resources["blockIO"][name] = value;
    }
    Ok(resources)
}

/// Limits without device rules: what `update` may change of a container that runs.
///
/// # Errors
/// Numbers that Docker refuses.
pub(crate) fn limits_document(limits: &Resources, swap_limits: bool) -> Result<Value> {
    let mut cpu = serde_json::Map::new();
    if let Some(nanos) = limits.nano_cpus {
        if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
            return Err(Error::ConflictingOptions(
                "--cpus and --cpu-period or --cpu-quota cannot both be set".to_owned(),
            ));
        }
        let quota = nanos.saturating_mul(CPU_PERIOD_MICROSECONDS) / NANOS_PER_CPU;
        if quota < 1000 {
            return Err(Error::invalid(
                "--cpus",
                format!("{nanos}e-9"),
                "the smallest share of a processor is 0.01",
            ));
        }
        cpu.insert("quota".into(), json!(quota));
        cpu.insert("period".into(), json!(CPU_PERIOD_MICROSECONDS));
    }
    let optional = [
        ("shares", limits.cpu_shares.map(Value::from)),
        ("period", limits.cpu_period.map(Value::from)),
        ("quota", limits.cpu_quota.map(Value::from)),
        ("realtimePeriod", limits.cpu_realtime_period.map(Value::from)),
        ("realtimeRuntime", limits.cpu_realtime_runtime.map(Value::from)),
        ("cpus", limits.cpuset_cpus.clone().map(Value::from)),
        ("mems", limits.cpuset_mems.clone().map(Value::from)),
    ];
    cpu.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    let mut resources = json!({ "cpu": cpu, "memory": memory(limits, swap_limits)? });
    if let Some(pids) = limits.pids.filter(|pids| *pids > 0) {
        resources["pids"] = json!({ "limit": pids });
    }
    if let Some(weight) = limits.blkio_weight {
        resources["blockIO"] = json!({ "weight": weight });
    }
    Ok(resources)
}

/// `memory-swap` is memory and swap together; unset it is twice the memory; -1 is unlimited.
fn memory(limits: &Resources, swap_limits: bool) -> Result<Value> {
    let mut memory = serde_json::Map::new();
    if let Some(limit) = limits.memory.filter(|limit| *limit != 0) {
        if limit < SMALLEST_MEMORY {
            return Err(Error::invalid(
                "--memory",
                limit.to_string(),
                "Minimum memory limit allowed is 6MB",
            ));
        }
        memory.insert("limit".into(), json!(limit));
    }
    match (limits.memory, limits.memory_swap) {
        (None | Some(0), Some(swap)) if swap > 0 => {
            return Err(Error::invalid(
                "--memory-swap",
                swap.to_string(),
                "You should always set the Memory limit when using Memoryswap limit",
            ));
        }
        (Some(limit), Some(swap)) if swap > 0 && swap < limit => {
            return Err(Error::invalid(
                "--memory-swap",
                swap.to_string(),
                "Minimum memoryswap limit should be larger than memory limit",
            ));
        }
        (Some(limit), swap) if limit > 0 && swap_limits => {
            memory.insert(
                "swap".into(),
                json!(swap.filter(|swap| *swap != 0).unwrap_or_else(|| limit.saturating_mul(2))),
            );
        }
        _ => {}
    }
    let optional = [
        ("reservation", limits.memory_reservation.map(Value::from)),
        ("swappiness", limits.memory_swappiness.map(Value::from)),
        ("disableOOMKiller", limits.oom_kill_disable.then_some(Value::Bool(true))),
    ];
    memory.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Ok(Value::Object(memory))
}

/// Deny all, then allow: making nodes of any kind, and using the harmless ones.
fn device_rules(privileged: bool, devices: &[DeviceNode]) -> Vec<Value> {
    if privileged {
        return vec![json!({ "allow": true, "access": "rwm" })];
    }
    let mut rules = vec![
        json!({ "allow": false, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "access": "m" }),
        json!({ "allow": true, "type": "b", "access": "m" }),
    ];
    let harmless: [(u32, Option<u32>); 8] = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(2)),
        (136, None),
    ];
    for (major, minor) in harmless {
        let mut rule = json!({ "allow": true, "type": "c", "major": major, "access": "rwm" });
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rules.push(rule);
    }
    rules.push(json!({ "allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm" }));
    for node in devices {
        rules.push(json!({
            "allow": true, "type": node.kind.to_string(), "major": node.major, "minor": node.minor, "access": node.permissions,
        }));
    }
    rules
}

#[cfg(test)]
mod tests;
