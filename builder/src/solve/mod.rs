//! Carrying out builds.

mod assemble;
mod bench;
mod exec;
mod files;
mod leaks;
mod lines;
mod planning;
mod remote;
mod sources;
mod travel;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use oci::{Digest, Platform, Reference};
use store::{Lease, Store};

use crate::cache::CacheIndex;
use crate::cache::remote::RemoteCache;
use crate::cache::session::Session;
use crate::check::{Report, check};
use crate::context::Folders;
use crate::error::{Error, PortError, Result};
use crate::frontend::Span;
use crate::graph::{BaseImage, Graph, Vertex};
use crate::lower::{ImageResolver, LowerOptions, PlatformChoice, lower};
use crate::ports::{Clock, Fetcher, ImageSource, Progress, Worker, digest_of};
use crate::request::{BuildRequest, BuildResult};
pub use leaks::secret_in;
use lines::Lines;
pub use planning::Explanation;
use worker::Solver;

/// The world, as the engine gives it.
#[derive(Clone, Copy)]
pub struct Ports<'a> {
    /// Base images.
    pub images: &'a dyn ImageSource,
    /// RUN steps.
    pub worker: &'a dyn Worker,
    /// Remote sources of ADD; without one they are refused.
    pub fetcher: Option<&'a dyn Fetcher>,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Who is told what happens.
    pub progress: &'a dyn Progress,
}

/// Builds images into a store.
pub struct Builder<'a> {
    store: &'a Store,
    cache: CacheIndex,
    ports: Ports<'a>,
    remote: Option<&'a dyn RemoteCache>,
}

impl<'a> Builder<'a> {
    /// A builder on a store, with the build cache in it.
    pub fn new(store: &'a Store, ports: Ports<'a>) -> Result<Self> {
        Ok(Builder { store, cache: CacheIndex::open(&store.root())?, ports, remote: None })
    }

    /// The same with caches that others filled.
    pub fn with_remote_cache(mut self, remote: &'a dyn RemoteCache) -> Self {
        self.remote = Some(remote);
        self
    }

    /// The build cache.
    pub fn cache(&self) -> &CacheIndex {
        &self.cache
    }

    /// Builds. Every blob of the result is held by `lease`; nothing has a name yet.
    ///
    /// The line called `exporting to image` is left open for the caller, who names the image and finishes it.
    pub fn build(&self, request: &BuildRequest, lease: &Lease) -> Result<BuildResult> {
        let lines = Lines::new(self.ports.progress, self.ports.clock);
        let graphs = self.graphs(request, &lines)?;
        let snapshots = self.store.snapshots();
        let now = self.ports.clock.now();
        let folders = self.open_folders(request, &lines)?;
        let checks = checked(request, &graphs, &folders)?;
        let session = Session::begin(&self.cache, snapshots.as_ref(), now)?;
        let shared = (folders, session);
        let solver = Solver::new(
            self.store,
            snapshots.as_ref(),
            &self.cache,
            self.ports,
            request,
            &graphs,
            shared,
            lease,
            &lines,
        )
        .with_remote_cache(self.remote);
        solver.solve()?;
        let line = lines.start("exporting to image");
        line.status("exporting layers", None);
        let result = solver.assemble();
        if let Err(error) = &result {
            line.failed(&error.to_string());
        }
        let (root, images) = result?;
        let cache = solver.travelling_steps()?;
        Ok(BuildResult { root, images, export_vertex: line.id, checks, cache })
    }

    /// The graphs of every platform that is asked for.
    fn graphs(&self, request: &BuildRequest, lines: &Lines<'_>) -> Result<Vec<Graph>> {
        let line = lines
            .start(&format!("[internal] load build definition from {}", request.dockerfile_name));
        line.status(
            &format!(
                "transferring dockerfile: {}",
                size_text(request.dockerfile.text.len() as u64)
            ),
            None,
        );
        line.finished();
        let resolver = Announcing { images: self.ports.images, lines, loaded: Mutex::default() };
        let options = |platform| lower_options(request, platform);
        assemble::platforms(request)
            .into_iter()
            .map(|platform| lower(&request.dockerfile, &options(platform), &resolver))
            .collect()
    }

    fn open_folders(&self, request: &BuildRequest, lines: &Lines<'_>) -> Result<Folders> {
        let line = lines.start("[internal] load .dockerignore");
        let folders = Folders::open(request, &self.cache, self.ports.clock.now());
        match &folders {
            Ok(folders) => {
                line.status(
                    &format!("transferring context: {}", size_text(folders.ignore_bytes)),
                    None,
                );
                line.finished();
            }
            Err(error) => line.failed(&error.to_string()),
        }
        folders
    }
}

/// What the build checks find; an error where the Dockerfile wants that (`# check=error=true`).
fn checked(request: &BuildRequest, graphs: &[Graph], folders: &Folders) -> Result<Report> {
    let ignore = folders.get(None).map(|folder| &folder.ignore);
    let report = check(request, graphs.first(), ignore);
    if !report.is_error {
        return Ok(report);
    }
    let mut rules: Vec<&str> = report.findings.iter().map(|finding| finding.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    Err(Error::Checks {
        rules: rules.join(", "),
        report: report.render(&request.dockerfile_name, &request.dockerfile),
    })
}

/// What lowering is told of a request.
pub fn lower_options(request: &BuildRequest, platform: Platform) -> LowerOptions {
    LowerOptions {
        build_args: request.build_args.clone(),
        target: request.target.clone(),
        platform,
        platform_choice: if request.platforms.is_empty() {
            PlatformChoice::Implicit
        } else {
            PlatformChoice::Requested
        },
        build_platform: request.build_platform.clone(),
        several_platforms: request.platforms.len() > 1,
        contexts: request.contexts.clone(),
        network: request.network,
        no_cache: request.no_cache.clone(),
        labels: request.labels.clone(),
    }
}

/// Says which metadata it loads, and loads each once.
struct Announcing<'a> {
    images: &'a dyn ImageSource,
    lines: &'a Lines<'a>,
    loaded: Mutex<BTreeMap<String, BaseImage>>,
}

impl ImageResolver for Announcing<'_> {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> std::result::Result<BaseImage, PortError> {
        let key = format!("{reference} {platform}");
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = loaded.get(&key) {
            return Ok(image.clone());
        }
        let line = self.lines.start(&format!("[internal] load metadata for {reference}"));
        let resolved = self.images.resolve(reference, platform);
        match &resolved {
            Ok(image) => {
                line.finished();
                loaded.insert(key, image.clone());
            }
            Err(error) => line.failed(&error.to_string()),
        }
        resolved
    }
}

/// What a step is called across builds: its context, its stage, its text.
fn identity_of(vertex: &Vertex, request: &BuildRequest) -> Digest {
    let folder = || request.context.as_ref().map(|p| p.display().to_string());
    let context = request.context_name.clone().or_else(folder).unwrap_or_default();
    digest_of(&format!(
        "{context}\0{}\0{}\0{}",
        request.dockerfile_name, vertex.stage, vertex.identity
    ))
}

/// Bytes in Docker's decimal units.
fn size_text(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{:.2}kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2}MB", bytes as f64 / 1e6),
        _ => format!("{:.2}GB", bytes as f64 / 1e9),
    }
}

/// Lines of a Dockerfile around a span, with the span's own marked.
pub(crate) fn excerpt(name: &str, text: &str, span: Span) -> String {
    let first = text[..span.start.min(text.len())].matches('\n').count();
    let last = text[..span.end.min(text.len())].matches('\n').count();
    let mut out = format!("{name}:{}\n--------------------", first + 1);
    for (number, line) in
        text.lines().enumerate().skip(first.saturating_sub(2)).take(last - first + 5)
    {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        out.push_str(&format!("\n{:>4} | {mark} {line}", number + 1));
    }
    out + "\n--------------------"
}
