//! The texts that name things inside a container: `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname`. Pure functions.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use crate::error::{Error, Result};
use crate::limits;

/// Docker's name for the host's address in `--add-host NAME:host-gateway`.
const HOST_GATEWAY: &str = "host-gateway";

/// The address of the embedded DNS server inside a container.
pub const EMBEDDED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// What a container gets when its host knows no name server that it could reach; Docker's choice.
const FALLBACK: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];

/// What a user says about name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameServers {
    /// `--dns`.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`; a single `.` means none.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

/// How a container resolves names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// It asks the embedded server: it is on a network with names.
    Embedded,
    /// It asks the host's servers itself: it is on the default bridge.
    Direct,
    /// It uses the host's file: it is on the host's network, or on none.
    Host,
}

/// A name server that the embedded one asks in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is a loopback address of the host (as systemd-resolved has), to be asked from the host's namespace.
    pub on_host: bool,
}

/// A `/etc/resolv.conf` and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The text.
    pub text: String,
    /// Whom the embedded server asks; empty unless it is used.
    pub upstreams: Vec<Upstream>,
    /// Whether a name without a dot is for the search list first (`ndots` above 0 was asked for), and not to be forwarded.
    pub search_first: bool,
}

/// The `/etc/resolv.conf` of a container, from the host's and the user's flags.
pub fn resolv_conf(host: &str, user: &NameServers, resolver: Resolver) -> ResolvConf {
    let host = Parsed::read(host);
    let chosen = |user: &[String], host: &[String]| -> Vec<String> {
        if user.is_empty() { host.to_vec() } else { user.to_vec() }
    };
    let search = chosen(&user.search, &host.search);
    let options = chosen(&user.options, &host.options);
    match resolver {
        Resolver::Host if *user == NameServers::default() => {
            ResolvConf { text: host.text.to_owned(), upstreams: Vec::new(), search_first: false }
        }
        Resolver::Host => {
            let servers = if user.servers.is_empty() { &host.servers } else { &user.servers };
            ResolvConf {
                text: build(servers, &search, &options),
                upstreams: Vec::new(),
                search_first: false,
            }
        }
        Resolver::Direct => {
            let servers = direct_servers(&host, user);
            ResolvConf {
                text: build(&servers, &search, &options),
                upstreams: Vec::new(),
                search_first: false,
            }
        }
        Resolver::Embedded => embedded(&host, user, &search, options),
    }
}

fn embedded(
    host: &Parsed<'_>,
    user: &NameServers,
    search: &[String],
    mut options: Vec<String>,
) -> ResolvConf {
    let asked = options.iter().find_map(|option| option.strip_prefix("ndots:"));
    let search_first = asked.and_then(|n| n.parse::<u8>().ok()).is_some_and(|n| n > 0);
    if asked.is_none() {
        options.push("ndots:0".to_owned());
    }
    ResolvConf {
        text: build(&[IpAddr::V4(EMBEDDED)], search, &options),
        upstreams: upstreams(host, user),
        search_first,
    }
}

fn upstreams(host: &Parsed<'_>, user: &NameServers) -> Vec<Upstream> {
    let from_host = user.servers.is_empty();
    let servers: &[IpAddr] = if from_host { &host.servers } else { &user.servers };
    let servers = if servers.is_empty() { &FALLBACK } else { servers };
    servers
        .iter()
        .take(limits::DNS_UPSTREAMS_MAX)
        .map(|&address| Upstream { address, on_host: from_host && address.is_loopback() })
        .collect()
}

/// The servers that a container can reach itself: not those on the host's loopback.
fn direct_servers(host: &Parsed<'_>, user: &NameServers) -> Vec<IpAddr> {
    if !user.servers.is_empty() {
        return user.servers.clone();
    }
    let reachable: Vec<IpAddr> =
        host.servers.iter().copied().filter(|server| !server.is_loopback()).collect();
    if reachable.is_empty() { FALLBACK.to_vec() } else { reachable }
}

/// Docker's order: search, name servers, options.
fn build(servers: &[IpAddr], search: &[String], options: &[String]) -> String {
    let mut text = String::new();
    let search = search.join(" ");
    if !search.trim().is_empty() && search.trim() != "." {
        let _ = writeln!(text, "search {search}");
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// A `resolv.conf` as resolv.conf(5) reads it.
struct Parsed<'a> {
    text: &'a str,
    servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
}

impl<'a> Parsed<'a> {
    fn read(text: &'a str) -> Self {
        let text = match text.char_indices().nth(limits::RESOLV_CONF_BYTES_MAX) {
            Some((end, _)) => &text[..end],
            None => text,
        };
        let mut parsed =
            Self { text, servers: Vec::new(), search: Vec::new(), options: Vec::new() };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => parsed.servers.extend(words.next().and_then(server)),
                // The last one counts.
                Some("search" | "domain") => parsed.search = words.map(str::to_owned).collect(),
                Some("options") => parsed.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        parsed
    }
}

/// An address; the scope of a link-local one means nothing inside a container.
fn server(text: &str) -> Option<IpAddr> {
    text.split('%').next().unwrap_or(text).parse().ok()
}

/// Reads a `--dns`.
pub fn parse_server(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| Error::InvalidResolver {
        what: "--dns",
        text: text.to_owned(),
        reason: "it is not an ip address",
    })
}

/// A line of `/etc/hosts` that a user asked for with `--add-host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// The address.
    pub address: IpAddr,
}

impl HostEntry {
    /// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; the address may be `host-gateway`, for which `gateway` is put (the
    /// gateway of the default bridge).
    pub fn parse(text: &str, gateway: Option<IpAddr>) -> Result<Self> {
        let invalid =
            |reason| Error::InvalidResolver { what: "add-host", text: text.to_owned(), reason };
        let (name, address) = text
            .split_once('=')
            .filter(|(name, _)| !name.contains(':'))
            .or_else(|| text.split_once(':'))
            .ok_or_else(|| invalid("bad format: write NAME:ADDRESS"))?;
        let plain = |b: u8| !b.is_ascii_whitespace() && !b.is_ascii_control() && b != b'#';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(invalid("a name has no spaces and is not empty"));
        }
        let address = if address == HOST_GATEWAY {
            gateway
                .ok_or_else(|| invalid("there is no default bridge to derive host-gateway from"))?
        } else {
            let inner = address.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            inner.unwrap_or(address).parse().map_err(|_| invalid("invalid IP address"))?
        };
        Ok(Self { name: name.to_owned(), address })
    }
}

const LOOPBACK_HOSTS: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// The `/etc/hosts` of a container with a stack of its own: loopback, what the user added, and its own addresses
/// (`own` are lines as [`host_line`] makes them).
pub fn hosts(added: &[HostEntry], own: &[String]) -> String {
    let mut text = LOOPBACK_HOSTS.to_owned();
    add_hosts(&mut text, added);
    for line in own {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The `/etc/hosts` of a container on the host's network: the host's, and what the user added.
pub fn hosts_of_host(host: &str, added: &[HostEntry]) -> String {
    let mut text = host.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    add_hosts(&mut text, added);
    text
}

fn add_hosts(text: &mut String, added: &[HostEntry]) {
    for entry in added {
        let _ = writeln!(text, "{}\t{}", entry.address, entry.name);
    }
}

/// A container's own line: the full name first, then the part before the first dot.
pub fn host_line(address: IpAddr, hostname: &str, domain: &str) -> String {
    let full = if domain.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domain}") };
    match full.split_once('.') {
        Some((short, _)) => format!("{address}\t{full} {short}"),
        None => format!("{address}\t{full}"),
    }
}

/// The `/etc/hostname` of a container.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

#[cfg(test)]
mod tests;
