//! TUF 5.6: targets, delegated roles and the search through them.

use serde_json::{Value, json};
use trust::Error;

use crate::world::*;

/// A graph of roles: each delegates to others, and may list the target `x`.
struct Node {
    name: &'static str,
    children: &'static [(&'static str, bool)],
    lists: bool,
}

const fn node(name: &'static str, children: &'static [(&'static str, bool)], lists: bool) -> Node {
    Node { name, children, lists }
}

fn graph(nodes: &[Node]) -> World {
    let mut world = World::new();
    for node in nodes {
        let mut document = targets(if node.lists { &[("x", b"x")] } else { &[] });
        let roles: Vec<Value> = node
            .children
            .iter()
            .map(|(child, terminating)| delegation(child, &[5], &["*"], *terminating))
            .collect();
        if !roles.is_empty() {
            document["delegations"] = delegations(&[5], roles);
        }
        let seed = if node.name == "targets" { 2 } else { 5 };
        world.add_role(node.name, document, &[seed]);
    }
    world.publish();
    world
}

// (graph, roles requested in order, role that lists the target)
const GRAPHS: &[(&[Node], &[&str], Option<&str>)] = &[
    (&[node("targets", &[("a", false)], false), node("a", &[], true)], &["a"], Some("a")),
    (
        // Depth first: b below a comes before c.
        &[
            node("targets", &[("a", false), ("c", false)], false),
            node("a", &[("b", false)], false),
            node("b", &[], true),
            node("c", &[], true),
        ],
        &["a", "b"],
        Some("b"),
    ),
    (
        // Pre-order: a itself comes before what is below it.
        &[
            node("targets", &[("a", false)], false),
            node("a", &[("b", false)], true),
            node("b", &[], true),
        ],
        &["a"],
        Some("a"),
    ),
    (
        // Terminating without the target: its sibling is not asked.
        &[
            node("targets", &[("a", true), ("b", false)], false),
            node("a", &[], false),
            node("b", &[], true),
        ],
        &["a"],
        None,
    ),
    (
        // Terminating deep below: it ends the branches of all its ancestors too.
        &[
            node("targets", &[("a", false), ("d", false)], false),
            node("a", &[("b", true), ("c", false)], false),
            node("b", &[], false),
            node("c", &[], true),
            node("d", &[], true),
        ],
        &["a", "b"],
        None,
    ),
    (
        // But what is below the terminating role is searched.
        &[
            node("targets", &[("a", true), ("d", false)], false),
            node("a", &[("b", false)], false),
            node("b", &[], true),
            node("d", &[], true),
        ],
        &["a", "b"],
        Some("b"),
    ),
    (
        // A cycle ends.
        &[
            node("targets", &[("a", false)], false),
            node("a", &[("b", false)], false),
            node("b", &[("a", false), ("c", false)], false),
            node("c", &[], true),
        ],
        &["a", "b", "c"],
        Some("c"),
    ),
    (
        // A diamond is walked once when both sides trust the same keys.
        &[
            node("targets", &[("a", false), ("b", false)], false),
            node("a", &[("c", false)], false),
            node("b", &[("c", false)], false),
            node("c", &[], false),
        ],
        &["a", "c", "b"],
        None,
    ),
];

/// Covers: TRU-23, TRU-24, TRU-25
#[test]
fn the_search_is_pre_order_depth_first_and_a_terminating_role_ends_it() {
    for (index, (nodes, expected, role)) in GRAPHS.iter().enumerate() {
        let mut world = graph(nodes);
        let mut client = Client::of(&world);
        let found = client.find(&mut world, "x").unwrap();
        assert_eq!(found.as_ref().map(|(_, role)| role.as_str()), *role, "graph {index}");
        let asked: Vec<&str> = world.requests[4..]
            .iter()
            .map(|file| file.strip_prefix("1.").unwrap().strip_suffix(".json").unwrap())
            .collect();
        assert_eq!(asked, *expected, "graph {index}");
    }
}

/// Covers: TRU-25
#[test]
fn a_bomb_of_delegations_stops_at_the_budget() {
    let mut world = World::new();
    let names: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let mut document = targets(&[]);
        if let Some(next) = names.get(n + 1) {
            document["delegations"] =
                delegations(&[5], vec![delegation(next, &[5], &["*"], false)]);
        }
        world.add_role(name, document, &[5]);
    }
    world.role("targets")["delegations"] =
        delegations(&[5], vec![delegation("r0", &[5], &["*"], false)]);
    world.publish();
    let error = Client::of(&world).find(&mut world, "x").err().unwrap();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(world.requests.len() < 80);
}

/// Covers: TRU-26
#[test]
fn each_side_of_a_diamond_vouches_with_its_own_keys() {
    // Both delegate to c: a with key 5, which signed it, and b with key 6, which did not.
    for (first, second, accepted) in [("a", "b", true), ("b", "a", false)] {
        let mut world = World::new();
        world.role("targets")["delegations"] = delegations(
            &[5],
            vec![delegation(first, &[5], &["*"], false), delegation(second, &[5], &["*"], false)],
        );
        for (name, seed) in [("a", 5), ("b", 6)] {
            let mut document = targets(&[]);
            document["delegations"] =
                delegations(&[seed], vec![delegation("c", &[seed], &["*"], false)]);
            world.add_role(name, document, &[5]);
        }
        world.add_role("c", targets(&[("x", b"x")]), &[5]);
        world.publish();
        let found = Client::of(&world).find(&mut world, "x");
        assert_eq!(found.is_ok(), accepted, "{first} first");
    }
    // Having been verified by one side is no pass for the other.
    let mut world = World::new();
    world.role("targets")["delegations"] = delegations(
        &[5],
        vec![delegation("a", &[5], &["*"], false), delegation("b", &[5], &["*"], false)],
    );
    for (name, seed) in [("a", 5), ("b", 6)] {
        let mut document = targets(&[]);
        document["delegations"] =
            delegations(&[seed], vec![delegation("c", &[seed], &["*"], false)]);
        world.add_role(name, document, &[5]);
    }
    world.add_role("c", targets(&[]), &[5]);
    world.publish();
    let error = Client::of(&world).find(&mut world, "x").err().unwrap();
    assert!(matches!(&error, Error::Threshold { role, .. } if role == "c"), "{error}");
}

/// Covers: TRU-27
#[test]
fn a_delegation_that_snapshot_does_not_list_is_not_fetched() {
    let mut world = graph(&[node("targets", &[("a", false)], false), node("a", &[], true)]);
    world.snapshot["meta"].as_object_mut().unwrap().remove("a.json");
    world.publish_as_listed();
    let error = Client::of(&world).find(&mut world, "x").err().unwrap();
    assert!(matches!(&error, Error::MetadataMissing { file } if file == "a.json"), "{error}");
    assert!(!world.requests.contains(&"1.a.json".to_owned()));
}

/// Covers: TRU-22
#[test]
fn delegated_metadata_are_held_to_the_same_checks_as_top_level_ones() {
    for role in ["targets", "a"] {
        let base = || graph(&[node("targets", &[("a", false)], false), node("a", &[], true)]);
        // Expired.
        let mut world = base();
        world.role(role)["expires"] = json!(PAST);
        world.publish();
        let error = Client::of(&world).find(&mut world, "x").err().unwrap();
        assert!(
            matches!(&error, Error::RoleExpired { role: found, .. } if found == role),
            "{error}"
        );
        // Another version than snapshot names.
        let mut world = base();
        let file = format!("1.{role}.json");
        let mut other = world.role(role).clone();
        bump(&mut other);
        let forged = sign(&other, &[if role == "a" { 5 } else { 2 }]);
        world.files.insert(file.clone(), forged);
        let error = Client::of(&world).find(&mut world, "x").err().unwrap();
        assert!(matches!(&error, Error::WrongVersion { .. }), "{error}");
        // Another hash, another length.
        for wrong in [
            json!({ "version": 1, "hashes": { "sha256": sha256(b"") } }),
            json!({ "version": 1, "length": 7 }),
        ] {
            let mut world = base();
            world.snapshot["meta"][format!("{role}.json")] = wrong;
            world.publish_as_listed();
            let error = Client::of(&world).find(&mut world, "x").err().unwrap();
            assert!(
                matches!(&error, Error::HashMismatch { .. } | Error::LengthMismatch { .. }),
                "{error}"
            );
        }
        // Another's signature; the same signature twice.
        for seeds in [vec![7], vec![]] {
            let mut world = base();
            world.roles.get_mut(role).unwrap().1 = seeds;
            world.publish();
            let error = Client::of(&world).find(&mut world, "x").err().unwrap();
            assert!(matches!(&error, Error::Threshold { .. }), "{error}");
        }
    }
}

/// Covers: TRU-6
#[test]
fn duplicated_signatures_do_not_reach_a_delegated_threshold() {
    let mut world = graph(&[node("targets", &[("a", false)], false), node("a", &[], true)]);
    world.role("targets")["delegations"]["keys"] = keys(&[5, 6]);
    world.role("targets")["delegations"]["roles"][0]["keyids"] = json!([id(5), id(6)]);
    world.role("targets")["delegations"]["roles"][0]["threshold"] = json!(2);
    world.roles.get_mut("a").unwrap().1 = vec![5, 5];
    world.publish();
    let error = Client::of(&world).find(&mut world, "x").err().unwrap();
    assert!(matches!(&error, Error::Threshold { needed: 2, valid: 1, .. }), "{error}");
    world.roles.get_mut("a").unwrap().1 = vec![6, 5];
    world.publish();
    assert!(Client::of(&world).find(&mut world, "x").unwrap().is_some());
}

/// Covers: TRU-28
#[test]
fn a_target_must_match_the_paths_of_every_role_on_the_way() {
    for (outer, inner, path, found) in [
        ("lib/*", "lib/*", "lib/app", true),
        ("lib/*", "*/*", "lib/app", true),
        ("other/*", "*/*", "lib/app", false),
        ("*/*", "other/*", "lib/app", false),
        ("*", "*/*", "lib/app", false),
        ("LIB/*", "*/*", "lib/app", false),
    ] {
        let mut world = World::new();
        world.role("targets")["delegations"] =
            delegations(&[5], vec![delegation("a", &[5], &[outer], false)]);
        let mut a = targets(&[]);
        a["delegations"] = delegations(&[5], vec![delegation("b", &[5], &[inner], false)]);
        world.add_role("a", a, &[5]);
        world.add_role("b", targets(&[(path, b"app")]), &[5]);
        world.publish();
        let result = Client::of(&world).find(&mut world, path).unwrap();
        assert_eq!(result.is_some(), found, "{outer} {inner} {path}");
    }
}

/// Covers: TRU-29
#[test]
fn hash_bins_and_succinct_bins_lead_to_the_bin_of_the_path() {
    let path = "lib/web:9";
    let hash = sha256(path.as_bytes());
    for succinct in [false, true] {
        let mut world = World::new();
        let bits = u32::from_str_radix(&hash[..2], 16).unwrap();
        let bin = format!("bin-{bits:02x}");
        world.role("targets")["delegations"] = if succinct {
            json!({
                "keys": keys(&[5]),
                "succinct_roles": {
                    "keyids": [id(5)], "threshold": 1, "bit_length": 8, "name_prefix": "bin",
                },
            })
        } else {
            let mut role = delegation(&bin, &[5], &[], false);
            role.as_object_mut().unwrap().remove("paths");
            role["path_hash_prefixes"] = json!([&hash[..2]]);
            let mut other = role.clone();
            other["name"] = json!("elsewhere");
            other["path_hash_prefixes"] = json!([if hash.starts_with('0') { "1" } else { "0" }]);
            delegations(&[5], vec![other, role])
        };
        world.add_role(&bin, targets(&[(path, b"nine")]), &[5]);
        world.publish();
        let (found, role) = Client::of(&world).find(&mut world, path).unwrap().unwrap();
        assert_eq!((found, role), (sha256(b"nine"), bin.clone()));
        assert_eq!(world.requests.last(), Some(&format!("1.{bin}.json")));
    }
    // Paths and prefixes at once, or neither, is no delegation.
    for both in [true, false] {
        let mut world = World::new();
        let mut role = delegation("a", &[5], &["*"], false);
        if both {
            role["path_hash_prefixes"] = json!(["00"]);
        } else {
            role.as_object_mut().unwrap().remove("paths");
        }
        world.role("targets")["delegations"] = delegations(&[5], vec![role]);
        world.publish();
        let error = Client::of(&world).refresh(&mut world).err().unwrap();
        assert!(error.to_string().contains("exactly one of paths"), "{error}");
    }
}

/// Covers: TRU-30
#[test]
fn unusual_role_names_are_encoded_on_the_way_and_in_the_kept_state() {
    for (name, file) in [
        ("?", "%3F.json"),
        ("#", "%23.json"),
        ("/x", "%2Fx.json"),
        ("../x", "..%2Fx.json"),
        (".", "..json"),
        ("a b", "a%20b.json"),
    ] {
        let mut world = World::new();
        world.role("targets")["delegations"] =
            delegations(&[5], vec![delegation(name, &[5], &["*"], false)]);
        world.add_role(name, targets(&[("x", b"x")]), &[5]);
        world.publish();
        let mut client = Client::of(&world);
        client.find(&mut world, "x").unwrap().unwrap();
        assert_eq!(world.requests.last(), Some(&format!("1.{file}")));
        assert!(client.has(file).is_some(), "{name}");
        assert!(client.state.files().all(|(file, _)| !file.contains('/')));
    }
    // The top-level names are not for delegation.
    for name in ["root", "timestamp", "snapshot", "targets", ""] {
        let mut world = World::new();
        world.role("targets")["delegations"] =
            delegations(&[5], vec![delegation(name, &[5], &["*"], false)]);
        world.publish();
        assert!(Client::of(&world).refresh(&mut world).is_err(), "{name}");
    }
}

/// Covers: TRU-31
#[test]
fn without_consistent_snapshots_only_roots_carry_their_version() {
    let mut world = World::new();
    world.root["consistent_snapshot"] = json!(false);
    world.publish_root();
    for (versioned, plain) in
        [("1.snapshot.json", "snapshot.json"), ("1.targets.json", "targets.json")]
    {
        let bytes = world.files.remove(versioned).unwrap();
        world.files.insert(plain.to_owned(), bytes);
    }
    Client::of(&world).refresh(&mut world).unwrap();
    assert_eq!(world.requests, ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"]);
    let mut world = World::new();
    Client::of(&world).refresh(&mut world).unwrap();
    assert_eq!(
        world.requests,
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    );
}

/// Covers: TRU-33
#[test]
fn a_target_without_any_hash_is_malformed() {
    let mut world = World::new();
    world.role("targets")["targets"]["lib/web:1"]["hashes"] = json!({});
    world.publish();
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(error.to_string().contains("has no hash"), "{error}");
}
