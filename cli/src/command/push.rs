use std::sync::Arc;

use engine::images::{Filters, LayerPush, PushEvent, PushProgress, PushRequest};
use engine::oci::{Descriptor, Platform, Reference};

use super::{Session, trust};
use crate::error::{Error, Result};
use crate::ui::{LayerBoard, LayerStatus, Stream, Verbosity};

/// Upload an image to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Push a platform-specific manifest as a single-platform image to the registry.
    /// The image index won't be pushed, meaning that other manifests, including attestations, won't be preserved
    #[arg(long, value_name = "string")]
    platform: Option<Platform>,
    /// Skip image signing
    #[arg(long)]
    disable_content_trust: bool,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG]", required = true)]
    name: Reference,
}

impl Args {
    /// Pushes one tag, or all of them.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.all_tags && self.name.tag().is_some() {
            return Err(Error::refused("tag can't be used with --all-tags/-a", ""));
        }
        if self.name.tag().is_none()
            && self.name.digest().is_none()
            && !self.all_tags
            && !self.quiet
        {
            session.ui.line("Using default tag: latest")?;
        }
        if !self.quiet {
            session
                .ui
                .line(format_args!("The push refers to repository [{}]", self.name.repository()))?;
        }
        let names = match self.all_tags {
            true => tags_here(session, &self.name)?,
            false => vec![self.name.clone().or_latest()],
        };
        let verbosity = if self.quiet { Verbosity::Quiet } else { Verbosity::Normal };
        if engine::trust::content_trust_asked() && !self.disable_content_trust {
            return self.push_signed(session, &names, verbosity);
        }
        for name in &names {
            tag(session, name, self.platform.clone(), verbosity)?;
        }
        Ok(())
    }

    /// With `DOCKER_CONTENT_TRUST` every tag that is pushed is signed. Keys are unlocked first.
    fn push_signed(
        &self,
        session: &Session,
        names: &[Reference],
        verbosity: Verbosity,
    ) -> Result<()> {
        let signing = session.engine()?.signing();
        signing.ready(self.name.repository())?;
        for name in names {
            let pushed = tag(session, name, self.platform.clone(), verbosity)?;
            if name.tag().is_none() {
                continue;
            }
            if verbosity == Verbosity::Normal {
                session.ui.line("Signing and pushing trust metadata")?;
            }
            let signed = signing.sign_content(name, pushed)?;
            if verbosity == Verbosity::Normal {
                trust::report_signed(session, &signed)?;
            }
        }
        Ok(())
    }
}

/// The tags that the store has of a repository.
fn tags_here(session: &Session, name: &Reference) -> Result<Vec<Reference>> {
    let rows = session.engine()?.images().list(&Filters::default())?;
    let references = rows.into_iter().filter_map(|row| row.reference);
    let names: Vec<Reference> = references
        .filter(|found| found.repository() == name.repository() && found.tag().is_some())
        .collect();
    match names.is_empty() {
        true => Err(engine::Error::NoSuchImage { name: name.familiar() }.into()),
        false => Ok(names),
    }
}

/// Pushes one name, with the line that says where to.
pub(crate) fn one(
    session: &Session,
    reference: &Reference,
    platform: Option<Platform>,
    verbosity: Verbosity,
) -> Result<Descriptor> {
    if verbosity == Verbosity::Normal {
        session
            .ui
            .line(format_args!("The push refers to repository [{}]", reference.repository()))?;
    }
    tag(session, reference, platform, verbosity)
}

fn tag(
    session: &Session,
    reference: &Reference,
    platform: Option<Platform>,
    verbosity: Verbosity,
) -> Result<Descriptor> {
    let request = PushRequest { reference: reference.clone(), platform };
    let board = Arc::new(Board(LayerBoard::new(session.ui, verbosity, Stream::Stdout)));
    let progress: Arc<dyn PushProgress> = Arc::clone(&board) as Arc<dyn PushProgress>;
    let pushed = session.engine()?.images().push(&request, &progress)?;
    board.0.settle();
    for platform in &pushed.left_out {
        session.ui.note(format_args!("not pushed, since it is not here: {platform}"));
    }
    if verbosity == Verbosity::Quiet {
        session.ui.line(&pushed.reference)?;
        return Ok(pushed.target);
    }
    let name = match (pushed.reference.tag(), pushed.reference.digest()) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => "latest".to_owned(),
    };
    let target = pushed.target;
    session.ui.line(format_args!("{name}: digest: {} size: {}", target.digest(), target.size()))?;
    Ok(target)
}

struct Board(LayerBoard);

impl PushProgress for Board {
    fn event(&self, event: PushEvent<'_>) {
        match event {
            // Docker lists the topmost layer first.
            PushEvent::Layers { diff_ids } => {
                for diff_id in diff_ids.iter().rev() {
                    self.0.layer(diff_id.short(), 0, LayerStatus::Preparing);
                }
            }
            PushEvent::LayerProgress { diff_id, offset, size } => {
                self.0.layer(diff_id.short(), size, LayerStatus::Pushing { bytes: offset });
            }
            PushEvent::LayerDone { diff_id, how } => {
                let status = match how {
                    LayerPush::AlreadyExists => LayerStatus::LayerAlreadyExists,
                    LayerPush::Mounted(from) => LayerStatus::MountedFrom(from),
                    LayerPush::Pushed => LayerStatus::Pushed,
                };
                self.0.layer(diff_id.short(), 0, status);
            }
        }
    }
}
