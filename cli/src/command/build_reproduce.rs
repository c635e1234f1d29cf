//! `build --reproduce`.

use engine::builds::{BuildImage, Reproduced, Reproduction};

use super::Session;
use super::build_progress::{Board, Watch};
use crate::error::{Error, Result};

/// The status of a build that is not reproducible.
const DIFFERS: u8 = 1;

/// Whether the build is only tried.
#[derive(Debug, clap::Args)]
pub(crate) struct ReproduceArgs {
    /// Build twice without the cache, in sandboxes that differ, and show which paths differ and why; name nothing
    #[arg(long, conflicts_with_all = ["tag", "push", "iidfile", "quiet"])]
    reproduce: bool,
}

impl ReproduceArgs {
    pub(crate) fn is_asked(&self) -> bool {
        self.reproduce
    }

    /// Builds twice, and says what differs; a status of its own where something does.
    pub(crate) fn run(
        &self,
        session: &Session,
        build: &BuildImage,
        board: Board,
        watch: &Watch,
    ) -> Result<()> {
        let found = session.engine()?.builds().reproduce(build, &board);
        board.finish();
        let found = found?;
        watch.forget();
        session.ui.print(&text(&found))?;
        if found.is_reproducible() { Ok(()) } else { Err(Error::Status(DIFFERS)) }
    }
}

fn text(found: &Reproduction) -> String {
    let several = found.images.len() > 1;
    found.images.iter().map(|image| one(image, several)).collect()
}

fn one(image: &Reproduced, several: bool) -> String {
    let mut text = if several { format!("{}: ", image.platform) } else { String::new() };
    let [first, second] = &image.digests;
    if first == second {
        text.push_str(&format!("reproducible: both builds give {first}\n"));
        if !image.steps.is_empty() {
            text.push_str("these steps differ, and nothing of it is in the image:\n");
        }
    } else {
        text.push_str(&format!("not reproducible: {first} and {second}\n"));
        if image.steps.is_empty() {
            text.push_str("every layer is the same: the configurations differ\n");
        }
    }
    for step in &image.steps {
        text.push_str(&step.to_string());
    }
    text
}
