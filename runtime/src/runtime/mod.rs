//! The operations on containers, a file for each part of their life.

mod create;
mod files;
mod look;
mod remove;
mod start;
mod stop;
pub(crate) mod watch;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::events::Journal;
use crate::id::ContainerId;
use crate::network::Networks;
use crate::process::ProcessRef;
use crate::request::{ExitStatus, OutputStream, RuntimeConfig, StepRequest};
use crate::self_exe::SealedProgram;
use crate::state::StateDir;
use crate::step;

pub(crate) use remove::remove_files;
pub(crate) use stop::asks_to_stop;

/// How long a killed container may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(20);

/// Containers in one pair of folders. Cheap to open; every process may have its own, and all see the same containers.
#[derive(Debug)]
pub struct Runtime {
    dirs: StateDir,
    self_exe: PathBuf,
    networks: Option<Arc<dyn Networks>>,
    program: OnceLock<SealedProgram>,
}

impl Runtime {
    /// Opens (and where missing makes) the folders, and clears what killed build steps have left.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn open(config: RuntimeConfig) -> Result<Self> {
        let dirs = StateDir::open(config.state_dir, config.run_dir)?;
        step::sweep(&dirs);
        Ok(Self {
            dirs,
            self_exe: config.self_exe,
            networks: config.networks,
            program: OnceLock::new(),
        })
    }

    /// The id behind a name, an id or a prefix of one.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn resolve(&self, reference: &str) -> Result<ContainerId> {
        self.dirs.resolve(reference)
    }

    /// The journal of what happened in this root.
    pub fn journal(&self) -> Journal {
        self.dirs.journal()
    }

    /// Runs one command of a build in the foreground; `output` is called from this thread. Several threads may do so at once.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn run_step(
        &self,
        request: &StepRequest,
        output: &mut dyn FnMut(OutputStream, &[u8]),
    ) -> Result<ExitStatus> {
        step::run(self, request, output)
    }

    pub(crate) fn dirs(&self) -> &StateDir {
        &self.dirs
    }
}

/// The first process of a running container, for those who join its namespaces.
pub(crate) fn first_process_of(dirs: &StateDir, reference: &str) -> Result<i32> {
    let id = dirs.resolve(reference)?;
    let state = dirs.state(&id)?;
    let not_running = || Error::NotRunning { id: id.to_string() };
    let (Some(pid), Some(start)) = (state.pid, state.pid_start) else { return Err(not_running()) };
    if ProcessRef::recorded(pid, start).is_alive() { Ok(pid) } else { Err(not_running()) }
}
