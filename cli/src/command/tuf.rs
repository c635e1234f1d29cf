use std::path::PathBuf;

use clap::Subcommand;
use engine::trust::TufClient;

use super::Session;
use crate::error::{Error, Result};

/// Read any TUF repository over HTTP with the rules of the gate
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    /// Folder of the trusted metadata
    #[arg(long, value_name = "DIR", required = true)]
    metadata_dir: PathBuf,
    /// URL below which the repository's metadata are
    #[arg(long, value_name = "URL")]
    metadata_url: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Download(DownloadArgs),
    Init(InitArgs),
    Refresh(RefreshArgs),
}

/// Begin to trust a repository from this root on
#[derive(Debug, clap::Args)]
struct InitArgs {
    #[arg(value_name = "TRUSTED_ROOT", required = true)]
    root: PathBuf,
}

/// Bring the metadata up to date
#[derive(Debug, clap::Args)]
struct RefreshArgs {}

/// Bring the metadata up to date and fetch a target
#[derive(Debug, clap::Args)]
struct DownloadArgs {
    /// The target's path in the metadata
    #[arg(long, value_name = "NAME", required = true)]
    target_name: String,
    /// URL below which the targets are
    #[arg(long, value_name = "URL", required = true)]
    target_base_url: String,
    /// Folder to put the target into
    #[arg(long, value_name = "DIR", required = true)]
    target_dir: PathBuf,
}

impl Args {
    /// Does what the verb does. The exit status is 0 or 1, as suites for TUF clients expect.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let client = TufClient::new(&self.metadata_dir);
        let url = self.metadata_url.as_deref();
        let done = match self.verb {
            Verb::Init(args) => client.init(&args.root).map_err(Error::from),
            Verb::Refresh(RefreshArgs {}) => needed(url).and_then(|url| Ok(client.refresh(url)?)),
            Verb::Download(args) => needed(url).and_then(|url| {
                let (name, base) = (&args.target_name, &args.target_base_url);
                let path = client.download(url, name, base, &args.target_dir)?;
                session.ui.line(path.display())
            }),
        };
        done.map_err(|error| match error {
            error if error.status() == 1 => error,
            error => {
                let _ = crate::error::report(&error);
                Error::Status(1)
            }
        })
    }
}

fn needed(url: Option<&str>) -> Result<&str> {
    url.ok_or_else(|| {
        Error::refused(
            "tuf: --metadata-url is missing",
            "name the URL below which the metadata are",
        )
    })
}
