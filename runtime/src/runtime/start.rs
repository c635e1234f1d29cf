//! `start`, `attach`, `exec`, `restart` and what a boot starts.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::Runtime;
use crate::attach::{self, Terminal};
use crate::error::{Error, Result};
use crate::exec;
use crate::id::ContainerId;
use crate::monitor::GREETING;
use crate::options::RestartPolicy;
use crate::protocol::{self, Frame};
use crate::record::{Record, Status};
use crate::request::{AttachEnd, AttachOptions, ExecRequest, StopTimeout};
use crate::self_exe::SealedProgram;
use crate::signal::Signal;
use crate::state::ContainerLock;

impl Runtime {
    /// Starts a container and returns when its first process runs. One that runs already is left as it is.
    ///
    /// # Errors
    /// It cannot be started; [`Error::run_exit_code`] tells Docker's exit code for it.
    pub fn start(&self, id: &ContainerId) -> Result<()> {
        let Some(lock) = self.lock_for_start(id)? else { return Ok(()) };
        let stream = self.spawn_monitor(id, lock, &[])?;
        loop {
            match protocol::receive(&stream).map_err(Error::system("hear from the monitor"))? {
                Some(Frame::Started | Frame::Exited(_)) => return Ok(()),
                Some(Frame::Failed { exit_code, message }) => {
                    return Err(Error::Start { exit_code, message });
                }
                Some(_) => {}
                None => return Err(Error::MonitorLost { id: id.to_string() }),
            }
        }
    }

    /// Starts a container attached and returns when it ended or was left.
    ///
    /// # Errors
    /// As [`Self::start`]; also when it runs already.
    pub fn start_attached(&self, id: &ContainerId, attach: AttachOptions) -> Result<AttachEnd> {
        let terminal = terminal_of(&self.dirs.record(id)?);
        let lock =
            self.lock_for_start(id)?.ok_or_else(|| Error::AlreadyRunning { id: id.to_string() })?;
        let stream = self.spawn_monitor(id, lock, &attach::opening(&attach.streams, terminal))?;
        attach::serve(id.as_str(), stream, &attach, terminal)
    }

    /// Attaches to a running container.
    ///
    /// # Errors
    /// It does not run, or is paused.
    pub fn attach(&self, id: &ContainerId, attach: AttachOptions) -> Result<AttachEnd> {
        let container = self.get(id)?;
        match container.state.status {
            Status::Running => {}
            Status::Paused => return Err(Error::Paused { id: id.to_string(), act: "attach" }),
            _ => return Err(Error::NotRunning { id: id.to_string() }),
        }
        let terminal = terminal_of(&container.record);
        let mut stream = self.connect(id)?;
        self.dirs.journal().container(&container.record, "attach", &[]);
        io::Write::write_all(&mut stream, &attach::opening(&attach.streams, terminal))
            .map_err(Error::system("talk to the monitor"))?;
        attach::serve(id.as_str(), stream, &attach, terminal)
    }

    /// Runs a further process in a running container; its exit code, or `None` when it was left running.
    ///
    /// # Errors
    /// The container does not run, or the program cannot be started ([`Error::run_exit_code`]).
    pub fn exec(&self, id: &ContainerId, request: ExecRequest) -> Result<Option<i32>> {
        match self.get(id)?.state.status {
            Status::Running => {}
            Status::Paused => return Err(Error::Paused { id: id.to_string(), act: "exec" }),
            _ => return Err(Error::NotRunning { id: id.to_string() }),
        }
        exec::run(self, id, request)
    }

    /// Stops and starts.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::start`].
    pub fn restart(
        &self,
        id: &ContainerId,
        timeout: StopTimeout,
        signal: Option<Signal>,
    ) -> Result<()> {
        let mut record = self.dirs.record(id)?;
        if !record.options.auto_remove {
            self.stop(id, timeout, signal)?;
            return self.started_again(&record);
        }
        // A container with --rm must outlive its end this once.
        record.options.auto_remove = false;
        self.dirs.write_record(&record)?;
        let stopped = self.stop(id, timeout, signal);
        record.options.auto_remove = true;
        self.dirs.write_record(&record)?;
        stopped.and_then(|()| self.started_again(&record))
    }

    fn started_again(&self, record: &Record) -> Result<()> {
        self.start(&record.id)?;
        self.dirs.journal().container(record, "restart", &[]);
        Ok(())
    }

    /// Starts what its restart policy asks for, after a reboot; gives what could not be started.
    ///
    /// # Errors
    /// The state folder cannot be read.
    pub fn boot(&self) -> Result<Vec<(ContainerId, Error)>> {
        let mut failed = Vec::new();
        for container in self.list()? {
            let was_stopped = container.state.stopped_by_user;
            let wanted = match container.record.options.restart {
                RestartPolicy::Always => true,
                RestartPolicy::UnlessStopped => !was_stopped,
                RestartPolicy::OnFailure(_) => !was_stopped && container.state.exit_code != 0,
                RestartPolicy::No => false,
            };
            let has_run = container.state.started_at.is_some();
            if wanted
                && has_run
                && !container.state.status.is_live()
                && let Err(error) = self.start(container.id())
            {
                failed.push((container.id().clone(), error));
            }
        }
        Ok(failed)
    }

    /// Starts this program again with a hidden subcommand and gives the other end of its stdin.
    pub(crate) fn spawn(
        &self,
        args: &[&std::ffi::OsStr],
    ) -> Result<(UnixStream, std::process::Child)> {
        let program = match self.program.get() {
            Some(program) => program,
            None => {
                let opened = SealedProgram::open(&self.self_exe)?;
                self.program.get_or_init(|| opened)
            }
        };
        let act = "start the container's monitor or helper";
        let (ours, theirs) = UnixStream::pair().map_err(Error::system(act))?;
        let child = Command::new(program.path())
            .arg0("wherry")
            .args(args)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::system(act))?;
        Ok((ours, child))
    }

    fn spawn_monitor(
        &self,
        id: &ContainerId,
        lock: ContainerLock,
        opening: &[u8],
    ) -> Result<UnixStream> {
        let (state, run) = (self.dirs.state_root().as_os_str(), self.dirs.run_root().as_os_str());
        let (mut stream, mut child) =
            self.spawn(&[crate::MONITOR_COMMAND.as_ref(), state, run, id.as_str().as_ref()])?;
        let lock = lock.into_file();
        let act = "talk to the monitor";
        let sent = protocol::send_with_fds(&stream, GREETING, &[lock.as_fd()])
            .and_then(|()| io::Write::write_all(&mut stream, opening));
        if let Err(error) = sent {
            // It waits for what did not come until it sees that nothing will.
            drop(stream);
            let _ = child.wait();
            return Err(Error::system(act)(error));
        }
        // The monitor proper is a child of this child: this one ends at once.
        let _ = child.wait();
        Ok(stream)
    }

    /// The lock for a start; `None` when the container is alive.
    fn lock_for_start(&self, id: &ContainerId) -> Result<Option<ContainerLock>> {
        let record = self.dirs.record(id)?;
        let Some(lock) = self.dirs.try_lock(id)? else {
            let state = self.dirs.state(id)?;
            return match state.status {
                Status::Paused => Err(Error::Paused { id: id.to_string(), act: "starting it" }),
                _ => Ok(None),
            };
        };
        self.reconcile(&record, &lock)?;
        Ok(Some(lock))
    }
}

fn terminal_of(record: &Record) -> Terminal {
    if record.options.tty { Terminal::Yes } else { Terminal::No }
}
