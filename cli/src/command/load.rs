use engine::images::LoadedImage;

use super::Session;
use super::import::{about, open};
use crate::error::{Error, Result};

/// Load an image from a tar archive or STDIN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long, value_name = "string")]
    input: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    /// Loads and prints what came; progress, which `--quiet` suppresses, there is none.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.input.is_none() && session.ui.stdin_terminal {
            return Err(Error::refused(
                "requested load from stdin, but stdin is empty",
                "use -i FILE or a pipe",
            ));
        }
        let source = self.input.as_deref().unwrap_or("-");
        let loaded = session.engine()?.images().load(open(source)?);
        let loaded = loaded.map_err(|error| about(source, error))?;
        loaded.iter().try_for_each(|image| session.ui.line(line(image)))
    }
}

fn line(image: &LoadedImage) -> String {
    match image {
        LoadedImage::Named(reference) => format!("Loaded image: {}", reference.familiar()),
        LoadedImage::Nameless(id) => format!("Loaded image ID: {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_reads_as_dockers() {
        let named = LoadedImage::Named("docker.io/library/busybox:1".parse().unwrap());
        assert_eq!(line(&named), "Loaded image: busybox:1");
        let id = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
        assert_eq!(
            line(&LoadedImage::Nameless(id.parse().unwrap())),
            format!("Loaded image ID: {id}")
        );
    }
}
