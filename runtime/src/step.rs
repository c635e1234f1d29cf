//! One command of a build: isolated like a container, in the foreground, with no record left behind.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};

use crate::bundle::{self, Ground, HostFiles};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::helper::{self, Order, Waited};
use crate::id;
use crate::launch::{self, BundleDir, ChildStreams, Launched, Program};
use crate::monitor::open_null;
use crate::options::{NetworkMode, RunOptions};
use crate::protocol::{self, Frame};
use crate::record::RootFs;
use crate::request::{ExitStatus, OutputStream, StepNetwork, StepRequest};
use crate::rootfs::{self, Root};
use crate::runtime::Runtime;
use crate::signal::Signal;
use crate::spec::{self, Plan};
use crate::state::{self, StateDir};

/// What the helper needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepOrder {
    id: String,
    rootfs: RootFs,
    args: Vec<String>,
    env: Vec<String>,
    workdir: PathBuf,
    user: String,
    hostname: String,
    options: RunOptions,
}

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The builder's side.
pub(crate) fn run(
    runtime: &Runtime,
    request: &StepRequest,
    output: &mut dyn FnMut(OutputStream, &[u8]),
) -> Result<ExitStatus> {
    bundle::check_sources(&request.mounts)?;
    if request.args.is_empty() {
        return Err(Error::NoCommand);
    }
    let order = Order::Step(Box::new(order(request)?));
    let dirs = runtime.dirs();
    let args = [
        crate::HELPER_COMMAND.as_ref(),
        dirs.state_root().as_os_str(),
        dirs.run_root().as_os_str(),
    ];
    let (stream, mut child) = runtime.spawn(&args)?;
    let pipe = || {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| Error::system("make a pipe")(error.into()))
    };
    let ((stdout, stdout_end), (stderr, stderr_end), null) = (pipe()?, pipe()?, open_null()?);
    let sent = helper::send_order(
        &stream,
        &order,
        &[null.as_fd(), stdout_end.as_fd(), stderr_end.as_fd()],
    );
    drop((stdout_end, stderr_end));
    let end = sent.and_then(|()| collect(&stream, stdout, stderr, request, output));
    // A step that is still there ends with its command: the helper sees the hang-up.
    drop(stream);
    let _ = child.wait();
    end
}

fn order(request: &StepRequest) -> Result<StepOrder> {
    let mut env = request.env.clone();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.insert(0, DEFAULT_PATH.to_owned());
    }
    let options = RunOptions {
        network: match request.network {
            StepNetwork::Host => NetworkMode::Host,
            StepNetwork::None => NetworkMode::None,
        },
        mounts: request.mounts.clone(),
        resources: request.resources.clone(),
        privileged: request.insecure,
        extra_hosts: request.extra_hosts.clone(),
        group_add: request.groups.clone(),
        shm_size: request.shm_size,
        ulimits: request.ulimits.clone(),
        ..RunOptions::default()
    };
    Ok(StepOrder {
        id: format!("step-{}", hex::encode(id::random::<16>()?)),
        rootfs: request.rootfs.clone(),
        args: request.args.clone(),
        env,
        workdir: request.workdir.clone(),
        user: request.user.clone(),
        hostname: request.hostname.clone(),
        options,
    })
}

/// How often it is looked whether the step is to be stopped.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The status of what SIGKILL ended.
const KILLED: i32 = 128 + 9;

/// Hands over output as it comes until both pipes are closed, then takes the helper's last word.
fn collect(
    stream: &UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
    request: &StepRequest,
    output: &mut dyn FnMut(OutputStream, &[u8]),
) -> Result<ExitStatus> {
    let mut open = vec![(stdout, OutputStream::Stdout), (stderr, OutputStream::Stderr)];
    let mut buffer = vec![0; 64 << 10];
    while !open.is_empty() {
        if is_stopped(request) {
            return Ok(ExitStatus::new(KILLED));
        }
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> =
                open.iter().map(|(fd, _)| PollFd::new(fd, PollFlags::IN)).collect();
            let _ = poll(&mut fds, Some(&PATIENCE));
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        let mut ready = ready.into_iter();
        open.retain(|(fd, kind)| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            match rustix::io::read(fd, &mut buffer) {
                Ok(count) if count > 0 => {
                    output(*kind, &buffer[..count]);
                    true
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
                _ => false,
            }
        });
    }
    last_word(stream, request)
}

fn is_stopped(request: &StepRequest) -> bool {
    request.stop.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst))
}

/// How the step ended, once it has: a process that closed its outputs may still run.
fn last_word(stream: &UnixStream, request: &StepRequest) -> Result<ExitStatus> {
    let mut out_of_memory = false;
    loop {
        if is_stopped(request) {
            return Ok(ExitStatus::new(KILLED));
        }
        let mut fds = [PollFd::new(stream, PollFlags::IN)];
        if poll(&mut fds, Some(&PATIENCE)) == Ok(0) {
            continue;
        }
        match protocol::receive(stream).map_err(Error::system("hear from the helper"))? {
            Some(Frame::OutOfMemory) => out_of_memory = true,
            Some(Frame::Exited(code)) if out_of_memory => {
                return Ok(ExitStatus::out_of_memory_with(code));
            }
            Some(Frame::Exited(code)) => return Ok(ExitStatus::new(code)),
            Some(Frame::Failed { exit_code, message }) => {
                return Err(Error::Start { exit_code, message });
            }
            Some(_) => {}
            None => {
                return Err(Error::Start {
                    exit_code: 125,
                    message: "the helper of the build step ended unexpectedly".to_owned(),
                });
            }
        }
    }
}

/// The helper's side. When the builder goes away, so does the step.
pub(crate) fn in_helper(
    dirs: &StateDir,
    order: &StepOrder,
    streams: Vec<OwnedFd>,
    stream: &UnixStream,
) -> Result<()> {
    let dir = dirs.step(&order.id);
    state::make_private_dir(&dir)?;
    let _lock = hold(&dir)?;
    let done = run_in(&dir, dirs, order, streams, stream);
    let out_of_memory = Cgroup::of(&order.id).saw_oom_kill();
    let cleared = clear(&dir, &order.id);
    let code = done?;
    cleared?;
    if out_of_memory {
        let _ = protocol::send(stream, &Frame::OutOfMemory);
    }
    let _ = protocol::send(stream, &Frame::Exited(code));
    Ok(())
}

fn run_in(
    dir: &Path,
    dirs: &StateDir,
    order: &StepOrder,
    streams: Vec<OwnedFd>,
    stream: &UnixStream,
) -> Result<i32> {
    rootfs::enter_private_mount_namespace()?;
    let bundle = BundleDir::new(dir.join("bundle"));
    let path = rootfs::mount(&order.rootfs, &bundle.rootfs(), &dirs.stubs())?;
    let stubs = missing_mount_points(&Root::open(&path)?, &order.options);
    let ended = start(&bundle, path.clone(), dir, dirs, order, streams).map(|launched| {
        match helper::wait_for_child(launched.handle.as_fd(), launched.process.pid(), stream) {
            Waited::Ended(code) => code,
            Waited::Abandoned => {
                let _ = launched.process.signal(Signal::KILL);
                helper::reap(launched.process.pid())
            }
        }
    });
    launch::forget_container(&bundle);
    if let Ok(root) = Root::open(&path) {
        stubs.iter().rev().for_each(|stub| root.remove_stub(stub));
    }
    let _ = rustix::mount::unmount(bundle.rootfs(), rustix::mount::UnmountFlags::DETACH);
    ended
}

fn start(
    bundle: &BundleDir,
    rootfs: PathBuf,
    dir: &Path,
    dirs: &StateDir,
    order: &StepOrder,
    streams: Vec<OwnedFd>,
) -> Result<Launched> {
    let nobody = |reference: &str| Err(Error::NoSuchContainer { reference: reference.to_owned() });
    let ground = Ground {
        rootfs,
        user: &order.user,
        hostname: &order.hostname,
        options: &order.options,
        files: HostFiles::Own(dir.to_owned()),
        network: None,
    };
    let (mut facts, root) = bundle::gather(ground, &nobody)?;
    root.make_dirs(&order.workdir)?;
    bundle::lay_out_cgroups(&mut facts, &order.id, &order.options, &bundle.path().join("cgroup"))?;
    let env = spec::complete_env(&order.env, &order.hostname, &facts.identity.home, false);
    let program = Program::first(
        &order.options,
        &order.args,
        &env,
        facts.identity.uid,
        &dirs.seccomp_cache(),
    )?;
    let plan = Plan {
        id: &order.id,
        hostname: &order.hostname,
        args: &order.args,
        env,
        workdir: &order.workdir,
        options: &order.options,
        annotations: BTreeMap::new(),
    };
    bundle.write(&spec::build(&plan, &facts)?)?;
    let mut streams = streams.into_iter();
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (streams.next(), streams.next(), streams.next())
    else {
        return Err(Error::system("receive the step's streams")(
            std::io::ErrorKind::InvalidData.into(),
        ));
    };
    launch::start_container(
        &order.id,
        bundle,
        program,
        ChildStreams::Pipes { stdin, stdout, stderr },
    )
}

/// Mount points the image lacks, the outermost first: what is made for them is not the step's doing and must not stay.
fn missing_mount_points(root: &Root, options: &RunOptions) -> Vec<PathBuf> {
    let own = rootfs::STUB_FOLDERS
        .iter()
        .chain(&rootfs::STUB_FILES)
        .map(|name| Path::new("/").join(name));
    let mut missing: Vec<PathBuf> = Vec::new();
    for target in own.chain(options.mounts.iter().map(|mount| mount.target.clone())) {
        for path in target.ancestors().collect::<Vec<_>>().into_iter().rev().skip(1) {
            if !root.exists(path) && !missing.iter().any(|known| known == path) {
                missing.push(path.to_owned());
            }
        }
    }
    missing
}

fn clear(dir: &Path, id: &str) -> Result<()> {
    Cgroup::of(id).remove()?;
    state::remove_tree(dir)
}

fn hold(dir: &Path) -> Result<std::fs::File> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::file("create", &path))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| Error::file("lock", &path)(error.into()))?;
    Ok(file)
}

/// Clears what steps have left whose helper was killed: nobody holds their lock.
pub(crate) fn sweep(dirs: &StateDir) {
    let steps = dirs.step("");
    let Ok(entries) = std::fs::read_dir(&steps) else { return };
    for entry in entries.filter_map(|entry| entry.ok()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let dir = entry.path();
        // A folder without a lock file is about to get one, or was left before it could: it is empty, and stays till then.
        let Ok(lock) = OpenOptions::new().write(true).open(dir.join("lock")) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = clear(&dir, &name);
        }
    }
}
