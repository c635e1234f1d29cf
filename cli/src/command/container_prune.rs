use engine::runtime::{Container, Removal};
use jiff::Timestamp;

use super::Session;
use super::logs::moment;
use crate::error::{Error, Result};
use crate::format::decimal_size_precise;

/// Remove all stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Args {
    /// Asks, and removes.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let filter = Filter::parse(&self.filter, Timestamp::now())?;
        let question =
            "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
        if !self.force && !session.ui.confirm(question)? {
            return Ok(());
        }
        let (removed, bytes) = prune(session, &filter)?;
        if !removed.is_empty() {
            session.ui.line(format_args!("Deleted Containers:\n{}\n", removed.join("\n")))?;
        }
        session.ui.line(format_args!("Total reclaimed space: {}", decimal_size_precise(bytes)))
    }
}

/// Which stopped containers go.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    until: Option<Timestamp>,
    labels: Vec<(String, Wants)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Wants {
    Present,
    Absent,
}

impl Filter {
    /// Reads `until=`, `label=` and `label!=`.
    pub(crate) fn parse(texts: &[String], now: Timestamp) -> Result<Self> {
        let mut filter = Self::default();
        for text in texts {
            match text.split_once('=') {
                Some(("until", value)) => filter.until = Some(moment(value, now)?),
                Some(("label", value)) => filter.labels.push((value.to_owned(), Wants::Present)),
                Some(("label!", value)) => filter.labels.push((value.to_owned(), Wants::Absent)),
                _ => {
                    return Err(Error::refused(
                        format!("invalid filter '{text}'"),
                        "filters of prune: until, label, label!",
                    ));
                }
            }
        }
        Ok(filter)
    }

    fn takes(&self, container: &Container) -> bool {
        let young = self.until.is_some_and(|until| container.record.created >= until);
        let has = |label: &str| match label.split_once('=') {
            Some((key, value)) => {
                container.record.labels.get(key).is_some_and(|found| found == value)
            }
            None => container.record.labels.contains_key(label),
        };
        !young && self.labels.iter().all(|(label, wants)| has(label) == (*wants == Wants::Present))
    }
}

/// Removes what does not run; the ids, and how much smaller the store is.
pub(crate) fn prune(session: &Session, filter: &Filter) -> Result<(Vec<String>, u64)> {
    let runtime = session.runtime()?;
    let before = session.engine()?.store_usage()?.snapshot_bytes;
    let mut removed = Vec::new();
    for container in runtime.list()? {
        if container.state.status.is_live() || !filter.takes(&container) {
            continue;
        }
        let id = container.record.id.to_string();
        runtime.remove(&id, Removal::OnlyStopped)?;
        removed.push(id);
    }
    let after = session.engine()?.store_usage()?.snapshot_bytes;
    Ok((removed, before.saturating_sub(after)))
}
