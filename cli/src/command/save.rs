use std::io::Write as _;
use std::path::PathBuf;

use engine::store::SaveFormat;

use super::Session;
use super::file::whole_file;
use crate::error::{Error, Result};

/// Save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format of the archive ("docker-archive", "oci-archive"); Docker reads both
    #[arg(long, value_name = "string", default_value = "docker-archive")]
    format: Format,
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    #[arg(value_name = "IMAGE [IMAGE...]", required = true)]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    DockerArchive,
    OciArchive,
}

impl Args {
    /// Writes the archive. A file is complete or is not there.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let format = match self.format {
            Format::DockerArchive => SaveFormat::Docker,
            Format::OciArchive => SaveFormat::Oci,
        };
        let images = session.engine()?.images();
        let Some(path) = &self.output else {
            session.ui.refuse_terminal()?;
            let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
            images.save(&self.images, format, &mut stdout)?;
            return stdout.flush().map_err(Error::Output);
        };
        whole_file(path, |file| Ok(images.save(&self.images, format, file)?))
    }
}
