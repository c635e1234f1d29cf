use std::io::Write as _;
use std::path::PathBuf;

use super::Session;
use super::file::whole_file;
use crate::error::{Error, Result};

/// Export a container's filesystem as a tar archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Writes the archive. A file is complete or is not there.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let containers = session.engine()?.containers();
        let Some(path) = &self.output else {
            session.ui.refuse_terminal()?;
            let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
            containers.export(&self.container, &mut stdout)?;
            return stdout.flush().map_err(Error::Output);
        };
        whole_file(path, |file| Ok(containers.export(&self.container, file)?))
    }
}
