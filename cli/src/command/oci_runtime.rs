use super::Session;
use crate::error::{Error, Result};

/// Run bundles with runc's command line, as the runtime of docker, containerd and podman
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "[ARG...]", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Args {
    /// The runtime takes the line over before anything else looks at it, where its name comes first.
    pub(crate) fn run(self, _: &Session) -> Result<()> {
        Err(Error::refused(
            "oci-runtime takes no options of wherry before its name",
            format!("wherry oci-runtime {}", self.args.join(" ")),
        ))
    }
}
