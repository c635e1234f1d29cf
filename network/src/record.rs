//! What is written down: networks (for ever) and endpoints (until the machine restarts).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::address::{Family, InterfaceAddress, Mac, Subnet};
use crate::id::{EndpointId, NetworkId};
use crate::publish::{PortBinding, Publish};

/// Where the state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// What a reboot must not touch: definitions go to `<root>/networks`.
    pub root: PathBuf,
    /// What a reboot clears: endpoints, locks and the table for DNS go to `<run_root>/networks`.
    pub run_root: PathBuf,
}

/// A defined network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its name, unique on this machine.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// The driver's options, those that the driver filled in included.
    pub options: BTreeMap<String, String>,
    /// Its address pools, IPv4 first.
    pub pools: Vec<Pool>,
    /// The address manager's name.
    pub ipam_driver: String,
    /// Its options.
    pub ipam_options: BTreeMap<String, String>,
    /// Whether nothing leaves it.
    pub internal: bool,
    /// Kept and shown.
    pub attachable: bool,
    /// Whether containers get an IPv6 address as well.
    pub enable_ipv6: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it was created, in RFC 3339.
    pub created: String,
    /// Whether its device (a bridge, a parent interface) was there before it, and stays after it.
    #[serde(default)]
    pub(crate) adopted: bool,
}

impl Network {
    /// Whether it is one of the three that are always there.
    pub fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }

    /// Whether containers on it find each other by name: all networks but the predefined ones.
    pub fn has_names(&self) -> bool {
        !self.is_predefined() && !matches!(self.driver.as_str(), "host" | "null")
    }

    /// How far it reaches, as lists show it.
    pub fn scope(&self) -> &'static str {
        "local"
    }

    /// The pools of one protocol.
    pub(crate) fn pools_of(&self, family: Family) -> impl Iterator<Item = &Pool> {
        self.pools.iter().filter(move |pool| pool.subnet.family() == family)
    }
}

/// An address pool of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The subnet.
    pub subnet: Subnet,
    /// The part of it that containers get addresses from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Subnet>,
    /// The gateway's address; networks that nothing routes for have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Whether the gateway was asked for: Docker shows only such in a definition without endpoints.
    #[serde(default)]
    pub gateway_asked: bool,
    /// Addresses that are somebody else's, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Whether the user chose the subnet: only then may containers ask for addresses of their own.
    #[serde(default)]
    pub subnet_asked: bool,
}

/// The process that proves that a container lives. What the numbers mean is the caller's affair: they are
/// handed back to the caller's own judgement of life and death.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// When it started, to tell it from a later process of that id.
    pub start_time: u64,
}

/// Who joins networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id; the first twelve characters become a name on networks with names.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its host name, where the user gave one.
    pub hostname: Option<String>,
    /// Whose life is its life.
    pub owner: Owner,
    /// The ports to publish, on whichever network has its default route.
    pub publish: Vec<Publish>,
}

/// How a container joins one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network.
    pub network: NetworkId,
    /// The IPv4 address asked for.
    pub ipv4: Option<IpAddr>,
    /// The IPv6 address asked for.
    pub ipv6: Option<IpAddr>,
    /// The hardware address asked for.
    pub mac: Option<Mac>,
    /// Further names of the container on this network.
    pub aliases: Vec<String>,
    /// Which network gets the default route when there are several: the highest, then the first by name of the network.
    pub gateway_priority: i32,
}

impl Attachment {
    /// Joins with whatever address is free.
    pub fn to(network: &NetworkId) -> Self {
        Self {
            network: network.clone(),
            ipv4: None,
            ipv6: None,
            mac: None,
            aliases: Vec::new(),
            gateway_priority: 0,
        }
    }
}

/// How far an endpoint's making or unmaking went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// It is being made, or its maker died: the next operation unmakes it.
    Joining,
    /// It is there.
    Joined,
    /// It is being unmade.
    Leaving,
}

/// A container's interface on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The network.
    pub network: NetworkId,
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub container_name: String,
    /// The names asked for beside the container's name and short id.
    pub aliases: Vec<String>,
    /// The container's host name, where the user gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Whose life is its life.
    pub owner: Owner,
    /// How far its making went.
    pub progress: Progress,
    /// The interface inside the container, as `eth0`; none on `host` and `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The other end on the host, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_interface: Option<String>,
    /// The hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<InterfaceAddress>,
    /// The IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<InterfaceAddress>,
    /// The IPv4 gateway, where the network leads out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway4: Option<IpAddr>,
    /// The IPv6 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<IpAddr>,
    /// Its rank among the networks of the container.
    #[serde(default)]
    pub gateway_priority: i32,
    /// Whether the container's default route goes this way; the published ports come this way then.
    #[serde(default)]
    pub default_route: bool,
    /// What is to be published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// What is published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortBinding>,
}

impl Endpoint {
    /// The names it answers to on a network with names, without repetition: name, aliases, short id, host name.
    pub fn names(&self) -> Vec<&str> {
        let short = self.container.get(..12).unwrap_or(&self.container);
        let mut names = vec![self.container_name.as_str()];
        let further = self.aliases.iter().map(String::as_str).chain([short]);
        for name in further.chain(self.hostname.as_deref()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.into_iter().chain(self.ipv6).map(|address| address.ip())
    }

    /// Whether packets can leave through it.
    pub(crate) fn leads_out(&self) -> bool {
        self.gateway4.is_some() || self.gateway6.is_some()
    }
}
