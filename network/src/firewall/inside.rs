//! The two rules inside a container that make its resolver find the embedded DNS server: packets to port 53 of
//! 127.0.0.11 get the server's port, and its answers get port 53. Rewriting needs no tracking of connections, and
//! leaves port 53 to name servers that run in the container.

use std::io;

use super::expr::Expression::{self, *};
use super::expr::Meta::*;
use super::nft::{Batch, Hook};
use crate::files::EMBEDDED;

const BEFORE_TRACKING: Hook = Hook { kind: "filter", number: 3, priority: -300 };
const DNS: [u8; 2] = 53u16.to_be_bytes();
const SOURCE: u32 = 0;
const DESTINATION: u32 = 2;

/// Leads DNS to the server's ports, in the calling thread's namespace.
pub(crate) fn lead_dns(udp: u16, tcp: u16) -> io::Result<()> {
    let mut batch = Batch::begin();
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_chain("dns", Some(BEFORE_TRACKING));
    // The protocol's number, the server's port, and where the checksum is.
    for (protocol, port, checksum) in [(17, udp, 6), (6, tcp, 16)] {
        let port = port.to_be_bytes();
        batch.add_rule("dns", &rewrite(protocol, 16, DESTINATION, DNS, port, checksum));
        batch.add_rule("dns", &rewrite(protocol, 12, SOURCE, port, DNS, checksum));
    }
    batch.commit()
}

fn rewrite(
    protocol: u8,
    address: u32,
    side: u32,
    from: [u8; 2],
    to: [u8; 2],
    checksum: u32,
) -> [Expression; 10] {
    [
        Meta(NetworkProtocol, 0),
        Equal(0, vec![2]),
        Network { offset: address, length: 4, register: 0 },
        Equal(0, EMBEDDED.octets().to_vec()),
        Meta(TransportProtocol, 0),
        Equal(0, vec![protocol]),
        Transport { offset: side, length: 2, register: 0 },
        Equal(0, from.to_vec()),
        Load { register: 0, value: to.to_vec() },
        SetTransport { offset: side, length: 2, register: 0, checksum },
    ]
}
