//! The verbs: a file each, with the arguments (whose comments are the help) and what is done with them.

mod attach;
mod attest;
mod block_options;
mod boot;
mod build;
mod build_attest;
mod build_call;
mod build_context;
mod build_inputs;
mod build_output;
mod build_progress;
mod build_reproduce;
mod builder_du;
mod builder_prune;
mod builder_why;
mod commit;
mod completion;
mod container_options;
mod container_prune;
mod copy;
mod cp;
mod create;
mod diff;
mod digest;
mod doctor;
mod events;
mod exec;
mod export;
mod file;
mod group;
mod health_options;
mod history;
mod image_prune;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod list_filter;
mod load;
mod login;
mod logout;
mod logs;
mod manifest;
mod network;
mod network_options;
mod oci_runtime;
mod pause;
mod policy;
mod port;
mod ps;
mod ps_filter;
mod pull;
mod push;
mod referrers;
mod registry;
mod rename;
mod resource_options;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod sign;
mod start;
mod stats;
mod stop;
mod store;
mod sync;
mod system;
mod system_df;
mod tag;
mod tags;
mod top;
mod trust;
mod tuf;
mod unpause;
mod update;
mod verify;
mod version;
mod volume;
mod wait;

use std::cell::OnceCell;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use engine::runtime::Runtime;
use engine::{Config, Engine};

use crate::error::{Error, Result};
use crate::ui::Ui;

/// Help of `--format` where rows are listed.
pub(crate) const FORMAT_HELP: &str = "Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template";

/// Help of `--format` where one object is shown.
pub(crate) const FORMAT_OBJECT_HELP: &str = "Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template";

/// Build, ship, sign, verify and run container images without a daemon
#[derive(Debug, Parser)]
#[command(name = "wherry", bin_name = "wherry")]
pub(crate) struct Cli {
    /// Location of client config files (default "~/.docker")
    #[arg(long, value_name = "string")]
    config: Option<PathBuf>,
    /// Enable debug mode
    #[arg(short = 'D', long)]
    debug: bool,
    /// Set the logging level ("debug", "info", "warn", "error")
    #[arg(short = 'l', long, value_name = "string", default_value = "warn")]
    log_level: LogLevel,
    /// Folder of images and containers (default "/var/lib/wherry")
    #[arg(long, value_name = "string")]
    root: Option<PathBuf>,
    /// Folder of what a reboot may clear (default "/run/wherry")
    #[arg(long, value_name = "string")]
    run_root: Option<PathBuf>,
    /// Trust policy file (default "policy.toml" in the configuration folder)
    #[arg(long, value_name = "string")]
    policy: Option<PathBuf>,
    /// Print version information and quit
    #[arg(short = 'v', long)]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// `--log-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    #[value(alias = "panic")]
    Fatal,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Attach(attach::Args),
    Attest(attest::Args),
    Boot(boot::Args),
    Build(Box<build::Args>),
    Builder(group::BuilderArgs),
    Buildx(group::BuildxArgs),
    Commit(commit::Args),
    Completion(completion::Args),
    Container(group::ContainerArgs),
    Copy(copy::Args),
    Cp(cp::Args),
    Create(create::Args),
    Diff(diff::Args),
    Digest(digest::Args),
    Doctor(doctor::Args),
    Events(events::Args),
    Exec(exec::Args),
    Export(export::Args),
    /// Show help for a command
    #[command(hide = true)]
    Help,
    History(history::Args),
    Image(group::ImageArgs),
    Images(images::Args),
    Import(import::Args),
    Info(info::Args),
    Inspect(inspect::Args),
    Kill(kill::Args),
    Load(load::Args),
    Login(login::Args),
    Logout(logout::Args),
    Logs(logs::Args),
    Manifest(manifest::Args),
    Network(network::Args),
    OciRuntime(oci_runtime::Args),
    Pause(pause::Args),
    Port(port::Args),
    Policy(policy::Args),
    Ps(ps::Args),
    Pull(pull::Args),
    Push(push::Args),
    Referrers(referrers::Args),
    Registry(registry::Args),
    Rename(rename::Args),
    Restart(restart::Args),
    Rm(rm::Args),
    Rmi(rmi::Args),
    Run(run::Args),
    Save(save::Args),
    Sign(sign::Args),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Store(store::Args),
    Sync(Box<sync::Args>),
    System(system::Args),
    Tag(tag::Args),
    Tags(tags::Args),
    Top(top::Args),
    Trust(trust::Args),
    Tuf(tuf::Args),
    Unpause(unpause::Args),
    Update(update::Args),
    Verify(verify::Args),
    Version(version::Args),
    Volume(volume::Args),
    Wait(wait::Args),
}

/// What every verb has at hand. The engine is opened on first use: `version` needs none.
pub(crate) struct Session {
    /// Where output goes.
    pub(crate) ui: Ui,
    /// Where the engine's things are.
    pub(crate) config: Config,
    engine: OnceCell<Engine>,
}

impl Session {
    /// The engine.
    pub(crate) fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = Engine::open_with(self.config.clone(), &trust::Terminal)?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// The runtime, for what needs no image.
    pub(crate) fn runtime(&self) -> Result<Runtime> {
        Ok(self.engine()?.containers().runtime()?)
    }
}

impl Cli {
    /// The level of log lines on standard error.
    pub(crate) fn log_filter(&self) -> &'static str {
        match self.log_level {
            _ if self.debug => "debug",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error | LogLevel::Fatal => "error",
        }
    }

    /// Does what was asked.
    pub(crate) fn execute(self, ui: Ui) -> Result<()> {
        if self.version {
            return ui.line(version::line());
        }
        let Some(verb) = self.verb else {
            return Ok(());
        };
        let mut config = Config::from_environment();
        let anchored = engine::config::anchored;
        config.root = self.root.map_or(config.root, anchored);
        config.run_root = self.run_root.map_or(config.run_root, anchored);
        config.docker_config = self.config.map_or(config.docker_config, anchored);
        config.policy = self.policy.map(anchored).or(config.policy);
        let session = Session { ui, config, engine: OnceCell::new() };
        verb.run(&session)
    }
}

impl Verb {
    fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Attach(args) => args.run(session),
            Self::Attest(args) => args.run(session),
            Self::Boot(args) => args.run(session),
            Self::Build(args) => args.run(session),
            Self::Builder(args) => args.run(session),
            Self::Buildx(args) => args.run(session),
            Self::Commit(args) => args.run(session),
            Self::Completion(args) => args.run(session),
            Self::Container(args) => args.run(session),
            Self::Copy(args) => args.run(session),
            Self::Cp(args) => args.run(session),
            Self::Create(args) => args.run(session),
            Self::Diff(args) => args.run(session),
            Self::Digest(args) => args.run(session),
            Self::Doctor(args) => args.run(session),
            Self::Events(args) => args.run(session),
            Self::Exec(args) => args.run(session),
            Self::Export(args) => args.run(session),
            Self::Help => Ok(()),
            Self::History(args) => args.run(session),
            Self::Image(args) => args.run(session),
            Self::Images(args) => args.run(session),
            Self::Import(args) => args.run(session),
            Self::Info(args) => args.run(session),
            Self::Inspect(args) => args.run(session),
            Self::Kill(args) => args.run(session),
            Self::Load(args) => args.run(session),
            Self::Login(args) => args.run(session),
            Self::Logout(args) => args.run(session),
            Self::Logs(args) => args.run(session),
            Self::Manifest(args) => args.run(session),
            Self::OciRuntime(args) => args.run(session),
            Self::Network(args) => args.run(session),
            Self::Pause(args) => args.run(session),
            Self::Port(args) => args.run(session),
            Self::Policy(args) => args.run(session),
            Self::Ps(args) => args.run(session),
            Self::Pull(args) => args.run(session),
            Self::Push(args) => args.run(session),
            Self::Referrers(args) => args.run(session),
            Self::Registry(args) => args.run(session),
            Self::Rename(args) => args.run(session),
            Self::Restart(args) => args.run(session),
            Self::Rm(args) => args.run(session),
            Self::Rmi(args) => args.run(session),
            Self::Run(args) => args.run(session),
            Self::Save(args) => args.run(session),
            Self::Sign(args) => args.run(session),
            Self::Start(args) => args.run(session),
            Self::Stats(args) => args.run(session),
            Self::Stop(args) => args.run(session),
            Self::Store(args) => args.run(session),
            Self::Sync(args) => args.run(session),
            Self::System(args) => args.run(session),
            Self::Tag(args) => args.run(session),
            Self::Tags(args) => args.run(session),
            Self::Top(args) => args.run(session),
            Self::Trust(args) => args.run(session),
            Self::Tuf(args) => args.run(session),
            Self::Unpause(args) => args.run(session),
            Self::Update(args) => args.run(session),
            Self::Verify(args) => args.run(session),
            Self::Version(args) => args.run(session),
            Self::Volume(args) => args.run(session),
            Self::Wait(args) => args.run(session),
        }
    }
}

/// Does `act` to every object, goes on after a failure, and fails with all failures in the end.
pub(crate) fn for_each(objects: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut errors: Vec<Error> = objects.iter().filter_map(|object| act(object).err()).collect();
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Several(errors)),
    }
}
