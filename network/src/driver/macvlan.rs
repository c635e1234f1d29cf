//! `macvlan`: each container has a hardware address of its own on the wire of an interface of the host.

use crate::error::Result;
use crate::host::Host;
use crate::ipam::Overlap;
use crate::netlink::route::StackedKind;
use crate::netns::Netns;
use crate::record::{Endpoint, Network};

use super::options::{self, INTERFACE_PREFIX, MTU, invalid};
use super::{Driver, hardware_address, parent, remove_inside};

const MODE: &str = "macvlan_mode";

/// The driver.
pub(super) struct Macvlan;

impl Driver for Macvlan {
    fn name(&self) -> &'static str {
        "macvlan"
    }

    fn overlap(&self) -> Overlap {
        Overlap::Accept
    }

    fn define(&self, host: &mut Host<'_>, network: &mut Network, others: &[Network]) -> Result<()> {
        let known = [parent::PARENT, MODE, MTU, INTERFACE_PREFIX];
        options::only("macvlan", &network.options, &known)?;
        options::mtu(&network.options)?;
        mode(network)?;
        parent::define(host, network, others)
    }

    fn create(&self, host: &mut Host<'_>, network: &Network) -> Result<()> {
        parent::create(host, network).map(drop)
    }

    fn delete(&self, host: &mut Host<'_>, network: &Network) -> Result<()> {
        parent::delete(host, network)
    }

    fn plan(&self, network: &Network, endpoint: &mut Endpoint, number: usize) -> Result<()> {
        endpoint.interface = Some(options::inside_name(&network.options, number));
        endpoint.mac = Some(hardware_address(endpoint)?);
        Ok(())
    }

    fn join(
        &self,
        host: &mut Host<'_>,
        network: &Network,
        endpoint: &Endpoint,
        netns: &Netns,
    ) -> Result<()> {
        let kind = StackedKind::Macvlan(mode(network)?);
        parent::join(host, network, endpoint, netns, kind)
    }

    fn leave(&self, host: &mut Host<'_>, endpoint: &Endpoint, netns: Option<&Netns>) -> Result<()> {
        remove_inside(host, endpoint, netns)
    }
}

/// The kernel's number of the mode.
fn mode(network: &Network) -> Result<u32> {
    match network.options.get(MODE).map(String::as_str) {
        Some("private") => Ok(1),
        Some("vepa") => Ok(2),
        None | Some("" | "bridge") => Ok(4),
        Some("passthru") => Ok(8),
        Some(other) => {
            Err(invalid(MODE, other, "it is none of bridge, passthru, private and vepa"))
        }
    }
}
