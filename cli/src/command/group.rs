//! Management commands: the same verbs under a noun.

use clap::{Args, Subcommand};

use super::{
    Session, attach, build, builder_du, builder_prune, builder_why, commit, container_prune, cp,
    create, diff, exec, export, history, image_prune, images, import, inspect, kill, load, logs,
    pause, port, ps, pull, push, rename, restart, rm, rmi, run, save, start, stats, stop, tag, top,
    unpause, update, version, wait,
};
use crate::error::Result;

/// Manage images
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    verb: ImageVerb,
}

#[derive(Debug, Subcommand)]
enum ImageVerb {
    Build(Box<build::Args>),
    History(history::Args),
    Import(import::Args),
    Inspect(inspect::ImageArgs),
    Load(load::Args),
    #[command(alias = "list")]
    Ls(images::Args),
    Prune(image_prune::Args),
    Pull(pull::Args),
    Push(push::Args),
    #[command(alias = "remove")]
    Rm(rmi::Args),
    Save(save::Args),
    Tag(tag::Args),
}

impl ImageArgs {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            ImageVerb::Build(args) => args.run(session),
            ImageVerb::History(args) => args.run(session),
            ImageVerb::Import(args) => args.run(session),
            ImageVerb::Inspect(args) => args.run(session),
            ImageVerb::Load(args) => args.run(session),
            ImageVerb::Ls(args) => args.run(session),
            ImageVerb::Prune(args) => args.run(session),
            ImageVerb::Pull(args) => args.run(session),
            ImageVerb::Push(args) => args.run(session),
            ImageVerb::Rm(args) => args.run(session),
            ImageVerb::Save(args) => args.run(session),
            ImageVerb::Tag(args) => args.run(session),
        }
    }
}

/// Manage containers
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct ContainerArgs {
    #[command(subcommand)]
    verb: ContainerVerb,
}

#[derive(Debug, Subcommand)]
enum ContainerVerb {
    Attach(attach::Args),
    Commit(commit::Args),
    Cp(cp::Args),
    Create(create::Args),
    Diff(diff::Args),
    Exec(exec::Args),
    Export(export::Args),
    Inspect(inspect::ContainerArgs),
    Kill(kill::Args),
    Logs(logs::Args),
    #[command(aliases = ["list", "ps"])]
    Ls(ps::Args),
    Pause(pause::Args),
    Port(port::Args),
    Prune(container_prune::Args),
    Rename(rename::Args),
    Restart(restart::Args),
    #[command(alias = "remove")]
    Rm(rm::Args),
    Run(run::Args),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Top(top::Args),
    Unpause(unpause::Args),
    Update(update::Args),
    Wait(wait::Args),
}

impl ContainerArgs {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            ContainerVerb::Attach(args) => args.run(session),
            ContainerVerb::Commit(args) => args.run(session),
            ContainerVerb::Cp(args) => args.run(session),
            ContainerVerb::Create(args) => args.run(session),
            ContainerVerb::Diff(args) => args.run(session),
            ContainerVerb::Exec(args) => args.run(session),
            ContainerVerb::Export(args) => args.run(session),
            ContainerVerb::Inspect(args) => args.run(session),
            ContainerVerb::Kill(args) => args.run(session),
            ContainerVerb::Logs(args) => args.run(session),
            ContainerVerb::Ls(args) => args.run(session),
            ContainerVerb::Pause(args) => args.run(session),
            ContainerVerb::Port(args) => args.run(session),
            ContainerVerb::Prune(args) => args.run(session),
            ContainerVerb::Rename(args) => args.run(session),
            ContainerVerb::Restart(args) => args.run(session),
            ContainerVerb::Rm(args) => args.run(session),
            ContainerVerb::Run(args) => args.run(session),
            ContainerVerb::Start(args) => args.run(session),
            ContainerVerb::Stats(args) => args.run(session),
            ContainerVerb::Stop(args) => args.run(session),
            ContainerVerb::Top(args) => args.run(session),
            ContainerVerb::Unpause(args) => args.run(session),
            ContainerVerb::Update(args) => args.run(session),
            ContainerVerb::Wait(args) => args.run(session),
        }
    }
}

/// Manage builds
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct BuilderArgs {
    #[command(subcommand)]
    verb: BuilderVerb,
}

#[derive(Debug, Subcommand)]
enum BuilderVerb {
    Build(Box<build::Args>),
    Du(builder_du::Args),
    Prune(builder_prune::Args),
    Why(Box<builder_why::Args>),
}

impl BuilderArgs {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            BuilderVerb::Build(args) => args.run(session),
            BuilderVerb::Du(args) => args.run(session),
            BuilderVerb::Prune(args) => args.run(session),
            BuilderVerb::Why(args) => args.run(session),
        }
    }
}

/// Build images, under the name of Docker's plugin
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct BuildxArgs {
    #[command(subcommand)]
    verb: BuildxVerb,
}

#[derive(Debug, Subcommand)]
enum BuildxVerb {
    Build(Box<build::Args>),
    Du(builder_du::Args),
    Prune(builder_prune::Args),
    Version(version::BuildxArgs),
}

impl BuildxArgs {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            BuildxVerb::Build(args) => args.run(session),
            BuildxVerb::Du(args) => args.run(session),
            BuildxVerb::Prune(args) => args.run(session),
            BuildxVerb::Version(args) => args.run(session),
        }
    }
}
