use std::net::{Ipv4Addr, Ipv6Addr};

use engine::runtime::EndpointRequest;

use super::super::Session;
use crate::error::Result;

/// Connect a container to a network
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "strings")]
    alias: Vec<String>,
    /// Highest gw-priority provides the default gateway. Accepts positive and negative values
    #[arg(long, value_name = "int", default_value = "0", allow_negative_numbers = true)]
    gw_priority: i32,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "string")]
    ip: Option<Ipv4Addr>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "string")]
    ip6: Option<Ipv6Addr>,
    #[arg(value_name = "NETWORK", required = true)]
    network: String,
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

/// Disconnect a container from a network
#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "NETWORK", required = true)]
    network: String,
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl ConnectArgs {
    /// Connects, and like Docker says nothing.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let request = EndpointRequest {
            network: self.network,
            aliases: self.alias,
            ipv4: self.ip,
            ipv6: self.ip6,
            mac: None,
            gateway_priority: self.gw_priority,
        };
        Ok(session.engine()?.networks().connect(&self.container, request)?)
    }
}

impl DisconnectArgs {
    /// Disconnects, and like Docker says nothing.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let networks = session.engine()?.networks();
        Ok(networks.disconnect(&self.network, &self.container, self.force)?)
    }
}
