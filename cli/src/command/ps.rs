use engine::networks::Connections;
use engine::runtime::{
    Container, ExposedPort, HealthStatus, MountKind, MountRequest, State, Status,
};
use jiff::Timestamp;

use super::ps_filter::Filters;
use super::{FORMAT_HELP, Session};
use crate::error::Result;
use crate::format::{
    Format, Listing, Port, Row, age, displayable, duration_words, ellipsis, quoted, short_id, stamp,
};

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    #[arg(long, value_name = "string", help = FORMAT_HELP)]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(
        short = 'n',
        long,
        value_name = "int",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
}

const LISTING: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
    ],
};

const COLUMNS: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
/// Characters of a command that a truncated row shows.
const COMMAND_WIDTH: usize = 20;

impl Args {
    /// Prints the rows, the newest first.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let now = Timestamp::now();
        let filters = Filters::parse(&self.filter)?;
        let mut containers = filters.apply(session.runtime()?.list()?);
        let last = if self.latest { 1 } else { self.last };
        if let Ok(last) = usize::try_from(last)
            && last > 0
        {
            containers.truncate(last);
        } else if !self.all && !filters.names_a_state() {
            containers.retain(|container| container.state.status.is_live());
        }
        let connections = session.engine()?.networks().connections()?;
        let none = Connections::new();
        let row = |container: &Container| {
            let connected = connections.get(container.record.id.as_str()).unwrap_or(&none);
            self.row(container, connected, now)
        };
        let rows = containers.iter().map(row).collect();
        let format = match &self.format {
            None if self.quiet => Format::field("ID"),
            format => Format::parse(format.as_deref(), COLUMNS),
        };
        session.ui.print(&LISTING.render(&format, rows)?)
    }

    fn row(&self, container: &Container, connections: &Connections, now: Timestamp) -> Row {
        let record = &container.record;
        let id = record.id.to_string();
        let command = command_line(&record.args);
        let command = if self.no_trunc { command } else { ellipsis(&command, COMMAND_WIDTH) };
        let labels = record.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let mounts: Vec<String> = record.options.mounts.iter().filter_map(mount_source).collect();
        Row::default()
            .with("ID", if self.no_trunc { id.as_str() } else { short_id(&id) })
            .with("Names", record.name.as_str())
            .with("Image", record.image.as_str())
            .with("Command", quoted(&command))
            .with("CreatedAt", stamp(record.created))
            .with("RunningFor", age(Some(record.created), now))
            .with("Ports", ports(container, connections))
            .with("State", container.state.status.as_str())
            .with("Status", status(container, now))
            .with("Mounts", mounts.join(","))
            .with("LocalVolumes", "0")
            .with("Networks", networks(container))
            .with_labels(labels)
    }
}

/// What a health check found, as Docker adds it.
fn health(state: &State) -> &'static str {
    match state.health.as_ref().map(|health| health.status) {
        None => "",
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
    }
}

/// The ports of a container that runs: those that lead in from the host, and those that are only exposed.
fn ports(container: &Container, connections: &Connections) -> String {
    if container.state.pid.is_none() {
        return String::new();
    }
    let bound = connections.iter().flat_map(|(_, endpoint)| &endpoint.ports);
    let mut ports: Vec<Port> = bound
        .map(|binding| Port {
            private: binding.container_port,
            ip: binding.host_ip.to_string(),
            public: binding.host_port,
            protocol: binding.protocol.to_string(),
        })
        .collect();
    let record = &container.record;
    let of_image = record.image_config.exposed_ports.keys().filter_map(|text| text.parse().ok());
    for exposed in of_image.chain(record.options.expose.iter().copied()) {
        let exposed: ExposedPort = exposed;
        let protocol = exposed.protocol.to_string();
        if !ports.iter().any(|port| port.private == exposed.number && port.protocol == protocol) {
            ports.push(Port { private: exposed.number, ip: String::new(), public: 0, protocol });
        }
    }
    displayable(&ports)
}

/// The networks that it asks for, or whose it shares.
fn networks(container: &Container) -> String {
    let options = &container.record.options;
    match options.endpoints.is_empty() {
        true => options.network.to_string(),
        false => {
            let names: Vec<&str> = options.endpoints.iter().map(|e| e.network.as_str()).collect();
            names.join(",")
        }
    }
}

fn mount_source(mount: &MountRequest) -> Option<String> {
    match &mount.kind {
        MountKind::Bind { source, .. } => Some(source.display().to_string()),
        MountKind::Volume { name, .. } => Some(name.clone()),
        MountKind::Tmpfs { .. } => None,
    }
}

/// The words as Docker joins them: a word with a space stands in single quotes.
fn command_line(args: &[String]) -> String {
    let word = |(at, word): (usize, &String)| match at > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    args.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
}

/// The COMMAND column, truncated.
pub(super) fn command_cell(container: &Container) -> String {
    quoted(&ellipsis(&command_line(&container.record.args), COMMAND_WIDTH))
}

/// The STATUS column.
pub(super) fn status(container: &Container, now: Timestamp) -> String {
    let state = &container.state;
    let up = || {
        duration_words(state.started_at.map_or(0, |started| now.as_second() - started.as_second()))
    };
    let ago = || match state.finished_at {
        Some(finished) => format!("{} ago", duration_words(now.as_second() - finished.as_second())),
        None => "N/A".to_owned(),
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}{}", up(), health(state)),
        Status::Paused => format!("Up {} (Paused)", up()),
        Status::Restarting => format!("Restarting ({}) {}", state.exit_code, ago()),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Exited => format!("Exited ({}) {}", state.exit_code, ago()),
        Status::Dead => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(status: &str, exit_code: i32) -> Container {
        let record = serde_json::json!({
            "version": 1, "id": "a".repeat(64), "name": "web", "created": "2026-11-21T11:59:25Z",
            "image": "ddd-book:ch8.1", "image_id": format!("sha256:{}", "b".repeat(64)),
            "image_config": {"ExposedPorts": {"443/tcp": {}, "53/udp": {}}}, "options": {},
            "args": ["/bin/sh", "-c", "while true; do echo a b c; done"], "entrypoint_len": 0, "env": [],
            "labels": {"tier": "web", "a": "1"}, "workdir": "/", "user": "", "stop_signal": 15,
            "rootfs": {"type": "path", "path": "/r"}, "cleanup": [],
        });
        let state = serde_json::json!({
            "status": status, "pid": if status == "running" { Some(1) } else { None }, "pid_start": null, "exit_code": exit_code, "error": "", "oom_killed": false,
            "started_at": "2026-11-21T11:59:51Z", "finished_at": "2026-11-21T11:58:00Z", "restart_count": 1,
            "stopped_by_user": false,
        });
        Container {
            record: serde_json::from_value(record).unwrap(),
            state: serde_json::from_value(state).unwrap(),
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    /// Covers: B07-18, B07-27
    #[test]
    fn the_status_tells_what_docker_tells() {
        for (status, code, text) in [
            ("created", 0, "Created"),
            ("running", 0, "Up 9 seconds"),
            ("paused", 0, "Up 9 seconds (Paused)"),
            ("restarting", 1, "Restarting (1) 2 minutes ago"),
            ("exited", 137, "Exited (137) 2 minutes ago"),
            ("dead", 0, "Dead"),
            ("removing", 0, "Removal In Progress"),
        ] {
            assert_eq!(super::status(&container(status, code), now()), text);
        }
    }

    /// Covers: B07-34
    #[test]
    fn a_row_reads_as_dockers() {
        let args = Args {
            all: true,
            filter: Vec::new(),
            format: None,
            last: -1,
            latest: false,
            no_trunc: false,
            quiet: false,
        };
        let row = || args.row(&container("running", 0), &Connections::new(), now());
        let table = LISTING.render(&Format::parse(None, COLUMNS), vec![row()]).unwrap();
        assert_eq!(
            table,
            "CONTAINER ID   IMAGE            COMMAND                  CREATED          STATUS         PORTS             NAMES\n\
             aaaaaaaaaaaa   ddd-book:ch8.1   \"/bin/sh -c 'while t…\"   35 seconds ago   Up 9 seconds   53/udp, 443/tcp   web\n"
        );
        let format =
            Format::parse(Some("{{.Names}} {{.State}} {{.Labels}} {{.Label \"tier\"}}"), COLUMNS);
        assert_eq!(LISTING.render(&format, vec![row()]).unwrap(), "web running a=1,tier=web web\n");
    }

    /// Covers: B07-36
    #[test]
    fn filters_are_alternatives_within_a_key_and_labels_are_not() {
        let all = || vec![container("running", 0), container("exited", 3)];
        for (filters, left) in [
            (vec!["status=running", "status=exited"], 2),
            (vec!["status=exited"], 1),
            (vec!["exited=3"], 1),
            (vec!["exited=0"], 0),
            (vec!["name=^/?web$", "status=running"], 1),
            (vec!["name=we", "name=nothing"], 2),
            (vec!["label=tier=web", "label=a"], 2),
            (vec!["label=tier=web", "label=b"], 0),
            (vec!["ancestor=ddd-book:ch8.1"], 2),
            (vec!["id=aaaa"], 2),
            (vec!["network=none"], 2),
        ] {
            let texts: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(Filters::parse(&texts).unwrap().apply(all()).len(), left, "{filters:?}");
        }
    }
}
