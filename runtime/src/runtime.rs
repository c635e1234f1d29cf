//! The operations on containers.

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::protocol::WindowSize;
use crate::record::CreateRequest;
use crate::request::*;
use crate::signal::Signal;
use crate::state::StateDir;

/// Containers in one pair of folders. Cheap to open; every process may have its own.
#[derive(Debug)]
pub struct Runtime {
    dirs: StateDir,
}

fn soon<T>() -> Result<T> {
    Err(Error::unsupported("containers", "this build of the runtime is being written"))
}

impl Runtime {
    /// Opens (and where missing makes) the folders.
    pub fn open(config: RuntimeConfig) -> Result<Self> {
        Ok(Self { dirs: StateDir::open(config.state_dir, config.run_dir)? })
    }
    /// Makes a container without starting it.
    pub fn create(&self, _request: CreateRequest) -> Result<ContainerId> { soon() }
    /// The id behind a name, an id or a prefix of one.
    pub fn resolve(&self, reference: &str) -> Result<ContainerId> { self.dirs.resolve(reference) }
    /// Starts a container and returns when its first process runs.
    pub fn start(&self, _id: &ContainerId) -> Result<()> { soon() }
    /// Starts a container attached and returns when it ended or was left.
    pub fn start_attached(&self, _id: &ContainerId, _attach: AttachOptions) -> Result<AttachEnd> { soon() }
    /// Attaches to a running container.
    pub fn attach(&self, _id: &ContainerId, _attach: AttachOptions) -> Result<AttachEnd> { soon() }
    /// Runs a further process in a running container; its exit code, or `None` when it was left running.
    pub fn exec(&self, _id: &ContainerId, _request: ExecRequest) -> Result<Option<i32>> { soon() }
    /// Stops: stop signal, time-out, SIGKILL. A container that does not run is left as it is.
    pub fn stop(&self, _id: &ContainerId, _timeout: StopTimeout, _signal: Option<Signal>) -> Result<()> { soon() }
    /// Sends a signal to the first process.
    pub fn kill(&self, _id: &ContainerId, _signal: Signal) -> Result<()> { soon() }
    /// Stops and starts.
    pub fn restart(&self, _id: &ContainerId, _timeout: StopTimeout, _signal: Option<Signal>) -> Result<()> { soon() }
    /// Freezes all processes.
    pub fn pause(&self, _id: &ContainerId) -> Result<()> { soon() }
    /// Thaws them.
    pub fn unpause(&self, _id: &ContainerId) -> Result<()> { soon() }
    /// Waits, and gives the exit code.
    pub fn wait(&self, _id: &ContainerId, _condition: WaitCondition) -> Result<i32> { soon() }
    /// Removes a container, its log, and the folders in `cleanup`.
    pub fn remove(&self, _reference: &str, _removal: Removal) -> Result<ContainerId> { soon() }
    /// Gives another name.
    pub fn rename(&self, _id: &ContainerId, _name: &str) -> Result<()> { soon() }
    /// All containers, the newest first, as they are at this moment.
    pub fn list(&self) -> Result<Vec<Container>> { soon() }
    /// One container as it is at this moment.
    pub fn get(&self, _id: &ContainerId) -> Result<Container> { soon() }
    /// What `docker inspect` shows of it.
    pub fn inspect(&self, _id: &ContainerId) -> Result<serde_json::Value> { soon() }
    /// Gives log entries to `each` in their order until it returns an error or (without `follow`) the log ends.
    pub fn logs(&self, _id: &ContainerId, _query: &LogQuery, _each: &mut dyn FnMut(LogEntry) -> std::io::Result<()>) -> Result<()> { soon() }
    /// Sets the size of the container's terminal.
    pub fn resize(&self, _id: &ContainerId, _size: WindowSize) -> Result<()> { soon() }
    /// The processes of a running container; with arguments, what the host's `ps` shows of them.
    pub fn top(&self, _id: &ContainerId, _ps_args: &[String]) -> Result<ProcessTable> { soon() }
    /// One sample of what a running container uses.
    pub fn usage(&self, _id: &ContainerId) -> Result<Usage> { soon() }
    /// Runs one command of a build; `output` is called from this thread.
    pub fn run_step(&self, _step: &StepRequest, _output: &mut dyn FnMut(OutputStream, &[u8])) -> Result<ExitStatus> { soon() }
    /// Starts what its restart policy asks for, after a reboot; gives what could not be started.
    pub fn boot(&self) -> Result<Vec<(ContainerId, Error)>> { soon() }
    /// When the container's state last changed, for callers that poll.
    pub fn created_at(&self, id: &ContainerId) -> Result<Timestamp> { Ok(self.dirs.record(id)?.created) }
}
