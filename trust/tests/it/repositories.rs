//! The repository side.

use serde_json::Value;
use trust::Error;
use trust::key::Signer;
use trust::tuf::{Commit, Lifetimes, Repository, RoleName, RoleSetup, RotateRole};

use crate::publisher::*;
use crate::world::key;

fn document(publisher: &Publisher, file: &str) -> Value {
    serde_json::from_slice(&publisher.repository.files()[file]).unwrap()
}

fn files(publisher: &Publisher) -> Vec<String> {
    publisher.repository.files().keys().cloned().collect()
}

/// Covers: TRU-39
#[test]
fn a_new_repository_has_the_four_roles_and_dockers_lifetimes() {
    let publisher = Publisher::new();
    assert_eq!(
        files(&publisher),
        ["1.root.json", "1.snapshot.json", "1.targets.json", "timestamp.json"]
    );
    for (file, expires) in [
        ("1.root.json", "2039-12-30T00:00:00Z"),
        ("1.targets.json", "2032-12-31T00:00:00Z"),
        ("1.snapshot.json", "2032-12-31T00:00:00Z"),
        ("timestamp.json", "2030-01-15T00:00:00Z"),
    ] {
        assert_eq!(document(&publisher, file)["signed"]["expires"], expires, "{file}");
    }
}

/// Covers: TRU-42, TRU-39, B15-36, N3-238
#[test]
fn a_signer_is_added_to_its_own_role_and_to_releases_without_its_private_key() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    let targets = document(&publisher, "2.targets.json");
    let roles = targets["signed"]["delegations"]["roles"].as_array().unwrap();
    assert_eq!(roles.len(), 2);
    for (role, name, terminating) in
        [(&roles[0], "targets/releases", true), (&roles[1], "targets/nigel", false)]
    {
        assert_eq!(role["name"], name);
        assert_eq!(role["keyids"], serde_json::json!([crate::world::id(11)]));
        assert_eq!(role["paths"], serde_json::json!(["shop/web:*"]));
        assert_eq!(role["terminating"], terminating);
    }
    // A second signer shares releases.
    publisher.add_signer("maria", 12);
    let signers = publisher.repository.signers();
    let names: Vec<&str> = signers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["nigel", "maria"]);
    let releases = RoleName::new("targets/releases").unwrap();
    assert_eq!(publisher.repository.keys_of(&releases).len(), 2);
}

/// Covers: TRU-44
#[test]
fn signing_lists_the_tag_in_the_signers_role_and_in_releases() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    for file in ["1.targets%2Fnigel.json", "1.targets%2Freleases.json"] {
        let target = &document(&publisher, file)["signed"]["targets"]["shop/web:1.0"];
        assert_eq!(target["length"], 3);
        assert_eq!(target["hashes"]["sha256"], manifest("one").digest().hex());
        assert_eq!(target["custom"]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    }
    // Without signers the repository key signs itself.
    let mut plain = Publisher::new();
    plain.sign("1.0", "one", &[2]);
    assert!(document(&plain, "2.targets.json")["signed"]["targets"]["shop/web:1.0"].is_object());
}

/// Covers: TRU-43
#[test]
fn removing_a_signer_takes_its_keys_from_releases_and_keeps_the_others_tags() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.add_signer("maria", 12);
    publisher.sign("1.0", "one", &[11]);
    publisher.repository.remove_signer(&"nigel".parse().unwrap()).unwrap();
    // What nigel signed in releases must be signed by maria now: without her key it cannot be.
    let error = publisher.try_commit(Commit::Edits, &[2, 3, 4]).unwrap_err();
    assert!(matches!(&error, Error::MissingKeys { role, .. } if role == "targets/releases"));
    publisher.commit(&[2, 3, 4, 12]);
    let signers = publisher.repository.signers();
    assert_eq!(signers.len(), 1);
    let releases = RoleName::new("targets/releases").unwrap();
    assert_eq!(publisher.repository.keys_of(&releases), [key(12).public()]);
    assert!(publisher.repository.role(&releases).unwrap().targets.contains_key("shop/web:1.0"));
    let error = publisher.repository.remove_signer(&"nigel".parse().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "signer", .. }));
}

/// Covers: TRU-45
#[test]
fn revoking_removes_the_tag_from_every_role_that_the_caller_can_sign() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    publisher.sign("2.0", "two", &[11]);
    publisher.revoke("1.0", &[11]);
    for role in ["targets/nigel", "targets/releases"] {
        let role = publisher.repository.role(&RoleName::new(role).unwrap()).unwrap();
        let tags: Vec<&String> = role.targets.keys().collect();
        assert_eq!(tags, ["shop/web:2.0"]);
    }
    let signer = key(11);
    let error = publisher.repository.revoke("1.0", &[&signer]).unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "signed tag", .. }));
    publisher.repository.revoke_all(&[&signer]).unwrap();
    publisher.commit(&[11, 3, 4]);
    assert!(publisher.repository.revoke_all(&[&signer]).is_err());
}

#[test]
fn an_edit_without_the_needed_key_names_the_role_and_leaves_everything_as_it_was() {
    let mut publisher = Publisher::new();
    let before = publisher.repository.files().clone();
    for (missing, role) in [(3, "snapshot"), (4, "timestamp"), (2, "targets")] {
        let signer = key(2);
        publisher.repository.sign("1.0", &manifest("one"), &[&signer]).unwrap();
        let seeds: Vec<u8> = [2, 3, 4].into_iter().filter(|seed| *seed != missing).collect();
        let error = publisher.try_commit(Commit::Edits, &seeds).unwrap_err();
        assert!(
            matches!(&error, Error::MissingKeys { role: found, needed: 1, held: 0, missing: ids }
                if found == role && *ids == crate::world::id(missing)[..12]),
            "{error}"
        );
        assert_eq!(publisher.repository.files(), &before);
    }
    // The edit is still there and can be committed with the keys.
    publisher.commit(&[2, 3, 4]);
    assert_ne!(publisher.repository.files(), &before);
}

/// Covers: TRU-38
#[test]
fn a_refresh_needs_the_online_keys_only_and_never_touches_the_root() {
    let mut publisher = Publisher::new();
    let root = publisher.repository.files()["1.root.json"].clone();
    let targets = publisher.repository.files()["1.targets.json"].clone();
    publisher.now = "2030-01-10T00:00:00Z".parse().unwrap();
    publisher.try_commit(Commit::RefreshTimestamp, &[4]).unwrap();
    assert_eq!(
        files(&publisher),
        ["1.root.json", "1.snapshot.json", "1.targets.json", "timestamp.json"]
    );
    assert_eq!(document(&publisher, "timestamp.json")["signed"]["expires"], "2030-01-24T00:00:00Z");
    publisher.try_commit(Commit::Refresh, &[3, 4]).unwrap();
    assert_eq!(
        files(&publisher),
        ["1.root.json", "1.targets.json", "2.snapshot.json", "timestamp.json"]
    );
    assert_eq!(publisher.repository.files()["1.root.json"], root);
    assert_eq!(publisher.repository.files()["1.targets.json"], targets);
}

/// Covers: TRU-38
#[test]
fn a_rotated_root_is_signed_by_old_and_new_keys_in_any_order() {
    let signers = |seeds: &[u8]| seeds.to_vec();
    for order in [signers(&[1, 9, 3, 4]), signers(&[4, 3, 9, 1])] {
        let mut publisher = Publisher::new();
        let setup = RoleSetup::single(key(9).public());
        publisher.repository.rotate(&RotateRole { role: "root".to_owned(), setup }).unwrap();
        for lacking in [1, 9] {
            let seeds: Vec<u8> = order.iter().copied().filter(|seed| *seed != lacking).collect();
            let error = publisher.try_commit(Commit::Edits, &seeds).unwrap_err();
            assert!(matches!(&error, Error::MissingKeys { role, .. } if role == "root"), "{error}");
        }
        publisher.commit(&order);
        let root = document(&publisher, "2.root.json");
        assert_eq!(root["signatures"].as_array().unwrap().len(), 2);
        let ids: Vec<&str> = root["signatures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["keyid"].as_str().unwrap())
            .collect();
        assert!(ids.is_sorted(), "the order of signing does not show");
    }
}

#[test]
fn rotating_an_online_key_makes_timestamp_and_snapshot_anew() {
    for role in ["snapshot", "timestamp", "targets"] {
        let mut publisher = Publisher::new();
        publisher.sign("1.0", "one", &[2]);
        let setup = RoleSetup::single(key(9).public());
        publisher.repository.rotate(&RotateRole { role: role.to_owned(), setup }).unwrap();
        publisher.commit(&[1, 9, 2, 3, 4]);
        assert_eq!(document(&publisher, "2.root.json")["signed"]["version"], 2, "{role}");
    }
    let mut publisher = Publisher::new();
    let setup = RoleSetup::single(key(9).public());
    let error =
        publisher.repository.rotate(&RotateRole { role: "boss".to_owned(), setup }).unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "role", .. }));
}

#[test]
fn a_threshold_root_of_two_of_three_is_made_by_any_two() {
    let mut creation = creation(NAME);
    let keys = [1, 21, 22].map(|seed| key(seed).public().clone()).to_vec();
    creation.root = RoleSetup { keys, threshold: 2 };
    for pair in [[1, 21], [1, 22], [21, 22]] {
        let mut repository = Repository::create(&creation).unwrap();
        let signers = [pair[0], pair[1], 2, 3, 4].map(key);
        let refs: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
        repository.commit(Commit::Edits, &refs, Lifetimes::default(), crate::world::now()).unwrap();
    }
    let mut repository = Repository::create(&creation).unwrap();
    let signers = [1, 2, 3, 4].map(key);
    let refs: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
    let error = repository
        .commit(Commit::Edits, &refs, Lifetimes::default(), crate::world::now())
        .unwrap_err();
    assert!(matches!(error, Error::MissingKeys { needed: 2, held: 1, .. }));
    for (keys, threshold) in [(vec![key(1)], 2), (vec![key(1), key(1)], 2), (vec![], 0)] {
        let keys = keys.iter().map(|key| key.public().clone()).collect();
        creation.root = RoleSetup { keys, threshold };
        assert!(Repository::create(&creation).is_err());
    }
}

#[test]
fn a_repository_that_is_loaded_for_editing_was_verified_from_its_pinned_root() {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    let files = publisher.repository.files().clone();
    let loaded = Repository::load_trusted(NAME, files.clone(), &publisher.root()).unwrap();
    assert_eq!(loaded.files(), &files);

    let mut other = creation(NAME);
    other.root = RoleSetup::single(key(9).public());
    let mut mallory = Repository::create(&other).unwrap();
    let signers = [9, 2, 3, 4].map(key);
    let refs: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
    mallory.commit(Commit::Edits, &refs, Lifetimes::default(), crate::world::now()).unwrap();
    // With another root's files, walked from our root: nothing there is ours.
    let mut mixed = mallory.files().clone();
    mixed.insert("timestamp.json".to_owned(), mixed["timestamp.json"].clone());
    let mut foreign = mixed.clone();
    foreign.insert("2.root.json".to_owned(), mixed["1.root.json"].clone());
    assert!(Repository::load_trusted(NAME, foreign, &publisher.root()).is_err());
    let error =
        Repository::load_trusted("shop/other", files, &publisher.root()).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::PinMismatch { .. }), "{error}");
}

#[test]
fn the_same_edits_give_the_same_bytes() {
    let make = || {
        let mut publisher = Publisher::new();
        publisher.add_signer("nigel", 11);
        publisher.sign("1.0", "one", &[11]);
        publisher.repository.files().clone()
    };
    assert_eq!(make(), make());
}

#[test]
fn expiries_are_told_with_the_next_one_first() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    let expiries = publisher.repository.expiries();
    let roles: Vec<&str> = expiries.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(
        roles,
        ["timestamp", "snapshot", "targets", "targets/nigel", "targets/releases", "root"]
    );
    assert!(expiries.is_sorted_by_key(|(_, expires)| *expires));
}

/// Covers: TRU-43, TRU-20
#[test]
fn a_signer_who_returns_with_a_new_key_does_not_bring_back_what_was_signed_before() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    let mut world = crate::world::World::new();
    let serve = |world: &mut crate::world::World, publisher: &Publisher| {
        let files = publisher.repository.files().iter();
        world.files = files.map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect();
    };
    serve(&mut world, &publisher);
    let mut consumer = crate::world::Client::of(&world);
    consumer.find(&mut world, "shop/web:1.0").unwrap().unwrap();

    publisher.repository.remove_signer(&"nigel".parse().unwrap()).unwrap();
    publisher.commit(&[2, 3, 4]);
    serve(&mut world, &publisher);
    assert_eq!(consumer.find(&mut world, "shop/web:1.0").unwrap(), None);

    // Between the two the repository was loaded again, as another command does.
    let files = publisher.repository.files().clone();
    publisher.repository = Repository::load_trusted(NAME, files, &publisher.root()).unwrap();
    publisher.add_signer("nigel", 12);
    let files = publisher.repository.files().clone();
    publisher.repository = Repository::load_trusted(NAME, files, &publisher.root()).unwrap();
    publisher.sign("2.0", "two", &[12]);
    serve(&mut world, &publisher);
    assert!(consumer.find(&mut world, "shop/web:2.0").unwrap().is_some());
    assert_eq!(consumer.find(&mut world, "shop/web:1.0").unwrap(), None);
    assert_eq!(consumer.version("targets%2Freleases.json"), Some(2));
}

/// Covers: TRU-38
#[test]
fn what_has_expired_is_renewed_by_its_own_keys_and_by_nobody_else() {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    publisher.now = "2034-01-01T00:00:00Z".parse().unwrap();
    let error = publisher.try_commit(Commit::Refresh, &[3, 4]).unwrap_err();
    assert!(matches!(&error, Error::RoleExpired { role, .. } if role == "targets"), "{error}");
    publisher.repository.renew(&RoleName::targets()).unwrap();
    let error = publisher.try_commit(Commit::Edits, &[3, 4]).unwrap_err();
    assert!(matches!(&error, Error::MissingKeys { role, .. } if role == "targets"), "{error}");
    publisher.commit(&[2, 3, 4]);
    let root = publisher.repository.files()["1.root.json"].clone();
    assert!(!publisher.repository.files().contains_key("2.root.json"));
    publisher.repository.renew(&RoleName::new("root").unwrap()).unwrap();
    publisher.commit(&[1, 3, 4]);
    assert_eq!(document(&publisher, "2.root.json")["signed"]["expires"], "2043-12-30T00:00:00Z");
    assert_eq!(publisher.repository.files()["1.root.json"], root);
    let nobody = publisher.repository.renew(&RoleName::new("targets/x").unwrap());
    assert!(matches!(nobody, Err(Error::NotFound { .. })));
}
