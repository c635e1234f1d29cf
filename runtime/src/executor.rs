//! The last steps of a container's process, between the isolation made by `libcontainer` and the program of the image.
//!
//! `libcontainer` drops capabilities before it calls an executor, and a seccomp filter can be installed without
//! `no_new_privs` only while CAP_SYS_ADMIN is held. So the specification it gets names no capabilities, and the order here is:
//! parent-death signal, keyring, loopback device, ownership of the streams, filter, capabilities, program. With `no_new_privs`
//! the filter comes last instead, so that it need not allow the calls that drop capabilities.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::process::{Pid, Signal};
use rustix::thread::CapabilitySet;

use crate::caps::Capabilities;
use crate::error::{Error, Result};
use crate::sys::{self, BpfInstruction, Forked};

/// Everything decided about the program before the fork.
#[derive(Debug)]
pub(crate) struct ExecPlan {
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) filter: Option<Vec<BpfInstruction>>,
    pub(crate) capabilities: CapabilitySets,
    pub(crate) no_new_privileges: bool,
    pub(crate) uid: u32,
    /// Whether the program dies when the process that made it does.
    pub(crate) dies_with_parent: bool,
    /// Whether the network namespace is new, and its loopback device down.
    pub(crate) fresh_network: bool,
    /// Whether the control groups that were mounted must be closed to writing: the library leaves those of version 1 open.
    pub(crate) close_cgroups: bool,
    /// Whether this program stays as the first process (`--init`).
    pub(crate) init: bool,
    /// Where a failure is reported; closed by a successful start of the program.
    pub(crate) report: OwnedFd,
}

/// The five sets of capabilities of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CapabilitySets {
    pub(crate) bounding: Capabilities,
    pub(crate) effective: Capabilities,
    pub(crate) permitted: Capabilities,
    pub(crate) inheritable: Capabilities,
    pub(crate) ambient: Capabilities,
}

impl CapabilitySets {
    /// Docker's way: root has them at once, others only through set-uid programs; none are inheritable or ambient.
    pub(crate) fn of_container(capabilities: Capabilities, uid: u32) -> Self {
        let held = if uid == 0 { capabilities } else { Capabilities::NONE };
        Self { bounding: capabilities, effective: held, permitted: held, ..Self::default() }
    }
}

/// What [`ExecPlan`] needs as NUL-terminated strings.
///
/// # Errors
/// A string that holds a NUL byte.
pub(crate) fn c_strings(strings: &[String]) -> Result<Vec<CString>> {
    strings
        .iter()
        .map(|string| {
            CString::new(string.as_str()).map_err(|_| {
                Error::invalid("argument", string.replace('\0', "\\0"), "it holds a NUL byte")
            })
        })
        .collect()
}

/// Reads what a process reported before it failed: exit code and message. Nothing means that the program was started.
pub(crate) fn read_report(report: OwnedFd) -> io::Result<Option<(u8, String)>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::from(report).take(crate::limits::ERROR_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes
        .split_first()
        .map(|(code, message)| (*code, String::from_utf8_lossy(message).into_owned())))
}

/// As [`read_report`], without waiting for the other end to close.
pub(crate) fn read_report_now(report: &OwnedFd) -> Option<(u8, String)> {
    rustix::fs::fcntl_setfl(report, rustix::fs::OFlags::NONBLOCK).ok()?;
    let mut bytes = vec![0; crate::limits::ERROR_BYTES];
    let length = rustix::io::read(report, &mut bytes).ok()?;
    bytes.truncate(length);
    bytes
        .split_first()
        .map(|(code, message)| (*code, String::from_utf8_lossy(message).into_owned()))
}

/// The executor handed to `libcontainer`.
#[derive(Debug, Clone)]
pub(crate) struct ContainerExecutor(Rc<ExecPlan>);

impl ContainerExecutor {
    pub(crate) fn new(plan: ExecPlan) -> Self {
        Self(Rc::new(plan))
    }

    fn fail(&self, failure: &Failure) {
        let mut bytes = vec![failure.exit_code];
        bytes.extend_from_slice(failure.message.as_bytes());
        let _ = rustix::io::write(&self.0.report, &bytes);
    }
}

impl Executor for ContainerExecutor {
    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        find_program(&self.0).map(drop).map_err(|failure| {
            self.fail(&failure);
            ExecutorValidationError::ArgValidationError(failure.message)
        })
    }

    /// The program gets its environment from `execve`, in the order it was given; this process keeps none.
    fn setup_envs(
        &self,
        _envs: std::collections::HashMap<String, String>,
    ) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        let failure = match self.0.become_program() {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        self.fail(&failure);
        Err(ExecutorError::Other(failure.message))
    }
}

#[derive(Debug)]
struct Failure {
    exit_code: u8,
    message: String,
}

impl Failure {
    fn new(exit_code: u8, message: impl Into<String>) -> Self {
        Self { exit_code, message: message.into() }
    }
}

fn refused(act: &'static str) -> impl Fn(rustix::io::Errno) -> Failure {
    move |error| Failure::new(125, format!("cannot {act}: {}", io::Error::from(error)))
}

impl ExecPlan {
    fn become_program(&self) -> Result<std::convert::Infallible, Failure> {
        sys::close_what_exec_closes(&self.report);
        refuse_outer_directory()?;
        if self.dies_with_parent {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(refused("bind the life of the process"))?;
        }
        sys::join_new_session_keyring();
        if self.fresh_network {
            sys::bring_loopback_up().map_err(|error| {
                Failure::new(125, format!("cannot set up the loopback device: {error}"))
            })?;
        }
        if self.close_cgroups {
            close_cgroup_mounts().map_err(|error| {
                Failure::new(125, format!("cannot make the control groups read-only: {error}"))
            })?;
        }
        give_streams_to(self.uid);
        let program = find_program(self)?;
        if !self.no_new_privileges {
            self.install_filter()?;
        }
        self.drop_capabilities()?;
        if self.no_new_privileges {
            self.install_filter()?;
        }
        if self.init {
            return self.stay_as_init(&program);
        }
        sys::reset_signals();
        Err(self.execute(&program))
    }

    fn install_filter(&self) -> Result<(), Failure> {
        match &self.filter {
            None => Ok(()),
            Some(filter) => sys::install_seccomp_filter(filter).map_err(|error| {
                Failure::new(125, format!("cannot install the seccomp filter: {error}"))
            }),
        }
    }

    fn drop_capabilities(&self) -> Result<(), Failure> {
        let sets = self.capabilities;
        for number in 0..64_u32 {
            let bit = CapabilitySet::from_bits_retain(1 << number);
            let keep = sets.bounding.bits() & (1 << number) != 0;
            if !keep && rustix::thread::capability_is_in_bounding_set(bit).unwrap_or(false) {
                rustix::thread::remove_capability_from_bounding_set(bit)
                    .map_err(refused("drop a capability"))?;
            }
        }
        let _ = rustix::thread::clear_ambient_capability_set();
        let kernel = |set: Capabilities| CapabilitySet::from_bits_retain(set.bits());
        let effective = rustix::thread::CapabilitySets {
            effective: kernel(sets.effective),
            permitted: kernel(sets.permitted),
            inheritable: kernel(sets.inheritable),
        };
        rustix::thread::set_capabilities(None, effective).map_err(refused("set capabilities"))?;
        for capability in sets.ambient.iter() {
            // Only what is permitted and inheritable can be ambient; the rest is left out, as other runtimes do.
            let bit = CapabilitySet::from_bits_retain(1 << capability.number());
            let _ = rustix::thread::configure_capability_in_ambient_set(bit, true);
        }
        Ok(())
    }

    fn execute(&self, program: &CStr) -> Failure {
        let error = sys::execve(&program.to_owned(), &self.args, &self.env);
        let shown = program.to_string_lossy();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {
                Failure::new(127, format!("exec {shown}: no such file or directory"))
            }
            Some(libc::EACCES | libc::EPERM) => {
                Failure::new(126, format!("exec {shown}: permission denied"))
            }
            Some(libc::ENOEXEC) => Failure::new(126, format!("exec {shown}: exec format error")),
            _ => Failure::new(126, format!("exec {shown}: {error}")),
        }
    }

    /// `--init`: the program is a child; this process forwards signals, reaps what is left to it, and ends as the child ended.
    fn stay_as_init(&self, program: &CStr) -> Result<std::convert::Infallible, Failure> {
        match sys::fork_single_threaded()
            .map_err(|error| Failure::new(125, format!("cannot fork: {error}")))?
        {
            Forked::Child => {
                let _ = rustix::process::setpgid(None, None);
                sys::take_terminal_foreground();
                sys::reset_signals();
                let failure = self.execute(program);
                let mut bytes = vec![failure.exit_code];
                bytes.extend_from_slice(failure.message.as_bytes());
                let _ = rustix::io::write(&self.report, &bytes);
                sys::exit_now(i32::from(failure.exit_code));
            }
            Forked::Parent(child) => {
                sys::close_from(3);
                reap_until(child)
            }
        }
    }
}

/// A working directory reached through `/proc/self/fd` can lie on the host, which the C library's `getcwd` hides (CVE-2024-21626).
fn refuse_outer_directory() -> Result<(), Failure> {
    let dir = rustix::process::getcwd(Vec::new()).map_err(refused("find the working directory"))?;
    let inside = dir.as_bytes().starts_with(b"/");
    let refusal = || Failure::new(125, "the working directory lies outside the container");
    if inside { Ok(()) } else { Err(refusal()) }
}

fn reap_until(child: Pid) -> ! {
    let child = child.as_raw_nonzero().get();
    sys::forward_signals_to(child);
    loop {
        match sys::wait_any_child() {
            Ok(Some((pid, status))) if pid == child => sys::exit_now(sys::exit_code_of(status)),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => sys::exit_now(125),
        }
    }
}

/// With write access to its own control groups a container could lift its limits.
fn close_cgroup_mounts() -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open("/sys/fs/cgroup", flags, Mode::empty()) {
        Ok(dir) => sys::close_mounts_below(dir),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Streams that belong to root would be closed to a program that opens `/dev/stdout` as another user.
fn give_streams_to(uid: u32) {
    if uid == 0 {
        return;
    }
    for stream in
        [sys::StandardStream::Stdin, sys::StandardStream::Stdout, sys::StandardStream::Stderr]
    {
        let fd = sys::borrow_standard_stream(stream);
        let is_null =
            rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_rdev == rustix::fs::makedev(1, 3));
        if !is_null {
            // A stream that cannot change its owner (a file on a read-only mount) stays as it is.
            let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>);
        }
    }
}

/// Finds the program as a shell would, and says in Docker's words why it cannot be run.
fn find_program(plan: &ExecPlan) -> Result<CString, Failure> {
    let Some(name) = plan.args.first() else { return Err(Failure::new(125, "no command")) };
    let shown = name.to_string_lossy().into_owned();
    let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    if name.as_bytes().contains(&b'/') {
        return executable(path).map_err(|error| describe(&shown, path, &error)).and_then(c_path);
    }
    let mut denied = None;
    for dir in search_path(&plan.env) {
        let candidate = dir.join(path);
        match executable(&candidate) {
            Ok(found) => return c_path(found),
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => denied = Some(error),
            Err(_) => {}
        }
    }
    match denied {
        Some(error) => Err(describe(&shown, path, &error)),
        None => {
            Err(Failure::new(127, format!("exec: \"{shown}\": executable file not found in $PATH")))
        }
    }
}

fn search_path(env: &[CString]) -> Vec<PathBuf> {
    let value =
        env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
    value
        .split(|byte| *byte == b':')
        .map(|dir| {
            if dir.is_empty() {
                PathBuf::from(".")
            } else {
                PathBuf::from(std::ffi::OsStr::from_bytes(dir))
            }
        })
        .collect()
}

fn executable(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(path.to_owned())
}

fn describe(shown: &str, path: &Path, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EISDIR) => Failure::new(126, format!("exec: \"{shown}\": is a directory")),
        Some(libc::EACCES) => Failure::new(126, format!("exec: \"{shown}\": permission denied")),
        Some(libc::ENOENT) => Failure::new(
            127,
            format!("exec: \"{shown}\": stat {}: no such file or directory", path.display()),
        ),
        _ => Failure::new(126, format!("exec: \"{shown}\": {error}")),
    }
}

fn c_path(path: PathBuf) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Failure::new(126, "the program's path holds a NUL byte"))
}
