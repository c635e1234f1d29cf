//! Operations in which the n-th call fails: nothing half-done stays behind.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use network::{Attachment, Door, NetworkSpec, Networks, Owner};

use crate::world::{Box, World, on_host, reads, spec};

#[derive(Clone, Copy, PartialEq)]
enum Failing {
    Once,
    FromThenOn,
}

/// A door at which the n-th call, or it and all behind it, fails.
fn door(n: usize, failing: Failing) -> (Door, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let fault = move |_: &'static str, _: &str| {
        let call = counter.fetch_add(1, Ordering::Relaxed);
        let fails = match failing {
            Failing::Once => call == n,
            Failing::FromThenOn => call >= n,
        };
        if fails { Err(io::Error::other("injected")) } else { Ok(()) }
    };
    (Door::with_fault(Arc::new(fault)), calls)
}

/// Runs an operation once for each of its calls, which fails; `check` sees what is left after the next good operation.
fn each_call_fails(
    world: &World,
    operation: impl Fn(&Networks) -> network::Result<()>,
    check: impl Fn(&Networks, bool),
) {
    for failing in [Failing::Once, Failing::FromThenOn] {
        for n in 0.. {
            assert!(n < 500, "the operation does not end");
            let (door, calls) = door(n, failing);
            let networks = world.networks_through(door).unwrap();
            let done = operation(&networks);
            let reached = calls.load(Ordering::Relaxed) > n;
            check(&world.networks(), done.is_ok());
            if !reached {
                done.unwrap();
                break;
            }
        }
    }
}

/// Covers: N3-002
#[test]
fn a_network_is_created_whole_or_not_at_all() {
    on_host(|world| {
        world.networks();
        each_call_fails(
            world,
            |networks| {
                let spec = NetworkSpec { enable_ipv6: true, ..spec("n") };
                networks.create(spec).map(drop)
            },
            |networks, done| {
                if let Ok(network) = networks.find("n") {
                    // What could not be undone can be removed.
                    networks.remove(&network.id).unwrap();
                } else {
                    assert!(!done);
                }
                assert_eq!(world.links(), Vec::<String>::new());
                assert_eq!(world.definition_files(), 3);
            },
        );
    });
}

#[test]
fn a_container_joins_whole_or_not_at_all() {
    on_host(|world| {
        let networks = world.networks();
        let network = networks.create(NetworkSpec { enable_ipv6: true, ..spec("n") }).unwrap();
        // The table and the bridge stay between the rounds.
        let first = Box::new("first", &[]);
        first.join(&networks, &network.id);
        let (links, files) = (world.links(), world.endpoint_files());
        let rules = world.ruleset();
        each_call_fails(
            world,
            |networks| {
                let web = Box::new("web", &["5001:80"]);
                networks.attach(&web.container, &Attachment::to(&network.id), &web.netns).map(drop)
            },
            |networks, _| {
                // The next operation puts right what could not be undone.
                networks.release(&Box::new("web", &[]).container.id).unwrap();
                assert_eq!(networks.endpoints(&network.id).unwrap().len(), 1);
                assert_eq!(world.links(), links);
                assert_eq!(world.endpoint_files(), files);
                assert_eq!(world.ruleset(), rules);
            },
        );
    });
}

#[test]
fn a_container_leaves_in_the_end_whatever_fails() {
    on_host(|world| {
        let networks = world.networks();
        let network = networks.create(spec("n")).unwrap();
        let first = Box::new("first", &[]);
        first.join(&networks, &network.id);
        let (links, rules) = (world.links(), world.ruleset());
        for failing in [Failing::Once, Failing::FromThenOn] {
            for n in 0.. {
                let web = Box::new("web", &["5001:80"]);
                let attached = web.join(&networks, &network.id);
                drop(attached);
                let (door, calls) = door(n, failing);
                let done = world.networks_through(door).unwrap().release(&web.container.id);
                let reached = calls.load(Ordering::Relaxed) > n;
                networks.release(&web.container.id).unwrap();
                assert_eq!(world.links(), links);
                assert_eq!(world.ruleset(), rules);
                assert_eq!(networks.endpoints(&network.id).unwrap().len(), 1);
                if !reached {
                    done.unwrap();
                    break;
                }
            }
        }
    });
}

#[test]
fn a_running_container_changes_its_way_out_whole_or_not_at_all() {
    on_host(|world| {
        let networks = world.networks();
        let [a, b] = ["a", "b"].map(|name| networks.create(spec(name)).unwrap());
        let web = Box::new("web", &["5001:80"]);
        let _hold = web.join(&networks, &b.id).hold;
        web.serve(80, "web");
        let rules = world.ruleset();
        each_call_fails(
            world,
            |networks| {
                networks.attach(&web.container, &Attachment::to(&a.id), &web.netns).map(drop)
            },
            |networks, done| {
                if done {
                    assert_eq!(reads("127.0.0.1:5001"), Some("web 172.18.0.1".into()));
                    networks.detach(&web.container.id, &a.id, Some(&web.netns)).unwrap();
                }
                // Whatever happened, one good operation later all is as before.
                networks.release("nobody").unwrap();
                let of = networks.endpoints_of(&web.container.id).unwrap();
                assert_eq!(of.len(), 1);
                assert!(of[0].1.default_route);
                assert_eq!(of[0].1.ports.len(), 1);
                assert_eq!(world.ruleset(), rules);
            },
        );
    });
}

#[test]
fn a_network_is_removed_in_the_end_whatever_fails() {
    on_host(|world| {
        let networks = world.networks();
        for failing in [Failing::Once, Failing::FromThenOn] {
            for n in 0.. {
                let network = networks.create(spec("n")).unwrap();
                let (door, calls) = door(n, failing);
                let done = world.networks_through(door).unwrap().remove(&network.id);
                let reached = calls.load(Ordering::Relaxed) > n;
                if networks.find("n").is_ok() {
                    networks.remove(&network.id).unwrap();
                }
                assert_eq!(world.links(), Vec::<String>::new());
                assert_eq!(world.definition_files(), 3);
                if !reached {
                    done.unwrap();
                    break;
                }
            }
        }
    });
}

#[test]
fn endpoints_of_dead_owners_are_given_back_and_living_ones_stay() {
    on_host(|world| {
        let networks = world.networks();
        let network = networks.create(spec("n")).unwrap();
        let mut dead = Box::new("dead", &["5001:80"]);
        dead.container.owner = Owner { pid: 1, start_time: 99 };
        let gone = dead.join(&networks, &network.id);
        drop(gone.hold);
        let alive = Box::new("alive", &["5002:80"]);
        let kept = alive.join(&networks, &network.id).endpoint;
        alive.serve(80, "alive");
        let found = networks.reconcile(&|owner: &Owner| owner.start_time == 1).unwrap();
        assert_eq!(
            (found.released, found.restored),
            (vec![dead.container.id.clone()], vec!["n".into()])
        );
        assert_eq!(networks.endpoints(&network.id).unwrap(), [kept]);
        assert!(reads("127.0.0.1:5002").is_some());
        let again = Box::new("again", &["5001:80"]);
        assert_eq!(again.join(&networks, &network.id).endpoint.ipv4, gone.endpoint.ipv4);
    });
}

#[test]
fn many_containers_come_and_go_at_once() {
    on_host(|world| {
        let networks = world.networks();
        let network = networks.create(spec("n")).unwrap();
        let host = &world.host;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (networks, network) = (&networks, &network);
                scope.spawn(move || {
                    host.run(|| {
                        for n in 0..6 {
                            let inside = Box::new(&format!("c{thread}x{n}"), &["80"]);
                            inside.join(networks, &network.id);
                            if n % 2 == 0 {
                                networks.release(&inside.container.id).unwrap();
                            }
                        }
                    })
                    .unwrap();
                });
            }
        });
        let endpoints = networks.endpoints(&network.id).unwrap();
        assert_eq!(endpoints.len(), 12);
        let addresses: std::collections::BTreeSet<_> =
            endpoints.iter().map(|e| e.ipv4.unwrap().ip()).collect();
        assert_eq!(addresses.len(), 12);
        let ports: std::collections::BTreeSet<_> =
            endpoints.iter().flat_map(|e| &e.ports).map(|port| port.host_port).collect();
        assert_eq!(ports.len(), 12);
        for endpoint in endpoints {
            networks.release(&endpoint.container).unwrap();
        }
        networks.remove(&network.id).unwrap();
        assert_eq!(world.links(), Vec::<String>::new());
    });
}
