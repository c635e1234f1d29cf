use engine::oci::Reference;

use super::Session;
use crate::error::{Error, Result};

/// List the tags that a registry has of a repository
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Reference,
}

impl Args {
    /// Prints a tag a line, in the registry's order.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.repository.tag().is_some() || self.repository.digest().is_some() {
            return Err(Error::refused(
                format!("{}: name a repository, without tag or digest", self.repository.familiar()),
                "",
            ));
        }
        let tags = session.engine()?.images().remote_tags(self.repository.repository())?;
        tags.iter().try_for_each(|tag| session.ui.line(tag))
    }
}
