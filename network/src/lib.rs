//! Networks of containers on one machine: pools of addresses, drivers, published ports, isolation and names.
//!
//! The network namespace of the calling thread is "the host". A container's namespace is a file descriptor ([`Netns`])
//! and is entered on a throw-away thread only. State is files: definitions outlive a reboot, endpoints do not. Every
//! operation holds one lock, writes down what it intends before it touches the kernel, and undoes it when it fails.
//!
//! The package is synchronous and knows no clock, no environment and no other package of the workspace.

mod address;
pub mod dns;
mod door;
mod driver;
mod error;
pub mod files;
mod firewall;
mod host;
mod id;
mod ipam;
pub mod limits;
mod netlink;
mod netns;
mod networks;
mod ports;
mod publish;
mod record;
mod spec;
mod state;

pub use address::{Family, InterfaceAddress, Mac, Subnet};
pub use door::{Door, Fault};
pub use driver::driver_names;
pub use error::{Error, ErrorKind, Result};
pub use files::{HostEntry, NameServers, ResolvConf, Resolver, Upstream};
pub use id::{EndpointId, NetworkId};
pub use netns::Netns;
pub use networks::{Attached, Networks, Reconciled};
pub use ports::PortHold;
pub use publish::{HostPort, PortBinding, Protocol, Publish};
pub use record::{Attachment, Container, Endpoint, Network, Owner, Places, Pool, Progress};
pub use spec::{NetworkSpec, PoolSpec};
