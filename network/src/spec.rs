//! What a user asks for when a network is created, and Docker's way to sort subnets, gateways and ranges.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Subnet;
use crate::error::{Error, Result};
use crate::limits;

/// What a network shall be.
#[derive(Clone, Debug)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Its driver: `bridge`, `macvlan`, `ipvlan`; `host` and `null` exist once.
    pub driver: String,
    /// The driver's options (`-o`).
    pub options: BTreeMap<String, String>,
    /// The address pools; without one, the default pools give one.
    pub pools: Vec<PoolSpec>,
    /// The address manager; only `default` is there.
    pub ipam_driver: String,
    /// Options of the address manager, kept and shown.
    pub ipam_options: BTreeMap<String, String>,
    /// Whether nothing leaves it.
    pub internal: bool,
    /// Kept and shown; it has a meaning for networks of a swarm only.
    pub attachable: bool,
    /// Whether containers get an IPv6 address as well.
    pub enable_ipv6: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When, in RFC 3339.
    pub created: String,
}

impl NetworkSpec {
    /// A bridge network with addresses from the default pools.
    pub fn new(name: impl Into<String>, created: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            driver: "bridge".to_owned(),
            options: BTreeMap::new(),
            pools: Vec::new(),
            ipam_driver: "default".to_owned(),
            ipam_options: BTreeMap::new(),
            internal: false,
            attachable: false,
            enable_ipv6: false,
            labels: BTreeMap::new(),
            created: created.into(),
        }
    }
}

/// One address pool as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// The subnet.
    pub subnet: Option<Subnet>,
    /// The part of it that containers get addresses from.
    pub range: Option<Subnet>,
    /// The gateway's address.
    pub gateway: Option<IpAddr>,
    /// Addresses that are somebody else's, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl PoolSpec {
    /// A pool of a subnet.
    pub fn of(subnet: Subnet) -> Self {
        Self { subnet: Some(subnet), ..Self::default() }
    }

    /// Sorts the repeated flags `--subnet`, `--gateway`, `--ip-range` and `--aux-address NAME=IP` into pools.
    pub fn from_flags<S: AsRef<str>>(
        subnets: &[S],
        gateways: &[S],
        ranges: &[S],
        auxiliary: &[S],
    ) -> Result<Vec<Self>> {
        let subnets =
            subnets.iter().map(|text| text.as_ref().parse()).collect::<Result<Vec<_>>>()?;
        if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
            let text = "every ip-range or gateway must have a corresponding subnet";
            return Err(Error::InvalidPool(text.to_owned()));
        }
        let mut pools: Vec<Self> = Vec::new();
        for subnet in subnets {
            if pools
                .iter()
                .filter_map(|pool| pool.subnet)
                .any(|other: Subnet| other.overlaps(&subnet))
            {
                let text = "multiple overlapping subnet configuration is not supported";
                return Err(Error::InvalidPool(text.to_owned()));
            }
            pools.push(Self::of(subnet));
        }
        for range in ranges {
            set_range(&mut pools, range.as_ref().parse()?)?;
        }
        for gateway in gateways {
            set_gateway(&mut pools, address("gateway", gateway.as_ref())?)?;
        }
        for text in auxiliary {
            set_auxiliary(&mut pools, text.as_ref())?;
        }
        Ok(pools)
    }
}

fn set_range(pools: &mut [PoolSpec], range: Subnet) -> Result<()> {
    let pool = pools
        .iter_mut()
        .find(|pool| pool.subnet.is_some_and(|subnet| subnet.contains_subnet(&range)))
        .ok_or_else(|| Error::InvalidPool(format!("no matching subnet for range {range}")))?;
    if let Some(other) = pool.range.replace(range) {
        let subnet = pool.subnet.map(|subnet| subnet.to_string()).unwrap_or_default();
        return Err(Error::InvalidPool(format!(
            "cannot configure multiple ranges ({range}, {other}) on the same subnet ({subnet})"
        )));
    }
    Ok(())
}

fn set_gateway(pools: &mut [PoolSpec], gateway: IpAddr) -> Result<()> {
    let pool = of_address(pools, gateway)
        .ok_or_else(|| Error::InvalidPool(format!("no matching subnet for gateway {gateway}")))?;
    if let Some(other) = pool.gateway.replace(gateway) {
        let subnet = pool.subnet.map(|subnet| subnet.to_string()).unwrap_or_default();
        return Err(Error::InvalidPool(format!(
            "cannot configure multiple gateways ({gateway}, {other}) on the same subnet ({subnet})"
        )));
    }
    Ok(())
}

fn set_auxiliary(pools: &mut [PoolSpec], text: &str) -> Result<()> {
    let (name, ip) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Error::InvalidPool(format!("aux-address {text:?} is not NAME=ADDRESS")))?;
    let ip = address("aux-address", ip)?;
    let pool = of_address(pools, ip)
        .ok_or_else(|| Error::InvalidPool(format!("no matching subnet for aux-address {ip}")))?;
    pool.auxiliary.insert(name.to_owned(), ip);
    Ok(())
}

fn of_address(pools: &mut [PoolSpec], ip: IpAddr) -> Option<&mut PoolSpec> {
    pools.iter_mut().find(|pool| pool.subnet.is_some_and(|subnet| subnet.contains(ip)))
}

fn address(what: &str, text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| Error::InvalidPool(format!("invalid {what} address {text:?}")))
}

/// A network's name: letters, digits, `_`, `.` and `-`, beginning with a letter or a digit.
pub(crate) fn check_name(text: &str) -> Result<()> {
    let invalid = |reason| Err(Error::InvalidName { text: text.to_owned(), reason });
    if text.trim().is_empty() {
        return invalid("it is empty");
    }
    if text.len() > limits::NAME_BYTES_MAX {
        return invalid("it is longer than 63 bytes");
    }
    let first = text.as_bytes()[0];
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if !first.is_ascii_alphanumeric() || !text.bytes().all(inner) {
        return invalid("only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(subnets: &[&str], gateways: &[&str], ranges: &[&str], aux: &[&str]) -> String {
        match PoolSpec::from_flags(subnets, gateways, ranges, aux) {
            Ok(pools) => serde_json::to_string(&pools).unwrap(),
            Err(error) => error.to_string(),
        }
    }

    /// Covers: N3-049
    #[test]
    fn gateways_ranges_and_auxiliary_addresses_find_their_subnet() {
        assert_eq!(
            flags(
                &["10.0.0.0/24", "fd00:1::/64"],
                &["fd00:1::1", "10.0.0.1"],
                &["10.0.0.128/25"],
                &["router=10.0.0.5"],
            ),
            r#"[{"subnet":"10.0.0.0/24","range":"10.0.0.128/25","gateway":"10.0.0.1","auxiliary":{"router":"10.0.0.5"}},{"subnet":"fd00:1::/64","range":null,"gateway":"fd00:1::1","auxiliary":{}}]"#,
        );
    }

    #[test]
    fn flags_that_do_not_fit_are_refused_in_dockers_words() {
        for (subnets, gateways, ranges, aux, message) in [
            (
                &[][..],
                &["10.0.0.1"][..],
                &[][..],
                &[][..],
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                &["10.0.0.0/24", "10.0.0.0/16"],
                &[],
                &[],
                &[],
                "multiple overlapping subnet configuration is not supported",
            ),
            (&["10.0.0.0/24"], &["10.1.0.1"], &[], &[], "no matching subnet for gateway 10.1.0.1"),
            (
                &["10.0.0.0/24"],
                &[],
                &["10.1.0.0/25"],
                &[],
                "no matching subnet for range 10.1.0.0/25",
            ),
            (
                &["10.0.0.0/24"],
                &[],
                &["10.0.0.0/16"],
                &[],
                "no matching subnet for range 10.0.0.0/16",
            ),
            (
                &["10.0.0.0/24"],
                &[],
                &[],
                &["a=10.1.0.1"],
                "no matching subnet for aux-address 10.1.0.1",
            ),
            (
                &["10.0.0.0/24"],
                &[],
                &[],
                &["10.0.0.1"],
                "aux-address \"10.0.0.1\" is not NAME=ADDRESS",
            ),
            (
                &["10.0.0.0/24", "10.0.1.0/24"],
                &["10.0.0.1", "10.0.0.2"],
                &[],
                &[],
                "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) on the same subnet (10.0.0.0/24)",
            ),
            (&["10.0.0.0"], &[], &[], &[], "invalid CIDR address: 10.0.0.0"),
            (&["10.0.0.0/24"], &["x"], &[], &[], "invalid gateway address \"x\""),
        ] {
            assert_eq!(flags(subnets, gateways, ranges, aux), message);
        }
    }

    #[test]
    fn names_of_networks_are_dockers() {
        for name in ["a", "localnet", "My_net.1-x", "1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", " ", "-a", ".a", "a/b", "a b", "ä", &"a".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
