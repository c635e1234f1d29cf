//! The life of a container from the monitor's side: start, run, end, start again or be removed.

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitOptions, waitpid};

use super::client::Client;
use super::probe::Prober;
use super::session::{self, Request, Session, Streams};
use crate::binds::Binds;
use crate::bundle::{self, Ground, HostFiles};
use crate::cgroup::Cgroup;
use crate::clock::{self, Deadline, Stopwatch};
use crate::error::{Error, Result};
use crate::events::Journal;
use crate::health::HealthState;
use crate::id::ContainerId;
use crate::launch::{self, BundleDir, ChildStreams, Launched, Program};
use crate::log::{self, LogDriver};
use crate::network::{self, Attachment, Networks};
use crate::options::NetworkMode;
use crate::process::ProcessRef;
use crate::protocol::{self, Frame};
use crate::record::{Record, State, Status};
use crate::request::OwnVolumes;
use crate::rootfs;
use crate::runtime::{first_process_of, remove_files};
use crate::signal::Signal;
use crate::spec::{self, Plan};
use crate::state::{self, ContainerLock, StateDir};
use crate::sys::SignalTap;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A run this long makes the next pause short again.
const LONG_RUN: Duration = Duration::from_secs(10);

/// The monitor of one container.
pub(super) struct Supervisor {
    dirs: StateDir,
    record: Record,
    state: State,
    lock: ContainerLock,
    listener: UnixListener,
    clients: Vec<Client>,
    log: Box<dyn LogDriver>,
    tap: Option<SignalTap>,
    bundle: BundleDir,
    networks: Option<Box<dyn Networks>>,
    attachment: Option<Attachment>,
    journal: Journal,
}

type Prepared = (Record, State, UnixListener, Box<dyn LogDriver>, BundleDir);

/// How one run went.
enum Run {
    NotStarted(Error),
    Ended { exit_code: i32, ran: Duration },
}

impl Supervisor {
    /// Makes everything ready but the container itself. The command's connection comes back with an error.
    pub(super) fn new(
        dirs: StateDir,
        id: ContainerId,
        command: UnixStream,
        lock: ContainerLock,
        networks: Option<Box<dyn Networks>>,
    ) -> Result<Self, (UnixStream, Error)> {
        let prepared = Self::prepare(&dirs, &id);
        let (record, state, listener, log, bundle) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Err((command, error)),
        };
        let tap = SignalTap::open(&[libc::SIGTERM, libc::SIGINT]).ok().flatten();
        let clients = Client::new(command).into_iter().collect();
        let journal = dirs.journal();
        Ok(Self {
            dirs,
            record,
            state,
            lock,
            listener,
            clients,
            log,
            tap,
            bundle,
            networks,
            attachment: None,
            journal,
        })
    }

    fn prepare(dirs: &StateDir, id: &ContainerId) -> Result<Prepared> {
        let record = dirs.record(id)?;
        let state = dirs.state(id)?;
        // What is left of an earlier run is of no use to anybody: no monitor was alive to use it.
        state::remove_tree(&dirs.run(id))?;
        state::make_private_dir(&dirs.run(id))?;
        let socket = dirs.socket(id);
        let listener = protocol::listen(&socket).map_err(Error::file("listen at", &socket))?;
        listener.set_nonblocking(true).map_err(Error::file("listen at", &socket))?;
        let origin = log::Origin { id: id.as_str(), name: &record.name, image: &record.image };
        let log_file = dirs.log_file(id, record.options.log.driver());
        let log = log::open(&record.options.log, &log_file, &origin)?;
        rootfs::enter_private_mount_namespace()?;
        let bundle = BundleDir::new(dirs.run(id).join("bundle"));
        Ok((record, state, listener, log, bundle))
    }

    /// Runs the container until it is to stay down.
    pub(super) fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        self.state.restart_count = 0;
        self.state.stopped_by_user = false;
        let rootfs = rootfs::mount(&self.record.rootfs, &self.bundle.rootfs(), &self.dirs.stubs());
        let ready = rootfs.and_then(|path| self.attach_networks().map(|()| path));
        let last = loop {
            let run = match &ready {
                Ok(path) => self.run_once(path.clone()),
                Err(error) => Run::NotStarted(copy_of(error)),
            };
            match run {
                Run::NotStarted(error) => break self.note_failure(&error),
                Run::Ended { exit_code, ran } => {
                    if !self.wants_restart(exit_code) {
                        break self.note_end(Status::Exited, exit_code);
                    }
                    pause = if ran >= LONG_RUN { FIRST_PAUSE } else { pause };
                    let frame = self.note_end(Status::Restarting, exit_code);
                    self.clients.drain(..).for_each(|client| client.finish(&frame));
                    if !self.pause_before_restart(pause) {
                        break self.note_end(Status::Exited, exit_code);
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    self.state.restart_count += 1;
                }
            }
        };
        self.end(&last);
    }

    /// Connects the container to its networks, for all runs of this monitor's life.
    fn attach_networks(&mut self) -> Result<()> {
        if !matches!(self.record.options.network, NetworkMode::Named(_)) {
            return Ok(());
        }
        let Some(networks) = &self.networks else {
            return Err(Error::unsupported(
                format!("network \"{}\"", self.record.options.network),
                "this program has no networks of its own",
            ));
        };
        self.attachment = Some(networks.attach(&self.record).map_err(network::refused)?);
        Ok(())
    }

    /// Whose `/etc/hosts` and its like the container has.
    fn host_files(&self) -> Result<HostFiles> {
        match &self.record.options.network {
            NetworkMode::Container(other) => {
                Ok(HostFiles::Shared(self.dirs.container(&self.dirs.resolve(other)?)))
            }
            _ => Ok(HostFiles::Own(self.dirs.container(&self.record.id))),
        }
    }

    fn run_once(&mut self, rootfs: std::path::PathBuf) -> Run {
        let (launched, streams) = match self.launch(rootfs) {
            Ok(launched) => launched,
            Err(error) => {
                let _ = Cgroup::of(self.record.id.as_str()).remove();
                launch::forget_container(&self.bundle);
                reap_children();
                return Run::NotStarted(error);
            }
        };
        let watch = Stopwatch::start();
        self.note_start(&launched);
        crate::sys::trim_heap();
        self.carry(&launched, streams);
        let exit_code = wait_for(launched.process.pid());
        self.state.oom_killed = Cgroup::of(self.record.id.as_str()).saw_oom_kill();
        self.note_death(exit_code, watch.elapsed());
        let _ = Cgroup::of(self.record.id.as_str()).remove();
        launch::forget_container(&self.bundle);
        reap_children();
        Run::Ended { exit_code, ran: watch.elapsed() }
    }

    fn launch(&self, rootfs: std::path::PathBuf) -> Result<(Launched, Streams)> {
        let record = &self.record;
        let options = &record.options;
        let find = |reference: &str| first_process_of(&self.dirs, reference);
        let ground = Ground {
            rootfs,
            user: &record.user,
            hostname: record.hostname(),
            options,
            files: self.host_files()?,
            network: self.attachment.as_ref(),
        };
        let (mut facts, root) = bundle::gather(ground, &find)?;
        root.make_dirs(&record.workdir)?;
        state::make_private_dir(self.bundle.path())?;
        // Until the container has them.
        let _binds = Binds::make(&mut facts, options, self.bundle.path())?;
        let view = self.bundle.path().join("cgroup");
        bundle::lay_out_cgroups(&mut facts, record.id.as_str(), options, &view)?;
        let env =
            spec::complete_env(&record.env, record.hostname(), &facts.identity.home, options.tty);
        let cache = self.dirs.seccomp_cache();
        let program = Program::first(options, &record.args, &env, facts.identity.uid, &cache)?;
        let plan = Plan {
            id: record.id.as_str(),
            hostname: record.hostname(),
            args: &record.args,
            env,
            workdir: &record.workdir,
            options,
            annotations: annotations_of(record),
        };
        self.bundle.write(&spec::build(&plan, &facts)?)?;
        let (streams, child) = match options.tty {
            true => (None, ChildStreams::Terminal),
            false => {
                let (ours, child) = Streams::pipes(options.open_stdin)?;
                (Some(ours), child)
            }
        };
        let mut launched =
            launch::start_container(record.id.as_str(), &self.bundle, program, child)?;
        let streams = match (streams, launched.terminal.take()) {
            (Some(streams), _) => streams,
            (None, Some(master)) => Streams::terminal(master, options.open_stdin)?,
            (None, None) => return Err(Error::MonitorLost { id: record.id.to_string() }),
        };
        Ok((launched, streams))
    }

    fn carry(&mut self, launched: &Launched, streams: Streams) {
        let cgroup = Cgroup::of(self.record.id.as_str());
        let own_pids = self.record.options.pid == crate::options::NamespaceMode::Private;
        let prober = self
            .record
            .health_plan()
            .ok()
            .flatten()
            .map(|plan| Prober::new(&self.dirs, &self.record.id, plan));
        let mut session = Session {
            streams,
            log: self.log.as_mut(),
            clients: &mut self.clients,
            listener: &self.listener,
            tap: self.tap.as_ref(),
            stdin_once: self.record.options.stdin_once,
            prober,
            network: self
                .attachment
                .as_mut()
                .and_then(|attachment| attachment.service.as_deref_mut()),
        };
        let (state, record, dirs, lock) = (&mut self.state, &self.record, &self.dirs, &self.lock);
        let journal = &self.journal;
        let mut handle = |request| {
            let before = state.health.as_ref().map(|health| health.status);
            let event = event_of(&request, record);
            let done = handle_request(request, launched, &cgroup, state, record);
            match (&event, state.health.as_ref().map(|health| health.status)) {
                (Some((action, signal)), _) if done.is_ok() => {
                    let more = signal.as_ref().map(|signal| ("signal", signal.as_str()));
                    journal.container(record, action, more.as_slice());
                }
                (None, Some(now)) if before != Some(now) => {
                    journal.container(record, &format!("health_status: {}", now.as_str()), &[]);
                }
                _ => {}
            }
            let _ = dirs.write_state(&record.id, state, lock);
            done
        };
        // With a pid namespace of its own nothing of the container is left by now; without one its other processes are.
        let mut before_last_read = || {
            if !own_pids {
                cgroup.kill_all();
            }
        };
        session.run(launched, &mut handle, &mut before_last_read);
    }

    fn wants_restart(&mut self, exit_code: i32) -> bool {
        // `update` may have changed the policy since the container was started.
        if let Ok(record) = self.dirs.record(&self.record.id) {
            self.record.options.restart = record.options.restart;
            self.record.options.resources = record.options.resources;
        }
        !self.state.stopped_by_user
            && self.record.options.restart.wants_restart(exit_code, self.state.restart_count)
    }

    /// Waits before a restart, still answering; false when the user wants it down.
    fn pause_before_restart(&mut self, pause: Duration) -> bool {
        let deadline = Deadline::after(Some(pause));
        while let Some(left) = deadline.remaining().filter(|left| !left.is_zero()) {
            let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(&self.listener, PollFlags::IN)];
            fds.extend(
                self.clients
                    .iter()
                    .map(|client| PollFd::from_borrowed_fd(client.fd(), PollFlags::IN)),
            );
            let timeout = session::timespec(left);
            let _ = poll(&mut fds, Some(&timeout));
            drop(fds);
            session::accept(&self.listener, &mut self.clients);
            let mut stopped = false;
            let mut handle = |request| match request {
                Request::Signal { stop: true, .. } => {
                    stopped = true;
                    Ok(())
                }
                _ => Err("the container is restarting".to_owned()),
            };
            for client in &mut self.clients {
                for frame in client.receive() {
                    match frame {
                        crate::protocol::Frame::Attach { stdin } => client.attach(stdin),
                        frame => session::answer(client, &frame, &mut handle),
                    }
                }
            }
            self.clients.retain(|client| !client.is_gone());
            if stopped {
                self.state.stopped_by_user = true;
                return false;
            }
        }
        true
    }

    fn note_start(&mut self, launched: &Launched) {
        let is_probed = self.record.health_plan().is_ok_and(|plan| plan.is_some());
        let state = &mut self.state;
        state.health = is_probed.then(HealthState::starting);
        state.status = Status::Running;
        state.pid = Some(launched.process.pid());
        state.pid_start = Some(launched.process.start());
        state.monitor = own_process();
        state.started_at = Some(clock::now());
        state.finished_at = None;
        state.exit_code = 0;
        state.error = String::new();
        state.oom_killed = false;
        let _ = self.dirs.write_state(&self.record.id, &self.state, &self.lock);
        self.journal.container(&self.record, "start", &[]);
        for client in &mut self.clients {
            client.send(&Frame::Started);
        }
    }

    fn note_death(&self, exit_code: i32, ran: Duration) {
        if self.state.oom_killed {
            self.journal.container(&self.record, "oom", &[]);
        }
        let (code, seconds) = (exit_code.to_string(), ran.as_secs().to_string());
        let more = [("exitCode", code.as_str()), ("execDuration", seconds.as_str())];
        self.journal.container(&self.record, "die", &more);
    }

    fn note_end(&mut self, status: Status, exit_code: i32) -> Frame {
        let state = &mut self.state;
        state.status = status;
        state.pid = None;
        state.pid_start = None;
        state.exit_code = exit_code;
        state.finished_at = Some(clock::now());
        let _ = self.dirs.write_state(&self.record.id, &self.state, &self.lock);
        Frame::Exited(exit_code)
    }

    fn note_failure(&mut self, error: &Error) -> Frame {
        let exit_code = error.run_exit_code();
        let state = &mut self.state;
        // A container that has run keeps the times of its last run; one that never has stays `created`, as in Docker.
        state.status = if state.started_at.is_some() { Status::Exited } else { Status::Created };
        state.pid = None;
        state.pid_start = None;
        state.exit_code = i32::from(exit_code);
        state.error = error.to_string();
        let _ = self.dirs.write_state(&self.record.id, &self.state, &self.lock);
        Frame::Failed { exit_code, message: error.to_string() }
    }

    /// Removes what has to go and tells everybody who is still connected.
    fn end(self, last: &Frame) {
        let Self { dirs, record, lock, listener, mut clients, log, networks, attachment, .. } =
            self;
        drop(log);
        if attachment.is_some() {
            drop(attachment);
            if let Some(Err(left)) = networks.map(|networks| networks.release(&record.id)) {
                tracing::warn!("take back the networks of {}: {left}", record.id);
            }
        }
        let _ = rustix::mount::unmount(self.bundle.rootfs(), rustix::mount::UnmountFlags::DETACH);
        // `restart` holds the removal back for the time between two runs.
        let is_removed = dirs
            .record(&record.id)
            .map_or(record.options.auto_remove, |now| now.options.auto_remove);
        if is_removed {
            let _ = remove_files(&dirs, &record, &lock, OwnVolumes::Keep);
        } else {
            let _ = state::remove_tree(&dirs.run(&record.id));
        }
        // The socket's name is gone, so nobody can connect any more; who did so before it went must hear the end too.
        while session::accept(&listener, &mut clients) {}
        drop(listener);
        drop(lock);
        clients.into_iter().for_each(|client| client.finish(last));
    }
}

/// The event that a request is, where it is one, with the signal it sends.
fn event_of(request: &Request, record: &Record) -> Option<(&'static str, Option<String>)> {
    match request {
        Request::Signal { number: 0, .. } => {
            Some(("kill", Some(record.stop_signal.number().to_string())))
        }
        Request::Signal { number, .. } => Some(("kill", Some(number.to_string()))),
        Request::Pause => Some(("pause", None)),
        Request::Resume => Some(("unpause", None)),
        Request::Health(_) => None,
    }
}

fn handle_request(
    request: Request,
    launched: &Launched,
    cgroup: &Cgroup,
    state: &mut State,
    record: &Record,
) -> Result<(), String> {
    match request {
        Request::Health(health) => {
            state.health = Some(health);
            Ok(())
        }
        Request::Signal { number, stop } => {
            let signal = if number == 0 {
                record.stop_signal
            } else {
                Signal::try_from(number).map_err(|e| e.to_string())?
            };
            state.stopped_by_user |= stop;
            let sent = launched.process.signal(signal).map_err(|error| error.to_string());
            if signal == Signal::KILL && state.status == Status::Paused {
                // A frozen process does not die of it before it is thawed.
                let _ = cgroup.thaw();
                state.status = Status::Running;
            }
            sent
        }
        Request::Pause => cgroup
            .freeze()
            .map(|()| state.status = Status::Paused)
            .map_err(|error| error.to_string()),
        Request::Resume => cgroup
            .thaw()
            .map(|()| state.status = Status::Running)
            .map_err(|error| error.to_string()),
    }
}

/// Waits for a child that is known to have ended (or is about to).
fn wait_for(pid: i32) -> i32 {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return 255 };
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => 255,
                };
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return 255,
        }
    }
}

/// Takes leave of children that have ended without being waited for.
fn reap_children() {
    while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
}

fn annotations_of(record: &Record) -> std::collections::BTreeMap<String, String> {
    let mut all = launch::annotations(&record.name, &record.image);
    all.extend(record.options.annotations.clone());
    all
}

/// What proves that this monitor lives.
fn own_process() -> Option<(i32, u64)> {
    let pid = i32::try_from(std::process::id()).ok()?;
    ProcessRef::of(pid).ok().map(|process| (process.pid(), process.start()))
}

fn copy_of(error: &Error) -> Error {
    Error::Start { exit_code: error.run_exit_code(), message: error.to_string() }
}
