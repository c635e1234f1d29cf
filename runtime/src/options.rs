//! What a container is asked to be: the flags of `docker run` and `docker create`, parsed at the gate, kept in the record.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::block_io::{BlockLimits, DeviceRule};
use crate::error::{Error, Result};
use crate::mounts::MountRequest;
use crate::network::{EndpointRequest, ExposedPort, PublishedPort};
use crate::signal::Signal;

/// Everything `run` and `create` can say about a container beyond its image.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// The command after the image; empty means the image's own.
    pub command: Vec<String>,
    /// `--entrypoint`: `Some(vec![])` resets the image's, and any value also forgets the image's `Cmd`.
    pub entrypoint: Option<Vec<String>>,
    /// `-e`: `NAME=value`, or `NAME` alone to remove what the image set.
    pub env: Vec<String>,
    /// `-l`.
    pub labels: BTreeMap<String, String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `--group-add`.
    pub group_add: Vec<String>,
    /// `-h`; the short id where nothing is said.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub open_stdin: bool,
    /// Whether stdin closes when the first attached client leaves: true for an attached `run -i`.
    pub stdin_once: bool,
    /// `--network`.
    pub network: NetworkMode,
    /// `--pid`.
    pub pid: NamespaceMode,
    /// `--ipc`.
    pub ipc: NamespaceMode,
    /// `--uts`.
    pub uts: NamespaceMode,
    /// `--cgroupns`; by default private on cgroup v2 and the host's on v1, as in Docker.
    pub cgroupns: Option<NamespaceMode>,
    /// `-v`, `--mount`, `--tmpfs`, already resolved to host paths.
    pub mounts: Vec<MountRequest>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--security-opt seccomp=…`.
    pub seccomp: SeccompChoice,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// Memory, processors, processes.
    pub resources: Resources,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--device`.
    pub devices: Vec<Device>,
    /// `--device-cgroup-rule`.
    pub device_rules: Vec<DeviceRule>,
    /// `--device-read-bps` and its like.
    pub block_limits: BlockLimits,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--shm-size`, in bytes.
    pub shm_size: Option<u64>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--rm`.
    pub auto_remove: bool,
    /// The folders of volumes that were made for this container alone: they end with it where `--rm` or `rm -v` says so.
    pub own_volumes: Vec<PathBuf>,
    /// `--init`.
    pub init: bool,
    /// `--stop-signal`.
    pub stop_signal: Option<Signal>,
    /// `--stop-timeout`, seconds; negative waits for ever.
    pub stop_timeout: Option<i64>,
    /// `--log-driver` and `--log-opt`.
    pub log: LogOptions,
    /// `--health-cmd` and its like, over the image's own; a test of `NONE` is `--no-healthcheck`.
    pub health: oci::Healthcheck,
    /// `--add-host`, as `name:address`.
    pub extra_hosts: Vec<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// The networks of [`NetworkMode::Named`], in the order of their devices.
    pub endpoints: Vec<EndpointRequest>,
    /// `--publish`.
    pub publish: Vec<PublishedPort>,
    /// `--publish-all`.
    pub publish_all: bool,
    /// `--expose`.
    pub expose: Vec<ExposedPort>,
}

/// `--network`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode", content = "value")]
pub enum NetworkMode {
    /// The host's own network.
    Host,
    /// A network namespace with nothing but its loopback device.
    #[default]
    None,
    /// The namespace behind this path, made and configured by a network driver.
    Namespace(PathBuf),
    /// The namespace of another container, by its id.
    Container(String),
    /// The networks of [`RunOptions::endpoints`], of which this names the first.
    Named(String),
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Namespace(path) => write!(f, "ns:{}", path.display()),
            Self::Container(id) => write!(f, "container:{id}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl FromStr for NetworkMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "host" => Ok(Self::Host),
            None if text == "none" => Ok(Self::None),
            Some(("ns", path)) if path.starts_with('/') => Ok(Self::Namespace(path.into())),
            Some(("container", reference)) if !reference.is_empty() => {
                Ok(Self::Container(reference.to_owned()))
            }
            None if text == "default" => Ok(Self::Named("bridge".to_owned())),
            None if !text.is_empty() => Ok(Self::Named(text.to_owned())),
            _ => Err(Error::invalid(
                "--network",
                text,
                "write host, none, container:NAME, ns:PATH or the name of a network",
            )),
        }
    }
}

/// `--pid`, `--ipc`, `--uts`, `--cgroupns`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode", content = "value")]
pub enum NamespaceMode {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of another container, by its id.
    Container(String),
}

impl NamespaceMode {
    /// Docker's form: empty or `private`, `host`, `container:NAME`; `shareable` is what a private one already is.
    ///
    /// # Errors
    /// Anything else, with the option's name.
    pub fn parse(option: &'static str, text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if matches!(text, "" | "private" | "shareable") => Ok(Self::Private),
            None if text == "host" => Ok(Self::Host),
            Some(("container", reference)) if !reference.is_empty() => {
                Ok(Self::Container(reference.to_owned()))
            }
            _ => Err(Error::invalid(option, text, "use host, private or container:NAME")),
        }
    }
}

impl fmt::Display for NamespaceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => Ok(()),
            Self::Host => f.write_str("host"),
            Self::Container(id) => write!(f, "container:{id}"),
        }
    }
}

/// Which system calls are filtered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode", content = "profile")]
pub enum SeccompChoice {
    /// Docker's default profile.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// The text of a profile in Docker's JSON form.
    Profile(String),
}

/// Limits by control group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// `-m`, bytes.
    pub memory: Option<i64>,
    /// `--memory-swap`, bytes of memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation`, bytes.
    pub memory_reservation: Option<i64>,
    /// `--memory-swappiness`.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`.
    pub oom_kill_disable: bool,
    /// `--cpus`, in billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpu-period`, microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`, microseconds.
    pub cpu_quota: Option<i64>,
    /// `--cpu-rt-period`, microseconds.
    pub cpu_realtime_period: Option<u64>,
    /// `--cpu-rt-runtime`, microseconds.
    pub cpu_realtime_runtime: Option<i64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; -1 and 0 are unlimited.
    pub pids: Option<i64>,
    /// `--blkio-weight`.
    pub blkio_weight: Option<u16>,
}

impl Resources {
    /// These limits with those of `changes` that are set in their place.
    pub(crate) fn changed_by(&self, changes: &Self) -> Self {
        let new = changes.clone();
        let old = self.clone();
        // A number of processors replaces a quota and the other way round: both say the same thing.
        let keeps_quota = new.nano_cpus.is_none();
        let keeps_cpus = new.cpu_quota.is_none() && new.cpu_period.is_none();
        Self {
            memory: new.memory.or(old.memory),
            memory_swap: new.memory_swap.or(old.memory_swap),
            memory_reservation: new.memory_reservation.or(old.memory_reservation),
            memory_swappiness: new.memory_swappiness.or(old.memory_swappiness),
            oom_kill_disable: new.oom_kill_disable || old.oom_kill_disable,
            nano_cpus: new.nano_cpus.or(old.nano_cpus.filter(|_| keeps_cpus)),
            cpu_shares: new.cpu_shares.or(old.cpu_shares),
            cpu_period: new.cpu_period.or(old.cpu_period.filter(|_| keeps_quota)),
            cpu_quota: new.cpu_quota.or(old.cpu_quota.filter(|_| keeps_quota)),
            cpu_realtime_period: new.cpu_realtime_period.or(old.cpu_realtime_period),
            cpu_realtime_runtime: new.cpu_realtime_runtime.or(old.cpu_realtime_runtime),
            cpuset_cpus: new.cpuset_cpus.or(old.cpuset_cpus),
            cpuset_mems: new.cpuset_mems.or(old.cpuset_mems),
            pids: new.pids.or(old.pids),
            blkio_weight: new.blkio_weight.or(old.blkio_weight),
        }
    }
}

/// One `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    name: String,
    soft: u64,
    hard: u64,
}

/// The limits that `setrlimit` knows, in the spelling of `--ulimit`.
const ULIMITS: [&str; 16] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
    "as",
];

impl Ulimit {
    /// Name in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The soft limit; `u64::MAX` is unlimited.
    pub fn soft(&self) -> u64 {
        self.soft
    }

    /// The hard limit; `u64::MAX` is unlimited.
    pub fn hard(&self) -> u64 {
        self.hard
    }

    /// The kernel's name of it.
    pub fn rlimit(&self) -> String {
        format!("RLIMIT_{}", self.name.to_ascii_uppercase())
    }
}

impl FromStr for Ulimit {
    type Err = Error;

    /// `name=soft[:hard]`, -1 for unlimited.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: &str| Error::invalid("--ulimit", text, reason);
        let (name, limits) = text.split_once('=').ok_or_else(|| bad("write NAME=SOFT[:HARD]"))?;
        if !ULIMITS.contains(&name) {
            return Err(bad(
                "unknown limit; the names are those of setrlimit(2) in lower case, such as nofile",
            ));
        }
        let value = |part: &str| match part {
            "-1" | "unlimited" => Ok(u64::MAX),
            _ => part.parse::<u64>().map_err(|_| bad("a limit is a number or -1")),
        };
        let (soft, hard) = match limits.split_once(':') {
            Some((soft, hard)) => (value(soft)?, value(hard)?),
            None => (value(limits)?, value(limits)?),
        };
        if soft > hard {
            return Err(bad("the soft limit must not be above the hard limit"));
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

/// One `--device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host: PathBuf,
    /// Path in the container.
    pub container: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

impl FromStr for Device {
    type Err = Error;

    /// `HOST[:CONTAINER][:rwm]`.
    fn from_str(text: &str) -> Result<Self> {
        let is_mode = |part: &str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, permissions) = match parts.as_slice() {
            [host] => (*host, *host, "rwm"),
            [host, mode] if is_mode(mode) => (*host, *host, *mode),
            [host, container] => (*host, *container, "rwm"),
            [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
            _ => return Err(Error::invalid("--device", text, "write HOST[:CONTAINER][:rwm]")),
        };
        if !host.starts_with('/') || !container.starts_with('/') {
            return Err(Error::invalid("--device", text, "both paths must be absolute"));
        }
        Ok(Self {
            host: host.into(),
            container: container.into(),
            permissions: permissions.to_owned(),
        })
    }
}

/// `--restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name", content = "maximum")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whatever the exit code, until stopped by the user; a boot starts it again even then.
    Always,
    /// As `always`, but what the user stopped stays stopped.
    UnlessStopped,
    /// After a non-zero exit code, at most this often; 0 is without limit.
    OnFailure(u32),
}

impl RestartPolicy {
    /// Docker's name of the policy without its number.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure(_) => "on-failure",
        }
    }

    /// The number of `on-failure:N`.
    pub fn maximum(self) -> u32 {
        match self {
            Self::OnFailure(maximum) => maximum,
            _ => 0,
        }
    }

    /// Whether a container that ended with `exit_code` after `restarts` restarts is to be started again.
    pub fn wants_restart(self, exit_code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure(maximum) => exit_code != 0 && (maximum == 0 || restarts < maximum),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, number) =
            text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let bad = |reason: &str| Error::invalid("--restart", text, reason);
        match (name, number) {
            ("" | "no", None) => Ok(Self::No),
            ("always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            ("on-failure", None) => Ok(Self::OnFailure(0)),
            ("on-failure", Some(number)) => number
                .parse()
                .map(Self::OnFailure)
                .map_err(|_| bad("maximum retry count must be a positive integer")),
            ("no" | "always" | "unless-stopped", Some(_)) => Err(bad(
                "maximum retry count cannot be used with this policy, only with on-failure",
            )),
            _ => Err(bad("use no, always, unless-stopped or on-failure[:N]")),
        }
    }
}

/// `--log-driver` and `--log-opt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOptions {
    driver: LogDriverName,
    max_size: u64,
    max_files: u32,
    /// What else is said to a driver that hands the lines on.
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

/// The log drivers this version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriverName {
    /// One JSON object per line, in Docker's format.
    JsonFile,
    /// Binary frames that keep every byte.
    Local,
    /// A syslog service, and a cache for `logs`.
    Syslog,
    /// systemd's journal, and a cache for `logs`.
    Journald,
    /// Nothing is kept.
    None,
}

impl LogDriverName {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::Syslog => "syslog",
            Self::Journald => "journald",
            Self::None => "none",
        }
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            driver: LogDriverName::JsonFile,
            max_size: crate::limits::LOG_FILE_BYTES,
            max_files: crate::limits::LOG_FILES,
            settings: BTreeMap::new(),
        }
    }
}

impl LogOptions {
    /// From `--log-driver` and the `--log-opt`s; `max-size=-1` is without limit.
    ///
    /// # Errors
    /// A driver or an option this version does not have.
    pub fn parse(driver: Option<&str>, options: &[(String, String)]) -> Result<Self> {
        let driver = match driver.unwrap_or("json-file") {
            "json-file" => LogDriverName::JsonFile,
            "local" => LogDriverName::Local,
            "syslog" => LogDriverName::Syslog,
            "journald" => LogDriverName::Journald,
            "none" => LogDriverName::None,
            other => {
                return Err(Error::unsupported(
                    format!("log driver \"{other}\""),
                    "this version has json-file, local, syslog, journald and none",
                ));
            }
        };
        let mut log = Self { driver, ..Self::default() };
        if matches!(driver, LogDriverName::Syslog | LogDriverName::Journald) {
            log.settings = options.iter().cloned().collect();
            crate::log::check_remote(driver.as_str(), &log.settings)?;
            return Ok(log);
        }
        for (key, value) in options {
            match (log.driver, key.as_str()) {
                (LogDriverName::JsonFile | LogDriverName::Local, "max-size") => {
                    log.max_size = parse_size(value)?
                }
                (LogDriverName::JsonFile | LogDriverName::Local, "max-file") => {
                    log.max_files =
                        value.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
                            Error::invalid(
                                "--log-opt",
                                format!("max-file={value}"),
                                "must be a number of at least 1",
                            )
                        })?;
                }
                _ => {
                    return Err(Error::invalid(
                        "--log-opt",
                        format!("{key}={value}"),
                        "unknown option of this log driver; json-file and local have max-size and max-file",
                    ));
                }
            }
        }
        Ok(log)
    }

    /// One setting of a driver that hands the lines on.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// All of them.
    pub(crate) fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// Where the lines go.
    pub fn driver(&self) -> LogDriverName {
        self.driver
    }

    /// Bytes after which a file is rotated; `u64::MAX` is never.
    pub fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Files kept, the current one included.
    pub fn max_files(&self) -> u32 {
        self.max_files
    }
}

/// `10m`, `512k`, `1g`, `300`, `-1`.
fn parse_size(text: &str) -> Result<u64> {
    if text == "-1" {
        return Ok(u64::MAX);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => {
            return Err(Error::invalid(
                "--log-opt",
                format!("max-size={text}"),
                "use a number with k, m or g",
            ));
        }
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|size| *size > 0)
        .ok_or_else(|| {
            Error::invalid("--log-opt", format!("max-size={text}"), "use a number with k, m or g")
        })
}

#[cfg(test)]
mod tests;
