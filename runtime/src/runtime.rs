//! The operations on containers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::attach::{self, Terminal};
use crate::bundle;
use crate::caps::{Capabilities, Grant};
use crate::cgroup::{self, Cgroup};
use crate::clock::{self, Deadline};
use crate::error::{Error, Result};
use crate::id::{self, ContainerId};
use crate::inspect;
use crate::log;
use crate::monitor::GREETING;
use crate::options::{NamespaceMode, NetworkMode, RestartPolicy, RunOptions};
use crate::process::ProcessRef;
use crate::protocol::{self, Frame, WindowSize};
use crate::record::{CreateRequest, Record, State, Status};
use crate::request::{
    AttachEnd, AttachOptions, Changes, Container, ExecRequest, ExitStatus, LogEntry, LogQuery,
    OutputStream, Patience, ProcessTable, Removal, RuntimeConfig, StepRequest, StopTimeout, Usage,
    WaitCondition,
};
use crate::seccomp;
use crate::self_exe::SealedProgram;
use crate::signal::Signal;
use crate::state::{self, ContainerLock, StateDir};
use crate::{exec, spec, step, usage};

/// How long a killed container may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Containers in one pair of folders. Cheap to open; every process may have its own, and all see the same containers.
#[derive(Debug)]
pub struct Runtime {
    dirs: StateDir,
    self_exe: PathBuf,
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
        Ok(Self { dirs, self_exe: config.self_exe, program: OnceLock::new() })
    }

    /// Makes a container without starting it.
    ///
    /// # Errors
    /// A name in use, options that cannot be meant, no command.
    pub fn create(&self, mut request: CreateRequest) -> Result<ContainerId> {
        self.resolve_joined(&mut request.options)?;
        check_options(&request.options)?;
        let naming = self.dirs.naming()?;
        let name = match request.name.take() {
            Some(name) => {
                id::check_name(&name)?;
                match self.dirs.named(&name)? {
                    Some(owner) => return Err(Error::NameInUse { name, id: owner.to_string() }),
                    None => name,
                }
            }
            None => self.free_random_name()?,
        };
        let id = request.id.clone();
        let record = Record::new(request, name, clock::now())?;
        self.dirs.insert(&record)?;
        if let Err(error) = self.dirs.take_name(&record.name, &id, &naming) {
            let _ = self.dirs.delete(&id);
            return Err(error);
        }
        Ok(id)
    }

    /// The id behind a name, an id or a prefix of one.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn resolve(&self, reference: &str) -> Result<ContainerId> {
        self.dirs.resolve(reference)
    }

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
        let Ok(stream) = self.connect(id) else { return Ok(()) };
        ask(&stream, &Frame::Signal { number: signal.number(), stop: true }, id)?;
        if container.state.status == Status::Paused {
            ask(&stream, &Frame::Resume, id)?;
        }
        if wait_for_exit(&stream, patience)? != RunEnd::StillRunning {
            return self.wait_for_monitor(id);
        }
        ask(&stream, &Frame::Signal { number: Signal::KILL.number(), stop: true }, id)?;
        match wait_for_exit(&stream, Some(KILL_PATIENCE))? {
            RunEnd::Exited(_) | RunEnd::MonitorGone => self.wait_for_monitor(id),
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
            && wait_for_exit(&stream, Some(KILL_PATIENCE))? != RunEnd::StillRunning
        {
            return self.wait_for_monitor(id);
        }
        Ok(())
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
            return self.start(id);
        }
        // A container with --rm must outlive its end this once.
        record.options.auto_remove = false;
        self.dirs.write_record(&record)?;
        let stopped = self.stop(id, timeout, signal);
        record.options.auto_remove = true;
        self.dirs.write_record(&record)?;
        stopped.and_then(|()| self.start(id))
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
                (Ok(false), _) => std::thread::sleep(POLL_INTERVAL),
                (Ok(true), _) => {
                    match self.connect(id).and_then(|stream| wait_for_exit(&stream, None)) {
                        Ok(RunEnd::Exited(exited)) => {
                            code = Some(exited);
                            if condition != WaitCondition::Removed {
                                return Ok(exited);
                            }
                        }
                        // The next look at the state tells more.
                        Ok(RunEnd::MonitorGone | RunEnd::StillRunning) | Err(_) => {
                            std::thread::sleep(POLL_INTERVAL)
                        }
                    }
                }
            }
        }
    }

    /// Removes a container, its log, and the folders in `cleanup`; gives its id.
    ///
    /// # Errors
    /// It runs and the removal is not forced.
    pub fn remove(&self, reference: &str, removal: Removal) -> Result<ContainerId> {
        let id = self.dirs.resolve(reference)?;
        let deadline = Deadline::after(Some(KILL_PATIENCE));
        let lock = loop {
            if let Some(lock) = self.dirs.try_lock(&id)? {
                break lock;
            }
            if removal == Removal::OnlyStopped {
                return Err(self.refuse_removal(reference, &id)?);
            }
            if let Ok(stream) = self.connect(&id) {
                let _ =
                    ask(&stream, &Frame::Signal { number: Signal::KILL.number(), stop: true }, &id);
                let _ = wait_for_exit(&stream, Some(KILL_PATIENCE));
            }
            if deadline.has_come() {
                return Err(Error::Busy { id: id.to_string() });
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        match self.dirs.record(&id) {
            Ok(record) => {
                self.reconcile(&record, &lock)?;
                remove_files(&self.dirs, &record, &lock)?;
            }
            // A record that cannot be read must not make the container immortal.
            Err(Error::Damaged { .. }) if removal == Removal::Force => self.dirs.delete(&id)?,
            Err(Error::NoSuchContainer { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(id)
    }

    /// Gives another name.
    ///
    /// # Errors
    /// The name is in use or not allowed.
    pub fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let naming = self.dirs.naming()?;
        let mut record = self.dirs.record(id)?;
        if record.name == name {
            return Err(Error::invalid(
                "name",
                name,
                "Renaming a container with the same name as its current name",
            ));
        }
        self.dirs.take_name(name, id, &naming)?;
        let old = std::mem::replace(&mut record.name, name.to_owned());
        if let Err(error) = self.dirs.write_record(&record) {
            let _ = self.dirs.free_name(name, id, &naming);
            return Err(error);
        }
        self.dirs.free_name(&old, id, &naming)
    }

    /// Changes limits and restart policy, at once where the container runs.
    ///
    /// # Errors
    /// Numbers that cannot be meant, or that the kernel refuses for what the container uses already.
    pub fn update(&self, id: &ContainerId, changes: &Changes) -> Result<()> {
        let Container { mut record, state } = self.get(id)?;
        let restart = changes.restart.unwrap_or(record.options.restart);
        if record.options.auto_remove && restart != RestartPolicy::No {
            return Err(Error::ConflictingOptions(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
                    .to_owned(),
            ));
        }
        let resources = record.options.resources.changed_by(&changes.resources);
        let document = spec::limits_document(&resources, cgroup::has_swap_limits())?;
        if matches!(state.status, Status::Running | Status::Paused) {
            Cgroup::of(id.as_str()).apply(document)?;
        }
        record.options.resources = resources;
        record.options.restart = restart;
        self.dirs.write_record(&record)
    }

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
                    remove_files(&self.dirs, &record, &lock)?;
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

    pub(crate) fn dirs(&self) -> &StateDir {
        &self.dirs
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
        // The monitor proper is a child of this child: this one ends at once.
        let _ = child.wait();
        sent.map_err(Error::system(act))?;
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

    /// Makes the state true when no monitor is there: what claims to run has ended with it.
    fn reconcile(&self, record: &Record, lock: &ContainerLock) -> Result<State> {
        let mut state = self.dirs.state(&record.id)?;
        if !state.status.is_live() {
            return Ok(state);
        }
        if let (Some(pid), Some(start)) = (state.pid, state.pid_start) {
            let _ = ProcessRef::recorded(pid, start).signal(Signal::KILL);
        }
        Cgroup::of(record.id.as_str()).remove()?;
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

    fn connect(&self, id: &ContainerId) -> Result<UnixStream> {
        protocol::connect(&self.dirs.socket(id)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::NotRunning { id: id.to_string() }
            }
            _ => Error::system("reach the monitor")(error),
        })
    }

    /// After its last word a monitor lets go of the lock at once; then the state is final.
    fn wait_for_monitor(&self, id: &ContainerId) -> Result<()> {
        let deadline = Deadline::after(Some(KILL_PATIENCE));
        while !deadline.has_come() {
            match self.dirs.try_lock(id) {
                Ok(None) => std::thread::sleep(Duration::from_micros(200)),
                Ok(Some(_)) | Err(Error::NoSuchContainer { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn free_random_name(&self) -> Result<String> {
        for attempt in 0.. {
            let name = id::random_name(attempt)?;
            if self.dirs.named(&name)?.is_none() {
                return Ok(name);
            }
        }
        Err(Error::invalid("name", "", "no random name is free"))
    }

    /// `container:NAME` is kept as an id: names may change.
    fn resolve_joined(&self, options: &mut RunOptions) -> Result<()> {
        let resolve = |reference: &mut String| -> Result<()> {
            *reference = self.dirs.resolve(reference)?.to_string();
            Ok(())
        };
        for mode in [&mut options.pid, &mut options.ipc, &mut options.uts]
            .into_iter()
            .chain(options.cgroupns.as_mut())
        {
            if let NamespaceMode::Container(reference) = mode {
                resolve(reference)?;
            }
        }
        if let NetworkMode::Container(reference) = &mut options.network {
            resolve(reference)?;
        }
        Ok(())
    }
}

/// Whether a signal means that the user wants the container down and not restarted.
pub(crate) fn asks_to_stop(signal: Signal, stop_signal: Option<Signal>) -> bool {
    const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGKILL, libc::SIGTERM];
    ENDING.contains(&signal.number()) || Some(signal) == stop_signal
}

/// The first process of a running container, for those who join its namespaces.
pub(crate) fn first_process_of(dirs: &StateDir, reference: &str) -> Result<i32> {
    let id = dirs.resolve(reference)?;
    let state = dirs.state(&id)?;
    let not_running = || Error::NotRunning { id: id.to_string() };
    let (Some(pid), Some(start)) = (state.pid, state.pid_start) else { return Err(not_running()) };
    if ProcessRef::recorded(pid, start).is_alive() { Ok(pid) } else { Err(not_running()) }
}

/// Removes everything of a container that does not run. What is done twice does no harm, so a removal that was interrupted is
/// finished by the next.
pub(crate) fn remove_files(dirs: &StateDir, record: &Record, lock: &ContainerLock) -> Result<()> {
    // The name may have changed since the record was read.
    let current = dirs.record(&record.id).unwrap_or_else(|_| record.clone());
    let mut state = dirs.state(&record.id).unwrap_or_else(|_| State::created());
    state.status = Status::Removing;
    // Only a note for others; a disk too full for it is all the more a reason to go on.
    let _ = dirs.write_state(&record.id, &state, lock);
    let removed = remove_parts(dirs, &current);
    if removed.is_err() {
        state.status = Status::Dead;
        let _ = dirs.write_state(&record.id, &state, lock);
    }
    removed
}

fn remove_parts(dirs: &StateDir, record: &Record) -> Result<()> {
    Cgroup::of(record.id.as_str()).remove()?;
    for path in &record.cleanup {
        state::remove_tree(path)?;
    }
    let naming = dirs.naming()?;
    dirs.free_name(&record.name, &record.id, &naming)?;
    dirs.delete(&record.id)
}

fn terminal_of(record: &Record) -> Terminal {
    if record.options.tty { Terminal::Yes } else { Terminal::No }
}

/// Everything that can be refused without starting anything.
fn check_options(options: &RunOptions) -> Result<()> {
    let grant = if options.privileged { Grant::Everything } else { Grant::Listed };
    let capabilities = Capabilities::resolve(&options.cap_add, &options.cap_drop, grant)?;
    seccomp::check(&options.seccomp, capabilities)?;
    bundle::check_sources(&options.mounts)?;
    for mount in &options.mounts {
        if mount.target == Path::new("/") {
            return Err(Error::invalid("mount", "/", "destination can't be '/'"));
        }
    }
    Ok(())
}

/// Asks for something and waits for the answer.
fn ask(stream: &UnixStream, frame: &Frame, id: &ContainerId) -> Result<()> {
    protocol::send(stream, frame).map_err(Error::system("talk to the monitor"))?;
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
enum RunEnd {
    /// With this code.
    Exited(i32),
    /// The monitor is gone without a word: the state on disk tells.
    MonitorGone,
    /// It has not come in time.
    StillRunning,
}

fn wait_for_exit(stream: &UnixStream, patience: Patience) -> Result<RunEnd> {
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
