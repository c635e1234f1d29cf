//! What is kept about a container: the record (what it is, written once) and the state (how it is, written by its monitor).

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use oci::ContainerConfig;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::health::{HealthPlan, HealthState};
use crate::id::ContainerId;
use crate::options::RunOptions;
use crate::signal::Signal;

/// The root file system of a container, by paths of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum RootFs {
    /// Layers joined by overlayfs; the runtime mounts them in a mount namespace of its own, so that they go with it.
    Overlay {
        /// Read-only folders, the topmost first.
        lowers: Vec<PathBuf>,
        /// The container's own changes.
        upper: PathBuf,
        /// The folder overlayfs needs beside `upper`.
        work: PathBuf,
    },
    /// A folder that already holds the whole tree.
    Path {
        /// The folder.
        path: PathBuf,
    },
}

/// What `create` needs.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// The id, drawn by the caller who also names snapshots after it.
    pub id: ContainerId,
    /// `--name`; a random one where none is given.
    pub name: Option<String>,
    /// The image as the user named it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The image's own settings.
    pub image_config: ContainerConfig,
    /// What the user asked for.
    pub options: RunOptions,
    /// The root file system.
    pub rootfs: RootFs,
    /// Folders to delete when the container is removed, by whoever removes it.
    pub cleanup: Vec<PathBuf>,
}

/// What a container is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this format.
    pub version: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name, without a slash.
    pub name: String,
    /// When `create` made it.
    pub created: Timestamp,
    /// The image as the user named it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The image's own settings.
    pub image_config: ContainerConfig,
    /// What the user asked for.
    pub options: RunOptions,
    /// Entrypoint and command, merged: the argument vector of the first process.
    pub args: Vec<String>,
    /// How many of `args` are the entrypoint.
    pub entrypoint_len: usize,
    /// The environment, merged; `HOSTNAME`, `HOME` and `TERM` are added at start.
    pub env: Vec<String>,
    /// Labels of the image and of the user, merged.
    pub labels: BTreeMap<String, String>,
    /// Working folder, absolute.
    pub workdir: PathBuf,
    /// `user[:group]`, empty for root.
    pub user: String,
    /// What `stop` sends first.
    pub stop_signal: Signal,
    /// The root file system.
    pub rootfs: RootFs,
    /// Folders to delete when the container is removed.
    pub cleanup: Vec<PathBuf>,
}

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Record {
    /// Merges image and options by Docker's rules.
    ///
    /// # Errors
    /// No command, or options that contradict each other.
    pub(crate) fn new(request: CreateRequest, name: String, created: Timestamp) -> Result<Self> {
        let CreateRequest { id, image, image_id, image_config, options, rootfs, cleanup, .. } =
            request;
        check_conflicts(&options)?;
        let (args, entrypoint_len) = merge_command(&image_config, &options)?;
        let stop_signal = match (&options.stop_signal, &image_config.stop_signal) {
            (Some(signal), _) => *signal,
            (None, Some(name)) if !name.is_empty() => name.parse()?,
            _ => Signal::TERM,
        };
        let mut labels = image_config.labels.clone();
        labels.extend(options.labels.clone());
        let workdir = options
            .workdir
            .as_deref()
            .filter(|dir| !dir.is_empty())
            .unwrap_or(&image_config.working_dir);
        let record = Self {
            version: 1,
            id,
            name,
            created,
            image,
            image_id,
            args,
            entrypoint_len,
            env: merge_env(&image_config.env, &options.env),
            labels,
            workdir: absolute_workdir(workdir)?,
            user: options.user.clone().unwrap_or_else(|| image_config.user.clone()),
            stop_signal,
            rootfs,
            cleanup,
            image_config,
            options,
        };
        record.health_plan()?;
        Ok(record)
    }

    /// The host name: what was asked for, or the short id.
    pub fn hostname(&self) -> &str {
        self.options.hostname.as_deref().unwrap_or_else(|| self.id.short())
    }

    /// The entrypoint of the merged command.
    pub fn entrypoint(&self) -> &[String] {
        &self.args[..self.entrypoint_len]
    }

    /// The command after the entrypoint.
    pub fn command(&self) -> &[String] {
        &self.args[self.entrypoint_len..]
    }

    /// The health check, where there is one.
    pub(crate) fn health_plan(&self) -> Result<Option<HealthPlan>> {
        let default = ["/bin/sh", "-c"].map(str::to_owned);
        let shell = self.image_config.shell.as_deref().unwrap_or(&default);
        HealthPlan::merge(self.image_config.healthcheck.as_ref(), &self.options.health, shell)
    }

    /// Seconds `stop` waits before it kills; `None` is for ever.
    pub fn stop_timeout(&self) -> Option<u64> {
        let seconds = self.options.stop_timeout.or(self.image_config.stop_timeout).unwrap_or(10);
        u64::try_from(seconds).ok()
    }
}

/// Entrypoint and command: an `--entrypoint` also forgets the image's `Cmd`; an empty one resets the image's.
fn merge_command(image: &ContainerConfig, options: &RunOptions) -> Result<(Vec<String>, usize)> {
    let image_entrypoint = image.entrypoint.clone().unwrap_or_default();
    let image_command = image.cmd.clone().unwrap_or_default();
    let given = !options.command.is_empty();
    let (entrypoint, command) = match &options.entrypoint {
        Some(entrypoint) => {
            let entrypoint: Vec<String> =
                entrypoint.iter().filter(|word| !word.is_empty()).cloned().collect();
            (entrypoint, options.command.clone())
        }
        None if given => (image_entrypoint, options.command.clone()),
        None => (image_entrypoint, image_command),
    };
    let entrypoint_len = entrypoint.len();
    let args: Vec<String> = entrypoint.into_iter().chain(command).collect();
    match args.first() {
        None => Err(Error::NoCommand),
        Some(_) if args.iter().any(|word| word.contains('\0')) => {
            Err(Error::invalid("command", args[0].as_str(), "an argument holds a NUL byte"))
        }
        Some(_) => Ok((args, entrypoint_len)),
    }
}

/// The image's variables, each replaced or removed by the user's; `PATH` where nobody set it.
fn merge_env(image: &[String], user: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(image.len() + user.len() + 1);
    for entry in image.iter().chain(user) {
        let name = entry.split('=').next().unwrap_or_default();
        let place = merged.iter().position(|known| known.split('=').next() == Some(name));
        match (place, entry.contains('=')) {
            (Some(place), true) => merged[place] = entry.clone(),
            (Some(place), false) => drop(merged.remove(place)),
            (None, true) => merged.push(entry.clone()),
            (None, false) => {}
        }
    }
    if !merged.iter().any(|entry| entry.starts_with("PATH=")) {
        merged.insert(0, DEFAULT_PATH.to_owned());
    }
    merged
}

fn absolute_workdir(workdir: &str) -> Result<PathBuf> {
    match workdir {
        "" => Ok(PathBuf::from("/")),
        _ if workdir.starts_with('/') => Ok(PathBuf::from(workdir)),
        _ => Err(Error::invalid("working directory", workdir, "it needs to be an absolute path")),
    }
}

fn check_conflicts(options: &RunOptions) -> Result<()> {
    let restarts = options.restart != crate::options::RestartPolicy::No;
    if options.auto_remove && restarts {
        return Err(Error::ConflictingOptions("cannot specify both --restart and --rm".to_owned()));
    }
    let own_uts = options.uts == crate::options::NamespaceMode::Private;
    if options.hostname.is_some() && !own_uts {
        return Err(Error::ConflictingOptions("hostname and the UTS mode".to_owned()));
    }
    Ok(())
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its first process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Ended, to be started again by its policy.
    Restarting,
    /// Being removed.
    Removing,
    /// Its first process ended.
    Exited,
    /// Its removal failed half way.
    Dead,
}

impl Status {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether a monitor must be there.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Where in its life.
    pub status: Status,
    /// Host pid of the first process while it runs.
    pub pid: Option<i32>,
    /// Start time of that process in clock ticks since boot: a pid alone may be another process by now.
    pub pid_start: Option<u64>,
    /// The monitor's pid and start time while it lives.
    #[serde(default)]
    pub monitor: Option<(i32, u64)>,
    /// Of the last run.
    pub exit_code: i32,
    /// Why it could not be started, or why its monitor gave up.
    pub error: String,
    /// Whether the kernel killed a process of it for lack of memory.
    pub oom_killed: bool,
    /// Of the last run.
    pub started_at: Option<Timestamp>,
    /// Of the last run.
    pub finished_at: Option<Timestamp>,
    /// Restarts by policy since the last start by a user.
    pub restart_count: u32,
    /// Whether a user stopped it: `unless-stopped` looks at this.
    pub stopped_by_user: bool,
    /// Of the current run, where there is a health check.
    #[serde(default)]
    pub health: Option<HealthState>,
}

impl State {
    /// A container that has never run.
    pub(crate) fn created() -> Self {
        Self {
            status: Status::Created,
            pid: None,
            pid_start: None,
            monitor: None,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started_at: None,
            finished_at: None,
            restart_count: 0,
            stopped_by_user: false,
            health: None,
        }
    }
}

#[cfg(test)]
mod tests;
