use std::fs::File;
use std::io::Read;

use engine::images::{ImportRequest, change};
use engine::oci::{Platform, Reference};

use super::Session;
use crate::error::{Error, Result};

/// Import the contents from a tarball to create a filesystem image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<Platform>,
    #[arg(value_name = "file|-", required = true)]
    source: String,
    #[arg(value_name = "[REPOSITORY[:TAG]]")]
    reference: Option<Reference>,
}

impl Args {
    /// Imports and prints the image's id.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.source.starts_with("http://") || self.source.starts_with("https://") {
            return Err(Error::refused(
                "import of a URL is not supported yet",
                format!("fetch it first: curl -L {} | wherry import -", self.source),
            ));
        }
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let request = ImportRequest {
            created: engine::config::source_date_epoch()
                .map_err(|reason| Error::refused(reason, ""))?,
            config: change::config_of(&self.change, &platform)?,
            reference: self.reference.map(Reference::or_latest),
            // As Docker: where a file lies on this machine is nobody's business who gets the image.
            message: Some(self.message.unwrap_or_else(|| "Imported from -".to_owned())),
            platform: self.platform,
        };
        let imported = session.engine()?.images().import(open(&self.source)?, &request);
        session.ui.line(imported.map_err(|error| about(&self.source, error))?)
    }
}

/// An archive that cannot be used is called by what the user typed.
pub(crate) fn about(source: &str, error: engine::Error) -> Error {
    let name = if source == "-" { "standard input" } else { source };
    Error::Engine(match error {
        engine::Error::Store(engine::store::Error::Archive { reason, .. }) => {
            engine::store::Error::Archive { what: name.to_owned(), reason }.into()
        }
        other => other,
    })
}

/// A file, or standard input for `-`.
pub(crate) fn open(path: &str) -> Result<Box<dyn Read + Send>> {
    if path == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(source) => Err(Error::File { act: "open", path: path.to_owned(), source }),
    }
}
