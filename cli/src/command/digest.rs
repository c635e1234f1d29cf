use engine::oci::Reference;

use super::Session;
use crate::error::Result;

/// Print the digest that a registry has under a name, without pulling
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "IMAGE", required = true)]
    image: Reference,
}

impl Args {
    /// Prints it.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let descriptor = session.engine()?.images().remote_resolve(&self.image)?;
        session.ui.line(descriptor.digest())
    }
}
