use clap::Subcommand;
use engine::ErrorKind;
use engine::housekeeping::Repair;
use engine::store::{Problem, Report, Usage};

use super::Session;
use crate::error::{Error, Result};
use crate::format::{align, decimal_size, decimal_size_precise};

/// Look after the store
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(CheckArgs),
    Du(DuArgs),
    Gc(GcArgs),
}

/// Read everything and name what is damaged, missing or unreferenced
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Fetch what is damaged or missing again from the registry that its name names
    #[arg(long)]
    repair: bool,
}

/// Show how much the store holds
#[derive(Debug, clap::Args)]
struct DuArgs {}

/// Remove what nothing names and nothing holds
#[derive(Debug, clap::Args)]
struct GcArgs {}

impl Args {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Check(args) => args.run(session),
            Verb::Du(args) => args.run(session),
            Verb::Gc(args) => args.run(session),
        }
    }
}

impl CheckArgs {
    fn run(self, session: &Session) -> Result<()> {
        let repair = if self.repair { Repair::Yes } else { Repair::No };
        let report = session.engine()?.check_store(repair)?;
        session.ui.print(&text(&report))?;
        if report.is_sound() {
            return Ok(());
        }
        Err(Error::Refused {
            message: "the store is not sound".to_owned(),
            hint: match self.repair {
                true => "what could not be fetched again must be pulled, loaded or built anew"
                    .to_owned(),
                false => "`wherry store check --repair` fetches again what a registry still has"
                    .to_owned(),
            },
            kind: ErrorKind::Internal,
        })
    }
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let word = match finding.problem {
            Problem::DamagedBlob => "damaged blob",
            Problem::DamagedDocument => "damaged document",
            Problem::DamagedLayer => "damaged layer",
            Problem::DamagedNames => "damaged names",
            Problem::MissingBlob => "missing blob",
            Problem::StrayFile => "stray file",
            Problem::Unreferenced => "unreferenced",
        };
        let repaired = if finding.repaired { " (repaired)" } else { "" };
        out.push_str(&format!("{word}: {}{repaired}\n", finding.subject));
        for name in &finding.names {
            out.push_str(&format!("  needed by {name}\n"));
        }
    }
    let verdict = if report.is_sound() { "sound" } else { "not sound" };
    out.push_str(&format!(
        "{} blobs, {} read: {verdict}\n",
        report.blobs,
        decimal_size_precise(report.bytes)
    ));
    out
}

impl DuArgs {
    fn run(self, session: &Session) -> Result<()> {
        let usage = session.engine()?.store_usage()?;
        session.ui.print(&table(&usage))
    }
}

fn table(usage: &Usage) -> String {
    let count = |n: u64| n.to_string();
    let rows = [
        ("blobs", count(usage.blobs), usage.blob_bytes),
        ("layers", count(usage.layers), usage.layer_bytes),
        ("snapshots", count(usage.snapshots), usage.snapshot_bytes),
        ("partial downloads", "-".to_owned(), usage.partial_bytes),
        ("waiting to be removed", "-".to_owned(), usage.condemned_bytes),
    ];
    let mut text = "TYPE\tCOUNT\tSIZE\n".to_owned();
    for (kind, count, bytes) in rows {
        text.push_str(&format!("{kind}\t{count}\t{}\n", decimal_size(bytes)));
    }
    align(&text, crate::format::CELL_MIN)
}

impl GcArgs {
    fn run(self, session: &Session) -> Result<()> {
        let collected = session.engine()?.collect_garbage()?;
        session.ui.line(format_args!("Removed: {} blobs and layers", collected.removed.len()))?;
        session
            .ui
            .line(format_args!("Total reclaimed space: {}", decimal_size_precise(collected.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use engine::store::Finding;

    use super::*;

    #[test]
    fn a_report_names_each_finding_and_ends_in_a_verdict() {
        let finding = |problem, repaired| Finding {
            problem,
            subject: "sha256:00".to_owned(),
            names: Vec::new(),
            repaired,
        };
        let mut report = Report::default();
        assert_eq!(text(&report), "0 blobs, 0B read: sound\n");
        report.findings =
            vec![finding(Problem::Unreferenced, false), finding(Problem::MissingBlob, true)];
        assert_eq!(
            text(&report),
            "unreferenced: sha256:00\nmissing blob: sha256:00 (repaired)\n0 blobs, 0B read: sound\n"
        );
        report.findings.push(finding(Problem::DamagedBlob, false));
        assert!(text(&report).ends_with("not sound\n"));
    }
}
