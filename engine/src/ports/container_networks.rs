//! The runtime's port to networks, implemented by the package `network`.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use network::{
    Attachment, Container, HostEntry, NameServers, Netns, Networks, Owner, Places, PortHold, dns,
    files,
};
use runtime::{ContainerId, EndpointRequest, ExposedPort, NetworkService, ProcessRef, Record};

use crate::error::{Error, Result};
use crate::networks::flags::to_publish;

/// The networks of one root, as the runtime asks for them.
#[derive(Debug)]
pub(crate) struct ContainerNetworks {
    networks: Networks,
}

impl ContainerNetworks {
    /// Opens the networks of a root.
    pub(crate) fn open(root: &Path, run_root: &Path) -> Result<Self> {
        Ok(Self { networks: open(root, run_root)? })
    }

    /// What a monitor has, which knows the folders of the runtime only.
    pub(crate) fn of_monitor(state: &Path, run: &Path) -> Option<Box<dyn runtime::Networks>> {
        Some(Box::new(Self::lazy(state.parent()?, run)))
    }

    /// Networks of a root that are opened when they are first asked for.
    pub(crate) fn lazy(root: &Path, run_root: &Path) -> Lazy {
        Lazy { root: root.to_owned(), run_root: run_root.to_owned() }
    }
}

/// Opens the networks of a root; the predefined ones are made where they are not there.
pub(crate) fn open(root: &Path, run_root: &Path) -> Result<Networks> {
    let places = Places { root: root.to_owned(), run_root: run_root.to_owned() };
    Ok(Networks::open(places, &crate::clock::now().to_string())?)
}

/// Networks that are opened when they are first asked for: most containers of a host's own network never do.
#[derive(Debug)]
pub(crate) struct Lazy {
    root: PathBuf,
    run_root: PathBuf,
}

impl runtime::Networks for Lazy {
    fn attach(&self, record: &Record) -> Result<runtime::Attachment, String> {
        let networks = ContainerNetworks::open(&self.root, &self.run_root);
        networks.map_err(|error| error.to_string())?.attach(record)
    }

    fn release(&self, id: &ContainerId) -> Result<(), String> {
        let networks = ContainerNetworks::open(&self.root, &self.run_root);
        networks.map_err(|error| error.to_string())?.release(id)
    }
}

impl runtime::Networks for ContainerNetworks {
    fn attach(&self, record: &Record) -> Result<runtime::Attachment, String> {
        self.join(record).map_err(|error| {
            // Docker's words around the reason.
            let _ = self.networks.release(record.id.as_str());
            error.to_string()
        })
    }

    fn release(&self, id: &ContainerId) -> Result<(), String> {
        self.networks.release(id.as_str()).map_err(|error| error.to_string())
    }
}

impl ContainerNetworks {
    fn join(&self, record: &Record) -> Result<runtime::Attachment> {
        // What a killed predecessor left must not stand in its own way.
        self.networks.release(record.id.as_str())?;
        let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        let own = ProcessRef::of(pid).map_err(|e| Error::io("look at", "/proc/self", e))?;
        let container = container_of(record, own);
        let netns = Netns::create()?;
        let mut holds = Vec::new();
        for request in &record.options.endpoints {
            holds.push(join_one(&self.networks, &container, request, &netns)?);
        }
        let (hosts, resolv) = files_of(&self.networks, record)?;
        // Also on the default bridge, whose containers do not ask it: they may join another network while they run.
        let server = dns::Server::bind(
            &self.networks,
            record.id.as_str(),
            &netns,
            self.upstreams(record)?,
            resolv.search_first,
        )?;
        Ok(runtime::Attachment {
            namespace: netns.path(),
            hosts,
            resolv_conf: resolv.text,
            service: Some(Box::new(Kept { server, _netns: netns, _holds: holds })),
        })
    }

    fn upstreams(&self, record: &Record) -> Result<Vec<network::Upstream>> {
        Ok(resolv_conf(record, network::Resolver::Embedded)?.upstreams)
    }
}

/// The container's `/etc/hosts` and `/etc/resolv.conf` on the networks that it is on at this moment.
pub(crate) fn files_of(
    networks: &Networks,
    record: &Record,
) -> Result<(String, network::ResolvConf)> {
    let id = record.id.as_str();
    let domain = record.options.domainname.as_deref().unwrap_or_default();
    let own = networks.host_lines(id, record.hostname(), domain)?;
    let hosts = files::hosts(&added_hosts(networks, record)?, &own);
    Ok((hosts, resolv_conf(record, networks.resolver_of(id)?)?))
}

/// A container as the networks know it.
pub(crate) fn container_of(record: &Record, owner: ProcessRef) -> Container {
    let exposed: Vec<ExposedPort> =
        record.image_config.exposed_ports.keys().filter_map(|text| text.parse().ok()).collect();
    Container {
        id: record.id.to_string(),
        name: record.name.clone(),
        hostname: record.options.hostname.clone(),
        owner: Owner {
            pid: u32::try_from(owner.pid()).unwrap_or_default(),
            start_time: owner.start(),
        },
        publish: to_publish(&record.options, &exposed),
    }
}

/// Whether the owner of an endpoint still lives.
pub(crate) fn lives(owner: &Owner) -> bool {
    i32::try_from(owner.pid).is_ok_and(|pid| ProcessRef::recorded(pid, owner.start_time).is_alive())
}

/// Joins one network.
pub(crate) fn join_one(
    networks: &Networks,
    container: &Container,
    request: &EndpointRequest,
    netns: &Netns,
) -> Result<PortHold> {
    let found = networks.find(&request.network)?;
    let attachment = Attachment {
        ipv4: request.ipv4.map(Into::into),
        ipv6: request.ipv6.map(Into::into),
        mac: request.mac.as_deref().map(str::parse).transpose()?,
        aliases: request.aliases.clone(),
        gateway_priority: request.gateway_priority,
        ..Attachment::to(&found.id)
    };
    match networks.attach(container, &attachment, netns) {
        Ok(attached) => Ok(attached.hold),
        Err(source @ (network::Error::PortTaken { .. } | network::Error::NoPorts { .. })) => {
            Err(Error::Ports { container: container.name.clone(), source })
        }
        Err(source) => Err(source.into()),
    }
}

/// The container's `/etc/resolv.conf` and whom its name server asks.
fn resolv_conf(record: &Record, resolver: network::Resolver) -> Result<network::ResolvConf> {
    let options = &record.options;
    let user = NameServers {
        servers: options
            .dns
            .iter()
            .map(|text| files::parse_server(text))
            .collect::<network::Result<_>>()?,
        search: options.dns_search.clone(),
        options: options.dns_options.clone(),
    };
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Ok(files::resolv_conf(&host, &user, resolver))
}

fn added_hosts(networks: &Networks, record: &Record) -> Result<Vec<HostEntry>> {
    let gateway = networks.host_gateway()?;
    let entries = record.options.extra_hosts.iter();
    Ok(entries.map(|text| HostEntry::parse(text, gateway)).collect::<network::Result<_>>()?)
}

/// What a monitor keeps while its container runs: the namespace, the ports of the host, and the name server.
struct Kept {
    server: dns::Server,
    _netns: Netns,
    _holds: Vec<PortHold>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl NetworkService for Kept {
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.server.fds()
    }

    fn patience(&self) -> Option<Duration> {
        self.server.patience()
    }

    fn work(&mut self) {
        if let Err(error) = self.server.work() {
            tracing::warn!("answer a name query: {error}");
        }
    }
}
