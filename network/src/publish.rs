//! Published ports: Docker's `-p` grammar, and what was bound in the end.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number that IP has for it.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::InvalidPublish {
                text: text.to_owned(),
                reason: "invalid proto (tcp, udp or sctp)",
            }),
        }
    }
}

/// The port of the host that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostPort {
    /// Any free one of the ephemeral range.
    Any,
    /// This one.
    One(u16),
    /// The first free one of a range.
    FirstOf(u16, u16),
}

/// One port of a container that is to be reached through the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Publish {
    /// The host's address; none means all.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: HostPort,
    /// The container's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl Publish {
    /// Reads one `-p`: `[[IP:][HOST[-HOST]]:]CONTAINER[-CONTAINER][/PROTOCOL]`. A range gives one for each port.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let invalid = |reason| Error::InvalidPublish { text: text.to_owned(), reason };
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, protocol.parse()?),
            None => (text, Protocol::Tcp),
        };
        let (rest, container) = match ports.rsplit_once(':') {
            Some((rest, container)) => (Some(rest), container),
            None => (None, ports),
        };
        let (ip, host) = match rest.map(|rest| rest.rsplit_once(':').unwrap_or(("", rest))) {
            Some((ip, host)) => (ip, host),
            None => ("", ""),
        };
        if container.is_empty() {
            return Err(invalid("No port specified"));
        }
        let container = range(container).ok_or_else(|| invalid("Invalid containerPort"))?;
        let host = match host {
            "" => None,
            text => Some(range(text).ok_or_else(|| invalid("Invalid hostPort"))?),
        };
        let host_ip = host_ip(ip).ok_or_else(|| invalid("Invalid ip address"))?;
        let pairs = pair(container, host)
            .ok_or_else(|| invalid("Invalid ranges specified for container and host Ports"))?;
        Ok(pairs
            .map(|(container_port, host_port)| Self {
                host_ip,
                host_port,
                container_port,
                protocol,
            })
            .collect())
    }

    /// Reads all `-p` of a command.
    pub fn parse_all<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for text in texts {
            all.extend(Self::parse(text.as_ref())?);
            if all.len() > limits::PUBLISH_RANGE_MAX {
                return Err(Error::Limit {
                    what: "published ports of one container",
                    limit: limits::PUBLISH_RANGE_MAX as u64,
                });
            }
        }
        Ok(all)
    }
}

/// The container's ports with the host's.
fn pair(
    (first, last): (u16, u16),
    host: Option<(u16, u16)>,
) -> Option<Box<dyn Iterator<Item = (u16, HostPort)>>> {
    Some(match host {
        None => Box::new((first..=last).map(|port| (port, HostPort::Any))),
        Some((0, 0)) if first == last => Box::new(std::iter::once((first, HostPort::Any))),
        Some((from, to)) if from == 0 || to == 0 => return None,
        Some((from, to)) if from == to && first == last => {
            Box::new(std::iter::once((first, HostPort::One(from))))
        }
        Some((from, to)) if first == last => {
            Box::new(std::iter::once((first, HostPort::FirstOf(from, to))))
        }
        Some((from, to)) if to - from == last - first => {
            Box::new((first..=last).zip((from..=to).map(HostPort::One)))
        }
        Some(_) => return None,
    })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some((first, last))
}

/// The address of the host: empty means all; IPv6 stands in brackets.
fn host_ip(text: &str) -> Option<Option<IpAddr>> {
    if text.is_empty() {
        return Some(None);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|ip| Some(IpAddr::V6(ip)));
    }
    text.parse::<IpAddr>().ok().map(Some)
}

/// One port of the host that leads to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortBinding {
    /// The container's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address; all zeros means all addresses of that family.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

impl PortBinding {
    /// Whether both would take the same port of the host.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.host_port == other.host_port
            && self.host_ip.is_ipv4() == other.host_ip.is_ipv4()
            && (self.host_ip == other.host_ip
                || self.host_ip.is_unspecified()
                || other.host_ip.is_unspecified())
    }
}

impl fmt::Display for PortBinding {
    /// As `docker port` prints it: `80/tcp -> 0.0.0.0:5001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = std::net::SocketAddr::new(self.host_ip, self.host_port);
        write!(f, "{}/{} -> {host}", self.container_port, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match Publish::parse(text) {
            Ok(all) => {
                let show = |p: &Publish| {
                    let host = match p.host_port {
                        HostPort::Any => "any".to_owned(),
                        HostPort::One(port) => port.to_string(),
                        HostPort::FirstOf(first, last) => format!("{first}..{last}"),
                    };
                    let ip = p.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
                    format!("{ip} {host} {}/{}", p.container_port, p.protocol)
                };
                all.iter().map(show).collect::<Vec<_>>().join(", ")
            }
            Err(error) => error.to_string(),
        }
    }

    /// Covers: RUN-53
    #[test]
    fn the_grammar_of_published_ports_is_dockers() {
        for (text, expected) in [
            ("80", "* any 80/tcp"),
            ("8080:80", "* 8080 80/tcp"),
            ("8080:80/udp", "* 8080 80/udp"),
            ("8080:80/SCTP", "* 8080 80/sctp"),
            ("0:80", "* any 80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080 80/tcp"),
            ("127.0.0.1::80", "127.0.0.1 any 80/tcp"),
            ("[::1]:8080:80", "::1 8080 80/tcp"),
            ("::1:8080:80", "::1 8080 80/tcp"),
            ("9000-9001:80-81", "* 9000 80/tcp, * 9001 81/tcp"),
            ("80-81/udp", "* any 80/udp, * any 81/udp"),
            ("9000-9010:80", "* 9000..9010 80/tcp"),
            ("", "No port specified: "),
            ("8080:", "No port specified: 8080:"),
            ("x:80", "Invalid hostPort: x:80"),
            ("8080:x", "Invalid containerPort: 8080:x"),
            ("8080:65536", "Invalid containerPort: 8080:65536"),
            ("8080:81-80", "Invalid containerPort: 8080:81-80"),
            ("1.2.3:8080:80", "Invalid ip address: 1.2.3:8080:80"),
            (
                "9000-9002:80-81",
                "Invalid ranges specified for container and host Ports: 9000-9002:80-81",
            ),
            ("80/icmp", "invalid proto (tcp, udp or sctp): icmp"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn an_address_of_all_collides_with_each_of_its_family() {
        let binding = |ip: &str, port, protocol| PortBinding {
            container_port: 80,
            protocol,
            host_ip: ip.parse().unwrap(),
            host_port: port,
        };
        let all = binding("0.0.0.0", 80, Protocol::Tcp);
        assert!(all.collides(&binding("127.0.0.1", 80, Protocol::Tcp)));
        assert!(!all.collides(&binding("127.0.0.1", 81, Protocol::Tcp)));
        assert!(!all.collides(&binding("127.0.0.1", 80, Protocol::Udp)));
        assert!(!all.collides(&binding("::", 80, Protocol::Tcp)));
        let one = binding("10.0.0.1", 80, Protocol::Tcp);
        assert!(!one.collides(&binding("10.0.0.2", 80, Protocol::Tcp)));
    }

    /// Covers: N3-044
    #[test]
    fn a_binding_prints_as_docker_port_does() {
        let binding = PortBinding {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: "::".parse().unwrap(),
            host_port: 5001,
        };
        assert_eq!(binding.to_string(), "80/tcp -> [::]:5001");
        let binding =
            PortBinding { host_ip: "0.0.0.0".parse().unwrap(), host_port: 5000, ..binding };
        assert_eq!(binding.to_string(), "80/tcp -> 0.0.0.0:5000");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9:\\-/\\[\\]a-z.]{0,30}") {
            let _ = Publish::parse(&text);
        }
    }
}
