use std::collections::BTreeMap;

use engine::networks::CreateNetwork;

use super::super::Session;
use crate::error::{Error, Result};

/// Create a network
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// Driver to manage the Network
    #[arg(short, long, value_name = "string", default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_name = "strings")]
    gateway: Vec<String>,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "strings")]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, value_name = "string", default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv6 address assignment
    #[arg(long)]
    ipv6: bool,
    /// Set metadata on a network
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, value_name = "string", value_parser = ["local"])]
    scope: Option<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "strings")]
    subnet: Vec<String>,
    #[arg(value_name = "NETWORK", required = true)]
    name: String,
}

impl Args {
    /// Creates and prints the id.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        debug_assert!(self.scope.as_deref().is_none_or(|scope| scope == "local"));
        if self.driver == "overlay" {
            return Err(Error::refused(
                "This node is not a swarm manager: an overlay network needs a cluster",
                "networks of one machine have the driver bridge, macvlan or ipvlan",
            ));
        }
        let request = CreateNetwork {
            name: self.name,
            driver: self.driver,
            options: map("--opt", &self.opt)?,
            subnets: split(&self.subnet),
            gateways: split(&self.gateway),
            ranges: split(&self.ip_range),
            auxiliary: self.aux_address,
            ipam_driver: self.ipam_driver,
            ipam_options: map("--ipam-opt", &self.ipam_opt)?,
            internal: self.internal,
            attachable: self.attachable,
            ipv6: self.ipv6,
            labels: self.label.iter().map(|text| pair(text)).collect(),
        };
        let made = session.engine()?.networks().create(request)?;
        session.ui.line(made.id.as_str())
    }
}

/// A list may be given as several flags, or as one with commas.
fn split(texts: &[String]) -> Vec<String> {
    texts.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect()
}

fn pair(text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text.to_owned(), String::new()),
    }
}

fn map(option: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let one = |text: &String| match pair(text) {
        (key, _) if key.is_empty() => Err(Error::refused(
            format!("invalid argument {text:?} for \"{option}\" flag: expected KEY=VALUE"),
            "",
        )),
        pair => Ok(pair),
    };
    texts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_as_several_flags_or_with_commas() {
        let texts = ["10.0.0.0/24,10.0.1.0/24".to_owned(), "10.0.2.0/24".to_owned()];
        assert_eq!(split(&texts), ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]);
        let options = map("--opt", &["parent=eth0.100".to_owned(), "internal".to_owned()])
            .expect("they are right");
        assert_eq!(options["parent"], "eth0.100");
        assert_eq!(options["internal"], "");
        assert!(map("--opt", &["=x".to_owned()]).is_err());
    }
}
