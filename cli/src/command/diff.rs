use engine::containers::tree::ChangeKind;

use super::Session;
use crate::error::Result;

/// Inspect changes to files or directories on a container's filesystem
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Prints a line per change.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let changes = session.engine()?.containers().diff(&self.container)?;
        changes.iter().try_for_each(|change| {
            let letter = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Changed => 'C',
                ChangeKind::Deleted => 'D',
            };
            session.ui.line(format_args!("{letter} {}", change.path))
        })
    }
}
