use engine::containers::CreateContainer;
use engine::runtime::{ContainerId, RunOptions};

use super::container_options::{ContainerOptions, PullPolicy};
use super::{Session, pull};
use crate::error::{Error, Result};
use crate::ui::Verbosity;

/// Create a new container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: ContainerOptions,
    #[arg(value_name = "IMAGE", required = true)]
    image: String,
    #[arg(value_name = "[COMMAND] [ARG...]", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    /// Creates and prints the id.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let mut request =
            self.options.request(&self.command).map_err(Error::in_container("create"))?;
        request.stdin_once = self.options.interactive;
        let id = make(session, &self.options, &self.image, request)?;
        session.ui.line(id)
    }
}

/// Fetches the image where it must be and makes the container.
pub(crate) fn make(
    session: &Session,
    options: &ContainerOptions,
    image: &str,
    run: RunOptions,
) -> Result<ContainerId> {
    fetch(session, options, image)?;
    if let Some(path) = options.cidfile.as_ref().filter(|path| path.exists()) {
        return Err(Error::refused(
            format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ),
            "",
        ));
    }
    let request = CreateContainer {
        name: options.name.clone(),
        image: image.to_owned(),
        platform: options.platform.clone(),
        volumes: options.volumes()?,
        volumes_from: options.volumes_from.clone(),
        options: run,
    };
    let id = session.engine()?.containers().create(request)?;
    if let Some(path) = &options.cidfile {
        std::fs::write(path, id.to_string()).map_err(|source| Error::File {
            act: "write container ID to",
            path: path.display().to_string(),
            source,
        })?;
    }
    Ok(id)
}

fn fetch(session: &Session, options: &ContainerOptions, image: &str) -> Result<()> {
    let engine = session.engine()?;
    let missing = || engine.images().open(image, options.platform.as_ref()).is_err();
    let wanted = match options.pull {
        PullPolicy::Always => true,
        PullPolicy::Missing => missing(),
        PullPolicy::Never => false,
    };
    if !wanted {
        return Ok(());
    }
    let reference: engine::oci::Reference = image.parse().map_err(engine::Error::from)?;
    let reference = reference.or_latest();
    // News about the image goes to standard error: standard output is the container's.
    if options.pull == PullPolicy::Missing {
        session.ui.note(format_args!("Unable to find image '{}' locally", reference.familiar()));
    }
    let verbosity = if options.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    pull::before_run(session, &reference, options.platform.clone(), verbosity)
}
