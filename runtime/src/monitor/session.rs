//! One run of a container's program: the loop that carries bytes between the program, its log and attached clients until it
//! has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use super::client::Client;
use super::probe::Prober;
use crate::clock;
use crate::error::{Error, Result};
use crate::health::HealthState;
use crate::launch::{ChildStreams, Launched};
use crate::limits;
use crate::log::{LogDriver, Splitter};
use crate::network::NetworkService;
use crate::protocol::{Frame, WindowSize};
use crate::request::OutputStream;
use crate::sys::SignalTap;

const READ_BYTES: usize = 64 << 10;
/// What a pipe holds: a larger one means fewer turns between program and monitor.
const PIPE_BYTES: usize = 256 << 10;

/// Our ends of a program's streams.
#[derive(Debug)]
pub(super) struct Streams {
    stdin: Option<OwnedFd>,
    outputs: Vec<Output>,
    terminal: bool,
    stdin_queue: Vec<u8>,
    stdin_ending: bool,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    stream: OutputStream,
    splitter: Splitter,
    closed: bool,
}

impl Output {
    fn new(fd: OwnedFd, stream: OutputStream) -> Self {
        Self { fd, stream, splitter: Splitter::default(), closed: false }
    }
}

impl Streams {
    /// Pipes (and `/dev/null` where no stdin is wanted): our ends, and the program's.
    pub(super) fn pipes(open_stdin: bool) -> Result<(Self, ChildStreams)> {
        let pipe = || {
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
                .map_err(|error| Error::system("make a pipe")(error.into()))
        };
        let (stdin, our_stdin) = match open_stdin {
            true => {
                let (reader, writer) = pipe()?;
                set_nonblocking(&writer)?;
                (reader, Some(writer))
            }
            false => (super::open_null()?, None),
        };
        let (our_stdout, stdout) = pipe()?;
        let (our_stderr, stderr) = pipe()?;
        for end in [&our_stdout, &our_stderr] {
            set_nonblocking(end)?;
            // Without the privilege to go over the user's limit the pipe keeps its size.
            let _ = rustix::pipe::fcntl_setpipe_size(end, PIPE_BYTES);
        }
        let outputs = vec![
            Output::new(our_stdout, OutputStream::Stdout),
            Output::new(our_stderr, OutputStream::Stderr),
        ];
        let ours = Self {
            stdin: our_stdin,
            outputs,
            terminal: false,
            stdin_queue: Vec::new(),
            stdin_ending: false,
        };
        Ok((ours, ChildStreams::Pipes { stdin, stdout, stderr }))
    }

    /// The other end of a terminal.
    pub(super) fn terminal(master: OwnedFd, open_stdin: bool) -> Result<Self> {
        set_nonblocking(&master)?;
        let input = master.try_clone().map_err(Error::system("copy the terminal"))?;
        Ok(Self {
            stdin: open_stdin.then_some(input),
            outputs: vec![Output::new(master, OutputStream::Stdout)],
            terminal: true,
            stdin_queue: Vec::new(),
            stdin_ending: false,
        })
    }

    pub(super) fn resize(&self, size: WindowSize) {
        if let (true, Some(output)) = (self.terminal, self.outputs.first()) {
            let size = rustix::termios::Winsize {
                ws_row: size.rows,
                ws_col: size.columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let _ = rustix::termios::tcsetwinsize(&output.fd, size);
        }
    }

    fn queue_stdin(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() && !self.stdin_ending {
            self.stdin_queue.extend_from_slice(bytes);
            self.write_stdin();
        }
    }

    /// Closes stdin when everything before has been taken. A terminal has no end of its own: the user types ctrl-d.
    fn end_stdin(&mut self) {
        if !self.terminal {
            self.stdin_ending = true;
            self.write_stdin();
        }
    }

    fn write_stdin(&mut self) {
        while let Some(stdin) = self.stdin.as_ref().filter(|_| !self.stdin_queue.is_empty()) {
            match rustix::io::write(stdin, &self.stdin_queue) {
                Ok(count) => drop(self.stdin_queue.drain(..count)),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => {
                    self.stdin = None;
                    self.stdin_queue.clear();
                }
            }
        }
        if self.stdin_ending && self.stdin_queue.is_empty() {
            self.stdin = None;
        }
    }

    fn is_stdin_full(&self) -> bool {
        self.stdin_queue.len() > limits::STDIN_QUEUE_BYTES
    }
}

/// What a client asked for that concerns the container and not its streams.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// The state of the health check has changed.
    Health(HealthState),
    Signal {
        number: i32,
        stop: bool,
    },
    Pause,
    Resume,
}

/// What the loop works on, lent by the supervisor.
pub(super) struct Session<'a> {
    pub(super) streams: Streams,
    pub(super) log: &'a mut dyn LogDriver,
    pub(super) clients: &'a mut Vec<Client>,
    pub(super) listener: &'a UnixListener,
    pub(super) tap: Option<&'a SignalTap>,
    pub(super) stdin_once: bool,
    pub(super) prober: Option<Prober<'a>>,
    pub(super) network: Option<&'a mut (dyn NetworkService + 'static)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Ended,
    Output(usize),
    StdinRoom,
    Listener,
    Tap,
    Client(usize),
    Probe,
    ProbeOutput,
    Network,
}

impl Session<'_> {
    /// Runs until the first process has ended and all of its output is in the log and with the clients.
    pub(super) fn run(
        &mut self,
        launched: &Launched,
        handle: &mut dyn FnMut(Request) -> Result<(), String>,
        before_last_read: &mut dyn FnMut(),
    ) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let ready = self.wait(launched.handle.as_fd());
            let ended = ready.contains(&Source::Ended);
            let probe_spoke = ready.contains(&Source::Probe);
            let asked = ready.contains(&Source::Network);
            for source in ready {
                match source {
                    Source::Ended | Source::Probe | Source::ProbeOutput | Source::Network => {}
                    Source::Output(index) => self.read_output(index, &mut buffer),
                    Source::StdinRoom => self.streams.write_stdin(),
                    Source::Listener => self.accept(),
                    Source::Tap => self.pass_signals(handle),
                    Source::Client(index) => self.serve(index, handle),
                }
            }
            if !ended {
                self.look_after_health(probe_spoke, handle);
            }
            if let Some(network) = self.network.as_mut().filter(|_| asked) {
                network.work();
            }
            self.forget_gone();
            self.streams.outputs.retain(|output| !output.closed);
            if ended {
                self.prober = None;
                before_last_read();
                self.drain(&mut buffer);
                return;
            }
        }
    }

    fn wait(&self, ended: BorrowedFd<'_>) -> Vec<Source> {
        let mut sources = vec![Source::Ended, Source::Listener];
        let mut fds = vec![
            PollFd::from_borrowed_fd(ended, PollFlags::IN),
            PollFd::new(self.listener, PollFlags::IN),
        ];
        if let Some(tap) = self.tap {
            sources.push(Source::Tap);
            fds.push(PollFd::from_borrowed_fd(tap.fd(), PollFlags::IN));
        }
        if let Some(stdin) =
            self.streams.stdin.as_ref().filter(|_| !self.streams.stdin_queue.is_empty())
        {
            sources.push(Source::StdinRoom);
            fds.push(PollFd::new(stdin, PollFlags::OUT));
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if !(client.gives_stdin() && self.streams.is_stdin_full()) {
                flags |= PollFlags::IN;
            }
            if client.has_outgoing() {
                flags |= PollFlags::OUT;
            }
            sources.push(Source::Client(index));
            fds.push(PollFd::from_borrowed_fd(client.fd(), flags));
        }
        // After the clients: one whose request to attach waits in its socket must not miss the
        // output of a program that is quick.
        if !self.clients.iter().any(Client::is_behind) {
            for (index, output) in self.streams.outputs.iter().enumerate() {
                sources.push(Source::Output(index));
                fds.push(PollFd::new(&output.fd, PollFlags::IN));
            }
        }
        if let Some(prober) = &self.prober {
            // The helper's socket first; its output only has to be taken away.
            for (index, fd) in prober.fds().into_iter().enumerate() {
                sources.push(if index == 0 { Source::Probe } else { Source::ProbeOutput });
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        if let Some(network) = &self.network {
            for fd in network.fds() {
                sources.push(Source::Network);
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        let patience = [
            self.prober.as_ref().and_then(Prober::patience),
            self.network.as_ref().and_then(|network| network.patience()),
        ];
        let timeout = patience.into_iter().flatten().min().map(timespec);
        let _ = poll(&mut fds, timeout.as_ref());
        sources
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(source, _)| source)
            .collect()
    }

    fn look_after_health(
        &mut self,
        probe_spoke: bool,
        handle: &mut dyn FnMut(Request) -> Result<(), String>,
    ) {
        if let Some(state) = self.prober.as_mut().and_then(|prober| prober.work(probe_spoke)) {
            let _ = handle(Request::Health(state.clone()));
        }
    }

    fn read_output(&mut self, index: usize, buffer: &mut [u8]) {
        let Some(output) = self.streams.outputs.get_mut(index) else { return };
        match rustix::io::read(&output.fd, &mut *buffer) {
            Ok(0) => self.close_output(index),
            Ok(count) => {
                let bytes = &buffer[..count];
                let stream = output.stream;
                let now = clock::now();
                let log = &mut *self.log;
                // A full disk must not stop the program: what cannot be logged is still shown to who is attached.
                let _ = output.splitter.feed(bytes, |line| log.append(stream, now, line));
                let _ = log.flush();
                broadcast(self.clients, stream, bytes);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // The other side of a terminal is closed: EIO.
            Err(_) => self.close_output(index),
        }
    }

    fn close_output(&mut self, index: usize) {
        let Some(output) = self.streams.outputs.get_mut(index) else { return };
        let (stream, log) = (output.stream, &mut *self.log);
        let _ = output.splitter.finish(|line| log.append(stream, clock::now(), line));
        let _ = log.flush();
        output.closed = true;
    }

    /// Takes what is still in the pipes; nobody who could write to them is left.
    fn drain(&mut self, buffer: &mut [u8]) {
        for index in 0..self.streams.outputs.len() {
            loop {
                match rustix::io::read(&self.streams.outputs[index].fd, &mut *buffer) {
                    Ok(count) if count > 0 => {
                        let output = &mut self.streams.outputs[index];
                        let (stream, now, log) = (output.stream, clock::now(), &mut *self.log);
                        let _ = output
                            .splitter
                            .feed(&buffer[..count], |line| log.append(stream, now, line));
                        broadcast(self.clients, stream, &buffer[..count]);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    _ => break,
                }
            }
            let output = &mut self.streams.outputs[index];
            let (stream, now, log) = (output.stream, clock::now(), &mut *self.log);
            let _ = output.splitter.finish(|line| log.append(stream, now, line));
        }
        let _ = self.log.flush();
    }

    fn accept(&mut self) {
        accept(self.listener, self.clients);
    }

    fn pass_signals(&mut self, handle: &mut dyn FnMut(Request) -> Result<(), String>) {
        if self.tap.is_some_and(|tap| !tap.drain().is_empty()) {
            // Somebody asks the monitor itself to end, as a host does that goes down: the container is asked the same.
            let _ = handle(Request::Signal { number: 0, stop: true });
        }
    }

    fn serve(&mut self, index: usize, handle: &mut dyn FnMut(Request) -> Result<(), String>) {
        let Some(client) = self.clients.get_mut(index) else { return };
        client.flush();
        for frame in client.receive() {
            match frame {
                Frame::Stdin(bytes) if client.gives_stdin() => self.streams.queue_stdin(&bytes),
                Frame::StdinEnd if client.gives_stdin() && self.stdin_once => {
                    self.streams.end_stdin()
                }
                Frame::Resize(size) => self.streams.resize(size),
                Frame::Attach { stdin } => client.attach(stdin),
                other => {
                    if let (Frame::Pause | Frame::Resume, Some(prober)) = (&other, &mut self.prober)
                    {
                        prober.set_paused(other == Frame::Pause);
                    }
                    answer(client, &other, handle);
                }
            }
        }
        if client.is_gone() && client.gives_stdin() && self.stdin_once {
            self.streams.end_stdin();
        }
    }

    fn forget_gone(&mut self) {
        self.clients.retain(|client| !client.is_gone());
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Does what a frame asks for and says whether it was done.
pub(super) fn answer(
    client: &mut Client,
    frame: &Frame,
    handle: &mut dyn FnMut(Request) -> Result<(), String>,
) {
    let request = match frame {
        Frame::Signal { number, stop } => Request::Signal { number: *number, stop: *stop },
        Frame::Pause => Request::Pause,
        Frame::Resume => Request::Resume,
        _ => return,
    };
    match handle(request) {
        Ok(()) => client.send(&Frame::Done),
        Err(reason) => client.send(&Frame::Refused(reason)),
    }
}

/// Takes one new connection, and says whether there was one; above the limit it is dropped at once.
pub(super) fn accept(listener: &UnixListener, clients: &mut Vec<Client>) -> bool {
    let Ok((stream, _)) = listener.accept() else { return false };
    if clients.len() < limits::CLIENTS
        && let Ok(client) = Client::new(stream)
    {
        clients.push(client);
    }
    true
}

fn broadcast(clients: &mut [Client], stream: OutputStream, bytes: &[u8]) {
    if !clients.iter().any(Client::is_attached) {
        return;
    }
    let frame = match stream {
        OutputStream::Stdout => Frame::Stdout(bytes.to_vec()),
        OutputStream::Stderr => Frame::Stderr(bytes.to_vec()),
    };
    let mut encoded = Vec::with_capacity(bytes.len() + 8);
    frame.encode(&mut encoded);
    for client in clients.iter_mut().filter(|client| client.is_attached()) {
        client.send_encoded(&encoded);
    }
}

fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    let act = "make a pipe non-blocking";
    let flags = rustix::fs::fcntl_getfl(fd).map_err(|error| Error::system(act)(error.into()))?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
        .map_err(|error| Error::system(act)(io::Error::from(error)))
}
