use clap::Subcommand;
use engine::store::Volume;
use engine::volumes::{CreateVolume, VolumePrune};

use super::{FORMAT_HELP, FORMAT_OBJECT_HELP, Session, inspect};
use crate::error::{Error, Result};
use crate::format::{Format, Listing, Row, decimal_size_precise};

/// Manage volumes
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(CreateArgs),
    Inspect(InspectArgs),
    #[command(alias = "list")]
    Ls(ListArgs),
    Prune(PruneArgs),
    #[command(alias = "remove")]
    Rm(RemoveArgs),
}

/// Create a volume
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Specify volume driver name
    #[arg(short, long, value_name = "string", default_value = "local", value_parser = ["local"])]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    #[arg(value_name = "[VOLUME]")]
    name: Option<String>,
}

/// Display detailed information on one or more volumes
#[derive(Debug, clap::Args)]
struct InspectArgs {
    #[arg(short, long, value_name = "string", help = FORMAT_OBJECT_HELP)]
    format: Option<String>,
    #[arg(value_name = "VOLUME [VOLUME...]", required = true)]
    names: Vec<String>,
}

/// List volumes
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    #[arg(long, value_name = "string", help = FORMAT_HELP)]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

/// Remove unused local volumes
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Remove one or more volumes
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "VOLUME [VOLUME...]", required = true)]
    names: Vec<String>,
}

const LISTING: Listing = Listing {
    type_name: "*formatter.volumeContext",
    titles: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Scope", "SCOPE"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
    ],
};

impl Args {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Create(args) => args.run(session),
            Verb::Inspect(args) => args.run(session),
            Verb::Ls(args) => args.run(session),
            Verb::Prune(args) => args.run(session),
            Verb::Rm(args) => args.run(session),
        }
    }
}

impl CreateArgs {
    fn run(self, session: &Session) -> Result<()> {
        debug_assert_eq!(self.driver, "local", "the parser takes no other");
        let pair = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text.clone(), String::new()),
        };
        let request = CreateVolume {
            name: self.name,
            labels: self.label.iter().map(pair).collect(),
            options: self.opt.iter().map(pair).collect(),
        };
        let volume = session.engine()?.volumes().create(&request)?;
        session.ui.line(&volume.record.name)
    }
}

impl InspectArgs {
    fn run(self, session: &Session) -> Result<()> {
        inspect::show(session, &self.names, self.format.as_deref(), |name| {
            Ok(session.engine()?.volumes().inspect(name)?)
        })
    }
}

impl ListArgs {
    fn run(self, session: &Session) -> Result<()> {
        let mut rows = Vec::new();
        for volume in session.engine()?.volumes().list()? {
            if self.takes(session, &volume)? {
                rows.push(row(&volume));
            }
        }
        let format = match &self.format {
            None if self.quiet => Format::field("Name"),
            format => Format::parse(format.as_deref(), "{{.Driver}}\t{{.Name}}"),
        };
        session.ui.print(&LISTING.render(&format, rows)?)
    }

    /// Every key must hold; values of one key other than `label` are alternatives in Docker, and one is the rule.
    fn takes(&self, session: &Session, volume: &Volume) -> Result<bool> {
        for text in &self.filter {
            let holds = match text.split_once('=') {
                Some(("name", value)) => volume.record.name.as_str().contains(value),
                Some(("driver", value)) => value == "local",
                Some(("label", value)) => match value.split_once('=') {
                    Some((key, value)) => {
                        volume.record.labels.get(key).is_some_and(|found| found == value)
                    }
                    None => volume.record.labels.contains_key(value),
                },
                Some(("dangling", value @ ("true" | "1" | "false" | "0"))) => {
                    let unused = session.engine()?.volumes().users(&volume.record.name)?.is_empty();
                    unused == matches!(value, "true" | "1")
                }
                _ => {
                    return Err(Error::refused(
                        format!("invalid filter '{text}'"),
                        "filters of volume ls: dangling, driver, label, name",
                    ));
                }
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn row(volume: &Volume) -> Row {
    let labels = volume.record.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    Row::default()
        .with("Driver", "local")
        .with("Name", volume.record.name.as_str())
        .with("Mountpoint", volume.mountpoint.display().to_string())
        .with("Scope", "local")
        .with("Links", "N/A")
        .with("Size", "N/A")
        .with_labels(labels)
}

impl PruneArgs {
    fn run(self, session: &Session) -> Result<()> {
        let (what, scope) = match self.all {
            true => ("all", VolumePrune::All),
            false => ("anonymous", VolumePrune::Anonymous),
        };
        let question = format!(
            "WARNING! This will remove {what} local volumes not used by at least one container.\nAre you sure you want to \
             continue?"
        );
        if !self.force && !session.ui.confirm(&question)? {
            return Ok(());
        }
        let (names, bytes) = session.engine()?.volumes().prune(scope)?;
        if !names.is_empty() {
            session.ui.line(format_args!("Deleted Volumes:\n{}\n", names.join("\n")))?;
        }
        session.ui.line(format_args!("Total reclaimed space: {}", decimal_size_precise(bytes)))
    }
}

impl RemoveArgs {
    fn run(self, session: &Session) -> Result<()> {
        let volumes = session.engine()?.volumes();
        super::for_each(&self.names, |name| match volumes.remove(name) {
            Err(engine::Error::NoSuchVolume { .. }) if self.force => session.ui.line(name),
            result => {
                result?;
                session.ui.line(name)
            }
        })
    }
}
