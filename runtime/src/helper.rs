//! The helper: one process of this program for one process of `exec` or one step of a build.
//!
//! Its stdin is a socket. The command sends a greeting with the streams, then the request as a frame of JSON; the helper
//! answers with frames: a terminal's other end, `Started`, `Failed`, `Exited`.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{Pid, WaitOptions, waitpid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::exec::{self, ExecOrder};
use crate::limits;
use crate::monitor::take_stdin;
use crate::protocol::{self, Frame};
use crate::state::StateDir;
use crate::step::{self, StepOrder};
use crate::sys::{self, Forked};

/// First bytes on the socket: both sides are the same version of this program.
const GREETING: &[u8] = b"wherry helper 01";

/// What a helper is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// A further process in a container.
    Exec(ExecOrder),
    /// A step of a build.
    Step(Box<StepOrder>),
}

/// `wherry runtime-helper STATE_DIR RUN_DIR`: not for people. Must be called before any thread exists.
pub fn helper_main(args: &[OsString]) -> ExitCode {
    // A helper of a detached `exec` may live long: it keeps nothing of what the command had open.
    sys::close_from(3);
    let [state, run] = args else { return ExitCode::from(125) };
    let dirs = StateDir::existing(PathBuf::from(state), PathBuf::from(run));
    let Ok((stream, streams, order)) = receive_order() else { return ExitCode::from(125) };
    let _ = rustix::thread::set_name(c"wherry-helper");
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let done = rustix::process::chdir("/")
        .map_err(|error| Error::system("leave the working folder")(error.into()))
        .and_then(|()| match order {
            Order::Exec(order) => exec::in_helper(&dirs, &order, streams, &stream),
            Order::Step(order) => step::in_helper(&dirs, &order, streams, &stream),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failed =
                Frame::Failed { exit_code: error.run_exit_code(), message: error.to_string() };
            let _ = protocol::send(&stream, &failed);
            ExitCode::from(125)
        }
    }
}

/// Sends an order with the streams it needs.
pub(crate) fn send_order(
    mut stream: &UnixStream,
    order: &Order,
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    let act = "talk to the helper";
    let body = serde_json::to_vec(order).map_err(|error| Error::system(act)(error.into()))?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    protocol::send_with_fds(stream, GREETING, fds)
        .and_then(|()| stream.write_all(&length))
        .and_then(|()| stream.write_all(&body))
        .map_err(Error::system(act))
}

fn receive_order() -> Result<(UnixStream, Vec<OwnedFd>, Order)> {
    let stream = UnixStream::from(take_stdin()?);
    let act = "receive the order";
    let (greeting, fds) =
        protocol::receive_with_fds(&stream, GREETING.len()).map_err(Error::system(act))?;
    if greeting != GREETING {
        return Err(Error::system(act)(io::ErrorKind::InvalidData.into()));
    }
    let order = read_json(&stream).map_err(Error::system(act))?;
    Ok((stream, fds, order))
}

fn read_json<T: DeserializeOwned>(mut stream: &UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if u64::from(length) > limits::RECORD_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Leaves the parent: the command returns, this process stays to take leave of its child.
pub(crate) fn continue_in_background() -> Result<Forked> {
    sys::fork_single_threaded().map_err(Error::system("fork the helper"))
}

/// How waiting for a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The child has ended with this code.
    Ended(i32),
    /// The command has gone away.
    Abandoned,
}

/// Waits until the child has ended or the command hangs up.
pub(crate) fn wait_for_child(handle: BorrowedFd<'_>, pid: i32, stream: &UnixStream) -> Waited {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(handle, PollFlags::IN),
            PollFd::new(stream, PollFlags::RDHUP),
        ];
        let _ = poll(&mut fds, None::<&Timespec>);
        let [ended, hung_up] = [!fds[0].revents().is_empty(), !fds[1].revents().is_empty()];
        if ended {
            return Waited::Ended(reap(pid));
        }
        if hung_up {
            return Waited::Abandoned;
        }
    }
}

/// Waits for a child that has ended or is about to.
pub(crate) fn reap(pid: i32) -> i32 {
    let Some(pid) = Pid::from_raw(pid) else { return 255 };
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                return status
                    .exit_status()
                    .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
                    .unwrap_or(255);
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return 255,
        }
    }
}

/// Gives the command an open file.
pub(crate) fn send_terminal(stream: &UnixStream, terminal: &OwnedFd) -> Result<()> {
    protocol::send_with_fds(stream, &[1], &[terminal.as_fd()])
        .map_err(Error::system("hand over the terminal"))
}
