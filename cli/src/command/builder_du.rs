use engine::builder::cache::Entry;
use jiff::Timestamp;

use super::Session;
use crate::error::Result;
use crate::format::{age, align, decimal_size};

/// Show what the build cache holds
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Show the step of each record
    #[arg(long)]
    verbose: bool,
}

/// The least width of a column, as BuildKit prints them.
const CELL_MIN: usize = 1;

impl Args {
    /// Lists the records, the longest unused first, and what they come to.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let entries = session.engine()?.build_cache()?;
        let text = match self.verbose {
            true => entries.iter().map(|entry| detail(entry, Timestamp::now())).collect(),
            false => table(&entries, Timestamp::now()),
        };
        session.ui.print(&text)?;
        let bytes: u64 = entries.iter().map(|entry| entry.record.bytes).sum();
        let (size, reclaimable) = (decimal_size(bytes), decimal_size(bytes));
        session
            .ui
            .print(&align(&format!("Reclaimable:\t{reclaimable}\nTotal:\t{size}\n"), CELL_MIN))
    }
}

fn used(entry: &Entry, now: Timestamp) -> String {
    age(Timestamp::try_from(entry.used).ok(), now)
}

/// A record belongs to nobody but the cache: an image that uses its layer holds the layer itself.
fn table(entries: &[Entry], now: Timestamp) -> String {
    let mut text = "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n".to_owned();
    for entry in entries {
        let id = &entry.key.digest().hex()[..25];
        let size = decimal_size(entry.record.bytes);
        text.push_str(&format!("{id}\ttrue\t{size}\t{}\n", used(entry, now)));
    }
    align(&text, CELL_MIN)
}

fn detail(entry: &Entry, now: Timestamp) -> String {
    let record = &entry.record;
    let lines = [
        ("ID", entry.key.digest().hex().to_owned()),
        ("Created at", record.created.clone()),
        ("Mutable", "false".to_owned()),
        ("Reclaimable", "true".to_owned()),
        ("Size", decimal_size(record.bytes)),
        ("Description", record.step.clone()),
        ("Last used", used(entry, now)),
    ];
    let text: String = lines.iter().map(|(name, value)| format!("{name}:\t{value}\n")).collect();
    align(&text, CELL_MIN) + "\n"
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use engine::builder::cache::Record;
    use engine::builder::key::CacheKey;
    use engine::oci::Digest;

    use super::*;

    #[test]
    fn records_are_listed_with_size_and_age() {
        let digest = Digest::sha256(b"x");
        let record = Record {
            step: "[2/2] RUN make".to_owned(),
            layer: digest.clone(),
            content: digest.clone(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            bytes: 1_500,
            took_ms: 7,
            diffs: Vec::new(),
            parts: Vec::new(),
        };
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let entry = Entry { key: CacheKey::from_digest(digest), record, used };
        let now = Timestamp::from_second(400).unwrap();
        let text = table(std::slice::from_ref(&entry), now);
        assert_eq!(
            text,
            "ID                          RECLAIMABLE   SIZE    LAST ACCESSED\n2d711642b726b04401627ca9f   true          1.5kB   5 minutes ago\n"
        );
        assert!(detail(&entry, now).contains("Description:   [2/2] RUN make\n"));
    }
}
