//! Containers: the bundle, the isolation, the OCI runtime underneath, one monitor process per container, `exec`, logs, limits.
//!
//! The crate never runs a container inside the caller's process. It starts its own program again (a sealed view of it, so that
//! no container can write to it) as a *monitor*, which makes the container through `libcontainer`, owns its streams, its log and
//! its exit status, and outlives the command; or as a *helper*, which runs one process of `exec` or one step of a build.
//! [`dispatch`] is the entry of both and must be called first in `main`, before any thread exists.
//!
//! Everything decided before the fork is data ([`spec`]); everything after it is a list of kernel calls.

mod attach;
mod binds;
mod block_io;
mod bundle;
mod caps;
mod cgroup;
mod clock;
mod diary;
mod error;
mod events;
mod exec;
mod executor;
mod health;
mod helper;
mod id;
mod inspect;
mod launch;
pub mod limits;
mod log;
mod monitor;
mod mounts;
mod network;
mod oci_runtime;
mod options;
mod process;
mod processors;
mod protocol;
mod record;
mod request;
mod rootfs;
mod runtime;
mod seccomp;
mod self_exe;
mod signal;
mod spec;
mod state;
mod step;
mod sys;
mod usage;
mod user;

use std::ffi::OsString;
use std::process::ExitCode;

pub use block_io::{BlockLimits, DeviceLimit, DeviceRule};
pub use caps::{Capabilities, Capability, Grant};
pub use error::{Error, ErrorKind, Result};
pub use events::{Event, EventKind, EventQuery, Journal};
pub use health::{HealthState, HealthStatus, ProbeResult};
pub use helper::helper_main;
pub use id::ContainerId;
pub use monitor::monitor_main;
pub use mounts::{
    Access, MissingSource, MountFlag, MountKind, MountRequest, VolumeFlag, VolumeSource,
    parse_mount, parse_tmpfs, parse_volume,
};
pub use network::{
    Attachment, EndpointRequest, ExposedPort, NetworkService, Networks, NetworksOf, PortProtocol,
    PublishedPort,
};
pub use oci_runtime::oci_runtime_main;
pub use options::{
    Device, LogDriverName, LogOptions, NamespaceMode, NetworkMode, Resources, RestartPolicy,
    RunOptions, SeccompChoice, Ulimit,
};
pub use process::ProcessRef;
pub use protocol::WindowSize;
pub use record::{CreateRequest, Record, RootFs, State, Status};
pub use request::{
    AttachEnd, AttachOptions, Changes, Container, DetachKeys, ExecConnection, ExecRequest,
    ExitStatus, Input, LogEntry, LogQuery, OutputStream, OwnVolumes, ProcessTable, Removal,
    RuntimeConfig, SignalProxy, StepNetwork, StepRequest, StopTimeout, Streams, Usage,
    WaitCondition,
};
pub use rootfs::Root;
pub use runtime::Runtime;
pub use signal::Signal;

/// Name of the hidden subcommand that watches one container.
pub const MONITOR_COMMAND: &str = "monitor";
/// Name of the hidden subcommand that runs one process.
pub const HELPER_COMMAND: &str = "runtime-helper";

/// Name of the subcommand that is an OCI runtime for other programs.
pub const OCI_RUNTIME_COMMAND: &str = "oci-runtime";

/// Runs a subcommand that must come before any thread if the arguments (without the program's name) ask for one.
///
/// Call it first in `main`: these subcommands fork. `networks` makes what connects the containers of a monitor.
pub fn dispatch(args: &[OsString], networks: NetworksOf) -> Option<ExitCode> {
    let (first, rest) = args.split_first()?;
    match first.to_str()? {
        MONITOR_COMMAND => Some(monitor_main(rest, networks)),
        HELPER_COMMAND => Some(helper_main(rest)),
        OCI_RUNTIME_COMMAND => Some(oci_runtime_main(rest)),
        _ => None,
    }
}
