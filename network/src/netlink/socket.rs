//! A netlink socket of the calling thread's network namespace.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
    sockopt,
};

use super::message::{Message, Received, messages, number};
use crate::limits;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const DUMP: u16 = 0x300;

/// Which part of the kernel is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Links, addresses and routes.
    Route,
    /// Packet filter and connection tracking.
    Netfilter,
}

/// A socket on which one request at a time is made.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's namespace; it stays in that namespace for ever.
    pub(crate) fn open(protocol: Protocol) -> io::Result<Self> {
        let protocol = match protocol {
            // NETLINK_ROUTE is zero, the protocol that is meant when none is said.
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let fd =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and waits until it is acknowledged.
    pub(crate) fn request(&mut self, message: Message) -> io::Result<()> {
        let sequence = self.next();
        self.send(&message.acknowledged().finish(sequence))?;
        self.answers(sequence, |_| {})
    }

    /// Sends a question about one thing and hands over its answer.
    pub(crate) fn ask<T>(
        &mut self,
        message: Message,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let sequence = self.next();
        self.send(&message.acknowledged().finish(sequence))?;
        let mut found = None;
        self.answers(sequence, |body| found = found.take().or_else(|| read(body)))?;
        Ok(found)
    }

    /// Sends a question about all things of a kind and collects the answers.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        fixed: &[u8],
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let sequence = self.next();
        self.send(&Message::new(kind, DUMP).raw(fixed).finish(sequence))?;
        let mut all = Vec::new();
        self.answers(sequence, |body| all.extend(read(body)))?;
        Ok(all)
    }

    /// Sends several messages as one transaction: the first and the last are the brackets. Waits for the
    /// acknowledgement of the last but one, which the kernel gives when all is done or nothing is.
    pub(crate) fn transact(&mut self, mut batch: Vec<Message>) -> io::Result<()> {
        let Some(last) = batch.len().checked_sub(2) else { return Ok(()) };
        let length: usize = batch.iter().map(Message::len).sum();
        let mut bytes = Vec::with_capacity(length);
        let mut awaited = 0;
        for (index, message) in batch.drain(..).enumerate() {
            let sequence = self.next();
            let message = if index == last { message.acknowledged() } else { message };
            if index == last {
                awaited = sequence;
            }
            bytes.extend(message.finish(sequence));
        }
        let first = awaited.wrapping_sub(last as u32);
        let room = (length * 2).max(256 * 1024);
        // The kernel refuses a datagram that is larger than the socket's buffer.
        sockopt::set_socket_send_buffer_size_force(&self.fd, room)?;
        self.send(&bytes)?;
        self.verdict(first, awaited)
    }

    /// Reads acknowledgements until that of `awaited`; the first error of the transaction counts.
    fn verdict(&mut self, first: u32, awaited: u32) -> io::Result<()> {
        let mut buffer = vec![0; limits::NETLINK_BYTES_MAX];
        let mut failed = None;
        loop {
            let length = self.receive(&mut buffer)?;
            for answer in messages(&buffer[..length]) {
                let ours = answer.sequence.wrapping_sub(first) <= awaited.wrapping_sub(first);
                if answer.kind != ERROR || !ours {
                    continue;
                }
                if let Err(error) = status(&answer) {
                    failed = failed.or(Some(error));
                }
                if answer.sequence == awaited || failed.is_some() {
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Reads answers until the end of the dump or the acknowledgement.
    fn answers(&mut self, sequence: u32, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; limits::NETLINK_BYTES_MAX];
        loop {
            let length = self.receive(&mut buffer)?;
            // An answer to a request that was given up is not ours.
            for answer in messages(&buffer[..length]).filter(|a| a.sequence == sequence) {
                match answer.kind {
                    DONE => return Ok(()),
                    ERROR => return status(&answer),
                    _ => each(answer.body),
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((length, _)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The result that an error message carries: zero is success.
fn status(answer: &Received<'_>) -> io::Result<()> {
    match number(answer.body, 0).map(|code| code as i32) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}
