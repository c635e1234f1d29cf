//! Ports of the host: which one a published port gets, and the sockets that keep other programs off it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

use crate::error::{Error, Result};
use crate::publish::{HostPort, PortBinding, Protocol, Publish};

/// The kernel's own range, and what it is without /proc.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const EPHEMERAL_DEFAULT: (u16, u16) = (32768, 60999);

/// Bound sockets that keep other programs off published ports. A program that wants such a port while this lives is
/// told that it is taken. Dropping it does not unpublish; a container that starts again must drop it first.
#[derive(Debug, Default)]
pub struct PortHold {
    sockets: Vec<OwnedFd>,
}

impl PortHold {
    /// How many ports are held.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether no port is held.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Takes ports that a container publishes already: for a process that takes over from another.
    /// A port that is held by that other one is passed over.
    pub fn of(ports: &[PortBinding]) -> Self {
        Self { sockets: ports.iter().filter_map(|port| take(port).ok().flatten()).collect() }
    }
}

/// The addresses of a container that ports can lead to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Whether it has an IPv4 address.
    pub(crate) v4: bool,
    /// Whether it has an IPv6 address.
    pub(crate) v6: bool,
    /// The host's address where the user names none.
    pub(crate) default: Option<IpAddr>,
}

/// Finds a port of the host for each published port; `taken` are those of all containers.
pub(crate) fn allocate(
    asked: &[Publish],
    reach: Reach,
    taken: &[PortBinding],
) -> Result<(Vec<PortBinding>, PortHold)> {
    let mut bound: Vec<PortBinding> = Vec::new();
    let mut hold = PortHold::default();
    for publish in asked {
        let addresses = addresses(publish, reach)?;
        let (first, last) = range(publish.host_port);
        let fixed = matches!(publish.host_port, HostPort::One(_));
        let mut refused = None;
        let found = (first..=last).find_map(|port| {
            let wanted = bindings(publish, &addresses, port);
            match take_all(&wanted, taken, &bound) {
                Ok(sockets) => Some((wanted, sockets)),
                Err(error) => {
                    refused = Some(error);
                    None
                }
            }
        });
        let Some((wanted, sockets)) = found else {
            return Err(match (fixed, refused) {
                (true, Some(error)) | (false, Some(error @ Error::Kernel { .. })) => error,
                _ => Error::NoPorts { first, last, host_ip: addresses[0] },
            });
        };
        bound.extend(wanted);
        hold.sockets.extend(sockets);
    }
    Ok((bound, hold))
}

/// Ports for a container whose sockets are held already: by the records alone.
pub(crate) fn choose(
    asked: &[Publish],
    reach: Reach,
    taken: &[PortBinding],
) -> Result<Vec<PortBinding>> {
    let mut bound: Vec<PortBinding> = Vec::new();
    for publish in asked {
        // What cannot be reached through the next network waits for one through which it can.
        let Ok(addresses) = addresses(publish, reach) else { continue };
        let (first, last) = range(publish.host_port);
        let free = |port: &u16| {
            let wanted = bindings(publish, &addresses, *port);
            !taken.iter().chain(&bound).any(|other| wanted.iter().any(|port| other.collides(port)))
        };
        let port = (first..=last).find(free).ok_or(Error::NoPorts {
            first,
            last,
            host_ip: addresses[0],
        })?;
        bound.extend(bindings(publish, &addresses, port));
    }
    Ok(bound)
}

/// The addresses of the host that a published port is bound to: one of each family that the container has.
fn addresses(publish: &Publish, reach: Reach) -> Result<Vec<IpAddr>> {
    let all: Vec<IpAddr> = match publish.host_ip {
        Some(ip) => vec![ip],
        None => [
            reach.default.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        ]
        .to_vec(),
    };
    let reachable: Vec<IpAddr> =
        all.iter().copied().filter(|ip| if ip.is_ipv4() { reach.v4 } else { reach.v6 }).collect();
    match (reachable.is_empty(), all.first()) {
        (true, Some(ip)) => {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            Err(Error::Unsupported {
                what: format!("publish port {} on {ip}", publish.container_port),
                reason: format!("the container has no {family} address on that network"),
            })
        }
        _ => Ok(reachable),
    }
}

fn bindings(publish: &Publish, addresses: &[IpAddr], port: u16) -> Vec<PortBinding> {
    let binding = |&host_ip: &IpAddr| PortBinding {
        container_port: publish.container_port,
        protocol: publish.protocol,
        host_ip,
        host_port: port,
    };
    addresses.iter().map(binding).collect()
}

fn take_all(
    wanted: &[PortBinding],
    taken: &[PortBinding],
    bound: &[PortBinding],
) -> Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    for port in wanted {
        let in_use = Error::PortTaken {
            host_ip: port.host_ip,
            port: port.host_port,
            protocol: port.protocol,
        };
        if taken.iter().chain(bound).any(|other| other.collides(port)) {
            return Err(in_use);
        }
        match take(port) {
            Ok(socket) => sockets.extend(socket),
            Err(Errno::ADDRINUSE) => return Err(in_use),
            Err(error) => {
                let at = SocketAddr::new(port.host_ip, port.host_port);
                return Err(Error::Kernel {
                    act: format!("listen {} {at}: bind", port.protocol),
                    source: error.into(),
                });
            }
        }
    }
    Ok(sockets)
}

fn range(port: HostPort) -> (u16, u16) {
    match port {
        HostPort::One(port) => (port, port),
        HostPort::FirstOf(first, last) => (first, last),
        HostPort::Any => ephemeral().unwrap_or(EPHEMERAL_DEFAULT),
    }
}

fn ephemeral() -> Option<(u16, u16)> {
    let text = fs::read_to_string(EPHEMERAL).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A socket bound to the port, not listening: what is not redirected is refused as if nobody were there. `None` where
/// the kernel does not have the protocol.
fn take(port: &PortBinding) -> Result<Option<OwnedFd>, Errno> {
    let family = match port.host_ip {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = match socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT | Errno::AFNOSUPPORT)
            if port.protocol == Protocol::Sctp =>
        {
            return Ok(None);
        }
        other => other?,
    };
    if port.host_ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    let tcp = port.protocol == Protocol::Tcp;
    // Connections that wait for their end do not count, listeners do.
    if tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(port.host_ip, port.host_port))?;
    if tcp {
        sockopt::set_socket_reuseaddr(&socket, false)?;
    }
    Ok(Some(socket))
}
