//! TUF 5.4: the timestamp role.

use serde_json::json;
use trust::Error;

use crate::world::*;

/// Covers: TRU-13
#[test]
fn an_older_timestamp_is_a_rollback_and_an_equal_one_is_ignored() {
    let mut world = World::new();
    world.timestamp["version"] = json!(5);
    world.publish_timestamp();
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();
    let kept = client.has("timestamp.json").unwrap().clone();

    // Equal version, other content: success, and nothing of it is believed.
    world.timestamp["expires"] = json!("2032-01-01T00:00:00Z");
    world.timestamp["meta"]["snapshot.json"]["version"] = json!(99);
    world.publish_timestamp();
    client.refresh(&mut world).unwrap();
    assert_eq!(client.has("timestamp.json"), Some(&kept));

    world.timestamp["version"] = json!(4);
    world.timestamp["meta"]["snapshot.json"]["version"] = json!(1);
    world.publish_timestamp();
    let error = client.refresh(&mut world).err().unwrap();
    assert!(
        matches!(&error, Error::Rollback { file, trusted: 5, offered: 4 } if file == "timestamp.json"),
        "{error}"
    );
    assert_eq!(client.has("timestamp.json"), Some(&kept));
}

/// Covers: TRU-14
#[test]
fn a_newer_timestamp_that_names_an_older_snapshot_is_not_even_kept() {
    let mut world = World::new();
    world.release();
    world.release();
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();
    assert_eq!(client.version("snapshot.json"), Some(3));
    bump(&mut world.timestamp);
    world.timestamp["meta"]["snapshot.json"]["version"] = json!(2);
    world.publish_timestamp();
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::Rollback { file, .. } if file == "snapshot.json"), "{error}");
    assert_eq!(client.version("timestamp.json"), Some(3));
    // The repository recovers, and so does the client: it is not wedged.
    world.release();
    world.release();
    client.refresh(&mut world).unwrap();
}

/// Covers: TRU-15
#[test]
fn an_expired_timestamp_is_refused_and_not_kept() {
    let mut world = World::new();
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();
    bump(&mut world.timestamp);
    world.timestamp["expires"] = json!(PAST);
    world.publish_timestamp();
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::RoleExpired { role, .. } if role == "timestamp"), "{error}");
    assert_eq!(client.version("timestamp.json"), Some(1));
}

/// Covers: TRU-16
#[test]
fn an_expired_kept_timestamp_still_protects_against_rollback() {
    let mut world = World::new();
    world.timestamp["version"] = json!(7);
    world.timestamp["expires"] = json!("2030-01-02T00:00:00Z");
    world.publish_timestamp();
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();

    let mut client = client.at("2030-06-01T00:00:00Z");
    world.timestamp["version"] = json!(6);
    world.timestamp["expires"] = json!(LATER);
    world.publish_timestamp();
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::Rollback { trusted: 7, offered: 6, .. }), "{error}");
    // The same expired one again is expired, not fresh.
    world.timestamp["version"] = json!(7);
    world.publish_timestamp();
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::RoleExpired { .. }), "{error}");
    world.timestamp["version"] = json!(8);
    world.publish_timestamp();
    client.refresh(&mut world).unwrap();
}

/// Covers: TRU-5
#[test]
fn expiry_is_judged_by_the_time_at_which_the_update_began() {
    let mut world = World::new();
    world.timestamp["expires"] = json!("2030-01-01T00:00:01Z");
    world.publish_timestamp();
    // One second before, at, and after the moment of expiry.
    for (time, accepted) in [
        ("2030-01-01T00:00:00Z", true),
        ("2030-01-01T00:00:01Z", false),
        ("2030-01-01T00:00:02Z", false),
    ] {
        let result = Client::of(&world).at(time).refresh(&mut world);
        assert_eq!(result.is_ok(), accepted, "{time}");
    }
}

/// Covers: TRU-32
#[test]
fn endless_and_oversized_files_are_refused_before_they_are_parsed() {
    let mut world = World::new();
    let mut padded = world.files["timestamp.json"].clone();
    padded.resize(trust::limits::TIMESTAMP_BYTES_MAX as usize + 1, b' ');
    world.files.insert("timestamp.json".to_owned(), padded);
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::TooLarge { what, .. } if what == "timestamp.json"), "{error}");

    let mut world = World::new();
    let huge = vec![b'['; trust::limits::ROOT_BYTES_MAX as usize + 1];
    world.files.insert("2.root.json".to_owned(), huge);
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::TooLarge { what, .. } if what == "2.root.json"), "{error}");

    // A signed length is exact, and it is the bound that the transport is given.
    let mut world = World::new();
    let length = world.files["1.snapshot.json"].len();
    world.timestamp["meta"]["snapshot.json"]["length"] = json!(length - 1);
    world.publish_timestamp();
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::LengthMismatch { .. }), "{error}");
}

#[test]
fn hostile_json_is_refused() {
    for hostile in [
        &b"{\"signed\": {\"_type\": \"timestamp\"}, \"signatures\": [], \"signed\": {}}"[..],
        b"{}",
        b"[]",
        b"null",
        b"{\"signatures\": [], \"signed\": 1}",
        b"{\"signatures\": {}, \"signed\": {\"_type\": \"timestamp\"}}",
        b"\xff\xfe",
    ] {
        let mut world = World::new();
        world.files.insert("timestamp.json".to_owned(), hostile.to_vec());
        assert!(Client::of(&world).refresh(&mut world).is_err());
    }
    let mut world = World::new();
    world.files.insert("timestamp.json".to_owned(), b"[".repeat(60_000));
    assert!(Client::of(&world).refresh(&mut world).is_err());
}

#[test]
fn metadata_of_another_role_are_refused_even_when_rightly_signed() {
    let mut world = World::new();
    world.root["roles"]["timestamp"] = role(&[3], 1);
    world.publish_root();
    let snapshot = world.files["1.snapshot.json"].clone();
    world.files.insert("timestamp.json".to_owned(), snapshot);
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(&error, Error::WrongType { found, .. } if found == "snapshot"), "{error}");
}
