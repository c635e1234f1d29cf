use std::io::Write as _;

use engine::containers::CopyOptions;

use super::Session;
use crate::error::{Error, Result};
use crate::format::decimal_size_precise;

/// Copy files/folders between a container and the local filesystem
///
/// Use '-' as the source to read a tar archive from stdin and extract it to a directory destination in a container.
/// Use '-' as the destination to stream a tar archive of a container source to stdout.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    quiet: bool,
    #[arg(
        value_name = "CONTAINER:SRC_PATH|SRC_PATH|-",
        required = true,
        allow_hyphen_values = true
    )]
    source: String,
    #[arg(
        value_name = "CONTAINER:DEST_PATH|DEST_PATH|-",
        required = true,
        allow_hyphen_values = true
    )]
    target: String,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End<'a> {
    /// A path in a container.
    Container(&'a str, &'a str),
    /// A path of this machine.
    Host(&'a str),
    /// An archive on a standard stream.
    Stream,
}

impl<'a> End<'a> {
    /// `NAME:PATH` is a container's; what begins with a slash or a dot is not, whatever it holds.
    fn read(text: &'a str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            _ if text.starts_with(['/', '.']) => Self::Host(text),
            Some((container, path)) if !container.is_empty() => Self::Container(container, path),
            _ => Self::Host(text),
        }
    }
}

impl Args {
    /// Copies, and where somebody looks on says how much.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let options = CopyOptions { archive: self.archive, follow_link: self.follow_link };
        let containers = session.engine()?.containers();
        let bytes = match (End::read(&self.source), End::read(&self.target)) {
            (End::Container(name, from), End::Host(to)) => {
                containers.copy_to_host(name, given(from)?, &on_host(to)?, options)?
            }
            (End::Host(from), End::Container(name, to)) => {
                containers.copy_from_host(name, &on_host(from)?, given(to)?, options)?
            }
            (End::Container(name, from), End::Stream) => {
                session.ui.refuse_terminal()?;
                let mut stdout = std::io::BufWriter::new(std::io::stdout());
                containers.copy_out(name, given(from)?, options, &mut stdout)?;
                return stdout.flush().map_err(Error::Output);
            }
            (End::Stream, End::Container(name, to)) => {
                return Ok(containers.copy_in(name, given(to)?, options, &mut std::io::stdin())?);
            }
            (End::Container(..), End::Container(..)) => {
                return Err(Error::refused("copying between containers is not supported", ""));
            }
            _ => {
                return Err(Error::refused("must specify at least one container source", ""));
            }
        };
        if !self.quiet && session.ui.stdout_terminal {
            session.ui.note(format_args!(
                "Successfully copied {} to {}",
                decimal_size_precise(bytes),
                self.target
            ));
        }
        Ok(())
    }
}

fn given(path: &str) -> Result<&str> {
    match path {
        "" => Err(Error::refused("path cannot be empty", "write CONTAINER:/path")),
        path => Ok(path),
    }
}

/// Absolute, with what its end says.
fn on_host(text: &str) -> Result<String> {
    let fail = |source| Error::File { act: "find", path: text.to_owned(), source };
    let absolute = std::path::absolute(text).map_err(fail)?;
    let end = match text {
        "." => "/.",
        text if text.ends_with("/.") => "/.",
        text if text.ends_with('/') || text.ends_with("/..") || text == ".." => "/",
        _ => "",
    };
    Ok(format!("{}{end}", absolute.display().to_string().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-39
    #[test]
    fn a_colon_names_a_container_unless_the_text_is_a_path() {
        for (text, end) in [
            ("c1:/etc/passwd", End::Container("c1", "/etc/passwd")),
            ("c1:relative", End::Container("c1", "relative")),
            ("/tmp/a:b", End::Host("/tmp/a:b")),
            ("./a:b", End::Host("./a:b")),
            ("plain", End::Host("plain")),
            ("-", End::Stream),
        ] {
            assert_eq!(End::read(text), end, "{text}");
        }
        assert!(on_host("x/.").unwrap().ends_with("/x/."));
        assert!(on_host("x/").unwrap().ends_with("/x/"));
        assert!(on_host("x").unwrap().ends_with("/x"));
        assert_eq!(on_host("/").unwrap(), "/");
    }
}
