use std::collections::BTreeMap;
use std::path::PathBuf;

use engine::builder::frontend::Network;
use engine::builder::lower::NoCache;
use engine::builder::ports::Credentials;
use engine::builder::{BuildRequest, BuildResult, Cancel};
use engine::builds::context::{ContextOptions, OpenContext};
use engine::builds::{BuildImage, CacheTo, Naming, PullBases};
use engine::oci::{Platform, Reference};
use engine::store::Lease;

use super::build_call::CallArgs;
use super::build_context::{NamedContexts, Source};
use super::build_inputs::{limits_of, secret, ssh_agent};
use super::build_output::{OutputArgs, write_metadata};
use super::build_progress::{Board, Watch, stop_on_signal};
use super::{Session, push};
use crate::error::{Error, Result};
use crate::ui::{ProgressMode, Verbosity};

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Add a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "list")]
    add_host: Vec<String>,
    /// Allow extra privileged entitlement ("security.insecure")
    #[arg(long, value_name = "list", value_parser = ["security.insecure", "network.host"])]
    allow: Vec<String>,
    /// Add annotation to the image
    #[arg(long, value_name = "list")]
    annotation: Vec<String>,
    #[command(flatten)]
    attest: super::build_attest::AttestArgs,
    /// Set build-time variables
    #[arg(long, value_name = "list")]
    build_arg: Vec<String>,
    #[command(flatten)]
    call: CallArgs,
    /// Additional build contexts (e.g., name=path)
    #[arg(long, value_name = "list")]
    build_context: Vec<String>,
    /// Name of the Dockerfile (Default is "PATH/Dockerfile")
    #[arg(short, long, value_name = "string")]
    file: Option<PathBuf>,
    /// Write the image ID to the file
    #[arg(long, value_name = "string")]
    iidfile: Option<PathBuf>,
    /// Set metadata for an image
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    #[command(flatten)]
    limits: super::build_inputs::LimitArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Set the networking mode for the RUN instructions during build
    #[arg(long, value_name = "string", default_value = "default")]
    network: NetworkChoice,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Do not cache specified stages
    #[arg(long, value_name = "list", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Set target platforms for build
    #[arg(long, value_name = "list", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Set type of progress output ("auto", "plain", "tty", "quiet", "rawjson")
    #[arg(long, value_name = "string", default_value = "auto")]
    progress: ProgressMode,
    /// Always attempt to pull all referenced images
    #[arg(long)]
    pull: bool,
    /// Push the image to its registry once it is built
    #[arg(long)]
    push: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    reproduce: super::build_reproduce::ReproduceArgs,
    /// Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")
    #[arg(long, value_name = "list")]
    secret: Vec<String>,
    /// Squash all layers into a single new layer
    #[arg(long)]
    squash: bool,
    /// SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>]")
    #[arg(long, value_name = "list")]
    ssh: Vec<String>,
    /// Name and optionally a tag in the "name:tag" format
    #[arg(short, long, value_name = "list")]
    tag: Vec<Reference>,
    /// Set the target build stage to build
    #[arg(long, value_name = "string")]
    target: Option<String>,
    #[arg(value_name = "PATH | URL | -", required = true)]
    context: String,
}

/// `--network`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum NetworkChoice {
    Default,
    Host,
    None,
}

/// The argument that keeps `.git` in a context that is a repository.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// What came of a build, held until everything is done with it.
struct Built {
    result: BuildResult,
    pushed: Vec<Reference>,
    cache_to: Vec<CacheTo>,
    takes_stdout: bool,
    _lease: Lease,
}

/// A build, and what has to stay on this disk while it goes on.
pub(crate) struct Prepared {
    pub(crate) build: BuildImage,
    _opened: Vec<OpenContext>,
}

impl Args {
    /// Builds, names, and pushes where that was asked for.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.push && self.tag.is_empty() {
            return Err(Error::refused(
                "tag is needed when pushing to registry",
                "name the image: -t NAME:TAG",
            ));
        }
        let cancel = Cancel::default();
        let watch = stop_on_signal(&cancel)?;
        let done = self.ask_or_build(session, &cancel, &watch);
        match (done, watch.status()) {
            (
                Err(Error::Engine(engine::Error::Build(engine::builder::Error::Cancelled))),
                Some(status),
            ) => {
                session.ui.note("ERROR: failed to solve: the build was cancelled");
                Err(Error::Status(status))
            }
            (done, _) => done,
        }
    }

    fn ask_or_build(&self, session: &Session, cancel: &Cancel, watch: &Watch) -> Result<()> {
        let call = self.call.method()?;
        // Whoever waits for somebody to type can be ended at any time.
        if self.context == "-" {
            watch.forget();
        }
        let prepared = self.prepare(session, cancel)?;
        watch.resume();
        let build = &prepared.build;
        if let Some(call) = call {
            return call.run(session, build);
        }
        if self.reproduce.is_asked() {
            let board = Board::new(self.mode(session));
            return self.reproduce.run(session, build, board, watch);
        }
        let built = self.build(session, build)?;
        watch.forget();
        if !self.quiet {
            session.ui.note_lines(&built.result.checks.summary(&build.request.dockerfile));
        }
        let id = image_id(&built.result);
        if let Some(path) = &self.iidfile {
            std::fs::write(path, &id).map_err(|source| Error::File {
                act: "write image ID to",
                path: path.display().to_string(),
                source,
            })?;
        }
        if self.quiet && !built.takes_stdout {
            session.ui.line(&id)?;
        }
        for name in &built.pushed {
            let verbosity = if self.quiet { Verbosity::Quiet } else { Verbosity::Normal };
            push::one(session, name, None, verbosity)?;
        }
        // Last: whoever waits for the image does not wait for the cache.
        if !built.cache_to.is_empty() {
            let board = Board::new(self.mode(session));
            let written =
                session.engine()?.builds().write_caches(&built.result, &built.cache_to, &board);
            board.finish();
            written?;
        }
        Ok(())
    }

    /// Builds in every form that is asked for, and writes the outputs.
    fn build(&self, session: &Session, build: &BuildImage) -> Result<Built> {
        let outputs = self.output.read(&build.tags, &self.annotation)?;
        let builds = session.engine()?.builds();
        let lease = builds.hold()?;
        let mut pushed = if self.push { build.tags.clone() } else { Vec::new() };
        let mut first = None;
        for (number, build) in outputs.builds(build).iter().enumerate() {
            let mode = if number == 0 { self.mode(session) } else { ProgressMode::Quiet };
            let board = Board::new(mode);
            let result = builds.build_held(build, &board, &lease);
            board.finish();
            let result = result?;
            for name in outputs.write(session, number, build, (&result, &lease))? {
                if !pushed.contains(&name) {
                    pushed.push(name);
                }
            }
            first.get_or_insert((build.clone(), result));
        }
        let Some((build, result)) = first else {
            return Err(Error::refused("nothing to build for", ""));
        };
        if let Some(path) = &self.output.metadata_file {
            write_metadata(path, &build, &result)?;
        }
        let cache_to = outputs.cache_to().to_vec();
        Ok(Built { result, pushed, cache_to, takes_stdout: outputs.takes_stdout(), _lease: lease })
    }

    fn mode(&self, session: &Session) -> ProgressMode {
        match self.progress {
            _ if self.quiet => ProgressMode::Quiet,
            ProgressMode::Auto if session.ui.stderr_terminal => ProgressMode::Tty,
            ProgressMode::Auto => ProgressMode::Plain,
            mode => mode,
        }
    }

    /// What is to be built, as the builder takes it.
    pub(crate) fn prepare(&self, session: &Session, cancel: &Cancel) -> Result<Prepared> {
        let credentials = self.credentials()?;
        let build_args = self.build_args()?;
        let options = ContextOptions {
            credentials: &credentials,
            cancel,
            keep_git_dir: build_args.get(KEEP_GIT_DIR).is_some_and(|v| v == "1" || v == "true"),
        };
        let named = NamedContexts::open(session, &self.build_context, options)?;
        let source = Source::open(session, &self.context, self.file.as_deref(), options)?;
        let mut request = BuildRequest::new(source.dockerfile, source.context, Platform::host());
        request.dockerfile_name = source.name;
        request.context_name = source.context_name;
        request.ignore_file = source.ignore_file;
        request.contexts = named.contexts;
        request.build_args = build_args;
        request.credentials = credentials;
        request.cancel = cancel.clone();
        self.fill(&mut request)?;
        let build = BuildImage {
            request,
            tags: self.tag.iter().cloned().map(Reference::or_latest).collect(),
            pull: if self.pull { PullBases::Always } else { PullBases::Missing },
            layouts: named.layouts,
            attestations: self.attest.attestations()?,
            cache_from: self.output.read(&self.tag, &self.annotation)?.cache_from(),
            naming: Naming::Store,
        };
        let opened = named.opened.into_iter().chain(source.opened).collect();
        Ok(Prepared { build, _opened: opened })
    }

    /// What the flags say of a request.
    fn fill(&self, request: &mut BuildRequest) -> Result<()> {
        request.platforms = self.platform.clone();
        request.target = self.target.clone();
        request.labels = self.label.iter().map(|text| pair(text)).collect();
        request.no_cache = match (self.no_cache, self.no_cache_filter.is_empty()) {
            (true, _) => NoCache::All,
            (false, false) => NoCache::Stages(self.no_cache_filter.clone()),
            (false, true) => NoCache::Use,
        };
        request.network = match self.network {
            NetworkChoice::Default => Network::Default,
            NetworkChoice::Host => Network::Host,
            NetworkChoice::None => Network::None,
        };
        request.extra_hosts = self.add_host.iter().map(|text| host(text)).collect::<Result<_>>()?;
        request.limits = limits_of(&self.limits)?;
        request.allow_insecure = self.allow.iter().any(|allowed| allowed == "security.insecure");
        request.squash = self.squash;
        Ok(())
    }

    fn credentials(&self) -> Result<Credentials> {
        Ok(Credentials {
            secrets: self.secret.iter().map(|text| secret(text)).collect::<Result<_>>()?,
            ssh: self.ssh.iter().map(|text| ssh_agent(text)).collect::<Result<_>>()?,
        })
    }

    /// `NAME` alone takes this process's value; `SOURCE_DATE_EPOCH` of the environment is passed on.
    fn build_args(&self) -> Result<BTreeMap<String, String>> {
        let mut args = BTreeMap::new();
        if let Some(epoch) =
            engine::config::source_date_epoch().map_err(|reason| Error::refused(reason, ""))?
        {
            args.insert("SOURCE_DATE_EPOCH".to_owned(), epoch.as_second().to_string());
        }
        for text in &self.build_arg {
            match text.split_once('=') {
                Some((name, value)) => args.insert(name.to_owned(), value.to_owned()),
                None => std::env::var(text).ok().and_then(|value| args.insert(text.clone(), value)),
            };
        }
        Ok(args)
    }
}

fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

fn host(text: &str) -> Result<(String, String)> {
    match text.split_once(['=', ':']) {
        Some((name, ip))
            if !name.is_empty()
                && ip.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() =>
        {
            Ok((name.to_owned(), ip.trim_matches(['[', ']']).to_owned()))
        }
        _ => {
            Err(Error::refused(format!("bad format for add-host: {text:?}"), "write NAME:ADDRESS"))
        }
    }
}

/// IMAGE ID: the config of the one image, or the digest of the index of several.
fn image_id(built: &BuildResult) -> String {
    match &built.images[..] {
        [one] => one.config_descriptor.digest().to_string(),
        _ => built.root.digest().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use std::path::Path;

    use super::*;
    use crate::ui::Ui;

    fn session() -> Session {
        Session {
            ui: Ui::detect(),
            config: engine::Config::from_environment(),
            engine: std::cell::OnceCell::new(),
        }
    }

    fn prepare(args: &Args) -> Result<BuildImage> {
        Ok(args.prepare(&session(), &Cancel::default())?.build)
    }

    #[derive(Debug, Parser)]
    struct Probe {
        #[command(flatten)]
        args: Args,
    }

    fn request(folder: &Path, flags: &str) -> Result<BuildImage> {
        std::fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY a /\n").unwrap();
        let words = ["probe"].into_iter().chain(flags.split_whitespace()).map(str::to_owned);
        let words = words.chain([folder.display().to_string()]);
        prepare(&Probe::try_parse_from(words).unwrap().args)
    }

    /// Covers: B08-03
    #[test]
    fn what_is_typed_reaches_the_builder() {
        let folder = tempfile::tempdir().unwrap();
        let flags = "-t app -t reg:5000/x:1 --build-arg A=1 --build-arg B=x=y --target t --label k=v --no-cache --network none";
        let build = request(folder.path(), flags).unwrap();
        let tags: Vec<String> = build.tags.iter().map(ToString::to_string).collect();
        assert_eq!(tags, ["docker.io/library/app:latest", "reg:5000/x:1"]);
        let made = build.request;
        assert_eq!(made.context.as_deref(), Some(folder.path()));
        assert_eq!((made.build_args["A"].as_str(), made.build_args["B"].as_str()), ("1", "x=y"));
        assert_eq!((made.target.as_deref(), made.labels["k"].as_str()), (Some("t"), "v"));
        assert_eq!((made.no_cache, made.network), (NoCache::All, Network::None));
        assert_eq!(build.pull, PullBases::Missing);
    }

    /// Covers: B08-48
    #[test]
    fn platforms_are_separated_by_commas() {
        let folder = tempfile::tempdir().unwrap();
        let made = request(folder.path(), "--platform linux/amd64,linux/arm64,linux/arm/v7")
            .unwrap()
            .request;
        let platforms: Vec<String> = made.platforms.iter().map(ToString::to_string).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/arm/v7"]);
    }

    /// Covers: B08-04
    #[test]
    fn a_dockerfile_of_another_name_brings_its_own_ignore_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Dockerfile-final");
        std::fs::write(&file, "FROM scratch\n").unwrap();
        std::fs::write(folder.path().join("Dockerfile-final.dockerignore"), "*\n").unwrap();
        let made = request(folder.path(), &format!("-f {}", file.display())).unwrap().request;
        assert_eq!(made.dockerfile_name, "Dockerfile-final");
        assert!(made.ignore_file.unwrap().ends_with("Dockerfile-final.dockerignore"));
    }

    #[test]
    fn a_context_that_is_not_there_is_named() {
        let probe = Probe::try_parse_from(["probe", "/no/such/folder"]).unwrap();
        let error = prepare(&probe.args).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}
