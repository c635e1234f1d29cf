//! TUF 5.5: the snapshot role, and the order in which trusted state is kept.

use serde_json::json;
use trust::Error;
use trust::tuf::{Change, Freshness, TrustedState, Updater, drive};

use crate::world::*;

/// Covers: TRU-17
#[test]
fn a_snapshot_must_match_every_known_hash_that_is_signed() {
    let mut world = World::new();
    let bytes = world.files["1.snapshot.json"].clone();
    let sha512 = oci::Digest::of(oci::Algorithm::Sha512, &bytes).hex().to_owned();
    for (hashes, accepted) in [
        (json!({ "sha256": sha256(&bytes) }), true),
        (json!({ "sha512": sha512 }), true),
        (json!({ "sha256": sha256(&bytes), "blake9": "00" }), true),
        (json!({ "sha256": sha256(b"other") }), false),
        (json!({ "sha256": sha256(&bytes), "sha512": sha512.replace('0', "1") }), false),
        (json!({ "blake9": "00" }), false),
        (json!({}), false),
    ] {
        world.timestamp["meta"]["snapshot.json"]["hashes"] = hashes.clone();
        world.publish_timestamp();
        assert_eq!(Client::of(&world).refresh(&mut world).is_ok(), accepted, "{hashes}");
    }
}

/// Covers: TRU-18
#[test]
fn a_snapshot_of_another_time_is_mix_and_match() {
    let mut world = World::new();
    let first = world.files["1.snapshot.json"].clone();
    world.release();
    world.files.insert("2.snapshot.json".to_owned(), first);
    let mut client = Client::of(&world);
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::WrongVersion { expected: 2, found: 1, .. }), "{error}");
    assert_eq!(client.version("snapshot.json"), None);
}

#[test]
fn a_snapshot_by_the_wrong_key_is_refused() {
    let mut world = World::new();
    world.snapshot_signers = vec![4];
    world.publish_as_listed();
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::Threshold { role, .. } if role == "snapshot"), "{error}");
}

/// Covers: TRU-19
#[test]
fn no_role_may_go_back_in_a_newer_snapshot_delegated_ones_included() {
    for role in ["targets", "team"] {
        let mut world = World::new();
        world.role("targets")["delegations"] =
            delegations(&[5], vec![delegation("team", &[5], &["lib/*"], false)]);
        world.add_role("team", targets(&[("lib/app", b"app")]), &[5]);
        world.role("targets")["version"] = json!(3);
        world.role("team")["version"] = json!(3);
        world.publish();
        let mut client = Client::of(&world);
        client.find(&mut world, "lib/app").unwrap().unwrap();
        world.role(role)["version"] = json!(2);
        world.release();
        let error = client.refresh(&mut world).err().unwrap();
        assert!(
            matches!(&error, Error::Rollback { file, trusted: 3, offered: 2 } if *file == format!("{role}.json")),
            "{error}"
        );
        assert_eq!(client.version("snapshot.json"), Some(1));
    }
}

/// Covers: TRU-20
#[test]
fn a_role_that_was_listed_once_stays_listed() {
    let mut world = World::new();
    world.add_role("team", targets(&[]), &[5]);
    world.publish();
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();
    world.roles.remove("team");
    world.snapshot["meta"].as_object_mut().unwrap().remove("team.json");
    world.release();
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::RoleRemoved { file } if file == "team.json"), "{error}");
}

/// Covers: TRU-16
#[test]
fn an_expired_kept_snapshot_still_protects_against_rollback() {
    let mut world = World::new();
    world.role("targets")["version"] = json!(4);
    world.snapshot["expires"] = json!("2030-01-02T00:00:00Z");
    world.publish();
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();
    let mut client = client.at("2030-06-01T00:00:00Z");
    world.role("targets")["version"] = json!(3);
    world.snapshot["expires"] = json!(LATER);
    world.release();
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::Rollback { .. }), "{error}");
}

#[test]
fn an_expired_snapshot_is_refused_and_not_kept() {
    let mut world = World::new();
    world.snapshot["expires"] = json!(PAST);
    world.publish();
    let mut client = Client::of(&world);
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::RoleExpired { role, .. } if role == "snapshot"), "{error}");
    assert_eq!(client.version("snapshot.json"), None);
}

/// Covers: TRU-21
#[test]
fn rotating_either_online_key_recovers_from_a_fast_forward() {
    for (role_name, old, new) in [("timestamp", 4, 8), ("snapshot", 3, 9)] {
        let mut world = World::new();
        // The attacker holds both online keys and moves every version to the end.
        world.snapshot["version"] = json!(1_u64 << 31);
        world.timestamp["version"] = json!(1_u64 << 31);
        world.timestamp["meta"]["snapshot.json"]["version"] = json!(1_u64 << 31);
        world.publish();
        let mut client = Client::of(&world);
        client.refresh(&mut world).unwrap();

        world.root["keys"] = keys(&[1, 2, 3, 4, 8, 9]);
        world.root["roles"][role_name] = role(&[new], 1);
        world.next_root();
        let signers = match role_name {
            "timestamp" => &mut world.timestamp_signers,
            _ => &mut world.snapshot_signers,
        };
        assert_eq!(*signers, vec![old]);
        *signers = vec![new];
        world.snapshot["version"] = json!(1);
        world.timestamp["version"] = json!(1);
        world.timestamp["meta"]["snapshot.json"]["version"] = json!(1);
        world.publish();
        client.refresh(&mut world).unwrap();
        assert_eq!(client.version("snapshot.json"), Some(1), "{role_name}");
        assert_eq!(client.version("timestamp.json"), Some(1), "{role_name}");
    }
}

/// Covers: TRU-35, TRU-21
#[test]
fn a_crash_after_any_kept_change_leaves_a_client_that_can_update() {
    let mut world = World::new();
    world.role("targets")["delegations"] =
        delegations(&[5], vec![delegation("team", &[5], &["lib/*"], false)]);
    world.add_role("team", targets(&[("lib/app", b"app")]), &[5]);
    world.publish();
    let mut client = Client::of(&world);
    client.find(&mut world, "lib/app").unwrap().unwrap();
    let before = client.state.clone();

    // Everything moves, online keys included, and versions start again.
    world.root["keys"] = keys(&[1, 2, 3, 4, 8, 9]);
    world.root["roles"]["timestamp"] = role(&[8], 1);
    world.root["roles"]["snapshot"] = role(&[9], 1);
    world.timestamp_signers = vec![8];
    world.snapshot_signers = vec![9];
    world.next_root();
    world.next_root();
    bump(world.role("targets"));
    bump(world.role("team"));
    world.publish();
    client.kept.clear();
    client.find(&mut world, "lib/app").unwrap().unwrap();
    let changes = client.kept.clone();
    assert!(changes.len() >= 8, "{changes:?}");
    assert!(changes.iter().any(|change| matches!(change, Change::Remove { .. })));

    for crash in 0..=changes.len() {
        let mut state = before.clone();
        changes[..crash].iter().for_each(|change| state.apply(change));
        let mut survivor = Client::of(&world);
        survivor.state = state;
        let found = survivor.find(&mut world, "lib/app");
        assert!(matches!(found, Ok(Some(_))), "after {crash} changes: {found:?}");
        assert_eq!(survivor.state, client.state, "after {crash} changes");
    }
}

#[test]
fn a_second_refresh_without_news_asks_for_two_files_only() {
    let mut world = World::new();
    let mut client = Client::of(&world);
    client.find(&mut world, "lib/web:1").unwrap().unwrap();
    world.requests.clear();
    client.find(&mut world, "lib/web:1").unwrap().unwrap();
    assert_eq!(world.requests, ["2.root.json", "timestamp.json"]);
}

/// Covers: TRU-55
#[test]
fn local_metadata_verify_without_one_request_until_they_expire() {
    let mut world = World::new();
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();
    world.requests.clear();
    for (time, accepted) in [("2030-06-01T00:00:00Z", true), ("2031-06-01T00:00:00Z", false)] {
        let time = time.parse().unwrap();
        let mut updater =
            Updater::start(&client.anchor, client.state.clone(), Freshness::LocalOnly, time)
                .unwrap();
        let result = drive(&mut updater, &mut world);
        assert_eq!(result.is_ok(), accepted);
    }
    assert!(world.requests.is_empty());
    // With nothing kept there is nothing to trust.
    let anchor = world.anchor();
    let mut updater =
        Updater::start(&anchor, TrustedState::new(), Freshness::LocalOnly, now()).unwrap();
    assert!(matches!(drive(&mut updater, &mut world), Err(Error::MetadataMissing { .. })));
}
