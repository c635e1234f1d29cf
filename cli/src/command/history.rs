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

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables are those of Docker's client 28.2 for the same history.
    ///
    /// Covers: B08-28
    #[test]
    fn the_table_reads_as_dockers() {
        let now: Timestamp = "2026-11-21T13:06:09Z".parse().unwrap();
        let row = |id: Option<&str>, created: &str, by: &str, comment: &str, size_bytes: u64| {
            let step =
                serde_json::json!({"created": created, "created_by": by, "comment": comment});
            HistoryRow {
                id: id.map(|digit| format!("sha256:{}", digit.repeat(64)).parse().unwrap()),
                step: serde_json::from_value(step).unwrap(),
                size_bytes,
                tags: Vec::new(),
            }
        };
        let add = "/bin/sh -c #(nop) ADD file:1234567890123456789012345678901234567890 in / ";
        let rows = [
            row(Some("1"), "2026-11-21T13:05:09Z", "CMD [\"sh\"]", "buildkit.dockerfile.v0", 0),
            row(None, "2026-11-21T12:16:09Z", add, "", 4_261_550),
        ];
        let args = |human| Args {
            format: None,
            human,
            no_trunc: false,
            quiet: false,
            image: String::new(),
        };
        let render = |human: bool, columns: &str| {
            let rows = rows.iter().map(|row| args(human).row(row, now)).collect();
            LISTING.render(&Format::parse(None, columns), rows).unwrap()
        };
        assert_eq!(
            render(true, HUMAN),
            "IMAGE          CREATED              CREATED BY                                      SIZE      COMMENT\n\
             111111111111   About a minute ago   CMD [\"sh\"]                                      0B        buildkit.dockerfile.v0\n\
             <missing>      50 minutes ago       /bin/sh -c #(nop) ADD file:12345678901234567…   4.26MB    \n"
        );
        assert_eq!(
            render(false, MACHINE),
            "IMAGE          CREATED AT             CREATED BY                                      SIZE      COMMENT\n\
             111111111111   2026-11-21T13:05:09Z   CMD [\"sh\"]                                      0         buildkit.dockerfile.v0\n\
             <missing>      2026-11-21T12:16:09Z   /bin/sh -c #(nop) ADD file:12345678901234567…   4261550   \n"
        );
    }
}
