mod doctor;
mod draft;
mod migrate;
mod root;
mod terminal;
pub(crate) mod with;

use std::path::PathBuf;

use clap::Subcommand;
use engine::oci::{Reference, Repository};
use engine::trust_types::inspect;
use engine::trust_types::key::{KeyName, KeyRole, SignerName};
use engine::trust_types::tuf::RoleName;

pub(crate) use terminal::Terminal;

use super::{Session, inspect::pretty, push};
use crate::error::{Error, Result};
use crate::ui::Verbosity;

/// Manage trust on images
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Doctor(doctor::Args),
    Draft(draft::Args),
    Init(root::InitArgs),
    Inspect(InspectArgs),
    Key(KeyArgs),
    Migrate(migrate::Args),
    Recover(root::RecoverArgs),
    Refresh(RefreshArgs),
    Revoke(RevokeArgs),
    Rotate(root::RotateArgs),
    Sign(SignArgs),
    Signer(SignerArgs),
}

/// Return low-level information about keys and signatures
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Print the information in a human friendly format
    #[arg(long)]
    pretty: bool,
    #[arg(value_name = "IMAGE[:TAG] [IMAGE[:TAG]...]", required = true)]
    images: Vec<String>,
}

/// Manage keys for signing images
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct KeyArgs {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Debug, Subcommand)]
enum KeyVerb {
    Generate(GenerateArgs),
    Load(LoadArgs),
}

/// Generate and load a signing key-pair
#[derive(Debug, clap::Args)]
struct GenerateArgs {
    /// Directory to generate key in, defaults to current directory
    #[arg(long, value_name = "string")]
    dir: Option<PathBuf>,
    #[arg(value_name = "NAME", required = true)]
    name: KeyName,
}

/// Load a private key file for signing
#[derive(Debug, clap::Args)]
struct LoadArgs {
    /// Name for the loaded key
    #[arg(long, value_name = "string", default_value = "signer")]
    name: KeyName,
    #[arg(value_name = "KEYFILE", required = true)]
    file: PathBuf,
}

/// Sign a repository's snapshot and timestamp anew, so that they do not expire
#[derive(Debug, clap::Args)]
struct RefreshArgs {
    /// Sign this role anew too: root, targets, targets/releases, targets/SIGNER
    #[arg(long, value_name = "list")]
    role: Vec<RoleName>,
    #[command(flatten)]
    with: with::WithArgs,
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Reference,
}

/// Remove trust for an image
#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// Do not prompt for confirmation
    #[arg(short, long)]
    yes: bool,
    #[arg(value_name = "IMAGE[:TAG]", required = true)]
    image: Reference,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TopRole {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

/// Sign an image
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// Sign a locally tagged image
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    with: with::WithArgs,
    #[arg(value_name = "IMAGE:TAG", required = true)]
    image: Reference,
}

/// Manage entities who can sign images
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct SignerArgs {
    #[command(subcommand)]
    verb: SignerVerb,
}

#[derive(Debug, Subcommand)]
enum SignerVerb {
    Add(SignerAddArgs),
    Remove(SignerRemoveArgs),
}

/// Add a signer
#[derive(Debug, clap::Args)]
struct SignerAddArgs {
    /// Path to the signer's public key file
    #[arg(long, value_name = "list", required = true)]
    key: Vec<PathBuf>,
    #[arg(value_name = "NAME", required = true)]
    name: SignerName,
    #[arg(value_name = "REPOSITORY [REPOSITORY...]", required = true)]
    repositories: Vec<Reference>,
}

/// Remove a signer
#[derive(Debug, clap::Args)]
struct SignerRemoveArgs {
    #[arg(value_name = "NAME", required = true)]
    name: SignerName,
    #[arg(value_name = "REPOSITORY [REPOSITORY...]", required = true)]
    repositories: Vec<Reference>,
}

impl Args {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Doctor(args) => args.run(session),
            Verb::Draft(args) => args.run(session),
            Verb::Init(args) => args.run(session),
            Verb::Inspect(args) => args.run(session),
            Verb::Key(KeyArgs { verb: KeyVerb::Generate(args) }) => args.run(session),
            Verb::Key(KeyArgs { verb: KeyVerb::Load(args) }) => args.run(session),
            Verb::Migrate(args) => args.run(session),
            Verb::Recover(args) => args.run(session),
            Verb::Refresh(args) => args.run(session),
            Verb::Revoke(args) => args.run(session),
            Verb::Rotate(args) => args.run(session),
            Verb::Sign(args) => args.run(session),
            Verb::Signer(SignerArgs { verb: SignerVerb::Add(args) }) => args.run(session),
            Verb::Signer(SignerArgs { verb: SignerVerb::Remove(args) }) => args.run(session),
        }
    }
}

/// A verb about a whole repository takes no tag.
fn repository(reference: &Reference) -> Result<&Repository> {
    match (reference.tag(), reference.digest()) {
        (None, None) => Ok(reference.repository()),
        _ => Err(Error::refused(
            format!("{}: name a repository, without tag or digest", reference.familiar()),
            format!("leave the tag out: {}", reference.familiar_repository()),
        )),
    }
}

impl InspectArgs {
    fn run(self, session: &Session) -> Result<()> {
        let mut found = Vec::new();
        let outcome = super::for_each(&self.images, |name| {
            let reference: Reference = name.parse().map_err(engine::Error::from)?;
            let signing = session.engine()?.signing();
            let Some(repository) = signing.look(reference.repository())? else {
                return Err(Error::Refused {
                    message: format!("no signatures or cannot access {name}"),
                    hint: format!(
                        "`wherry trust init {}` makes trust data",
                        reference.familiar_repository()
                    ),
                    kind: engine::ErrorKind::NotFound,
                });
            };
            found.push(inspect(name, &repository, reference.tag()));
            Ok(())
        });
        if self.pretty {
            found.iter().try_for_each(|inspection| session.ui.print(&inspection.pretty()))?;
        } else {
            session.ui.line(pretty(&serde_json::json!(found)))?;
        }
        outcome
    }
}

impl GenerateArgs {
    fn run(self, session: &Session) -> Result<()> {
        session.ui.line(format_args!("Generating key for {}...", self.name))?;
        let folder = match self.dir {
            Some(dir) => dir,
            None => std::env::current_dir().map_err(|source| Error::File {
                act: "find",
                path: "the current folder".to_owned(),
                source,
            })?,
        };
        let file = folder.join(format!("{}.pub", self.name));
        session.engine()?.trust_keys().generate_signer(&self.name, &file)?;
        session.ui.line(format_args!(
            "Successfully generated and loaded private key. Corresponding public key available: {}",
            file.display()
        ))
    }
}

impl LoadArgs {
    fn run(self, session: &Session) -> Result<()> {
        session.ui.line(format_args!("Loading key from \"{}\"...", self.file.display()))?;
        session.engine()?.trust_keys().load_signer(&self.file, &self.name)?;
        session.ui.line(format_args!("Successfully imported key from {}", self.file.display()))
    }
}

impl RefreshArgs {
    fn run(self, session: &Session) -> Result<()> {
        let signing = self.with.signing(session)?;
        signing.refresh(repository(&self.repository)?, &self.role)?;
        session
            .ui
            .line(format_args!("Successfully refreshed {}", self.repository.familiar_repository()))
    }
}

impl RevokeArgs {
    fn run(self, session: &Session) -> Result<()> {
        let name = self.image.familiar();
        if self.image.digest().is_some() {
            return Err(Error::refused(
                format!("{name}: cannot use a digest reference for IMAGE:TAG"),
                "",
            ));
        }
        let question = format!("Confirm you would like to delete all signature data for {name}?");
        if self.image.tag().is_none() && !self.yes && !session.ui.confirm(&question)? {
            return session.ui.line("Aborting action.");
        }
        session.engine()?.signing().revoke(self.image.repository(), self.image.tag())?;
        session.ui.line(format_args!("Successfully deleted signature for {name}"))
    }
}

impl From<TopRole> for KeyRole {
    fn from(role: TopRole) -> Self {
        match role {
            TopRole::Root => Self::Root,
            TopRole::Targets => Self::Targets,
            TopRole::Snapshot => Self::Snapshot,
            TopRole::Timestamp => Self::Timestamp,
        }
    }
}

impl SignArgs {
    /// The same request with another verb's words.
    pub(crate) fn of(image: Reference, with: with::WithArgs) -> Self {
        Self { local: false, with, image }
    }

    /// Pushes the image where it is here, and signs its tag.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let name = self.image.familiar();
        if self.image.tag().is_none() {
            return Err(Error::refused(
                format!("no tag specified for {name}"),
                "name the tag: signatures are of tags",
            ));
        }
        let engine = session.engine()?;
        let here = engine.images().open(&name, None).is_ok();
        if self.local && !here {
            return Err(engine::Error::NoSuchImage { name }.into());
        }
        let signing = self.with.signing(session)?;
        // A passphrase that is wrong is noticed before anything is pushed.
        signing.ready(self.image.repository())?;
        if here {
            session.ui.line(format_args!(
                "Signing and pushing trust data for local image {name}, may overwrite remote trust data"
            ))?;
            let pushed = push::one(session, &self.image, None, Verbosity::Normal)?;
            session.ui.line("Signing and pushing trust metadata")?;
            // What was pushed is signed, whatever the tag means by now.
            return report_signed(session, &signing.sign_content(&self.image, pushed)?);
        }
        report_signed(session, &signing.sign(&self.image)?)
    }
}

impl SignerAddArgs {
    fn run(self, session: &Session) -> Result<()> {
        let engine = session.engine()?;
        let mut keys = Vec::new();
        for file in &self.key {
            keys.push(engine.trust_keys().public_from_file(file)?);
        }
        let names: Vec<String> = self.repositories.iter().map(Reference::familiar).collect();
        super::for_each(&names, |name| {
            let reference: Reference = name.parse().map_err(engine::Error::from)?;
            session.ui.line(format_args!("Adding signer \"{}\" to {name}...", self.name))?;
            if engine.signing().add_signer(repository(&reference)?, &self.name, &keys)? {
                session.ui.line(format_args!("Successfully initialized \"{name}\""))?;
            }
            session.ui.line(format_args!("Successfully added signer: {} to {name}", self.name))
        })
    }
}

impl SignerRemoveArgs {
    fn run(self, session: &Session) -> Result<()> {
        let names: Vec<String> = self.repositories.iter().map(Reference::familiar).collect();
        super::for_each(&names, |name| {
            let reference: Reference = name.parse().map_err(engine::Error::from)?;
            session.ui.line(format_args!("Removing signer \"{}\" from {name}...", self.name))?;
            session.engine()?.signing().remove_signer(repository(&reference)?, &self.name)?;
            session.ui.line(format_args!("Successfully removed {} from {name}", self.name))
        })
    }
}

/// Says what was signed, as Docker does.
pub(crate) fn report_signed(session: &Session, signed: &engine::trust::Signed) -> Result<()> {
    if signed.initialised {
        session.ui.line(format_args!(
            "Successfully initialized \"{}\"",
            signed.reference.familiar_repository()
        ))?;
    }
    session.ui.line(format_args!("Successfully signed {}", signed.reference))
}
