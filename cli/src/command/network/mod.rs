//! `network`: the networks that containers find each other on.

mod connect;
mod create;
mod list;

use clap::Subcommand;
use engine::ErrorKind;
use jiff::Timestamp;

use super::{FORMAT_OBJECT_HELP, Session, inspect};
use crate::error::{Error, Result};

/// Manage networks
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Connect(connect::ConnectArgs),
    Create(create::Args),
    Disconnect(connect::DisconnectArgs),
    Inspect(InspectArgs),
    #[command(alias = "list")]
    Ls(list::Args),
    Prune(PruneArgs),
    #[command(alias = "remove")]
    Rm(RemoveArgs),
}

/// Display detailed information on one or more networks
#[derive(Debug, clap::Args)]
struct InspectArgs {
    #[arg(short, long, value_name = "string", help = FORMAT_OBJECT_HELP)]
    format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    verbose: bool,
    #[arg(value_name = "NETWORK [NETWORK...]", required = true)]
    names: Vec<String>,
}

/// Remove all unused networks
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Remove one or more networks
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "NETWORK [NETWORK...]", required = true)]
    names: Vec<String>,
}

impl Args {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Connect(args) => args.run(session),
            Verb::Create(args) => args.run(session),
            Verb::Disconnect(args) => args.run(session),
            Verb::Inspect(args) => args.run(session),
            Verb::Ls(args) => args.run(session),
            Verb::Prune(args) => args.run(session),
            Verb::Rm(args) => args.run(session),
        }
    }
}

impl InspectArgs {
    /// `--verbose` adds what peers of a cluster know; a network of one machine has none.
    fn run(self, session: &Session) -> Result<()> {
        inspect::show(session, &self.names, self.format.as_deref(), |name| {
            Ok(session.engine()?.networks().inspect(name)?)
        })
    }
}

impl PruneArgs {
    fn run(self, session: &Session) -> Result<()> {
        let filter = PruneFilter::parse(&self.filter, Timestamp::now())?;
        let question = "WARNING! This will remove all custom networks not used by at least one container.\n\
                        Are you sure you want to continue?";
        if !self.force && !session.ui.confirm(question)? {
            return Ok(());
        }
        let removed = session.engine()?.networks().prune(&|network| filter.takes(network))?;
        if removed.is_empty() {
            return Ok(());
        }
        session.ui.line(format_args!("Deleted Networks:\n{}\n", removed.join("\n")))
    }
}

/// `until=`, `label=` and `label!=`.
pub(crate) struct PruneFilter {
    until: Option<Timestamp>,
    labels: Vec<(String, bool)>,
}

impl PruneFilter {
    /// Reads the filters.
    pub(crate) fn parse(texts: &[String], now: Timestamp) -> Result<Self> {
        let mut filter = Self { until: None, labels: Vec::new() };
        for text in texts {
            match text.split_once('=') {
                Some(("until", value)) => {
                    filter.until = Some(super::logs::moment(value, now)?);
                }
                Some(("label", value)) => filter.labels.push((value.to_owned(), true)),
                Some(("label!", value)) => filter.labels.push((value.to_owned(), false)),
                _ => {
                    return Err(Error::refused(
                        format!("invalid filter '{text}'"),
                        "filters of network prune: until, label, label!",
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// Whether a network is one of those that go.
    pub(crate) fn takes(&self, network: &engine::network_types::Network) -> bool {
        let created = network.created.parse::<Timestamp>().ok();
        let young = matches!((self.until, created), (Some(until), Some(made)) if made >= until);
        let has = |label: &str| match label.split_once('=') {
            Some((key, value)) => network.labels.get(key).is_some_and(|found| found == value),
            None => network.labels.contains_key(label),
        };
        !young && self.labels.iter().all(|(label, wanted)| has(label) == *wanted)
    }
}

impl RemoveArgs {
    fn run(self, session: &Session) -> Result<()> {
        let networks = session.engine()?.networks();
        super::for_each(&self.names, |name| match networks.remove(name) {
            Err(error) if self.force && error.kind() == ErrorKind::NotFound => Ok(()),
            result => {
                result?;
                session.ui.line(name)
            }
        })
    }
}
