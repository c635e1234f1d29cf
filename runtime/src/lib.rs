//! Containers (being written; see the public names).
#![allow(dead_code, missing_docs)]

mod caps;
mod clock;
mod error;
mod id;
pub mod limits;
mod mounts;
mod options;
mod protocol;
mod record;
mod request;
mod runtime;
mod signal;
mod state;
mod sys;

use std::ffi::OsString;
use std::process::ExitCode;

pub use caps::{Capabilities, Capability, Grant};
pub use error::{Error, ErrorKind, Result};
pub use id::ContainerId;
pub use mounts::{
    Access, MissingSource, MountFlag, MountKind, MountRequest, VolumeFlag, VolumeSource, parse_mount, parse_tmpfs, parse_volume,
};
pub use options::{
    Device, LogDriverName, LogOptions, NamespaceMode, NetworkMode, Resources, RestartPolicy, RunOptions, SeccompChoice, Ulimit,
};
pub use protocol::WindowSize;
pub use record::{CreateRequest, Record, RootFs, State, Status};
pub use request::{
    AttachEnd, AttachOptions, Container, DetachKeys, ExecConnection, ExecRequest, ExitStatus, Input, LogEntry, LogQuery,
    OutputStream, ProcessTable, Removal, RuntimeConfig, SignalProxy, StepNetwork, StepRequest, StopTimeout, Streams, Usage,
    WaitCondition,
};
pub use runtime::Runtime;
pub use signal::Signal;

pub const MONITOR_COMMAND: &str = "monitor";
pub const HELPER_COMMAND: &str = "runtime-helper";

/// Runs a hidden subcommand if the arguments (without the program's name) ask for one; call it first in `main`.
pub fn dispatch(_args: &[OsString]) -> Option<ExitCode> {
    None
}
