//! Names and addresses of the networks that a container is on, read again whenever an endpoint changes.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::error::Result;
use crate::id;
use crate::networks::Networks;
use crate::record::{Endpoint, Network};
use crate::state::Generation;

/// What the table knows about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its addresses of the family asked for, in an order that changes from answer to answer; none when it has only others.
    Addresses(Vec<IpAddr>),
    /// No container has it.
    Nothing,
}

/// The names of one network.
#[derive(Debug, Default)]
struct Names {
    network: String,
    addresses: HashMap<Box<str>, Vec<IpAddr>>,
    names: HashMap<IpAddr, Box<str>>,
}

/// All that a container's server knows.
#[derive(Debug)]
pub(super) struct Table {
    networks: Networks,
    container: String,
    generation: Generation,
    seen: Option<u64>,
    known: Vec<Names>,
    leads_out: bool,
    turn: usize,
}

impl Table {
    pub(super) fn open(networks: &Networks, container: &str) -> Result<Self> {
        Ok(Self {
            networks: networks.clone(),
            container: container.to_owned(),
            generation: networks.generation()?,
            seen: None,
            known: Vec::new(),
            leads_out: false,
            turn: usize::from(id::random_u16()?),
        })
    }

    /// Reads the endpoints again if one has changed. What cannot be read leaves the table as it was.
    pub(super) fn refresh(&mut self) {
        let now = self.generation.read().ok();
        if now.is_some() && now == self.seen {
            return;
        }
        if let Ok((known, leads_out)) = self.load() {
            (self.known, self.leads_out, self.seen) = (known, leads_out, now);
        }
    }

    /// Whether the container may ask servers outside: not when all of its networks are internal.
    pub(super) fn leads_out(&self) -> bool {
        self.leads_out
    }

    /// The addresses of a name, which may end in the name of a network.
    pub(super) fn addresses(&mut self, name: &str, matches: impl Fn(&IpAddr) -> bool) -> Found {
        let qualified = name.rsplit_once('.');
        let found = self.known.iter().find_map(|names| {
            names.addresses.get(name).or_else(|| {
                let (host, network) = qualified?;
                network.eq_ignore_ascii_case(&names.network).then(|| names.addresses.get(host))?
            })
        });
        let Some(all) = found else { return Found::Nothing };
        let mut addresses: Vec<IpAddr> = all.iter().copied().filter(matches).collect();
        if addresses.len() > 1 {
            self.turn = self.turn.wrapping_add(1);
            let turn = self.turn % addresses.len();
            addresses.rotate_left(turn);
        }
        Found::Addresses(addresses)
    }

    /// The name of an address, with its network's name.
    pub(super) fn name(&self, address: IpAddr) -> Option<String> {
        self.known
            .iter()
            .find_map(|names| Some(format!("{}.{}", names.names.get(&address)?, names.network)))
    }

    fn load(&self) -> Result<(Vec<Names>, bool)> {
        let mut known = Vec::new();
        let mut leads_out = false;
        for (network, endpoint) in self.networks.endpoints_of(&self.container)? {
            leads_out |= endpoint.leads_out();
            if network.has_names() {
                known.push(names(&network, &self.networks.endpoints(&network.id)?));
            }
        }
        Ok((known, leads_out))
    }
}

fn names(network: &Network, endpoints: &[Endpoint]) -> Names {
    let mut names = Names { network: network.name.clone(), ..Names::default() };
    for endpoint in endpoints {
        for name in endpoint.names() {
            let all = names.addresses.entry(name.to_ascii_lowercase().into()).or_default();
            all.extend(endpoint.addresses());
        }
        for address in endpoint.addresses() {
            names.names.insert(address, endpoint.container_name.as_str().into());
        }
    }
    names
}
