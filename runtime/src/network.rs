//! The port to networks: what a container asks of them is kept in its record, and whoever composes the program lends the
//! [`Networks`] that do it. This package makes no device and no rule itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::record::Record;

/// One network that a container is to be connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointRequest {
    /// The network, as the user named it.
    pub network: String,
    /// Further names in that network.
    pub aliases: Vec<String>,
    /// `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// `--mac-address`, as six pairs of hex digits.
    pub mac: Option<String>,
    /// The network with the highest one has the default route.
    pub gateway_priority: i32,
}

/// The transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortProtocol {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PortProtocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(()),
        }
    }
}

/// A port inside, such as `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExposedPort {
    /// Its number.
    pub number: u16,
    /// Its transport.
    pub protocol: PortProtocol,
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl FromStr for ExposedPort {
    type Err = ();

    /// `80` or `80/udp`, as the settings of an image write it.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Ok(Self { number: number.parse().map_err(drop)?, protocol: protocol.parse()? })
    }
}

/// One port of the container that is reached through the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The port inside.
    pub container: ExposedPort,
    /// The host's address; every one where none is given.
    pub host_ip: Option<IpAddr>,
    /// The ports of the host of which the first free one is taken; none is any free one.
    pub host_ports: Option<(u16, u16)>,
}

/// What a container has been given by its networks.
pub struct Attachment {
    /// A path that names the network namespace.
    pub namespace: PathBuf,
    /// Its `/etc/hosts`.
    pub hosts: String,
    /// Its `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// What the container's monitor looks after while the container runs.
    pub service: Option<Box<dyn NetworkService>>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Something that a monitor serves in its one thread, such as a name server.
pub trait NetworkService: fmt::Debug {
    /// What to wait for.
    fn fds(&self) -> Vec<BorrowedFd<'_>>;
    /// How long nothing needs to be done.
    fn patience(&self) -> Option<Duration>;
    /// Does what can be done without waiting.
    fn work(&mut self);
}

/// Connects containers to networks.
pub trait Networks: fmt::Debug + Send + Sync {
    /// Connects a container that is about to start to all networks of its record. Where it fails nothing is left.
    ///
    /// # Errors
    /// In the words for the user: a port that is taken, a pool without a free address.
    fn attach(&self, record: &Record) -> Result<Attachment, String>;

    /// Takes back everything a container has of its networks. Done twice, or for one that has nothing, it does no harm.
    ///
    /// # Errors
    /// In the words for the user; what could be taken back was.
    fn release(&self, id: &ContainerId) -> Result<(), String>;
}

/// Makes the networks for a monitor that knows no more than its folders: `STATE_DIR` and `RUN_DIR`.
pub type NetworksOf = fn(&Path, &Path) -> Option<Box<dyn Networks>>;

/// A refusal of the networks as an error of the start.
pub(crate) fn refused(message: String) -> Error {
    Error::Start { exit_code: 125, message }
}
