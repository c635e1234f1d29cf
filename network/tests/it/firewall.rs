//! The packet filter as `nft` sees it, and beside other people's tables.

use network::{NetworkSpec, Owner};

use crate::world::{Box, has, is_silent, neighbour, on_host, output, reads, spec};

/// Covers: RUN-55
#[test]
fn the_table_is_what_nft_reads() {
    if !has("nft") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let options = [("com.docker.network.bridge.name".to_owned(), "br-a".to_owned())].into();
        let a = networks.create(NetworkSpec { options, ..spec("a") }).unwrap();
        let options = [("com.docker.network.bridge.name".to_owned(), "br-in".to_owned())].into();
        networks.create(NetworkSpec { options, internal: true, ..spec("in") }).unwrap();
        let web = Box::new("web", &["5001:80", "127.0.0.1:53:53/udp"]);
        web.join(&networks, &a.id);
        let shown = world.ruleset();
        let expected = include_str!("ruleset.txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/ruleset.txt"), &shown)
                .unwrap();
            return;
        }
        assert_eq!(shown, expected);
    });
}

/// Covers: RUN-54
#[test]
fn the_hosts_own_firewall_is_obeyed_and_never_touched() {
    if !has("nft") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        let foreign = "table ip admin {\n\tchain forward {\n\t\ttype filter hook forward priority filter + 10; policy accept;\n\
            \t\tip saddr 10.99.0.2 tcp dport 80 drop\n\t}\n}\n";
        let rules = world.folders.path().join("admin.nft");
        std::fs::write(&rules, foreign).unwrap();
        output("nft", &["-f", rules.to_str().unwrap()]);
        let before = output("nft", &["list", "table", "ip", "admin"]);

        let web = Box::new("web", &["5001:80", "5002:81"]);
        let _attached = web.join(&networks, &networks.find("bridge").unwrap().id);
        web.serve(80, "denied");
        web.serve(81, "allowed");
        assert!(outside.is_silent("10.99.0.1:5001"));
        assert!(outside.reads("10.99.0.1:5002").is_some());
        networks.release(&web.container.id).unwrap();
        networks.reconcile(&|_| false).unwrap();
        assert_eq!(output("nft", &["list", "table", "ip", "admin"]), before);
        assert_eq!(world.ruleset(), before, "nothing of ours is left");
    });
}

#[test]
fn a_flushed_ruleset_is_made_again_by_the_next_change_or_by_reconcile() {
    if !has("nft") {
        return;
    }
    on_host(|world| {
        let networks = world.networks();
        let bridge = networks.find("bridge").unwrap().id;
        let web = Box::new("web", &["5001:80"]);
        let attached = web.join(&networks, &bridge);
        web.serve(80, "web");
        let whole = world.ruleset();
        let found = networks.reconcile(&|owner: &Owner| owner.start_time == 1).unwrap();
        assert_eq!(found.restored, ["bridge"]);
        assert_eq!(world.ruleset(), whole, "putting right what is right changes nothing");

        output("nft", &["flush", "ruleset"]);
        assert_eq!(reads("127.0.0.1:5001"), None);
        networks.reconcile(&|_| true).unwrap();
        assert_eq!(world.ruleset(), whole);
        assert!(reads("127.0.0.1:5001").is_some());

        // Somebody takes one element out of our table: the next change of it notices.
        output("nft", &["delete", "element", "inet", "wherry", "bridges", "{ wherry0 }"]);
        output("nft", &["flush", "map", "inet", "wherry", "any4"]);
        networks.release(&web.container.id).unwrap();
        drop(attached);
        let again = Box::new("again", &["5001:80"]);
        again.serve(80, "again");
        let _again = again.join(&networks, &bridge);
        assert_eq!(world.ruleset(), whole);
        assert!(reads("127.0.0.1:5001").is_some_and(|text| text.starts_with("again")));
    });
}

#[test]
fn a_bridge_that_somebody_removed_is_made_again_with_its_containers_on_it() {
    on_host(|world| {
        let networks = world.networks();
        let a = networks.create(spec("a")).unwrap();
        let (c1, c2) = (Box::new("c1", &[]), Box::new("c2", &[]));
        c1.join(&networks, &a.id);
        c2.join(&networks, &a.id);
        c2.serve(80, "two");
        output("ip", &["link", "del", &format!("br-{}", a.id.short())]);
        assert!(c1.is_silent("172.18.0.3:80"));
        networks.reconcile(&|_| true).unwrap();
        assert!(c1.reads("172.18.0.3:80").is_some());
    });
}

#[test]
fn forwarding_ipv6_leaves_the_host_its_own_way_out() {
    on_host(|world| {
        let _wire = neighbour();
        let accepts = |name: &str| {
            let path = format!("/proc/sys/net/ipv6/conf/{name}/accept_ra");
            std::fs::read_to_string(path).unwrap().trim().to_owned()
        };
        assert_eq!(accepts("wire0"), "1");
        let networks = world.networks();
        let six = networks.create(NetworkSpec { enable_ipv6: true, ..spec("six") }).unwrap();
        assert_eq!(accepts("wire0"), "2");
        // What containers advertise is not believed (CVE-2020-13401).
        assert_eq!(accepts(&format!("br-{}", six.id.short())), "0");
    });
}

/// Covers: N3-002
#[test]
fn after_a_reboot_definitions_are_there_and_endpoints_are_not() {
    on_host(|world| {
        let networks = world.networks();
        let a = networks.create(spec("a")).unwrap();
        let web = Box::new("web", &["5001:80"]);
        web.join(&networks, &a.id);
        std::fs::remove_dir_all(&world.places().run_root).unwrap();
        // Another host with the same disk.
        network::Netns::create()
            .unwrap()
            .run(|| {
                let networks = world.networks();
                assert_eq!(networks.find("a").unwrap(), a);
                assert_eq!(networks.endpoints(&a.id).unwrap(), []);
                networks.reconcile(&|_| true).unwrap();
                assert_eq!(
                    world.links(),
                    Vec::<String>::new(),
                    "a bridge without containers waits for one"
                );
                let again = Box::new("again", &["5001:80"]);
                let attached = again.join(&networks, &a.id);
                again.serve(80, "again");
                assert_eq!(attached.endpoint.ports.len(), 1);
                assert!(reads("127.0.0.1:5001").is_some());
            })
            .unwrap();
    });
}

#[test]
fn the_host_is_not_made_a_router_for_others() {
    on_host(|world| {
        let networks = world.networks();
        let outside = Box { netns: neighbour(), ..Box::new("outside", &[]) };
        let c1 = Box::new("c1", &[]);
        c1.join(&networks, &networks.find("bridge").unwrap().id);
        c1.serve(80, "one");
        assert!(outside.is_silent("172.17.0.2:80"));
        assert!(!is_silent("172.17.0.2:80"));
    });
}
