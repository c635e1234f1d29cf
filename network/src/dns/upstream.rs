//! A question on its way to the next server: one socket for each, from a port of its own, so that an answer from
//! somewhere else has nothing to guess.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with,
};

use super::message;
use crate::files::Upstream;
use crate::limits;
use crate::netns::Netns;

const DNS_PORT: u16 = 53;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// In one datagram.
    Udp,
    /// In a stream, with its length before it.
    Tcp,
}

/// What became of a forwarded question.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing yet.
    Waiting,
    /// An answer, under the number of our question.
    Answer(Vec<u8>),
    /// The server cannot be asked, or failed.
    Failed,
}

/// A question being asked.
#[derive(Debug)]
pub(super) struct Asking {
    socket: OwnedFd,
    transport: Transport,
    id: u16,
    /// What is still to be written.
    outgoing: Vec<u8>,
    /// What was read of a stream.
    incoming: Vec<u8>,
}

impl Asking {
    /// Asks a server: from the host's namespace or from the container's, as the server is reached.
    pub(super) fn start(
        netns: &Netns,
        upstream: Upstream,
        port: Option<u16>,
        transport: Transport,
        query: &[u8],
        id: u16,
    ) -> io::Result<Self> {
        let to = SocketAddr::new(upstream.address, port.unwrap_or(DNS_PORT));
        let open = || open(to, transport);
        let socket = match upstream.on_host {
            true => open()?,
            false => netns.run(open).map_err(|error| io::Error::other(error.to_string()))??,
        };
        let mut outgoing = query.to_vec();
        message::set_id(&mut outgoing, id);
        if transport == Transport::Tcp {
            let length = (outgoing.len() as u16).to_be_bytes();
            outgoing.splice(0..0, length);
        }
        let mut asking = Self { socket, transport, id, outgoing, incoming: Vec::new() };
        asking.write()?;
        Ok(asking)
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether it waits until it can write.
    pub(super) fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Goes as far as it can without waiting.
    pub(super) fn work(&mut self, question: &[u8]) -> Outcome {
        if self.write().is_err() {
            return Outcome::Failed;
        }
        match self.read() {
            Ok(Some(answer)) if self.belongs(&answer, question) => Outcome::Answer(answer),
            // A datagram that answers something else is somebody's guess.
            Ok(_) => Outcome::Waiting,
            Err(_) => Outcome::Failed,
        }
    }

    fn belongs(&self, answer: &[u8], question: &[u8]) -> bool {
        message::id(answer) == Some(self.id) && message::answers(answer, question)
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.outgoing.drain(..sent.min(self.outgoing.len()))),
                // A stream that is not connected yet, or a full one.
                Err(Errno::AGAIN | Errno::NOTCONN | Errno::INPROGRESS) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; limits::DNS_UDP_BYTES_MAX];
        let length = match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        buffer.truncate(length);
        if self.transport == Transport::Udp {
            return Ok(Some(buffer));
        }
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.incoming.extend(buffer);
        Ok(take_framed(&mut self.incoming))
    }
}

/// Takes the first whole message with its length before it from a stream's bytes.
pub(super) fn take_framed(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*stream.first()?, *stream.get(1)?]));
    if stream.len() < 2 + length {
        return None;
    }
    let message = stream[2..2 + length].to_vec();
    stream.drain(..2 + length);
    Some(message)
}

fn open(to: SocketAddr, transport: Transport) -> io::Result<OwnedFd> {
    let (family, any) = match to.ip() {
        IpAddr::V4(_) => (AddressFamily::INET, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        IpAddr::V6(_) => (AddressFamily::INET6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let kind = match transport {
        Transport::Udp => SocketType::DGRAM,
        Transport::Tcp => SocketType::STREAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    bind(&socket, &SocketAddr::new(any, 0))?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
