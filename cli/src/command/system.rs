//! `system`: verbs about everything at once.

use std::collections::BTreeSet;

use clap::Subcommand;
use engine::builder::cache::PruneOptions;
use engine::images::{Filters, PruneScope};
use engine::volumes::VolumePrune;
use jiff::Timestamp;

use super::logs::moment;
use super::{FORMAT_HELP, Session, builder_prune, container_prune, events, info, rmi, system_df};
use crate::error::{Error, Result};
use crate::format::{Format, Listing, Row, decimal_size, decimal_size_precise};

/// Manage Wherry
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Df(DfArgs),
    Events(events::Args),
    Info(info::Args),
    Prune(PruneArgs),
}

/// Show disk usage
#[derive(Debug, clap::Args)]
struct DfArgs {
    #[arg(long, value_name = "string", help = FORMAT_HELP)]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

/// Remove unused data
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

impl Args {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Df(args) => args.run(session),
            Verb::Events(args) => args.run(session),
            Verb::Info(args) => args.run(session),
            Verb::Prune(args) => args.run(session),
        }
    }
}

const LISTING: Listing = Listing {
    type_name: "*formatter.diskUsageContext",
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};

const COLUMNS: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

/// One kind of thing that takes space.
struct Kind {
    name: &'static str,
    total: usize,
    active: usize,
    bytes: u64,
    reclaimable: u64,
}

impl DfArgs {
    fn run(self, session: &Session) -> Result<()> {
        if self.verbose {
            if self.format.is_some() {
                let message = "the verbose and the format options conflict";
                return Err(Error::refused(message, "leave one of the two out"));
            }
            return system_df::verbose(session);
        }
        let kinds =
            [images(session)?, containers(session)?, volumes(session)?, build_cache(session)?];
        let rows = kinds.iter().map(row).collect();
        session.ui.print(&LISTING.render(&Format::parse(self.format.as_deref(), COLUMNS), rows)?)
    }
}

fn row(kind: &Kind) -> Row {
    let percent = (kind.reclaimable * 100).checked_div(kind.bytes);
    let reclaimable = match percent {
        Some(percent) => format!("{} ({percent}%)", decimal_size(kind.reclaimable)),
        None => decimal_size(kind.reclaimable),
    };
    Row::default()
        .with("Type", kind.name)
        .with("TotalCount", kind.total.to_string())
        .with("Active", kind.active.to_string())
        .with("Size", decimal_size(kind.bytes))
        .with("Reclaimable", reclaimable)
}

fn images(session: &Session) -> Result<Kind> {
    let mut rows = session.engine()?.images().list(&Filters::default())?;
    rows.sort_by_key(|row| row.id.to_string());
    rows.dedup_by_key(|row| row.id.to_string());
    let used: BTreeSet<String> =
        session.runtime()?.list()?.into_iter().map(|c| c.record.image_id).collect();
    let (active, idle): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| used.contains(&row.id.to_string()));
    let bytes =
        |rows: &[&engine::images::Summary]| rows.iter().map(|row| row.size_bytes).sum::<u64>();
    Ok(Kind {
        name: "Images",
        total: rows.len(),
        active: active.len(),
        bytes: bytes(&active) + bytes(&idle),
        reclaimable: bytes(&idle),
    })
}

fn containers(session: &Session) -> Result<Kind> {
    let mut kind = Kind { name: "Containers", total: 0, active: 0, bytes: 0, reclaimable: 0 };
    for container in session.runtime()?.list()? {
        let bytes = session.engine()?.container_bytes(container.id().as_str())?;
        let active = container.state.status.is_live();
        kind.total += 1;
        kind.active += usize::from(active);
        kind.bytes += bytes;
        kind.reclaimable += if active { 0 } else { bytes };
    }
    Ok(kind)
}

fn volumes(session: &Session) -> Result<Kind> {
    let engine = session.engine()?;
    let mut kind = Kind { name: "Local Volumes", total: 0, active: 0, bytes: 0, reclaimable: 0 };
    for volume in engine.volumes().list()? {
        let bytes = engine.volumes().bytes(&volume)?;
        let unused = engine.volumes().users(&volume.record.name)?.is_empty();
        kind.total += 1;
        kind.active += usize::from(!unused);
        kind.bytes += bytes;
        kind.reclaimable += if unused { bytes } else { 0 };
    }
    Ok(kind)
}

fn build_cache(session: &Session) -> Result<Kind> {
    let records = session.engine()?.build_cache()?;
    let bytes = records.iter().map(|entry| entry.record.bytes).sum();
    Ok(Kind { name: "Build Cache", total: records.len(), active: 0, bytes, reclaimable: bytes })
}

impl PruneArgs {
    fn run(self, session: &Session) -> Result<()> {
        let now = Timestamp::now();
        let containers = container_prune::Filter::parse(&self.filter, now)?;
        let images = Filters::parse(&self.filter, now)?;
        let until = self.filter.iter().find_map(|text| text.strip_prefix("until="));
        let until = until.map(|text| moment(text, now)).transpose()?;
        if self.volumes && until.is_some() {
            // As Docker: volumes have no time that would be compared.
            return Err(Error::refused(
                "The \"until\" filter is not supported with \"--volumes\"",
                "prune volumes on their own: wherry volume prune",
            ));
        }
        if self.volumes && !self.filter.is_empty() {
            return Err(Error::refused(
                "filters with \"--volumes\" are not supported yet: volumes would not be filtered",
                "prune volumes on their own: wherry volume prune",
            ));
        }
        if !self.force && !session.ui.confirm(&self.question())? {
            return Ok(());
        }
        let before = held(session)?;
        let mut bytes = 0;
        let (removed, _) = container_prune::prune(session, &containers)?;
        section(session, "Deleted Containers:", &removed)?;
        let engine = session.engine()?;
        let unused = super::network::PruneFilter::parse(&self.filter, now)?;
        let networks = engine.networks().prune(&|network| unused.takes(network))?;
        section(session, "Deleted Networks:", &networks)?;
        if self.volumes {
            let (volumes, freed) = engine.volumes().prune(VolumePrune::Anonymous)?;
            section(session, "Deleted Volumes:", &volumes)?;
            bytes += freed;
        }
        let scope = if self.all { PruneScope::Unused } else { PruneScope::Dangling };
        let removed = engine.images().prune(scope, &images)?;
        let lines: Vec<String> = removed.iter().map(rmi::pruned_line).collect();
        section(session, "Deleted Images:", &lines)?;
        if let Some(options) = self.cache_options(until, now) {
            engine.prune_build_cache(&options)?;
        }
        bytes += before.saturating_sub(held(session)?);
        session.ui.line(format_args!("Total reclaimed space: {}", decimal_size_precise(bytes)))
    }

    /// Records of the build cache have no labels: asked for some, none of them goes.
    fn cache_options(&self, until: Option<Timestamp>, now: Timestamp) -> Option<PruneOptions> {
        if self.filter.iter().any(|text| text.starts_with("label")) {
            return None;
        }
        let fresh = || if self.all { None } else { now.checked_sub(builder_prune::FRESH).ok() };
        Some(PruneOptions { unused_since: until.or_else(fresh), keep_bytes: None })
    }

    fn question(&self) -> String {
        let mut lines = vec![
            "WARNING! This will remove:",
            "  - all stopped containers",
            "  - all networks not used by at least one container",
        ];
        if self.volumes {
            lines.push("  - all anonymous volumes not used by at least one container");
        }
        lines.push(match self.all {
            true => "  - all images without at least one container associated to them",
            false => "  - all dangling images",
        });
        lines.push(match self.all {
            true => "  - all build cache",
            false => "  - build cache that no build used for a day",
        });
        let filters = self.filter.iter().map(|filter| format!("  - {filter}"));
        let filters: Vec<String> = filters.collect();
        let filtered = match filters.is_empty() {
            true => String::new(),
            false => {
                format!("\n\n  Items to be pruned will be filtered with:\n{}", filters.join("\n"))
            }
        };
        format!("{}{filtered}\n\nAre you sure you want to continue?", lines.join("\n"))
    }
}

/// Bytes of everything in the store but volumes.
fn held(session: &Session) -> Result<u64> {
    let usage = session.engine()?.store_usage()?;
    Ok(usage.blob_bytes + usage.layer_bytes + usage.snapshot_bytes)
}

fn section(session: &Session, title: &str, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    session.ui.line(format_args!("{title}\n{}\n", lines.join("\n")))
}
