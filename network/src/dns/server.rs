//! The server: answers what it knows, forwards the rest, never blocks.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, getsockname,
    listen, recv, recvfrom, send, sendto, socket_with,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::message::{self, Kind, Query, Status, refusal, reverse_address};
use super::table::{Found, Table};
use super::upstream::{Asking, Outcome, Transport, take_framed};
use crate::error::{Result, kernel};
use crate::files::{EMBEDDED, Upstream};
use crate::firewall;
use crate::id;
use crate::limits;
use crate::netns::Netns;
use crate::networks::Networks;

const UDP: u64 = 0;
const TCP: u64 = 1;
const TIMER: u64 = 2;
const FIRST: u64 = 16;
/// Most queries answered in one call: others of the process want their turn.
const PORTION: usize = 64;
/// Seconds that a client may keep a stream open without asking.
const IDLE_SECONDS: u64 = 10;

/// Who gets an answer.
#[derive(Clone, Copy, Debug)]
enum Client {
    Datagram(SocketAddr),
    Stream(u64),
}

impl Client {
    fn transport(self) -> Transport {
        match self {
            Self::Datagram(_) => Transport::Udp,
            Self::Stream(_) => Transport::Tcp,
        }
    }
}

/// A question that the next server was asked.
#[derive(Debug)]
struct Forward {
    client: Client,
    query: Vec<u8>,
    question: Vec<u8>,
    id: u16,
    udp_bytes_max: usize,
    upstream: usize,
    asking: Asking,
    age: u64,
}

/// A client's stream.
#[derive(Debug)]
struct Stream {
    socket: OwnedFd,
    incoming: Vec<u8>,
    age: u64,
}

/// The embedded DNS server of one container.
#[derive(Debug)]
pub struct Server {
    epoll: OwnedFd,
    udp: OwnedFd,
    tcp: OwnedFd,
    timer: OwnedFd,
    netns: Netns,
    table: Table,
    upstreams: Vec<Upstream>,
    upstream_port: Option<u16>,
    search_first: bool,
    forwards: HashMap<u64, Forward>,
    streams: HashMap<u64, Stream>,
    next: u64,
    ticking: bool,
    buffer: Vec<u8>,
}

impl Server {
    /// Binds the server inside a container's namespace; the namespace is entered on a throw-away thread. `search_first`
    /// says that a name without a dot is for the search list and not to be forwarded.
    pub fn bind(
        networks: &Networks,
        container: &str,
        netns: &Netns,
        upstreams: Vec<Upstream>,
        search_first: bool,
    ) -> Result<Self> {
        let (udp, tcp) =
            netns.run(bind_inside)?.map_err(kernel("bind the DNS server at 127.0.0.11"))?;
        let opened = || -> io::Result<(OwnedFd, OwnedFd)> {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let timer = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
            )?;
            for (fd, token) in [(&udp, UDP), (&tcp, TCP), (&timer, TIMER)] {
                epoll::add(&epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
            }
            Ok((epoll, timer))
        };
        let (epoll, timer) = opened().map_err(kernel("prepare the DNS server"))?;
        let own = netns.fd().try_clone_to_owned().map_err(kernel("keep the network namespace"))?;
        Ok(Self {
            epoll,
            udp,
            tcp,
            timer,
            netns: Netns::from(own),
            table: Table::open(networks, container)?,
            upstreams,
            upstream_port: None,
            search_first,
            forwards: HashMap::new(),
            streams: HashMap::new(),
            next: FIRST,
            ticking: false,
            buffer: vec![0; 4096],
        })
    }

    /// Asks the next servers on another port than 53.
    #[doc(hidden)]
    pub fn with_upstream_port(mut self, port: u16) -> Self {
        self.upstream_port = Some(port);
        self
    }

    /// What to wait for: readable means that there is work.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.epoll.as_fd()]
    }

    /// How long to wait at most: for ever, because timeouts make a descriptor readable.
    pub fn patience(&self) -> Option<Duration> {
        None
    }

    /// Does what can be done without waiting.
    pub fn work(&mut self) -> Result<()> {
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 32];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = match epoll::wait(&self.epoll, &mut events[..], Some(&now)) {
            Err(Errno::INTR) => 0,
            other => other.map_err(kernel("wait for DNS queries"))?,
        };
        for event in events.iter().take(count) {
            match event.data.u64() {
                UDP => self.datagrams(),
                TCP => self.accept(),
                TIMER => self.tick(),
                token if self.forwards.contains_key(&token) => self.forwarded(token),
                token => self.stream(token),
            }
        }
        self.set_ticking().map_err(kernel("set the timer of the DNS server"))
    }

    /// Serves until `stop` becomes readable or is hung up: for a process that has a thread for it.
    pub fn run(mut self, stop: impl AsFd) -> Result<()> {
        loop {
            let ready = {
                let mut fds =
                    [PollFd::new(&stop, PollFlags::IN), PollFd::new(&self.epoll, PollFlags::IN)];
                match poll(&mut fds, None) {
                    Err(Errno::INTR) => continue,
                    other => other.map_err(kernel("wait for DNS queries"))?,
                };
                !fds[0].revents().is_empty()
            };
            if ready {
                return Ok(());
            }
            self.work()?;
        }
    }

    fn datagrams(&mut self) {
        self.table.refresh();
        for _ in 0..PORTION {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = recvfrom(&self.udp, &mut buffer[..], RecvFlags::DONTWAIT);
            let (length, from, done) = match received {
                Ok((length, _, from)) => (length, from, false),
                Err(Errno::INTR) => (0, None, false),
                Err(_) => (0, None, true),
            };
            if let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) {
                self.query(Client::Datagram(from), &buffer[..length]);
            }
            self.buffer = buffer;
            if done {
                return;
            }
        }
    }

    /// Answers or forwards one query.
    fn query(&mut self, client: Client, bytes: &[u8]) {
        let query = match Query::read(bytes) {
            Ok(query) => query,
            Err(Some(status)) => return self.reply_some(client, refusal(bytes, status)),
            Err(None) => return,
        };
        let bytes_max = match client {
            Client::Datagram(_) => query.udp_bytes_max,
            Client::Stream(_) => limits::DNS_UDP_BYTES_MAX,
        };
        if let Some(answer) = self.known(&query, bytes_max) {
            return self.reply(client, &answer);
        }
        let plain = query.name.as_deref().is_some_and(|name| !name.contains('.'));
        let by_address = matches!(query.kind, Kind::A | Kind::Aaaa);
        if self.search_first && plain && by_address {
            return self.reply(client, &query.status(Status::Ok));
        }
        if !self.table.leads_out() || self.upstreams.is_empty() {
            return self.reply(client, &query.status(Status::ServerFailure));
        }
        if self.forwards.len() >= limits::DNS_FORWARDS_MAX {
            return self.reply(client, &query.status(Status::Refused));
        }
        self.forward(client, &query, 0);
    }

    /// The answer to a query about a container.
    fn known(&mut self, query: &Query<'_>, bytes_max: usize) -> Option<Vec<u8>> {
        let name = query.name.as_deref().filter(|_| query.internet)?;
        if query.kind == Kind::Ptr {
            let name = self.table.name(reverse_address(name)?)?;
            return Some(query.pointer(&name, bytes_max));
        }
        let kind = query.kind;
        let found = self.table.addresses(name, |ip| match kind {
            Kind::A => ip.is_ipv4(),
            Kind::Aaaa => ip.is_ipv6(),
            _ => false,
        });
        match found {
            // A name that has only other records is there: no error, and nobody else is asked.
            Found::Addresses(addresses) => Some(query.addresses(&addresses, bytes_max)),
            Found::Nothing => None,
        }
    }

    /// Asks the next servers from the given one on; without one that can be asked, the client is told.
    fn forward(&mut self, client: Client, query: &Query<'_>, first: usize) {
        let transport = client.transport();
        for upstream in first..self.upstreams.len() {
            let Ok(number) = id::random_u16() else { break };
            let asking = Asking::start(
                &self.netns,
                self.upstreams[upstream],
                self.upstream_port,
                transport,
                query.bytes(),
                number,
            );
            let Ok(asking) = asking else { continue };
            let token = self.token();
            let mut wanted = epoll::EventFlags::IN;
            if asking.wants_to_write() {
                wanted |= epoll::EventFlags::OUT;
            }
            let data = epoll::EventData::new_u64(token);
            if epoll::add(&self.epoll, asking.socket(), data, wanted).is_err() {
                continue;
            }
            let forward = Forward {
                client,
                query: query.bytes().to_vec(),
                question: query.question().to_vec(),
                id: message::id(query.bytes()).unwrap_or_default(),
                udp_bytes_max: query.udp_bytes_max,
                upstream,
                asking,
                age: 0,
            };
            self.forwards.insert(token, forward);
            return;
        }
        self.reply(client, &query.status(Status::ServerFailure));
    }

    /// Something happened to a question on its way.
    fn forwarded(&mut self, token: u64) {
        let Some(forward) = self.forwards.get_mut(&token) else { return };
        let waited = forward.asking.wants_to_write();
        match forward.asking.work(&forward.question) {
            Outcome::Waiting => {
                if waited && !forward.asking.wants_to_write() {
                    let data = epoll::EventData::new_u64(token);
                    let socket = forward.asking.socket();
                    // If that fails, the age of the question ends it.
                    let _ = epoll::modify(&self.epoll, socket, data, epoll::EventFlags::IN);
                }
            }
            Outcome::Answer(answer) if !message::is_failure(&answer) => self.deliver(token, answer),
            Outcome::Answer(answer) => self.next_server(token, Some(answer)),
            Outcome::Failed => self.next_server(token, None),
        }
    }

    fn deliver(&mut self, token: u64, mut answer: Vec<u8>) {
        let Some(forward) = self.forwards.remove(&token) else { return };
        message::set_id(&mut answer, forward.id);
        if let Client::Datagram(_) = forward.client {
            answer = message::fit(answer, forward.question.len(), forward.udp_bytes_max);
        }
        self.reply(forward.client, &answer);
    }

    /// Asks the next server; the last one's refusal is the answer.
    fn next_server(&mut self, token: u64, answer: Option<Vec<u8>>) {
        let Some(forward) = self.forwards.get(&token) else { return };
        let is_last = forward.upstream + 1 >= self.upstreams.len();
        if let (true, Some(answer)) = (is_last, answer) {
            return self.deliver(token, answer);
        }
        let Some(forward) = self.forwards.remove(&token) else { return };
        if let Ok(query) = Query::read(&forward.query) {
            self.forward(forward.client, &query, forward.upstream + 1);
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = accept_with(&self.tcp, flags) {
            // One too many is closed at once.
            if self.streams.len() >= limits::DNS_TCP_CLIENTS_MAX {
                continue;
            }
            let token = self.token();
            let data = epoll::EventData::new_u64(token);
            if epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN).is_ok() {
                self.streams.insert(token, Stream { socket, incoming: Vec::new(), age: 0 });
            }
        }
    }

    /// Reads a client's stream.
    fn stream(&mut self, token: u64) {
        self.table.refresh();
        let Some(stream) = self.streams.get_mut(&token) else { return };
        let mut buffer = [0; 4096];
        match recv(&stream.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) if length > 0 => stream.incoming.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => return,
            _ => {
                self.streams.remove(&token);
                return;
            }
        }
        stream.age = 0;
        while let Some(query) =
            self.streams.get_mut(&token).and_then(|s| take_framed(&mut s.incoming))
        {
            self.query(Client::Stream(token), &query);
        }
    }

    /// A second has passed.
    fn tick(&mut self) {
        let mut expirations = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut expirations[..]);
        for forward in self.forwards.values_mut() {
            forward.age += 1;
        }
        for stream in self.streams.values_mut() {
            stream.age += 1;
        }
        self.streams.retain(|_, stream| stream.age <= IDLE_SECONDS);
        let late = |(token, forward): (&u64, &Forward)| {
            (forward.age > limits::DNS_UPSTREAM_SECONDS).then_some(*token)
        };
        let late: Vec<u64> = self.forwards.iter().filter_map(late).collect();
        for token in late {
            self.next_server(token, None);
        }
    }

    /// The timer runs only while somebody waits: an idle server sleeps.
    fn set_ticking(&mut self) -> io::Result<()> {
        let wanted = !self.forwards.is_empty() || !self.streams.is_empty();
        if wanted == self.ticking {
            return Ok(());
        }
        let second = Timespec { tv_sec: i64::from(wanted), tv_nsec: 0 };
        let spec = Itimerspec { it_interval: second, it_value: second };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)?;
        self.ticking = wanted;
        Ok(())
    }

    fn reply_some(&mut self, client: Client, answer: Option<Vec<u8>>) {
        if let Some(answer) = answer {
            self.reply(client, &answer);
        }
    }

    /// Sends an answer. A client that does not take it has lost it, as on any network.
    fn reply(&mut self, client: Client, answer: &[u8]) {
        match client {
            Client::Datagram(to) => {
                let _ = sendto(&self.udp, answer, SendFlags::DONTWAIT, &to);
            }
            Client::Stream(token) => {
                let Some(stream) = self.streams.get(&token) else { return };
                let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
                framed.extend_from_slice(answer);
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                if send(&stream.socket, &framed, flags) != Ok(framed.len()) {
                    self.streams.remove(&token);
                }
            }
        }
    }

    fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Binds both sockets, in the container's namespace. Where the kernel has no packet filter to lead port 53 to them, they
/// take that port themselves.
fn bind_inside() -> io::Result<(OwnedFd, OwnedFd)> {
    let (udp, udp_port) = bound(SocketType::DGRAM, 0)?;
    let (tcp, tcp_port) = bound(SocketType::STREAM, 0)?;
    let (udp, tcp) = match firewall::lead_dns(udp_port, tcp_port) {
        Ok(()) => (udp, tcp),
        Err(_) => (bound(SocketType::DGRAM, 53)?.0, bound(SocketType::STREAM, 53)?.0),
    };
    listen(&tcp, 16)?;
    Ok((udp, tcp))
}

fn bound(kind: SocketType, port: u16) -> io::Result<(OwnedFd, u16)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
    bind(&socket, &SocketAddr::new(IpAddr::V4(EMBEDDED), port))?;
    let port = SocketAddr::try_from(getsockname(&socket)?).map_or(port, |address| address.port());
    Ok((socket, port))
}
