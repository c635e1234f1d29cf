//! What containers are and do at this moment: `ps`, `inspect`, `logs`, `top`, `stats`.

use std::io;

use super::Runtime;
use super::remove::remove_files;
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::protocol::{self, Frame, WindowSize};
use crate::record::Status;
use crate::request::{Container, LogEntry, LogQuery, OwnVolumes, ProcessTable, Usage};
use crate::{inspect, log, usage};

impl Runtime {
    /// All containers, the newest first, as they are at this moment.
    ///
    /// # Errors
    /// The state folder cannot be read.
    pub fn list(&self) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for id in self.dirs.ids()? {
            match self.get(&id) {
                Ok(container) => containers.push(container),
                // Removed since the folder was listed, or damaged: one bad container must not hide the others.
                Err(Error::NoSuchContainer { .. } | Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        containers.sort_by(|a, b| {
            b.record.created.cmp(&a.record.created).then_with(|| a.id().cmp(b.id()))
        });
        Ok(containers)
    }

    /// One container as it is at this moment. A state that says `running` is believed only while a monitor holds the lock.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn get(&self, id: &ContainerId) -> Result<Container> {
        let record = self.dirs.record(id)?;
        let state = self.dirs.state(id)?;
        if !state.status.is_live() {
            return Ok(Container { record, state });
        }
        match self.dirs.try_lock(id)? {
            None => Ok(Container { record, state }),
            Some(lock) => {
                let state = self.reconcile(&record, &lock)?;
                if record.options.auto_remove {
                    remove_files(&self.dirs, &record, &lock, OwnVolumes::Keep)?;
                    return Err(Error::NoSuchContainer { reference: id.to_string() });
                }
                Ok(Container { record, state })
            }
        }
    }

    /// What `docker inspect` shows of it.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn inspect(&self, id: &ContainerId) -> Result<serde_json::Value> {
        let container = self.get(id)?;
        Ok(inspect::document(&container, &self.dirs))
    }

    /// Gives log entries to `each` in their order until it returns an error or (without `follow`) the log ends.
    ///
    /// # Errors
    /// The container keeps no log, or it cannot be read.
    pub fn logs(
        &self,
        id: &ContainerId,
        query: &LogQuery,
        each: &mut dyn FnMut(LogEntry) -> io::Result<()>,
    ) -> Result<()> {
        let record = self.dirs.record(id)?;
        let driver = record.options.log.driver();
        if driver == crate::options::LogDriverName::None {
            return Err(Error::unsupported(
                "reading the log",
                "the container was made with --log-driver none",
            ));
        }
        let is_live = || self.get(id).is_ok_and(|container| container.state.status.is_live());
        log::read(driver, &self.dirs.log_file(id, driver), query, &is_live, each)
    }

    /// Sets the size of the container's terminal.
    ///
    /// # Errors
    /// The container does not run.
    pub fn resize(&self, id: &ContainerId, size: WindowSize) -> Result<()> {
        let stream = self.connect(id)?;
        protocol::send(&stream, &Frame::Resize(size)).map_err(Error::system("talk to the monitor"))
    }

    /// The processes of a running container; with arguments, what the host's `ps` shows of them.
    ///
    /// # Errors
    /// The container does not run, or `ps` cannot be used.
    pub fn top(&self, id: &ContainerId, ps_args: &[String]) -> Result<ProcessTable> {
        if !matches!(self.get(id)?.state.status, Status::Running | Status::Paused) {
            return Err(Error::NotRunning { id: id.to_string() });
        }
        usage::top(&Cgroup::of(id.as_str()), ps_args)
    }

    /// One sample of what a running container uses.
    ///
    /// # Errors
    /// The container does not run.
    pub fn usage(&self, id: &ContainerId) -> Result<Usage> {
        let container = self.get(id)?;
        match (container.state.status, container.state.pid) {
            (Status::Running | Status::Paused, Some(pid)) => {
                Ok(usage::sample(&Cgroup::of(id.as_str()), pid))
            }
            _ => Err(Error::NotRunning { id: id.to_string() }),
        }
    }
}
