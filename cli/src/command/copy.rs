use engine::images::{Attachments, CopyRequest, Place};
use engine::oci::Platform;

use super::Session;
use crate::error::Result;

/// Copy an image between registries, archives, folders and the store, with all that is attached to it
///
/// A name means an image in a registry. Other places: oci:FOLDER[:NAME], oci-archive:FILE[:NAME],
/// docker-archive:FILE[:NAME], dir:FOLDER, store:IMAGE
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Copy all platforms of the image, as is done where none is named
    #[arg(short, long, conflicts_with = "platform")]
    all: bool,
    /// Leave signatures, attestations, other referrers and trust data behind
    #[arg(long)]
    image_only: bool,
    /// Copy only the image of this platform; a signature of the whole does not cover it
    #[arg(long, value_name = "string")]
    platform: Option<Platform>,
    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "SOURCE", required = true)]
    source: String,
    #[arg(value_name = "TARGET", required = true)]
    target: String,
}

impl Args {
    /// Copies, and says what went along.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let (source, target): (Place, Place) = (self.source.parse()?, self.target.parse()?);
        let request = CopyRequest {
            source: source.clone(),
            target: target.clone(),
            platform: self.platform.filter(|_| !self.all),
            attachments: if self.image_only { Attachments::Behind } else { Attachments::Along },
        };
        let copied = session.engine()?.images().copy(&request)?;
        if self.quiet {
            return session.ui.line(copied.descriptor.digest());
        }
        session.ui.line(format_args!("Copied: {source} to {target}"))?;
        session.ui.line(format_args!("Digest: {}", copied.descriptor.digest()))?;
        session.ui.line(format_args!(
            "Sent: {} of {} parts, {} bytes; referrers: {}; trust data: {}",
            copied.sent,
            copied.sent + copied.present,
            copied.bytes,
            copied.referrers,
            if copied.trust { "yes" } else { "none" }
        ))
    }
}
