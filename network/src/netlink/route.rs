//! Links, addresses and routes (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::message::{Attributes, Message, number};
use super::socket::{Protocol, Socket};
use crate::address::{Family, InterfaceAddress, Mac, Subnet};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;

const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFF_UP: u32 = 1;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A link as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its index.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// What kind of virtual device it is, where it is one.
    pub(crate) kind: Option<String>,
    /// The bridge that it is a port of.
    pub(crate) master: Option<u32>,
    /// Its largest packet.
    pub(crate) mtu: u32,
}

/// A pair of virtual interfaces to be made.
#[derive(Debug)]
pub(crate) struct Veth<'a> {
    /// The host's end.
    pub(crate) host: &'a str,
    /// The bridge that the host's end becomes a port of.
    pub(crate) bridge: u32,
    /// The container's end.
    pub(crate) inside: &'a str,
    /// The container's namespace.
    pub(crate) netns: BorrowedFd<'a>,
    /// The container's hardware address.
    pub(crate) mac: Mac,
    /// Largest packet.
    pub(crate) mtu: u32,
}

/// An interface on top of another one to be made inside a container.
#[derive(Debug)]
pub(crate) struct Stacked<'a> {
    /// Its name inside.
    pub(crate) inside: &'a str,
    /// The interface below.
    pub(crate) parent: u32,
    /// The container's namespace.
    pub(crate) netns: BorrowedFd<'a>,
    /// The container's hardware address, where it has one of its own.
    pub(crate) mac: Option<Mac>,
    /// Largest packet.
    pub(crate) mtu: Option<u32>,
    /// `macvlan` or `ipvlan` with its mode.
    pub(crate) kind: StackedKind,
}

/// The two kinds of interfaces on top of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackedKind {
    /// A hardware address of its own.
    Macvlan(u32),
    /// The hardware address of the interface below.
    Ipvlan(u16),
}

/// A socket for links, addresses and routes of one namespace.
#[derive(Debug)]
pub(crate) struct Route {
    socket: Socket,
}

impl Route {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }

    /// The link of a name, if there is one.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let message =
            Message::new(GETLINK, 0).raw(&link_header(0, 0, 0)).put_text(IFLA_IFNAME, name);
        match self.socket.ask(message, read_link) {
            Err(error) if is(&error, Errno::NODEV) => Ok(None),
            other => other,
        }
    }

    /// Makes a bridge without spanning tree, up.
    pub(crate) fn add_bridge(&mut self, name: &str, mac: Mac, mtu: u32) -> io::Result<()> {
        let message = Message::new(NEWLINK, CREATE | EXCLUSIVE)
            .raw(&link_header(0, IFF_UP, IFF_UP))
            .put_text(IFLA_IFNAME, name)
            .put(IFLA_ADDRESS, &mac.octets())
            .put_u32(IFLA_MTU, mtu)
            .nest(IFLA_LINKINFO, |m| {
                m.put_text(IFLA_INFO_KIND, "bridge").nest(IFLA_INFO_DATA, |m| {
                    m.put_u32(IFLA_BR_FORWARD_DELAY, 0).put_u32(IFLA_BR_STP_STATE, 0)
                })
            });
        self.socket.request(message)
    }

    /// Makes a pair of interfaces: one end up and a port of a bridge, the other inside the namespace.
    pub(crate) fn add_veth(&mut self, veth: &Veth<'_>) -> io::Result<()> {
        let message = Message::new(NEWLINK, CREATE | EXCLUSIVE)
            .raw(&link_header(0, IFF_UP, IFF_UP))
            .put_text(IFLA_IFNAME, veth.host)
            .put_u32(IFLA_MTU, veth.mtu)
            .put_u32(IFLA_MASTER, veth.bridge)
            .nest(IFLA_LINKINFO, |m| {
                m.put_text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |m| {
                    m.nest(VETH_INFO_PEER, |m| {
                        m.raw(&link_header(0, 0, 0))
                            .put_text(IFLA_IFNAME, veth.inside)
                            .put(IFLA_ADDRESS, &veth.mac.octets())
                            .put_u32(IFLA_MTU, veth.mtu)
                            .put_u32(IFLA_NET_NS_FD, veth.netns.as_raw_fd() as u32)
                    })
                })
            });
        self.socket.request(message)
    }

    /// Makes an interface on top of another, inside the namespace.
    pub(crate) fn add_stacked(&mut self, stacked: &Stacked<'_>) -> io::Result<()> {
        let mut message = Message::new(NEWLINK, CREATE | EXCLUSIVE)
            .raw(&link_header(0, 0, 0))
            .put_text(IFLA_IFNAME, stacked.inside)
            .put_u32(IFLA_LINK, stacked.parent)
            .put_u32(IFLA_NET_NS_FD, stacked.netns.as_raw_fd() as u32);
        if let Some(mac) = stacked.mac {
            message = message.put(IFLA_ADDRESS, &mac.octets());
        }
        if let Some(mtu) = stacked.mtu {
            message = message.put_u32(IFLA_MTU, mtu);
        }
        let message = message.nest(IFLA_LINKINFO, |m| match stacked.kind {
            StackedKind::Macvlan(mode) => m
                .put_text(IFLA_INFO_KIND, "macvlan")
                .nest(IFLA_INFO_DATA, |m| m.put_u32(IFLA_MACVLAN_MODE, mode)),
            StackedKind::Ipvlan(mode) => m
                .put_text(IFLA_INFO_KIND, "ipvlan")
                .nest(IFLA_INFO_DATA, |m| m.put(IFLA_IPVLAN_MODE, &mode.to_ne_bytes())),
        });
        self.socket.request(message)
    }

    /// Makes an 802.1Q sub-interface, up.
    pub(crate) fn add_vlan(&mut self, name: &str, parent: u32, tag: u16) -> io::Result<()> {
        let message = Message::new(NEWLINK, CREATE | EXCLUSIVE)
            .raw(&link_header(0, IFF_UP, IFF_UP))
            .put_text(IFLA_IFNAME, name)
            .put_u32(IFLA_LINK, parent)
            .nest(IFLA_LINKINFO, |m| {
                m.put_text(IFLA_INFO_KIND, "vlan")
                    .nest(IFLA_INFO_DATA, |m| m.put(IFLA_VLAN_ID, &tag.to_ne_bytes()))
            });
        self.socket.request(message)
    }

    /// Keeps a port of a bridge from talking to other such ports.
    pub(crate) fn isolate_port(&mut self, index: u32) -> io::Result<()> {
        self.set_port(index, IFLA_BRPORT_ISOLATED)
    }

    /// Lets a port of a bridge get back its own packets.
    pub(crate) fn let_port_reach_itself(&mut self, index: u32) -> io::Result<()> {
        self.set_port(index, IFLA_BRPORT_MODE)
    }

    fn set_port(&mut self, index: u32, property: u16) -> io::Result<()> {
        let message =
            Message::new(NEWLINK, 0).raw(&link_header(index, 0, 0)).nest(IFLA_LINKINFO, |m| {
                m.put_text(IFLA_INFO_SLAVE_KIND, "bridge")
                    .nest(IFLA_INFO_SLAVE_DATA, |m| m.put(property, &[1]))
            });
        self.socket.request(message)
    }

    /// Makes a link a port of a bridge.
    pub(crate) fn set_master(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        let header = link_header(index, IFF_UP, IFF_UP);
        self.socket.request(Message::new(NEWLINK, 0).raw(&header).put_u32(IFLA_MASTER, bridge))
    }

    /// Sets a link up.
    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.socket.request(Message::new(NEWLINK, 0).raw(&link_header(index, IFF_UP, IFF_UP)))
    }

    /// Removes a link; that it is gone already is no error.
    pub(crate) fn delete(&mut self, name: &str) -> io::Result<()> {
        let message =
            Message::new(DELLINK, 0).raw(&link_header(0, 0, 0)).put_text(IFLA_IFNAME, name);
        match self.socket.request(message) {
            Err(error) if is(&error, Errno::NODEV) => Ok(()),
            other => other,
        }
    }

    /// Gives a link an address; that it has it already is no error.
    pub(crate) fn add_address(&mut self, index: u32, address: InterfaceAddress) -> io::Result<()> {
        const IFA_ADDRESS: u16 = 1;
        const IFA_LOCAL: u16 = 2;
        const IFA_BROADCAST: u16 = 4;
        // The pools see to it that nobody has it: no seconds of duplicate detection.
        const IFA_F_NODAD: u8 = 2;
        let ip = octets(address.ip());
        let family = family_number(address.ip());
        let flags = if address.ip().is_ipv6() { IFA_F_NODAD } else { 0 };
        let mut header = vec![family, address.prefix(), flags, 0];
        header.extend(index.to_ne_bytes());
        let mut message = Message::new(NEWADDR, CREATE | REPLACE)
            .raw(&header)
            .put(IFA_LOCAL, &ip)
            .put(IFA_ADDRESS, &ip);
        let wide = address.ip().is_ipv4() && address.prefix() < 31;
        if let Some(subnet) = Subnet::new(address.ip(), address.prefix()).filter(|_| wide) {
            message = message.put(IFA_BROADCAST, &octets(subnet.last()));
        }
        self.socket.request(message)
    }

    /// Sends everything that has no other route through a gateway.
    pub(crate) fn set_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        self.socket.request(default_route(index, Some(gateway)))
    }

    /// Sends everything that has no other route to a link, whatever its gateway.
    pub(crate) fn set_default_link(&mut self, index: u32, family: Family) -> io::Result<()> {
        let message = default_route(index, None);
        match family {
            Family::V4 => self.socket.request(message),
            Family::V6 => self.socket.request(default_link6(index)),
        }
    }

    /// Where the host's routes lead, but for the default route.
    pub(crate) fn routes(&mut self) -> io::Result<Vec<Subnet>> {
        const RTA_DST: u16 = 1;
        const UNICAST: u8 = 1;
        self.socket.dump(GETROUTE, &[0; 12], |body| {
            let (prefix, kind) = (*body.get(1)?, *body.get(7)?);
            if prefix == 0 || kind != UNICAST {
                return None;
            }
            let destination = Attributes(body.get(12..)?).get(RTA_DST)?;
            Subnet::new(ip_of(destination)?, prefix)
        })
    }
}

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const UNICAST: u8 = 1;

fn default_route(index: u32, gateway: Option<IpAddr>) -> Message {
    let family = gateway.map_or(AF_INET, family_number);
    let scope = if gateway.is_some() { SCOPE_UNIVERSE } else { SCOPE_LINK };
    let header = [family, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, scope, UNICAST, 0, 0, 0, 0];
    let message = Message::new(NEWROUTE, CREATE | REPLACE).raw(&header).put_u32(RTA_OIF, index);
    match gateway {
        Some(gateway) => message.put(RTA_GATEWAY, &octets(gateway)),
        None => message,
    }
}

fn default_link6(index: u32) -> Message {
    let header =
        [AF_INET6, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, SCOPE_UNIVERSE, UNICAST, 0, 0, 0, 0];
    Message::new(NEWROUTE, CREATE | REPLACE).raw(&header).put_u32(RTA_OIF, index)
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn read_link(body: &[u8]) -> Option<Link> {
    let attributes = Attributes(body.get(16..)?);
    let info = attributes.get(IFLA_LINKINFO).map(Attributes);
    Some(Link {
        index: number(body, 4)?,
        name: attributes.get_text(IFLA_IFNAME)?,
        kind: info.and_then(|info| info.get_text(IFLA_INFO_KIND)),
        master: attributes.get_u32(IFLA_MASTER),
        mtu: attributes.get_u32(IFLA_MTU).unwrap_or_default(),
    })
}

fn family_number(ip: IpAddr) -> u8 {
    match Family::of(ip) {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

/// The bytes of an address.
pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// Whether an error is this one.
pub(crate) fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}
