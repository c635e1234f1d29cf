use super::Session;
use crate::error::Result;

/// Log out from a registry
///
/// Defaults to Docker Hub if no server is specified.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "[SERVER]")]
    server: Option<String>,
}

impl Args {
    /// Forgets the credentials.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let shown = self.server.as_deref().unwrap_or("https://index.docker.io/v1/");
        let server = self.server.as_deref().unwrap_or(super::login::DEFAULT_SERVER);
        let removed = session.engine()?.registries().logout(server)?;
        session.ui.line(match removed {
            true => format!("Removing login credentials for {shown}"),
            false => format!("Not logged in to {shown}"),
        })
    }
}
