//! `stop`, `kill`, `pause`, `unpause` and `wait`: what is asked of a monitor.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::watch::{Awaited, StateWatch};
use super::{KILL_PATIENCE, Runtime};
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::protocol::{self, Frame};
use crate::record::Status;
use crate::request::{Patience, StopTimeout, WaitCondition};
use crate::signal::Signal;
use crate::state::ContainerLock;

/// What no event tells, a monitor that was killed, is seen at least this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many runs of a container that ends and starts again by itself are tried to be the last.
const RUNS_TO_STOP: u32 = 50;

impl Runtime {
    /// Stops: stop signal, time-out, SIGKILL. A container that does not run is left as it is.
    ///
    /// # Errors
    /// It cannot be reached, or does not end after SIGKILL.
    pub fn stop(
        &self,
        id: &ContainerId,
        timeout: StopTimeout,
        signal: Option<Signal>,
    ) -> Result<()> {
        let container = self.get(id)?;
        if !container.state.status.is_live() {
            return Ok(());
        }
        let signal = signal.unwrap_or(container.record.stop_signal);
        let patience = match timeout {
            StopTimeout::OfContainer => container.record.stop_timeout().map(Duration::from_secs),
            StopTimeout::Seconds(seconds) => Some(Duration::from_secs(seconds)),
            StopTimeout::Never => None,
        };
        for _ in 0..RUNS_TO_STOP {
            match self.stop_run(id, signal, patience) {
                Ok(()) | Err(Error::NotRunning { .. } | Error::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error),
            }
            // A run that ended by itself at the same moment may have been followed by the next one.
            if !self.get(id).is_ok_and(|container| container.state.status.is_live()) {
                self.dirs.journal().container(&container.record, "stop", &[]);
                return Ok(());
            }
        }
        Err(Error::Busy { id: id.to_string() })
    }

    /// Ends the run that goes on at this moment and, unless it ends by itself meanwhile, those that would follow.
    fn stop_run(&self, id: &ContainerId, signal: Signal, patience: Patience) -> Result<()> {
        let stream = self.connect(id)?;
        ask(&stream, &Frame::Signal { number: signal.number(), stop: true }, id)?;
        if self.get(id)?.state.status == Status::Paused {
            ask(&stream, &Frame::Resume, id)?;
        }
        match wait_for_exit(&stream, patience)? {
            RunEnd::StillRunning => {}
            // Whoever says so for the last time has let go of the lock before.
            RunEnd::Exited(_) => return Ok(()),
            RunEnd::MonitorGone => return self.wait_for_monitor(id),
        }
        ask(&stream, &Frame::Signal { number: Signal::KILL.number(), stop: true }, id)?;
        match wait_for_exit(&stream, Some(KILL_PATIENCE))? {
            RunEnd::Exited(_) => Ok(()),
            RunEnd::MonitorGone => self.wait_for_monitor(id),
            RunEnd::StillRunning => Err(Error::System {
                act: "end the container with SIGKILL",
                source: io::ErrorKind::TimedOut.into(),
            }),
        }
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// The container does not run.
    pub fn kill(&self, id: &ContainerId, signal: Signal) -> Result<()> {
        let container = self.get(id)?;
        if !container.state.status.is_live() {
            return Err(Error::NotRunning { id: id.to_string() });
        }
        let stream = self.connect(id)?;
        let stop = asks_to_stop(signal, Some(container.record.stop_signal));
        ask(&stream, &Frame::Signal { number: signal.number(), stop }, id)?;
        if signal == Signal::KILL
            && wait_for_exit(&stream, Some(KILL_PATIENCE))? == RunEnd::MonitorGone
        {
            return self.wait_for_monitor(id);
        }
        Ok(())
    }

    /// Freezes all processes.
    ///
    /// # Errors
    /// The container does not run or is frozen already.
    pub fn pause(&self, id: &ContainerId) -> Result<()> {
        match self.get(id)?.state.status {
            Status::Paused => Err(Error::AlreadyPaused { id: id.to_string() }),
            Status::Running => ask(&self.connect(id)?, &Frame::Pause, id),
            _ => Err(Error::NotRunning { id: id.to_string() }),
        }
    }

    /// Thaws them.
    ///
    /// # Errors
    /// The container is not frozen.
    pub fn unpause(&self, id: &ContainerId) -> Result<()> {
        match self.get(id)?.state.status {
            Status::Paused => ask(&self.connect(id)?, &Frame::Resume, id),
            _ => Err(Error::NotPaused { id: id.to_string() }),
        }
    }

    /// Waits, and gives the exit code.
    ///
    /// # Errors
    /// The container's state cannot be read.
    pub fn wait(&self, id: &ContainerId, condition: WaitCondition) -> Result<i32> {
        let watch = StateWatch::on(&self.dirs.container(id), Awaited::State)?;
        let mut code = None;
        loop {
            let live = self.get(id).map(|container| {
                let live = container.state.status.is_live();
                if !live {
                    code = Some(container.state.exit_code);
                }
                live
            });
            match (live, condition) {
                (Err(Error::NoSuchContainer { .. }), WaitCondition::Removed) if code.is_some() => {
                    return Ok(code.unwrap_or(0));
                }
                (Err(error), _) => {
                    return code.filter(|_| condition != WaitCondition::NextExit).ok_or(error);
                }
                (Ok(false), WaitCondition::NotRunning) => return Ok(self.get(id)?.state.exit_code),
                (Ok(false), _) => watch.wait(LOOK_AGAIN),
                (Ok(true), _) => match self.connect(id).and_then(|s| wait_for_exit(&s, None)) {
                    Ok(RunEnd::Exited(exited)) => {
                        code = Some(exited);
                        if condition != WaitCondition::Removed {
                            return Ok(exited);
                        }
                    }
                    // Between two states: the next one is being written.
                    Ok(RunEnd::MonitorGone | RunEnd::StillRunning) | Err(_) => {
                        watch.wait(LOOK_AGAIN)
                    }
                },
            }
        }
    }

    pub(super) fn connect(&self, id: &ContainerId) -> Result<UnixStream> {
        protocol::connect(&self.dirs.socket(id)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::NotRunning { id: id.to_string() }
            }
            _ => Error::system("reach the monitor")(error),
        })
    }

    /// After its last word a monitor lets go of the lock at once; then the state is final.
    pub(super) fn wait_for_monitor(&self, id: &ContainerId) -> Result<()> {
        match self.take_lock(id, KILL_PATIENCE) {
            Ok(_) | Err(Error::NoSuchContainer { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The container's lock, waited for as long as `patience`; `None` when somebody keeps it.
    pub(super) fn take_lock(
        &self,
        id: &ContainerId,
        patience: Duration,
    ) -> Result<Option<ContainerLock>> {
        let mut attempt = self.dirs.lock_attempt(id)?;
        let deadline = Deadline::after(Some(patience));
        let mut watch = None;
        loop {
            attempt = match attempt.take()? {
                Ok(lock) => return Ok(Some(lock)),
                Err(held) => held,
            };
            let left = deadline.remaining().unwrap_or_default();
            if left.is_zero() || !self.dirs.container(id).exists() {
                return Ok(None);
            }
            match &watch {
                // The first look is nearly always enough, so the kernel is asked to watch only after it.
                None => {
                    watch = Some(StateWatch::on(&self.dirs.container(id), Awaited::Lock)?);
                }
                Some(watch) => watch.wait(left),
            }
        }
    }
}

/// Whether a signal means that the user wants the container down and not restarted.
pub(crate) fn asks_to_stop(signal: Signal, stop_signal: Option<Signal>) -> bool {
    const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGKILL, libc::SIGTERM];
    ENDING.contains(&signal.number()) || Some(signal) == stop_signal
}

/// Asks for something and waits for the answer.
pub(super) fn ask(stream: &UnixStream, frame: &Frame, id: &ContainerId) -> Result<()> {
    protocol::send(stream, frame).map_err(|error| match error.kind() {
        // It has let its clients go: the run is over.
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            Error::NotRunning { id: id.to_string() }
        }
        _ => Error::system("talk to the monitor")(error),
    })?;
    loop {
        match protocol::receive(stream).map_err(Error::system("hear from the monitor"))? {
            Some(Frame::Done | Frame::Exited(_)) => return Ok(()),
            Some(Frame::Refused(reason)) => {
                return Err(Error::System {
                    act: "do that to the container",
                    source: io::Error::other(reason),
                });
            }
            Some(_) => {}
            None => return Err(Error::NotRunning { id: id.to_string() }),
        }
    }
}

/// How waiting for the end of a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunEnd {
    /// With this code.
    Exited(i32),
    /// The monitor is gone without a word: the state on disk tells.
    MonitorGone,
    /// It has not come in time.
    StillRunning,
}

pub(super) fn wait_for_exit(stream: &UnixStream, patience: Patience) -> Result<RunEnd> {
    let deadline = Deadline::after(patience);
    loop {
        let left = deadline.remaining();
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(RunEnd::StillRunning);
        }
        stream.set_read_timeout(left).map_err(Error::system("wait for the container"))?;
        match protocol::receive(stream) {
            Ok(Some(Frame::Exited(code))) => return Ok(RunEnd::Exited(code)),
            Ok(Some(Frame::Failed { exit_code, .. })) => {
                return Ok(RunEnd::Exited(i32::from(exit_code)));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(RunEnd::MonitorGone),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                return Ok(RunEnd::StillRunning);
            }
            Err(error) => return Err(Error::system("wait for the container")(error)),
        }
    }
}
