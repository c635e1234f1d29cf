//! The command's side of an attachment: streams, terminal, signals and detach keys on one side, frames on the other.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{Error, Result};
use crate::limits;
use crate::protocol::{Frame, WindowSize};
use crate::request::{AttachEnd, AttachOptions, DetachKeys, SignalProxy, Streams};
use crate::runtime::asks_to_stop;
use crate::signal::Signal;
use crate::sys::SignalTap;

/// Whether the container's first process has a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terminal {
    Yes,
    No,
}

/// Signals that are this process's own business: job control of children, broken pipes, faults, and what cannot be caught.
const OWN_SIGNALS: [i32; 12] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGPIPE,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
];

/// Serves an attachment until the container has ended or was left.
pub(crate) fn serve(
    id: &str,
    stream: UnixStream,
    options: &AttachOptions,
    terminal: Terminal,
) -> Result<AttachEnd> {
    stream.set_nonblocking(true).map_err(Error::system("talk to the monitor"))?;
    let raw = RawMode::enter(options, terminal)?;
    let tap = tap_signals(options, terminal)?;
    let mut attachment = Attachment {
        id,
        stream,
        options,
        terminal,
        keys: KeyScanner::new(&options.detach_keys),
        incoming: Vec::new(),
        outgoing: Vec::new(),
        reading_stdin: options.streams.stdin().is_some(),
    };
    let end = attachment.run(tap.as_ref());
    drop(raw);
    end
}

/// The frames that open an attachment.
pub(crate) fn opening(streams: &Streams, terminal: Terminal) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::Attach { stdin: streams.stdin().is_some() }.encode(&mut bytes);
    if terminal == Terminal::Yes
        && let Some(size) = window_size(streams)
    {
        Frame::Resize(size).encode(&mut bytes);
    }
    bytes
}

/// The size of the command's own terminal.
pub(crate) fn window_size(streams: &Streams) -> Option<WindowSize> {
    let size = tcgetwinsize(streams.stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0)
        .then_some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

fn tap_signals(options: &AttachOptions, terminal: Terminal) -> Result<Option<SignalTap>> {
    let signals: Vec<i32> = match (terminal, options.signals) {
        (Terminal::Yes, _) => vec![libc::SIGWINCH],
        (Terminal::No, SignalProxy::Forward) => {
            (1..=31).filter(|signal| !OWN_SIGNALS.contains(signal)).collect()
        }
        (Terminal::No, SignalProxy::Keep) => Vec::new(),
    };
    SignalTap::open(&signals).map_err(Error::system("watch for signals"))
}

struct Attachment<'a> {
    id: &'a str,
    stream: UnixStream,
    options: &'a AttachOptions,
    terminal: Terminal,
    keys: KeyScanner,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    reading_stdin: bool,
}

impl Attachment<'_> {
    /// Neither direction ever waits for the other: a program that echoes more than it is given would stop for ever.
    fn run(&mut self, tap: Option<&SignalTap>) -> Result<AttachEnd> {
        loop {
            let (monitor, stdin, signals) = self.wait(tap);
            if signals && let Some(tap) = tap {
                self.pass_signals(tap);
            }
            if stdin && let Some(end) = self.read_stdin() {
                return Ok(end);
            }
            self.flush();
            if monitor && let Some(end) = self.read_monitor()? {
                return Ok(end);
            }
        }
    }

    fn wait(&self, tap: Option<&SignalTap>) -> (bool, bool, bool) {
        let mut monitor = PollFlags::IN;
        if !self.outgoing.is_empty() {
            monitor |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::new(&self.stream, monitor)];
        let stdin = self
            .options
            .streams
            .stdin()
            .filter(|_| self.reading_stdin && self.outgoing.len() < limits::STDIN_QUEUE_BYTES);
        if let Some(stdin) = stdin {
            fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        if let Some(tap) = tap {
            fds.push(PollFd::from_borrowed_fd(tap.fd(), PollFlags::IN));
        }
        // Interrupted by a signal: the tap is looked at below in any case.
        let interrupted = poll(&mut fds, None::<&Timespec>).is_err();
        let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        let tap_at = if stdin.is_some() { 2 } else { 1 };
        (ready(0), stdin.is_some() && ready(1), interrupted || ready(tap_at))
    }

    fn read_monitor(&mut self) -> Result<Option<AttachEnd>> {
        let mut chunk = vec![0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(Error::MonitorLost { id: self.id.to_owned() }),
            Ok(count) => self.incoming.extend_from_slice(&chunk[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(Error::system("hear from the monitor")(error)),
        }
        while let Some(frame) =
            Frame::decode(&mut self.incoming).map_err(Error::system("hear from the monitor"))?
        {
            let taken = match &frame {
                Frame::Stdout(bytes) => write_all(self.options.streams.stdout(), bytes),
                Frame::Stderr(bytes) => write_all(self.options.streams.stderr(), bytes),
                _ => Taken::Yes,
            };
            // As a command that is ended by SIGPIPE: the container goes on without it.
            if taken == Taken::Never {
                return Ok(Some(AttachEnd::Detached));
            }
            match frame {
                Frame::Exited(code) => return Ok(Some(AttachEnd::Exited(code))),
                Frame::Failed { exit_code, message } => {
                    return Err(Error::Start { exit_code, message });
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn read_stdin(&mut self) -> Option<AttachEnd> {
        let stdin = self.options.streams.stdin()?;
        let mut chunk = vec![0; 16 << 10];
        match rustix::io::read(stdin, &mut chunk) {
            Ok(0) => {
                self.reading_stdin = false;
                self.queue(&Frame::StdinEnd);
            }
            Ok(count) => {
                let (bytes, detached) = match self.terminal {
                    Terminal::Yes => self.keys.scan(&chunk[..count]),
                    Terminal::No => (chunk[..count].to_vec(), false),
                };
                if !bytes.is_empty() {
                    self.queue(&Frame::Stdin(bytes));
                }
                if detached {
                    self.flush();
                    return Some(AttachEnd::Detached);
                }
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => {
                self.reading_stdin = false;
                self.queue(&Frame::StdinEnd);
            }
        }
        None
    }

    fn pass_signals(&mut self, tap: &SignalTap) {
        for number in tap.drain() {
            if number == libc::SIGWINCH {
                if let Some(size) = window_size(&self.options.streams) {
                    self.queue(&Frame::Resize(size));
                }
            } else if let Ok(signal) = Signal::try_from(number) {
                self.queue(&Frame::Signal { number, stop: asks_to_stop(signal, None) });
            }
        }
    }

    fn queue(&mut self, frame: &Frame) {
        frame.encode(&mut self.outgoing);
    }

    fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) if count > 0 => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The monitor is gone: reading tells how it ended.
                _ => self.outgoing.clear(),
            }
        }
    }
}

/// Whether somebody still reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// The reader is gone.
    Never,
}

/// A reader that has gone away does not end the container.
pub(crate) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Taken {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let _ =
                    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None::<&Timespec>);
            }
            Err(rustix::io::Errno::PIPE) => return Taken::Never,
            Err(_) => return Taken::Yes,
        }
    }
    Taken::Yes
}

/// The command's terminal without line editing and signals, put back when dropped.
pub(crate) struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// Only where the container has a terminal and stdin is one.
    pub(crate) fn enter(options: &'a AttachOptions, terminal: Terminal) -> Result<Option<Self>> {
        match (options.streams.stdin(), terminal) {
            (Some(stdin), Terminal::Yes) => Self::of(stdin),
            _ => Ok(None),
        }
    }

    /// Of this descriptor, if it is a terminal.
    pub(crate) fn of(stdin: BorrowedFd<'a>) -> Result<Option<Self>> {
        let Ok(before) = tcgetattr(stdin.as_fd()) else { return Ok(None) };
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw)
            .map_err(|error| Error::system("set the terminal to raw mode")(error.into()))?;
        Ok(Some(Self { terminal: stdin, before }))
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Finds the detach keys in what is typed. Keys that turn out not to be the whole sequence go to the container after all.
#[derive(Debug)]
pub(crate) struct KeyScanner {
    keys: Vec<u8>,
    held: usize,
}

impl KeyScanner {
    pub(crate) fn new(keys: &DetachKeys) -> Self {
        Self { keys: keys.bytes().to_vec(), held: 0 }
    }

    /// What goes to the container, and whether the sequence is complete.
    pub(crate) fn scan(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.held) == Some(byte) {
                self.held += 1;
                if self.held == self.keys.len() {
                    self.held = 0;
                    return (pass, true);
                }
                continue;
            }
            pass.extend_from_slice(&self.keys[..self.held]);
            self.held = 0;
            if self.keys.first() == Some(byte) && self.keys.len() > 1 {
                self.held = 1;
            } else {
                pass.push(*byte);
            }
        }
        (pass, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-27
    #[test]
    fn a_partial_detach_sequence_reaches_the_container() {
        let mut scanner = KeyScanner::new(&DetachKeys::default());
        assert_eq!(scanner.scan(b"ab\x10"), (b"ab".to_vec(), false), "ctrl-p is held back");
        assert_eq!(
            scanner.scan(b"c"),
            (b"\x10c".to_vec(), false),
            "and replayed when another key follows"
        );
        assert_eq!(scanner.scan(b"\x10\x10x"), (b"\x10\x10x".to_vec(), false));
        assert_eq!(scanner.scan(b"x\x10\x10\x11"), (b"x\x10".to_vec(), true));
        assert_eq!(
            scanner.scan(b"\x11"),
            (b"\x11".to_vec(), false),
            "ctrl-q alone is a key as any other"
        );
        let mut none = KeyScanner::new(&DetachKeys::none());
        assert_eq!(none.scan(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        let mut single = KeyScanner::new(&"x".parse().unwrap());
        assert_eq!(single.scan(b"abx"), (b"ab".to_vec(), true));
    }
}
