//! Waiting for something to happen in a container's folder, told by the kernel.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::error::{Error, Result};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The state was written, or the folder is gone.
    State,
    /// Somebody may have let go of the lock.
    Lock,
    /// The log has grown or was rotated, or the state was written.
    Log,
}

/// The kernel's eye on one folder, open before the first look so that nothing between look and wait is missed.
#[derive(Debug)]
pub(crate) struct StateWatch {
    events: OwnedFd,
}

impl StateWatch {
    /// Watches a folder. One that is gone already makes every wait end at once.
    pub(crate) fn on(folder: &Path, awaited: Awaited) -> Result<Self> {
        let act = Error::system("watch the container's folder");
        let events = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(events) => events,
            Err(error) => return Err(act(error.into())),
        };
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | match awaited {
                Awaited::State => WatchFlags::empty(),
                Awaited::Lock => WatchFlags::CLOSE_WRITE,
                Awaited::Log => WatchFlags::MODIFY | WatchFlags::CREATE,
            };
        match inotify::add_watch(&events, folder, flags) {
            Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(Self { events }),
            Err(error) => Err(act(error.into())),
        }
    }

    /// Waits for an event, at most so long, and forgets all that have come.
    pub(crate) fn wait(&self, longest: Duration) {
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.events, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&timeout));
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(&self.events, &mut buffer).is_ok_and(|count| count > 0) {}
    }
}
