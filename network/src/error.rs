//! What can go wrong with networks, by situation. Where Docker has words for a situation, they are used.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::publish::Protocol;

/// A result of the package.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the package: the act, its object and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address asked for is somebody else's.
    #[error("Address already in use: {address} in network {network}")]
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// The network's name.
        network: String,
    },
    /// The address asked for is outside of the network.
    #[error("Invalid address {address}: It does not belong to any of this network's subnets")]
    AddressOutside {
        /// The address.
        address: IpAddr,
    },
    /// Names or addresses of one's own on a network that has none.
    #[error("{what} is supported on user defined networks only")]
    BuiltinNetwork {
        /// What was asked for.
        what: &'static str,
    },
    /// A firewall table of our own name holds what we did not write, or the kernel refuses ours.
    #[error("set up the firewall ({act}): {source}")]
    Firewall {
        /// What was tried.
        act: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// A definition was written by another version.
    #[error("{}: format {found} is not known to this version (it knows {known}); use the version of wherry that wrote it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this version reads.
        known: u32,
    },
    /// A gateway or an auxiliary address is used twice or lies outside of its subnet.
    #[error("{0}")]
    InvalidPool(String),
    /// A text is no hardware address.
    #[error(
        "invalid MAC address {text:?}: write six bytes as 02:42:ac:11:00:02, not a multicast address"
    )]
    InvalidMac {
        /// What was given.
        text: String,
    },
    /// The hardware address asked for is somebody else's.
    #[error("MAC address {mac} is already in use in network {network}")]
    MacInUse {
        /// The address.
        mac: crate::address::Mac,
        /// The network's name.
        network: String,
    },
    /// A text is no id.
    #[error("invalid id {text:?}: an id has 64 hexadecimal digits")]
    InvalidId {
        /// What was given.
        text: String,
    },
    /// A text cannot be a network's name.
    #[error("invalid network name {text:?}: {reason}")]
    InvalidName {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A driver's option has a value that it cannot have.
    #[error("invalid option {option}={value}: {reason}")]
    InvalidOption {
        /// The option's key.
        option: String,
        /// The value given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A `-p` that cannot be read.
    #[error("{reason}: {text}")]
    InvalidPublish {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text is no subnet.
    #[error("invalid CIDR address: {text}")]
    InvalidSubnet {
        /// What was given.
        text: String,
    },
    /// A text of `--dns`, `--add-host` or a resolver option that cannot be read.
    #[error("{what} {text:?} is invalid: {reason}")]
    InvalidResolver {
        /// Which flag.
        what: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The operating system refuses a file.
    #[error("{act} {}: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("{act}: {source}")]
    Kernel {
        /// What was tried, with its object.
        act: String,
        /// The operating system's words.
        source: io::Error,
    },
    /// There is one of that name.
    #[error("network with name {name} already exists")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The network is used.
    #[error("error while removing network: network {name} id {id} has active endpoints")]
    NetworkInUse {
        /// The network's name.
        name: String,
        /// Its id.
        id: String,
    },
    /// All addresses of a network are given away.
    #[error("no available {family} addresses on this network's address pools: {network} ({id})")]
    NoAddresses {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The network's name.
        network: String,
        /// Its id.
        id: String,
    },
    /// All default pools are used.
    #[error(
        "could not find an available, non-overlapping {family} address pool among the defaults to assign to the network; give one with --subnet"
    )]
    NoPools {
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// No port is left in the ephemeral range.
    #[error("all ports of the range {first}-{last} are allocated on {host_ip}")]
    NoPorts {
        /// Lowest port of the range.
        first: u16,
        /// Highest.
        last: u16,
        /// On which address.
        host_ip: IpAddr,
    },
    /// No network like that.
    #[error("network {name} not found")]
    NoSuchNetwork {
        /// What was asked for.
        name: String,
    },
    /// More than one network has an id that begins like that.
    #[error("network {prefix} is ambiguous ({matches} matches found based on ID prefix)")]
    AmbiguousNetwork {
        /// What was asked for.
        prefix: String,
        /// How many there are.
        matches: usize,
    },
    /// No driver like that.
    #[error(
        "plugin {name:?} not found: the drivers here are bridge, host, ipvlan, macvlan and null"
    )]
    NoSuchDriver {
        /// What was asked for.
        name: String,
    },
    /// The container is not on that network.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container.
        container: String,
        /// The network's name.
        network: String,
    },
    /// The container is on that network already.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected {
        /// The container's name.
        container: String,
        /// The network's name.
        network: String,
    },
    /// A subnet that is used already.
    #[error("Pool overlaps with other one on this address space: {subnet} and {other}")]
    PoolOverlap {
        /// The subnet asked for.
        subnet: String,
        /// Which network or route has it.
        other: String,
    },
    /// A published port that is used already.
    #[error("Bind for {} failed: port is already allocated", Bind(*host_ip, *port))]
    PortTaken {
        /// On which address of the host.
        host_ip: IpAddr,
        /// The port.
        port: u16,
        /// The protocol.
        protocol: Protocol,
    },
    /// A network that is always there.
    #[error("{name} is a pre-defined network and cannot be removed")]
    Predefined {
        /// Its name.
        name: String,
    },
    /// A name that one of the networks that are always there has.
    #[error("operation is not permitted on predefined {name} network")]
    PredefinedName {
        /// The name.
        name: String,
    },
    /// A second network with a driver that has one only.
    #[error("only one instance of {driver:?} network is allowed")]
    OneInstance {
        /// The driver.
        driver: String,
    },
    /// A stored record does not parse.
    #[error("{} is damaged: {reason}; remove it and create the network again", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit is reached.
    #[error("more than {limit} {what}")]
    Limit {
        /// Of what there is too much.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
    /// What this kernel or this driver does not have.
    #[error("{what}: {reason}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why not, and the way out.
        reason: String,
    },
}

/// Docker's form of an address and a port.
struct Bind(IpAddr, u16);

impl std::fmt::Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.0, self.1).fmt(f)
    }
}

/// Errors as far as their handling differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It exists, or somebody uses it.
    Conflict,
    /// A record is not what it should be.
    Corrupt,
    /// The operating system or a rule forbids it.
    Denied,
    /// Nothing is left to give.
    Exhausted,
    /// The caller asked for something impossible.
    Invalid,
    /// It is not there.
    NotFound,
    /// Neither this kernel nor this driver has it.
    Unsupported,
    /// Anything else.
    Other,
}

impl Error {
    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AddressInUse { .. }
            | Self::AlreadyConnected { .. }
            | Self::MacInUse { .. }
            | Self::NameTaken { .. }
            | Self::NetworkInUse { .. }
            | Self::PoolOverlap { .. }
            | Self::PortTaken { .. } => ErrorKind::Conflict,
            Self::Format { .. } | Self::Record { .. } => ErrorKind::Corrupt,
            Self::OneInstance { .. } | Self::Predefined { .. } | Self::PredefinedName { .. } => {
                ErrorKind::Denied
            }
            Self::NoAddresses { .. } | Self::NoPools { .. } | Self::NoPorts { .. } => {
                ErrorKind::Exhausted
            }
            Self::AddressOutside { .. }
            | Self::AmbiguousNetwork { .. }
            | Self::BuiltinNetwork { .. }
            | Self::InvalidId { .. }
            | Self::InvalidMac { .. }
            | Self::InvalidName { .. }
            | Self::InvalidOption { .. }
            | Self::InvalidPool(_)
            | Self::InvalidPublish { .. }
            | Self::InvalidResolver { .. }
            | Self::InvalidSubnet { .. }
            | Self::Limit { .. } => ErrorKind::Invalid,
            Self::NoSuchDriver { .. } | Self::NoSuchNetwork { .. } | Self::NotConnected { .. } => {
                ErrorKind::NotFound
            }
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Firewall { source, .. }
            | Self::Io { source, .. }
            | Self::Kernel { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Other,
            },
        }
    }

    /// Whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// The number of the operating system's error, where it is one.
    pub(crate) fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Firewall { source, .. }
            | Self::Io { source, .. }
            | Self::Kernel { source, .. } => rustix::io::Errno::from_io_error(source),
            _ => None,
        }
    }
}

/// Turns an error of the operating system into one that names act and path.
pub(crate) fn at<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::Io { act, path: path.to_path_buf(), source: source.into() }
}

/// Turns an error of the operating system into one that names the act.
pub(crate) fn kernel<E: Into<io::Error>>(act: impl Into<String>) -> impl FnOnce(E) -> Error {
    move |source| Error::Kernel { act: act.into(), source: source.into() }
}
