//! Processes of the host by pid and start time: a pid alone may belong to another process by the time it is used.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::signal::Signal;

/// A process that was seen alive at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRef {
    pid: i32,
    start: u64,
}

impl ProcessRef {
    /// The process that has this pid now.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start: start_time(pid)? })
    }

    /// One that was written down.
    pub fn recorded(pid: i32, start: u64) -> Self {
        Self { pid, start }
    }

    /// Its number.
    pub fn pid(self) -> i32 {
        self.pid
    }

    /// When it started, in clock ticks since boot.
    pub fn start(self) -> u64 {
        self.start
    }

    /// A handle on it, or `None` when it has ended (another process with its pid does not count).
    pub(crate) fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The handle is open now, so the pid cannot change its owner any more: this comparison is final.
        Ok((start_time(self.pid).ok() == Some(self.start)).then_some(handle))
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        matches!(self.open(), Ok(Some(_)))
    }

    /// Whether it has ended and nobody has taken leave of it yet.
    pub(crate) fn is_zombie(self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .ok()
            .and_then(|text| {
                text.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
            })
            .unwrap_or(true)
    }

    /// Sends a signal; a process that has ended is not an error.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(handle) = self.open()? else { return Ok(()) };
        match pidfd_send_signal(handle, kernel_signal(signal)) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The signal in the form the kernel interface takes, real-time ones included.
pub(crate) fn kernel_signal(signal: Signal) -> rustix::process::Signal {
    crate::sys::raw_signal(signal.number())
}

/// Field 22 of `/proc/<pid>/stat`, behind the parenthesised name which may hold anything.
fn start_time(pid: i32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    text.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_not_the_old_process() {
        let me = ProcessRef::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let other = ProcessRef::recorded(me.pid(), me.start() + 1);
        assert!(!other.is_alive());
        other.signal(Signal::KILL).unwrap();
        assert!(!ProcessRef::recorded(i32::MAX, 1).is_alive());
    }
}
