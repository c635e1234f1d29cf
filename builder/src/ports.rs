//! What the builder asks of the world: each is a small trait that the engine implements.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use oci::{Digest, Platform};
use serde::{Deserialize, Serialize};
use store::{LayerId, Lease};

use crate::error::PortError;
use crate::frontend::{Network, Security};
use crate::graph::BaseImage;
use crate::lower::ImageResolver;

/// Base images: looking them up (the inherited half) and making their layers ready.
pub trait ImageSource: ImageResolver {
    /// Makes every layer of the image a layer of the store, blobs included, held by the lease.
    /// Returns the topmost, `None` for an image without layers.
    fn unpack(&self, image: &BaseImage, lease: &Lease) -> Result<Option<LayerId>, PortError>;

    /// Makes sure that the blobs of the image's layers are in the store: a cached build needs no unpacked base.
    fn fetch(&self, image: &BaseImage, lease: &Lease) -> Result<(), PortError>;
}

/// Runs the command of a RUN step in a prepared root.
pub trait Worker: Send + Sync {
    /// Runs to the end and says how it ended. Called on a thread with a mount namespace of its own: the process
    /// must be started from the calling thread (or inherit its namespaces) to see `step.rootfs`.
    ///
    /// Output goes to `log` as it comes. Every process of the step is gone when this returns.
    fn run(
        &self,
        step: &StepRun<'_>,
        log: &mut dyn FnMut(LogStream, &[u8]),
    ) -> Result<StepExit, PortError>;
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepExit {
    /// The exit code; 128 + the signal when it was killed by one.
    pub code: i32,
    /// True when the kernel ended it for want of memory.
    pub out_of_memory: bool,
}

/// Which stream a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Everything needed to run one command.
#[derive(Debug)]
pub struct StepRun<'a> {
    /// The mounted, writable root.
    pub rootfs: &'a Path,
    /// The argument vector.
    pub args: &'a [String],
    /// The whole environment.
    pub env: &'a [(String, String)],
    /// The working directory; it exists.
    pub cwd: &'a str,
    /// Who runs it, resolved in the root's own account files.
    pub user: &'a ResolvedUser,
    /// The host name inside.
    pub hostname: &'a str,
    /// The network.
    pub network: Network,
    /// The isolation.
    pub security: Security,
    /// Extra mounts, in order.
    pub mounts: &'a [StepMount],
    /// Additional lines of `/etc/hosts`, name and address.
    pub extra_hosts: &'a [(String, String)],
    /// Resource limits.
    pub limits: &'a StepLimits,
    /// The platform of the root; another architecture needs emulation.
    pub platform: &'a Platform,
    /// Set when the build is told to stop: the step's processes are to be ended.
    pub cancel: &'a crate::request::Cancel,
}

/// A user with everything resolved to numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Home folder, where the account file has one.
    pub home: Option<String>,
}

/// An extra mount of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepMount {
    /// Absolute path inside the root.
    pub target: String,
    /// What is mounted there.
    pub source: StepMountSource,
}

/// What a [`StepMount`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepMountSource {
    /// A folder or a file of the host, already narrowed to what the step may see.
    Bind {
        /// The path on the host.
        path: PathBuf,
        /// Whether it is mounted read-only.
        access: store::Access,
    },
    /// Memory.
    Tmpfs {
        /// Bytes at most.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
}

/// Limits of a step: outside every cache key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepLimits {
    /// `--memory` in bytes.
    pub memory: Option<u64>,
    /// `--memory-swap` in bytes, -1 for unlimited.
    pub memory_swap: Option<i64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpu-period` in microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota` in microseconds.
    pub cpu_quota: Option<i64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`: name, soft, hard.
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
}

/// Fetches remote sources of ADD.
pub trait Fetcher: Send + Sync {
    /// Opens a file of a web server; redirects followed. With `known` the server is asked whether the file is still
    /// the one that had these validators.
    fn open(&self, url: &str, known: Option<&Validators>) -> Result<Fetched, PortError>;

    /// The commit that a reference names now.
    fn commit(&self, source: &GitSource<'_>) -> Result<String, PortError>;

    /// Makes a checkout of `commit` in the empty folder `into`.
    fn checkout(&self, source: &GitSource<'_>, commit: &str, into: &Path) -> Result<(), PortError>;
}

/// What a web server has under an address.
pub enum Fetched {
    /// What it had before.
    Unchanged,
    /// This.
    File(Download),
}

/// A remote file.
pub struct Download {
    /// Its content.
    pub content: Box<dyn Read + Send>,
    /// When the server says that it last changed, in seconds since 1970.
    pub last_modified: Option<i64>,
    /// What to ask with next time.
    pub validators: Validators,
}

/// What a server tells one state of a file from another by, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// Which state of which repository.
#[derive(Debug, Clone, Copy)]
pub struct GitSource<'a> {
    /// The address.
    pub remote: &'a str,
    /// Branch, tag or commit; never begins with a dash.
    pub reference: Option<&'a str>,
    /// Whether `.git` is kept.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched too.
    pub submodules: bool,
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// A secret value: its `Debug` is stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Secret(value.into())
    }

    /// The value, for the step that asked for it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Secrets and agents that were given with the build.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// `--secret`: id to value.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`: id to the socket of the agent.
    pub ssh: BTreeMap<String, PathBuf>,
}

/// Receives what happens, from any thread, in the order it happens per vertex.
pub trait Progress: Send + Sync {
    /// One event.
    fn event(&self, event: Event<'_>);
}

/// Something that happened during a build.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Which line of the display it belongs to.
    pub vertex: VertexRef<'a>,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind<'a>,
}

/// A line of the progress display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VertexRef<'a> {
    /// Stable within one build: numbered in the order of the graph, platforms one after the other.
    pub id: usize,
    /// `[stage 2/5] RUN …`, `[internal] load build context`, `exporting to image`.
    pub name: &'a str,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum EventKind<'a> {
    /// It began.
    Started,
    /// It was taken from the cache.
    Cached,
    /// It printed something.
    Log(LogStream, &'a [u8]),
    /// A line below the name: `transferring context: 5kB`, `exporting layers`.
    Status {
        /// The text.
        text: &'a str,
        /// How long that took, where it is over.
        seconds: Option<f64>,
    },
    /// It is done.
    Finished,
    /// It failed.
    Failed(&'a str),
}

/// Discards events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// The digest of a text, for keys and records.
pub(crate) fn digest_of(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}
