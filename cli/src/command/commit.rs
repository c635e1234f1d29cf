use engine::containers::CommitRequest;
use engine::oci::Reference;
use engine::runtime::Status;

use super::Session;
use crate::error::Result;

/// Create a new image from a container's changes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "string")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Pause container during commit
    #[arg(short, long, default_value = "true", action = clap::ArgAction::SetFalse)]
    pause: bool,
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    #[arg(value_name = "[REPOSITORY[:TAG]]")]
    reference: Option<Reference>,
}

impl Args {
    /// Commits and prints the image's id. A container that runs is frozen meanwhile, so that its files hold still.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let containers = session.engine()?.containers();
        let container = containers.get(&self.container)?;
        let request = CommitRequest {
            reference: self.reference.map(Reference::or_latest),
            author: self.author,
            message: self.message,
            changes: self.change,
        };
        let freeze = self.pause && container.state.status == Status::Running;
        let runtime = session.runtime()?;
        if freeze {
            runtime.pause(container.id())?;
        }
        let committed = containers.commit(&self.container, &request);
        if freeze {
            // The container must go on whatever became of the image.
            runtime.unpause(container.id())?;
        }
        session.ui.line(committed?)
    }
}
