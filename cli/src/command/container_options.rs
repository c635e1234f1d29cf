//! The options that `run` and `create` share, and what they mean to the runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::oci::{Healthcheck, Platform};
use engine::runtime::{
    Device, DeviceRule, LogOptions, MountFlag, MountRequest, NamespaceMode, Resources,
    RestartPolicy, RunOptions, SeccompChoice, Signal, Ulimit, VolumeFlag, parse_mount, parse_tmpfs,
    parse_volume,
};

use super::block_options::BlockOptions;
use super::health_options::HealthOptions;
use super::network_options::NetworkOptions;
use super::resource_options::{ResourceOptions, bytes};
use crate::error::{Error, Result};

/// Everything about a container but its image and command.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerOptions {
    #[command(flatten)]
    limits: ResourceOptions,
    #[command(flatten)]
    block: BlockOptions,
    #[command(flatten)]
    health: HealthOptions,
    #[command(flatten)]
    networks: NetworkOptions,
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "list")]
    add_host: Vec<String>,
    /// Add an annotation to the container (passed through to the OCI runtime)
    #[arg(long, value_name = "map")]
    annotation: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    cap_drop: Vec<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long, value_name = "string")]
    cgroupns: Option<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "string")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Add a host device to the container
    #[arg(long, value_name = "list")]
    device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_name = "list")]
    device_cgroup_rule: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "list")]
    dns: Vec<String>,
    /// Set DNS options
    #[arg(long, value_name = "list")]
    dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "list")]
    dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "string")]
    domainname: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "string")]
    entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    env_file: Vec<PathBuf>,
    /// Add additional groups to join
    #[arg(long, value_name = "list")]
    group_add: Vec<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "string")]
    hostname: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// IPC mode to use
    #[arg(long, value_name = "string")]
    ipc: Option<String>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "list")]
    label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "list")]
    label_file: Vec<PathBuf>,
    /// Logging driver for the container
    #[arg(long, value_name = "string")]
    log_driver: Option<String>,
    /// Log driver options
    #[arg(long, visible_alias = "log-opts", value_name = "list")]
    log_opt: Vec<String>,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, value_name = "int")]
    memory_swappiness: Option<u64>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "mount")]
    mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    pub(crate) name: Option<String>,
    /// Disable OOM Killer
    #[arg(long)]
    oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// PID namespace to use
    #[arg(long, value_name = "string")]
    pid: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    pub(crate) platform: Option<Platform>,
    /// Give extended privileges to this container
    #[arg(long)]
    privileged: bool,
    /// Pull image before running ("always", "missing", "never")
    #[arg(long, value_name = "string", default_value = "missing")]
    pub(crate) pull: PullPolicy,
    /// Suppress the pull output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string", default_value = "no")]
    restart: String,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Security Options
    #[arg(long, value_name = "list")]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes")]
    shm_size: Option<String>,
    /// Signal to stop the container
    #[arg(long, value_name = "string")]
    stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Sysctl options
    #[arg(long, value_name = "map")]
    sysctl: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "list")]
    tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<String>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// UTS namespace to use
    #[arg(long, value_name = "string")]
    uts: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "list")]
    volume: Vec<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "list")]
    pub(crate) volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
}

/// When `run` and `create` fetch the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PullPolicy {
    /// Every time.
    Always,
    /// Where it is not in the store.
    Missing,
    /// Not at all.
    Never,
}

impl ContainerOptions {
    /// What the runtime is asked for.
    pub(crate) fn request(&self, command: &[String]) -> Result<RunOptions> {
        let namespace = |option, text: &Option<String>| {
            NamespaceMode::parse(option, text.as_deref().unwrap_or("")).map_err(Error::from)
        };
        let (seccomp, no_new_privileges) = self.security()?;
        let mut options = RunOptions {
            command: command.to_vec(),
            entrypoint: self.entrypoint.as_ref().map(|entry| match entry.is_empty() {
                true => Vec::new(),
                false => vec![entry.clone()],
            }),
            env: self.environment()?,
            labels: self.labels()?,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            group_add: self.group_add.clone(),
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            tty: self.tty,
            open_stdin: self.interactive,
            pid: namespace("--pid", &self.pid)?,
            ipc: namespace("--ipc", &self.ipc)?,
            uts: namespace("--uts", &self.uts)?,
            cgroupns: self
                .cgroupns
                .as_ref()
                .map(|_| namespace("--cgroupns", &self.cgroupns))
                .transpose()?,
            mounts: self.mounts()?,
            read_only: self.read_only,
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            seccomp,
            no_new_privileges,
            resources: self.resources()?,
            ulimits: parsed::<Ulimit>(&self.ulimit)?,
            devices: parsed::<Device>(&self.device)?,
            device_rules: parsed::<DeviceRule>(&self.device_cgroup_rule)?,
            block_limits: self.block.limits()?,
            annotations: pairs("--annotation", &self.annotation)?.into_iter().collect(),
            sysctls: pairs("--sysctl", &self.sysctl)?.into_iter().collect(),
            shm_size: self.shm_size.as_deref().map(|text| bytes("--shm-size", text)).transpose()?,
            oom_score_adj: self.oom_score_adj,
            restart: self.restart.parse::<RestartPolicy>()?,
            auto_remove: self.rm,
            init: self.init,
            stop_signal: self
                .stop_signal
                .as_deref()
                .map(|text| text.parse::<Signal>())
                .transpose()?,
            stop_timeout: self.stop_timeout,
            health: self.health()?,
            log: LogOptions::parse(
                self.log_driver.as_deref(),
                &pairs("--log-opt", &self.log_opt)?,
            )?,
            extra_hosts: self.add_host.iter().map(|text| host(text)).collect::<Result<_>>()?,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            ..RunOptions::default()
        };
        self.networks.apply(&mut options)?;
        Ok(options)
    }

    fn environment(&self) -> Result<Vec<String>> {
        let mut env = Vec::new();
        for file in &self.env_file {
            env.extend(env_lines(file)?);
        }
        env.extend(self.env.iter().cloned());
        env.into_iter().filter_map(|entry| inherited(entry).transpose()).collect()
    }

    fn labels(&self) -> Result<BTreeMap<String, String>> {
        let mut texts = Vec::new();
        for file in &self.label_file {
            texts.extend(env_lines(file)?);
        }
        texts.extend(self.label.iter().cloned());
        let pair = |text: String| match text.split_once('=') {
            Some(("", _)) => Err(Error::refused(
                format!(
                    "invalid argument {text:?} for \"-l, --label\" flag: invalid label '{text}': empty name"
                ),
                "",
            )),
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Ok((text, String::new())),
        };
        texts.into_iter().map(pair).collect()
    }

    /// What `-v` and `--mount` name: host paths and volumes.
    pub(crate) fn volumes(&self) -> Result<Vec<VolumeFlag>> {
        let mut volumes = Vec::new();
        for text in &self.volume {
            volumes.push(parse_volume(&from_here(text)?)?);
        }
        for text in &self.mount {
            if let MountFlag::Volume(flag) = parse_mount(text)? {
                volumes.push(flag);
            }
        }
        Ok(volumes)
    }

    /// `--tmpfs` and `--mount type=tmpfs`.
    fn mounts(&self) -> Result<Vec<MountRequest>> {
        let mut mounts = Vec::new();
        for text in &self.mount {
            if let MountFlag::Tmpfs(request) = parse_mount(text)? {
                mounts.push(request);
            }
        }
        for text in &self.tmpfs {
            mounts.push(parse_tmpfs(text)?);
        }
        Ok(mounts)
    }

    fn security(&self) -> Result<(SeccompChoice, bool)> {
        let mut seccomp = SeccompChoice::default();
        let mut no_new_privileges = false;
        for option in &self.security_opt {
            match option.split_once(['=', ':']).unwrap_or((option, "")) {
                ("no-new-privileges", "" | "true") => no_new_privileges = true,
                ("no-new-privileges", "false") => no_new_privileges = false,
                ("seccomp", "unconfined") => seccomp = SeccompChoice::Unconfined,
                ("seccomp", "builtin") => seccomp = SeccompChoice::Default,
                ("seccomp", file) => {
                    seccomp =
                        SeccompChoice::Profile(read_text("read seccomp profile", Path::new(file))?)
                }
                _ => {
                    return Err(Error::refused(
                        format!("security option not supported yet: {option:?}"),
                        "this version knows seccomp=unconfined, seccomp=FILE and no-new-privileges",
                    ));
                }
            }
        }
        Ok((seccomp, no_new_privileges))
    }

    fn resources(&self) -> Result<Resources> {
        Ok(Resources {
            memory_swappiness: self.memory_swappiness,
            oom_kill_disable: self.oom_kill_disable,
            ..self.limits.resources()?
        })
    }

    /// `--health-*` and `--no-healthcheck`; empty where the image's own check holds.
    fn health(&self) -> Result<Healthcheck> {
        self.health.check()
    }
}

fn parsed<T>(texts: &[String]) -> Result<Vec<T>>
where
    T: std::str::FromStr,
    Error: From<T::Err>,
{
    texts.iter().map(|text| Ok(text.parse()?)).collect()
}

fn pairs(option: &str, texts: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::refused(
            format!("invalid argument {text:?} for \"{option}\" flag: expected KEY=VALUE"),
            "",
        )),
    };
    texts.iter().map(pair).collect()
}

/// `name:ip` or `name=ip`, as `name:ip`.
fn host(text: &str) -> Result<String> {
    match text.split_once(['=', ':']) {
        Some((name, ip))
            if !name.is_empty()
                && ip.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() =>
        {
            Ok(format!("{name}:{}", ip.trim_matches(['[', ']'])))
        }
        _ => {
            let message = format!(
                "invalid argument {text:?} for \"--add-host\" flag: bad format for add-host: {text:?}"
            );
            Err(Error::refused(message, "write NAME:ADDRESS"))
        }
    }
}

/// `./data:/data` names a folder below the current one.
fn from_here(text: &str) -> Result<String> {
    if !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    let (source, rest) = text.split_once(':').unwrap_or((text, ""));
    let absolute = std::path::absolute(source).map_err(|e| Error::File {
        act: "find",
        path: source.to_owned(),
        source: e,
    })?;
    Ok(format!("{}:{rest}", absolute.display()))
}

fn read_text(act: &'static str, path: &Path) -> Result<String> {
    engine::files::read_text(path).map_err(|source| Error::File {
        act,
        path: path.display().to_string(),
        source,
    })
}

/// The lines of an `--env-file`: comments and empty lines left out, the rest as it is.
fn env_lines(path: &Path) -> Result<Vec<String>> {
    let text = read_text("read", path)?;
    let mut lines = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or("");
        if name.is_empty() || name.contains([' ', '\t']) {
            return Err(Error::refused(
                format!(
                    "{}: poorly formatted environment: variable '{name}' contains whitespaces or is empty",
                    path.display()
                ),
                "",
            ));
        }
        lines.push(line.to_owned());
    }
    Ok(lines)
}

/// `NAME` alone takes the value of this process's environment, or nothing where it has none.
fn inherited(entry: String) -> Result<Option<String>> {
    if entry.is_empty() || entry.starts_with('=') {
        let message = format!(
            "invalid argument {entry:?} for \"-e, --env\" flag: invalid environment variable: {entry}"
        );
        return Err(Error::refused(message, ""));
    }
    if entry.contains('=') {
        return Ok(Some(entry));
    }
    Ok(std::env::var(&entry).ok().map(|value| format!("{entry}={value}")))
}

#[cfg(test)]
mod tests;
