//! Joining and leaving networks.

use network::{Attachment, ErrorKind, NetworkSpec, PoolSpec, Resolver};

use crate::world::{Box, ip, is_silent, neighbour, on_host, output, reads, skip, spec, subnet};

/// Covers: B11-01, B11-02, B11-15, B11-16, B11-17, N3-033, N3-036, N4-81
#[test]
fn a_container_gets_an_interface_an_address_a_hardware_address_and_a_way_out() {
    on_host(|world| {
        let networks = world.networks();
        let localnet = networks.create(spec("localnet")).unwrap();
        let c1 = Box::new("c1", &[]);
        let endpoint = c1.join(&networks, &localnet.id).endpoint;
        assert_eq!(endpoint.ipv4.unwrap().to_string(), "172.18.0.2/16");
        assert_eq!(endpoint.mac.unwrap().to_string(), "02:42:ac:12:00:02");
        assert_eq!(endpoint.interface.as_deref(), Some("eth0"));
        assert!(endpoint.default_route);
        assert_eq!(networks.endpoints(&localnet.id).unwrap(), std::slice::from_ref(&endpoint));

        let shown = c1.netns.run(|| output("ip", &["addr", "show", "eth0"])).unwrap();
        assert!(shown.contains("link/ether 02:42:ac:12:00:02"), "{shown}");
        assert!(shown.contains("inet 172.18.0.2/16 brd 172.18.255.255"), "{shown}");
        assert!(shown.contains("mtu 1500") && shown.contains("UP"), "{shown}");
        let routes = c1.netns.run(|| output("ip", &["route"])).unwrap();
        assert!(routes.contains("default via 172.18.0.1 dev eth0"), "{routes}");
        let lo = c1.netns.run(|| output("ip", &["addr", "show", "lo"])).unwrap();
        assert!(lo.contains("127.0.0.1/8") && lo.contains("::1/128"), "{lo}");
        let ports = output("ip", &["-o", "link", "show", "master", &world.links()[0]]);
        assert!(ports.contains(endpoint.host_interface.as_deref().unwrap()), "{ports}");
    });
}

/// Covers: B11-04, B11-41, N3-009, N3-010, RUN-52
#[test]
fn containers_meet_on_a_common_network_only() {
    on_host(|world| {
        let networks = world.networks();
        let a = networks.create(spec("a")).unwrap();
        let b = networks.create(spec("b")).unwrap();
        let (c1, c2, c3) = (Box::new("c1", &[]), Box::new("c2", &[]), Box::new("c3", &[]));
        let ip1 = ip(&c1.join(&networks, &a.id).endpoint);
        let middle_a = ip(&c2.join(&networks, &a.id).endpoint);
        let middle_b = ip(&c2.join(&networks, &b.id).endpoint);
        let ip3 = ip(&c3.join(&networks, &b.id).endpoint);
        for (inside, word) in [(&c1, "one"), (&c2, "two"), (&c3, "three")] {
            inside.serve(80, word);
        }
        assert_eq!(c1.reads(&format!("{middle_a}:80")), Some(format!("two {ip1}")));
        assert_eq!(c3.reads(&format!("{middle_b}:80")), Some(format!("two {ip3}")));
        assert_eq!(c2.reads(&format!("{ip1}:80")), Some(format!("one {middle_a}")));
        assert_eq!(c2.reads(&format!("{ip3}:80")), Some(format!("three {middle_b}")));
        assert!(c1.is_silent(&format!("{ip3}:80")));
        assert!(c3.is_silent(&format!("{ip1}:80")));
        assert!(c1.is_silent(&format!("{middle_b}:80")));
        // The host itself reaches all of them.
        assert_eq!(reads(&format!("{ip1}:80")), Some("one 172.18.0.1".into()));
    });
}

/// Covers: B11-03, N3-006, N3-008
#[test]
fn containers_of_a_network_are_machines_on_one_switch_with_ports_and_routes_of_their_own() {
    on_host(|world| {
        let networks = world.networks();
        let network = networks.create(spec("n")).unwrap();
        let (c1, c2) = (Box::new("c1", &[]), Box::new("c2", &[]));
        c1.join(&networks, &network.id);
        let second = c2.join(&networks, &network.id).endpoint;
        // The same port twice.
        c1.serve(80, "one");
        c2.serve(80, "two");
        let c2_ip = ip(&second);
        assert!(c1.reads(&format!("{c2_ip}:80")).is_some_and(|text| text.starts_with("two")));
        assert!(c1.reads("127.0.0.1:80").is_some_and(|text| text.starts_with("one")));
        // The other is a neighbour by its own hardware address: no router is between them.
        let seen = c1.netns.run(|| output("ip", &["neigh", "show", &c2_ip])).unwrap();
        assert!(seen.contains(&second.mac.unwrap().to_string()), "{seen}");
        c1.netns.run(|| output("ip", &["route", "add", "192.0.2.0/24", "dev", "eth0"])).unwrap();
        let routes = c2.netns.run(|| output("ip", &["route"])).unwrap();
        assert!(!routes.contains("192.0.2.0"), "{routes}");
        assert!(!output("ip", &["route"]).contains("192.0.2.0"));
    });
}

/// Covers: B11-06, B11-08, N3-001, N3-023, N3-024
#[test]
fn drivers_work_side_by_side_and_each_removes_its_own() {
    on_host(|world| {
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        outside.serve(80, "lan");
        let networks = world.networks();
        let a = networks.create(spec("a")).unwrap();
        let spec = macvlan("m", "wire0", "10.99.0.0/24", "10.99.0.128/25", "10.99.0.2");
        let m = networks.create(spec).unwrap();
        let (both, quiet, inner) =
            (Box::new("both", &[]), Box::new("quiet", &[]), Box::new("inner", &[]));
        both.join(&networks, &a.id);
        both.join(&networks, &m.id);
        quiet.join(&networks, &networks.find("none").unwrap().id);
        let c = inner.join(&networks, &a.id).endpoint;
        inner.serve(80, "inner");
        assert_eq!(both.links(), ["eth0", "eth1"]);
        assert!(both.reads(&format!("{}:80", ip(&c))).is_some());
        assert_eq!(both.reads("10.99.0.2:80"), Some("lan 10.99.0.128".into()));
        networks.detach(&both.container.id, &m.id, Some(&both.netns)).unwrap();
        networks.remove(&m.id).unwrap();
        assert!(both.reads(&format!("{}:80", ip(&c))).is_some(), "the bridge is not the macvlan's");
        networks.release(&both.container.id).unwrap();
        networks.release(&inner.container.id).unwrap();
        networks.remove(&a.id).unwrap();
        assert_eq!(world.links(), ["wire0"]);
    });
}

/// Covers: B11-13, N3-029, N4-83
#[test]
fn containers_on_the_default_bridge_reach_each_other_by_address() {
    on_host(|world| {
        let networks = world.networks();
        let bridge = networks.find("bridge").unwrap().id;
        let (c1, c2) = (Box::new("alpine1", &[]), Box::new("alpine2", &[]));
        c1.join(&networks, &bridge);
        c2.join(&networks, &bridge);
        c2.serve(80, "alpine2");
        assert_eq!(c1.reads("172.17.0.3:80"), Some("alpine2 172.17.0.2".into()));
        let shown = output("ip", &["-d", "link", "show", "wherry0"]);
        assert!(shown.contains("mtu 1500") && shown.contains("bridge forward_delay"), "{shown}");
    });
}

/// Covers: B11-42, N3-015, N4-82
#[test]
fn containers_reach_the_outside_under_the_hosts_address_and_are_not_reached_from_there() {
    on_host(|world| {
        let networks = world.networks();
        let other = neighbour();
        let outside = Box { netns: other, ..Box::new("outside", &[]) };
        outside.serve(80, "hello");
        let c1 = Box::new("c1", &[]);
        let bridge = networks.find("bridge").unwrap();
        let ip = ip(&c1.join(&networks, &bridge.id).endpoint);
        c1.serve(80, "inside");
        assert_eq!(c1.reads("10.99.0.2:80"), Some("hello 10.99.0.1".into()));
        // The neighbour has a route through this host: packets arrive and are dropped.
        assert!(outside.is_silent(&format!("{ip}:80")));
        assert_eq!(reads(&format!("{ip}:80")), Some("inside 172.17.0.1".into()));
    });
}

#[test]
fn nothing_leaves_or_enters_an_internal_network() {
    on_host(|world| {
        let networks = world.networks();
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        outside.serve(80, "hello");
        let inner = networks.create(NetworkSpec { internal: true, ..spec("inner") }).unwrap();
        let open = networks.create(spec("open")).unwrap();
        let (c1, c2, c3) = (Box::new("c1", &[]), Box::new("c2", &[]), Box::new("c3", &["8080:80"]));
        let first = c1.join(&networks, &inner.id).endpoint;
        let second = c2.join(&networks, &inner.id).endpoint;
        let _third = c3.join(&networks, &open.id);
        c2.serve(80, "two");
        c3.serve(80, "three");
        assert!(!first.default_route && first.gateway4.is_none());
        assert_eq!(c1.reads(&format!("{}:80", ip(&second))), Some(format!("two {}", ip(&first))));
        // Not even with a route of its own making, nor through a published port of another network.
        c1.netns.run(|| output("ip", &["route", "add", "default", "via", "172.18.0.1"])).unwrap();
        assert!(c1.is_silent("10.99.0.2:80"));
        assert!(c1.is_silent("172.18.0.1:8080"));
        assert!(outside.is_silent(&format!("{}:80", ip(&second))));
    });
}

#[test]
fn containers_of_a_separated_network_reach_the_outside_but_not_each_other() {
    on_host(|world| {
        let networks = world.networks();
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        outside.serve(80, "hello");
        let options =
            [("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())].into();
        let apart = networks.create(NetworkSpec { options, ..spec("apart") }).unwrap();
        let (c1, c2) = (Box::new("c1", &[]), Box::new("c2", &["8080:80"]));
        c1.join(&networks, &apart.id);
        let second = c2.join(&networks, &apart.id);
        c2.serve(80, "two");
        assert_eq!(c1.reads("10.99.0.2:80"), Some("hello 10.99.0.1".into()));
        assert_eq!(c1.reads(&format!("{}:80", ip(&second.endpoint))), None);
        // The gateway does not pass it on either.
        let target = format!("{}/32", ip(&second.endpoint));
        c1.netns.run(|| output("ip", &["route", "add", &target, "via", "172.18.0.1"])).unwrap();
        assert!(c1.is_silent(&format!("{}:80", ip(&second.endpoint))));
    });
}

/// Covers: N3-016, N3-017, B11-02, N3-007
#[test]
fn a_running_container_joins_and_leaves_further_networks() {
    on_host(|world| {
        let networks = world.networks();
        let a = networks.create(spec("a")).unwrap();
        let b = networks.create(spec("b")).unwrap();
        let c1 = Box::new("c1", &[]);
        c1.join(&networks, &a.id);
        assert_eq!(c1.links(), ["eth0"]);
        let second = c1.join(&networks, &b.id).endpoint;
        assert_eq!(second.interface.as_deref(), Some("eth1"));
        assert_eq!(c1.links(), ["eth0", "eth1"]);
        let error = c1.try_join(&networks, &Attachment::to(&b.id)).unwrap_err();
        assert_eq!(error.to_string(), "endpoint with name c1 already exists in network b");

        networks.detach(&c1.container.id, &a.id, Some(&c1.netns)).unwrap();
        assert_eq!(c1.links(), ["eth1"]);
        let routes = c1.netns.run(|| output("ip", &["route"])).unwrap();
        assert!(routes.contains("default via 172.19.0.1 dev eth1"), "{routes}");
        let error = networks.detach(&c1.container.id, &a.id, Some(&c1.netns)).unwrap_err();
        assert!(error.to_string().ends_with("is not connected to network a"), "{error}");
        // The freed number is used again.
        assert_eq!(c1.join(&networks, &a.id).endpoint.interface.as_deref(), Some("eth0"));
    });
}

#[test]
fn the_default_route_follows_priority_then_the_networks_name() {
    on_host(|world| {
        let networks = world.networks();
        let [a, b, c] = ["a", "b", "c"].map(|name| networks.create(spec(name)).unwrap());
        let c1 = Box::new("c1", &[]);
        let way = || c1.netns.run(|| output("ip", &["route", "show", "default"])).unwrap();
        c1.join(&networks, &b.id);
        assert!(way().contains("dev eth0"));
        c1.join(&networks, &a.id);
        assert!(way().contains("dev eth1"), "{}", way());
        let high = Attachment { gateway_priority: 5, ..Attachment::to(&c.id) };
        c1.try_join(&networks, &high).unwrap();
        assert!(way().contains("dev eth2"), "{}", way());
        networks.detach(&c1.container.id, &c.id, Some(&c1.netns)).unwrap();
        assert!(way().contains("dev eth1"), "{}", way());
        assert_eq!(way().lines().count(), 1);
    });
}

#[test]
fn addresses_and_hardware_addresses_can_be_asked_for() {
    on_host(|world| {
        let networks = world.networks();
        let pools = vec![PoolSpec::of(subnet("10.5.0.0/24"))];
        let network = networks.create(NetworkSpec { pools, ..spec("n") }).unwrap();
        let wish = |ip: &str| Attachment {
            ipv4: Some(ip.parse().unwrap()),
            mac: Some("92:d0:c6:0a:29:33".parse().unwrap()),
            ..Attachment::to(&network.id)
        };
        let c1 = Box::new("c1", &[]);
        let endpoint = c1.try_join(&networks, &wish("10.5.0.77")).unwrap().endpoint;
        assert_eq!(endpoint.ipv4.unwrap().to_string(), "10.5.0.77/24");
        let shown = c1.netns.run(|| output("ip", &["link", "show", "eth0"])).unwrap();
        assert!(shown.contains("92:d0:c6:0a:29:33"), "{shown}");

        let c2 = Box::new("c2", &[]);
        let error = c2.try_join(&networks, &wish("10.5.0.77")).unwrap_err();
        assert_eq!(error.to_string(), "Address already in use: 10.5.0.77 in network n");
        let error = c2.try_join(&networks, &wish("10.5.0.78")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "MAC address 92:d0:c6:0a:29:33 is already in use in network n"
        );
        let error = c2.try_join(&networks, &wish("10.6.0.1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let bridge = networks.find("bridge").unwrap();
        let error = c2
            .try_join(
                &networks,
                &Attachment {
                    ipv4: Some("172.17.0.9".parse().unwrap()),
                    ..Attachment::to(&bridge.id)
                },
            )
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "user specified IP address is supported on user defined networks only"
        );
        let error = c2
            .try_join(
                &networks,
                &Attachment { aliases: vec!["x".into()], ..Attachment::to(&bridge.id) },
            )
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "network-scoped alias is supported on user defined networks only"
        );
        assert_eq!(c2.links(), Vec::<String>::new());
    });
}

#[test]
fn a_full_network_says_so_and_a_freed_address_is_given_again() {
    on_host(|world| {
        let networks = world.networks();
        let pools = vec![PoolSpec::of(subnet("10.5.0.0/29"))];
        let network = networks.create(NetworkSpec { pools, ..spec("small") }).unwrap();
        let all: Vec<Box> = (0..5).map(|n| Box::new(&format!("c{n}"), &[])).collect();
        for inside in &all {
            inside.join(&networks, &network.id);
        }
        let late = Box::new("late", &[]);
        let error = late.try_join(&networks, &Attachment::to(&network.id)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert_eq!(
            error.to_string(),
            format!(
                "no available IPv4 addresses on this network's address pools: small ({})",
                network.id
            )
        );
        networks.release(&all[2].container.id).unwrap();
        assert_eq!(ip(&late.join(&networks, &network.id).endpoint), "10.5.0.4");
    });
}

/// Covers: RUN-58
#[test]
fn a_network_with_ipv6_gives_both_addresses_and_both_work() {
    on_host(|world| {
        let networks = world.networks();
        let network = networks.create(NetworkSpec { enable_ipv6: true, ..spec("six") }).unwrap();
        let (c1, c2) = (Box::new("c1", &[]), Box::new("c2", &[]));
        let first = c1.join(&networks, &network.id).endpoint;
        let second = c2.join(&networks, &network.id).endpoint;
        let six = second.ipv6.unwrap();
        assert!(six.ip().to_string().starts_with("fd"));
        c2.serve(80, "two");
        let answer = c1.reads(&format!("[{}]:80", six.ip()));
        assert_eq!(answer, Some(format!("two {}", first.ipv6.unwrap().ip())));
        assert!(c1.reads(&format!("{}:80", ip(&second))).is_some());
        let routes = c1.netns.run(|| output("ip", &["-6", "route", "show", "default"])).unwrap();
        assert!(routes.contains(&first.gateway6.unwrap().to_string()), "{routes}");
    });
}

/// Covers: N3-018, N3-021, N4-75
#[test]
fn host_and_none_make_nothing_and_stand_alone() {
    on_host(|world| {
        let networks = world.networks();
        let [bridge, host, none] =
            ["bridge", "host", "none"].map(|name| networks.find(name).unwrap());
        let quiet = Box::new("quiet", &[]);
        let endpoint = quiet.join(&networks, &none.id).endpoint;
        assert_eq!((endpoint.interface, endpoint.ipv4), (None, None));
        assert_eq!(quiet.links(), Vec::<String>::new());
        let error = quiet.try_join(&networks, &Attachment::to(&bridge.id)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);

        let plain = Box::new("plain", &[]);
        plain.join(&networks, &host.id);
        assert_eq!(networks.resolver_of(&plain.container.id).unwrap(), Resolver::Host);
        assert_eq!(networks.endpoints(&host.id).unwrap().len(), 1);
        assert_eq!(world.links(), Vec::<String>::new());
    });
}

/// A macvlan network on an interface of the host.
fn macvlan(name: &str, parent: &str, net: &str, range: &str, gateway: &str) -> NetworkSpec {
    let pools = PoolSpec::from_flags(&[net], &[gateway], &[range], &[]).unwrap();
    let options = [("parent".to_owned(), parent.to_owned())].into();
    NetworkSpec { driver: "macvlan".to_owned(), pools, options, ..spec(name) }
}

/// Covers: B11-25, N3-020, N3-051
#[test]
fn containers_on_macvlan_are_machines_on_the_wire() {
    on_host(|world| {
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        outside.serve(80, "lan");
        let networks = world.networks();
        let network = networks
            .create(macvlan("m", "wire0", "10.99.0.0/24", "10.99.0.128/25", "10.99.0.2"))
            .unwrap();
        assert_eq!(world.links(), ["wire0"]);
        let c1 = Box::new("mactainer1", &[]);
        let endpoint = c1.join(&networks, &network.id).endpoint;
        assert_eq!(endpoint.ipv4.unwrap().to_string(), "10.99.0.128/24");
        assert_eq!(c1.reads("10.99.0.2:80"), Some("lan 10.99.0.128".into()));
        c1.serve(80, "container");
        assert_eq!(outside.reads("10.99.0.128:80"), Some("container 10.99.0.2".into()));
        let seen = outside.netns.run(|| output("ip", &["neigh", "show", "10.99.0.128"])).unwrap();
        assert!(seen.contains(&endpoint.mac.unwrap().to_string()), "{seen}");
        let error =
            networks.create(macvlan("n", "wire0", "10.99.0.0/24", "10.99.0.0/25", "10.99.0.2"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("network m is already using parent interface wire0"), "{error}");
        networks.detach(&c1.container.id, &network.id, Some(&c1.netns)).unwrap();
        assert_eq!(c1.links(), Vec::<String>::new());
        networks.remove(&network.id).unwrap();
        assert_eq!(world.links(), ["wire0"]);
    });
}

/// Covers: B11-23, B11-26, N3-048, N3-053
#[test]
fn macvlan_networks_make_and_remove_the_vlans_that_they_name() {
    on_host(|world| {
        let other = neighbour();
        let networks = world.networks();
        let first =
            networks.create(macvlan("v100", "wire0.100", "10.0.0.0/24", "10.0.0.0/25", "10.0.0.1"));
        let first = match first {
            Ok(network) => network,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.to_string().contains("CONFIG_VLAN_8021Q"), "{error}");
                assert_eq!(world.links(), ["wire0"]);
                return skip("needs a kernel with 802.1Q");
            }
        };
        // The other machine on the wire has the same VLANs.
        other
            .run(|| {
                for (tag, address) in [("100", "10.0.0.1/24"), ("200", "192.168.3.1/24")] {
                    let name = format!("wire1.{tag}");
                    output(
                        "ip",
                        &["link", "add", "link", "wire1", "name", &name, "type", "vlan", "id", tag],
                    );
                    output("ip", &["addr", "add", address, "dev", &name]);
                    output("ip", &["link", "set", &name, "up"]);
                }
            })
            .unwrap();
        let outside = Box { netns: other, ..Box::new("outside", &[]) };
        outside.serve(80, "lan");
        let spec = macvlan("v200", "wire0.200", "192.168.3.0/24", "192.168.3.0/25", "192.168.3.1");
        let second = networks.create(spec).unwrap();
        assert_eq!(world.links(), ["wire0", "wire0.100", "wire0.200"]);
        let (c1, c2) = (Box::new("mactainer1", &[]), Box::new("mactainer2", &[]));
        c1.join(&networks, &first.id);
        c2.join(&networks, &second.id);
        assert_eq!(c1.reads("10.0.0.1:80"), Some("lan 10.0.0.2".into()));
        assert_eq!(c2.reads("192.168.3.1:80"), Some("lan 192.168.3.2".into()));
        for (inside, network) in [(&c1, &first), (&c2, &second)] {
            networks.detach(&inside.container.id, &network.id, Some(&inside.netns)).unwrap();
            networks.remove(&network.id).unwrap();
        }
        assert_eq!(world.links(), ["wire0"]);
    });
}

/// Covers: B11-24
#[test]
fn ports_are_not_published_on_macvlan() {
    on_host(|world| {
        let _wire = neighbour();
        let networks = world.networks();
        let options = [("parent".to_owned(), "wire0".to_owned())].into();
        let pools = vec![PoolSpec::of(subnet("10.99.0.0/24"))];
        let driver = "macvlan".to_owned();
        let network = networks.create(NetworkSpec { driver, options, pools, ..spec("m") }).unwrap();
        let c1 = Box::new("c1", &["8080:80"]);
        assert_eq!(c1.join(&networks, &network.id).endpoint.ports, []);
        networks.release(&c1.container.id).unwrap();
        networks.remove(&network.id).unwrap();
        assert_eq!(world.links(), ["wire0"], "the parent was there before");
    });
}

#[test]
fn ipvlan_is_made_or_refused_by_name() {
    on_host(|world| {
        let _wire = neighbour();
        let networks = world.networks();
        let options = [("parent".to_owned(), "wire0".to_owned())].into();
        let made = networks.create(NetworkSpec { driver: "ipvlan".into(), options, ..spec("i") });
        match made {
            Ok(network) => {
                let c1 = Box::new("c1", &[]);
                c1.join(&networks, &network.id);
                assert_eq!(c1.links(), ["eth0"]);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.to_string().contains("this kernel does not have it (CONFIG_IPVLAN)"));
                assert_eq!(networks.list().unwrap().len(), 3);
            }
        }
    });
}

#[test]
fn a_veth_that_is_gone_hinders_neither_leaving_nor_release() {
    on_host(|world| {
        let networks = world.networks();
        let a = networks.create(spec("a")).unwrap();
        let c1 = Box::new("c1", &[]);
        let endpoint = c1.join(&networks, &a.id).endpoint;
        output("ip", &["link", "del", endpoint.host_interface.as_deref().unwrap()]);
        networks.detach(&c1.container.id, &a.id, Some(&c1.netns)).unwrap();
        let again = c1.join(&networks, &a.id).endpoint;
        c1.netns.run(|| output("ip", &["link", "del", "eth0"])).unwrap();
        assert!(!world.links().contains(&again.host_interface.unwrap()));
        networks.release(&c1.container.id).unwrap();
        networks.release(&c1.container.id).unwrap();
        networks.remove(&a.id).unwrap();
        assert_eq!(world.links(), Vec::<String>::new());
    });
}

#[test]
fn the_hosts_loopback_is_closed_to_containers() {
    on_host(|world| {
        let networks = world.networks();
        let listener = std::net::TcpListener::bind("127.0.0.1:7777").unwrap();
        let c1 = Box::new("c1", &[]);
        c1.join(&networks, &networks.find("bridge").unwrap().id);
        // As a container with NET_ADMIN would: send packets for 127.0.0.1 to the gateway.
        c1.netns
            .run(|| {
                output("ip", &["addr", "del", "127.0.0.1/8", "dev", "lo"]);
                output("ip", &["route", "add", "127.0.0.1/32", "via", "172.17.0.1"]);
                std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
                std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
                output("ip", &["route", "del", "table", "local", "127.0.0.0/8", "dev", "lo"]);
            })
            .map(drop)
            .unwrap_or_default();
        assert!(c1.is_silent("127.0.0.1:7777") || c1.reads("127.0.0.1:7777").is_none());
        assert!(!is_silent("127.0.0.1:7777"));
        drop(listener);
        let _ = world;
    });
}
