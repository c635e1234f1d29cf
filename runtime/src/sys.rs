//! The calls of the kernel that no safe library offers in the form needed here. All `unsafe` of the package is in this file.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

/// One instruction of a classic BPF program, in the kernel's layout (`linux/filter.h`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BpfInstruction {
    /// What to do.
    pub(crate) code: u16,
    /// Instructions to skip when a comparison holds.
    pub(crate) jump_true: u8,
    /// Instructions to skip when it does not.
    pub(crate) jump_false: u8,
    /// Operand.
    pub(crate) operand: u32,
}

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one, with the pid of the new.
    Parent(rustix::process::Pid),
}

/// Forks a process that has a single thread.
pub(crate) fn fork_single_threaded() -> io::Result<Forked> {
    // SAFETY: every caller is a hidden subcommand that has started no thread, so the child may do all that the parent could.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => rustix::process::Pid::from_raw(pid)
            .map(Forked::Parent)
            .ok_or_else(|| io::Error::other("fork returned no pid")),
    }
}

/// Ends the process without running destructors or flushing buffers of the parent it was forked from.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Installs a seccomp filter on this thread. Without `no_new_privs` the caller must hold `CAP_SYS_ADMIN`.
pub(crate) fn install_seccomp_filter(program: &[BpfInstruction]) -> io::Result<()> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: BpfInstruction has the layout of sock_filter; the kernel copies `len` of them and writes to none.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, ptr::from_ref(&program))
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Replaces this process; returns only what went wrong.
pub(crate) fn execve(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: all strings are NUL-terminated and outlive the call, and both vectors end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Gives back the signals that this program ignores or blocks: an executed program inherits both.
pub(crate) fn reset_signals() {
    // SAFETY: an empty signal set is initialised by sigemptyset before use, and SIG_DFL is valid for every signal; errors
    // (SIGKILL, SIGSTOP, numbers the C library keeps) leave the default in place, which is what is wanted.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Joins a new session keyring, so that keys of the host's session cannot be reached.
pub(crate) fn join_new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is touched. A kernel without keyrings has nothing to hide.
    unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>())
    };
}

/// Sets the loopback device of the current network namespace up.
pub(crate) fn bring_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *place = libc::c_char::from_ne_bytes([*byte]);
    }
    // SAFETY: the kernel reads the name of `request` and writes its flags; both are inside the structure that outlives the call.
    unsafe {
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |=
            libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives this thread a working folder, root and umask of its own.
pub(crate) fn unshare_working_folder() -> io::Result<()> {
    // SAFETY: only what belongs to paths is unshared; no descriptor and no memory of another thread changes.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }?)
}

/// Gives this process a mount namespace of its own.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a new mount namespace changes which mounts later path look-ups see; no memory or descriptor is affected, and the
    // process has a single thread.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
        .map_err(io::Error::from)
}

/// The file descriptor of that number as long as this process keeps it open.
pub(crate) fn borrow_standard_stream(stream: StandardStream) -> BorrowedFd<'static> {
    // SAFETY: the three standard streams stay open for the life of every process that calls this.
    unsafe { BorrowedFd::borrow_raw(stream as RawFd) }
}

/// One of the three streams every process starts with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StandardStream {
    /// 0.
    Stdin = 0,
    /// 1.
    Stdout = 1,
    /// 2.
    Stderr = 2,
}

/// Makes a mount read-only without touching the tree it was cloned from (`mount_setattr(2)`).
pub(crate) fn make_mount_read_only(mount: impl AsFd) -> io::Result<()> {
    set_mount_attributes(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, 0)
}

/// Makes a mount and all mounts below it read-only, without set-uid programs, devices and programs.
pub(crate) fn close_mounts_below(mount: impl AsFd) -> io::Result<()> {
    let attributes = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    set_mount_attributes(mount.as_fd(), attributes, libc::AT_RECURSIVE)
}

fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: u64,
    flags: libc::c_int,
) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: an empty NUL-terminated path with AT_EMPTY_PATH names the descriptor itself; the kernel reads size_of bytes of
    // `attributes` and writes to none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            ptr::from_ref(&attributes),
            mem::size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where the handler of [`SignalTap`] writes; one tap exists at a time.
static TAP: AtomicI32 = AtomicI32::new(-1);

/// Turns signals of this process into bytes of a pipe for as long as it lives; then the old handlers are back.
#[derive(Debug)]
pub(crate) struct SignalTap {
    reader: OwnedFd,
    _writer: OwnedFd,
    previous: Vec<(i32, libc::sighandler_t)>,
}

impl SignalTap {
    /// Taps the given signals; `None` when another tap exists in this process.
    pub(crate) fn open(signals: &[i32]) -> io::Result<Option<Self>> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (reader, writer) = rustix::pipe::pipe_with(flags)?;
        if TAP.compare_exchange(-1, writer.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst).is_err()
        {
            return Ok(None);
        }
        let handler = tap_handler as extern "C" fn(libc::c_int) as *const () as libc::sighandler_t;
        let previous = signals
            .iter()
            // SAFETY: the handler is async-signal-safe: it loads an atomic and calls write(2).
            .map(|signal| (*signal, unsafe { libc::signal(*signal, handler) }))
            .collect();
        Ok(Some(Self { reader, _writer: writer, previous }))
    }

    /// Readable when signals have come; each byte is a number.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The signals that have come.
    pub(crate) fn drain(&self) -> Vec<i32> {
        let mut numbers = [0; 64];
        match rustix::io::read(&self.reader, &mut numbers) {
            Ok(count) => numbers[..count].iter().map(|number| i32::from(*number)).collect(),
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for SignalTap {
    fn drop(&mut self) {
        for (signal, handler) in &self.previous {
            // SAFETY: the handler is one that signal(2) returned for this very signal.
            unsafe { libc::signal(*signal, *handler) };
        }
        TAP.store(-1, Ordering::SeqCst);
    }
}

extern "C" fn tap_handler(signal: libc::c_int) {
    let byte = u8::try_from(signal).unwrap_or(0);
    let fd = TAP.load(Ordering::SeqCst);
    // SAFETY: write(2) is async-signal-safe, reads one byte that is alive, and errno is put back as it was.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(fd, ptr::from_ref(&byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Waits for any child; `None` when there is none left.
pub(crate) fn wait_any_child() -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the kernel to write to.
        match unsafe { libc::waitpid(-1, &mut status, 0) } {
            -1 => {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::ECHILD) => return Ok(None),
                    _ => return Err(error),
                }
            }
            pid => return Ok(Some((pid, status))),
        }
    }
}

/// The exit code Docker shows for a wait status: the program's own, or 128 and the signal.
pub(crate) fn exit_code_of(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Clock ticks per second of `/proc/<pid>/stat`.
pub(crate) fn clock_ticks_per_second() -> u64 {
    // SAFETY: sysconf reads no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Forwards every signal that can be caught to `child`: what a first process started for another one does (`--init`).
pub(crate) fn forward_signals_to(child: i32) {
    CHILD.store(child, Ordering::SeqCst);
    let handler = forward_handler as extern "C" fn(libc::c_int) as *const () as libc::sighandler_t;
    for signal in 1..=64 {
        let kept = [
            libc::SIGCHLD,
            libc::SIGKILL,
            libc::SIGSTOP,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
        ];
        if !kept.contains(&signal) {
            // SAFETY: the handler is async-signal-safe: it loads an atomic and calls kill(2).
            unsafe { libc::signal(signal, handler) };
        }
    }
}

static CHILD: AtomicI32 = AtomicI32::new(0);

extern "C" fn forward_handler(signal: libc::c_int) {
    let child = CHILD.load(Ordering::SeqCst);
    if child > 0 {
        // SAFETY: kill(2) is async-signal-safe and takes any numbers; errno is put back as it was.
        unsafe {
            let errno = *libc::__errno_location();
            libc::kill(child, signal);
            *libc::__errno_location() = errno;
        }
    }
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) {
    // SAFETY: called only where this program has opened nothing of its own yet, or where the process uses none of these
    // descriptors afterwards and leaves by exec or exit.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Closes now what the start of a program will close, except `kept`: until then `/proc/self/fd` leads out of the container.
pub(crate) fn close_what_exec_closes(kept: &OwnedFd) {
    for fd in (3..1024).filter(|fd| *fd != kept.as_raw_fd()) {
        // SAFETY: plain numbers; the process uses none of these descriptors afterwards and leaves by exec or exit.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == libc::FD_CLOEXEC {
            unsafe { libc::close(fd) };
        }
    }
}

/// A signal number in the form rustix takes, which names only the first 31.
pub(crate) fn raw_signal(number: i32) -> rustix::process::Signal {
    // SAFETY: callers hold a checked number from 1 to 64; the C library keeps 32 and 33 for its threads, but sending them to
    // another process by number is what the user asked for and touches no thread of this one.
    unsafe { rustix::process::Signal::from_raw_unchecked(number) }
}

/// Makes this process group the one that the terminal on stdin serves; without a terminal nothing happens.
pub(crate) fn take_terminal_foreground() {
    // SAFETY: signal(2) and tcsetpgrp(3) take plain numbers. A background group that sets itself in front is sent SIGTTOU,
    // which is ignored for this one call; the caller resets all signals afterwards.
    unsafe {
        libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        libc::tcsetpgrp(0, libc::getpgrp());
    }
}

/// Gives memory that is not used any more back to the kernel: a monitor lives long and needs little after the start.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only releases free pages of the allocator's own; it touches no live allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}
