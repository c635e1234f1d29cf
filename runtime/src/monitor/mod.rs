//! The monitor: one process per container. It makes the container, owns its streams, its log and its exit status, starts it
//! again when its policy says so, and removes it when it was asked to. It outlives the command that started it.
//!
//! The command gives it, over the socket that is its stdin, the container's lock. As long as the monitor lives the lock is
//! held, so everybody can see whether a state that says `running` is true.

mod client;
mod probe;
mod session;
mod supervisor;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::network::NetworksOf;
use crate::protocol::{self, Frame};
use crate::state::{ContainerLock, StateDir};
use crate::sys::{self, Forked};

/// First bytes on the socket: both sides are the same version of this program.
pub(crate) const GREETING: &[u8] = b"wherry monitor 1";

/// `wherry monitor STATE_DIR RUN_DIR ID`: not for people. Must be called before any thread exists.
pub fn monitor_main(args: &[OsString], networks: NetworksOf) -> ExitCode {
    // Whatever else the command had open is not the monitor's: it would hold a caller's pipes for as long as it lives.
    sys::close_from(3);
    let Some((dirs, id)) = parse(args) else {
        return ExitCode::from(125);
    };
    let Ok((command, lock)) = receive_greeting() else {
        return ExitCode::from(125);
    };
    match detach() {
        Ok(Forked::Parent(_)) => return ExitCode::SUCCESS,
        Ok(Forked::Child) => {}
        Err(error) => return refuse(&command, &error),
    }
    let networks = networks(dirs.state_root(), dirs.run_root());
    match supervisor::Supervisor::new(dirs, id, command, lock, networks) {
        Ok(supervisor) => {
            supervisor.run();
            ExitCode::SUCCESS
        }
        Err((command, error)) => refuse(&command, &error),
    }
}

fn refuse(command: &UnixStream, error: &Error) -> ExitCode {
    let failed = Frame::Failed { exit_code: error.run_exit_code(), message: error.to_string() };
    let _ = protocol::send(command, &failed);
    ExitCode::from(125)
}

fn parse(args: &[OsString]) -> Option<(StateDir, ContainerId)> {
    let [state, run, id] = args else { return None };
    Some((StateDir::existing(PathBuf::from(state), PathBuf::from(run)), id.to_str()?.parse().ok()?))
}

fn receive_greeting() -> Result<(UnixStream, ContainerLock)> {
    let stream = UnixStream::from(take_stdin()?);
    let bad = || Error::system("start the monitor")(std::io::ErrorKind::InvalidData.into());
    let (bytes, fds) = protocol::receive_with_fds(&stream, GREETING.len())
        .map_err(Error::system("receive the container's lock"))?;
    let lock = fds.into_iter().next().filter(|_| bytes == GREETING).ok_or_else(bad)?;
    Ok((stream, ContainerLock::inherited(lock.into())))
}

/// Moves stdin out of the way of the container's streams and puts `/dev/null` in its place.
pub(crate) fn take_stdin() -> Result<OwnedFd> {
    let act = "move the command's socket";
    let stdin = sys::borrow_standard_stream(sys::StandardStream::Stdin);
    let moved = rustix::io::fcntl_dupfd_cloexec(stdin, 3)
        .map_err(|error| Error::system(act)(error.into()))?;
    let null = open_null()?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| Error::system(act)(error.into()))?;
    Ok(moved)
}

/// `/dev/null`, for reading and writing.
pub(crate) fn open_null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::file("open", "/dev/null")(error.into()))
}

/// Leaves the command's session, its process group and its parent.
fn detach() -> Result<Forked> {
    let _ = rustix::thread::set_name(c"wherry-monitor");
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::chdir("/")
        .map_err(|error| Error::system("leave the working folder")(error.into()))?;
    let null = open_null()?;
    let act = "detach from the terminal";
    rustix::stdio::dup2_stdout(null.as_fd()).map_err(|error| Error::system(act)(error.into()))?;
    rustix::stdio::dup2_stderr(null.as_fd()).map_err(|error| Error::system(act)(error.into()))?;
    sys::fork_single_threaded().map_err(Error::system("fork the monitor"))
}
