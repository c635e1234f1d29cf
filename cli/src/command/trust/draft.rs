//! `trust draft`: a role's next version on its way from one signer to the next.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use engine::oci::Reference;
use engine::trust_types::tuf::{Draft, Progress, RoleName};

use super::repository;
use super::with::WithArgs;
use crate::command::{Session, inspect::pretty};
use crate::error::{Error, Result};

/// Carry a new version of a role from signer to signer, as a file
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(CreateArgs),
    Merge(MergeArgs),
    Publish(PublishArgs),
    Show(ShowArgs),
    Sign(SignArgs),
}

/// Write the next version of a role, with the content that it has, to a file
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Write to this file
    #[arg(short, long, value_name = "file", required = true)]
    output: PathBuf,
    #[command(flatten)]
    with: WithArgs,
    #[arg(value_name = "ROLE", required = true)]
    role: RoleName,
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Reference,
}

/// Take the signatures of other copies of a draft over
#[derive(Debug, clap::Args)]
struct MergeArgs {
    #[arg(value_name = "DRAFT", required = true)]
    draft: PathBuf,
    #[arg(value_name = "COPY [COPY...]", required = true)]
    copies: Vec<PathBuf>,
}

/// Publish a draft that enough people have signed
#[derive(Debug, clap::Args)]
struct PublishArgs {
    #[command(flatten)]
    with: WithArgs,
    #[arg(value_name = "DRAFT", required = true)]
    draft: PathBuf,
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Reference,
}

/// Show what a draft says and who has signed it
#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[arg(value_name = "DRAFT", required = true)]
    draft: PathBuf,
}

/// Sign a draft with those of your keys that it asks for
#[derive(Debug, clap::Args)]
struct SignArgs {
    #[command(flatten)]
    with: WithArgs,
    #[arg(value_name = "DRAFT", required = true)]
    draft: PathBuf,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Create(args) => args.run(session),
            Verb::Merge(args) => args.run(session),
            Verb::Publish(args) => args.run(session),
            Verb::Show(args) => args.run(session),
            Verb::Sign(args) => args.run(session),
        }
    }
}

impl CreateArgs {
    fn run(self, session: &Session) -> Result<()> {
        let signing = self.with.signing(session)?;
        let draft = signing.draft(repository(&self.repository)?, &self.role)?;
        write(session, &draft, &self.output)
    }
}

impl MergeArgs {
    fn run(self, session: &Session) -> Result<()> {
        let mut draft = read(&self.draft)?;
        for copy in &self.copies {
            draft.merge(&read(copy)?).map_err(engine::Error::from)?;
        }
        write(session, &draft, &self.draft)
    }
}

impl PublishArgs {
    fn run(self, session: &Session) -> Result<()> {
        let draft = read(&self.draft)?;
        self.with.signing(session)?.publish_draft(repository(&self.repository)?, &draft)?;
        session.ui.line(format_args!(
            "Successfully published {} of {}",
            draft.role(),
            self.repository.familiar_repository()
        ))
    }
}

impl ShowArgs {
    fn run(self, session: &Session) -> Result<()> {
        let draft = read(&self.draft)?;
        session.ui.line(format_args!("{} of {}", draft.role(), draft.repository()))?;
        session.ui.print(&progress(&draft))?;
        session.ui.line(pretty(&draft.content()))
    }
}

impl SignArgs {
    fn run(self, session: &Session) -> Result<()> {
        let mut draft = read(&self.draft)?;
        let signed = self.with.signing(session)?.sign_draft(&mut draft)?;
        if signed.is_empty() {
            return Err(Error::refused(
                format!(
                    "trust draft sign {}: it asks for no key that is here and has not signed",
                    self.draft.display()
                ),
                "`wherry trust draft show` lists the keys; --signer and --phrase add some",
            ));
        }
        write(session, &draft, &self.draft)
    }
}

/// Writes a draft and says how far it is.
pub(super) fn write(session: &Session, draft: &Draft, file: &Path) -> Result<()> {
    let fail = |source| Error::File { act: "write", path: file.display().to_string(), source };
    std::fs::write(file, draft.to_bytes().map_err(engine::Error::from)?).map_err(fail)?;
    session.ui.line(format_args!("Draft of {} written to {}", draft.role(), file.display()))?;
    session.ui.print(&progress(draft))
}

fn read(file: &Path) -> Result<Draft> {
    let fail = |source| Error::File { act: "read", path: file.display().to_string(), source };
    let bytes = engine::files::read(file).map_err(fail)?;
    Ok(Draft::parse(&bytes).map_err(engine::Error::from)?)
}

fn progress(draft: &Draft) -> String {
    draft.progress().iter().map(line).collect()
}

fn line(group: &Progress) -> String {
    let short = |ids: &[engine::trust_types::key::KeyId]| {
        ids.iter().map(|id| id.short(12).to_owned()).collect::<Vec<_>>().join(", ")
    };
    let signed = group.signed.len() as u64;
    if signed >= group.needed {
        return format!("  {}: complete, {signed} of {} keys\n", group.by, group.needed);
    }
    let (by, needed, open) = (&group.by, group.needed, short(&group.open));
    format!("  {by}: {signed} of {needed} keys; open: {open}\n")
}
