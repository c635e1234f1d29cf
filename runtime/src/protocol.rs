//! What a command and a monitor say to each other over the attach connection: frames of a kind, a length and a body.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::limits;

/// Bytes of kind and length before a body.
pub(crate) const HEADER: usize = 5;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// To the container's stdin.
    Stdin(Vec<u8>),
    /// Nothing more comes on stdin.
    StdinEnd,
    /// The size of the client's terminal.
    Resize(WindowSize),
    /// Send a signal to the first process; `stop` means that the user wants the container to stay down.
    Signal { number: i32, stop: bool },
    /// Freeze all processes.
    Pause,
    /// Thaw them.
    Resume,
    /// From now on send output (and take stdin).
    Attach { stdin: bool },
    /// From the container's stdout (or its terminal).
    Stdout(Vec<u8>),
    /// From the container's stderr.
    Stderr(Vec<u8>),
    /// The first process runs.
    Started,
    /// It could not be started: exit code and message.
    Failed { exit_code: u8, message: String },
    /// The kernel killed a process of the step for want of memory.
    OutOfMemory,
    /// The first process ended, all of its output has been sent.
    Exited(i32),
    /// Done.
    Done,
    /// Not done, and why.
    Refused(String),
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

impl Frame {
    /// Appends the frame to a buffer.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Stdin(data) => put(out, 0x01, data),
            Self::StdinEnd => put(out, 0x02, &[]),
            Self::Resize(size) => {
                let [a, b] = size.rows.to_be_bytes();
                let [c, d] = size.columns.to_be_bytes();
                put(out, 0x03, &[a, b, c, d]);
            }
            Self::Signal { number, stop } => {
                let [a, b, c, d] = number.to_be_bytes();
                put(out, 0x10, &[a, b, c, d, u8::from(*stop)]);
            }
            Self::Pause => put(out, 0x11, &[]),
            Self::Resume => put(out, 0x12, &[]),
            Self::Attach { stdin } => put(out, 0x14, &[u8::from(*stdin)]),
            Self::Stdout(data) => put(out, 0x21, data),
            Self::Stderr(data) => put(out, 0x22, data),
            Self::Started => put(out, 0x30, &[]),
            Self::Failed { exit_code, message } => {
                let mut body = vec![*exit_code];
                body.extend_from_slice(truncate(message).as_bytes());
                put(out, 0x31, &body);
            }
            Self::Exited(code) => put(out, 0x32, &code.to_be_bytes()),
            Self::Done => put(out, 0x33, &[]),
            Self::OutOfMemory => put(out, 0x35, &[]),
            Self::Refused(message) => put(out, 0x34, truncate(message).as_bytes()),
        }
    }

    /// Takes one frame off the front of a buffer; `None` when it is not all there yet.
    pub(crate) fn decode(buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let Some((kind, length)) = parse_header(buffer)? else { return Ok(None) };
        if buffer.len() < HEADER + length {
            return Ok(None);
        }
        let body = buffer[HEADER..HEADER + length].to_vec();
        buffer.drain(..HEADER + length);
        Self::from_body(kind, body).map(Some)
    }

    fn from_body(kind: u8, body: Vec<u8>) -> io::Result<Self> {
        let frame = match (kind, body.as_slice()) {
            (0x01, _) => Self::Stdin(body),
            (0x02, []) => Self::StdinEnd,
            (0x03, [a, b, c, d]) => Self::Resize(WindowSize {
                rows: u16::from_be_bytes([*a, *b]),
                columns: u16::from_be_bytes([*c, *d]),
            }),
            (0x10, [a, b, c, d, stop @ (0 | 1)]) => {
                Self::Signal { number: i32::from_be_bytes([*a, *b, *c, *d]), stop: *stop == 1 }
            }
            (0x11, []) => Self::Pause,
            (0x12, []) => Self::Resume,
            (0x14, [stdin @ (0 | 1)]) => Self::Attach { stdin: *stdin == 1 },
            (0x21, _) => Self::Stdout(body),
            (0x22, _) => Self::Stderr(body),
            (0x30, []) => Self::Started,
            (0x31, [exit_code, message @ ..]) => Self::Failed {
                exit_code: *exit_code,
                message: String::from_utf8_lossy(message).into_owned(),
            },
            (0x32, [a, b, c, d]) => Self::Exited(i32::from_be_bytes([*a, *b, *c, *d])),
            (0x33, []) => Self::Done,
            (0x35, []) => Self::OutOfMemory,
            (0x34, message) => Self::Refused(String::from_utf8_lossy(message).into_owned()),
            _ => return Err(malformed()),
        };
        Ok(frame)
    }
}

/// Writes one frame whole.
pub(crate) fn send(mut stream: &UnixStream, frame: &Frame) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    stream.write_all(&bytes)
}

/// Reads one frame whole; `None` when the other side is gone between two frames.
pub(crate) fn receive(mut stream: &UnixStream) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match stream.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && filled == 0 => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    let Some((kind, length)) = parse_header(&header)? else { return Err(malformed()) };
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Frame::from_body(kind, body).map(Some)
}

/// Sends bytes together with open files.
pub(crate) fn send_with_fds(
    stream: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives at most `limit` bytes and the files that came with them, close-on-exec.
pub(crate) fn receive_with_fds(
    stream: impl AsFd,
    limit: usize,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; limit];
    let received = loop {
        match recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    bytes.truncate(received.bytes);
    let fds = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((bytes, fds))
}

/// Connects to a socket by way of its folder's descriptor, because a socket address holds 107 bytes only.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let (dir, short) = short_path(path)?;
    let stream = UnixStream::connect(short);
    drop(dir);
    stream
}

/// Listens at a path of any length.
pub(crate) fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let (dir, short) = short_path(path)?;
    let listener = std::os::unix::net::UnixListener::bind(short);
    drop(dir);
    listener
}

fn short_path(path: &Path) -> io::Result<(OwnedFd, std::path::PathBuf)> {
    use std::os::fd::AsRawFd;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let dir = rustix::fs::open(parent, flags, rustix::fs::Mode::empty())?;
    let short = std::path::PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((dir, short))
}

fn put(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(body);
}

fn parse_header(buffer: &[u8]) -> io::Result<Option<(u8, usize)>> {
    let [kind, a, b, c, d, ..] = buffer else { return Ok(None) };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if length > limits::FRAME_BYTES {
        return Err(malformed());
    }
    Ok(Some((*kind, length)))
}

fn truncate(message: &str) -> &str {
    let mut end = message.len().min(limits::ERROR_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed frame on the attach connection")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Frame::Stdin),
            Just(Frame::StdinEnd),
            any::<(u16, u16)>()
                .prop_map(|(rows, columns)| Frame::Resize(WindowSize { rows, columns })),
            any::<(i32, bool)>().prop_map(|(number, stop)| Frame::Signal { number, stop }),
            Just(Frame::Pause),
            Just(Frame::Resume),
            any::<bool>().prop_map(|stdin| Frame::Attach { stdin }),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Frame::Stdout),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Frame::Stderr),
            Just(Frame::Started),
            any::<(u8, String)>()
                .prop_map(|(exit_code, message)| Frame::Failed { exit_code, message }),
            any::<i32>().prop_map(Frame::Exited),
            Just(Frame::Done),
            Just(Frame::OutOfMemory),
            any::<String>().prop_map(Frame::Refused),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_back_as_sent_however_the_bytes_are_cut(frames in proptest::collection::vec(any_frame(), 0..6), cut in 1usize..40) {
            let mut wire = Vec::new();
            for frame in &frames {
                frame.encode(&mut wire);
            }
            let mut buffer = Vec::new();
            let mut got = Vec::new();
            for piece in wire.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                    got.push(frame);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = bytes;
            while let Ok(Some(_)) = Frame::decode(&mut buffer) {}
        }
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_refused_before_it_is_read() {
        let mut buffer = vec![0x01, 0xff, 0xff, 0xff, 0xff];
        assert!(Frame::decode(&mut buffer).is_err());
    }
}
