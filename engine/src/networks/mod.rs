//! Networks: what `network create`, `ls`, `inspect`, `connect`, `disconnect`, `rm` and `prune` do, and what of them a container
//! shows.

pub mod flags;
mod show;

use std::collections::BTreeMap;

use network::{Endpoint, Netns, Network, NetworkSpec, PoolSpec};
use runtime::{
    Container, EndpointRequest, EventKind, NetworkMode, ProcessRef, Record, RunOptions, Status,
};
use serde_json::Value;

use crate::Engine;
use crate::error::{Error, Result};
use crate::ports::container_networks::{container_of, files_of, join_one, lives, open};

pub use flags::NetworkFlags;

/// The networks of one engine.
#[derive(Clone, Copy)]
pub struct Networks<'a> {
    pub(crate) engine: &'a Engine,
}

/// What `network create` asks for, as written.
#[derive(Clone, Debug, Default)]
pub struct CreateNetwork {
    /// Its name.
    pub name: String,
    /// `--driver`; `bridge` where it is empty.
    pub driver: String,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--subnet`.
    pub subnets: Vec<String>,
    /// `--gateway`.
    pub gateways: Vec<String>,
    /// `--ip-range`.
    pub ranges: Vec<String>,
    /// `--aux-address`.
    pub auxiliary: Vec<String>,
    /// `--ipam-driver`; `default` where it is empty.
    pub ipam_driver: String,
    /// `--ipam-opt`.
    pub ipam_options: BTreeMap<String, String>,
    /// `--internal`.
    pub internal: bool,
    /// `--attachable`.
    pub attachable: bool,
    /// `--ipv6`.
    pub ipv6: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
}

/// What a running container has of its networks: name of each and its endpoint there, that of the default route first.
pub type Connections = Vec<(String, Endpoint)>;

impl Networks<'_> {
    fn open(&self) -> Result<network::Networks> {
        let config = self.engine.config();
        open(&config.root, &config.run_root)
    }

    /// The same, after what dead containers left was taken back.
    fn open_clean(&self) -> Result<network::Networks> {
        let networks = self.open()?;
        networks.reconcile(&lives)?;
        Ok(networks)
    }

    /// Makes a network.
    pub fn create(&self, request: CreateNetwork) -> Result<Network> {
        let pools = PoolSpec::from_flags(
            &request.subnets,
            &request.gateways,
            &request.ranges,
            &request.auxiliary,
        )?;
        let now = crate::clock::now().to_string();
        let mut spec = NetworkSpec::new(request.name, now);
        if !request.driver.is_empty() {
            spec.driver = request.driver;
        }
        if !request.ipam_driver.is_empty() {
            spec.ipam_driver = request.ipam_driver;
        }
        spec.options = request.options;
        spec.pools = pools;
        spec.ipam_options = request.ipam_options;
        spec.internal = request.internal;
        spec.attachable = request.attachable;
        spec.enable_ipv6 = request.ipv6;
        spec.labels = request.labels;
        let made = self.open_clean()?.create(spec)?;
        self.note("create", &made, None);
        Ok(made)
    }

    /// All networks.
    pub fn list(&self) -> Result<Vec<Network>> {
        Ok(self.open()?.list()?)
    }

    /// One network, by name, id or a prefix of its id.
    pub fn get(&self, reference: &str) -> Result<Network> {
        Ok(self.open()?.find(reference)?)
    }

    /// What `network inspect` prints of one network.
    pub fn inspect(&self, reference: &str) -> Result<Value> {
        let networks = self.open_clean()?;
        let found = networks.find(reference)?;
        let endpoints = networks.endpoints(&found.id)?;
        Ok(show::network(&found, &endpoints))
    }

    /// Removes a network that no running container is on.
    pub fn remove(&self, reference: &str) -> Result<Network> {
        let networks = self.open_clean()?;
        let found = networks.find(reference)?;
        networks.remove(&found.id)?;
        self.note("destroy", &found, None);
        Ok(found)
    }

    /// Removes all networks that `takes` takes and no container, running or not, asks for; their names.
    pub fn prune(&self, takes: &dyn Fn(&Network) -> bool) -> Result<Vec<String>> {
        let networks = self.open_clean()?;
        let wanted = self.wanted()?;
        let mut removed = Vec::new();
        for found in networks.list()? {
            let used = wanted.iter().any(|name| names(name, &found));
            if found.is_predefined() || used || !takes(&found) {
                continue;
            }
            match networks.remove(&found.id) {
                Ok(()) => {
                    self.note("destroy", &found, None);
                    removed.push(found.name);
                }
                // Somebody joined it since.
                Err(error) if error.kind() == network::ErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removed)
    }

    /// The networks that containers ask for.
    fn wanted(&self) -> Result<Vec<String>> {
        let containers = self.engine.containers().runtime()?.list()?;
        Ok(containers
            .into_iter()
            .flat_map(|container| container.record.options.endpoints)
            .map(|endpoint| endpoint.network)
            .collect())
    }

    /// Connects a container to a further network: at once where it runs, else at its next start.
    pub fn connect(&self, container: &str, request: EndpointRequest) -> Result<()> {
        let networks = self.open_clean()?;
        let found = networks.find(&request.network)?;
        let request = EndpointRequest { network: found.name.clone(), ..request };
        check_request(&found, &request)?;
        let container = self.engine.containers().get(container)?;
        let record = &container.record;
        let is_known =
            record.options.endpoints.iter().any(|endpoint| names(&endpoint.network, &found));
        if is_known {
            return Err(network::Error::AlreadyConnected {
                container: record.name.clone(),
                network: found.name,
            }
            .into());
        }
        check_mode(record)?;
        if let Some((pid, owner)) = live(&container) {
            let joined = container_of(record, owner);
            let netns = netns_of(pid)?;
            // The ports that a live connection takes are held by the kernel's rules from here on.
            drop(join_one(&networks, &joined, &request, &netns)?);
        }
        self.change(&container, |options| {
            options.endpoints.push(request.clone());
            options.network = NetworkMode::Named(options.endpoints[0].network.clone());
        })?;
        self.rewrite_files(&networks, &container)?;
        self.note("connect", &found, Some(record));
        Ok(())
    }

    /// Disconnects a container from a network, also from one that is gone where `force` is said.
    pub fn disconnect(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let networks = self.open_clean()?;
        let found = networks.find(network)?;
        let container = match self.engine.containers().get(container) {
            Ok(container) => container,
            Err(error) if force => {
                let endpoints = networks.endpoints(&found.id)?;
                let named =
                    |e: &&Endpoint| e.container_name == container || e.container == container;
                let Some(endpoint) = endpoints.iter().find(named) else { return Err(error) };
                return Ok(networks.detach(&endpoint.container, &found.id, None)?);
            }
            Err(error) => return Err(error),
        };
        let record = &container.record;
        let asked =
            record.options.endpoints.iter().any(|endpoint| names(&endpoint.network, &found));
        if !asked {
            return Err(network::Error::NotConnected {
                container: record.id.to_string(),
                network: found.name,
            }
            .into());
        }
        let running = live(&container);
        if let Some((pid, _)) = running {
            networks.detach(record.id.as_str(), &found.id, Some(&netns_of(pid)?))?;
        }
        self.change(&container, |options| {
            options.endpoints.retain(|endpoint| !names(&endpoint.network, &found));
            options.network = match options.endpoints.first() {
                Some(first) => NetworkMode::Named(first.network.clone()),
                // It still has a network of its own, with nothing in it: `connect` fills it again.
                None => NetworkMode::Named("none".to_owned()),
            };
        })?;
        self.rewrite_files(&networks, &container)?;
        self.note("disconnect", &found, Some(record));
        Ok(())
    }

    /// A running container reads its new addresses and servers in the files that it has mounted.
    fn rewrite_files(&self, networks: &network::Networks, container: &Container) -> Result<()> {
        if live(container).is_none() {
            return Ok(());
        }
        let (hosts, resolv) = files_of(networks, &container.record)?;
        let runtime = self.engine.containers().runtime()?;
        Ok(runtime.rewrite_network_files(container.id(), &hosts, &resolv.text)?)
    }

    fn change(&self, container: &Container, change: impl FnOnce(&mut RunOptions)) -> Result<()> {
        let runtime = self.engine.containers().runtime()?;
        Ok(runtime.change_networks(container.id(), change)?)
    }

    /// What the running containers have, by the container's id.
    pub fn connections(&self) -> Result<BTreeMap<String, Connections>> {
        let networks = self.open()?;
        let mut all: BTreeMap<String, Connections> = BTreeMap::new();
        for found in networks.list()? {
            for endpoint in networks.endpoints(&found.id)? {
                let entry = all.entry(endpoint.container.clone()).or_default();
                entry.push((found.name.clone(), endpoint));
            }
        }
        for connections in all.values_mut() {
            connections.sort_by_key(|(_, endpoint)| !endpoint.default_route);
        }
        Ok(all)
    }

    /// Makes the networks true after a reboot or a crash.
    pub fn reconcile(&self) -> Result<()> {
        self.open_clean().map(drop)
    }

    /// What `inspect` shows of a container's networks.
    pub(crate) fn settings(&self, container: &Container) -> Result<Value> {
        let networks = self.open()?;
        let joined = networks.endpoints_of(container.record.id.as_str())?;
        let mut connections: Connections =
            joined.into_iter().map(|(found, endpoint)| (found.name, endpoint)).collect();
        let known = networks.list()?;
        connections.sort_by_key(|(_, endpoint)| !endpoint.default_route);
        Ok(show::settings(container, &connections, &known))
    }

    fn note(&self, action: &str, found: &Network, container: Option<&Record>) {
        let mut attributes = vec![("name", found.name.as_str()), ("type", found.driver.as_str())];
        if let Some(record) = container {
            attributes.push(("container", record.id.as_str()));
        }
        self.engine.journal().note(EventKind::Network, action, found.id.as_str(), &attributes);
    }
}

/// Whether a text of a container's record names a network.
fn names(text: &str, found: &Network) -> bool {
    text == found.name
        || text == found.id.as_str()
        || (text.len() >= 12 && found.id.as_str().starts_with(text))
}

/// The first process of a container that runs, and the monitor that proves that it does.
fn live(container: &Container) -> Option<(i32, ProcessRef)> {
    if !matches!(container.state.status, Status::Running | Status::Paused) {
        return None;
    }
    let (pid, start) = container.state.monitor?;
    Some((container.state.pid?, ProcessRef::recorded(pid, start)))
}

fn netns_of(pid: i32) -> Result<Netns> {
    Ok(Netns::of_pid(u32::try_from(pid).unwrap_or_default())?)
}

fn check_mode(record: &Record) -> Result<()> {
    let reason = match &record.options.network {
        NetworkMode::Named(_) => return Ok(()),
        NetworkMode::Host => {
            "container cannot be connected to multiple networks with one of the networks in private (host) mode"
        }
        NetworkMode::None => {
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        }
        NetworkMode::Container(_) => {
            "container sharing network namespace with another container or host cannot be connected to any other network"
        }
        NetworkMode::Namespace(_) => {
            "a container in a network namespace of the user's cannot be connected to a network"
        }
    };
    Err(Error::Invalid(reason.to_owned()))
}

/// The default bridge gives no names and no chosen addresses; host and none cannot be joined later.
fn check_request(found: &Network, request: &EndpointRequest) -> Result<()> {
    if matches!(found.driver.as_str(), "host" | "null") {
        return Err(Error::Invalid(
            "container cannot be connected to host network or none: it needs a network of its own"
                .to_owned(),
        ));
    }
    if !found.has_names() && !request.aliases.is_empty() {
        return Err(Error::Invalid(
            "network-scoped alias is supported only for containers in user defined networks"
                .to_owned(),
        ));
    }
    let wants_ip = request.ipv4.is_some() || request.ipv6.is_some();
    if !found.has_names() && wants_ip {
        return Err(Error::Invalid(
            "user specified IP address is supported on user defined networks only".to_owned(),
        ));
    }
    Ok(())
}
