use proptest::prelude::*;

use super::*;

fn spec(pools: Vec<PoolSpec>, ipv6: bool) -> NetworkSpec {
    NetworkSpec { pools, enable_ipv6: ipv6, ..NetworkSpec::new("n", "2026-01-01T00:00:00Z") }
}

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn taken(texts: &[&str]) -> Vec<Taken> {
    texts.iter().map(|text| Taken { subnet: subnet(text), holder: format!("of-{text}") }).collect()
}

fn network(pools: Vec<Pool>) -> Network {
    Network {
        id: crate::NetworkId::generate().unwrap(),
        name: "n".into(),
        driver: "bridge".into(),
        options: Default::default(),
        pools,
        ipam_driver: "default".into(),
        ipam_options: Default::default(),
        internal: false,
        attachable: false,
        enable_ipv6: false,
        labels: Default::default(),
        created: String::new(),
        adopted: false,
    }
}

fn chosen(networks: &[&str], routes: &[&str]) -> String {
    let routes: Vec<Subnet> = routes.iter().map(|text| subnet(text)).collect();
    match pools(&spec(Vec::new(), false), &taken(networks), &routes, Overlap::Refuse, [0; 5]) {
        Ok(pools) => format!("{} {}", pools[0].subnet, pools[0].gateway.unwrap()),
        Err(error) => error.to_string(),
    }
}

/// Covers: N3-035
#[test]
fn default_subnets_are_dockers_and_avoid_networks_and_routes() {
    assert_eq!(chosen(&[], &[]), "172.17.0.0/16 172.17.0.1");
    assert_eq!(chosen(&["172.17.0.0/16"], &[]), "172.18.0.0/16 172.18.0.1");
    assert_eq!(
        chosen(&["172.17.0.0/16", "172.18.0.0/16"], &["172.19.5.0/24"]),
        "172.20.0.0/16 172.20.0.1"
    );
    assert_eq!(chosen(&["172.16.0.0/12"], &[]), "192.168.0.0/20 192.168.0.1");
    assert_eq!(chosen(&["172.16.0.0/12"], &["192.168.1.0/24"]), "192.168.16.0/20 192.168.16.1");
}

#[test]
fn without_a_free_default_pool_the_error_says_so() {
    let message = chosen(&["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"], &[]);
    assert_eq!(
        message,
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network; give one with --subnet"
    );
}

#[test]
fn ipv6_without_a_subnet_is_a_unique_local_one() {
    let pools = pools(&spec(Vec::new(), true), &[], &[], Overlap::Refuse, [1, 2, 3, 4, 5]).unwrap();
    assert_eq!(pools[1].subnet, subnet("fd01:203:405::/64"));
    assert_eq!(pools[1].gateway, Some("fd01:203:405::1".parse().unwrap()));
    let next = [Taken { subnet: pools[1].subnet, holder: "x".into() }];
    let other = super::pools(&spec(Vec::new(), true), &next, &[], Overlap::Refuse, [1, 2, 3, 4, 5]);
    assert_eq!(other.unwrap()[1].subnet, subnet("fd01:203:405:1::/64"));
}

#[test]
fn a_subnet_of_another_network_is_refused_but_on_a_wire_of_its_own() {
    let asked = spec(vec![PoolSpec::of(subnet("172.18.5.0/24"))], false);
    let others = taken(&["172.18.0.0/16"]);
    let error = pools(&asked, &others, &[], Overlap::Refuse, [0; 5]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Pool overlaps with other one on this address space: 172.18.5.0/24 and network of-172.18.0.0/16"
    );
    assert!(pools(&asked, &others, &[], Overlap::Accept, [0; 5]).is_ok());
}

#[test]
fn gateways_and_auxiliary_addresses_must_be_hosts_of_the_subnet() {
    let pool = |gateway: Option<&str>, aux: Option<&str>| PoolSpec {
        gateway: gateway.map(|ip| ip.parse().unwrap()),
        auxiliary: aux.map(|ip| ("a".to_owned(), ip.parse().unwrap())).into_iter().collect(),
        ..PoolSpec::of(subnet("10.0.0.0/24"))
    };
    for (gateway, aux, message) in [
        (
            Some("10.0.0.0"),
            None,
            "invalid gateway 10.0.0.0: it is not a host address of 10.0.0.0/24",
        ),
        (
            Some("10.0.0.255"),
            None,
            "invalid gateway 10.0.0.255: it is not a host address of 10.0.0.0/24",
        ),
        (
            Some("10.1.0.1"),
            None,
            "invalid gateway 10.1.0.1: it is not a host address of 10.0.0.0/24",
        ),
        (Some("10.0.0.1"), Some("10.0.0.1"), "aux-address 10.0.0.1 is the gateway of 10.0.0.0/24"),
    ] {
        let asked = spec(vec![pool(gateway, aux)], false);
        let error = pools(&asked, &[], &[], Overlap::Refuse, [0; 5]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    // A gateway that nobody asked for steps out of the way.
    let asked = spec(vec![pool(None, Some("10.0.0.1"))], false);
    let made = pools(&asked, &[], &[], Overlap::Refuse, [0; 5]).unwrap();
    assert_eq!(made[0].gateway, Some("10.0.0.2".parse().unwrap()));
}

/// Covers: N3-050
#[test]
fn containers_get_addresses_of_the_range_only_while_the_mask_stays() {
    let asked =
        PoolSpec::from_flags(&["10.0.0.0/24"], &["10.0.0.1"], &["10.0.0.0/30"], &[]).unwrap();
    let made = pools(&spec(asked, false), &[], &[], Overlap::Refuse, [0; 5]).unwrap();
    let network = network(made);
    let mut used = BTreeSet::new();
    let mut given = Vec::new();
    let error = loop {
        match allocate(&network, Family::V4, &used, None) {
            Ok((ip, pool)) => {
                assert_eq!(pool.subnet.prefix(), 24);
                used.insert(ip);
                given.push(ip.to_string());
            }
            Err(error) => break error,
        }
    };
    assert_eq!(given, ["10.0.0.2", "10.0.0.3"]);
    assert_eq!(error.kind(), crate::ErrorKind::Exhausted);
    assert!(
        error
            .to_string()
            .starts_with("no available IPv4 addresses on this network's address pools: n (")
    );
}

#[test]
fn an_address_asked_for_is_checked() {
    let asked = vec![PoolSpec::of(subnet("10.0.0.0/24"))];
    let network = network(pools(&spec(asked, false), &[], &[], Overlap::Refuse, [0; 5]).unwrap());
    let used: BTreeSet<IpAddr> = ["10.0.0.9".parse().unwrap()].into();
    for (wanted, expected) in [
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.9", "Address already in use: 10.0.0.9 in network n"),
        ("10.0.0.1", "Address already in use: 10.0.0.1 in network n"),
        (
            "10.0.0.0",
            "Invalid address 10.0.0.0: It does not belong to any of this network's subnets",
        ),
        (
            "10.0.1.5",
            "Invalid address 10.0.1.5: It does not belong to any of this network's subnets",
        ),
    ] {
        let shown = match allocate(&network, Family::V4, &used, Some(wanted.parse().unwrap())) {
            Ok((ip, _)) => ip.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }
}

#[test]
fn an_address_cannot_be_asked_for_where_the_subnet_was_not() {
    let network =
        network(pools(&spec(Vec::new(), false), &[], &[], Overlap::Refuse, [0; 5]).unwrap());
    let wanted = Some("172.17.0.9".parse().unwrap());
    let error = allocate(&network, Family::V4, &BTreeSet::new(), wanted).unwrap_err();
    assert_eq!(
        error.to_string(),
        "user specified IP address is supported only when connecting to networks with user configured subnets"
    );
}

proptest! {
    /// Covers: RUN-57
    #[test]
    fn addresses_are_unique_hosts_of_the_range_and_all_of_it_is_given(
        base: u32, prefix in 22u8..=32, narrower in 0u8..=4, gateway: u8, aux: u8,
    ) {
        let subnet = Subnet::new(IpAddr::V4(base.into()), prefix).unwrap();
        let range = Subnet::new(IpAddr::V4(base.into()), (prefix + narrower).min(32)).unwrap();
        let asked = PoolSpec {
            subnet: Some(subnet),
            range: (narrower > 0).then_some(range),
            gateway: subnet.nth(u128::from(gateway)).filter(|ip| is_host(&subnet, *ip)),
            auxiliary: subnet.nth(u128::from(aux)).filter(|ip| is_host(&subnet, *ip) && aux != gateway)
                .map(|ip| ("a".to_owned(), ip)).into_iter().collect(),
        };
        let Ok(made) = pools(&spec(vec![asked], false), &[], &[], Overlap::Refuse, [0; 5]) else {
            // Only a subnet whose every address is spoken for has no room.
            prop_assert!(prefix >= 31);
            return Ok(());
        };
        let network = network(made);
        let pool = &network.pools[0];
        let mut used = BTreeSet::new();
        while let Ok((ip, _)) = allocate(&network, Family::V4, &used, None) {
            prop_assert!(used.insert(ip));
            prop_assert!(!is_reserved(pool, ip));
            prop_assert!(pool.range.unwrap_or(pool.subnet).contains(ip));
        }
        let within = pool.range.unwrap_or(pool.subnet);
        let usable = (0..).map_while(|n| within.nth(n)).filter(|ip| !is_reserved(pool, *ip)).count();
        prop_assert_eq!(used.len(), usable);
    }

    #[test]
    fn a_default_subnet_overlaps_nothing(octets in proptest::collection::vec((any::<u32>(), 8u8..=30), 0..20)) {
        let routes: Vec<Subnet> = octets.iter().map(|&(ip, prefix)| Subnet::new(IpAddr::V4(ip.into()), prefix).unwrap()).collect();
        if let Ok(pools) = pools(&spec(Vec::new(), false), &[], &routes, Overlap::Refuse, [0; 5]) {
            prop_assert!(!routes.iter().any(|route| route.overlaps(&pools[0].subnet)));
        }
    }
}
