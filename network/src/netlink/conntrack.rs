//! Connections that the kernel remembers: those of an address are forgotten when the address is given back, so that
//! the next container to get it does not inherit them, and a stream of datagrams does not follow a rule that is gone.

use std::io;
use std::net::IpAddr;

use super::message::{Attributes, Message};
use super::socket::{Protocol, Socket};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const UDP: u8 = 17;

/// Forgets all connections from or to the addresses.
pub(crate) fn forget(addresses: &[IpAddr]) -> io::Result<()> {
    let has = |version_4| addresses.iter().any(|ip| ip.is_ipv4() == version_4);
    forget_where(has(true), has(false), |original, reply| {
        concerns(original, addresses) || reply.is_some_and(|reply| concerns(reply, addresses))
    })
}

/// Forgets all streams of datagrams that were sent to these ports.
pub(crate) fn forget_datagrams_to(ports: &[u16]) -> io::Result<()> {
    let any = !ports.is_empty();
    forget_where(any, any, |original, _| {
        let Some(transport) = Attributes(original).get(CTA_TUPLE_PROTO).map(Attributes) else {
            return false;
        };
        let port = transport.get(CTA_PROTO_DST_PORT);
        transport.get(CTA_PROTO_NUM) == Some(&[UDP])
            && ports.iter().any(|wanted| port == Some(&wanted.to_be_bytes()))
    })
}

/// Forgets the connections of which the tuples, the original and the reply's, are the ones meant.
fn forget_where(
    ipv4: bool,
    ipv6: bool,
    is_meant: impl Fn(&[u8], Option<&[u8]>) -> bool,
) -> io::Result<()> {
    // Looking through the table costs as much as the table is large, however few connections there are.
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    if !(ipv4 || ipv6) || count.is_ok_and(|count| count.trim() == "0") {
        return Ok(());
    }
    let mut socket = Socket::open(Protocol::Netfilter)?;
    for (family, _) in [(2u8, ipv4), (10, ipv6)].into_iter().filter(|(_, wanted)| *wanted) {
        let header = [family, 0, 0, 0];
        let found = socket.dump(GET, &header, |body| {
            let attributes = Attributes(body.get(4..)?);
            let original = attributes.get(CTA_TUPLE_ORIG)?;
            let id = attributes.get(CTA_ID).map(<[u8]>::to_vec);
            let meant = is_meant(original, attributes.get(CTA_TUPLE_REPLY));
            meant.then(|| (original.to_vec(), id))
        })?;
        for (original, id) in found {
            let nested = CTA_TUPLE_ORIG | 0x8000;
            let mut message = Message::new(DELETE, 0).raw(&header).put(nested, &original);
            if let Some(id) = id {
                message = message.put(CTA_ID, &id);
            }
            // It may have ended by itself in the meantime.
            let _ = socket.request(message);
        }
    }
    Ok(())
}

/// Whether source or destination is one of the addresses.
fn concerns(tuple: &[u8], addresses: &[IpAddr]) -> bool {
    let Some(ip) = Attributes(tuple).get(CTA_TUPLE_IP).map(Attributes) else { return false };
    // Source and destination: 1 and 2 in IPv4, 3 and 4 in IPv6.
    (1..=4).filter_map(|kind| ip.get(kind)).any(|bytes| {
        addresses.iter().any(|address| match address {
            IpAddr::V4(v4) => v4.octets() == bytes,
            IpAddr::V6(v6) => v6.octets() == bytes,
        })
    })
}
