//! `build --reproduce`: the same build twice, in sandboxes that differ on purpose, and what came of it.

use std::time::Duration;

use builder::lower::NoCache;
use builder::ports::{Clock, Progress};
use builder::reproduce::{Sandbox, Side, StepDifferences, compare};
use builder::{BuildRequest, BuildResult};
use jiff::Timestamp;
use oci::{Digest, Platform};

use super::{BuildImage, Builds};
use crate::error::Result;
use crate::ports::clock::SystemClock;

/// The argument that all times are clamped to.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The argument that names the host of steps.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// The names that the two builds give to the host: neither is part of the other.
const HOSTNAMES: [&str; 2] = ["buildkitsandbox", "another-machine"];
/// The second build begins in another second than the first, so that clocks of seconds differ.
const APART: Duration = Duration::from_secs(2);

/// What two builds of one Dockerfile gave.
#[derive(Clone, Debug)]
pub struct Reproduction {
    /// One entry a platform.
    pub images: Vec<Reproduced>,
}

impl Reproduction {
    /// Whether both builds gave the same bytes, for every platform.
    pub fn is_reproducible(&self) -> bool {
        self.images.iter().all(|image| image.digests[0] == image.digests[1])
    }
}

/// The image of one platform, built twice.
#[derive(Clone, Debug)]
pub struct Reproduced {
    /// The platform.
    pub platform: Platform,
    /// The digests of the two manifests.
    pub digests: [Digest; 2],
    /// What differs, step by step; steps whose result is not part of the image are here too.
    pub steps: Vec<StepDifferences>,
}

impl Builds<'_> {
    /// Builds twice without the cache and compares. Nothing gets a name.
    pub fn reproduce(&self, build: &BuildImage, progress: &dyn Progress) -> Result<Reproduction> {
        let lease = self.engine.store().lease("build twice")?;
        let began = SystemClock.now();
        let mut first = build.clone();
        first.request.no_cache = NoCache::All;
        let sets_epoch = first.request.dockerfile.text.contains(EPOCH);
        if !first.request.build_args.contains_key(EPOCH) && !sets_epoch {
            // The time of a file says when it was made: that is no fault of the Dockerfile.
            first.request.build_args.insert(EPOCH.to_owned(), began.as_second().to_string());
        }
        let mut second = first.clone();
        name_host(&mut first.request, HOSTNAMES[0]);
        name_host(&mut second.request, HOSTNAMES[1]);
        let processors = processors();
        let narrowed = processors.len() > 1 && second.request.limits.cpuset_cpus.is_none();
        if narrowed {
            second.request.limits.cpuset_cpus = processors.first().map(usize::to_string);
        }
        // Steps of a graph in another order: what shares a cache mount shows.
        second.request.parallelism = Some(1);
        let run = |build: &BuildImage| -> Result<(BuildResult, Timestamp, Timestamp)> {
            let started = SystemClock.now();
            let made = self.with_builder(build, progress, |b| b.build(&build.request, &lease))?;
            Ok((made, started, SystemClock.now()))
        };
        let count = |number| narrowed.then_some(number);
        let (one, started, finished) = run(&first)?;
        let (hostname, number) = (HOSTNAMES[0].to_owned(), count(processors.len()));
        let first_sandbox = Sandbox { hostname, processors: number, started, finished };
        wait_until_later_than(began);
        let (two, started, finished) = run(&second)?;
        let (hostname, number) = (HOSTNAMES[1].to_owned(), count(1));
        let second_sandbox = Sandbox { hostname, processors: number, started, finished };
        let mut images = Vec::new();
        for (a, b) in one.images.iter().zip(&two.images) {
            let sides = [
                Side { image: a, sandbox: &first_sandbox },
                Side { image: b, sandbox: &second_sandbox },
            ];
            images.push(Reproduced {
                platform: a.platform.clone(),
                digests: [a.manifest.digest().clone(), b.manifest.digest().clone()],
                steps: compare(self.engine.store(), &build.request, sides[0], sides[1])?,
            });
        }
        Ok(Reproduction { images })
    }
}

fn name_host(request: &mut BuildRequest, name: &str) {
    request.build_args.insert(HOSTNAME.to_owned(), name.to_owned());
}

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

fn wait_until_later_than(began: Timestamp) {
    let passed = SystemClock.now().duration_since(began).unsigned_abs();
    if let Some(left) = APART.checked_sub(passed) {
        std::thread::sleep(left);
    }
}
