//! Address management: which subnet a network gets, and which address a container gets. Pure functions.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{Family, Subnet};
use crate::error::{Error, Result};
use crate::record::{Network, Pool};
use crate::spec::{NetworkSpec, PoolSpec};

/// Docker's default pools: each block is cut into subnets of the given length.
const DEFAULT_POOLS: [(Ipv4Addr, u8, u8); 6] = [
    (Ipv4Addr::new(172, 17, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 18, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 19, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 20, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 24, 0, 0), 13, 16),
    (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
];

/// What a subnet must not overlap.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// The subnet.
    pub(crate) subnet: Subnet,
    /// Whose it is, for the message.
    pub(crate) holder: String,
}

/// Whether a new network may share its subnet with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// Its packets are routed by this host: a subnet is one network's.
    Refuse,
    /// It is on a wire of its own, as macvlan is.
    Accept,
}

/// The pools of a new network: those asked for, checked, and defaults where none were.
/// `seed` decides the prefix of an IPv6 network that asked for none.
pub(crate) fn pools(
    spec: &NetworkSpec,
    networks: &[Taken],
    routes: &[Subnet],
    overlap: Overlap,
    seed: [u8; 5],
) -> Result<Vec<Pool>> {
    let mut pools = Vec::new();
    for family in [Family::V4, Family::V6] {
        let asked =
            spec.pools.iter().filter(|pool| pool.subnet.is_some_and(|s| s.family() == family));
        let before = pools.len();
        for pool in asked {
            pools.push(asked_pool(pool, networks, overlap)?);
        }
        let wanted = family == Family::V4 || spec.enable_ipv6;
        if pools.len() == before && wanted {
            let subnet = default_subnet(family, networks, routes, seed)?;
            pools.push(with_gateway(Pool {
                subnet,
                range: None,
                gateway: None,
                gateway_asked: false,
                auxiliary: Default::default(),
                subnet_asked: false,
            }));
        }
    }
    Ok(pools)
}

fn asked_pool(asked: &PoolSpec, networks: &[Taken], overlap: Overlap) -> Result<Pool> {
    let Some(subnet) = asked.subnet else {
        return Err(Error::InvalidPool("a pool needs a subnet".to_owned()));
    };
    let other = networks.iter().find(|taken| taken.subnet.overlaps(&subnet));
    if let (Overlap::Refuse, Some(other)) = (overlap, other) {
        return Err(Error::PoolOverlap {
            subnet: subnet.to_string(),
            other: format!("network {}", other.holder),
        });
    }
    let outside = |what: &str, ip: IpAddr| {
        Err(Error::InvalidPool(format!(
            "invalid {what} {ip}: it is not a host address of {subnet}"
        )))
    };
    if let Some(range) = asked.range.filter(|range| !subnet.contains_subnet(range)) {
        return Err(Error::InvalidPool(format!("no matching subnet for range {range}")));
    }
    if let Some(gateway) = asked.gateway.filter(|ip| !is_host(&subnet, *ip)) {
        return outside("gateway", gateway);
    }
    for ip in asked.auxiliary.values() {
        if !is_host(&subnet, *ip) {
            return outside("aux-address", *ip);
        }
        if Some(*ip) == asked.gateway {
            let text = format!("aux-address {ip} is the gateway of {subnet}");
            return Err(Error::InvalidPool(text));
        }
    }
    let pool = Pool {
        subnet,
        range: asked.range,
        gateway: asked.gateway,
        gateway_asked: asked.gateway.is_some(),
        auxiliary: asked.auxiliary.clone(),
        subnet_asked: true,
    };
    if pool.gateway.is_none() && first_free(&pool, &BTreeSet::new(), subnet).is_none() {
        return Err(Error::InvalidPool(format!("subnet {subnet} has no room for a gateway")));
    }
    Ok(with_gateway(pool))
}

/// The first host address that is nobody's is the gateway's, unless one was asked for.
fn with_gateway(mut pool: Pool) -> Pool {
    if pool.gateway.is_none() {
        pool.gateway = first_free(&pool, &BTreeSet::new(), pool.subnet);
    }
    pool
}

/// The first of the default pools that overlaps neither a network nor a route of the host.
fn default_subnet(
    family: Family,
    networks: &[Taken],
    routes: &[Subnet],
    seed: [u8; 5],
) -> Result<Subnet> {
    let free = |subnet: &Subnet| {
        !networks.iter().any(|taken| taken.subnet.overlaps(subnet))
            && !routes.iter().any(|route| route.overlaps(subnet))
    };
    match family {
        Family::V4 => default_subnets().find(free).ok_or(Error::NoPools { family: "IPv4" }),
        Family::V6 => (0..=u16::MAX)
            .map(|n| unique_local(seed, n))
            .find(free)
            .ok_or(Error::NoPools { family: "IPv6" }),
    }
}

/// All default subnets in order.
fn default_subnets() -> impl Iterator<Item = Subnet> {
    DEFAULT_POOLS.iter().flat_map(|&(base, length, size)| {
        let step = 1u32 << (32 - u32::from(size));
        (0..1u32 << (size - length)).filter_map(move |n| {
            Subnet::new(IpAddr::V4(Ipv4Addr::from(u32::from(base) + n * step)), size)
        })
    })
}

/// A unique local prefix (RFC 4193): `fd`, forty random bits, a subnet number.
fn unique_local(seed: [u8; 5], number: u16) -> Subnet {
    let [a, b, c, d, e] = seed.map(u16::from);
    let ip = Ipv6Addr::new(0xfd00 | a, b << 8 | c, d << 8 | e, number, 0, 0, 0, 0);
    // A prefix of 64 bits fits any IPv6 address.
    Subnet::new(IpAddr::V6(ip), 64).unwrap_or_else(|| unique_local([0; 5], number))
}

/// Whether the address can be a host's: neither the network's own nor that of all hosts.
fn is_host(subnet: &Subnet, ip: IpAddr) -> bool {
    if !subnet.contains(ip) {
        return false;
    }
    match subnet.family() {
        Family::V4 if subnet.prefix() >= 31 => true,
        Family::V4 => ip != subnet.network() && ip != subnet.last(),
        Family::V6 if subnet.prefix() >= 127 => true,
        Family::V6 => ip != subnet.network(),
    }
}

/// The addresses of a pool that no container can have.
fn is_reserved(pool: &Pool, ip: IpAddr) -> bool {
    !is_host(&pool.subnet, ip)
        || pool.gateway == Some(ip)
        || pool.auxiliary.values().any(|other| *other == ip)
}

fn first_free(pool: &Pool, used: &BTreeSet<IpAddr>, within: Subnet) -> Option<IpAddr> {
    // Beyond what is used and reserved there must be a free one: the search ends there even in a /64.
    let tries = used.len() + pool.auxiliary.len() + 4;
    (0..tries as u128)
        .map_while(|offset| within.nth(offset))
        .find(|ip| !is_reserved(pool, *ip) && !used.contains(ip))
}

/// The lowest free address of one protocol on a network, or the one asked for. Gives the pool as well.
pub(crate) fn allocate<'a>(
    network: &'a Network,
    family: Family,
    used: &BTreeSet<IpAddr>,
    wanted: Option<IpAddr>,
) -> Result<(IpAddr, &'a Pool)> {
    if let Some(wanted) = wanted {
        return allocate_this(network, used, wanted);
    }
    network
        .pools_of(family)
        .find_map(|pool| {
            let within = pool.range.unwrap_or(pool.subnet);
            first_free(pool, used, within).map(|ip| (ip, pool))
        })
        .ok_or_else(|| Error::NoAddresses {
            family: match family {
                Family::V4 => "IPv4",
                Family::V6 => "IPv6",
            },
            network: network.name.clone(),
            id: network.id.to_string(),
        })
}

fn allocate_this<'a>(
    network: &'a Network,
    used: &BTreeSet<IpAddr>,
    wanted: IpAddr,
) -> Result<(IpAddr, &'a Pool)> {
    let pool = network
        .pools
        .iter()
        .find(|pool| is_host(&pool.subnet, wanted))
        .ok_or(Error::AddressOutside { address: wanted })?;
    if !pool.subnet_asked {
        return Err(Error::InvalidPool(
            "user specified IP address is supported only when connecting to networks with user \
             configured subnets"
                .to_owned(),
        ));
    }
    if used.contains(&wanted) || is_reserved(pool, wanted) {
        return Err(Error::AddressInUse { address: wanted, network: network.name.clone() });
    }
    Ok((wanted, pool))
}

#[cfg(test)]
mod tests;
