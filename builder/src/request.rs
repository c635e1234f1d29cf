//! What is asked of a build and what comes out of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oci::{Compression, Descriptor, Digest, ImageConfig, Platform};
use store::Dialect;

use crate::cache::remote::RemoteStep;
use crate::check::Report;
use crate::frontend::{Dockerfile, Network};
use crate::graph::{Graph, VertexId};
use crate::lower::{NamedContext, NoCache};
use crate::ports::{Credentials, StepLimits};

/// A build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The parsed Dockerfile.
    pub dockerfile: Dockerfile,
    /// Its name, for messages: `Dockerfile`.
    pub dockerfile_name: String,
    /// The ignore file that belongs to it, `<Dockerfile>.dockerignore`, where that exists; else the context's own is used.
    pub ignore_file: Option<PathBuf>,
    /// The build context, `None` for a Dockerfile from standard input without one.
    pub context: Option<PathBuf>,
    /// What a context that is not a folder of the user's is called, such as the address of a repository.
    pub context_name: Option<String>,
    /// `--build-context`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--platform`, empty when nothing was said.
    pub platforms: Vec<Platform>,
    /// The platform that steps run on natively.
    pub build_platform: Platform,
    /// `--build-arg`, `SOURCE_DATE_EPOCH` among them.
    pub build_args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`, of each manifest.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of the index; they need more than one platform.
    pub index_annotations: BTreeMap<String, String>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--network`.
    pub network: Network,
    /// `--add-host`.
    pub extra_hosts: Vec<(String, String)>,
    /// Limits of RUN steps.
    pub limits: StepLimits,
    /// `--secret`, `--ssh`.
    pub credentials: Credentials,
    /// True when `--allow security.insecure` was given.
    pub allow_insecure: bool,
    /// Compression of new layers.
    pub compression: Compression,
    /// OCI or Docker media types.
    pub dialect: Dialect,
    /// `--squash`: everything in one layer.
    pub squash: bool,
    /// Steps that may run at once; where it is `None` as many as there are processors, and at least four.
    pub parallelism: Option<usize>,
    /// Which steps' layers are written, for a cache that travels.
    pub cache_layers: CacheLayers,
    /// Whether the layers of the result say which steps they are the results of.
    pub inline_cache: bool,
    /// Set from another thread to stop the build.
    pub cancel: Cancel,
}

/// Which steps are to be found in a cache that travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheLayers {
    /// None: no such cache is written.
    #[default]
    None,
    /// Those of the result (`mode=min`).
    Result,
    /// All, those of stages that are only copied from too (`mode=max`).
    All,
}

impl BuildRequest {
    /// A plain build of `dockerfile` with `context`.
    pub fn new(dockerfile: Dockerfile, context: Option<PathBuf>, build_platform: Platform) -> Self {
        BuildRequest {
            dockerfile,
            dockerfile_name: "Dockerfile".to_owned(),
            ignore_file: None,
            context,
            context_name: None,
            contexts: BTreeMap::new(),
            platforms: Vec::new(),
            build_platform,
            build_args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            index_annotations: BTreeMap::new(),
            no_cache: NoCache::Use,
            network: Network::Default,
            extra_hosts: Vec::new(),
            limits: StepLimits::default(),
            credentials: Credentials::default(),
            allow_insecure: false,
            compression: Compression::Gzip,
            dialect: Dialect::Oci,
            squash: false,
            parallelism: None,
            cache_layers: CacheLayers::None,
            inline_cache: false,
            cancel: Cancel::default(),
        }
    }
}

/// A switch that stops a build between steps.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the build.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The switch itself, for who waits in another room.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// True once it was stopped.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a build made. Every blob is in the store and held by the lease that the build was given.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// What a name should point to: the manifest, or the index when several platforms were asked for.
    pub root: Descriptor,
    /// The image of each platform, in the order asked for.
    pub images: Vec<BuiltImage>,
    /// The progress line `exporting to image`, which the caller finishes.
    pub export_vertex: usize,
    /// What the build checks found.
    pub checks: Report,
    /// The steps that a cache that travels gets, where one was asked for.
    pub cache: Vec<RemoteStep>,
}

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The platform.
    pub platform: Platform,
    /// The manifest.
    pub manifest: Descriptor,
    /// The config; its digest is the image id.
    pub config_descriptor: Descriptor,
    /// The config, read.
    pub config: ImageConfig,
    /// The unpacked top layer, where there is one.
    pub top: Option<store::LayerId>,
    /// The graph that it was built from.
    pub graph: Graph,
    /// The layers of its steps, and of every other step of the graph, in its order.
    pub layers: Vec<StepLayer>,
    /// How many steps were taken from the cache, and how many ran.
    pub steps: StepCount,
    /// Digests of everything that went in, for provenance.
    pub materials: Vec<Material>,
}

/// What one step of a graph made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLayer {
    /// The step.
    pub vertex: VertexId,
    /// The unpacked layer.
    pub layer: store::LayerId,
}

/// How much work there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepCount {
    /// Steps taken from the cache.
    pub cached: usize,
    /// Steps that ran.
    pub ran: usize,
}

/// Something that a build used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// An image reference or an address, without credentials.
    pub uri: String,
    /// What it was.
    pub digest: Digest,
}
