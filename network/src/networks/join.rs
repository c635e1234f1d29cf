//! Joining and leaving: an endpoint is written down as being made, made, and written down as made. What fails is
//! undone; what a crash interrupts is undone by whoever holds the lock next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{FirewallUse, Networks, elements, find_in};
use crate::address::{Family, InterfaceAddress};
use crate::driver::{self, Driver};
use crate::error::{Error, Result, kernel};
use crate::host::{Host, change_of};
use crate::id::{EndpointId, NetworkId};
use crate::ipam;
use crate::netlink::conntrack;
use crate::netlink::route::Route;
use crate::netns::Netns;
use crate::ports::{self, PortHold, Reach};
use crate::publish::{PortBinding, Protocol};
use crate::record::{Attachment, Container, Endpoint, Network, Progress};
use crate::state::Locked;

/// The endpoints of all networks.
pub(super) type Endpoints = BTreeMap<NetworkId, Vec<Endpoint>>;

/// What joining gives.
#[derive(Debug)]
pub struct Attached {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What keeps other programs off its ports: hold it as long as the container runs.
    pub hold: PortHold,
}

impl Networks {
    /// Connects a container, running or about to start, to a network.
    pub fn attach(
        &self,
        container: &Container,
        attachment: &Attachment,
        netns: &Netns,
    ) -> Result<Attached> {
        let locked = self.state.lock()?;
        let mut endpoints = self.recover(&locked)?;
        let networks = self.state.networks()?;
        let before = elements(&networks, &endpoints);
        let network = find_in(&networks, attachment.network.as_str())?;
        let driver = driver::of(&network.driver)?;
        check(&networks, network, &endpoints, container, attachment)?;
        let mut endpoint = plan(driver, network, &endpoints, container, attachment)?;

        self.put(&locked, &endpoints, &endpoint)?;
        let mut host = Host::open(self.state.door())?;
        let mut moved = None;
        let mut inside = Inside::new(netns);
        let made = make(&mut host, driver, network, &endpoint, &mut inside).and_then(|()| {
            let old = leader(&networks, &endpoints, &container.id);
            endpoint.default_route = leads(&networks, &endpoint, old);
            if !endpoint.default_route {
                return Ok(PortHold::default());
            }
            moved = old.cloned();
            let hold = self.take_over(driver, network, &mut endpoint, &mut endpoints)?;
            route_through(&host, &endpoint, &mut inside, driver.routes_by_link(network))?;
            Ok(hold)
        });
        let done = made.and_then(|hold| {
            endpoint.progress = Progress::Joined;
            set(&mut endpoints, &endpoint);
            let after = elements(&networks, &endpoints);
            self.firewall(&before, &after, FirewallUse::Make)?;
            self.commit(&locked, &endpoints, &endpoint, moved.as_ref())
                .inspect_err(|_| drop(self.firewall(&after, &before, FirewallUse::Make)))?;
            // A stream of datagrams that came before would go on to where it went: nobody.
            let _ = conntrack::forget_datagrams_to(&udp_ports(&endpoint));
            Ok(hold)
        });
        match done {
            Ok(hold) => Ok(Attached { endpoint, hold }),
            Err(error) => {
                self.undo(&locked, &mut host, &endpoint, moved.as_ref(), netns);
                Err(error)
            }
        }
    }

    /// Disconnects a container from one network; `netns` is its namespace while it runs. Default route and ports move to
    /// the next of its networks.
    pub fn detach(
        &self,
        container: &str,
        network: &NetworkId,
        netns: Option<&Netns>,
    ) -> Result<()> {
        let locked = self.state.lock()?;
        let endpoints = self.recover(&locked)?;
        let networks = self.state.networks()?;
        let found = find_in(&networks, network.as_str())?;
        let endpoint = endpoints
            .get(network)
            .and_then(|all| all.iter().find(|endpoint| endpoint.container == container))
            .ok_or_else(|| Error::NotConnected {
                container: container.to_owned(),
                network: found.name.clone(),
            })?
            .clone();
        self.leave(&locked, &networks, vec![endpoint.clone()], netns)?;
        if endpoint.default_route {
            self.promote(&locked, &networks, container, netns)?;
        }
        Ok(())
    }

    /// Gives back everything that a container has: at its end, or what it left behind. It is no error that nothing is
    /// there, or not all of it.
    pub fn release(&self, container: &str) -> Result<()> {
        let locked = self.state.lock()?;
        let endpoints = self.recover(&locked)?;
        let networks = self.state.networks()?;
        let of_container = |endpoint: &&Endpoint| endpoint.container == container;
        let leaving = endpoints.values().flatten().filter(of_container).cloned().collect();
        self.leave(&locked, &networks, leaving, None)
    }

    /// Gives a running container another name, which its networks answer to from then on.
    pub fn rename(&self, container: &str, name: &str) -> Result<()> {
        let locked = self.state.lock()?;
        for (network, mut endpoints) in self.recover(&locked)? {
            let mut found = false;
            for endpoint in endpoints.iter_mut().filter(|e| e.container == container) {
                endpoint.container_name = name.to_owned();
                found = true;
            }
            if found {
                locked.put_endpoints(&network, endpoints)?;
            }
        }
        Ok(())
    }

    /// Unmakes endpoints: first their rules, so that nobody is led to an address that is somebody else's next.
    pub(super) fn leave(
        &self,
        locked: &Locked<'_>,
        networks: &[Network],
        leaving: Vec<Endpoint>,
        netns: Option<&Netns>,
    ) -> Result<()> {
        if leaving.is_empty() {
            return Ok(());
        }
        let mut endpoints = self.state.all_endpoints()?;
        let before = elements(networks, &endpoints);
        for endpoint in &leaving {
            let gone = Endpoint { progress: Progress::Leaving, ..endpoint.clone() };
            set(&mut endpoints, &gone);
            self.put(locked, &endpoints, &gone)?;
        }
        self.firewall(&before, &elements(networks, &endpoints), FirewallUse::IfThere)?;
        let mut host = Host::open(self.state.door())?;
        for endpoint in &leaving {
            self.unmake(&mut host, networks, endpoint, netns)?;
        }
        let addresses: Vec<IpAddr> = leaving.iter().flat_map(Endpoint::addresses).collect();
        // A kernel without connection tracking has nothing to forget.
        let _ = conntrack::forget(&addresses);
        for endpoint in &leaving {
            take_out(&mut endpoints, endpoint);
            let rest = endpoints.get(&endpoint.network).cloned().unwrap_or_default();
            locked.put_endpoints(&endpoint.network, rest)?;
        }
        Ok(())
    }

    /// Removes an endpoint's devices; a network or a driver that is gone leaves the host's end of the pair.
    pub(super) fn unmake(
        &self,
        host: &mut Host<'_>,
        networks: &[Network],
        endpoint: &Endpoint,
        netns: Option<&Netns>,
    ) -> Result<()> {
        let network = networks.iter().find(|network| network.id == endpoint.network);
        match (
            network.and_then(|network| driver::of(&network.driver).ok()),
            &endpoint.host_interface,
        ) {
            (Some(driver), _) => driver.leave(host, endpoint, netns),
            (None, Some(name)) => host.change("remove interface", name, |route| route.delete(name)),
            (None, None) => Ok(()),
        }
    }

    /// After a container lost its way out: gives default route and ports to the next of its networks.
    pub(super) fn promote(
        &self,
        locked: &Locked<'_>,
        networks: &[Network],
        container: &str,
        netns: Option<&Netns>,
    ) -> Result<()> {
        let mut endpoints = self.state.all_endpoints()?;
        let before = elements(networks, &endpoints);
        let Some(mut next) = best(networks, &endpoints, container).cloned() else { return Ok(()) };
        let network = find_in(networks, next.network.as_str())?;
        let driver = driver::of(&network.driver)?;
        next.default_route = true;
        if driver.publishes(network) && next.ports.is_empty() {
            // Those who held the ports hold them still: they are the container's.
            next.ports = self.rebind(driver, network, &next, &endpoints)?;
        }
        if let Some(netns) = netns {
            let host = Host::open(self.state.door())?;
            let mut inside = Inside::new(netns);
            route_through(&host, &next, &mut inside, driver.routes_by_link(network))?;
        }
        set(&mut endpoints, &next);
        self.put(locked, &endpoints, &next)?;
        self.firewall(&before, &elements(networks, &endpoints), FirewallUse::Make)
    }

    /// Moves ports and default route from whichever endpoint of the container has them to this one.
    fn take_over(
        &self,
        driver: &dyn Driver,
        network: &Network,
        endpoint: &mut Endpoint,
        endpoints: &mut Endpoints,
    ) -> Result<PortHold> {
        let mut inherited = Vec::new();
        for other in endpoints.values_mut().flatten().filter(|e| e.container == endpoint.container)
        {
            inherited.append(&mut other.ports);
            other.default_route = false;
        }
        if !driver.publishes(network) || endpoint.publish.is_empty() {
            return Ok(PortHold::default());
        }
        if !inherited.is_empty() {
            endpoint.ports = reachable(inherited, endpoint);
            return Ok(PortHold::default());
        }
        let taken = taken(endpoints);
        let (ports, hold) =
            ports::allocate(&endpoint.publish, reach(driver, network, endpoint), &taken)?;
        endpoint.ports = ports;
        Ok(hold)
    }

    /// Ports for an endpoint that takes over from one that left.
    fn rebind(
        &self,
        driver: &dyn Driver,
        network: &Network,
        endpoint: &Endpoint,
        endpoints: &Endpoints,
    ) -> Result<Vec<PortBinding>> {
        let taken = taken(endpoints);
        let reach = reach(driver, network, endpoint);
        ports::choose(&endpoint.publish, reach, &taken)
    }

    /// Writes an endpoint down among the others of its network.
    fn put(&self, locked: &Locked<'_>, endpoints: &Endpoints, endpoint: &Endpoint) -> Result<()> {
        let mut all = endpoints.get(&endpoint.network).cloned().unwrap_or_default();
        all.retain(|other| other.id != endpoint.id);
        all.push(endpoint.clone());
        locked.put_endpoints(&endpoint.network, all)
    }

    /// Writes down that the endpoint is made, and that another one of the container lost its ports to it.
    fn commit(
        &self,
        locked: &Locked<'_>,
        endpoints: &Endpoints,
        endpoint: &Endpoint,
        moved: Option<&Endpoint>,
    ) -> Result<()> {
        if let Some(old) = moved.filter(|old| old.network != endpoint.network) {
            let all = endpoints.get(&old.network).cloned().unwrap_or_default();
            locked.put_endpoints(&old.network, all)?;
        }
        self.put(locked, endpoints, endpoint)
    }

    /// Undoes what was made of an endpoint. What cannot be undone stays written down as unfinished, for the next.
    fn undo(
        &self,
        locked: &Locked<'_>,
        host: &mut Host<'_>,
        endpoint: &Endpoint,
        moved: Option<&Endpoint>,
        netns: &Netns,
    ) {
        let undone = self.state.networks().and_then(|networks| {
            self.unmake(host, &networks, endpoint, Some(netns))?;
            if let Some(old) = moved {
                let link = find_in(&networks, old.network.as_str())
                    .and_then(|network| Ok(driver::of(&network.driver)?.routes_by_link(network)))?;
                route_through(host, old, &mut Inside::new(netns), link)?;
                self.put(locked, &self.state.all_endpoints()?, old)?;
            }
            let mut rest = self.state.endpoints(&endpoint.network)?;
            rest.retain(|other| other.id != endpoint.id);
            locked.put_endpoints(&endpoint.network, rest)
        });
        // The error that led here is the one to tell; the record of intent leads the next operation to the rest.
        drop(undone);
    }
}

/// Whether the container may join that network in that way.
fn check(
    networks: &[Network],
    network: &Network,
    endpoints: &Endpoints,
    container: &Container,
    attachment: &Attachment,
) -> Result<()> {
    let mut others =
        endpoints.values().flatten().filter(|e| e.container == container.id).peekable();
    let first = others.peek().is_none();
    if others.any(|endpoint| endpoint.network == network.id) {
        return Err(Error::AlreadyConnected {
            container: container.name.clone(),
            network: network.name.clone(),
        });
    }
    let alone = |driver: &str| matches!(driver, "host" | "null");
    let is_alone = endpoints.iter().any(|(id, all)| {
        all.iter().any(|endpoint| endpoint.container == container.id)
            && networks.iter().any(|network| network.id == *id && alone(&network.driver))
    });
    if is_alone || (!first && alone(&network.driver)) {
        return Err(Error::Unsupported {
            what: format!("connect {} to network {}", container.name, network.name),
            reason: "a container on the network host or none is on no other".to_owned(),
        });
    }
    if network.is_predefined() {
        if !attachment.aliases.is_empty() {
            return Err(Error::BuiltinNetwork { what: "network-scoped alias" });
        }
        if attachment.ipv4.is_some() || attachment.ipv6.is_some() {
            return Err(Error::BuiltinNetwork { what: "user specified IP address" });
        }
    }
    Ok(())
}

/// Decides everything about an endpoint but its ports.
fn plan(
    driver: &dyn Driver,
    network: &Network,
    endpoints: &Endpoints,
    container: &Container,
    attachment: &Attachment,
) -> Result<Endpoint> {
    let here = endpoints.get(&network.id).map(Vec::as_slice).unwrap_or_default();
    let used: BTreeSet<IpAddr> = here.iter().flat_map(Endpoint::addresses).collect();
    let mut endpoint = Endpoint {
        id: EndpointId::generate()?,
        network: network.id.clone(),
        container: container.id.clone(),
        container_name: container.name.clone(),
        aliases: attachment.aliases.clone(),
        hostname: container.hostname.clone(),
        owner: container.owner,
        progress: Progress::Joining,
        interface: None,
        host_interface: None,
        mac: attachment.mac,
        ipv4: None,
        ipv6: None,
        gateway4: None,
        gateway6: None,
        gateway_priority: attachment.gateway_priority,
        default_route: false,
        publish: container.publish.clone(),
        ports: Vec::new(),
    };
    for (family, wanted) in [(Family::V4, attachment.ipv4), (Family::V6, attachment.ipv6)] {
        if network.pools_of(family).next().is_none() && wanted.is_none() {
            continue;
        }
        if let Some(address) = wanted.filter(|ip| Family::of(*ip) != family) {
            return Err(Error::AddressOutside { address });
        }
        let (ip, pool) = ipam::allocate(network, family, &used, wanted)?;
        let address = Some(InterfaceAddress::new(ip, &pool.subnet));
        let gateway = pool.gateway.filter(|_| !network.internal);
        match family {
            Family::V4 => (endpoint.ipv4, endpoint.gateway4) = (address, gateway),
            Family::V6 => (endpoint.ipv6, endpoint.gateway6) = (address, gateway),
        }
    }
    if let Some(mac) = attachment.mac.filter(|mac| here.iter().any(|e| e.mac == Some(*mac))) {
        return Err(Error::MacInUse { mac, network: network.name.clone() });
    }
    name_interface(driver, network, endpoints, &mut endpoint)?;
    Ok(endpoint)
}

/// The lowest number that the container has no interface of.
fn name_interface(
    driver: &dyn Driver,
    network: &Network,
    endpoints: &Endpoints,
    endpoint: &mut Endpoint,
) -> Result<()> {
    let own = endpoints.values().flatten().filter(|e| e.container == endpoint.container);
    let names: BTreeSet<String> = own.filter_map(|e| e.interface.clone()).collect();
    for number in 0..=names.len() {
        driver.plan(network, endpoint, number)?;
        if !endpoint.interface.as_ref().is_some_and(|name| names.contains(name)) {
            break;
        }
    }
    Ok(())
}

/// The kernel inside a container, which is entered once at most.
struct Inside<'a> {
    netns: &'a Netns,
    route: Option<Route>,
}

impl<'a> Inside<'a> {
    fn new(netns: &'a Netns) -> Self {
        Self { netns, route: None }
    }

    /// The socket inside, and the index of an interface there.
    fn interface(&mut self, name: &str) -> Result<(&mut Route, u32)> {
        let route = match &mut self.route {
            Some(route) => route,
            none => none.insert(self.netns.route()?),
        };
        let link = route.link(name).map_err(kernel(format!("find interface {name}")))?;
        let index = link.map(|link| link.index).ok_or_else(|| vanished(name))?;
        Ok((route, index))
    }
}

/// Makes the interface, gives it its addresses and sets it up.
fn make(
    host: &mut Host<'_>,
    driver: &dyn Driver,
    network: &Network,
    endpoint: &Endpoint,
    inside: &mut Inside<'_>,
) -> Result<()> {
    driver.create(host, network)?;
    driver.join(host, network, endpoint, inside.netns)?;
    let Some(name) = &endpoint.interface else { return Ok(()) };
    let (route, index) = inside.interface(name)?;
    let door = host.door();
    for address in endpoint.ipv4.into_iter().chain(endpoint.ipv6) {
        change_of(door, "add address to", name, || route.add_address(index, address))?;
    }
    change_of(door, "set up interface", name, || route.set_up(index))
}

/// Sends the container's packets for everywhere else through an endpoint.
fn route_through(
    host: &Host<'_>,
    endpoint: &Endpoint,
    inside: &mut Inside<'_>,
    by_link: bool,
) -> Result<()> {
    let Some(name) = &endpoint.interface else { return Ok(()) };
    let (route, index) = inside.interface(name)?;
    for gateway in endpoint.gateway4.into_iter().chain(endpoint.gateway6) {
        change_of(host.door(), "set default route through", name, || match by_link {
            true => route.set_default_link(index, Family::of(gateway)),
            false => route.set_default_route(index, gateway),
        })?;
    }
    Ok(())
}

fn vanished(name: &str) -> Error {
    Error::Kernel {
        act: format!("find interface {name} in the container"),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    }
}

/// The endpoint of a container that has its default route.
fn leader<'a>(
    networks: &[Network],
    endpoints: &'a Endpoints,
    container: &str,
) -> Option<&'a Endpoint> {
    let own = |endpoint: &&Endpoint| endpoint.container == container && endpoint.default_route;
    let found = endpoints.values().flatten().find(own);
    found.or_else(|| best(networks, endpoints, container))
}

/// Whether a new endpoint takes the default route from the one that has it.
fn leads(networks: &[Network], endpoint: &Endpoint, old: Option<&Endpoint>) -> bool {
    endpoint.leads_out()
        && old.is_none_or(|old| {
            let rank =
                |endpoint: &Endpoint| (-endpoint.gateway_priority, name_of(networks, endpoint));
            !old.leads_out() || rank(endpoint) < rank(old)
        })
}

/// The endpoint of a container that should have its default route: the highest priority, then the first by name.
fn best<'a>(
    networks: &[Network],
    endpoints: &'a Endpoints,
    container: &str,
) -> Option<&'a Endpoint> {
    endpoints
        .values()
        .flatten()
        .filter(|e| e.container == container && e.leads_out() && e.progress != Progress::Leaving)
        .min_by_key(|endpoint| (-endpoint.gateway_priority, name_of(networks, endpoint)))
}

fn name_of<'a>(networks: &'a [Network], endpoint: &Endpoint) -> Option<&'a str> {
    let network = networks.iter().find(|network| network.id == endpoint.network);
    network.map(|network| network.name.as_str())
}

fn reach(driver: &dyn Driver, network: &Network, endpoint: &Endpoint) -> Reach {
    Reach {
        v4: endpoint.ipv4.is_some(),
        v6: endpoint.ipv6.is_some(),
        default: driver.binding_address(network),
    }
}

/// The ports that lead somewhere on the endpoint.
fn reachable(ports: Vec<PortBinding>, endpoint: &Endpoint) -> Vec<PortBinding> {
    let has = |port: &PortBinding| {
        if port.host_ip.is_ipv4() { endpoint.ipv4.is_some() } else { endpoint.ipv6.is_some() }
    };
    ports.into_iter().filter(has).collect()
}

/// The ports of the host that a container has for datagrams.
fn udp_ports(endpoint: &Endpoint) -> Vec<u16> {
    let udp = endpoint.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    udp.map(|port| port.host_port).collect()
}

fn taken(endpoints: &Endpoints) -> Vec<PortBinding> {
    endpoints.values().flatten().flat_map(|endpoint| endpoint.ports.iter().copied()).collect()
}

/// Puts an endpoint among the others in memory.
fn set(endpoints: &mut Endpoints, endpoint: &Endpoint) {
    take_out(endpoints, endpoint);
    endpoints.entry(endpoint.network.clone()).or_default().push(endpoint.clone());
}

fn take_out(endpoints: &mut Endpoints, endpoint: &Endpoint) {
    if let Some(all) = endpoints.get_mut(&endpoint.network) {
        all.retain(|other| other.id != endpoint.id);
    }
}
