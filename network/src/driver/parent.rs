//! What drivers on top of an interface of the host have in common: the interface below, which may be an 802.1Q
//! sub-interface that the network makes and removes itself.

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::netlink::route::{Stacked, StackedKind};
use crate::netns::Netns;
use crate::record::{Endpoint, Network};

use super::options::{self, check_interface, invalid};

/// The option that names the interface below.
pub(super) const PARENT: &str = "parent";

/// The name of the interface below.
pub(super) fn name(network: &Network) -> Result<&str> {
    network.options.get(PARENT).map(String::as_str).ok_or_else(|| Error::Unsupported {
        what: format!("a {} network without an interface below", network.driver),
        reason: "name one of the host's with -o parent=eth0, or eth0.100 for the VLAN 100"
            .to_owned(),
    })
}

/// Checks the interface below; a sub-interface that is not there must be one that can be made.
pub(super) fn define(host: &mut Host<'_>, network: &mut Network, others: &[Network]) -> Result<()> {
    let parent = name(network)?.to_owned();
    check_interface(PARENT, &parent)?;
    let same =
        |other: &&Network| other.driver != "bridge" && other.options.get(PARENT) == Some(&parent);
    if let Some(other) = others.iter().find(same) {
        let reason = format!("network {} is already using parent interface {parent}", other.name);
        return Err(invalid(PARENT, &parent, reason));
    }
    network.adopted = host.link(&parent)?.is_some();
    if !network.adopted {
        let (below, _) = vlan(&parent).ok_or_else(|| missing(&parent))?;
        host.link(below)?.ok_or_else(|| missing(below))?;
    }
    Ok(())
}

/// The index of the interface below, which is made where it is a sub-interface and not there.
pub(super) fn create(host: &mut Host<'_>, network: &Network) -> Result<u32> {
    let parent = name(network)?;
    if let Some(link) = host.link(parent)? {
        return Ok(link.index);
    }
    let (below, tag) = vlan(parent).ok_or_else(|| missing(parent))?;
    let link = host.link(below)?.ok_or_else(|| missing(below))?;
    let made = host
        .change("create sub-interface", parent, |route| route.add_vlan(parent, link.index, tag));
    made.map_err(|error| match error.errno() {
        Some(Errno::OPNOTSUPP) => Error::Unsupported {
            what: format!("the VLAN sub-interface {parent}"),
            reason: "this kernel does not have it (CONFIG_VLAN_8021Q)".to_owned(),
        },
        _ => error,
    })?;
    Ok(host.link(parent)?.ok_or_else(|| missing(parent))?.index)
}

/// Makes a container's interface on top of the one below.
pub(super) fn join(
    host: &mut Host<'_>,
    network: &Network,
    endpoint: &Endpoint,
    netns: &Netns,
    kind: StackedKind,
) -> Result<()> {
    let Some(inside) = &endpoint.interface else { return Ok(()) };
    let stacked = Stacked {
        inside,
        parent: create(host, network)?,
        netns: netns.fd(),
        mac: endpoint.mac,
        mtu: options::mtu(&network.options)?,
        kind,
    };
    host.change("create interface", inside, |route| route.add_stacked(&stacked))
}

/// Removes the sub-interface, if the network made it.
pub(super) fn delete(host: &mut Host<'_>, network: &Network) -> Result<()> {
    let parent = name(network)?;
    if network.adopted || vlan(parent).is_none() {
        return Ok(());
    }
    host.change("remove sub-interface", parent, |route| route.delete(parent))
}

/// The interface and the tag that a sub-interface's name says: `eth0.100`.
fn vlan(name: &str) -> Option<(&str, u16)> {
    let (below, tag) = name.rsplit_once('.')?;
    let tag = tag.parse().ok().filter(|tag| (1..=4094).contains(tag))?;
    (!below.is_empty()).then_some((below, tag))
}

fn missing(name: &str) -> Error {
    invalid(PARENT, name, "the requested parent interface was not found on this host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_sub_interface_says_its_tag() {
        for (name, expected) in [
            ("eth0.100", Some(("eth0", 100))),
            ("eth0.1.2", Some(("eth0.1", 2))),
            ("eth0", None),
            ("eth0.0", None),
            ("eth0.4095", None),
            ("eth0.x", None),
            (".5", None),
        ] {
            assert_eq!(vlan(name), expected, "{name}");
        }
    }
}
