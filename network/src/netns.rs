//! A network namespace: a file descriptor. It is entered on a throw-away thread only, so that no thread of the
//! caller is ever in the wrong one; nothing forks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::{Result, at, kernel};
use crate::netlink::route::Route;

/// A network namespace, which lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

impl Netns {
    /// Makes a new one, whose loopback interface is up.
    pub fn create() -> Result<Self> {
        let fd = on_thread(unshared).map_err(kernel("create a network namespace"))?;
        Ok(Self { fd })
    }

    /// That of a running process.
    pub fn of_pid(pid: u32) -> Result<Self> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// That which a file stands for, as `/run/netns/x` or `/proc/<pid>/ns/net`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(at("open network namespace", path))?;
        Ok(Self { fd: file.into() })
    }

    /// That of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// A path to it, for an OCI specification; good while this value and this process live.
    pub fn path(&self) -> PathBuf {
        let (pid, fd) = (rustix::process::getpid(), self.fd.as_raw_fd());
        PathBuf::from(format!("/proc/{}/fd/{fd}", pid.as_raw_nonzero()))
    }

    /// Sets the loopback interface up: `create` has done so, a runtime may not have.
    pub fn set_loopback_up(&self) -> Result<()> {
        self.run(loopback_up)?.map_err(kernel("set up the loopback interface"))
    }

    /// Does something inside, on a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let fd = self.fd.as_fd();
        on_thread(move || {
            move_into_link_name_space(fd, Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })
        .map_err(kernel("enter a network namespace"))
    }

    /// A socket for links, addresses and routes inside.
    pub(crate) fn route(&self) -> Result<Route> {
        self.run(Route::open)?.map_err(kernel("open a netlink socket in a network namespace"))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Netns {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

/// A new namespace, from a thread that then ends.
fn unshared() -> io::Result<OwnedFd> {
    // A namespace of networks has nothing to do with memory or descriptors, which is what makes `unshare` unsafe.
    #[expect(
        deprecated,
        reason = "the replacement is unsafe because of CLONE_FILES, which is not used"
    )]
    rustix::thread::unshare(UnshareFlags::NEWNET)?;
    loopback_up()?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

fn loopback_up() -> io::Result<()> {
    let mut route = Route::open()?;
    match route.link("lo")? {
        Some(link) => route.set_up(link.index),
        None => Ok(()),
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("netns".to_owned()).stack_size(256 * 1024);
        let handle = builder.spawn_scoped(scope, work)?;
        handle.join().unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))
    })
}
