//! The documents of `network inspect` and of a container's `NetworkSettings`: Docker's keys, in Docker's order.

use network::{Endpoint, Network, Pool};
use runtime::{Container, EndpointRequest, NetworkMode};
use serde_json::{Map, Value, json};

use super::{Connections, names};

/// One network with who is on it.
pub(super) fn network(network: &Network, endpoints: &[Endpoint]) -> Value {
    let options = &network.ipam_options;
    json!({
        "Name": network.name,
        "Id": network.id.as_str(),
        "Created": network.created,
        "Scope": network.scope(),
        "Driver": network.driver,
        "EnableIPv4": true,
        "EnableIPv6": network.enable_ipv6,
        "IPAM": {
            "Driver": network.ipam_driver,
            "Options": if network.is_predefined() && options.is_empty() { Value::Null } else { json!(options) },
            "Config": network.pools.iter().map(pool).collect::<Vec<_>>(),
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": endpoints.iter().map(member).collect::<Map<_, _>>(),
        "Options": network.options,
        "Labels": network.labels,
    })
}

fn pool(pool: &Pool) -> Value {
    let mut document = Map::new();
    document.insert("Subnet".into(), json!(pool.subnet.to_string()));
    if let Some(range) = pool.range {
        document.insert("IPRange".into(), json!(range.to_string()));
    }
    if let Some(gateway) = pool.gateway {
        document.insert("Gateway".into(), json!(gateway.to_string()));
    }
    if !pool.auxiliary.is_empty() {
        document.insert("AuxiliaryAddresses".into(), json!(pool.auxiliary));
    }
    Value::Object(document)
}

fn member(endpoint: &Endpoint) -> (String, Value) {
    let text = |value: Option<String>| value.unwrap_or_default();
    let member = json!({
        "Name": endpoint.container_name,
        "EndpointID": endpoint.id.as_str(),
        "MacAddress": text(endpoint.mac.map(|mac| mac.to_string())),
        "IPv4Address": text(endpoint.ipv4.map(|address| address.to_string())),
        "IPv6Address": text(endpoint.ipv6.map(|address| address.to_string())),
    });
    (endpoint.container.clone(), member)
}

/// A container's settings: what it has where it runs, what it asks for where it does not.
pub(super) fn settings(
    container: &Container,
    connections: &Connections,
    known: &[Network],
) -> Value {
    let sandbox = container.state.pid.map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default();
    let bridge = connections.iter().find(|(name, _)| name == "bridge").map(|(_, e)| e);
    let mut document = json!({
        "Bridge": "",
        "SandboxID": if sandbox.is_empty() { "" } else { container.record.id.as_str() },
        "SandboxKey": sandbox,
        "Ports": ports(container, connections),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
    });
    let top = addresses(bridge);
    let networks = networks(container, connections, known);
    if let (Value::Object(all), Value::Object(top)) = (&mut document, top) {
        all.extend(top);
        all.insert("Networks".into(), Value::Object(networks));
    }
    document
}

/// The addresses of an endpoint, under Docker's names.
fn addresses(endpoint: Option<&Endpoint>) -> Value {
    let ip = |address: Option<network::InterfaceAddress>| {
        address.map_or((String::new(), 0), |a| (a.ip().to_string(), a.prefix()))
    };
    let (ipv4, prefix4) = ip(endpoint.and_then(|e| e.ipv4));
    let (ipv6, prefix6) = ip(endpoint.and_then(|e| e.ipv6));
    let gateway =
        |gateway: Option<std::net::IpAddr>| gateway.map(|ip| ip.to_string()).unwrap_or_default();
    json!({
        "EndpointID": endpoint.map_or("", |e| e.id.as_str()),
        "Gateway": gateway(endpoint.and_then(|e| e.gateway4)),
        "GlobalIPv6Address": ipv6,
        "GlobalIPv6PrefixLen": prefix6,
        "IPAddress": ipv4,
        "IPPrefixLen": prefix4,
        "IPv6Gateway": gateway(endpoint.and_then(|e| e.gateway6)),
        "MacAddress": endpoint.and_then(|e| e.mac).map(|mac| mac.to_string()).unwrap_or_default(),
    })
}

fn networks(
    container: &Container,
    connections: &Connections,
    known: &[Network],
) -> Map<String, Value> {
    let options = &container.record.options;
    let mut networks = Map::new();
    if matches!(options.network, NetworkMode::Host | NetworkMode::None) {
        let name = options.network.to_string();
        let id = known.iter().find(|network| network.name == name).map(|n| n.id.as_str());
        networks.insert(name, endpoint(&EndpointRequest::default(), id, None));
    }
    for request in &options.endpoints {
        let found = known.iter().find(|network| names(&request.network, network));
        let name = found.map_or(request.network.as_str(), |network| network.name.as_str());
        let joined = connections.iter().find(|(joined, _)| joined == name).map(|(_, e)| e);
        let id = joined.and(found).map(|network| network.id.as_str());
        networks.insert(name.to_owned(), endpoint(request, id, joined));
    }
    networks
}

fn endpoint(request: &EndpointRequest, id: Option<&str>, joined: Option<&Endpoint>) -> Value {
    let mut ipam = Map::new();
    if let Some(ip) = request.ipv4 {
        ipam.insert("IPv4Address".into(), json!(ip.to_string()));
    }
    if let Some(ip) = request.ipv6 {
        ipam.insert("IPv6Address".into(), json!(ip.to_string()));
    }
    let null_or = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let mut document = json!({
        "IPAMConfig": if ipam.is_empty() { Value::Null } else { Value::Object(ipam) },
        "Links": null,
        "Aliases": null_or(&request.aliases),
        "DriverOpts": null,
        "GwPriority": request.gateway_priority,
        "NetworkID": id.unwrap_or_default(),
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut document, addresses(joined)) {
        all.extend(more);
        let names: Vec<&str> = joined.map(Endpoint::names).unwrap_or_default();
        let names = if request.network == "bridge" || names.is_empty() {
            Value::Null
        } else {
            json!(names)
        };
        all.insert("DNSNames".into(), names);
    }
    document
}

/// Exposed ports with what of the host leads to them.
fn ports(container: &Container, connections: &Connections) -> Value {
    let mut ports = Map::new();
    if container.state.pid.is_none() {
        return Value::Object(ports);
    }
    let record = &container.record;
    for port in record.image_config.exposed_ports.keys() {
        ports.insert(port.clone(), Value::Null);
    }
    for port in &record.options.expose {
        ports.insert(port.to_string(), Value::Null);
    }
    for binding in connections.iter().flat_map(|(_, endpoint)| &endpoint.ports) {
        let key = format!("{}/{}", binding.container_port, binding.protocol);
        let host = json!({ "HostIp": binding.host_ip.to_string(), "HostPort": binding.host_port.to_string() });
        match ports.get_mut(&key) {
            Some(Value::Array(all)) => all.push(host),
            _ => drop(ports.insert(key, json!([host]))),
        }
    }
    Value::Object(ports)
}
