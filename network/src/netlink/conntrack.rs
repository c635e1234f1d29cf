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

/// Forgets all connections from or to the addresses; gives how many there were.
pub(crate) fn forget(addresses: &[IpAddr]) -> io::Result<usize> {
    // Looking through the table costs as much as the table is large, however few connections there are.
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    if addresses.is_empty() || count.is_ok_and(|count| count.trim() == "0") {
        return Ok(0);
    }
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let mut forgotten = 0;
    for family in [2u8, 10] {
        let version_4 = family == 2;
        if !addresses.iter().any(|ip| ip.is_ipv4() == version_4) {
            continue;
        }
        let header = [family, 0, 0, 0];
        let found = socket.dump(GET, &header, |body| {
            let attributes = Attributes(body.get(4..)?);
            let original = attributes.get(CTA_TUPLE_ORIG)?;
            let concerned = concerns(original, addresses)
                || attributes.get(CTA_TUPLE_REPLY).is_some_and(|reply| concerns(reply, addresses));
            concerned.then(|| (original.to_vec(), attributes.get(CTA_ID).map(<[u8]>::to_vec)))
        })?;
        for (original, id) in found {
            let nested = CTA_TUPLE_ORIG | 0x8000;
            let mut message = Message::new(DELETE, 0).raw(&header).put(nested, &original);
            if let Some(id) = id {
                message = message.put(CTA_ID, &id);
            }
            // It may have ended by itself in the meantime.
            if socket.request(message).is_ok() {
                forgotten += 1;
            }
        }
    }
    Ok(forgotten)
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
