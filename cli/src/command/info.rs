use engine::images::Filters;
use engine::machine::Machine;
use engine::runtime::Status;
use serde_json::{Value, json};

use super::{FORMAT_OBJECT_HELP, Session};
use crate::error::Result;
use crate::format::binary_size;
use crate::template::{ExecOptions, Template};

/// Display system-wide information
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(short, long, value_name = "string", help = FORMAT_OBJECT_HELP)]
    format: Option<String>,
}

impl Args {
    /// Counts and prints.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let facts = facts(session)?;
        match self.format.as_deref() {
            Some("json") => session.ui.line(&facts),
            Some(template) => {
                let options =
                    ExecOptions { type_name: "system.dockerInfo", ..ExecOptions::default() };
                session.ui.line(Template::parse(template)?.execute(&facts, &options)?)
            }
            None => session.ui.print(&text(&facts)),
        }
    }
}

fn facts(session: &Session) -> Result<Value> {
    let engine = session.engine()?;
    let containers = session.runtime()?.list()?;
    let count =
        |status: &[Status]| containers.iter().filter(|c| status.contains(&c.state.status)).count();
    let images = engine.images().list(&Filters::default())?;
    let ids: std::collections::BTreeSet<String> =
        images.iter().map(|image| image.id.to_string()).collect();
    let machine = Machine::look();
    Ok(json!({
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Containers": containers.len(),
        "ContainersRunning": count(&[Status::Running, Status::Restarting]),
        "ContainersPaused": count(&[Status::Paused]),
        "ContainersStopped": count(&[Status::Created, Status::Exited, Status::Dead]),
        "Images": ids.len(),
        "Driver": "overlay2",
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": machine.cgroup_version.to_string(),
        "Swarm": {"LocalNodeState": "inactive"},
        "Runtimes": {"wherry": {"path": session.config.self_exe}},
        "DefaultRuntime": "wherry",
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "KernelVersion": machine.kernel,
        "OperatingSystem": machine.operating_system,
        "OSType": "linux",
        "Architecture": machine.architecture,
        "NCPU": machine.processors,
        "MemTotal": machine.memory_bytes,
        "Name": machine.name,
        "DockerRootDir": session.config.root,
        "IndexServerAddress": "https://index.docker.io/v1/",
    }))
}

/// Docker's listing, without what there is no daemon to say.
fn text(facts: &Value) -> String {
    let line = |label: &str, key: &str| match &facts[key] {
        Value::String(text) => format!(" {label}: {text}\n"),
        Value::Number(bytes) if key == "MemTotal" => {
            format!(" {label}: {}\n", binary_size(bytes.as_u64().unwrap_or(0)))
        }
        other => format!(" {label}: {other}\n"),
    };
    let mut out =
        format!("Client: Wherry\n Version:    {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    out.push_str(&line("Containers", "Containers"));
    for (label, key) in [
        ("Running", "ContainersRunning"),
        ("Paused", "ContainersPaused"),
        ("Stopped", "ContainersStopped"),
    ] {
        out.push_str(&format!(" {}", line(label, key)));
    }
    for (label, key) in [
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Default Runtime", "DefaultRuntime"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Total Memory", "MemTotal"),
        ("Name", "Name"),
        ("Docker Root Dir", "DockerRootDir"),
        ("Registry", "IndexServerAddress"),
    ] {
        out.push_str(&line(label, key));
    }
    out
}
