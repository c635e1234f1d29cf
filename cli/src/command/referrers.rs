use engine::oci::{Descriptor, Reference};

use super::{FORMAT_HELP, Session};
use crate::error::Result;
use crate::format::{Format, Listing, Row};

/// List what refers to an image of a registry: signatures, attestations, lists of contents
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only this artifact type
    #[arg(long, value_name = "string")]
    artifact_type: Option<String>,
    #[arg(long, value_name = "string", help = FORMAT_HELP)]
    format: Option<String>,
    /// Only show digests
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "IMAGE", required = true)]
    image: Reference,
}

const LISTING: Listing = Listing {
    type_name: "referrer",
    titles: &[
        ("Digest", "DIGEST"),
        ("ArtifactType", "ARTIFACT TYPE"),
        ("MediaType", "MEDIA TYPE"),
        ("Size", "SIZE"),
    ],
};

impl Args {
    /// Prints a row per referrer.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let images = session.engine()?.images();
        let subject = images.remote_resolve(&self.image)?;
        let found = images.remote_referrers(
            &self.image,
            subject.digest(),
            self.artifact_type.as_deref(),
        )?;
        let format = match &self.format {
            None if self.quiet => Format::field("Digest"),
            format => Format::parse(format.as_deref(), "{{.Digest}}\t{{.ArtifactType}}\t{{.Size}}"),
        };
        session.ui.print(&LISTING.render(&format, found.iter().map(row).collect())?)
    }
}

fn row(descriptor: &Descriptor) -> Row {
    Row::default()
        .with("Digest", descriptor.digest().to_string())
        .with("ArtifactType", descriptor.artifact_type().unwrap_or("<none>"))
        .with("MediaType", descriptor.media_type().to_string())
        .with("Size", descriptor.size().to_string())
}
