//! Published ports, from every side.

use std::net::{TcpListener, UdpSocket};

use network::{Attachment, ErrorKind, NetworkSpec, PortHold};

use crate::world::{Box, asks, ip, neighbour, on_host, reads, spec};

/// Covers: B11-20, N3-042, N3-043, N3-045, RUN-53
#[test]
fn a_published_port_is_reached_from_outside_from_the_host_and_from_containers() {
    on_host(|world| {
        let networks = world.networks();
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        let a = networks.create(spec("a")).unwrap();
        let b = networks.create(spec("b")).unwrap();
        let web = Box::new("web", &["5001:80", "5001:80/udp"]);
        let attached = web.join(&networks, &a.id);
        web.serve(80, "web");
        web.serve_datagrams(80, "datagram");
        let shown: Vec<String> = attached.endpoint.ports.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["80/tcp -> 0.0.0.0:5001", "80/udp -> 0.0.0.0:5001"]);

        let (same, other) = (Box::new("same", &[]), Box::new("other", &[]));
        let same_ip = ip(&same.join(&networks, &a.id).endpoint);
        let other_ip = ip(&other.join(&networks, &b.id).endpoint);
        assert_eq!(outside.reads("10.99.0.1:5001"), Some("web 10.99.0.2".into()));
        assert_eq!(reads("10.99.0.1:5001"), Some("web 10.99.0.1".into()));
        assert_eq!(reads("127.0.0.1:5001"), Some("web 172.18.0.1".into()));
        // From the network of the container itself (hairpin), the container itself, and from another network.
        // Under which address depends on whether the bridge calls the packet filter.
        let answer = same.reads("10.99.0.1:5001");
        let expected = ["web 172.18.0.1".to_owned(), format!("web {same_ip}")];
        assert!(answer.as_ref().is_some_and(|answer| expected.contains(answer)), "{answer:?}");
        assert_eq!(web.reads("10.99.0.1:5001"), Some("web 172.18.0.1".into()));
        assert_eq!(other.reads("10.99.0.1:5001"), Some(format!("web {other_ip}")));
        assert_eq!(outside.netns.run(|| asks("10.99.0.1:5001")).unwrap(), Some("datagram".into()));
        assert_eq!(asks("127.0.0.1:5001"), Some("datagram".into()));
        // A port that is not published is refused by the host, not passed on.
        assert_eq!(outside.reads("10.99.0.1:80"), None);

        networks.release(&web.container.id).unwrap();
        assert_eq!(outside.reads("10.99.0.1:5001"), None);
        assert_eq!(reads("127.0.0.1:5001"), None);
    });
}

#[test]
fn a_port_of_one_address_is_open_there_only() {
    on_host(|world| {
        let networks = world.networks();
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        let web = Box::new("web", &["127.0.0.1:8080:80", "10.99.0.1:8081:80"]);
        let _attached = web.join(&networks, &networks.find("bridge").unwrap().id);
        web.serve(80, "web");
        assert_eq!(outside.reads("10.99.0.1:8081"), Some("web 10.99.0.2".into()));
        assert!(reads("10.99.0.1:8081").is_some());
        assert_eq!(outside.reads("10.99.0.1:8080"), None);
        assert_eq!(reads("10.99.0.1:8080"), None);
        assert!(reads("127.0.0.1:8080").is_some());
        assert_eq!(reads("127.0.0.1:8081"), None);
    });
}

/// A neighbour on the wire may send packets for 127.0.0.1 to the hardware address of this host.
#[test]
fn a_port_of_the_loopback_is_not_reached_from_the_wire() {
    on_host(|world| {
        let networks = world.networks();
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        let web = Box::new("web", &["127.0.0.1:8080:80"]);
        let _attached = web.join(&networks, &networks.find("bridge").unwrap().id);
        web.serve(80, "web");
        outside
            .netns
            .run(|| {
                let run = |arguments: &[&str]| {
                    std::process::Command::new("ip").args(arguments).status().unwrap();
                };
                run(&["addr", "del", "127.0.0.1/8", "dev", "lo"]);
                std::fs::write("/proc/sys/net/ipv4/conf/wire1/route_localnet", "1").unwrap();
                run(&["route", "add", "127.0.0.1/32", "via", "10.99.0.1"]);
            })
            .unwrap();
        assert!(outside.is_silent("127.0.0.1:8080"));
        assert!(reads("127.0.0.1:8080").is_some());
    });
}

/// Covers: B11-22, N3-046
#[test]
fn a_taken_port_is_refused_whether_a_container_or_a_program_has_it() {
    on_host(|world| {
        let networks = world.networks();
        let bridge = networks.find("bridge").unwrap().id;
        let first = Box::new("first", &["8080:80"]);
        let hold = first.join(&networks, &bridge).hold;
        assert_eq!(hold.len(), 1);
        // Another program is told as well.
        assert_eq!(
            TcpListener::bind("0.0.0.0:8080").unwrap_err().kind(),
            std::io::ErrorKind::AddrInUse
        );

        for (wish, taken) in [
            ("8080:80", "0.0.0.0:8080"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080"),
            ("8079-8081:79-81", "0.0.0.0:8080"),
        ] {
            let second = Box::new("second", &[wish]);
            let error = second.try_join(&networks, &Attachment::to(&bridge)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert_eq!(
                error.to_string(),
                format!("Bind for {taken} failed: port is already allocated")
            );
            assert_eq!(second.links(), Vec::<String>::new());
            assert_eq!(networks.endpoints(&bridge).unwrap().len(), 1);
        }
        let program = TcpListener::bind("127.0.0.1:9090").unwrap();
        let second = Box::new("second", &["9090:80"]);
        let error = second.try_join(&networks, &Attachment::to(&bridge)).unwrap_err();
        assert_eq!(error.to_string(), "Bind for 0.0.0.0:9090 failed: port is already allocated");
        drop(program);
        second.join(&networks, &bridge);
        // UDP is another matter.
        let third = Box::new("third", &["8080:80/udp"]);
        let _third = third.join(&networks, &bridge);
        assert!(UdpSocket::bind("0.0.0.0:8080").is_err());
    });
}

#[test]
fn random_ports_are_of_the_ephemeral_range_and_free() {
    on_host(|world| {
        let networks = world.networks();
        let bridge = networks.find("bridge").unwrap().id;
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003").unwrap();
        let program = TcpListener::bind("0.0.0.0:40001").unwrap();
        let first = Box::new("first", &["80", "81"]);
        let attached = first.join(&networks, &bridge);
        let ports: Vec<u16> = attached.endpoint.ports.iter().map(|port| port.host_port).collect();
        assert_eq!(ports, [40000, 40002]);
        let second = Box::new("second", &["80", "81"]);
        let error = second.try_join(&networks, &Attachment::to(&bridge)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert_eq!(
            error.to_string(),
            "all ports of the range 40000-40003 are allocated on 0.0.0.0"
        );
        drop(program);
    });
}

#[test]
fn ranges_give_one_port_to_each_or_the_first_free() {
    on_host(|world| {
        let networks = world.networks();
        let bridge = networks.find("bridge").unwrap().id;
        let shown = |inside: &Box| -> Vec<String> {
            let attached = inside.join(&networks, &bridge);
            attached.endpoint.ports.iter().map(ToString::to_string).collect()
        };
        let pairs = Box::new("pairs", &["9000-9001:80-81"]);
        assert_eq!(shown(&pairs), ["80/tcp -> 0.0.0.0:9000", "81/tcp -> 0.0.0.0:9001"]);
        let first = Box::new("first", &["9000-9010:80"]);
        assert_eq!(shown(&first), ["80/tcp -> 0.0.0.0:9002"]);
    });
}

/// Covers: B11-21
#[test]
fn on_a_network_with_ipv6_a_port_is_published_on_both() {
    on_host(|world| {
        let networks = world.networks();
        let six = networks.create(NetworkSpec { enable_ipv6: true, ..spec("six") }).unwrap();
        let web = Box::new("web", &["5001:80"]);
        let attached = web.join(&networks, &six.id);
        web.serve(80, "web");
        let shown: Vec<String> = attached.endpoint.ports.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["80/tcp -> 0.0.0.0:5001", "80/tcp -> [::]:5001"]);
        let gateway = attached.endpoint.gateway6.unwrap();
        assert!(reads(&format!("[{gateway}]:5001")).is_some());
        assert!(reads("127.0.0.1:5001").is_some());
    });
}

#[test]
fn an_address_that_the_container_cannot_have_is_refused() {
    on_host(|world| {
        let networks = world.networks();
        let bridge = networks.find("bridge").unwrap().id;
        for (wish, message) in [
            (
                "[::1]:80:80",
                "publish port 80 on ::1: the container has no IPv6 address on that network",
            ),
            ("10.1.2.3:80:80", "listen tcp 10.1.2.3:80: bind: Cannot assign requested address"),
        ] {
            let web = Box::new("web", &[wish]);
            let error = web.try_join(&networks, &Attachment::to(&bridge)).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
        }
    });
}

#[test]
fn published_ports_move_with_the_default_route() {
    on_host(|world| {
        let networks = world.networks();
        let [a, b] = ["a", "b"].map(|name| networks.create(spec(name)).unwrap());
        let web = Box::new("web", &["5001:80"]);
        let _hold = web.join(&networks, &b.id).hold;
        web.serve(80, "web");
        assert_eq!(reads("127.0.0.1:5001"), Some("web 172.19.0.1".into()));
        let first = web.join(&networks, &a.id);
        assert_eq!(first.endpoint.ports.len(), 1);
        assert_eq!(reads("127.0.0.1:5001"), Some("web 172.18.0.1".into()));
        networks.detach(&web.container.id, &a.id, Some(&web.netns)).unwrap();
        assert_eq!(reads("127.0.0.1:5001"), Some("web 172.19.0.1".into()));
        let of = networks.endpoints_of(&web.container.id).unwrap();
        assert_eq!(of[0].1.ports[0].to_string(), "80/tcp -> 0.0.0.0:5001");
    });
}

#[test]
fn ports_of_a_running_container_can_be_held_by_another_process() {
    on_host(|world| {
        let networks = world.networks();
        let web = Box::new("web", &["5001:80"]);
        let attached = web.join(&networks, &networks.find("bridge").unwrap().id);
        drop(attached.hold);
        let held = PortHold::of(&attached.endpoint.ports);
        assert!(!held.is_empty());
        assert!(TcpListener::bind("127.0.0.1:5001").is_err());
    });
}

/// Covers: RUN-53
#[test]
fn a_stream_of_datagrams_finds_a_container_that_comes_later_and_its_successor() {
    on_host(|world| {
        let networks = world.networks();
        let bridge = networks.find("bridge").unwrap().id;
        // Somebody else makes the host track connections already.
        Box::new("first", &[]).join(&networks, &bridge);
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        let socket = outside.netns.run(|| UdpSocket::bind("0.0.0.0:4444")).unwrap().unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(250))).unwrap();
        let ask = || {
            let mut buffer = [0; 100];
            let _ = socket.send_to(b"?", "10.99.0.1:5353");
            // The host's refusal of the packet before may be told first.
            let answer = socket.recv_from(&mut buffer).or_else(|_| socket.recv_from(&mut buffer));
            answer.ok().map(|(length, _)| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        assert_eq!(ask(), None);
        for word in ["one", "two"] {
            let server = Box::new(word, &["5353:53/udp"]);
            let attached = server.join(&networks, &bridge);
            server.serve_datagrams(53, word);
            assert_eq!(ask(), Some(word.to_owned()));
            networks.release(&server.container.id).unwrap();
            drop(attached);
        }
    });
}
