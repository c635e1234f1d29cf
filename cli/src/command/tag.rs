use engine::oci::Reference;

use super::Session;
use crate::error::Result;

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "SOURCE_IMAGE[:TAG]", required = true)]
    source: String,
    #[arg(value_name = "TARGET_IMAGE[:TAG]", required = true)]
    target: Reference,
}

impl Args {
    /// Tags.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        Ok(session.engine()?.images().tag(&self.source, &self.target)?)
    }
}
