//! What the sets and maps hold: a pure function of networks and endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::nft::{Batch, Element};
use super::rules;
use crate::netlink::route::octets;
use crate::publish::PortBinding;

/// The elements of all sets and maps, by the name of the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elements {
    sets: BTreeMap<&'static str, BTreeSet<Element>>,
}

/// A bridge as far as the packet filter is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Bridge {
    /// Its interface.
    pub(crate) name: String,
    /// Whether nothing leaves or enters.
    pub(crate) internal: bool,
    /// Whether its containers may not talk to each other.
    pub(crate) separated: bool,
    /// Whether its packets leave under the host's address.
    pub(crate) masqueraded: bool,
}

impl Elements {
    /// Adds what a bridge needs.
    pub(crate) fn add_bridge(&mut self, bridge: &Bridge) {
        let name = interface(&bridge.name);
        self.add(rules::SAME, [name.clone(), name.clone()].concat(), None);
        if bridge.internal {
            self.add(rules::INTERNAL, name.clone(), None);
        }
        if bridge.separated {
            self.add(rules::SEPARATED, name.clone(), None);
        }
        if bridge.masqueraded && !bridge.internal {
            self.add(rules::MASQUERADED, name.clone(), None);
        }
        self.add(rules::BRIDGES, name, None);
    }

    /// Adds what a published port needs: `container` is the address that it leads to.
    pub(crate) fn add_port(&mut self, container: IpAddr, port: &PortBinding) {
        let target = [octets(container), padded_port(port.container_port)].concat();
        let outside = [protocol(port), padded_port(port.host_port)].concat();
        if port.host_ip.is_unspecified() {
            let map = by_family(port.host_ip, rules::ANY4, rules::ANY6);
            self.add(map, outside, Some(target));
        } else {
            let map = by_family(port.host_ip, rules::BOUND4, rules::BOUND6);
            self.add(map, [octets(port.host_ip), outside].concat(), Some(target));
        }
        let inside = [protocol(port), padded_port(port.container_port)].concat();
        let set = by_family(container, rules::OPEN4, rules::OPEN6);
        self.add(set, [octets(container), inside].concat(), None);
        let set = by_family(container, rules::SELF4, rules::SELF6);
        self.add(set, octets(container).repeat(2), None);
    }

    /// Writes all elements into a new table.
    pub(super) fn write(&self, batch: &mut Batch) {
        self.difference(&Self::default(), batch);
    }

    /// Writes what turns `old` into these: what goes before what comes, because a key may get other data.
    pub(super) fn difference(&self, old: &Self, batch: &mut Batch) {
        let none = BTreeSet::new();
        let names: BTreeSet<&'static str> =
            self.sets.keys().chain(old.sets.keys()).copied().collect();
        let of = |elements: &Self, name| {
            elements.sets.get(name).cloned().unwrap_or_else(|| none.clone())
        };
        for name in &names {
            let (before, after) = (of(old, name), of(self, name));
            let gone: Vec<Element> = before.difference(&after).cloned().collect();
            batch.delete_elements(name, &gone);
        }
        for name in &names {
            let (before, after) = (of(old, name), of(self, name));
            let come: Vec<Element> = after.difference(&before).cloned().collect();
            batch.add_elements(name, &come);
        }
    }

    fn add(&mut self, set: &'static str, key: Vec<u8>, data: Option<Vec<u8>>) {
        self.sets.entry(set).or_default().insert(Element { key, data });
    }
}

fn by_family(ip: IpAddr, v4: &'static str, v6: &'static str) -> &'static str {
    if ip.is_ipv4() { v4 } else { v6 }
}

/// A name in the kernel's form: sixteen bytes filled with zeros.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn protocol(port: &PortBinding) -> Vec<u8> {
    vec![port.protocol.number(), 0, 0, 0]
}

fn padded_port(port: u16) -> Vec<u8> {
    [port.to_be_bytes(), [0; 2]].concat()
}
