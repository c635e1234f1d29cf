use engine::images::{Filters, Summary};
use jiff::Timestamp;

use super::{FORMAT_HELP, Session};
use crate::error::Result;
use crate::format::{Format, Listing, Row, age, decimal_size, short_id, stamp};

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all images (default hides intermediate images)
    ///
    /// There are none to hide here: a build keeps its intermediate results out of the list of images.
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    #[arg(long, value_name = "string", help = FORMAT_HELP)]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "[REPOSITORY[:TAG]]")]
    repository: Option<String>,
}

const LISTING: Listing = Listing {
    type_name: "*formatter.imageContext",
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "VIRTUAL SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};

const COLUMNS: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const COLUMNS_DIGESTS: &str =
    "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

impl Args {
    /// Prints the rows.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let now = Timestamp::now();
        let filters = Filters::parse(&self.filter, now)?;
        let filters = match &self.repository {
            Some(pattern) => filters.with_reference(pattern),
            None => filters,
        };
        let images = session.engine()?.images().list(&filters)?;
        let rows = images.iter().map(|image| self.row(image, now)).collect();
        session.ui.print(&LISTING.render(&self.format(), rows)?)
    }

    fn format(&self) -> Format {
        match &self.format {
            None if self.quiet => Format::field("ID"),
            format => Format::parse(
                format.as_deref(),
                if self.digests { COLUMNS_DIGESTS } else { COLUMNS },
            ),
        }
    }

    fn row(&self, image: &Summary, now: Timestamp) -> Row {
        let id = image.id.to_string();
        let none = || "<none>".to_owned();
        let size = decimal_size(image.size_bytes);
        Row::default()
            .with("ID", if self.no_trunc { id.as_str() } else { short_id(&id) })
            .with("Repository", image.repository.clone().unwrap_or_else(none))
            .with("Tag", image.tag.clone().unwrap_or_else(none))
            .with("Digest", image.digest.to_string())
            .with("CreatedSince", age(image.created, now))
            .with("CreatedAt", image.created.map_or_else(|| "N/A".to_owned(), stamp))
            .with("Size", size.as_str())
            .with("VirtualSize", size)
            .with("SharedSize", "N/A")
            .with("UniqueSize", "N/A")
            .with("Containers", "N/A")
    }
}
