//! The options of `run` and `create` that say which networks a container is on and which of its ports the host has.

use std::net::{Ipv4Addr, Ipv6Addr};

use engine::networks::NetworkFlags;
use engine::runtime::RunOptions;

use crate::error::Result;

/// Networks and ports of a container.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkOptions {
    /// Expose a port or a range of ports
    #[arg(long, value_name = "list")]
    expose: Vec<String>,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, value_name = "string")]
    ip: Option<Ipv4Addr>,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, value_name = "string")]
    ip6: Option<Ipv6Addr>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "string")]
    mac_address: Option<String>,
    /// Connect a container to a network
    #[arg(long, alias = "net", value_name = "network")]
    network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, alias = "net-alias", value_name = "list")]
    network_alias: Vec<String>,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "list")]
    publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    publish_all: bool,
}

impl NetworkOptions {
    /// Puts what they mean into the options of a container.
    pub(crate) fn apply(&self, options: &mut RunOptions) -> Result<()> {
        let flags = NetworkFlags {
            networks: self.network.clone(),
            aliases: self.network_alias.clone(),
            ipv4: self.ip,
            ipv6: self.ip6,
            mac: self.mac_address.clone(),
            publish: self.publish.clone(),
            publish_all: self.publish_all,
            expose: self.expose.clone(),
        };
        Ok(flags.apply(options)?)
    }
}
