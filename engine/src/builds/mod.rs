//! Builds: the builder with its ports, names for what it made, and what the cache holds.

pub(crate) mod attest;
pub mod context;
mod output;
mod remote_cache;
mod reproduce;

use std::sync::Mutex;

use builder::check::Report;
use builder::outline::Outline;
use builder::plan::BuildPlan;
use builder::ports::{Clock, Event, EventKind, Progress, Silent, VertexRef};
use builder::solve::{Builder, Explanation, Ports};
use builder::{BuildRequest, BuildResult};
use oci::{Descriptor, Reference};
use remote_cache::Caches;
use store::Lease;
use trust::Origin;

use crate::Engine;
use crate::error::{Error, Result};
use crate::images::import::name_it;
use crate::ports::clock::SystemClock;
use crate::ports::fetcher::Remote;
use crate::ports::image_source::Bases;
use crate::ports::worker::RuntimeWorker;
use attest::Attesting;

pub use crate::ports::image_source::PullBases;
pub use attest::{Attestations, ContentsRequest, ProvenanceRequest};
pub use remote_cache::{CacheFailure, CacheFrom, CachePlace, CacheTo};
pub use reproduce::{Reproduced, Reproduction};

/// The builds of one engine.
#[derive(Clone, Copy)]
pub struct Builds<'a> {
    pub(crate) engine: &'a Engine,
}

/// What to build, and what to call it.
#[derive(Clone, Debug)]
pub struct BuildImage {
    /// The build.
    pub request: BuildRequest,
    /// Its names; without one the image is dangling.
    pub tags: Vec<Reference>,
    /// Whether bases are looked for in the registry although they are here.
    pub pull: PullBases,
    /// Images that stand for names in this build only: those of OCI layouts.
    pub layouts: Vec<(Reference, Descriptor)>,
    /// What is said of it beside it.
    pub attestations: Attestations,
    /// Caches that others filled.
    pub cache_from: Vec<CacheFrom>,
    /// Whether the image is to be found in the store.
    pub naming: Naming,
}

/// Whether what a build makes gets a name, or a place among the images that have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// It does.
    #[default]
    Store,
    /// It goes somewhere else.
    None,
}

impl Builds<'_> {
    /// Builds an image and names it.
    pub fn build(&self, build: &BuildImage, progress: &dyn Progress) -> Result<BuildResult> {
        self.build_held(build, progress, &self.hold()?)
    }

    /// The same, where something is to be done with the result as long as the lease holds it.
    pub fn build_held(
        &self,
        build: &BuildImage,
        progress: &dyn Progress,
        lease: &Lease,
    ) -> Result<BuildResult> {
        let exporting = Exporting { inner: progress, line: Mutex::new(None) };
        let started = crate::clock::now();
        let result =
            self.with_builder(build, &exporting, |builder| builder.build(&build.request, lease))?;
        let named = match build.naming {
            Naming::Store => {
                let attesting = Attesting { engine: self.engine, build, lease, started };
                self.attest(&attesting, &result, &exporting)
                    .and_then(|()| self.name(build, &result, &exporting))
            }
            Naming::None if !build.attestations.is_empty() => Err(Error::Invalid(
                "attestations belong to an image: add --output type=image, or --push".to_owned(),
            )),
            Naming::None => {
                exporting.tell(EventKind::Finished);
                Ok(())
            }
        };
        if let Err(error) = &named {
            exporting.tell(EventKind::Failed(&error.to_string()));
        }
        named.map(|()| result)
    }

    /// What a build would do: one plan a platform. Bases are looked up, nothing is run.
    pub fn plan(&self, build: &BuildImage) -> Result<Vec<BuildPlan>> {
        let lease = self.engine.store().lease("build plan")?;
        self.with_builder(build, &Silent, |builder| builder.plan(&build.request, &lease))
    }

    /// Why the steps whose name has `step` in it ran, or would run.
    pub fn why(&self, build: &BuildImage, step: &str) -> Result<Vec<Explanation>> {
        let lease = self.engine.store().lease("build plan")?;
        self.with_builder(build, &Silent, |builder| builder.why(&build.request, &lease, step))
    }

    /// What the build checks find.
    pub fn check(&self, build: &BuildImage) -> Result<Report> {
        self.with_builder(build, &Silent, |builder| builder.check(&build.request))
    }

    /// What the target takes: arguments, secrets, agents, caches.
    pub fn outline(&self, build: &BuildImage) -> Result<Outline> {
        self.with_builder(build, &Silent, |builder| builder.outline(&build.request))
    }

    fn with_builder<T>(
        &self,
        build: &BuildImage,
        progress: &dyn Progress,
        work: impl FnOnce(&Builder<'_>) -> builder::Result<T>,
    ) -> Result<T> {
        let bases = Bases::new(self.engine, build.pull, &build.layouts);
        let request = &build.request;
        let remote = Remote::new(self.engine, &request.credentials, &request.cancel);
        let worker = RuntimeWorker::new(self.engine.containers().runtime()?);
        let ports = Ports {
            images: &bases,
            worker: &worker,
            fetcher: Some(&remote),
            clock: &SystemClock,
            progress,
        };
        let caches = Caches::open(self.engine, &build.cache_from, progress);
        let mut builder = Builder::new(self.engine.store(), ports)?;
        if !caches.is_empty() {
            builder = builder.with_remote_cache(&caches);
        }
        Ok(work(&builder)?)
    }

    fn attest(
        &self,
        attesting: &Attesting<'_>,
        result: &BuildResult,
        exporting: &Exporting<'_>,
    ) -> Result<()> {
        if attesting.build.attestations.is_empty() {
            return Ok(());
        }
        for image in &result.images {
            for referrer in attesting.attest(image)? {
                exporting.status(&format!("exporting attestation manifest {}", referrer.digest()));
            }
        }
        Ok(())
    }

    fn name(
        &self,
        build: &BuildImage,
        result: &BuildResult,
        exporting: &Exporting<'_>,
    ) -> Result<()> {
        let id = result.images.first().map(|image| image.config_descriptor.digest());
        if let (Some(id), [_]) = (id, &result.images[..]) {
            exporting.status(&format!("writing image {id}"));
        } else {
            exporting.status(&format!("exporting manifest list {}", result.root.digest()));
        }
        for tag in &build.tags {
            name_it(self.engine, "build", Some(tag), &result.root, Origin::BuiltHere)?;
            exporting.status(&format!("naming to {tag}"));
        }
        if build.tags.is_empty() {
            name_it(self.engine, "build", None, &result.root, Origin::BuiltHere)?;
        }
        exporting.tell(EventKind::Finished);
        Ok(())
    }
}

/// Passes events on, and remembers the line that the builder leaves open for whoever names the
/// image.
struct Exporting<'a> {
    inner: &'a dyn Progress,
    line: Mutex<Option<(usize, String)>>,
}

impl Exporting<'_> {
    fn status(&self, text: &str) {
        self.tell(EventKind::Status { text, seconds: Some(0.0) });
    }

    fn tell(&self, kind: EventKind<'_>) {
        let line = self.line.lock().unwrap_or_else(|p| p.into_inner()).clone();
        if let Some((id, name)) = line {
            let vertex = VertexRef { id, name: &name };
            self.inner.event(Event { vertex, at: SystemClock.now(), kind });
        }
    }
}

impl Progress for Exporting<'_> {
    fn event(&self, event: Event<'_>) {
        if event.vertex.name == "exporting to image" {
            let line = (event.vertex.id, event.vertex.name.to_owned());
            *self.line.lock().unwrap_or_else(|p| p.into_inner()) = Some(line);
        }
        self.inner.event(event);
    }
}
