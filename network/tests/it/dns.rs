//! The embedded DNS server, asked by real resolvers inside a container's namespace.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;

use network::dns::Server;
use network::{Attachment, NetworkSpec, Networks, Resolver, Upstream};

use crate::world::{Box, has, on_host, spec};

/// A server running on a thread; dropping the pipe's end stops it.
struct Running {
    _stop: OwnedFd,
}

fn start(
    networks: &Networks,
    inside: &Box,
    upstreams: Vec<Upstream>,
    port: Option<u16>,
) -> Running {
    start_with(networks, inside, upstreams, port, false)
}

fn start_with(
    networks: &Networks,
    inside: &Box,
    upstreams: Vec<Upstream>,
    port: Option<u16>,
    search_first: bool,
) -> Running {
    let server =
        Server::bind(networks, &inside.container.id, &inside.netns, upstreams, search_first)
            .unwrap();
    let server = match port {
        Some(port) => server.with_upstream_port(port),
        None => server,
    };
    let (read, write) = rustix::pipe::pipe().unwrap();
    std::thread::spawn(move || server.run(read).unwrap());
    Running { _stop: write }
}

/// What `dig` says, short, sorted; or the status when it is not NOERROR.
fn dig(inside: &Box, arguments: &str) -> String {
    let text = inside
        .netns
        .run(|| {
            let done = Command::new("dig")
                .args(["@127.0.0.11", "+tries=1", "+time=3", "+nosearch"])
                .args(arguments.split_whitespace())
                .output()
                .unwrap();
            String::from_utf8(done.stdout).unwrap()
        })
        .unwrap();
    let status = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
    let mut answers: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with(";; ANSWER"))
        .skip(1)
        .take_while(|line| !line.is_empty() && !line.starts_with(';'))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    answers.sort_unstable();
    match status {
        Some("NOERROR") => answers.join(" "),
        Some(other) => other.to_owned(),
        None => text.lines().next_back().unwrap_or_default().to_owned(),
    }
}

/// Covers: B11-18, B11-32, N3-037, N3-038, N3-039, N3-040, N3-069, RUN-56
#[test]
fn names_aliases_ids_and_reverse_names_are_answered_on_networks_with_names() {
    if !has("dig") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let localnet = networks.create(spec("localnet")).unwrap();
        let mut c1 = Box::new("c1", &[]);
        c1.container.hostname = Some("Front".into());
        let c2 = Box::new("c2", &[]);
        c2.join(&networks, &localnet.id);
        let _server = start(&networks, &c2, Vec::new(), None);
        assert_eq!(dig(&c2, "c1"), "SERVFAIL");
        let wish = Attachment { aliases: vec!["db".into()], ..Attachment::to(&localnet.id) };
        let endpoint = c1.try_join(&networks, &wish).unwrap().endpoint;
        let ip = endpoint.ipv4.unwrap().ip().to_string();
        for name in
            ["c1", "C1.", "db", "front", "c1.localnet", "db.LocalNet", &c1.container.id[..12]]
        {
            assert_eq!(dig(&c2, name), ip, "{name}");
        }
        assert_eq!(dig(&c2, "+tcp c1"), ip);
        assert_eq!(dig(&c2, "c2"), "172.18.0.2");
        // A name without an IPv6 address is there, but has none.
        assert_eq!(dig(&c2, "c1 AAAA"), "");
        assert_eq!(dig(&c2, "c1 MX"), "");
        assert_eq!(dig(&c2, &format!("-x {ip}")), "c1.localnet.");
        assert_eq!(networks.resolver_of(&c2.container.id).unwrap(), Resolver::Embedded);

        networks.rename(&c1.container.id, "renamed").unwrap();
        assert_eq!(dig(&c2, "renamed"), ip);
        networks.detach(&c1.container.id, &localnet.id, Some(&c1.netns)).unwrap();
        assert_eq!(dig(&c2, "renamed"), "SERVFAIL");
    });
}

/// Covers: B11-19, N3-038
#[test]
fn the_default_bridge_has_no_names() {
    on_host(|world| {
        let networks = world.networks();
        let bridge = networks.find("bridge").unwrap();
        let c1 = Box::new("c1", &[]);
        c1.join(&networks, &bridge.id);
        assert!(!bridge.has_names());
        assert_eq!(networks.resolver_of(&c1.container.id).unwrap(), Resolver::Direct);
    });
}

/// Covers: N3-068
#[test]
fn only_names_of_common_networks_are_answered_and_live_changes_are_seen() {
    if !has("dig") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let [a, b] = ["a", "b"].map(|name| networks.create(spec(name)).unwrap());
        let (c1, c2) = (Box::new("c1", &[]), Box::new("c2", &[]));
        c1.join(&networks, &a.id);
        c2.join(&networks, &b.id);
        let _server = start(&networks, &c1, Vec::new(), None);
        assert_eq!(dig(&c1, "c2"), "SERVFAIL");
        let on_b = c1.join(&networks, &b.id).endpoint;
        assert_eq!(dig(&c1, "c2"), "172.19.0.2");
        assert_eq!(dig(&c1, "c1.b"), on_b.ipv4.unwrap().ip().to_string());
        networks.detach(&c1.container.id, &b.id, Some(&c1.netns)).unwrap();
        assert_eq!(dig(&c1, "c2"), "SERVFAIL");
    });
}

/// Covers: N3-005
#[test]
fn containers_of_one_alias_take_turns_and_ipv6_is_answered() {
    if !has("dig") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let network = networks.create(NetworkSpec { enable_ipv6: true, ..spec("n") }).unwrap();
        let all = ["w1", "w2", "w3"].map(|name| Box::new(name, &[]));
        let wish = Attachment { aliases: vec!["web".into()], ..Attachment::to(&network.id) };
        let endpoints =
            all.each_ref().map(|inside| inside.try_join(&networks, &wish).unwrap().endpoint);
        let _server = start(&networks, &all[0], Vec::new(), None);
        assert_eq!(dig(&all[0], "web"), "172.18.0.2 172.18.0.3 172.18.0.4");
        let sixes: Vec<String> =
            endpoints.iter().map(|e| e.ipv6.unwrap().ip().to_string()).collect();
        assert_eq!(dig(&all[0], "web AAAA"), sixes.join(" "));
        assert_eq!(dig(&all[0], &format!("-x {}", sixes[1])), "w2.n.");
        let first = || {
            let text = all[0]
                .netns
                .run(|| {
                    Command::new("dig").args(["@127.0.0.11", "+short", "web"]).output().unwrap()
                })
                .unwrap();
            String::from_utf8(text.stdout).unwrap().lines().next().unwrap().to_owned()
        };
        let firsts: std::collections::BTreeSet<String> = (0..3).map(|_| first()).collect();
        assert_eq!(firsts.len(), 3, "every container comes first once");
    });
}

/// A name server that answers every question with its word in a TXT record, over UDP and TCP.
fn name_server(inside: Option<&Box>, status: u8) -> u16 {
    let bind = || {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind(udp.local_addr().unwrap()).unwrap();
        (udp, tcp)
    };
    let (udp, tcp) = match inside {
        Some(inside) => inside.netns.run(bind).unwrap(),
        None => bind(),
    };
    let port = udp.local_addr().unwrap().port();
    let answer = move |query: &[u8], long: bool| {
        let mut bytes = query[..query.len()].to_vec();
        let end = 12 + bytes[12..].iter().position(|b| *b == 0).unwrap() + 5;
        bytes.truncate(end);
        bytes[2] = 0x81;
        bytes[3] = 0x80 | status;
        let count = if long { 40u8 } else { 1 };
        bytes[6..12].copy_from_slice(&[0, count, 0, 0, 0, 0]);
        for n in 0..count {
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, n + 1]);
        }
        bytes
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let long = buffer[..length].windows(4).any(|w| w == b"long");
            let _ = udp.send_to(&answer(&buffer[..length], long), from);
        }
    });
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut buffer = [0; 514];
            let Ok(length) = stream.read(&mut buffer) else { continue };
            let message = answer(&buffer[2..length], true);
            let _ = stream.write_all(&(message.len() as u16).to_be_bytes());
            let _ = stream.write_all(&message);
        }
    });
    port
}

/// Covers: B11-34
#[test]
fn what_no_container_is_called_is_asked_of_the_next_server() {
    if !has("dig") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let localnet = networks.create(spec("localnet")).unwrap();
        let c1 = Box::new("c1", &[]);
        c1.join(&networks, &localnet.id);
        let port = name_server(None, 0);
        let upstream = Upstream { address: "127.0.0.1".parse().unwrap(), on_host: true };
        let _server = start(&networks, &c1, vec![upstream], Some(port));
        assert_eq!(dig(&c1, "example.test"), "192.0.2.1");
        assert_eq!(dig(&c1, "c1"), "172.18.0.2", "one's own names first");
        // Forty addresses do not fit 512 bytes: the client is told, and asks again by TCP.
        assert_eq!(dig(&c1, "+noedns long.test").split(' ').count(), 40);
        assert_eq!(dig(&c1, "+noedns +ignore long.test"), "");
        assert_eq!(dig(&c1, "+tcp example.test").split(' ').count(), 40);
    });
}

#[test]
fn a_server_that_fails_is_followed_by_the_next_and_the_last_word_counts() {
    if !has("dig") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let localnet = networks.create(spec("localnet")).unwrap();
        let c1 = Box::new("c1", &[]);
        c1.join(&networks, &localnet.id);
        let at = |address: &str, on_host| Upstream { address: address.parse().unwrap(), on_host };
        // Nobody listens in the container's own namespace; the host's answers.
        let port = name_server(None, 0);
        let both = vec![at("127.0.0.1", false), at("127.0.0.1", true)];
        {
            let _server = start(&networks, &c1, both, Some(port));
            assert_eq!(dig(&c1, "example.test"), "192.0.2.1");
            assert_eq!(dig(&c1, "+tcp example.test").split(' ').count(), 40);
        }
        let port = name_server(None, 5);
        let c2 = Box::new("c2", &[]);
        c2.join(&networks, &localnet.id);
        let _server = start(&networks, &c2, vec![at("127.0.0.1", true)], Some(port));
        assert_eq!(dig(&c2, "example.test"), "REFUSED");
        let c3 = Box::new("c3", &[]);
        c3.join(&networks, &localnet.id);
        let _server = start(&networks, &c3, vec![at("127.0.0.1", false)], Some(port));
        assert_eq!(dig(&c3, "example.test"), "SERVFAIL");
    });
}

#[test]
fn internal_networks_ask_nobody_and_ndots_keeps_plain_names_at_home() {
    if !has("dig") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let inner = networks.create(NetworkSpec { internal: true, ..spec("inner") }).unwrap();
        let open = networks.create(spec("open")).unwrap();
        let port = name_server(None, 0);
        let upstream = vec![Upstream { address: "127.0.0.1".parse().unwrap(), on_host: true }];
        let c1 = Box::new("c1", &[]);
        c1.join(&networks, &inner.id);
        let _server = start(&networks, &c1, upstream.clone(), Some(port));
        assert_eq!(dig(&c1, "example.test"), "SERVFAIL");
        assert_eq!(dig(&c1, "c1"), "172.18.0.2");
        let c2 = Box::new("c2", &[]);
        c2.join(&networks, &open.id);
        let _server = start_with(&networks, &c2, upstream, Some(port), true);
        assert_eq!(dig(&c2, "plain"), "");
        assert_eq!(dig(&c2, "example.test"), "192.0.2.1");
    });
}

#[test]
fn a_container_may_run_a_name_server_of_its_own() {
    on_host(|world| {
        let networks = world.networks();
        let localnet = networks.create(spec("localnet")).unwrap();
        let c1 = Box::new("c1", &[]);
        c1.join(&networks, &localnet.id);
        let _server = start(&networks, &c1, Vec::new(), None);
        let bound = c1
            .netns
            .run(|| {
                (UdpSocket::bind("0.0.0.0:53").is_ok(), TcpListener::bind("0.0.0.0:53").is_ok())
            })
            .unwrap();
        assert_eq!(bound, (true, true));
    });
}
