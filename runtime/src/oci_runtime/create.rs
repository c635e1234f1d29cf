//! `create`, `start` and `run`.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use serde_json::{Value, json};

use super::arguments::Flags;
use super::container::{Meta, Phase, Store, library};
use crate::caps::{Capabilities, Capability};
use crate::clock;
use crate::error::{Error, Result};
use crate::executor::{self, CapabilitySets, ContainerExecutor, ExecPlan};
use crate::helper;
use crate::launch;
use crate::limits;
use crate::process::ProcessRef;
use crate::seccomp;
use crate::state;

const FAILED: &str = "unable to start container process";

/// `create [--bundle DIR] [--console-socket PATH] [--pid-file FILE] ID`.
pub(super) fn create(store: &Store, flags: &Flags) -> Result<()> {
    let id = flags.id()?;
    let dir = store.dir(id)?;
    state::make_private_dir(store.root())?;
    match fs::create_dir(&dir) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::Start {
                exit_code: 1,
                message: "container with given ID already exists".to_owned(),
            });
        }
        Err(error) => return Err(Error::file("create folder", &dir)(error)),
    }
    let made = make(store, flags, id);
    if made.is_err() {
        let _ = state::remove_tree(&dir);
    }
    made
}

fn make(store: &Store, flags: &Flags, id: &str) -> Result<()> {
    let bundle = absolute(Path::new(flags.value("bundle").unwrap_or(".")))?;
    let mut spec = read_spec(&bundle.join("config.json"))?;
    let rootfs = prepare_spec(&mut spec, &bundle, id)?;
    let (report, report_end) = launch::report_pipe()?;
    let plan = plan_of(&spec["process"], &spec, report_end, NewNetwork::of(&spec))?;
    let annotations = spec["annotations"].clone();
    strip(&mut spec);
    let private = store.bundle(id)?;
    state::make_private_dir(&private)?;
    state::make_private_dir(&store.library_root(id)?)?;
    state::write_json(&private.join("config.json"), &spec)?;
    let builder = base_builder(store, flags, id, plan)?;
    let built = builder
        .as_init(&private)
        .with_systemd(false)
        .with_detach(true)
        .with_no_pivot(flags.has("no-pivot"))
        .build();
    let container = built.map_err(|error| explain(report, &error))?;
    let pid = container.pid().map_or(0, |pid| pid.as_raw());
    let process = ProcessRef::of(pid).map_err(Error::system("look at the new process"))?;
    let meta = Meta {
        bundle,
        rootfs,
        created: clock::now(),
        annotations,
        pid: process.pid(),
        pid_start: process.start(),
    };
    store.write_meta(id, &meta)
}

/// `start ID`.
pub(super) fn start(store: &Store, id: &str) -> Result<()> {
    match store.phase(id)?.1 {
        Phase::Created => store.load(id)?.start().map_err(|error| library(id, &error)),
        Phase::Stopped => Err(Error::Start {
            exit_code: 1,
            message: "cannot start a container that has stopped".to_owned(),
        }),
        Phase::Running | Phase::Paused => Err(Error::Start {
            exit_code: 1,
            message: "cannot start an already running container".to_owned(),
        }),
    }
}

/// `run`: create and start; in the foreground until the program ends, then delete.
pub(super) fn run(store: &Store, flags: &Flags) -> Result<u8> {
    create(store, flags)?;
    let id = flags.id()?;
    if let Err(error) = start(store, id) {
        let _ = remove(store, id);
        return Err(error);
    }
    if flags.has("detach") {
        return Ok(0);
    }
    let code = helper::reap(store.meta(id)?.pid);
    remove(store, id)?;
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

fn remove(store: &Store, id: &str) -> Result<()> {
    let deleted = store.load(id)?.delete(true).map_err(|error| library(id, &error));
    deleted.and_then(|()| state::remove_tree(&store.dir(id)?))
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(Error::file("open", path))
}

pub(super) fn read_spec(path: &Path) -> Result<Value> {
    let bytes = state::read_bounded(path, limits::RECORD_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Damaged {
        path: path.to_owned(),
        reason: format!("no OCI specification: {error}"),
    })
}

/// Paths made absolute and the control group named; gives the root file system.
fn prepare_spec(spec: &mut Value, bundle: &Path, id: &str) -> Result<PathBuf> {
    let root = spec["root"]["path"].as_str().ok_or_else(|| missing("root.path"))?;
    let rootfs = absolute(&bundle.join(root))?;
    spec["root"]["path"] = json!(rootfs);
    if !spec["process"].is_object() {
        return Err(missing("process"));
    }
    let named = spec["linux"]["cgroupsPath"].as_str().is_some_and(|path| !path.is_empty());
    if !named {
        spec["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    }
    Ok(rootfs)
}

/// Takes out what this program does itself, after the library: see [`crate::executor`].
pub(super) fn strip(spec: &mut Value) {
    strip_process(&mut spec["process"]);
    if let Some(linux) = spec["linux"].as_object_mut() {
        linux.remove("seccomp");
    }
}

pub(super) fn strip_process(process: &mut Value) {
    if let Some(process) = process.as_object_mut() {
        process.remove("capabilities");
        if process.get("noNewPrivileges") == Some(&json!(false)) {
            process.remove("noNewPrivileges");
        }
        // Docker writes the empty profile of a host without AppArmor.
        if process.get("apparmorProfile") == Some(&json!("")) {
            process.remove("apparmorProfile");
        }
    }
}

/// Whether a new network namespace needs its loopback device set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewNetwork {
    Yes,
    No,
}

impl NewNetwork {
    fn of(spec: &Value) -> Self {
        let namespaces = spec["linux"]["namespaces"].as_array().into_iter().flatten();
        let fresh = namespaces
            .filter(|ns| ns["type"] == "network")
            .any(|ns| ns["path"].as_str().unwrap_or("").is_empty());
        if fresh { Self::Yes } else { Self::No }
    }
}

/// What the executor does with a process of this specification.
pub(super) fn plan_of(
    process: &Value,
    spec: &Value,
    report: OwnedFd,
    network: NewNetwork,
) -> Result<ExecPlan> {
    let args = strings(&process["args"]);
    if args.is_empty() {
        return Err(missing("process.args"));
    }
    let uid = process["user"]["uid"].as_u64().and_then(|uid| u32::try_from(uid).ok()).unwrap_or(0);
    let mut env = strings(&process["env"]);
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", if uid == 0 { "/root" } else { "/" }));
    }
    let filter = match &spec["linux"]["seccomp"] {
        Value::Null => None,
        profile => Some(seccomp::filter_of_specification(&profile.to_string())?),
    };
    Ok(ExecPlan {
        args: executor::c_strings(&args)?,
        env: executor::c_strings(&env)?,
        filter,
        capabilities: capability_sets(&process["capabilities"])?,
        no_new_privileges: process["noNewPrivileges"].as_bool().unwrap_or(false),
        uid,
        dies_with_parent: false,
        fresh_network: network == NewNetwork::Yes,
        close_cgroups: wants_read_only_cgroups(spec),
        init: false,
        report,
    })
}

/// Whether the specification wants its control groups read-only.
fn wants_read_only_cgroups(spec: &Value) -> bool {
    let mounts = spec["mounts"].as_array().into_iter().flatten();
    mounts.filter(|mount| mount["type"] == "cgroup").any(|mount| {
        mount["options"].as_array().is_some_and(|options| options.contains(&json!("ro")))
    })
}

/// A specification without capabilities leaves none.
fn capability_sets(capabilities: &Value) -> Result<CapabilitySets> {
    let set = |name: &str| -> Result<Capabilities> {
        strings(&capabilities[name])
            .iter()
            .map(|text| {
                Capability::parse(text)
                    .ok_or_else(|| Error::invalid("capability", text.as_str(), "it is unknown"))
            })
            .collect()
    };
    Ok(CapabilitySets {
        bounding: set("bounding")?,
        effective: set("effective")?,
        permitted: set("permitted")?,
        inheritable: set("inheritable")?,
        ambient: set("ambient")?,
    })
}

pub(super) fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// The library's builder with what `create` and `exec` have in common.
pub(super) fn base_builder(
    store: &Store,
    flags: &Flags,
    id: &str,
    plan: ExecPlan,
) -> Result<ContainerBuilder> {
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_executor(ContainerExecutor::new(plan))
        .with_preserved_fds(flags.number("preserve-fds")?.unwrap_or(0))
        .with_root_path(store.library_root(id)?)
        .map_err(|error| library(id, &error))?;
    if let Some(file) = flags.value("pid-file") {
        builder = builder.with_pid_file(Some(file)).map_err(|error| library(id, &error))?;
    }
    if let Some(socket) = flags.value("console-socket") {
        builder = builder.with_console_socket(Some(absolute(Path::new(socket))?));
    }
    Ok(builder)
}

pub(super) fn explain(report: OwnedFd, error: &dyn std::error::Error) -> Error {
    match executor::read_report_now(&report) {
        Some((exit_code, message)) => {
            Error::Start { exit_code, message: format!("{FAILED}: {message}") }
        }
        None => launch::library_error(FAILED, error),
    }
}

fn missing(field: &str) -> Error {
    Error::invalid("config.json", field, "the field is required")
}
