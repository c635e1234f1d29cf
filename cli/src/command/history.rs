use engine::images::HistoryRow;
use jiff::Timestamp;

use super::{FORMAT_HELP, Session};
use crate::error::Result;
use crate::format::{Format, Listing, Row, age, decimal_size, ellipsis, short_id};

/// Show the history of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_name = "string", help = FORMAT_HELP)]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, default_value = "true", action = clap::ArgAction::SetFalse)]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "IMAGE", required = true)]
    image: String,
}

const LISTING: Listing = Listing {
    type_name: "*formatter.historyContext",
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};

const HUMAN: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const MACHINE: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
/// Characters of an instruction that a truncated row shows.
const CREATED_BY_WIDTH: usize = 45;

impl Args {
    /// Prints the rows, newest first.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let now = Timestamp::now();
        let rows = session.engine()?.images().history(&self.image)?;
        let rows = rows.iter().map(|row| self.row(row, now)).collect();
        let format = match &self.format {
            None if self.quiet => Format::field("ID"),
            format => Format::parse(format.as_deref(), if self.human { HUMAN } else { MACHINE }),
        };
        session.ui.print(&LISTING.render(&format, rows)?)
    }

    fn row(&self, row: &HistoryRow, now: Timestamp) -> Row {
        let id = row.id.as_ref().map_or_else(|| "<missing>".to_owned(), ToString::to_string);
        let created = row.step.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let by = row.step.created_by.as_deref().unwrap_or("").replace('\t', " ");
        Row::default()
            .with("ID", if self.no_trunc { id.as_str() } else { short_id(&id) })
            .with("CreatedSince", age(created, now))
            .with("CreatedAt", created.map(seconds).unwrap_or_default())
            .with("CreatedBy", if self.no_trunc { by } else { ellipsis(&by, CREATED_BY_WIDTH) })
            .with(
                "Size",
                if self.human { decimal_size(row.size_bytes) } else { row.size_bytes.to_string() },
            )
            .with("Comment", row.step.comment.clone().unwrap_or_default())
    }
}

/// RFC 3339 in whole seconds.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}
