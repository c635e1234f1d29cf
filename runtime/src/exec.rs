//! `exec`: a further process in a running container.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::attach::{KeyScanner, RawMode, window_size, write_all};
use crate::caps::Capabilities;
use crate::error::{Error, Result};
use crate::events::Journal;
use crate::helper::{self, Order, Waited};
use crate::id::{self, ContainerId};
use crate::launch::{self, BundleDir, ChildStreams, Program};
use crate::monitor::open_null;
use crate::protocol::{self, Frame, WindowSize};
use crate::record::Record;
use crate::request::{DetachKeys, ExecConnection, ExecRequest, Streams};
use crate::rootfs::Root;
use crate::runtime::{Runtime, first_process_of};
use crate::spec;
use crate::state::{self, StateDir};
use crate::sys::{Forked, SignalTap};
use crate::user;

/// What the helper needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecOrder {
    id: ContainerId,
    command: Vec<String>,
    env: Vec<String>,
    workdir: Option<String>,
    user: Option<String>,
    privileged: bool,
    tty: bool,
    detached: bool,
    purpose: Purpose,
}

/// Why a process is run: what a health check does every few seconds is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Purpose {
    /// A user asked for it.
    Command,
    /// A health check.
    Probe,
}

/// The order for a probe of a container's health: the container's own user, folder and environment.
pub(crate) fn probe_order(id: &ContainerId, command: &[String]) -> Order {
    Order::Exec(ExecOrder {
        id: id.clone(),
        command: command.to_vec(),
        env: Vec::new(),
        workdir: None,
        user: None,
        privileged: false,
        tty: false,
        detached: false,
        purpose: Purpose::Probe,
    })
}

/// The command's side.
pub(crate) fn run(
    runtime: &Runtime,
    id: &ContainerId,
    request: ExecRequest,
) -> Result<Option<i32>> {
    let ExecRequest { command, env, workdir, user, privileged, tty, connection } = request;
    if command.is_empty() {
        return Err(Error::invalid("exec", id.short(), "no command was given"));
    }
    if let Some(dir) = workdir.as_deref().filter(|dir| !dir.starts_with('/')) {
        return Err(Error::invalid("working directory", dir, "Cwd must be an absolute path"));
    }
    let detached = matches!(connection, ExecConnection::Detached);
    let order = Order::Exec(ExecOrder {
        id: id.clone(),
        command,
        env,
        workdir,
        user,
        privileged,
        tty,
        detached,
        purpose: Purpose::Command,
    });
    let dirs = runtime.dirs();
    let args = [
        crate::HELPER_COMMAND.as_ref(),
        dirs.state_root().as_os_str(),
        dirs.run_root().as_os_str(),
    ];
    let (stream, mut child) = runtime.spawn(&args)?;
    let end = match &connection {
        ExecConnection::Detached => helper::send_order(&stream, &order, &[])
            .and_then(|()| await_started(&stream, id))
            .map(|()| None),
        ExecConnection::Attached { streams, .. } if !tty => {
            let null = open_null()?;
            let stdin = streams.stdin().unwrap_or_else(|| null.as_fd());
            helper::send_order(&stream, &order, &[stdin, streams.stdout(), streams.stderr()])
                .and_then(|()| await_exit(&stream, id))
                .map(Some)
        }
        ExecConnection::Attached { streams, detach_keys } => {
            helper::send_order(&stream, &order, &[])
                .and_then(|()| serve_terminal(&stream, streams, detach_keys, id))
        }
    };
    drop(stream);
    // A process left running keeps its helper; one that ended lets it go at once.
    if !matches!(end, Ok(None)) || detached {
        let _ = child.wait();
    }
    end
}

fn await_started(stream: &UnixStream, id: &ContainerId) -> Result<()> {
    match next_frame(stream, id)? {
        Frame::Failed { exit_code, message } => Err(Error::Start { exit_code, message }),
        _ => Ok(()),
    }
}

fn await_exit(stream: &UnixStream, id: &ContainerId) -> Result<i32> {
    loop {
        match next_frame(stream, id)? {
            Frame::Exited(code) => return Ok(code),
            Frame::Failed { exit_code, message } => {
                return Err(Error::Start { exit_code, message });
            }
            _ => {}
        }
    }
}

fn next_frame(stream: &UnixStream, id: &ContainerId) -> Result<Frame> {
    protocol::receive(stream).map_err(Error::system("hear from the helper"))?.ok_or_else(|| {
        Error::Start {
            exit_code: 125,
            message: format!("the helper of container {id} ended unexpectedly"),
        }
    })
}

/// The terminal's other end comes with one byte before the frames; a failure comes as a frame.
fn serve_terminal(
    stream: &UnixStream,
    streams: &Streams,
    keys: &DetachKeys,
    id: &ContainerId,
) -> Result<Option<i32>> {
    let (first, fds) =
        protocol::receive_with_fds(stream, 1).map_err(Error::system("hear from the helper"))?;
    let Some(master) = fds.into_iter().next() else {
        return await_failure(stream, &first, id);
    };
    let raw = streams.stdin().map(RawMode::of).transpose()?.flatten();
    let tap = SignalTap::open(&[libc::SIGWINCH]).map_err(Error::system("watch for signals"))?;
    let end = pump(stream, &master, streams, keys, tap.as_ref(), id);
    drop(raw);
    end
}

fn await_failure(mut stream: &UnixStream, first: &[u8], id: &ContainerId) -> Result<Option<i32>> {
    let mut bytes = first.to_vec();
    stream.read_to_end(&mut bytes).map_err(Error::system("hear from the helper"))?;
    match Frame::decode(&mut bytes).map_err(Error::system("hear from the helper"))? {
        Some(Frame::Failed { exit_code, message }) => Err(Error::Start { exit_code, message }),
        _ => Err(Error::Start {
            exit_code: 125,
            message: format!("the helper of container {id} ended unexpectedly"),
        }),
    }
}

fn pump(
    stream: &UnixStream,
    master: &OwnedFd,
    streams: &Streams,
    keys: &DetachKeys,
    tap: Option<&SignalTap>,
    id: &ContainerId,
) -> Result<Option<i32>> {
    let mut scanner = KeyScanner::new(keys);
    let mut stdin = streams.stdin();
    let mut output_open = true;
    let mut buffer = vec![0; 16 << 10];
    set_size(master, window_size(streams));
    loop {
        let ready = wait(stream, output_open.then_some(master), stdin, tap);
        if let Some(tap) = tap
            && !tap.drain().is_empty()
        {
            set_size(master, window_size(streams));
        }
        if ready.output {
            output_open = copy_output(master, streams.stdout(), &mut buffer);
        }
        if ready.stdin
            && let Some(fd) = stdin
        {
            match rustix::io::read(fd, &mut buffer) {
                Ok(count) if count > 0 => {
                    let (bytes, detached) = scanner.scan(&buffer[..count]);
                    write_all(master.as_fd(), &bytes);
                    if detached {
                        return Ok(None);
                    }
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                _ => stdin = None,
            }
        }
        if ready.helper {
            while output_open && wait_output(master) {
                output_open = copy_output(master, streams.stdout(), &mut buffer);
            }
            return await_exit(stream, id).map(Some);
        }
    }
}

struct Ready {
    helper: bool,
    output: bool,
    stdin: bool,
}

fn wait(
    stream: &UnixStream,
    output: Option<&OwnedFd>,
    stdin: Option<BorrowedFd<'_>>,
    tap: Option<&SignalTap>,
) -> Ready {
    let mut fds = vec![PollFd::new(stream, PollFlags::IN)];
    fds.extend(output.map(|fd| PollFd::new(fd, PollFlags::IN)));
    fds.extend(stdin.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    fds.extend(tap.map(|tap| PollFd::from_borrowed_fd(tap.fd(), PollFlags::IN)));
    let _ = poll(&mut fds, None::<&Timespec>);
    let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
    let stdin_at = 1 + usize::from(output.is_some());
    Ready {
        helper: ready(0),
        output: output.is_some() && ready(1),
        stdin: stdin.is_some() && ready(stdin_at),
    }
}

fn wait_output(master: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(master, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
}

/// False when nothing more comes: the other side of a terminal is closed with EIO.
fn copy_output(master: &OwnedFd, stdout: BorrowedFd<'_>, buffer: &mut [u8]) -> bool {
    match rustix::io::read(master, &mut *buffer) {
        Ok(count) if count > 0 => {
            write_all(stdout, &buffer[..count]);
            true
        }
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
        _ => false,
    }
}

fn set_size(master: &OwnedFd, size: Option<WindowSize>) {
    if let Some(size) = size {
        let size = rustix::termios::Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// The helper's side.
pub(crate) fn in_helper(
    dirs: &StateDir,
    order: &ExecOrder,
    streams: Vec<OwnedFd>,
    stream: &UnixStream,
) -> Result<()> {
    if order.detached {
        match helper::continue_in_background()? {
            Forked::Parent(_) => return Ok(()),
            Forked::Child => {}
        }
    }
    let record = dirs.record(&order.id)?;
    let pid = first_process_of(dirs, order.id.as_str())?;
    let root = Root::open(Path::new(&format!("/proc/{pid}/root")))?;
    let user = order.user.as_deref().unwrap_or(&record.user);
    let identity = user::look_up(&root, user, &[])?;
    let workdir = order.workdir.as_deref().map_or(record.workdir.as_path(), Path::new);
    check_workdir(&root, workdir)?;
    let mut env = record.env.clone();
    for entry in &order.env {
        let name = entry.split('=').next().unwrap_or_default();
        env.retain(|known| known.split('=').next() != Some(name));
        env.extend(entry.contains('=').then(|| entry.clone()));
    }
    let env = spec::complete_env(&env, record.hostname(), &identity.home, order.tty);
    let mut program =
        Program::first(&record.options, &order.command, &env, identity.uid, &dirs.seccomp_cache())?;
    if order.privileged {
        program.capabilities = Capabilities::all();
    }
    program.init = false;
    program.fresh_network = false;
    program.close_cgroups = false;
    let process = json!({
        "terminal": order.tty,
        "user": { "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups },
        "args": order.command,
        "env": env,
        "cwd": workdir,
        "noNewPrivileges": record.options.no_new_privileges.then_some(true),
    });
    let note = Notes::new(dirs, order, &record)?;
    start(dirs, order, program, &process, streams, stream, &note)
}

/// The events of one process.
struct Notes<'a> {
    journal: Option<Journal>,
    record: &'a Record,
    id: String,
    command: String,
}

impl<'a> Notes<'a> {
    fn new(dirs: &StateDir, order: &ExecOrder, record: &'a Record) -> Result<Self> {
        Ok(Self {
            journal: (order.purpose == Purpose::Command).then(|| dirs.journal()),
            record,
            id: hex::encode(id::random::<32>()?),
            command: order.command.join(" "),
        })
    }

    fn started(&self) {
        let Some(journal) = &self.journal else { return };
        for act in ["exec_create", "exec_start"] {
            let action = format!("{act}: {}", self.command);
            journal.container(self.record, &action, &[("execID", &self.id)]);
        }
    }

    fn ended(&self, code: i32) {
        let Some(journal) = &self.journal else { return };
        let code = code.to_string();
        journal.container(self.record, "exec_die", &[("execID", &self.id), ("exitCode", &code)]);
    }
}

fn start(
    dirs: &StateDir,
    order: &ExecOrder,
    program: Program,
    process: &serde_json::Value,
    streams: Vec<OwnedFd>,
    stream: &UnixStream,
    notes: &Notes<'_>,
) -> Result<()> {
    let bundle = BundleDir::new(dirs.run(&order.id).join("bundle"));
    let file = bundle.path().join(format!("process-{}.json", hex::encode(id::random::<8>()?)));
    state::write_json(&file, process)?;
    let launched = child_streams(order.tty, streams).and_then(|streams| {
        launch::start_in_container(order.id.as_str(), &bundle, &file, program, streams)
    });
    let _ = state::remove_file(&file);
    let launched = launched?;
    notes.started();
    if let Some(terminal) = &launched.terminal
        && !order.detached
    {
        helper::send_terminal(stream, terminal)?;
    }
    if order.detached {
        let _ = protocol::send(stream, &Frame::Started);
        notes.ended(helper::reap(launched.process.pid()));
        return Ok(());
    }
    let code = match helper::wait_for_child(launched.handle.as_fd(), launched.process.pid(), stream)
    {
        Waited::Ended(code) => code,
        // The command is gone; the process stays, as in Docker, and so does its parent.
        Waited::Abandoned => helper::reap(launched.process.pid()),
    };
    notes.ended(code);
    let _ = protocol::send(stream, &Frame::Exited(code));
    Ok(())
}

fn child_streams(tty: bool, streams: Vec<OwnedFd>) -> Result<ChildStreams> {
    if tty {
        return Ok(ChildStreams::Terminal);
    }
    let mut streams = streams.into_iter();
    match (streams.next(), streams.next(), streams.next()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Ok(ChildStreams::Pipes { stdin, stdout, stderr })
        }
        _ => Ok(ChildStreams::Pipes {
            stdin: open_null()?,
            stdout: open_null()?,
            stderr: open_null()?,
        }),
    }
}

fn check_workdir(root: &Root, workdir: &Path) -> Result<()> {
    let reason =
        match root.open_inside(workdir, rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "no such file or directory".to_owned()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                "not a directory".to_owned()
            }
            Err(error) => error.to_string(),
        };
    Err(Error::Start {
        exit_code: 127,
        message: format!(
            "OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd (\"{}\") set in config.json failed: {reason}: unknown",
            workdir.display()
        ),
    })
}
