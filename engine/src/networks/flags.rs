//! What `run` and `create` say about networks and ports, and what it means by Docker's rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use network::{HostPort, Publish};
use runtime::{EndpointRequest, ExposedPort, NetworkMode, PortProtocol, PublishedPort, RunOptions};

use crate::error::{Error, Result};

/// The flags, as written.
#[derive(Clone, Debug, Default)]
pub struct NetworkFlags {
    /// `--network`, each a name, a mode, or `name=…,alias=…,ip=…`.
    pub networks: Vec<String>,
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<String>,
    /// `--publish`.
    pub publish: Vec<String>,
    /// `--publish-all`.
    pub publish_all: bool,
    /// `--expose`.
    pub expose: Vec<String>,
}

impl NetworkFlags {
    /// Puts what the flags mean into the options of a container, whose other flags are there already.
    ///
    /// # Errors
    /// Flags that cannot be meant, or not together.
    pub fn apply(&self, options: &mut RunOptions) -> Result<()> {
        options.publish = published(&self.publish)?;
        options.publish_all = self.publish_all;
        options.expose = exposed(&self.expose)?;
        let mut endpoints = self.endpoints()?;
        let first = endpoints.first().map_or("default", |endpoint| endpoint.network.as_str());
        let mode: NetworkMode = first.parse()?;
        if !matches!(mode, NetworkMode::Named(_)) {
            self.check_mode(&mode, &endpoints, options)?;
            options.network = mode;
            return Ok(());
        }
        if endpoints.is_empty() {
            endpoints.push(EndpointRequest { network: "bridge".to_owned(), ..Default::default() });
        }
        for endpoint in &mut endpoints {
            match endpoint.network.parse::<NetworkMode>()? {
                NetworkMode::Named(name) => endpoint.network = name,
                _ => return Err(mixed_modes()),
            }
        }
        self.give_to_first(&mut endpoints[0])?;
        check_endpoints(&endpoints)?;
        options.network = NetworkMode::Named(endpoints[0].network.clone());
        options.endpoints = endpoints;
        Ok(())
    }

    fn endpoints(&self) -> Result<Vec<EndpointRequest>> {
        self.networks.iter().map(|text| endpoint(text)).collect()
    }

    /// Flags beside `--network` are about the first one.
    fn give_to_first(&self, first: &mut EndpointRequest) -> Result<()> {
        let both = |flag: &str| {
            Error::Invalid(format!(
                "conflicting options: cannot specify both --{flag} and per-network {}",
                flag.trim_start_matches("network-")
            ))
        };
        if !self.aliases.is_empty() {
            if !first.aliases.is_empty() {
                return Err(both("network-alias"));
            }
            first.aliases.clone_from(&self.aliases);
        }
        if self.ipv4.is_some() && first.ipv4.is_some() {
            return Err(both("ip"));
        }
        if self.ipv6.is_some() && first.ipv6.is_some() {
            return Err(both("ip6"));
        }
        if self.mac.is_some() && first.mac.is_some() {
            return Err(both("mac-address"));
        }
        first.ipv4 = first.ipv4.or(self.ipv4);
        first.ipv6 = first.ipv6.or(self.ipv6);
        if let Some(mac) = self.mac.as_deref() {
            first.mac = Some(checked_mac(mac)?);
        }
        Ok(())
    }

    /// What cannot be had with the host's network, another's, or none.
    fn check_mode(
        &self,
        mode: &NetworkMode,
        endpoints: &[EndpointRequest],
        options: &RunOptions,
    ) -> Result<()> {
        if endpoints.len() > 1 {
            return Err(mixed_modes());
        }
        let conflict = |what: &str| Err(Error::Invalid(format!("conflicting options: {what}")));
        let first = endpoints.first();
        if !self.aliases.is_empty() || first.is_some_and(|first| !first.aliases.is_empty()) {
            return Err(Error::Invalid(
                "network-scoped alias is supported only for containers in user defined networks"
                    .to_owned(),
            ));
        }
        let wants_ip = self.ipv4.is_some() || self.ipv6.is_some();
        if wants_ip || first.is_some_and(|first| first.ipv4.is_some() || first.ipv6.is_some()) {
            return Err(only_user_defined_addresses());
        }
        let shares = matches!(mode, NetworkMode::Container(_) | NetworkMode::Host);
        if shares && (self.mac.is_some() || first.is_some_and(|first| first.mac.is_some())) {
            return conflict("mac-address and the network mode");
        }
        if !matches!(mode, NetworkMode::Container(_)) {
            return Ok(());
        }
        let has_dns = !options.dns.is_empty()
            || !options.dns_search.is_empty()
            || !options.dns_options.is_empty();
        match () {
            () if options.hostname.is_some() => conflict("hostname and the network mode"),
            () if has_dns => conflict("dns and the network mode"),
            () if !options.extra_hosts.is_empty() => {
                conflict("custom host-to-IP mapping and the network mode")
            }
            () if !self.publish.is_empty() || self.publish_all => {
                conflict("port publishing and the container type network mode")
            }
            () if !self.expose.is_empty() => {
                conflict("port exposing and the container type network mode")
            }
            () => Ok(()),
        }
    }
}

fn mixed_modes() -> Error {
    Error::Invalid(
        "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
            .to_owned(),
    )
}

fn only_user_defined_addresses() -> Error {
    Error::Invalid(
        "user specified IP address is supported on user defined networks only".to_owned(),
    )
}

fn check_endpoints(endpoints: &[EndpointRequest]) -> Result<()> {
    for (at, endpoint) in endpoints.iter().enumerate() {
        if endpoints[..at].iter().any(|other| other.network == endpoint.network) {
            return Err(Error::Invalid(format!(
                "network {:?} is specified multiple times",
                endpoint.network
            )));
        }
        if endpoint.network != "bridge" {
            continue;
        }
        if !endpoint.aliases.is_empty() {
            return Err(Error::Invalid(
                "network-scoped alias is supported only for containers in user defined networks"
                    .to_owned(),
            ));
        }
        if endpoint.ipv4.is_some() || endpoint.ipv6.is_some() {
            return Err(only_user_defined_addresses());
        }
    }
    Ok(())
}

/// `localnet`, or `name=localnet,alias=db,ip=172.20.0.9`.
fn endpoint(text: &str) -> Result<EndpointRequest> {
    let mut request = EndpointRequest::default();
    if !text.contains('=') {
        request.network = text.to_owned();
        return Ok(request);
    }
    let bad = |reason: &str| Error::Invalid(format!("invalid field in --network {text}: {reason}"));
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| bad("write KEY=VALUE"))?;
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        match key.as_str() {
            "name" => request.network = value.to_owned(),
            "alias" => request.aliases.push(value.to_owned()),
            "ip" => {
                request.ipv4 = Some(value.parse().map_err(|_| bad("ip must be an IPv4 address"))?);
            }
            "ip6" => {
                request.ipv6 = Some(value.parse().map_err(|_| bad("ip6 must be an IPv6 address"))?);
            }
            "mac-address" => request.mac = Some(checked_mac(value)?),
            "gw-priority" => {
                request.gateway_priority =
                    value.parse().map_err(|_| bad("gw-priority must be a number"))?;
            }
            _ => {
                return Err(bad(
                    "known keys are name, alias, ip, ip6, mac-address and gw-priority",
                ));
            }
        }
    }
    match request.network.is_empty() {
        true => Err(bad("no name= is given")),
        false => Ok(request),
    }
}

/// A hardware address in the one form that is kept.
pub(crate) fn checked_mac(text: &str) -> Result<String> {
    Ok(text.parse::<network::Mac>()?.to_string())
}

/// `-p`, in the short form and in the long one (`published=8080,target=80`).
fn published(texts: &[String]) -> Result<Vec<PublishedPort>> {
    let short: Vec<String> = texts.iter().map(|text| short_form(text)).collect::<Result<_>>()?;
    let port = |publish: Publish| PublishedPort {
        container: ExposedPort {
            number: publish.container_port,
            protocol: protocol(publish.protocol),
        },
        host_ip: publish.host_ip,
        host_ports: match publish.host_port {
            HostPort::Any => None,
            HostPort::One(port) => Some((port, port)),
            HostPort::FirstOf(first, last) => Some((first, last)),
        },
    };
    Ok(Publish::parse_all(&short)?.into_iter().map(port).collect())
}

/// The long form in the short one's words.
fn short_form(text: &str) -> Result<String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let bad =
        |reason: &str| Error::Invalid(format!("invalid argument {text:?} for --publish: {reason}"));
    let (mut published, mut target, mut protocol, mut ip) = ("", "", "tcp", "");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published" | "hostport", value)) => published = value,
            Some(("target" | "containerport", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some(("host_ip" | "host-ip", value)) => ip = value,
            // A standalone container is on one host: both modes are the same.
            Some(("mode", "ingress" | "host")) => {}
            _ => return Err(bad("fields are published, target, protocol, mode and host_ip")),
        }
    }
    if target.is_empty() {
        return Err(bad("no target= is given"));
    }
    Ok(match ip {
        "" => format!("{published}:{target}/{protocol}"),
        ip => format!("{ip}:{published}:{target}/{protocol}"),
    })
}

/// `--expose 80`, `--expose 7000-7010/udp`.
fn exposed(texts: &[String]) -> Result<Vec<ExposedPort>> {
    let mut all = Vec::new();
    for text in texts {
        if text.contains(':') {
            return Err(Error::Invalid(format!("invalid port format for --expose: {text}")));
        }
        all.extend(Publish::parse(text)?.into_iter().map(|port| ExposedPort {
            number: port.container_port,
            protocol: protocol(port.protocol),
        }));
    }
    Ok(all)
}

pub(crate) fn protocol(protocol: network::Protocol) -> PortProtocol {
    match protocol {
        network::Protocol::Tcp => PortProtocol::Tcp,
        network::Protocol::Udp => PortProtocol::Udp,
        network::Protocol::Sctp => PortProtocol::Sctp,
    }
}

/// What the networks are asked to publish: what was published, and with `-P` whatever is exposed beside.
pub(crate) fn to_publish(options: &RunOptions, image_exposes: &[ExposedPort]) -> Vec<Publish> {
    let of = |port: &ExposedPort, host_ip: Option<IpAddr>, host_port| Publish {
        host_ip,
        host_port,
        container_port: port.number,
        protocol: match port.protocol {
            PortProtocol::Tcp => network::Protocol::Tcp,
            PortProtocol::Udp => network::Protocol::Udp,
            PortProtocol::Sctp => network::Protocol::Sctp,
        },
    };
    let host_port = |port: &PublishedPort| match port.host_ports {
        None => HostPort::Any,
        Some((first, last)) if first == last => HostPort::One(first),
        Some((first, last)) => HostPort::FirstOf(first, last),
    };
    let mut all: Vec<Publish> = options
        .publish
        .iter()
        .map(|port| of(&port.container, port.host_ip, host_port(port)))
        .collect();
    if options.publish_all {
        let mut exposed: Vec<&ExposedPort> = image_exposes.iter().chain(&options.expose).collect();
        exposed.sort();
        exposed.dedup();
        let named = |port: &&ExposedPort| options.publish.iter().any(|p| p.container == **port);
        all.extend(
            exposed.into_iter().filter(|port| !named(port)).map(|p| of(p, None, HostPort::Any)),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(networks: &[&str]) -> NetworkFlags {
        NetworkFlags {
            networks: networks.iter().map(|text| (*text).to_owned()).collect(),
            ..NetworkFlags::default()
        }
    }

    fn applied(flags: &NetworkFlags) -> Result<RunOptions> {
        let mut options = RunOptions::default();
        flags.apply(&mut options)?;
        Ok(options)
    }

    /// Covers: B11-10, N3-026
    #[test]
    fn a_container_that_names_no_network_is_on_the_default_bridge() {
        for networks in [&[][..], &["bridge"], &["default"]] {
            let options = applied(&flags(networks)).expect("they are right");
            assert_eq!(options.network, NetworkMode::Named("bridge".to_owned()), "{networks:?}");
            assert_eq!(options.endpoints.len(), 1);
            assert_eq!(options.endpoints[0].network, "bridge");
        }
        let host = applied(&flags(&["host"])).expect("it is right");
        assert_eq!((host.network, host.endpoints.len()), (NetworkMode::Host, 0));
    }

    #[test]
    fn the_long_form_of_a_network_says_all_that_flags_say() {
        let options = applied(&NetworkFlags {
            aliases: vec!["web".to_owned()],
            ..flags(&["front", "name=back,alias=db,alias=sql,ip=172.20.0.9,gw-priority=3"])
        })
        .expect("they are right");
        assert_eq!(options.endpoints[0].aliases, ["web"]);
        let back = &options.endpoints[1];
        assert_eq!((back.network.as_str(), back.gateway_priority), ("back", 3));
        assert_eq!(back.aliases, ["db", "sql"]);
        assert_eq!(back.ipv4, Some(Ipv4Addr::new(172, 20, 0, 9)));
    }

    /// Covers: RUN-59
    #[test]
    fn flags_that_contradict_each_other_are_refused_in_dockers_words() {
        let with = |change: fn(&mut NetworkFlags), networks: &[&str]| {
            let mut flags = flags(networks);
            change(&mut flags);
            applied(&flags).expect_err("they contradict each other").to_string()
        };
        type Row = (fn(&mut NetworkFlags), &'static [&'static str], &'static str);
        let rows: [Row; 8] = [
            (|_| {}, &["host", "front"], "cannot attach both user-defined"),
            (|_| {}, &["front", "none"], "cannot attach both user-defined"),
            (|_| {}, &["front", "front"], "is specified multiple times"),
            (|f| f.aliases = vec!["a".into()], &[], "network-scoped alias"),
            (|f| f.ipv4 = Some(Ipv4Addr::LOCALHOST), &["bridge"], "user specified IP address"),
            (|f| f.publish = vec!["80".into()], &["container:x"], "port publishing"),
            (|f| f.mac = Some("02:42:ac:11:00:09".into()), &["host"], "mac-address"),
            (|f| f.mac = Some("red".into()), &["front"], "MAC"),
        ];
        for (change, networks, words) in rows {
            let said = with(change, networks);
            assert!(said.contains(words), "{networks:?}: {said}");
        }
    }

    /// Covers: B11-37, N2-29, N3-077, N4-33
    #[test]
    fn both_forms_of_publish_mean_the_same() {
        let ports = |text: &str| published(&[text.to_owned()]).expect(text);
        assert_eq!(ports("8080:80"), ports("target=80,published=8080,mode=host"));
        assert_eq!(ports("8080:80/udp"), ports("published=8080,target=80,protocol=udp"));
        assert_eq!(ports("127.0.0.1:8080:80"), ports("published=8080,target=80,host_ip=127.0.0.1"));
        assert_eq!(ports("80"), ports("target=80"));
        assert!(published(&["published=80".to_owned()]).is_err());
        assert!(published(&["target=80,colour=red".to_owned()]).is_err());
    }

    #[test]
    fn publish_all_takes_what_is_exposed_and_not_yet_published() {
        let port = |text: &str| text.parse::<ExposedPort>().expect(text);
        let options = RunOptions {
            publish: published(&["8080:80".to_owned()]).expect("right"),
            publish_all: true,
            expose: exposed(&["7000-7001/udp".to_owned()]).expect("right"),
            ..RunOptions::default()
        };
        let all = to_publish(&options, &[port("80/tcp"), port("443")]);
        let shown: Vec<String> =
            all.iter().map(|p| format!("{}/{}", p.container_port, p.protocol)).collect();
        assert_eq!(shown, ["80/tcp", "443/tcp", "7000/udp", "7001/udp"]);
        assert_eq!(all[0].host_port, HostPort::One(8080));
    }
}
