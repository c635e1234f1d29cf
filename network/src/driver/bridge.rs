//! `bridge`: a bridge of the kernel for each network, a pair of interfaces for each container.

use std::net::{IpAddr, Ipv4Addr};

use crate::address::{Family, InterfaceAddress, Mac};
use crate::error::{Error, Result};
use crate::firewall::Bridge;
use crate::host::Host;
use crate::id;
use crate::ipam::Overlap;
use crate::netlink::route::Veth;
use crate::netns::Netns;
use crate::record::{Endpoint, Network, Pool};

use super::options::{self, INTERFACE_PREFIX, MTU, invalid, truth};
use super::{Driver, hardware_address};

const NAME: &str = "com.docker.network.bridge.name";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const INHIBIT: &str = "com.docker.network.bridge.inhibit_ipv4";
const DEFAULT: &str = "com.docker.network.bridge.default_bridge";
const KNOWN: [&str; 8] = [NAME, MASQUERADE, ICC, BINDING, INHIBIT, DEFAULT, MTU, INTERFACE_PREFIX];

/// The interface of the default network.
const DEFAULT_NAME: &str = "wherry0";
const DEFAULT_MTU: u32 = 1500;
const BRIDGE_CALLS_FILTER: &str = "net/bridge/bridge-nf-call-iptables";

/// The driver.
pub(super) struct Bridged;

impl Driver for Bridged {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn overlap(&self) -> Overlap {
        Overlap::Refuse
    }

    fn define(&self, host: &mut Host<'_>, network: &mut Network, others: &[Network]) -> Result<()> {
        options::only("bridge", &network.options, &KNOWN)?;
        if network.name == "bridge" {
            fill_default(network);
        }
        options::mtu(&network.options)?;
        for key in [MASQUERADE, ICC, INHIBIT, DEFAULT] {
            truth(&network.options, key)?;
        }
        options::parsed::<Ipv4Addr>(&network.options, BINDING, "an IPv4 address")?;
        if let Some(prefix) = network.options.get(INTERFACE_PREFIX) {
            // Room for the number must be left.
            options::check_interface(INTERFACE_PREFIX, &format!("{prefix}000"))?;
        }
        let name = bridge_name(network);
        options::check_interface(NAME, &name)?;
        if let Some(other) =
            others.iter().find(|other| other.driver == "bridge" && bridge_name(other) == name)
        {
            let reason =
                format!("conflicts with network {}: networks have same bridge name", other.name);
            return Err(invalid(NAME, &name, reason));
        }
        match host.link(&name)? {
            Some(link) if link.kind.as_deref() == Some("bridge") => network.adopted = true,
            Some(_) => {
                return Err(invalid(
                    NAME,
                    &name,
                    "an interface of that name exists and is no bridge",
                ));
            }
            None => {}
        }
        Ok(())
    }

    fn create(&self, host: &mut Host<'_>, network: &Network) -> Result<()> {
        let name = bridge_name(network);
        let index = match host.link(&name)? {
            Some(link) if link.kind.as_deref() == Some("bridge") => {
                host.change("set up bridge", &name, |route| route.set_up(link.index))?;
                link.index
            }
            Some(_) => {
                return Err(invalid(
                    NAME,
                    &name,
                    "an interface of that name exists and is no bridge",
                ));
            }
            None => {
                // An address of its own, or it would follow those of its ports, and the containers lose their gateway.
                let mac = Mac::from_random(id::random()?);
                let mtu = mtu(network)?;
                host.change("create bridge", &name, |route| route.add_bridge(&name, mac, mtu))?;
                host.link(&name)?.map(|link| link.index).ok_or_else(|| gone(&name))?
            }
        };
        self.addresses(host, network, &name, index)?;
        parameters(host, network, &name)
    }

    fn delete(&self, host: &mut Host<'_>, network: &Network) -> Result<()> {
        if network.adopted {
            return Ok(());
        }
        let name = bridge_name(network);
        host.change("remove bridge", &name, |route| route.delete(&name))
    }

    fn plan(&self, network: &Network, endpoint: &mut Endpoint, number: usize) -> Result<()> {
        endpoint.interface = Some(options::inside_name(&network.options, number));
        endpoint.host_interface = Some(format!("veth{}", hex::encode(&id::random::<4>()?[..])));
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
        let (Some(inside), Some(outside), Some(mac)) =
            (&endpoint.interface, &endpoint.host_interface, endpoint.mac)
        else {
            return Ok(());
        };
        let name = bridge_name(network);
        let bridge = host.link(&name)?.ok_or_else(|| gone(&name))?;
        let mtu = mtu(network)?;
        let netns = netns.fd();
        let veth = Veth { host: outside, bridge: bridge.index, inside, netns, mac, mtu };
        host.change("create interface", outside, |route| route.add_veth(&veth))?;
        set_port(host, network, endpoint, outside)
    }

    fn leave(&self, host: &mut Host<'_>, endpoint: &Endpoint, _: Option<&Netns>) -> Result<()> {
        match &endpoint.host_interface {
            Some(name) => host.change("remove interface", name, |route| route.delete(name)),
            None => Ok(()),
        }
    }

    fn restore(&self, host: &mut Host<'_>, network: &Network, endpoint: &Endpoint) -> Result<()> {
        let name = bridge_name(network);
        let bridge = host.link(&name)?.ok_or_else(|| gone(&name))?;
        let Some(outside) = &endpoint.host_interface else { return Ok(()) };
        match host.link(outside)? {
            Some(port) if port.master != Some(bridge.index) => {
                host.change("connect interface", outside, |route| {
                    route.set_master(port.index, bridge.index)
                })?;
                set_port(host, network, endpoint, outside)
            }
            // Connected, or gone with the container's end: then nobody can bring it back but the container's next start.
            _ => Ok(()),
        }
    }

    fn bridge(&self, network: &Network) -> Option<Bridge> {
        let masquerades = truth(&network.options, MASQUERADE).ok().flatten().unwrap_or(true);
        Some(Bridge {
            name: bridge_name(network),
            internal: network.internal,
            separated: separated(network),
            masqueraded: masquerades,
        })
    }

    fn publishes(&self, network: &Network) -> bool {
        !network.internal
    }

    fn binding_address(&self, network: &Network) -> Option<IpAddr> {
        let address = options::parsed::<Ipv4Addr>(&network.options, BINDING, "an IPv4 address");
        address.ok().flatten().map(IpAddr::V4)
    }
}

impl Bridged {
    /// Gives the bridge the gateways' addresses.
    fn addresses(
        &self,
        host: &mut Host<'_>,
        network: &Network,
        name: &str,
        index: u32,
    ) -> Result<()> {
        let inhibited = truth(&network.options, INHIBIT)?.unwrap_or(false);
        for pool in &network.pools {
            if inhibited && pool.subnet.family() == Family::V4 {
                continue;
            }
            let Some(address) = gateway_address(pool) else { continue };
            if address.ip().is_ipv6() {
                host.set_parameter_if_there(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
            }
            host.change("add address to", name, |route| route.add_address(index, address))?;
        }
        Ok(())
    }
}

/// Sets what a port of the bridge may do.
fn set_port(
    host: &mut Host<'_>,
    network: &Network,
    endpoint: &Endpoint,
    outside: &str,
) -> Result<()> {
    let port = host.link(outside)?.ok_or_else(|| gone(outside))?;
    if separated(network) {
        host.change("isolate port", outside, |route| route.isolate_port(port.index))?;
    }
    // Where the bridge calls the packet filter, a published port leads a container's packet back without leaving
    // the bridge.
    if !endpoint.publish.is_empty() && host.parameter(BRIDGE_CALLS_FILTER).as_deref() == Some("1") {
        host.change("let port reach itself", outside, |route| {
            route.let_port_reach_itself(port.index)
        })?;
    }
    Ok(())
}

/// What the kernel must be told so that packets pass.
fn parameters(host: &Host<'_>, network: &Network, name: &str) -> Result<()> {
    // Containers may send router advertisements: the host must not believe them (CVE-2020-13401).
    host.set_parameter_if_there(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
    if network.internal {
        return Ok(());
    }
    // The chain `guard` keeps the containers from the host's loopback, which this would open to them.
    host.set_parameter(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
    host.set_parameter("net/ipv4/ip_forward", "1")?;
    if network.pools_of(Family::V6).next().is_some() {
        keep_router_advertisements(host)?;
        host.set_parameter_if_there("net/ipv6/conf/default/forwarding", "1")?;
        host.set_parameter_if_there("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// A host that forwards ignores the advertisements that give it its own way out, unless it is told not to: an interface
/// that believed them (1) goes on to (2).
fn keep_router_advertisements(host: &Host<'_>) -> Result<()> {
    if host.parameter("net/ipv6/conf/all/forwarding").as_deref() != Some("0") {
        return Ok(());
    }
    for interface in host.parameters_of("net/ipv6/conf") {
        let name = format!("net/ipv6/conf/{interface}/accept_ra");
        let special = matches!(interface.as_str(), "all" | "default");
        if !special && host.parameter(&name).as_deref() == Some("1") {
            host.set_parameter(&name, "2")?;
        }
    }
    Ok(())
}

fn gateway_address(pool: &Pool) -> Option<InterfaceAddress> {
    pool.gateway.map(|gateway| InterfaceAddress::new(gateway, &pool.subnet))
}

/// The options of the default network, which `inspect` shows.
fn fill_default(network: &mut Network) {
    for (key, value) in [
        (DEFAULT, "true"),
        (ICC, "true"),
        (MASQUERADE, "true"),
        (BINDING, "0.0.0.0"),
        (NAME, DEFAULT_NAME),
        (MTU, "1500"),
    ] {
        network.options.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
}

fn bridge_name(network: &Network) -> String {
    match network.options.get(NAME) {
        Some(name) => name.clone(),
        None => format!("br-{}", network.id.short()),
    }
}

fn mtu(network: &Network) -> Result<u32> {
    Ok(options::mtu(&network.options)?.unwrap_or(DEFAULT_MTU))
}

fn separated(network: &Network) -> bool {
    // `define` has refused what is neither true nor false.
    !truth(&network.options, ICC).ok().flatten().unwrap_or(true)
}

fn gone(name: &str) -> Error {
    Error::Kernel {
        act: format!("find interface {name}"),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    }
}
