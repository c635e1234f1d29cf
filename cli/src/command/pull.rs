use engine::images::{Freshness, PullEvent, PullProgress, PullRequest, Pulled};
use engine::oci::{Platform, Reference};

use super::Session;
use crate::error::{Error, Result};
use crate::format::short_id;
use crate::ui::{LayerBoard, LayerStatus, Stream, Verbosity};

/// Download an image from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<Platform>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]", required = true)]
    name: Reference,
}

impl Args {
    /// Pulls one tag, one digest, or all tags.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let verbosity = if self.quiet { Verbosity::Quiet } else { Verbosity::Normal };
        let named = self.name.tag().is_some() || self.name.digest().is_some();
        if self.all_tags && named {
            return Err(Error::refused("tag can't be used with --all-tags/-a", ""));
        }
        if self.all_tags {
            return self.all(session, verbosity);
        }
        if !named && !self.quiet {
            session.ui.line("Using default tag: latest")?;
        }
        let pulled =
            one(session, &self.name.clone().or_latest(), self.platform.clone(), verbosity)?;
        if !self.quiet {
            session.ui.line(status(pulled.freshness, &pulled.reference.familiar()))?;
        }
        session.ui.line(&pulled.reference)
    }

    fn all(self, session: &Session, verbosity: Verbosity) -> Result<()> {
        let mut freshness = Freshness::UpToDate;
        for tag in session.engine()?.images().remote_tags(self.name.repository())? {
            let reference = self.name.clone().with_tag(&tag).map_err(engine::Error::from)?;
            let pulled = one(session, &reference, self.platform.clone(), verbosity)?;
            if pulled.freshness == Freshness::Downloaded {
                freshness = Freshness::Downloaded;
            }
        }
        if verbosity == Verbosity::Normal {
            session.ui.line(status(freshness, &self.name.familiar_repository()))?;
        }
        session.ui.line(self.name.repository())
    }
}

fn status(freshness: Freshness, name: &str) -> String {
    match freshness {
        Freshness::Downloaded => format!("Status: Downloaded newer image for {name}"),
        Freshness::UpToDate => format!("Status: Image is up to date for {name}"),
    }
}

/// Pulls one reference and prints all lines up to its digest.
fn one(
    session: &Session,
    reference: &Reference,
    platform: Option<Platform>,
    verbosity: Verbosity,
) -> Result<Pulled> {
    let request = PullRequest { reference: reference.clone(), platform };
    let board = Board(LayerBoard::new(session.ui, verbosity, Stream::Stdout));
    let pulled = session.engine()?.images().pull(&request, &board)?;
    board.0.settle();
    board.0.line(&format!("Digest: {}", pulled.target.digest()));
    Ok(pulled)
}

/// Pulls what `run` lacks. The news goes to standard error: standard output is the container's.
pub(crate) fn before_run(
    session: &Session,
    reference: &Reference,
    platform: Option<Platform>,
    verbosity: Verbosity,
) -> Result<()> {
    let request = PullRequest { reference: reference.clone(), platform };
    let board = Board(LayerBoard::new(session.ui, verbosity, Stream::Stderr));
    let pulled = session.engine()?.images().pull(&request, &board)?;
    board.0.settle();
    board.0.line(&format!("Digest: {}", pulled.target.digest()));
    board.0.line(&status(pulled.freshness, &pulled.reference.familiar()));
    Ok(())
}

struct Board(LayerBoard);

impl PullProgress for Board {
    fn event(&self, event: PullEvent<'_>) {
        let id = |layer: &engine::oci::Descriptor| short_id(&layer.digest().to_string()).to_owned();
        match event {
            PullEvent::Resolved { reference, .. } => {
                let name = match (reference.digest(), reference.tag()) {
                    (Some(_), _) => reference.to_string(),
                    (None, tag) => tag.unwrap_or("latest").to_owned(),
                };
                self.0.line(&format!("{name}: Pulling from {}", reference.repository().path()));
            }
            PullEvent::LayerExists(layer) => {
                self.0.layer(&id(layer), layer.size(), LayerStatus::AlreadyExists)
            }
            PullEvent::LayerProgress { layer, offset } => {
                self.0.layer(&id(layer), layer.size(), LayerStatus::PullingFsLayer);
                let status = match offset < layer.size() {
                    true => LayerStatus::Downloading { bytes: offset },
                    false => LayerStatus::Extracting,
                };
                self.0.layer(&id(layer), layer.size(), status);
            }
            PullEvent::LayerComplete(layer) => {
                self.0.layer(&id(layer), layer.size(), LayerStatus::PullComplete)
            }
        }
    }
}
