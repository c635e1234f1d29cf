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

#[cfg(test)]
mod tests {
    use super::*;

    fn image(
        digit: &str,
        repository: Option<&str>,
        tag: Option<&str>,
        seconds_ago: i64,
        size_bytes: u64,
    ) -> Summary {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64)).parse().unwrap();
        let created = now().as_second() - seconds_ago;
        Summary {
            id: digest(digit),
            repository: repository.map(str::to_owned),
            tag: tag.map(str::to_owned),
            digest: digest("9"),
            created: Some(Timestamp::from_second(created).unwrap()),
            size_bytes,
            labels: Vec::new(),
            reference: None,
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn args(digests: bool, no_trunc: bool, quiet: bool) -> Args {
        Args {
            all: false,
            digests,
            filter: Vec::new(),
            format: None,
            no_trunc,
            quiet,
            repository: None,
        }
    }

    fn render(args: &Args) -> String {
        const DAY: i64 = 86_400;
        let images = [
            image("1", Some("busybox"), Some("latest"), 30, 4_260_000),
            image("2", None, None, 8 * DAY, 5_050_000_000),
            image("3", Some("localhost:5000/a/b"), Some("v1"), 700 * DAY, 123),
        ];
        let rows = images.iter().map(|image| args.row(image, now())).collect();
        LISTING.render(&args.format(), rows).unwrap()
    }

    /// The table is that of Docker's client 28.2 for the same images.
    ///
    /// Covers: B06-07, B06-15
    #[test]
    fn the_table_reads_as_dockers() {
        assert_eq!(
            render(&args(false, false, false)),
            "REPOSITORY           TAG       IMAGE ID       CREATED          SIZE\n\
             busybox              latest    111111111111   30 seconds ago   4.26MB\n\
             <none>               <none>    222222222222   8 days ago       5.05GB\n\
             localhost:5000/a/b   v1        333333333333   23 months ago    123B\n"
        );
    }

    /// Covers: B06-21
    #[test]
    fn quiet_prints_ids_alone() {
        assert_eq!(render(&args(false, false, true)), "111111111111\n222222222222\n333333333333\n");
        assert!(render(&args(false, true, true)).starts_with("sha256:1111111111111"));
    }

    /// Covers: B06-22
    #[test]
    fn digests_stand_between_tag_and_id() {
        let table = render(&args(true, false, false));
        let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(header, ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]);
        assert!(table.contains(&format!("sha256:{}   111111111111", "9".repeat(64))), "{table}");
    }
}
