use engine::images::CopyRequest;
use engine::oci::{Platform, Reference};

use super::Session;
use crate::error::Result;

/// Copy an image from registry to registry, with its signatures and trust data
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Copy only the image of this platform; a signature of the whole does not cover it
    #[arg(long, value_name = "string")]
    platform: Option<Platform>,
    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "SOURCE_IMAGE[:TAG]", required = true)]
    source: Reference,
    #[arg(value_name = "TARGET_IMAGE[:TAG]", required = true)]
    target: Reference,
}

impl Args {
    /// Copies, and says what went along.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let request = CopyRequest {
            source: self.source.clone(),
            target: self.target.clone(),
            platform: self.platform,
        };
        let copied = session.engine()?.images().copy(&request)?;
        if self.quiet {
            return session.ui.line(copied.descriptor.digest());
        }
        session.ui.line(format_args!(
            "Copied: {} to {}",
            self.source.familiar(),
            self.target.familiar()
        ))?;
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
