//! `rm`, and making a state true whose monitor is gone.

use std::path::Path;
use std::time::Duration;

use super::stop::{ask, wait_for_exit};
use super::{KILL_PATIENCE, Runtime};
use crate::cgroup::Cgroup;
use crate::clock::{self, Deadline};
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::mounts::MountKind;
use crate::options::NetworkMode;
use crate::process::ProcessRef;
use crate::protocol::Frame;
use crate::record::{Record, State, Status};
use crate::request::{OwnVolumes, Removal};
use crate::signal::Signal;
use crate::state::{self, ContainerLock, StateDir};

impl Runtime {
    /// Removes a container, its log, and the folders in `cleanup`; gives its id.
    ///
    /// # Errors
    /// It runs and the removal is not forced.
    pub fn remove(&self, reference: &str, removal: Removal) -> Result<ContainerId> {
        self.remove_with(reference, removal, OwnVolumes::Keep)
    }

    /// The same, with a say about its volumes.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn remove_with(
        &self,
        reference: &str,
        removal: Removal,
        volumes: OwnVolumes,
    ) -> Result<ContainerId> {
        let id = self.dirs.resolve(reference)?;
        let lock = match (self.dirs.try_lock(&id)?, removal) {
            (Some(lock), _) => lock,
            (None, Removal::OnlyStopped) => return Err(self.refuse_removal(reference, &id)?),
            (None, Removal::Force) => match self.kill_for_removal(&id) {
                // Its own --rm was faster.
                Err(Error::NoSuchContainer { .. }) => return Ok(id),
                lock => lock?,
            },
        };
        match self.dirs.record(&id) {
            Ok(record) => {
                self.reconcile(&record, &lock)?;
                // A monitor that was killed before its container ever ran leaves no state that says so.
                self.release_networks(&record);
                remove_files(&self.dirs, &record, &lock, volumes)?;
            }
            // A record that cannot be read must not make the container immortal.
            Err(Error::Damaged { .. }) if removal == Removal::Force => self.dirs.delete(&id)?,
            Err(Error::NoSuchContainer { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(id)
    }

    /// Takes back what a container has of its networks.
    fn release_networks(&self, record: &Record) {
        if let (NetworkMode::Named(_), Some(networks)) = (&record.options.network, &self.networks)
            && let Err(left) = networks.release(&record.id)
        {
            tracing::warn!("take back the networks of {}: {left}", record.id);
        }
    }

    /// Kills what runs until its lock is free.
    fn kill_for_removal(&self, id: &ContainerId) -> Result<ContainerLock> {
        const ONE_TRY: Duration = Duration::from_secs(1);
        let deadline = Deadline::after(Some(KILL_PATIENCE));
        while !deadline.has_come() {
            if let Ok(stream) = self.connect(id) {
                let kill = Frame::Signal { number: Signal::KILL.number(), stop: true };
                let _ = ask(&stream, &kill, id);
                let _ = wait_for_exit(&stream, Some(KILL_PATIENCE));
            }
            if let Some(lock) = self.take_lock(id, ONE_TRY)? {
                return Ok(lock);
            }
            if !self.dirs.container(id).exists() {
                return Err(Error::NoSuchContainer { reference: id.to_string() });
            }
        }
        Err(Error::Busy { id: id.to_string() })
    }

    /// Makes the state true when no monitor is there: what claims to run has ended with it.
    pub(super) fn reconcile(&self, record: &Record, lock: &ContainerLock) -> Result<State> {
        let mut state = self.dirs.state(&record.id)?;
        if !state.status.is_live() {
            return Ok(state);
        }
        if let (Some(pid), Some(start)) = (state.pid, state.pid_start) {
            let _ = ProcessRef::recorded(pid, start).signal(Signal::KILL);
        }
        Cgroup::of(record.id.as_str()).remove()?;
        self.release_networks(record);
        state::remove_tree(&self.dirs.run(&record.id))?;
        let was_running = state.status != Status::Restarting;
        state.status = Status::Exited;
        state.pid = None;
        state.pid_start = None;
        state.finished_at = Some(clock::now());
        if was_running {
            state.exit_code = Signal::KILL.exit_code();
            state.error = "the monitor of the container ended unexpectedly".to_owned();
        }
        self.dirs.write_state(&record.id, &state, lock)?;
        if was_running {
            let code = state.exit_code.to_string();
            self.dirs.journal().container(record, "die", &[("exitCode", &code)]);
        }
        Ok(state)
    }

    fn refuse_removal(&self, reference: &str, id: &ContainerId) -> Result<Error> {
        let state = match self.dirs.state(id)?.status {
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Running => "running",
            _ => return Ok(Error::Busy { id: id.to_string() }),
        };
        Ok(Error::RemoveRunning { reference: reference.to_owned(), state })
    }
}

/// Removes everything of a container that does not run. What is done twice does no harm, so a removal that was interrupted is
/// finished by the next.
pub(crate) fn remove_files(
    dirs: &StateDir,
    record: &Record,
    lock: &ContainerLock,
    volumes: OwnVolumes,
) -> Result<()> {
    // The name may have changed since the record was read.
    let current = dirs.record(&record.id).unwrap_or_else(|_| record.clone());
    let mut state = dirs.state(&record.id).unwrap_or_else(|_| State::created());
    state.status = Status::Removing;
    // Only a note for others; a disk too full for it is all the more a reason to go on.
    let _ = dirs.write_state(&record.id, &state, lock);
    let removed = match volumes {
        OwnVolumes::Keep if !current.options.auto_remove => Ok(()),
        _ => remove_own_volumes(dirs, &current),
    };
    let removed = removed.and_then(|()| remove_parts(dirs, &current));
    if removed.is_err() {
        state.status = Status::Dead;
        let _ = dirs.write_state(&record.id, &state, lock);
    }
    removed
}

fn remove_own_volumes(dirs: &StateDir, record: &Record) -> Result<()> {
    if record.options.own_volumes.is_empty() {
        return Ok(());
    }
    let mut used = Vec::new();
    for id in dirs.ids()?.iter().filter(|id| **id != record.id) {
        // A container that goes away meanwhile uses nothing.
        if let Ok(other) = dirs.record(id) {
            used.extend(other.options.mounts);
        }
    }
    let is_used = |volume: &Path| {
        used.iter().any(|mount| {
            matches!(&mount.kind, MountKind::Volume { source, .. } if source.starts_with(volume))
        })
    };
    record
        .options
        .own_volumes
        .iter()
        .filter(|volume| !is_used(volume))
        .try_for_each(|volume| state::remove_tree(volume))
}

fn remove_parts(dirs: &StateDir, record: &Record) -> Result<()> {
    Cgroup::of(record.id.as_str()).remove()?;
    for path in &record.cleanup {
        state::remove_tree(path)?;
    }
    let naming = dirs.naming()?;
    dirs.free_name(&record.name, &record.id, &naming)?;
    dirs.delete(&record.id)?;
    dirs.journal().container(record, "destroy", &[]);
    Ok(())
}
