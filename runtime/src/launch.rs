//! Making a process of a container through `libcontainer`: the first one, or a further one of `exec`.
//!
//! Only for single-threaded processes: the library changes the working folder and forks with locks held.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::Spec;
use rustix::pipe::PipeFlags;

use crate::caps::{Capabilities, Grant};
use crate::diary;
use crate::error::{Error, Result};
use crate::executor::{self, CapabilitySets, ContainerExecutor, ExecPlan};
use crate::options::{NetworkMode, RunOptions, SeccompChoice};
use crate::process::ProcessRef;
use crate::protocol;
use crate::seccomp;
use crate::state;

/// Where a bundle and the library's own files are.
#[derive(Debug, Clone)]
pub(crate) struct BundleDir {
    dir: PathBuf,
}

impl BundleDir {
    /// In this folder of the run area.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Where the root file system is mounted when it has to be.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    fn library_root(&self) -> PathBuf {
        self.dir.join("oci")
    }

    fn spec_file(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// Makes the folder and writes the specification.
    pub(crate) fn write(&self, spec: &Spec) -> Result<()> {
        state::make_private_dir(&self.library_root())?;
        state::write_json(&self.spec_file(), spec)
    }
}

/// How a new process is connected.
#[derive(Debug)]
pub(crate) enum ChildStreams {
    /// To these.
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    /// To a new terminal; its other end comes back.
    Terminal,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) process: ProcessRef,
    /// Readable when it has ended.
    pub(crate) handle: OwnedFd,
    /// The other end of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
}

/// What the program gets beyond the specification.
pub(crate) struct Program {
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) uid: u32,
    pub(crate) filter: Option<Vec<crate::sys::BpfInstruction>>,
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privileges: bool,
    pub(crate) fresh_network: bool,
    pub(crate) close_cgroups: bool,
    pub(crate) init: bool,
}

impl Program {
    /// The first program of a container with these options.
    pub(crate) fn first(
        options: &RunOptions,
        args: &[String],
        env: &[String],
        uid: u32,
        seccomp_cache: &Path,
    ) -> Result<Self> {
        let grant = if options.privileged { Grant::Everything } else { Grant::Listed };
        let capabilities = Capabilities::resolve(&options.cap_add, &options.cap_drop, grant)?;
        let seccomp =
            if options.privileged { &SeccompChoice::Unconfined } else { &options.seccomp };
        Ok(Self {
            args: executor::c_strings(args)?,
            env: executor::c_strings(env)?,
            uid,
            filter: seccomp::filter(seccomp, capabilities, seccomp_cache)?,
            capabilities,
            no_new_privileges: options.no_new_privileges,
            fresh_network: options.network == NetworkMode::None,
            close_cgroups: !options.privileged,
            init: options.init,
        })
    }

    fn into_executor(self, report: OwnedFd) -> ContainerExecutor {
        ContainerExecutor::new(ExecPlan {
            args: self.args,
            env: self.env,
            filter: self.filter,
            capabilities: CapabilitySets::of_container(self.capabilities, self.uid),
            no_new_privileges: self.no_new_privileges,
            uid: self.uid,
            dies_with_parent: true,
            fresh_network: self.fresh_network,
            close_cgroups: self.close_cgroups,
            init: self.init,
            report,
        })
    }
}

/// Makes a container from a written bundle and starts its program.
pub(crate) fn start_container(
    id: &str,
    bundle: &BundleDir,
    program: Program,
    streams: ChildStreams,
) -> Result<Launched> {
    let (report, report_end) = report_pipe()?;
    diary::begin()?;
    let (console, builder) = prepare(id, bundle, program.into_executor(report_end), streams)?;
    let made =
        builder.as_init(bundle.path()).with_systemd(false).with_detach(true).build().and_then(
            |mut container| match container.start() {
                Ok(()) => Ok(container),
                Err(error) => {
                    let _ = container.delete(true);
                    Err(error)
                }
            },
        );
    let mut container = match made {
        Ok(container) => container,
        Err(error) => return Err(explain(CREATE_FAILED, report, &error)),
    };
    match executor::read_report(report)
        .map_err(Error::system("read the report of the new process"))?
    {
        None => {
            diary::end();
            launched(&container, console.as_ref())
        }
        Some(failure) => {
            let _ = container.delete(true);
            Err(start_error(CREATE_FAILED, failure))
        }
    }
}

/// Runs a further process, described by a `process.json`, in a running container.
pub(crate) fn start_in_container(
    id: &str,
    bundle: &BundleDir,
    process_file: &Path,
    program: Program,
    streams: ChildStreams,
) -> Result<Launched> {
    let (report, report_end) = report_pipe()?;
    diary::begin()?;
    let (console, builder) = prepare(id, bundle, program.into_executor(report_end), streams)?;
    let made = builder.as_tenant().with_detach(true).with_process(Some(process_file)).build();
    let pid = match made {
        Ok(pid) => pid.as_raw(),
        Err(error) => return Err(explain(EXEC_FAILED, report, &error)),
    };
    match executor::read_report(report)
        .map_err(Error::system("read the report of the new process"))?
    {
        None => {
            diary::end();
            open_process(pid, console.as_ref())
        }
        Some(failure) => Err(start_error(EXEC_FAILED, failure)),
    }
}

/// Forgets a container that has ended in the library's files. Its groups are removed by their owner, and these containers have
/// no hooks: the library's own way would only read the host's mount table once per controller.
pub(crate) fn forget_container(bundle: &BundleDir) {
    let _ = state::remove_tree(&bundle.library_root());
    let _ =
        rustix::mount::unmount(bundle.path().join("cgroup"), rustix::mount::UnmountFlags::DETACH);
}

const CREATE_FAILED: &str = "OCI runtime create failed: unable to start container process";
const EXEC_FAILED: &str = "OCI runtime exec failed: exec failed: unable to start container process";

fn prepare(
    id: &str,
    bundle: &BundleDir,
    executor: ContainerExecutor,
    streams: ChildStreams,
) -> Result<(Option<UnixListener>, ContainerBuilder)> {
    let builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_executor(executor)
        .with_root_path(bundle.library_root())
        .map_err(|error| library_error(CREATE_FAILED, &error))?;
    match streams {
        ChildStreams::Pipes { stdin, stdout, stderr } => {
            Ok((None, builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr)))
        }
        ChildStreams::Terminal => {
            let socket = bundle.path().join(format!("console-{}.sock", std::process::id()));
            state::remove_file(&socket)?;
            let listener = protocol::listen(&socket).map_err(Error::file("listen at", &socket))?;
            Ok((Some(listener), builder.with_console_socket(Some(socket))))
        }
    }
}

fn launched(container: &Container, console: Option<&UnixListener>) -> Result<Launched> {
    let pid = container.pid().map(|pid| pid.as_raw()).ok_or_else(|| Error::Start {
        exit_code: 125,
        message: format!("{CREATE_FAILED}: the new container has no process"),
    })?;
    open_process(pid, console)
}

/// The process is a child of this one and has not been waited for, so its pid is its own.
fn open_process(pid: i32, console: Option<&UnixListener>) -> Result<Launched> {
    let process = ProcessRef::of(pid).map_err(Error::system("look at the new process"))?;
    let handle = process
        .open()
        .and_then(|handle| handle.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
        .map_err(Error::system("open the new process"))?;
    let terminal = console.map(receive_terminal).transpose()?;
    Ok(Launched { process, handle, terminal })
}

/// The library has connected and sent the terminal by the time a process was made.
fn receive_terminal(listener: &UnixListener) -> Result<OwnedFd> {
    let act = Error::system("receive the container's terminal");
    let received =
        listener.accept().and_then(|(stream, _)| protocol::receive_with_fds(&stream, 4096));
    if let Ok(address) = listener.local_addr()
        && let Some(path) = address.as_pathname()
    {
        let _ = std::fs::remove_file(path);
    }
    match received {
        Ok((_, fds)) => {
            fds.into_iter().next().ok_or_else(|| act(std::io::ErrorKind::InvalidData.into()))
        }
        Err(error) => Err(act(error)),
    }
}

pub(crate) fn report_pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|error| Error::system("make a pipe")(error.into()))
}

pub(crate) fn explain(prefix: &str, report: OwnedFd, error: &dyn std::error::Error) -> Error {
    // What was reported was written before the library learned of the failure. A process that never got so far may still hold
    // the other end, so nothing is waited for.
    match executor::read_report_now(&report) {
        Some(failure) => start_error(prefix, failure),
        None => match diary::cause() {
            Some(cause) => start_error(prefix, (125, cause)),
            None => library_error(prefix, error),
        },
    }
}

fn start_error(prefix: &str, (exit_code, message): (u8, String)) -> Error {
    Error::Start { exit_code, message: format!("{prefix}: {message}: unknown") }
}

pub(crate) fn library_error(prefix: &str, error: &dyn std::error::Error) -> Error {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    Error::Start { exit_code: 125, message: format!("{prefix}: {message}: unknown") }
}

/// Annotations that name the container to hooks and tools.
pub(crate) fn annotations(name: &str, image: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("io.wherry.container.name".to_owned(), name.to_owned()),
        ("io.wherry.image".to_owned(), image.to_owned()),
    ])
}
