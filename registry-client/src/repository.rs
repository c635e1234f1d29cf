//! One repository of one registry: every act of the distribution specification on it.

mod blob;
mod delete;
mod fallback;
mod lists;
mod manifest;
mod referrers;
mod upload;

use std::fmt;
use std::sync::Arc;

use oci::{Descriptor, Digest, Reference};

use crate::auth::ScopeSet;
use crate::budget::Priority;
use crate::error::{Act, Problem, RegistryError};
use crate::exchange::{Answer, Call, Endpoint, Exchange, Need};
use crate::progress::{Progress, Silent, TransferEvent};

pub use blob::BlobStream;
pub(crate) use lists::catalog;
pub use manifest::{FetchedManifest, PushedManifest};
pub use referrers::{Referrers, ReferrersFilter, ReferrersSource};
pub use upload::{AnonymousMount, Mounted, PushedBlob, UploadConfig, UploadMode};

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// A tag: may mean something else tomorrow.
    Tag(String),
    /// A digest: always the same content.
    Digest(Digest),
}

impl Selector {
    /// What a reference selects: its digest where it has one, else its tag.
    pub fn of(reference: &Reference) -> Option<Self> {
        let digest = reference.digest().cloned().map(Self::Digest);
        digest.or_else(|| reference.tag().map(|tag| Self::Tag(tag.to_owned())))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A repository. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    exchange: Arc<Exchange>,
    name: oci::Repository,
    progress: Arc<dyn Progress>,
    upload: UploadConfig,
    also: ScopeSet,
    priority: Priority,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({})", self.name)
    }
}

impl Repository {
    pub(crate) fn new(exchange: Arc<Exchange>, name: oci::Repository) -> Self {
        Self {
            exchange,
            name,
            progress: Arc::new(Silent),
            upload: UploadConfig::default(),
            also: ScopeSet::none(),
            priority: Priority::Interactive,
        }
    }

    /// The same repository, telling its transfers to `progress`.
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The same repository with other settings for uploads.
    pub fn with_upload_config(mut self, upload: UploadConfig) -> Self {
        self.upload = upload;
        self
    }

    /// The same repository whose tokens always allow writing, so that a push needs one token for
    /// its questions and its uploads.
    pub fn for_push(mut self) -> Self {
        self.also = self.also.union(&ScopeSet::push(self.name.path()));
        self
    }

    /// The same repository for work that nobody waits for: it gives way to other requests of this
    /// client and leaves the rest of a registry's quota to them.
    pub fn in_background(mut self) -> Self {
        self.priority = Priority::Background;
        self
    }

    /// The same repository whose tokens also allow reading these others, so that a whole push
    /// with mounts needs one token.
    pub fn with_mount_sources<'a>(
        mut self,
        sources: impl IntoIterator<Item = &'a oci::Repository>,
    ) -> Self {
        for source in sources {
            if source.registry() == self.name.registry() {
                self.also = self.also.union(&ScopeSet::pull(source.path()));
            }
        }
        self
    }

    /// Its name.
    pub fn name(&self) -> &oci::Repository {
        &self.name
    }

    pub(crate) fn upload_config(&self) -> &UploadConfig {
        &self.upload
    }

    pub(crate) fn progress(&self) -> &dyn Progress {
        &*self.progress
    }

    fn path(&self, rest: &str) -> String {
        format!("v2/{}/{rest}", self.name.path())
    }

    fn pull_scope(&self) -> ScopeSet {
        ScopeSet::pull(self.name.path())
    }

    fn push_scope(&self) -> ScopeSet {
        ScopeSet::push(self.name.path()).union(&self.also)
    }

    fn call(&self, method: http::Method, rest: &str, scopes: ScopeSet) -> Call {
        let mut call = Call::new(method, self.path(rest), self.name.path(), scopes);
        call.priority = self.priority;
        call
    }

    async fn upstream(&self) -> Result<Endpoint, Problem> {
        self.exchange.upstream(self.name.registry()).await
    }

    /// A read from the mirrors in order, then from the registry. `check` decides on each
    /// server's answer whether it will do.
    async fn read<T>(
        &self,
        need: Need,
        call: &Call,
        check: impl Fn(Answer) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        for mirror in self.exchange.mirrors(self.name.registry(), need) {
            match self.exchange.attempt(&mirror, call).await.and_then(&check) {
                Ok(value) => return Ok(value),
                Err(problem) => self.exchange.rest_mirror(&mirror, &problem),
            }
        }
        let upstream = self.upstream().await?;
        check(self.exchange.call(&upstream, call).await?)
    }

    fn tell(&self, descriptor: &Descriptor, event: TransferEvent) {
        self.progress.event(descriptor, event);
    }

    fn error(&self, act: Act, object: impl fmt::Display, problem: Problem) -> RegistryError {
        RegistryError::new(act, format!("{}{object}", self.name.familiar()), problem)
    }

    /// An error about a manifest: `name:tag` or `name@digest`.
    fn manifest_error(&self, act: Act, selector: &Selector, problem: Problem) -> RegistryError {
        let separator = match selector {
            Selector::Tag(_) => ':',
            Selector::Digest(_) => '@',
        };
        self.error(act, format_args!("{separator}{selector}"), problem)
    }

    fn blob_error(&self, act: Act, digest: &Digest, problem: Problem) -> RegistryError {
        self.error(act, format_args!("@{digest}"), problem)
    }
}
