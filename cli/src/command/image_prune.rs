use engine::images::{Filters, PruneScope, Removed};

use super::{Session, rmi};
use crate::error::Result;
use crate::format::decimal_size_precise;

/// Remove unused images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Args {
    /// Asks, removes, and says how much space that freed.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let question = match self.all {
            true => {
                "WARNING! This will remove all images without at least one container associated to them."
            }
            false => "WARNING! This will remove all dangling images.",
        };
        if !self.force
            && !session.ui.confirm(&format!("{question}\nAre you sure you want to continue?"))?
        {
            return Ok(());
        }
        let filters = Filters::parse(&self.filter, jiff::Timestamp::now())?;
        let scope = if self.all { PruneScope::Unused } else { PruneScope::Dangling };
        let engine = session.engine()?;
        let before = held(session)?;
        let removed = engine.images().prune(scope, &filters)?;
        engine.collect_garbage()?;
        session.ui.print(&report(&removed, before.saturating_sub(held(session)?)))
    }
}

/// Bytes of blobs and layers.
fn held(session: &Session) -> Result<u64> {
    let usage = session.engine()?.store_usage()?;
    Ok(usage.blob_bytes + usage.layer_bytes)
}

fn report(removed: &[Removed], freed_bytes: u64) -> String {
    let mut out = String::new();
    if !removed.is_empty() {
        out.push_str("Deleted Images:\n");
    }
    for image in removed {
        out.push_str(&format!("{}\n", rmi::pruned_line(image)));
    }
    if !removed.is_empty() {
        out.push('\n');
    }
    out.push_str(&format!("Total reclaimed space: {}\n", decimal_size_precise(freed_bytes)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: B06-23
    #[test]
    fn a_prune_reads_as_dockers() {
        let removed = [Removed::Untagged("a:1".into())];
        assert_eq!(
            report(&removed, 4_260_000),
            "Deleted Images:\nuntagged: a:1\n\nTotal reclaimed space: 4.26MB\n"
        );
        assert_eq!(report(&[], 0), "Total reclaimed space: 0B\n");
    }
}
