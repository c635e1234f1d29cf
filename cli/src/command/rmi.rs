use engine::images::{Force, Removed};

use super::Session;
use crate::error::{Error, Result};

/// Remove one or more images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "IMAGE [IMAGE...]", required = true)]
    images: Vec<String>,
}

impl Args {
    /// Removes each image and goes on where one cannot go.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let force = if self.force { Force::Yes } else { Force::No };
        let images = session.engine()?.images();
        super::for_each(&self.images, |image| match images.remove(image, force) {
            Ok(removed) => removed.iter().try_for_each(|removed| session.ui.line(line(removed))),
            // `rmi -f` of what is gone already is no failure.
            Err(error @ engine::Error::NoSuchImage { .. }) if self.force => {
                session.ui.note(format_args!("Error: {error}"));
                Ok(())
            }
            Err(error) => Err(Error::from(error)),
        })
    }
}

/// How Docker tells of a removal.
pub(crate) fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(name) => format!("Untagged: {name}"),
        Removed::Deleted(digest) => format!("Deleted: {digest}"),
    }
}

/// The same in `prune`, where Docker writes the first word in lower case.
pub(crate) fn pruned_line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(name) => format!("untagged: {name}"),
        Removed::Deleted(digest) => format!("deleted: {digest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: B06-39
    #[test]
    fn removals_read_as_dockers() {
        assert_eq!(line(&Removed::Untagged("alpine:latest".into())), "Untagged: alpine:latest");
        let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
        assert_eq!(line(&Removed::Deleted(digest.parse().unwrap())), format!("Deleted: {digest}"));
    }
}
