//! What the operations of a runtime take and give.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::mounts::MountRequest;
use crate::network::Networks;
use crate::options::{Resources, RestartPolicy, Ulimit};
use crate::record::{Record, RootFs, State};
use crate::sys::{self, StandardStream};

/// The three streams a command lends to a container.
#[derive(Debug)]
pub struct Streams {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Streams {
    /// Copies of this process's own streams; stdin only where `input` asks for it.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn inherit(input: Input) -> Result<Self> {
        let copy = |stream| {
            sys::borrow_standard_stream(stream)
                .try_clone_to_owned()
                .map_err(Error::system("copy a standard stream"))
        };
        Ok(Self {
            stdin: match input {
                Input::Forwarded => Some(copy(StandardStream::Stdin)?),
                Input::Closed => None,
            },
            stdout: copy(StandardStream::Stdout)?,
            stderr: copy(StandardStream::Stderr)?,
        })
    }

    /// Streams of any origin.
    pub fn new(stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        Self { stdin, stdout, stderr }
    }

    pub(crate) fn stdin(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn stdout(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }

    pub(crate) fn stderr(&self) -> BorrowedFd<'_> {
        self.stderr.as_fd()
    }
}

/// Whether stdin is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// `-i`.
    Forwarded,
    /// Without `-i`.
    Closed,
}

/// Whether signals sent to the command reach the container (`--sig-proxy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalProxy {
    /// They do, where there is no terminal.
    Forward,
    /// They end the command as any other.
    Keep,
}

/// How a command attaches to a container.
#[derive(Debug)]
pub struct AttachOptions {
    /// The streams.
    pub streams: Streams,
    /// Keys that leave the container running; only where it has a terminal.
    pub detach_keys: DetachKeys,
    /// What happens to signals.
    pub signals: SignalProxy,
}

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachEnd {
    /// The first process ended with this code.
    Exited(i32),
    /// The detach keys were typed (or stdin and the connection closed); the container runs on.
    Detached,
}

/// A sequence of keys, by default ctrl-p ctrl-q.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![16, 17])
    }
}

impl DetachKeys {
    /// No sequence: the container cannot be left by keys.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for DetachKeys {
    type Err = Error;

    /// `ctrl-p,ctrl-q` or `a,b`: single characters, or `ctrl-` and one of `a`–`z`, `@`, `[`, `\`, `]`, `^`, `_`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(
                "--detach-keys",
                text,
                "write keys such as ctrl-p,ctrl-q separated by commas",
            )
        };
        let key = |part: &str| match (part.strip_prefix("ctrl-"), part.as_bytes()) {
            (Some(rest), _) => match rest.as_bytes() {
                [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                [b'@'] => Some(0),
                [sign @ b'['..=b'_'] => Some(sign - b'[' + 27),
                _ => None,
            },
            (None, [byte]) => Some(*byte),
            _ => None,
        };
        if text.is_empty() {
            return Ok(Self::none());
        }
        text.split(',').map(|part| key(part).ok_or_else(bad)).collect::<Result<_>>().map(Self)
    }
}

/// `exec`.
#[derive(Debug)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `-e`, on top of the container's own environment.
    pub env: Vec<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `-t`.
    pub tty: bool,
    /// How the process is connected.
    pub connection: ExecConnection,
}

/// How a process of `exec` is connected.
#[derive(Debug)]
pub enum ExecConnection {
    /// To these streams; the call returns when the process ends.
    Attached {
        /// The streams.
        streams: Streams,
        /// Keys that leave it running; only with a terminal.
        detach_keys: DetachKeys,
    },
    /// `-d`: to nothing; the call returns when the process has been started.
    Detached,
}

/// What `update` changes of a container; what is not set stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Limits.
    pub resources: Resources,
    /// `--restart`.
    pub restart: Option<RestartPolicy>,
}

/// How long `stop` waits before it kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopTimeout {
    /// What the container's own settings say, ten seconds where they say nothing.
    OfContainer,
    /// So many seconds.
    Seconds(u64),
    /// For ever (`-t -1`).
    Never,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// Not running; at once for one that is not.
    NotRunning,
    /// The next end of a run.
    NextExit,
    /// The container is gone.
    Removed,
}

/// How `rm` treats a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Refuses it.
    OnlyStopped,
    /// Kills it first (`-f`).
    Force,
}

/// What becomes of the volumes that were made for a container alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnVolumes {
    /// They stay, unless it was started with `--rm`.
    Keep,
    /// They go, but for those that another container uses too (`rm -v`).
    Remove,
}

/// What `logs` shows.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// `-f`.
    pub follow: bool,
    /// `-n`: only so many lines from the end.
    pub tail: Option<usize>,
    /// `--since`.
    pub since: Option<Timestamp>,
    /// `--until`.
    pub until: Option<Timestamp>,
}

/// Where a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// The word used in log files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for OutputStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line (or piece of an overlong line) of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was read.
    pub time: Timestamp,
    /// Where it came from.
    pub stream: OutputStream,
    /// The bytes, with their newline if the line ended with one.
    pub line: Vec<u8>,
}

/// A container as `ps` and `inspect` see it.
#[derive(Debug, Clone)]
pub struct Container {
    /// What it is.
    pub record: Record,
    /// How it is.
    pub state: State,
}

impl Container {
    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.record.id
    }
}

/// One command of a build, run in the foreground on a prepared root file system.
#[derive(Debug, Clone)]
pub struct StepRequest {
    /// The root file system; changes stay in it.
    pub rootfs: RootFs,
    /// Argument vector.
    pub args: Vec<String>,
    /// The whole environment as `NAME=value`; `PATH` and `HOME` are added where they are missing.
    pub env: Vec<String>,
    /// Working folder, made where it is missing.
    pub workdir: PathBuf,
    /// `user[:group]`, empty for root, looked up in the image.
    pub user: String,
    /// Bind mounts, memory, secrets.
    pub mounts: Vec<MountRequest>,
    /// Host or none.
    pub network: StepNetwork,
    /// Limits.
    pub resources: Resources,
    /// Host name in the step.
    pub hostname: String,
    /// Whether the default profile and capabilities are lifted (`RUN --security=insecure`).
    pub insecure: bool,
    /// Lines for `/etc/hosts`, as `name:address`.
    pub extra_hosts: Vec<String>,
    /// Supplementary groups, names or numbers.
    pub groups: Vec<String>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// Set from elsewhere to end the step: its processes are killed, and it counts as killed.
    pub stop: Option<Arc<AtomicBool>>,
}

/// The network of a build step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepNetwork {
    /// The host's own.
    Host,
    /// Nothing but a loopback device.
    None,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    code: i32,
    out_of_memory: bool,
}

impl ExitStatus {
    pub(crate) fn new(code: i32) -> Self {
        Self { code, out_of_memory: false }
    }

    /// The end of a step of which the kernel killed a process for want of memory.
    pub(crate) fn out_of_memory_with(code: i32) -> Self {
        Self { code, out_of_memory: true }
    }

    /// Whether the kernel killed a process of the step for want of memory.
    pub fn is_out_of_memory(self) -> bool {
        self.out_of_memory
    }

    /// The program's own code, or 128 and the number of the signal that ended it.
    pub fn code(self) -> i32 {
        self.code
    }

    /// Whether the code is 0.
    pub fn success(self) -> bool {
        self.code == 0
    }
}

/// Where a runtime keeps what it knows, and the program it starts as helper and monitor.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// What outlives a reboot, such as `/var/lib/wherry/runtime`.
    pub state_dir: PathBuf,
    /// What a reboot clears, such as `/run/wherry`.
    pub run_dir: PathBuf,
    /// The program whose `main` calls [`crate::dispatch`] first.
    pub self_exe: PathBuf,
    /// What takes back the networks of a container that its monitor could not.
    pub networks: Option<Arc<dyn Networks>>,
}

/// A sample of what a container uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// When it was taken.
    pub read_at: Option<Timestamp>,
    /// Processor time, nanoseconds.
    pub cpu_total: u64,
    /// Processor time of the whole host, nanoseconds.
    pub cpu_system: u64,
    /// Processors of the host.
    pub cpus_online: u32,
    /// Bytes of memory, without the page cache that can be dropped.
    pub memory: u64,
    /// Bytes of memory it may use.
    pub memory_limit: u64,
    /// Bytes received and sent, by device.
    pub network: Vec<(String, u64, u64)>,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to block devices.
    pub block_written: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// The processes of a container, as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessTable {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row per process.
    pub rows: Vec<Vec<String>>,
}

/// How long to wait for something, `None` for ever.
pub(crate) type Patience = Option<Duration>;

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-27
    #[test]
    fn detach_keys_are_read_as_docker_reads_them() {
        assert_eq!("ctrl-p,ctrl-q".parse::<DetachKeys>().unwrap(), DetachKeys::default());
        assert_eq!("a,ctrl-\\".parse::<DetachKeys>().unwrap().bytes(), [b'a', 28]);
        assert_eq!("ctrl-@".parse::<DetachKeys>().unwrap().bytes(), [0]);
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b"] {
            assert!(bad.parse::<DetachKeys>().is_err(), "{bad:?} must be refused");
        }
    }
}
