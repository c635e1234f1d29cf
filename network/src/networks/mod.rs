//! All networks of one machine: definitions here, who joins and leaves in `join.rs`, what a crash or a reboot left in
//! `repair.rs`.

mod join;
mod repair;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::door::Door;
use crate::driver;
use crate::error::{Error, Result};
use crate::files::{Resolver, host_line};
use crate::firewall::{Elements, Firewall};
use crate::host::Host;
use crate::id::{self, NetworkId};
use crate::ipam::{self, Taken};
use crate::limits;
use crate::record::{Endpoint, Network, Places, Progress};
use crate::spec::{NetworkSpec, check_name};
use crate::state::{Generation, Locked, State};

pub use join::Attached;
pub use repair::Reconciled;

/// The networks that are always there, with their drivers.
const PREDEFINED: [(&str, &str); 3] = [("bridge", "bridge"), ("host", "host"), ("none", "null")];

/// All networks under one root. Cheap to clone; many processes work on one root side by side.
#[derive(Clone, Debug)]
pub struct Networks {
    state: State,
}

impl Networks {
    /// Opens the networks of a root, and defines the three that are always there where they are not; `now` is RFC 3339.
    pub fn open(places: Places, now: &str) -> Result<Self> {
        Self::open_through(Door::default(), places, now)
    }

    /// Opens the networks of a root in a world that may fail on cue.
    pub fn open_through(door: Door, places: Places, now: &str) -> Result<Self> {
        let networks = Self { state: State::new(&places, door) };
        let defined = networks.state.networks()?;
        if !PREDEFINED.iter().all(|(name, _)| defined.iter().any(|network| network.name == *name)) {
            networks.define_predefined(now)?;
        }
        Ok(networks)
    }

    /// Defines a network and makes its devices.
    pub fn create(&self, spec: NetworkSpec) -> Result<Network> {
        check_name(&spec.name)?;
        if PREDEFINED.iter().any(|(name, _)| *name == spec.name) {
            return Err(Error::PredefinedName { name: spec.name });
        }
        let locked = self.state.lock()?;
        self.recover(&locked)?;
        let mut all = self.state.networks()?;
        let before = self.elements(&all)?;
        let mut host = Host::open(self.state.door())?;
        let network = self.define(&locked, &mut host, spec)?;
        all.push(network.clone());
        let made = driver::of(&network.driver)?
            .create(&mut host, &network)
            .and_then(|()| self.firewall(&before, &self.elements(&all)?, FirewallUse::IfThere));
        if let Err(error) = made {
            self.undefine(&locked, &mut host, &network)?;
            return Err(error);
        }
        Ok(network)
    }

    /// All networks, by name.
    pub fn list(&self) -> Result<Vec<Network>> {
        self.state.networks()
    }

    /// The network of a name, of an id, or of the beginning of one id.
    pub fn find(&self, reference: &str) -> Result<Network> {
        let all = self.state.networks()?;
        find_in(&all, reference).cloned()
    }

    /// The endpoints on a network: those of running containers.
    pub fn endpoints(&self, network: &NetworkId) -> Result<Vec<Endpoint>> {
        let mut endpoints = self.state.endpoints(network)?;
        endpoints.retain(|endpoint| endpoint.progress == Progress::Joined);
        Ok(endpoints)
    }

    /// The endpoints of a container with their networks, that with the default route first, then by name.
    pub fn endpoints_of(&self, container: &str) -> Result<Vec<(Network, Endpoint)>> {
        let mut found = Vec::new();
        for network in self.state.networks()? {
            let endpoint =
                self.endpoints(&network.id)?.into_iter().find(|e| e.container == container);
            found.extend(endpoint.map(|endpoint| (network, endpoint)));
        }
        found.sort_by_key(|(_, endpoint)| !endpoint.default_route);
        Ok(found)
    }

    /// Removes a network that nobody is on.
    pub fn remove(&self, id: &NetworkId) -> Result<()> {
        let locked = self.state.lock()?;
        self.recover(&locked)?;
        let all = self.state.networks()?;
        let network = find_in(&all, id.as_str())?;
        if network.is_predefined() {
            return Err(Error::Predefined { name: network.name.clone() });
        }
        if !self.state.endpoints(id)?.is_empty() {
            return Err(Error::NetworkInUse { name: network.name.clone(), id: id.to_string() });
        }
        let mut host = Host::open(self.state.door())?;
        driver::of(&network.driver)?.delete(&mut host, network)?;
        let before = self.elements(&all)?;
        let rest: Vec<Network> = all.iter().filter(|other| other.id != *id).cloned().collect();
        self.firewall(&before, &self.elements(&rest)?, FirewallUse::IfThere)?;
        locked.remove_network(id)
    }

    /// How a container resolves names, from the networks that it is on.
    pub fn resolver_of(&self, container: &str) -> Result<Resolver> {
        let networks = self.endpoints_of(container)?;
        if networks.iter().any(|(network, _)| network.has_names()) {
            return Ok(Resolver::Embedded);
        }
        let on_host = networks.iter().any(|(network, _)| network.driver == "host");
        Ok(if on_host { Resolver::Host } else { Resolver::Direct })
    }

    /// The lines of `/etc/hosts` that name a container's own addresses.
    pub fn host_lines(&self, container: &str, hostname: &str, domain: &str) -> Result<Vec<String>> {
        let endpoints = self.endpoints_of(container)?;
        let addresses = endpoints.iter().flat_map(|(_, endpoint)| endpoint.addresses());
        Ok(addresses.map(|address| host_line(address, hostname, domain)).collect())
    }

    /// What `host-gateway` stands for: the host's address on the default bridge.
    pub fn host_gateway(&self) -> Result<Option<IpAddr>> {
        Ok(self.find("bridge")?.pools.first().and_then(|pool| pool.gateway))
    }

    /// The number that changes with every endpoint.
    pub(crate) fn generation(&self) -> Result<Generation> {
        self.state.generation()
    }

    fn define_predefined(&self, now: &str) -> Result<()> {
        let locked = self.state.lock()?;
        let mut host = Host::open(self.state.door())?;
        for (name, driver) in PREDEFINED {
            if self.state.networks()?.iter().all(|network| network.name != name) {
                let driver = driver.to_owned();
                self.define(
                    &locked,
                    &mut host,
                    NetworkSpec { driver, ..NetworkSpec::new(name, now) },
                )?;
            }
        }
        Ok(())
    }

    /// Checks a new network against the others and writes its definition down.
    fn define(
        &self,
        locked: &Locked<'_>,
        host: &mut Host<'_>,
        spec: NetworkSpec,
    ) -> Result<Network> {
        let all = self.state.networks()?;
        if all.iter().any(|network| network.name == spec.name) {
            return Err(Error::NameTaken { name: spec.name });
        }
        if all.len() >= limits::NETWORKS_MAX {
            return Err(Error::Limit { what: "networks", limit: limits::NETWORKS_MAX as u64 });
        }
        if spec.ipam_driver != "default" {
            return Err(Error::Unsupported {
                what: format!("the address manager {:?}", spec.ipam_driver),
                reason: "only the default one is there".to_owned(),
            });
        }
        let driver = driver::of(&spec.driver)?;
        let pools = if driver.has_addresses() {
            let taken = taken(&all);
            let routes =
                host.route().routes().map_err(crate::error::kernel("list the host's routes"))?;
            ipam::pools(&spec, &taken, &routes, driver.overlap(), id::random()?)?
        } else if spec.pools.is_empty() {
            Vec::new()
        } else {
            let text = format!("networks of the driver {} have no addresses", spec.driver);
            return Err(Error::InvalidPool(text));
        };
        let mut network = Network {
            id: NetworkId::generate()?,
            name: spec.name,
            driver: spec.driver,
            options: spec.options,
            pools,
            ipam_driver: spec.ipam_driver,
            ipam_options: spec.ipam_options,
            internal: spec.internal,
            attachable: spec.attachable,
            enable_ipv6: spec.enable_ipv6,
            labels: spec.labels,
            created: spec.created,
            adopted: false,
        };
        driver.define(host, &mut network, &all)?;
        locked.put_network(&network)?;
        Ok(network)
    }

    /// Takes back a definition whose devices could not be made.
    fn undefine(&self, locked: &Locked<'_>, host: &mut Host<'_>, network: &Network) -> Result<()> {
        driver::of(&network.driver)?.delete(host, network)?;
        locked.remove_network(&network.id)
    }

    /// What the packet filter holds for these networks and all endpoints.
    fn elements(&self, networks: &[Network]) -> Result<Elements> {
        let endpoints = self.state.all_endpoints()?;
        Ok(elements(networks, &endpoints))
    }

    /// Makes the packet filter hold `after` where it held `before`.
    fn firewall(&self, before: &Elements, after: &Elements, when: FirewallUse) -> Result<()> {
        let firewall = Firewall::new(self.state.door());
        match when {
            FirewallUse::IfThere if !firewall.exists()? => Ok(()),
            _ => firewall.change(before, after),
        }
    }
}

/// Whether a table is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirewallUse {
    /// Containers need it.
    Make,
    /// No container needs it yet.
    IfThere,
}

/// What the packet filter holds for networks and endpoints.
fn elements(networks: &[Network], endpoints: &BTreeMap<NetworkId, Vec<Endpoint>>) -> Elements {
    let mut elements = Elements::default();
    for network in networks {
        let Some(bridge) = driver::of(&network.driver).ok().and_then(|d| d.bridge(network)) else {
            continue;
        };
        elements.add_bridge(&bridge);
        let joined = endpoints.get(&network.id).into_iter().flatten();
        for endpoint in joined.filter(|endpoint| endpoint.progress != Progress::Leaving) {
            for port in &endpoint.ports {
                let target = endpoint.addresses().find(|ip| ip.is_ipv4() == port.host_ip.is_ipv4());
                if let Some(target) = target {
                    elements.add_port(target, port);
                }
            }
        }
    }
    elements
}

/// The subnets that routed networks have.
fn taken(networks: &[Network]) -> Vec<Taken> {
    let routed = networks.iter().filter(|network| network.driver == "bridge");
    routed
        .flat_map(|network| {
            let taken = |pool: &crate::record::Pool| Taken {
                subnet: pool.subnet,
                holder: network.name.clone(),
            };
            network.pools.iter().map(taken).collect::<Vec<_>>()
        })
        .collect()
}

fn find_in<'a>(all: &'a [Network], reference: &str) -> Result<&'a Network> {
    let exact = all
        .iter()
        .find(|network| network.name == reference)
        .or_else(|| all.iter().find(|network| network.id.as_str() == reference));
    if let Some(network) = exact {
        return Ok(network);
    }
    let begins: Vec<&Network> =
        all.iter().filter(|network| network.id.as_str().starts_with(reference)).collect();
    match begins.as_slice() {
        [one] if !reference.is_empty() => Ok(one),
        [_, _, ..] if !reference.is_empty() => {
            Err(Error::AmbiguousNetwork { prefix: reference.to_owned(), matches: begins.len() })
        }
        _ => Err(Error::NoSuchNetwork { name: reference.to_owned() }),
    }
}
