//! Containers: an image of the store, a snapshot above it, and the runtime that runs it.

pub mod copy;
pub mod create;
pub mod tree;

use std::io::Write;
use std::sync::Arc;

use oci::{Descriptor, Digest};
use runtime::{AttachEnd, AttachOptions, Container, ContainerId, Runtime, RuntimeConfig};

use crate::Engine;
use crate::error::{ErrorKind, Result, of_io};
use crate::images::find;
use crate::images::remove::User;
use crate::ports::container_networks::ContainerNetworks;

pub use copy::CopyOptions;
pub use create::CreateContainer;
pub use tree::{Change, ChangeKind, CommitRequest};

/// The containers of one engine.
#[derive(Clone, Copy)]
pub struct Containers<'a> {
    pub(crate) engine: &'a Engine,
}

impl Containers<'_> {
    /// The runtime below, for what needs no image: stop, kill, logs, wait, exec and the like.
    pub fn runtime(&self) -> Result<Runtime> {
        let config = self.engine.config();
        Ok(Runtime::open(RuntimeConfig {
            state_dir: config.root.join("containers"),
            run_dir: config.run_root.clone(),
            self_exe: config.self_exe.clone(),
            networks: Some(Arc::new(ContainerNetworks::lazy(&config.root, &config.run_root))),
        })?)
    }

    /// Makes a container of an image in the store.
    pub fn create(&self, request: CreateContainer) -> Result<ContainerId> {
        create::create(self.engine, request)
    }

    /// Starts a container, after its image passed the gate once more.
    pub fn start(&self, id: &ContainerId) -> Result<()> {
        self.judge_again(id)?;
        let runtime = self.runtime()?;
        runtime.start(id).map_err(|error| forget_unstarted(&runtime, id, error).into())
    }

    /// Starts a container attached, after its image passed the gate once more.
    pub fn start_attached(&self, id: &ContainerId, attach: AttachOptions) -> Result<AttachEnd> {
        self.judge_again(id)?;
        let runtime = self.runtime()?;
        let ended = runtime.start_attached(id, attach);
        ended.map_err(|error| forget_unstarted(&runtime, id, error).into())
    }

    /// What `docker inspect` shows of a container.
    pub fn inspect(&self, reference: &str) -> Result<serde_json::Value> {
        let runtime = self.runtime()?;
        let id = runtime.resolve(reference)?;
        let mut document = runtime.inspect(&id)?;
        document["NetworkSettings"] = self.engine.networks().settings(&runtime.get(&id)?)?;
        Ok(document)
    }

    /// Makes an image of a container's files. Returns its id.
    pub fn commit(&self, reference: &str, request: &CommitRequest) -> Result<Digest> {
        tree::commit(self.engine, &self.get(reference)?, request)
    }

    /// Writes a container's files as a tar.
    pub fn export(&self, reference: &str, out: &mut dyn Write) -> Result<()> {
        tree::export(self.engine, &self.get(reference)?, out)
    }

    /// What a container changed in its files.
    pub fn diff(&self, reference: &str) -> Result<Vec<Change>> {
        tree::diff(&self.get(reference)?)
    }

    /// One container, by name, id or a prefix of its id.
    pub fn get(&self, reference: &str) -> Result<Container> {
        let runtime = self.runtime()?;
        Ok(runtime.get(&runtime.resolve(reference)?)?)
    }

    /// A name may have moved since the container was made: it is the container's own image
    /// that is judged, by any name that it still has.
    fn judge_again(&self, id: &ContainerId) -> Result<()> {
        let container = self.runtime()?.get(id)?;
        let found = match find::find(self.engine.store(), &container.record.image_id) {
            Ok(found) => found,
            // Removed by force: nothing is left that could be judged, so a policy refuses it.
            Err(crate::Error::NoSuchImage { name }) => {
                return self.engine.gate().judge_unknown("start", &name);
            }
            Err(error) => return Err(error),
        };
        let target: Option<Descriptor> = found.target().cloned();
        target.map_or(Ok(()), |target| create::judge(self.engine, "run", &found, &target))
    }

    /// Which images containers use.
    pub(crate) fn image_users(&self) -> Result<Vec<User>> {
        let containers = self.runtime()?.list()?;
        Ok(containers
            .into_iter()
            .filter_map(|container| {
                Some(User {
                    image: container.record.image_id.parse().ok()?,
                    container: container.record.id.to_string(),
                    running: container.state.status.is_live(),
                })
            })
            .collect())
    }
}

/// A container that was to be removed after its run is removed when it cannot run either.
fn forget_unstarted(runtime: &Runtime, id: &ContainerId, error: runtime::Error) -> runtime::Error {
    let unstarted = matches!(error, runtime::Error::Start { .. });
    let transient = runtime.get(id).is_ok_and(|container| container.record.options.auto_remove);
    if unstarted
        && transient
        && let Err(left) = runtime.remove(id.as_str(), runtime::Removal::Force)
    {
        tracing::warn!("remove {id}, which did not start: {left}");
    }
    error
}

/// Who can mend a failure of the runtime.
pub(crate) fn kind_of(error: &runtime::Error) -> ErrorKind {
    match error.kind() {
        runtime::ErrorKind::Invalid | runtime::ErrorKind::Unsupported => ErrorKind::Invalid,
        runtime::ErrorKind::NotFound => ErrorKind::NotFound,
        runtime::ErrorKind::Conflict => ErrorKind::Conflict,
        runtime::ErrorKind::System => match error {
            runtime::Error::File { source, .. } | runtime::Error::System { source, .. } => {
                match of_io(source) {
                    // A file that the runtime keeps for itself is not what was asked for.
                    ErrorKind::NotFound => ErrorKind::Internal,
                    kind => kind,
                }
            }
            _ => ErrorKind::Internal,
        },
    }
}
