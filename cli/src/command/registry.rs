use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;
use engine::registry::{Config, Mode};

use super::Session;
use crate::error::Result;

/// Run a registry
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(ServeArgs),
}

/// Serve the distribution protocol over a folder
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Address to listen on; port 0 takes a free one (default "127.0.0.1:5000")
    #[arg(long, value_name = "string")]
    addr: Option<SocketAddr>,
    /// Configuration file (TOML): TLS, users and rights, limits, access log, cache of another registry; variables
    /// (WHERRY_REGISTRY_ and a key) win over it, and the other flags over both
    #[arg(long, value_name = "string")]
    config: Option<PathBuf>,
    /// Refuse every change
    #[arg(long)]
    read_only: bool,
    /// Folder of the registry (default "registry" in Wherry's own folder)
    #[arg(long, value_name = "string")]
    root: Option<PathBuf>,
}

impl Args {
    /// Serves until a signal.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Serve(args) => args.run(session),
        }
    }
}

impl ServeArgs {
    fn run(self, session: &Session) -> Result<()> {
        let config = self.config(session)?;
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let root = config.root.clone();
        let ui = session.ui;
        let ready = move |addr: SocketAddr| {
            ui.note(format_args!("registry of {} listening on {scheme}://{addr}", root.display()));
        };
        Ok(session.engine()?.registries().serve(config, ready)?)
    }

    fn config(self, session: &Session) -> Result<Config> {
        let variables = engine::config::registry_variables();
        let mut config =
            Config::load_with(self.config.as_deref(), &variables).map_err(engine::Error::from)?;
        let root = format!("{}ROOT", engine::registry::VARIABLE_PREFIX);
        if self.config.is_none() && variables.iter().all(|(name, _)| *name != root) {
            config.root = session.config.root.join("registry");
        }
        config.addr = self.addr.unwrap_or(config.addr);
        config.root = self.root.unwrap_or(config.root);
        if self.read_only {
            config.mode = Mode::ReadOnly;
        }
        Ok(config)
    }
}
