//! `trust migrate dct`: from Docker Content Trust to trust data in the registry.

use std::path::PathBuf;

use clap::Subcommand;
use engine::oci::Reference;
use engine::trust::MigrationPlan;

use super::repository;
use crate::command::Session;
use crate::error::Result;

/// Take a repository over from another tool
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dct(DctArgs),
}

/// Take keys and signed digests over from Docker Content Trust
#[derive(Debug, clap::Args)]
struct DctArgs {
    /// Folder of Docker Content Trust (default "trust" in the client config folder)
    #[arg(long, value_name = "dir")]
    from: Option<PathBuf>,
    /// Name that Notary knows the repository by (default: its own)
    #[arg(long, value_name = "string")]
    gun: Option<String>,
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Reference,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let Verb::Dct(args) = self.verb;
        args.run(session)
    }
}

impl DctArgs {
    fn run(self, session: &Session) -> Result<()> {
        let from = self.from.unwrap_or_else(|| session.config.docker_config.join("trust"));
        let plan = MigrationPlan { from, gun: self.gun };
        let done = session.engine()?.signing().migrate(repository(&self.repository)?, &plan)?;
        for (role, id) in &done.keys {
            session.ui.line(format_args!("Imported {role} key {id}"))?;
        }
        for name in &done.signers_without_key {
            session.ui.note(format_args!(
                "signer {name} is left out, its key is not here: `wherry trust signer add --key {name}.pub {name} {}`",
                self.repository.familiar_repository()
            ));
        }
        for (tag, reason) in &done.left_out {
            session.ui.note(format_args!("{tag} is not signed: {reason}"));
        }
        for tag in &done.signed {
            session.ui.line(format_args!("Signed {tag}"))?;
        }
        session.ui.line(format_args!(
            "Successfully migrated {}: {} tags signed",
            self.repository.familiar_repository(),
            done.signed.len()
        ))
    }
}
