use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use engine::builder::frontend::{self, Dockerfile, Network};
use engine::builder::lower::{NamedContext, NoCache};
use engine::builder::ports::{Credentials, StepLimits};
use engine::builder::{BuildRequest, BuildResult};
use engine::builds::{BuildImage, PullBases};
use engine::oci::{Platform, Reference};

use super::build_inputs::{limits_of, named_context, secret, ssh_agent};
use super::build_progress::{Board, stop_on_signal};
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
    /// Set build-time variables
    #[arg(long, value_name = "list")]
    build_arg: Vec<String>,
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

/// The longest Dockerfile read from standard input.
const DOCKERFILE_BYTES_MAX: u64 = 16 << 20;

impl Args {
    /// Builds, names, and pushes where that was asked for.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.push && self.tag.is_empty() {
            return Err(Error::refused(
                "tag is needed when pushing to registry",
                "name the image: -t NAME:TAG",
            ));
        }
        let build = self.request()?;
        let board = Board::new(self.mode(session));
        let stop = stop_on_signal(&build.request.cancel)?;
        let built = session.engine()?.builds().build(&build, &board);
        stop.forget();
        board.finish();
        let built = built?;
        let id = image_id(&built);
        if let Some(path) = &self.iidfile {
            std::fs::write(path, &id).map_err(|source| Error::File {
                act: "write image ID to",
                path: path.display().to_string(),
                source,
            })?;
        }
        if self.quiet {
            session.ui.line(&id)?;
        }
        if self.push {
            let verbosity = if self.quiet { Verbosity::Quiet } else { Verbosity::Normal };
            for tag in &build.tags {
                push::one(session, tag, None, verbosity)?;
            }
        }
        Ok(())
    }

    fn mode(&self, session: &Session) -> ProgressMode {
        match self.progress {
            _ if self.quiet => ProgressMode::Quiet,
            ProgressMode::Auto if session.ui.stderr_terminal => ProgressMode::Tty,
            ProgressMode::Auto => ProgressMode::Plain,
            mode => mode,
        }
    }

    fn request(&self) -> Result<BuildImage> {
        let source = self.source()?;
        let mut request = BuildRequest::new(source.dockerfile, source.context, Platform::host());
        request.dockerfile_name = source.name;
        request.ignore_file = source.ignore_file;
        request.contexts = self.contexts()?;
        request.platforms = self.platform.clone();
        request.build_args = self.build_args()?;
        request.target = self.target.clone();
        request.labels = self.label.iter().map(|text| pair(text)).collect();
        request.annotations = self.annotation.iter().map(|text| pair(text)).collect();
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
        request.limits = self.step_limits()?;
        request.credentials = self.credentials()?;
        request.allow_insecure = self.allow.iter().any(|allowed| allowed == "security.insecure");
        request.squash = self.squash;
        Ok(BuildImage {
            request,
            tags: self.tag.iter().cloned().map(Reference::or_latest).collect(),
            pull: if self.pull { PullBases::Always } else { PullBases::Missing },
        })
    }

    fn step_limits(&self) -> Result<StepLimits> {
        limits_of(&self.limits)
    }

    fn contexts(&self) -> Result<BTreeMap<String, NamedContext>> {
        self.build_context.iter().map(|text| named_context(text)).collect()
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

    fn source(&self) -> Result<Source> {
        if is_remote(&self.context) {
            return Err(Error::refused(
                format!("{}: a remote build context is not supported yet", self.context),
                "fetch it first, with git clone or curl, and build the folder",
            ));
        }
        if self.context == "-" {
            return Source::new("Dockerfile".to_owned(), &read_stdin()?, None, None);
        }
        let context = PathBuf::from(&self.context);
        if !context.is_dir() {
            return Err(Error::Refused {
                message: format!("unable to prepare context: path {:?} not found", self.context),
                hint: "the last argument is the folder with the files to build from, often a dot"
                    .to_owned(),
                kind: engine::ErrorKind::NotFound,
            });
        }
        if self.file.as_deref() == Some(Path::new("-")) {
            return Source::new("Dockerfile".to_owned(), &read_stdin()?, Some(context), None);
        }
        let file = self.file.clone().unwrap_or_else(|| context.join("Dockerfile"));
        let text = std::fs::read_to_string(&file).map_err(|source| Error::File {
            act: "failed to read dockerfile: open",
            path: file.display().to_string(),
            source,
        })?;
        let name = file
            .file_name()
            .map_or_else(|| "Dockerfile".into(), |name| name.to_string_lossy().into_owned());
        let ignore = file.with_file_name(format!("{name}.dockerignore"));
        Source::new(name, &text, Some(context), ignore.is_file().then_some(ignore))
    }
}

/// What to build from.
struct Source {
    dockerfile: Dockerfile,
    name: String,
    context: Option<PathBuf>,
    ignore_file: Option<PathBuf>,
}

impl Source {
    fn new(
        name: String,
        text: &str,
        context: Option<PathBuf>,
        ignore_file: Option<PathBuf>,
    ) -> Result<Self> {
        let dockerfile = frontend::parse(text)
            .map_err(|diagnostic| Error::Engine(engine::Error::Build(diagnostic.into())))?;
        Ok(Self { dockerfile, name, context, ignore_file })
    }
}

fn read_stdin() -> Result<String> {
    let failed = |source| Error::File { act: "read", path: "standard input".to_owned(), source };
    let mut bytes = Vec::new();
    std::io::stdin().take(DOCKERFILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let is_archive = bytes.get(257..262) == Some(b"ustar") || bytes.starts_with(&[0x1f, 0x8b]);
    if is_archive {
        return Err(Error::refused(
            "a build context as an archive on standard input is not supported yet",
            "unpack it and build the folder; a Dockerfile alone can come from standard input",
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::refused("the Dockerfile on standard input is not UTF-8 text", ""))
}

fn is_remote(context: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://", "github.com/"]
        .iter()
        .any(|scheme| context.starts_with(scheme))
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

    use super::*;

    #[derive(Debug, Parser)]
    struct Probe {
        #[command(flatten)]
        args: Args,
    }

    fn request(folder: &Path, flags: &str) -> Result<BuildImage> {
        std::fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY a /\n").unwrap();
        let words = ["probe"].into_iter().chain(flags.split_whitespace()).map(str::to_owned);
        let words = words.chain([folder.display().to_string()]);
        Probe::try_parse_from(words).unwrap().args.request()
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
        let error = Probe::try_parse_from(["probe", "/no/such/folder"])
            .unwrap()
            .args
            .request()
            .unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
        let remote = Probe::try_parse_from(["probe", "https://example.com/x.git"])
            .unwrap()
            .args
            .request()
            .unwrap_err();
        assert!(remote.to_string().contains("remote build context"), "{remote}");
    }
}
