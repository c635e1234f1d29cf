//! The PORTS column.

/// One port of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    /// The port inside.
    pub(crate) private: u16,
    /// The host's address; empty where the port is only exposed.
    pub(crate) ip: String,
    /// The host's port, 0 where the port is only exposed.
    pub(crate) public: u16,
    /// `tcp`, `udp` or `sctp`.
    pub(crate) protocol: String,
}

struct Group {
    ip: String,
    protocol: String,
    first: u16,
    last: u16,
}

/// The ports as Docker lists them: runs of equal ports joined (`0.0.0.0:8000-8002->8000-8002/tcp`), mappings last.
pub(crate) fn displayable(ports: &[Port]) -> String {
    let mut sorted = ports.to_vec();
    sorted.sort();
    let mut groups: Vec<Group> = Vec::new();
    let mut done = Vec::new();
    let mut mappings = Vec::new();
    for port in sorted {
        let current = port.private;
        if !port.ip.is_empty() && port.public != current {
            mappings.push(format!(
                "{}->{current}/{}",
                joined(&port.ip, &port.public.to_string()),
                port.protocol
            ));
            continue;
        }
        let known = groups.iter_mut().find(|g| g.ip == port.ip && g.protocol == port.protocol);
        match known {
            Some(group) if current == group.last.saturating_add(1) => group.last = current,
            Some(group) => {
                done.push(shown(group));
                (group.first, group.last) = (current, current);
            }
            None => groups.push(Group {
                ip: port.ip,
                protocol: port.protocol,
                first: current,
                last: current,
            }),
        }
    }
    done.extend(groups.iter().map(shown));
    done.append(&mut mappings);
    done.join(", ")
}

fn shown(group: &Group) -> String {
    let range = match group.first == group.last {
        true => group.first.to_string(),
        false => format!("{}-{}", group.first, group.last),
    };
    match group.ip.is_empty() {
        true => format!("{range}/{}", group.protocol),
        false => format!("{}->{range}/{}", joined(&group.ip, &range), group.protocol),
    }
}

/// `host:port`, brackets around an IPv6 address.
fn joined(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(private: u16, public: u16, ip: &str, protocol: &str) -> Port {
        Port { private, ip: ip.to_owned(), public, protocol: protocol.to_owned() }
    }

    /// The texts are those of Docker's client 28.2 for the same ports.
    #[test]
    fn ports_read_as_dockers() {
        let any = "0.0.0.0";
        let web =
            [port(80, 8080, any, "tcp"), port(80, 8080, "::", "tcp"), port(443, 0, "", "tcp")];
        assert_eq!(displayable(&web), "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
        let mut many: Vec<Port> =
            [8000, 8001, 8002, 9000].iter().map(|&p| port(p, p, any, "tcp")).collect();
        many.extend([port(53, 53, any, "udp"), port(53, 53, any, "tcp")]);
        assert_eq!(
            displayable(&many),
            "0.0.0.0:53->53/tcp, 0.0.0.0:8000-8002->8000-8002/tcp, 0.0.0.0:9000->9000/tcp, 0.0.0.0:53->53/udp"
        );
        assert_eq!(displayable(&[]), "");
    }
}
