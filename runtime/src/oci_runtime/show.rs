//! The commands that only tell: `state`, `list`, `ps`, `events`, `features`, `spec`, `--version`, `--help`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcgroups::common::CgroupManager;
use libcgroups::common::create_cgroup_manager;
use serde_json::{Value, json};

use super::arguments::Flags;
use super::container::{Phase, Store, cgroup_config, library, pids};
use super::create::absolute;
use crate::caps::Capabilities;
use crate::error::{Error, Result};
use crate::state as files;

const SPEC_VERSION: &str = "1.2.0";

fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").map_err(Error::system("write to stdout"))
}

fn print_json(document: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Error::system("write to stdout")(error.into()))?;
    print(&text)
}

fn state_document(store: &Store, id: &str) -> Result<Value> {
    let (meta, phase) = store.phase(id)?;
    let mut document = json!({
        "ociVersion": SPEC_VERSION,
        "id": id,
        "pid": if phase == Phase::Stopped { 0 } else { meta.pid },
        "status": phase.as_str(),
        "bundle": meta.bundle,
        "rootfs": meta.rootfs,
        "created": meta.created.to_string(),
        "owner": "",
    });
    if meta.annotations.is_object() {
        document["annotations"] = meta.annotations;
    }
    Ok(document)
}

/// `state ID`.
pub(super) fn state(store: &Store, id: &str) -> Result<()> {
    print_json(&state_document(store, id)?)
}

/// `list [--quiet] [--format table|json]`.
pub(super) fn list(store: &Store, flags: &Flags) -> Result<()> {
    let containers: Vec<Value> =
        store.ids().iter().filter_map(|id| state_document(store, id).ok()).collect();
    if flags.has("quiet") {
        return containers.iter().filter_map(|c| c["id"].as_str()).try_for_each(print);
    }
    if flags.value("format") == Some("json") {
        return print(&Value::Array(containers).to_string());
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    print(&format!("{:<24}{:<12}{:<12}{:<40}{}", "ID", "PID", "STATUS", "BUNDLE", "CREATED"))?;
    containers.iter().try_for_each(|c| {
        let [id, pid, status, bundle, created] =
            ["id", "pid", "status", "bundle", "created"].map(|key| text(&c[key]));
        print(&format!("{id:<24}{pid:<12}{status:<12}{bundle:<40}{created}"))
    })
}

/// `ps [--format table|json] ID [ps options]`.
pub(super) fn ps(store: &Store, flags: &Flags) -> Result<()> {
    let pids = pids(store, flags.id()?)?;
    if flags.value("format") == Some("json") {
        return print(&json!(pids).to_string());
    }
    let options =
        if flags.rest().is_empty() { vec!["-ef".to_owned()] } else { flags.rest().to_vec() };
    let output = Command::new("ps").args(&options).output().map_err(Error::file("run", "ps"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let titles = lines.next().unwrap_or_default();
    let Some(column) = titles.split_whitespace().position(|title| title == "PID") else {
        return Err(Error::invalid(
            "ps options",
            options.join(" "),
            "Couldn't find PID field in ps output",
        ));
    };
    print(titles)?;
    lines
        .filter(|line| {
            line.split_whitespace()
                .nth(column)
                .and_then(|word| word.parse().ok())
                .is_some_and(|pid| pids.contains(&pid))
        })
        .try_for_each(print)
}

/// `events --stats ID`: one sample.
pub(super) fn events(store: &Store, flags: &Flags) -> Result<()> {
    let id = flags.id()?;
    if !flags.has("stats") {
        return Err(Error::unsupported(
            "events without --stats",
            "only single samples are given: use events --stats",
        ));
    }
    if store.phase(id)?.1 == Phase::Stopped {
        return Err(Error::Start {
            exit_code: 1,
            message: format!("container with id {id} is not running"),
        });
    }
    let manager =
        create_cgroup_manager(cgroup_config(store, id)?).map_err(|error| library(id, &error))?;
    let stats = manager.stats().map_err(|error| library(id, &error))?;
    let data = serde_json::to_value(stats)
        .map_err(|error| Error::system("write to stdout")(error.into()))?;
    print(&json!({ "type": "stats", "id": id, "data": data }).to_string())
}

/// `features`: what a caller may ask for.
pub(super) fn features() -> Result<()> {
    let capabilities: Vec<String> =
        Capabilities::from_bits(u64::MAX).iter().map(crate::caps::Capability::name).collect();
    print_json(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
                            "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
                              "SCMP_CMP_NE"],
                "archs": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
            },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
        },
    }))
}

/// `spec [--bundle DIR]`: a specification to start from.
pub(super) fn spec(flags: &Flags) -> Result<()> {
    let dir: PathBuf = absolute(Path::new(flags.value("bundle").unwrap_or(".")))?;
    let path = dir.join("config.json");
    if path.exists() {
        return Err(Error::Start {
            exit_code: 1,
            message: format!("File {} exists. Remove it first", path.display()),
        });
    }
    let mut spec = serde_json::to_value(oci_spec::runtime::Spec::default())
        .map_err(|error| Error::system("write the specification")(error.into()))?;
    spec["hostname"] = json!("wherry");
    files::write_json(&path, &spec)
}

/// `--version`.
pub(super) fn version() -> Result<()> {
    print(&format!(
        "wherry oci-runtime version {}\nspec: {SPEC_VERSION}",
        env!("CARGO_PKG_VERSION")
    ))
}

/// `--help`.
pub(super) fn help() -> Result<()> {
    print(
        "Usage: wherry oci-runtime [--root DIR] [--log FILE] [--log-format text|json] [--cgroup-manager cgroupfs] COMMAND\n\n\
         Commands:\n  create start run state kill delete exec ps list pause resume update events features spec\n\n\
         The command line is runc's; a container's id follows the options of the command.",
    )
}
