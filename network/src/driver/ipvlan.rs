//! `ipvlan`: containers share the hardware address of an interface of the host, where the kernel has that.

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::ipam::Overlap;
use crate::netlink::route::{Stacked, StackedKind};
use crate::netns::Netns;
use crate::record::{Endpoint, Network};

use super::options::{self, INTERFACE_PREFIX, MTU, invalid};
use super::{Driver, parent, remove_inside};

const MODE: &str = "ipvlan_mode";

/// The driver.
pub(super) struct Ipvlan;

impl Driver for Ipvlan {
    fn name(&self) -> &'static str {
        "ipvlan"
    }

    fn overlap(&self) -> Overlap {
        Overlap::Accept
    }

    fn define(&self, host: &mut Host<'_>, network: &mut Network, others: &[Network]) -> Result<()> {
        let known = [parent::PARENT, MODE, MTU, INTERFACE_PREFIX];
        options::only("ipvlan", &network.options, &known)?;
        options::mtu(&network.options)?;
        mode(network)?;
        parent::define(host, network, others)
    }

    /// Also finds out whether the kernel has it: better now than when the first container starts.
    fn create(&self, host: &mut Host<'_>, network: &Network) -> Result<()> {
        let below = parent::create(host, network)?;
        let netns = Netns::create()?;
        let trial = Stacked {
            inside: "trial",
            parent: below,
            netns: netns.fd(),
            mac: None,
            mtu: None,
            kind: StackedKind::Ipvlan(mode(network)?),
        };
        let tried = host.change("create interface", "trial", |route| route.add_stacked(&trial));
        tried.map_err(explain)
    }

    fn delete(&self, host: &mut Host<'_>, network: &Network) -> Result<()> {
        parent::delete(host, network)
    }

    fn plan(&self, network: &Network, endpoint: &mut Endpoint, number: usize) -> Result<()> {
        if let Some(mac) = endpoint.mac {
            return Err(Error::Unsupported {
                what: format!("the MAC address {mac} on network {}", network.name),
                reason: "containers on an ipvlan network share that of the parent interface"
                    .to_owned(),
            });
        }
        endpoint.interface = Some(options::inside_name(&network.options, number));
        Ok(())
    }

    fn join(
        &self,
        host: &mut Host<'_>,
        network: &Network,
        endpoint: &Endpoint,
        netns: &Netns,
    ) -> Result<()> {
        let kind = StackedKind::Ipvlan(mode(network)?);
        parent::join(host, network, endpoint, netns, kind).map_err(explain)
    }

    fn leave(&self, host: &mut Host<'_>, endpoint: &Endpoint, netns: Option<&Netns>) -> Result<()> {
        remove_inside(host, endpoint, netns)
    }

    fn routes_by_link(&self, network: &Network) -> bool {
        mode(network).is_ok_and(|mode| mode != 0)
    }
}

/// The kernel's number of the mode.
fn mode(network: &Network) -> Result<u16> {
    match network.options.get(MODE).map(String::as_str) {
        None | Some("" | "l2") => Ok(0),
        Some("l3") => Ok(1),
        Some("l3s") => Ok(2),
        Some(other) => Err(invalid(MODE, other, "it is none of l2, l3 and l3s")),
    }
}

fn explain(error: Error) -> Error {
    match error.errno() {
        Some(Errno::OPNOTSUPP) => Error::Unsupported {
            what: "ipvlan".to_owned(),
            reason: "this kernel does not have it (CONFIG_IPVLAN); macvlan may do".to_owned(),
        },
        _ => error,
    }
}
