//! Containers of the OCI command line: their files, their status, and the commands that change one that is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use libcontainer::container::{Container, ContainerStatus};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::arguments::Flags;
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::process::ProcessRef;
use crate::signal::Signal;
use crate::state;

const END_PATIENCE: Duration = Duration::from_secs(10);

/// The folder of all containers.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

/// What is kept about a container beside the library's own state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The bundle as it was given, absolute.
    pub(super) bundle: PathBuf,
    /// The root file system, absolute.
    pub(super) rootfs: PathBuf,
    /// When it was made.
    pub(super) created: jiff::Timestamp,
    /// Annotations of the specification.
    pub(super) annotations: Value,
    /// First process.
    pub(super) pid: i32,
    /// Its start time.
    pub(super) pid_start: u64,
}

/// Where a container is in its life, as the specification names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Phase {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Store {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The container's folder; ids cannot lead out of the root.
    pub(super) fn dir(&self, id: &str) -> Result<PathBuf> {
        let good = !id.is_empty()
            && id != "."
            && id != ".."
            && id.chars().all(|c| c.is_ascii_alphanumeric() || "_+-.".contains(c));
        if good {
            Ok(self.root.join(id))
        } else {
            Err(Error::invalid("container id", id, "use letters, digits, _, +, - and ."))
        }
    }

    /// Where the library keeps its state of the container.
    pub(super) fn library_root(&self, id: &str) -> Result<PathBuf> {
        Ok(self.dir(id)?.join("oci"))
    }

    /// The bundle the library reads: the one given, without what this program does itself.
    pub(super) fn bundle(&self, id: &str) -> Result<PathBuf> {
        Ok(self.dir(id)?.join("bundle"))
    }

    pub(super) fn meta(&self, id: &str) -> Result<Meta> {
        state::read_json(&self.dir(id)?.join("meta.json")).map_err(|error| match error {
            Error::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                does_not_exist(id)
            }
            other => other,
        })
    }

    pub(super) fn write_meta(&self, id: &str, meta: &Meta) -> Result<()> {
        state::write_json(&self.dir(id)?.join("meta.json"), meta)
    }

    /// The library's view of the container.
    pub(super) fn load(&self, id: &str) -> Result<Container> {
        self.meta(id)?;
        Container::load(self.library_root(id)?.join(id)).map_err(|error| library(id, &error))
    }

    pub(super) fn phase(&self, id: &str) -> Result<(Meta, Phase)> {
        let meta = self.meta(id)?;
        if !is_alive(&meta) {
            return Ok((meta, Phase::Stopped));
        }
        let phase = match self.load(id)?.status() {
            ContainerStatus::Creating | ContainerStatus::Created => Phase::Created,
            ContainerStatus::Paused => Phase::Paused,
            ContainerStatus::Running | ContainerStatus::Stopped => Phase::Running,
        };
        Ok((meta, phase))
    }

    /// Ids of all containers.
    pub(super) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().filter_map(|entry| entry.ok());
        let mut ids: Vec<String> = entries
            .filter(|entry| entry.path().join("meta.json").exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.sort();
        ids
    }
}

/// A process that has ended but was not waited for yet has ended.
fn is_alive(meta: &Meta) -> bool {
    let process = ProcessRef::recorded(meta.pid, meta.pid_start);
    process.is_alive() && !process.is_zombie()
}

pub(super) fn does_not_exist(id: &str) -> Error {
    Error::Start {
        exit_code: 1,
        message: format!("container {id} does not exist: container does not exist"),
    }
}

pub(super) fn library(id: &str, error: &dyn std::error::Error) -> Error {
    crate::launch::library_error(&format!("container {id}"), error)
}

fn refuse(message: String) -> Error {
    Error::Start { exit_code: 1, message }
}

/// `kill [--all] ID [SIGNAL]`, SIGTERM where none is said.
pub(super) fn kill(store: &Store, flags: &Flags) -> Result<()> {
    let id = flags.id()?;
    let signal: Signal = flags.rest().first().map_or(Ok(Signal::TERM), |text| text.parse())?;
    let (meta, phase) = store.phase(id)?;
    if flags.has("all") {
        for pid in pids(store, id)? {
            if let Ok(process) = ProcessRef::of(pid) {
                let _ = process.signal(signal);
            }
        }
        if phase == Phase::Stopped {
            return Ok(());
        }
    } else if phase == Phase::Stopped {
        return Err(refuse("container not running".to_owned()));
    }
    let sent = ProcessRef::recorded(meta.pid, meta.pid_start).signal(signal);
    if signal == Signal::KILL && phase == Phase::Paused {
        resume(store, id)?;
    }
    sent.map_err(Error::system("send the signal"))
}

/// `delete [--force] ID`.
pub(super) fn delete(store: &Store, flags: &Flags) -> Result<()> {
    let id = flags.id()?;
    let force = flags.has("force");
    let (meta, phase) = match store.phase(id) {
        Ok(found) => found,
        Err(_) if force => {
            // What a create that was killed has left: a folder without meta data, perhaps with a process.
            if let Ok(mut half_made) = Container::load(store.library_root(id)?.join(id)) {
                let _ = half_made.delete(true);
            }
            return state::remove_tree(&store.dir(id)?);
        }
        Err(error) => return Err(error),
    };
    if matches!(phase, Phase::Running | Phase::Paused) && !force {
        return Err(refuse(format!(
            "cannot delete container {id} that is not stopped: {}",
            phase.as_str()
        )));
    }
    if phase != Phase::Stopped {
        if phase == Phase::Paused {
            resume(store, id)?;
        }
        let _ = ProcessRef::recorded(meta.pid, meta.pid_start).signal(Signal::KILL);
        let deadline = Deadline::after(Some(END_PATIENCE));
        while is_alive(&meta) {
            if deadline.has_come() {
                return Err(refuse(format!("container {id} does not end after SIGKILL")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let mut container = store.load(id)?;
    container.delete(true).map_err(|error| library(id, &error))?;
    state::remove_tree(&store.dir(id)?)
}

/// `pause ID`.
pub(super) fn pause(store: &Store, id: &str) -> Result<()> {
    let (_, phase) = store.phase(id)?;
    if phase != Phase::Running {
        return Err(refuse(format!("cannot pause container {id}: it is {}", phase.as_str())));
    }
    store.load(id)?.pause().map_err(|error| library(id, &error))
}

/// `resume ID`.
pub(super) fn resume(store: &Store, id: &str) -> Result<()> {
    let (_, phase) = store.phase(id)?;
    if phase != Phase::Paused {
        return Err(refuse(format!("cannot resume container {id}: it is {}", phase.as_str())));
    }
    store.load(id)?.resume().map_err(|error| library(id, &error))
}

/// `update [--resources FILE|-] [--memory …] ID`.
pub(super) fn update(store: &Store, flags: &Flags) -> Result<()> {
    let id = flags.id()?;
    if store.phase(id)?.1 == Phase::Stopped {
        return Err(refuse("container not running".to_owned()));
    }
    let document = match flags.value("resources") {
        Some(file) => {
            let path = if file == "-" { "/dev/stdin" } else { file };
            state::read_json(Path::new(path))?
        }
        None => resources_of(flags)?,
    };
    let resources: LinuxResources = serde_json::from_value(document)
        .map_err(|error| Error::invalid("resources", "", error.to_string()))?;
    let option = ControllerOpt {
        resources: &resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    let manager =
        create_cgroup_manager(cgroup_config(store, id)?).map_err(|error| library(id, &error))?;
    manager.apply(&option).map_err(|error| library(id, &error))
}

fn resources_of(flags: &Flags) -> Result<Value> {
    let mut document = json!({});
    let fields = [
        ("memory", "memory", "limit"),
        ("memory-swap", "memory", "swap"),
        ("cpu-quota", "cpu", "quota"),
        ("cpu-period", "cpu", "period"),
        ("cpu-share", "cpu", "shares"),
        ("pids-limit", "pids", "limit"),
    ];
    for (flag, group, field) in fields {
        if let Some(number) = flags.number::<i64>(flag)? {
            document[group][field] = json!(number);
        }
    }
    Ok(document)
}

pub(super) fn cgroup_config(store: &Store, id: &str) -> Result<CgroupConfig> {
    let container = store.load(id)?;
    let config = container.spec().map_err(|error| library(id, &error))?;
    Ok(CgroupConfig {
        cgroup_path: config.cgroup_path,
        systemd_cgroup: false,
        container_name: id.to_owned(),
    })
}

/// Host pids of all processes of the container.
pub(super) fn pids(store: &Store, id: &str) -> Result<Vec<i32>> {
    let manager =
        create_cgroup_manager(cgroup_config(store, id)?).map_err(|error| library(id, &error))?;
    let pids = manager.get_all_pids().map_err(|error| library(id, &error))?;
    Ok(pids.into_iter().map(|pid| pid.as_raw()).collect())
}
