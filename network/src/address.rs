//! Addresses: subnets, interface addresses and hardware addresses, each parsed at one gate.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which of the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bits of an address.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// A range of addresses with a common prefix: `172.17.0.0/16`. The host's bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The subnet of length `prefix` that `ip` is in; `None` where the prefix is too long.
    pub fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        let family = Family::of(ip);
        if prefix > family.bits() {
            return None;
        }
        let network = from_number(family, to_number(ip) & mask(family, prefix));
        Some(Self { network, prefix })
    }

    /// The lowest address.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The length of the prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The protocol.
    pub fn family(&self) -> Family {
        Family::of(self.network)
    }

    /// The highest address (in IPv4, that of all hosts).
    pub fn last(&self) -> IpAddr {
        let family = self.family();
        from_number(family, to_number(self.network) | !mask(family, self.prefix) & all(family))
    }

    /// Whether the address is in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        Self::new(ip, self.prefix).is_some_and(|subnet| subnet == *self)
    }

    /// Whether all of `other` is in the range.
    pub fn contains_subnet(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.network)
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains_subnet(other) || other.contains_subnet(self)
    }

    /// The address at a distance from the lowest; `None` past the end.
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let number = to_number(self.network).checked_add(offset)?;
        (number <= to_number(self.last())).then(|| from_number(self.family(), number))
    }

    /// How far an address of the range is from the lowest.
    pub fn offset(&self, ip: IpAddr) -> u128 {
        to_number(ip).wrapping_sub(to_number(self.network))
    }
}

fn all(family: Family) -> u128 {
    u128::MAX >> (128 - u32::from(family.bits()))
}

fn mask(family: Family, prefix: u8) -> u128 {
    let host_bits = u32::from(family.bits() - prefix);
    all(family).checked_shr(host_bits).map_or(0, |low| low << host_bits)
}

fn to_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn from_number(family: Family, number: u128) -> IpAddr {
    match family {
        // The caller keeps the number within the family's bits.
        Family::V4 => IpAddr::V4(Ipv4Addr::from((number & u128::from(u32::MAX)) as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    /// Host bits are cleared, as Docker does: `10.0.0.5/24` is `10.0.0.0/24`.
    fn from_str(text: &str) -> Result<Self> {
        parse_prefixed(text)
            .and_then(|(ip, prefix)| Self::new(ip, prefix))
            .ok_or_else(|| Error::InvalidSubnet { text: text.to_owned() })
    }
}

fn parse_prefixed(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((ip.parse().ok()?, prefix.parse().ok()?))
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// The address of an interface, with the length of its subnet's prefix: `172.17.0.2/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceAddress {
    ip: IpAddr,
    prefix: u8,
}

impl InterfaceAddress {
    /// An address in a subnet.
    pub fn new(ip: IpAddr, subnet: &Subnet) -> Self {
        Self { ip, prefix: subnet.prefix }
    }

    /// The address alone.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The length of the prefix.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl TryFrom<String> for InterfaceAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match parse_prefixed(&text) {
            Some((ip, prefix)) if prefix <= Family::of(ip).bits() => Ok(Self { ip, prefix }),
            _ => Err(Error::InvalidSubnet { text }),
        }
    }
}

impl From<InterfaceAddress> for String {
    fn from(address: InterfaceAddress) -> Self {
        address.to_string()
    }
}

/// A hardware address of Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address that Docker derives from an IPv4 address: `02:42` and its four bytes.
    pub fn of_ipv4(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// A locally administered address of Docker's form from random bytes.
    pub fn from_random(bytes: [u8; 4]) -> Self {
        let [a, b, c, d] = bytes;
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The six bytes.
    pub fn octets(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    /// Six bytes in hexadecimal with `:` or `-` between; an address of a group is refused.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::InvalidMac { text: text.to_owned() };
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(invalid());
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subnet_clears_the_bits_of_the_host() {
        for (text, shown, last) in [
            ("10.0.0.5/24", "10.0.0.0/24", "10.0.0.255"),
            ("0.0.0.0/0", "0.0.0.0/0", "255.255.255.255"),
            ("10.1.2.3/32", "10.1.2.3/32", "10.1.2.3"),
            ("fd00::5/64", "fd00::/64", "fd00::ffff:ffff:ffff:ffff"),
            ("::/0", "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let subnet: Subnet = text.parse().unwrap();
            assert_eq!(subnet.to_string(), shown);
            assert_eq!(subnet.last().to_string(), last);
        }
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "x/8", "::/129", "10.0.0/8"]
        {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    /// Covers: B11-16
    #[test]
    fn the_hardware_address_follows_from_the_ip_address() {
        assert_eq!(Mac::of_ipv4(Ipv4Addr::new(172, 20, 0, 2)).to_string(), "02:42:ac:14:00:02");
    }

    #[test]
    fn hardware_addresses_of_groups_and_broken_ones_are_refused() {
        for text in [
            "",
            "02:42:ac:14:00",
            "02:42:ac:14:00:02:03",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "2:42:ac:14:0:2",
            "02:42:ac:14:00:0g",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
        assert_eq!("92-D0-C6-0A-29-33".parse::<Mac>().unwrap().to_string(), "92:d0:c6:0a:29:33");
    }

    proptest! {
        #[test]
        fn overlap_is_symmetric_and_means_a_common_address(a: u32, b: u32, pa in 0u8..=32, pb in 0u8..=32) {
            let a = Subnet::new(IpAddr::V4(a.into()), pa).unwrap();
            let b = Subnet::new(IpAddr::V4(b.into()), pb).unwrap();
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
            let common = a.network().max(b.network()) <= a.last().min(b.last());
            prop_assert_eq!(a.overlaps(&b), common);
        }

        #[test]
        fn what_a_subnet_prints_parses_back(ip: u128, prefix in 0u8..=128) {
            let subnet = Subnet::new(IpAddr::V6(ip.into()), prefix).unwrap();
            prop_assert_eq!(subnet.to_string().parse::<Subnet>().unwrap(), subnet);
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,40}") {
            let _ = text.parse::<Subnet>();
            let _ = text.parse::<Mac>();
        }
    }
}
