//! Defining, finding and removing networks.

use network::{Attachment, ErrorKind, NetworkSpec, Networks, Places, PoolSpec};

use crate::world::{Box, NOW, neighbour, on_host, output, spec, subnet};

/// Covers: B11-10, N3-026, N3-027, N4-74
#[test]
fn three_networks_are_always_there() {
    on_host(|world| {
        let networks = world.networks();
        let shown: Vec<String> = networks
            .list()
            .unwrap()
            .iter()
            .map(|n| format!("{} {} {} {}", n.name, n.driver, n.scope(), n.id.short().len()))
            .collect();
        assert_eq!(shown, ["bridge bridge local 12", "host host local 12", "none null local 12"]);
        assert_eq!(
            world.networks().find("bridge").unwrap().id,
            networks.find("bridge").unwrap().id
        );
    });
}

/// Covers: N3-028, N4-79
#[test]
fn the_default_bridge_shows_dockers_subnet_and_options() {
    on_host(|world| {
        let bridge = world.networks().find("bridge").unwrap();
        assert_eq!(bridge.pools[0].subnet, subnet("172.17.0.0/16"));
        assert_eq!(bridge.pools[0].gateway, Some("172.17.0.1".parse().unwrap()));
        let options: Vec<String> = bridge.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            options,
            [
                "com.docker.network.bridge.default_bridge=true",
                "com.docker.network.bridge.enable_icc=true",
                "com.docker.network.bridge.enable_ip_masquerade=true",
                "com.docker.network.bridge.host_binding_ipv4=0.0.0.0",
                "com.docker.network.bridge.name=wherry0",
                "com.docker.network.driver.mtu=1500",
            ]
        );
    });
}

/// Covers: B11-14, N3-031, N3-032
#[test]
fn a_network_is_a_bridge_of_the_kernel_named_by_its_id() {
    on_host(|world| {
        let networks = world.networks();
        let localnet = networks.create(spec("localnet")).unwrap();
        let name = format!("br-{}", &localnet.id.as_str()[..12]);
        assert_eq!(world.links(), std::slice::from_ref(&name));
        let shown = output("ip", &["-d", "link", "show", &name]);
        assert!(shown.contains("bridge forward_delay 0"), "{shown}");
        assert!(shown.contains("stp_state 0"), "{shown}");
        assert!(shown.contains("mtu 1500"), "{shown}");
        assert!(output("ip", &["addr", "show", &name]).contains("inet 172.18.0.1/16"));

        networks.remove(&localnet.id).unwrap();
        assert_eq!(world.links(), Vec::<String>::new());
        assert_eq!(
            networks.find("localnet").unwrap_err().to_string(),
            "network localnet not found"
        );
    });
}

/// Covers: B11-09, N3-025
#[test]
fn networks_of_one_name_on_two_hosts_are_two() {
    on_host(|one| {
        let networks = one.networks();
        let first = networks.create(spec("localnet")).unwrap();
        let (c1, c2) = (Box::new("c1", &[]), Box::new("c2", &[]));
        c1.join(&networks, &first.id);
        // The two hosts are on one wire.
        neighbour()
            .run(|| {
                let folders = tempfile::tempdir().unwrap();
                let places = Places {
                    root: folders.path().join("root"),
                    run_root: folders.path().join("run"),
                };
                let networks = Networks::open(places, NOW).unwrap();
                let second = networks.create(spec("localnet")).unwrap();
                assert_ne!(first.id, second.id);
                networks.attach(&c2.container, &Attachment::to(&second.id), &c2.netns).unwrap();
                let third = Box::new("c3", &[]);
                third.join(&networks, &second.id);
                third.serve(80, "three");
                assert!(c2.reads("172.18.0.3:80").is_some());
                assert_eq!(c1.reads("172.18.0.3:80"), None);
            })
            .unwrap();
    });
}

#[test]
fn names_ids_and_beginnings_of_ids_find_a_network() {
    on_host(|world| {
        let networks = world.networks();
        let network = networks.create(spec("localnet")).unwrap();
        for reference in ["localnet", network.id.as_str(), network.id.short()] {
            assert_eq!(networks.find(reference).unwrap().id, network.id);
        }
        for reference in ["", "nothing", "LOCALNET"] {
            assert!(networks.find(reference).unwrap_err().is_not_found());
        }
    });
}

#[test]
fn what_cannot_be_defined_is_refused_in_dockers_words_and_leaves_nothing() {
    on_host(|world| {
        let networks = world.networks();
        let first = networks
            .create(NetworkSpec {
                pools: vec![PoolSpec::of(subnet("10.5.0.0/16"))],
                ..spec("first")
            })
            .unwrap();
        let with =
            |name: &str, driver: &str, options: &[(&str, &str)], pool: Option<&str>| NetworkSpec {
                driver: driver.to_owned(),
                options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                pools: pool.map(|text| PoolSpec::of(subnet(text))).into_iter().collect(),
                ..spec(name)
            };
        let bridge_name = format!("br-{}", first.id.short());
        for (spec, message) in [
            (with("first", "bridge", &[], None), "network with name first already exists"),
            (
                with("bridge", "bridge", &[], None),
                "operation is not permitted on predefined bridge network",
            ),
            (with("a/b", "bridge", &[], None), "invalid network name \"a/b\""),
            (with("x", "overlay2", &[], None), "plugin \"overlay2\" not found"),
            (with("x", "host", &[], None), "only one instance of \"host\" network is allowed"),
            (with("x", "null", &[], None), "only one instance of \"null\" network is allowed"),
            (
                with("x", "bridge", &[], Some("10.5.1.0/24")),
                "Pool overlaps with other one on this address space",
            ),
            (
                with("x", "bridge", &[("com.docker.network.driver.mtu", "many")], None),
                "it is not a number",
            ),
            (
                with("x", "bridge", &[("com.docker.network.bridge.enable_icc", "maybe")], None),
                "neither true nor false",
            ),
            (
                with("x", "bridge", &[("com.docker.network.bridge.colour", "red")], None),
                "has no such option",
            ),
            (
                with("x", "bridge", &[("com.docker.network.bridge.name", "a/b")], None),
                "an interface has 1 to 15",
            ),
            (
                with("x", "bridge", &[("com.docker.network.bridge.name", &bridge_name)], None),
                "networks have same bridge name",
            ),
            (
                with("x", "bridge", &[("com.docker.network.bridge.name", "lo")], None),
                "is no bridge",
            ),
            (with("x", "macvlan", &[], None), "without an interface below"),
            (with("x", "macvlan", &[("parent", "eth9")], None), "was not found on this host"),
            (
                with("x", "macvlan", &[("parent", "lo"), ("macvlan_mode", "odd")], None),
                "none of bridge, passthru",
            ),
        ] {
            let error = networks.create(spec).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        assert_eq!(world.definition_files(), 4);
        assert_eq!(world.links(), [bridge_name]);
    });
}

#[test]
fn options_of_a_bridge_are_in_force() {
    on_host(|world| {
        let networks = world.networks();
        let options = [
            ("com.docker.network.bridge.name", "br-mine"),
            ("com.docker.network.driver.mtu", "1400"),
            ("com.docker.network.container_iface_prefix", "net"),
        ];
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let network = networks.create(NetworkSpec { options, ..spec("mine") }).unwrap();
        assert_eq!(world.links(), ["br-mine"]);
        let inside = Box::new("c1", &[]);
        let endpoint = inside.join(&networks, &network.id).endpoint;
        assert_eq!(endpoint.interface.as_deref(), Some("net0"));
        let shown = inside.netns.run(|| output("ip", &["link", "show", "net0"])).unwrap();
        assert!(shown.contains("mtu 1400"), "{shown}");
    });
}

/// Covers: N4-28, N4-29
#[test]
fn a_bridge_that_was_there_before_is_used_and_kept() {
    on_host(|world| {
        output("ip", &["link", "add", "br-own", "type", "bridge"]);
        let networks = world.networks();
        let options = [("com.docker.network.bridge.name".to_owned(), "br-own".to_owned())].into();
        let pools = vec![PoolSpec::of(subnet("10.11.0.0/16"))];
        let network = networks.create(NetworkSpec { options, pools, ..spec("own") }).unwrap();
        assert!(output("ip", &["addr", "show", "br-own"]).contains("10.11.0.1/16"));
        networks.remove(&network.id).unwrap();
        assert_eq!(world.links(), ["br-own"]);
    });
}

/// Covers: RUN-57
#[test]
fn default_pools_step_around_the_hosts_routes_until_none_is_left() {
    on_host(|world| {
        output("ip", &["link", "add", "lan", "type", "bridge"]);
        output("ip", &["addr", "add", "172.18.3.4/24", "dev", "lan"]);
        output("ip", &["link", "set", "lan", "up"]);
        let networks = world.networks();
        let mut subnets = Vec::new();
        let error = loop {
            match networks.create(spec(&format!("n{}", subnets.len()))) {
                Ok(network) => subnets.push(network.pools[0].subnet.to_string()),
                Err(error) => break error,
            }
        };
        assert_eq!(subnets[0], "172.19.0.0/16");
        assert_eq!(subnets.len(), 13 + 16);
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert!(
            error
                .to_string()
                .starts_with("could not find an available, non-overlapping IPv4 address pool")
        );
    });
}

#[test]
fn predefined_networks_and_those_in_use_stay() {
    on_host(|world| {
        let networks = world.networks();
        for name in ["bridge", "host", "none"] {
            let id = networks.find(name).unwrap().id;
            let error = networks.remove(&id).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{name} is a pre-defined network and cannot be removed")
            );
        }
        let network = networks.create(spec("localnet")).unwrap();
        let inside = Box::new("c1", &[]);
        inside.join(&networks, &network.id);
        let error = networks.remove(&network.id).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "error while removing network: network localnet id {} has active endpoints",
                network.id
            )
        );
        networks.release(&inside.container.id).unwrap();
        networks.remove(&network.id).unwrap();
    });
}

#[test]
fn definitions_of_another_version_or_damaged_ones_are_refused_by_name() {
    on_host(|world| {
        world.networks();
        let folder = world.places().root.join("networks");
        let file = folder.join(format!("{}.json", "a".repeat(64)));
        std::fs::write(&file, "{\"format\": 2}").unwrap();
        let message = |places| Networks::open(places, NOW).unwrap_err().to_string();
        assert!(
            message(world.places()).contains("format 2 is not known to this version (it knows 1)")
        );
        std::fs::write(&file, "{\"format\": 1, \"na").unwrap();
        assert!(message(world.places()).contains("is damaged"));
    });
}

/// Covers: N3-013, N3-014
#[test]
fn the_drivers_are_listed_and_those_of_windows_are_refused_by_name() {
    assert_eq!(network::driver_names(), ["bridge", "host", "ipvlan", "macvlan", "null"]);
    on_host(|world| {
        for driver in ["nat", "transparent", "l2bridge"] {
            let error = world.networks().create(NetworkSpec { driver: driver.into(), ..spec("w") });
            assert!(
                error.unwrap_err().to_string().contains(&format!("plugin {driver:?} not found"))
            );
        }
    });
}
