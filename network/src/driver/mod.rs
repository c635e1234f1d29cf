//! Drivers: each makes one kind of network out of the kernel's devices. A driver is one file and a line in [`all`].

mod bare;
mod bridge;
mod ipvlan;
mod macvlan;
mod options;
mod parent;

use std::net::IpAddr;

use crate::address::Mac;
use crate::error::{Error, Result};
use crate::firewall::Bridge;
use crate::host::{Host, change_of};
use crate::id;
use crate::ipam::Overlap;
use crate::netns::Netns;
use crate::record::{Endpoint, Network};

/// The names of the drivers.
pub fn driver_names() -> Vec<&'static str> {
    all().iter().map(|driver| driver.name()).collect()
}

fn all() -> [&'static dyn Driver; 5] {
    [&bridge::Bridged, &bare::Bare("host"), &ipvlan::Ipvlan, &macvlan::Macvlan, &bare::Bare("null")]
}

/// The driver of a name.
pub(crate) fn of(name: &str) -> Result<&'static dyn Driver> {
    all()
        .into_iter()
        .find(|driver| driver.name() == name)
        .ok_or_else(|| Error::NoSuchDriver { name: name.to_owned() })
}

/// One kind of network. All functions but `define` find the same state again when they run twice.
pub(crate) trait Driver: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whether its networks have addresses at all.
    fn has_addresses(&self) -> bool {
        true
    }

    /// Whether two of its networks may have the same addresses.
    fn overlap(&self) -> Overlap;

    /// Checks a new network's options against itself, the others and the host, and fills in the defaults.
    fn define(&self, host: &mut Host<'_>, network: &mut Network, others: &[Network]) -> Result<()>;

    /// Makes the network's devices where they are not.
    fn create(&self, host: &mut Host<'_>, network: &Network) -> Result<()>;

    /// Removes the network's devices where they are.
    fn delete(&self, host: &mut Host<'_>, network: &Network) -> Result<()>;

    /// Decides the names of an endpoint's interfaces, and its hardware address unless the user did.
    fn plan(&self, network: &Network, endpoint: &mut Endpoint, number: usize) -> Result<()>;

    /// Makes the container's interface, without addresses.
    fn join(
        &self,
        host: &mut Host<'_>,
        network: &Network,
        endpoint: &Endpoint,
        netns: &Netns,
    ) -> Result<()>;

    /// Removes the container's interface; what is gone already is gone.
    fn leave(&self, host: &mut Host<'_>, endpoint: &Endpoint, netns: Option<&Netns>) -> Result<()>;

    /// Connects a living container's interface again to devices that had to be made again.
    fn restore(&self, _: &mut Host<'_>, _: &Network, _: &Endpoint) -> Result<()> {
        Ok(())
    }

    /// What the packet filter has to know.
    fn bridge(&self, _network: &Network) -> Option<Bridge> {
        None
    }

    /// Whether ports can be published on its networks.
    fn publishes(&self, _network: &Network) -> bool {
        false
    }

    /// The address of the host that a published port without one is bound to.
    fn binding_address(&self, _network: &Network) -> Option<IpAddr> {
        None
    }

    /// Whether its gateways are addresses, or the interface itself is the way.
    fn routes_by_link(&self, _network: &Network) -> bool {
        false
    }
}

/// The hardware address of an endpoint: the user's, else Docker's from its IPv4 address, else one at random.
fn hardware_address(endpoint: &Endpoint) -> Result<Mac> {
    Ok(match (endpoint.mac, endpoint.ipv4.map(|address| address.ip())) {
        (Some(mac), _) => mac,
        (None, Some(IpAddr::V4(ip))) => Mac::of_ipv4(ip),
        _ => Mac::from_random(id::random()?),
    })
}

/// Removes the container's end of an interface that has no other end on the host.
fn remove_inside(host: &Host<'_>, endpoint: &Endpoint, netns: Option<&Netns>) -> Result<()> {
    let (Some(name), Some(netns)) = (&endpoint.interface, netns) else { return Ok(()) };
    let mut inside = netns.route()?;
    change_of(host.door(), "remove interface", name, || inside.delete(name))
}
