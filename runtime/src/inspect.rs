//! The document of `docker inspect` for a container: Docker's keys, in Docker's order.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::block_io::DeviceLimit;
use crate::log::json_file::DockerTime;
use crate::mounts::{Access, MountKind, MountRequest};
use crate::options::{LogDriverName, LogOptions, NetworkMode, RunOptions, SeccompChoice};
use crate::record::{Record, RootFs, State, Status};
use crate::request::Container;
use crate::state::StateDir;

/// What Go writes for a time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The whole document.
pub(crate) fn document(container: &Container, dirs: &StateDir) -> Value {
    let Container { record, state } = container;
    let files = dirs.container(&record.id);
    json!({
        "Id": record.id,
        "Created": time(Some(record.created)),
        "Path": record.args.first(),
        "Args": record.args.get(1..).unwrap_or_default(),
        "State": state_document(state),
        "Image": record.image_id,
        "ResolvConfPath": files.join("resolv.conf"),
        "HostnamePath": files.join("hostname"),
        "HostsPath": files.join("hosts"),
        "LogPath": match record.options.log.driver() {
            driver @ LogDriverName::JsonFile => dirs.log_file(&record.id, driver).display().to_string(),
            _ => String::new(),
        },
        "Name": format!("/{}", record.name),
        "RestartCount": state.restart_count,
        "Driver": match record.rootfs {
            RootFs::Overlay { .. } => "overlay2",
            RootFs::Path { .. } => "vfs",
        },
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(&record.options),
        "GraphDriver": graph_driver(&record.rootfs),
        "Mounts": record.options.mounts.iter().map(mount_point).collect::<Vec<_>>(),
        "Config": config(record),
        "NetworkSettings": network_settings(&record.options, state),
    })
}

fn state_document(state: &State) -> Value {
    let mut document = plain_state_document(state);
    if let Some(health) = &state.health {
        let log: Vec<Value> = health
            .log
            .iter()
            .map(|probe| {
                json!({
                    "Start": time(Some(probe.start)),
                    "End": time(Some(probe.end)),
                    "ExitCode": probe.exit_code,
                    "Output": probe.output,
                })
            })
            .collect();
        document["Health"] = json!({ "Status": health.status.as_str(), "FailingStreak": health.failing_streak, "Log": log });
    }
    document
}

fn plain_state_document(state: &State) -> Value {
    json!({
        "Status": state.status.as_str(),
        "Running": matches!(state.status, Status::Running | Status::Paused | Status::Restarting),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid.unwrap_or(0),
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started_at),
        "FinishedAt": time(state.finished_at),
    })
}

fn host_config(options: &RunOptions) -> Value {
    let mut document = host_config_settings(options);
    if let (Value::Object(all), Value::Object(limits)) =
        (&mut document, host_config_limits(options))
    {
        all.extend(limits);
    }
    document
}

fn host_config_settings(options: &RunOptions) -> Value {
    let binds: Vec<String> = options.mounts.iter().filter_map(bind).collect();
    let tmpfs: Map<String, Value> = options.mounts.iter().filter_map(tmpfs).collect();
    json!({
        "Binds": if binds.is_empty() { Value::Null } else { json!(binds) },
        "ContainerIDFile": "",
        "LogConfig": log_config(&options.log),
        "NetworkMode": options.network.to_string(),
        "PortBindings": port_bindings(options),
        "RestartPolicy": { "Name": options.restart.name(), "MaximumRetryCount": options.restart.maximum() },
        "AutoRemove": options.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": list_or_null(&options.cap_add),
        "CapDrop": list_or_null(&options.cap_drop),
        "CgroupnsMode": options.cgroupns.as_ref().map_or_else(|| "".to_owned(), ToString::to_string),
        "Dns": options.dns,
        "DnsOptions": options.dns_options,
        "DnsSearch": options.dns_search,
        "ExtraHosts": list_or_null(&options.extra_hosts),
        "GroupAdd": list_or_null(&options.group_add),
        "IpcMode": match options.ipc.to_string() { mode if mode.is_empty() => "private".to_owned(), mode => mode },
        "Cgroup": "",
        "Annotations": match options.annotations.is_empty() {
            true => Value::Null,
            false => json!(options.annotations),
        },
        "OomScoreAdj": options.oom_score_adj.unwrap_or(0),
        "PidMode": options.pid.to_string(),
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": security(options),
        "Tmpfs": if tmpfs.is_empty() { Value::Null } else { Value::Object(tmpfs) },
        "UTSMode": options.uts.to_string(),
        "UsernsMode": "",
        "ShmSize": options.shm_size.unwrap_or(crate::limits::SHM_BYTES),
        "Sysctls": if options.sysctls.is_empty() { Value::Null } else { json!(options.sysctls) },
        "Runtime": "wherry",
        "Isolation": "",
        "Init": options.init,
    })
}

fn host_config_limits(options: &RunOptions) -> Value {
    let limits = &options.resources;
    json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CgroupParent": "",
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": limits.cpu_realtime_period.unwrap_or(0),
        "CpuRealtimeRuntime": limits.cpu_realtime_runtime.unwrap_or(0),
        "BlkioWeightDevice": device_limits(&options.block_limits.weights, "Weight"),
        "BlkioDeviceReadBps": device_limits(&options.block_limits.read_bytes, "Rate"),
        "BlkioDeviceWriteBps": device_limits(&options.block_limits.write_bytes, "Rate"),
        "BlkioDeviceReadIOps": device_limits(&options.block_limits.read_operations, "Rate"),
        "BlkioDeviceWriteIOps": device_limits(&options.block_limits.write_operations, "Rate"),
        "DeviceCgroupRules": match options.device_rules.as_slice() {
            [] => Value::Null,
            rules => json!(rules),
        },
        "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
        "Devices": options.devices.iter().map(|device| json!({
            "PathOnHost": device.host, "PathInContainer": device.container, "CgroupPermissions": device.permissions,
        })).collect::<Vec<_>>(),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or(0),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids,
        "Ulimits": options.ulimits.iter().map(|limit| json!({
            "Name": limit.name(), "Hard": limit.hard(), "Soft": limit.soft(),
        })).collect::<Vec<_>>(),
    })
}

fn device_limits(limits: &[DeviceLimit], key: &str) -> Value {
    limits.iter().map(|limit| json!({ "Path": limit.path, key: limit.value })).collect()
}

fn config(record: &Record) -> Value {
    let options = &record.options;
    let image = &record.image_config;
    json!({
        "Hostname": record.hostname(),
        "Domainname": options.domainname.clone().unwrap_or_default(),
        "User": record.user,
        "AttachStdin": options.stdin_once,
        "AttachStdout": options.stdin_once,
        "AttachStderr": options.stdin_once,
        "ExposedPorts": exposed_ports(record),
        "Tty": options.tty,
        "OpenStdin": options.open_stdin,
        "StdinOnce": options.stdin_once,
        "Env": record.env,
        "Cmd": list_or_null(record.command()),
        "Healthcheck": image.healthcheck,
        "Image": record.image,
        "Volumes": if image.volumes.is_empty() { Value::Null } else { json!(image.volumes) },
        "WorkingDir": record.workdir,
        "Entrypoint": list_or_null(record.entrypoint()),
        "OnBuild": list_or_null(&image.on_build),
        "Labels": record.labels,
        "StopSignal": record.stop_signal.to_string(),
        "StopTimeout": options.stop_timeout,
    })
}

/// Docker's `PortBindings`: what was asked for, not what was given.
fn port_bindings(options: &RunOptions) -> Value {
    let mut bindings = Map::new();
    for port in &options.publish {
        let host_port = match port.host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let binding = json!({ "HostIp": ip, "HostPort": host_port });
        match bindings.get_mut(&port.container.to_string()) {
            Some(Value::Array(all)) => all.push(binding),
            _ => drop(bindings.insert(port.container.to_string(), json!([binding]))),
        }
    }
    Value::Object(bindings)
}

/// What the image, `--expose` and `--publish` name.
fn exposed_ports(record: &Record) -> Value {
    let mut ports: Map<String, Value> =
        record.image_config.exposed_ports.keys().map(|port| (port.clone(), json!({}))).collect();
    let options = &record.options;
    let more = options.expose.iter().chain(options.publish.iter().map(|port| &port.container));
    ports.extend(more.map(|port| (port.to_string(), json!({}))));
    if ports.is_empty() { Value::Null } else { Value::Object(ports) }
}

fn network_settings(options: &RunOptions, state: &State) -> Value {
    let sandbox = match (state.pid, &options.network) {
        (_, NetworkMode::Namespace(path)) => path.display().to_string(),
        (Some(pid), _) => format!("/proc/{pid}/ns/net"),
        (None, _) => String::new(),
    };
    let mut networks = Map::new();
    if matches!(options.network, NetworkMode::Host | NetworkMode::None) {
        let endpoint = json!({ "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "MacAddress": "" });
        networks.insert(options.network.to_string(), endpoint);
    }
    json!({ "SandboxKey": sandbox, "Ports": {}, "IPAddress": "", "Gateway": "", "MacAddress": "", "Networks": networks })
}

fn graph_driver(rootfs: &RootFs) -> Value {
    match rootfs {
        RootFs::Overlay { lowers, upper, work } => {
            let lowers: Vec<String> =
                lowers.iter().map(|path| path.display().to_string()).collect();
            json!({ "Data": { "LowerDir": lowers.join(":"), "UpperDir": upper, "WorkDir": work }, "Name": "overlay2" })
        }
        RootFs::Path { path } => json!({ "Data": { "RootDir": path }, "Name": "vfs" }),
    }
}

fn mount_point(mount: &MountRequest) -> Value {
    let (kind, name, source) = match &mount.kind {
        MountKind::Bind { source, .. } => ("bind", None, Some(source)),
        MountKind::Volume { name, source, .. } => ("volume", Some(name), Some(source)),
        MountKind::Tmpfs { .. } => ("tmpfs", None, None),
    };
    let mut document = json!({
        "Type": kind,
        "Source": source,
        "Destination": mount.target,
        "Mode": "",
        "RW": mount.access == Access::ReadWrite,
        "Propagation": mount.propagation,
    });
    if let Some(name) = name {
        document["Name"] = json!(name);
        document["Driver"] = json!("local");
    }
    document
}

fn bind(mount: &MountRequest) -> Option<String> {
    let source = match &mount.kind {
        MountKind::Bind { source, .. } => source.display().to_string(),
        MountKind::Volume { name, .. } => name.clone(),
        MountKind::Tmpfs { .. } => return None,
    };
    let suffix = if mount.access == Access::ReadOnly { ":ro" } else { "" };
    Some(format!("{source}:{}{suffix}", mount.target.display()))
}

fn tmpfs(mount: &MountRequest) -> Option<(String, Value)> {
    match &mount.kind {
        MountKind::Tmpfs { options } => {
            Some((mount.target.display().to_string(), json!(options.join(","))))
        }
        _ => None,
    }
}

fn security(options: &RunOptions) -> Value {
    let mut list: Vec<String> = Vec::new();
    match &options.seccomp {
        SeccompChoice::Default => {}
        SeccompChoice::Unconfined => list.push("seccomp=unconfined".to_owned()),
        SeccompChoice::Profile(text) => list.push(format!("seccomp={text}")),
    }
    if options.no_new_privileges {
        list.push("no-new-privileges".to_owned());
    }
    list_or_null(&list)
}

fn log_config(log: &LogOptions) -> Value {
    match log.driver() {
        LogDriverName::None => json!({ "Type": "none", "Config": {} }),
        driver @ (LogDriverName::Syslog | LogDriverName::Journald) => {
            json!({ "Type": driver.as_str(), "Config": log.settings() })
        }
        driver @ (LogDriverName::JsonFile | LogDriverName::Local) => json!({
            "Type": driver.as_str(),
            "Config": { "max-size": log.max_size().to_string(), "max-file": log.max_files().to_string() },
        }),
    }
}

fn list_or_null(list: &[String]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| DockerTime(time).to_string())
}
