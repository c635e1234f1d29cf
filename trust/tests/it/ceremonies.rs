//! Several people, several keys: drafts, recovery, keys of other tools.

use std::fs;
use std::path::Path;

use serde_json::Value;
use trust::key::{Signer, foreign_key, public_key_from_pem, recovery_phrase, signer_from_phrase};
use trust::tuf::{Commit, Draft, Lifetimes, Repository, RoleName, RoleSetup, RotateRole};
use trust::{Error, Secret};

use crate::publisher::*;
use crate::world::{id, key, now};

fn root() -> RoleName {
    RoleName::new("root").unwrap()
}

fn setup(seeds: &[u8], threshold: u64) -> RoleSetup {
    RoleSetup { keys: seeds.iter().map(|seed| key(*seed).public().clone()).collect(), threshold }
}

fn draft(repository: &Repository, role: &RoleName) -> Draft {
    repository.draft(role, Lifetimes::default(), now()).unwrap()
}

/// A draft as it travels: as a file.
fn sent(draft: &Draft) -> Draft {
    Draft::parse(&draft.to_bytes().unwrap()).unwrap()
}

/// Covers: TRU-38
#[test]
fn a_new_root_collects_signatures_from_several_people_in_any_order() {
    let mut creation = creation(NAME);
    creation.root = setup(&[1, 21, 22], 2);
    let mut created = Repository::create(&creation).unwrap();
    let blank = draft(&created, &root());
    assert!(created.clone().adopt(blank.clone()).is_err(), "nobody has signed");

    let (mut at_maria, mut at_nigel) = (sent(&blank), sent(&blank));
    assert!(at_maria.sign(&key(22)).unwrap());
    assert!(!at_maria.sign(&key(66)).unwrap(), "a key that nobody asked for");
    assert!(at_nigel.sign(&key(1)).unwrap());
    let progress = &sent(&at_maria).progress()[0];
    assert_eq!((progress.needed, progress.signed.len(), progress.open.len()), (2, 1, 2));
    let error = created.clone().adopt(at_nigel.clone()).unwrap_err();
    assert!(matches!(error, Error::Threshold { needed: 2, valid: 1, .. }), "{error}");

    let mut one_way = sent(&at_maria);
    one_way.merge(&at_nigel).unwrap();
    let mut other_way = sent(&at_nigel);
    other_way.merge(&at_maria).unwrap();
    one_way.merge(&at_maria).unwrap();
    assert_eq!(one_way.to_bytes().unwrap(), other_way.to_bytes().unwrap());
    created.adopt(one_way).unwrap();
    let signers = [key(2), key(3), key(4)];
    let signers: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
    created.commit(Commit::Edits, &signers, Lifetimes::default(), now()).unwrap();
    let root: Value = serde_json::from_slice(&created.files()["1.root.json"]).unwrap();
    assert_eq!(root["signatures"].as_array().unwrap().len(), 2);
}

#[test]
fn a_draft_that_lies_about_who_must_sign_is_not_adopted() {
    let mut publisher = Publisher::new();
    publisher
        .repository
        .rotate(&RotateRole { role: "root".to_owned(), setup: setup(&[9], 1) })
        .unwrap();
    let honest = draft(&publisher.repository, &root());
    let mut file: Value = serde_json::from_slice(&honest.to_bytes().unwrap()).unwrap();
    // Mallory drops the group of the previous root's keys.
    file["wanted"].as_array_mut().unwrap().truncate(1);
    let mut forged = Draft::parse(file.to_string().as_bytes()).unwrap();
    forged.sign(&key(9)).unwrap();
    assert!(forged.progress().iter().all(|group| group.open.is_empty()));
    let error = publisher.repository.adopt(forged).unwrap_err();
    assert!(matches!(error, Error::Threshold { .. }), "{error}");
    // The honest one, signed by both.
    let mut honest = honest;
    honest.sign(&key(9)).unwrap();
    honest.sign(&key(1)).unwrap();
    publisher.repository.adopt(honest).unwrap();
    publisher.commit(&[3, 4]);
}

#[test]
fn a_draft_that_was_overtaken_or_belongs_elsewhere_is_refused() {
    let mut publisher = Publisher::new();
    let targets = RoleName::new("targets").unwrap();
    let nothing = publisher.repository.draft(&targets, Lifetimes::default(), now());
    assert!(matches!(nothing, Err(Error::NotFound { what: "edit of role", .. })));
    let signer = key(2);
    publisher.repository.sign("1.0", &manifest("one"), &[&signer]).unwrap();
    let mut late = draft(&publisher.repository, &targets);
    late.sign(&signer).unwrap();
    let mut elsewhere = Publisher::of("shop/api").repository;
    assert!(elsewhere.adopt(late.clone()).is_err());
    publisher.commit(&[2, 3, 4]);
    let error = publisher.repository.adopt(late.clone()).unwrap_err();
    assert!(matches!(error, Error::WrongVersion { expected: 3, found: 2, .. }), "{error}");
    let other = {
        publisher.repository.sign("2.0", &manifest("two"), &[&signer]).unwrap();
        draft(&publisher.repository, &targets)
    };
    assert!(late.merge(&other).is_err());
}

#[test]
fn junk_signatures_in_a_copy_do_not_reach_the_published_file() {
    let mut publisher = Publisher::new();
    publisher
        .repository
        .rotate(&RotateRole { role: "root".to_owned(), setup: setup(&[1, 9], 1) })
        .unwrap();
    let mut ours = draft(&publisher.repository, &root());
    ours.sign(&key(1)).unwrap();
    let mut file: Value = serde_json::from_slice(&ours.to_bytes().unwrap()).unwrap();
    let signatures = file["document"]["signatures"].as_array_mut().unwrap();
    signatures.insert(0, serde_json::json!({ "keyid": id(1), "sig": "00" }));
    signatures.push(serde_json::json!({ "keyid": "x", "sig": "zz" }));
    let junk = Draft::parse(file.to_string().as_bytes()).unwrap();
    ours.merge(&junk).unwrap();
    publisher.repository.adopt(junk).unwrap();
    publisher.commit(&[3, 4]);
    let root: Value = serde_json::from_slice(&publisher.repository.files()["2.root.json"]).unwrap();
    let ids: Vec<&str> = root["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["keyid"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [id(1)]);
}

/// The drill of losing a root key: two of three recover, publish, and no consumer does anything.
#[test]
fn any_one_lost_root_key_is_replaced_by_the_other_two_without_consumer_action() {
    let device = key(1);
    let paper = recovery_phrase(&key(21));
    for lost in [1_u8, 21, 22] {
        let mut creation = creation(NAME);
        creation.root = setup(&[1, 21, 22], 2);
        let mut repository = Repository::create(&creation).unwrap();
        let all = [key(1), key(21), key(2), key(3), key(4)];
        let all: Vec<&dyn Signer> = all.iter().map(|s| s as &dyn Signer).collect();
        repository.sign("1.0", &manifest("one"), &all).unwrap();
        repository.commit(Commit::Edits, &all, Lifetimes::default(), now()).unwrap();
        let mut world = crate::world::World::new();
        world.files = served(&repository);
        let mut consumer = crate::world::Client::of(&world);
        consumer.find(&mut world, "shop/web:1.0").unwrap().unwrap();

        let left: Vec<u8> = [1, 21, 22].into_iter().filter(|seed| *seed != lost).collect();
        let new = setup(&[left[0], left[1], 23], 2);
        repository.rotate(&RotateRole { role: "root".to_owned(), setup: new }).unwrap();
        let recovered = signer_from_phrase(&paper).unwrap();
        let holders: Vec<&dyn Signer> = match lost {
            1 => vec![&recovered],
            _ => vec![&device],
        };
        let mut draft = draft(&repository, &root());
        for holder in holders {
            draft.sign(holder).unwrap();
        }
        draft.sign(&key(*left.iter().rfind(|seed| **seed != 1).unwrap())).unwrap();
        if lost == 1 {
            draft.sign(&key(22)).unwrap();
        }
        repository.adopt(draft).unwrap();
        repository.sign("2.0", &manifest("two"), &all).unwrap();
        repository.commit(Commit::Edits, &all, Lifetimes::default(), now()).unwrap();
        world.files = served(&repository);
        consumer.find(&mut world, "shop/web:2.0").unwrap().unwrap();
        assert_eq!(consumer.version("root.json"), Some(2), "lost {lost}");
    }
}

fn served(repository: &Repository) -> std::collections::BTreeMap<String, Vec<u8>> {
    repository.files().iter().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect()
}

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/trust/keys");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Covers: TRU-50
#[test]
fn keys_of_notary_and_openssl_are_read_with_their_passphrase() {
    for (file, public, passphrase, role) in [
        ("notary-root.key", "notary-root.pub", "rootpass", Some("root")),
        ("openssl-ed25519.key", "openssl-ed25519.pub", "openssl", None),
        ("openssl-p256.key", "openssl-p256.pub", "openssl", None),
        ("openssl-p256-sec1.key", "openssl-p256.pub", "", None),
    ] {
        let text = read(file);
        let secret = Secret::from(passphrase.to_owned());
        let found = foreign_key(file, &text, &secret).unwrap();
        let public = public_key_from_pem(public, &read(public)).unwrap();
        assert_eq!(found.signer.public(), &public, "{file}");
        assert_eq!(found.role.as_deref(), role);
        let signature = found.signer.sign(b"message").unwrap();
        assert!(public.verifies(b"message", &signature));
        if !passphrase.is_empty() {
            for wrong in ["", "wrong", "rootpas"] {
                let error = foreign_key(file, &text, &Secret::from(wrong.to_owned())).unwrap_err();
                assert!(matches!(error, Error::WrongPassphrase { .. }), "{file}: {error}");
            }
        }
    }
}

/// Covers: TRU-50
#[test]
fn a_notary_key_signs_metadata_that_verify() {
    let secret = Secret::from("rootpass".to_owned());
    let notary = foreign_key("k", &read("notary-root.key"), &secret).unwrap();
    let mut creation = creation(NAME);
    creation.root = RoleSetup::single(notary.signer.public());
    let mut repository = Repository::create(&creation).unwrap();
    let online = [key(2), key(3), key(4)];
    let mut signers: Vec<&dyn Signer> = online.iter().map(|s| s as &dyn Signer).collect();
    signers.push(&*notary.signer);
    repository.commit(Commit::Edits, &signers, Lifetimes::default(), now()).unwrap();
}

proptest::proptest! {
    #[test]
    fn damaged_encrypted_keys_are_refused_without_a_panic(at in 0_usize..240, by in 1_u8..) {
        let text = read("notary-root.key");
        let body: String = text.lines().filter(|l| !l.contains("-----") && !l.contains(": ")).collect();
        let mut der =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).unwrap();
        // A huge count of iterations is refused; a merely large one would only take time.
        proptest::prop_assume!(!(43..48).contains(&at));
        der[at] ^= by;
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        let text = format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n");
        let _ = foreign_key("k", &text, &Secret::from("rootpass".to_owned()));
    }

    #[test]
    fn reading_any_bytes_as_a_draft_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = Draft::parse(&bytes);
    }
}

/// A helper program as a function.
struct Device {
    answer: fn(&Value) -> Result<Vec<u8>, String>,
}

impl trust::key::Helper for Device {
    fn name(&self) -> &str {
        "device"
    }

    fn exchange(
        &self,
        request: &[u8],
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        assert!(request.ends_with(b"\n"));
        Ok((self.answer)(&serde_json::from_slice(request).unwrap())?)
    }
}

fn honest(request: &Value) -> Result<Vec<u8>, String> {
    assert_eq!(request["protocol"], "wherry-signer/1");
    assert_eq!(request["key"], "slot 7");
    let answer = match request["request"].as_str().unwrap() {
        "public" => serde_json::json!({ "public": key(7).public() }),
        "sign" => {
            let message = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                request["message"].as_str().unwrap(),
            );
            let signature = key(7).sign(&message.unwrap()).unwrap();
            let signature =
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signature);
            serde_json::json!({ "signature": signature })
        }
        other => return Err(format!("{other}?")),
    };
    Ok(answer.to_string().into_bytes())
}

/// Covers: TRU-74
#[test]
fn a_key_on_a_device_signs_through_its_helper_and_never_leaves_it() {
    let signer = trust::key::HelperSigner::connect(Box::new(Device { answer: honest }), "slot 7");
    let signer = signer.unwrap();
    assert_eq!(signer.public(), key(7).public());
    assert!(signer.pkcs8().is_none());
    let mut creation = creation(NAME);
    creation.root = RoleSetup::single(signer.public());
    let mut repository = Repository::create(&creation).unwrap();
    let online = [key(2), key(3), key(4)];
    let mut signers: Vec<&dyn Signer> = online.iter().map(|s| s as &dyn Signer).collect();
    signers.push(&signer);
    repository.commit(Commit::Edits, &signers, Lifetimes::default(), now()).unwrap();
    let cannot = trust::key::PrivateKeyFile::seal(
        &signer,
        "device",
        trust::key::KeyRole::Root,
        None,
        &Secret::from("p".to_owned()),
        trust::key::KdfCost::LEAST,
    );
    assert!(cannot.unwrap_err().to_string().contains("never leaves"));
}

#[test]
fn a_helper_that_fails_or_lies_is_found_out() {
    fn connect(answer: fn(&Value) -> Result<Vec<u8>, String>) -> trust::Result<Vec<u8>> {
        let signer = trust::key::HelperSigner::connect(Box::new(Device { answer }), "slot 7")?;
        signer.sign(b"message")
    }
    assert!(connect(honest).is_ok());
    assert!(matches!(connect(|_| Err("no card".to_owned())), Err(Error::Transport { .. })));
    assert!(matches!(connect(|_| Ok(b"junk".to_vec())), Err(Error::KeyFile { .. })));
    assert!(matches!(connect(|_| Ok(vec![b' '; 1 << 20])), Err(Error::KeyFile { .. })));
    let unknown = |_: &Value| {
        Ok(br#"{"public":{"keytype":"x","scheme":"x","keyval":{"public":""}}}"#.to_vec())
    };
    assert!(matches!(connect(unknown), Err(Error::KeyFile { .. })));
    // It says one key and signs with another.
    let liar = |request: &Value| match request["request"].as_str() {
        Some("public") => {
            Ok(serde_json::json!({ "public": key(8).public() }).to_string().into_bytes())
        }
        _ => honest(request),
    };
    assert!(matches!(connect(liar), Err(Error::SigningFailed { .. })));
}

#[test]
fn a_signer_on_another_machine_publishes_with_nothing_but_their_own_key() {
    let mut publisher = Publisher::new();
    publisher.sign("0.9", "old", &[2]);
    publisher.add_signer("nigel", 11);
    publisher.repository.add_publishers(std::slice::from_ref(key(11).public())).unwrap();
    let error = publisher.try_commit(Commit::Edits, &[3, 4]).unwrap_err();
    assert!(matches!(&error, Error::MissingKeys { role, .. } if role == "root"), "{error}");
    publisher.commit(&[1, 3, 4]);
    let mut world = crate::world::World::new();
    world.files = served(&publisher.repository);
    let mut consumer = crate::world::Client::of(&world);
    consumer.find(&mut world, "shop/web:0.9").unwrap().unwrap();
    let before = consumer.version("timestamp.json").unwrap();

    let signer = key(11);
    publisher.repository.sign("1.0", &manifest("one"), &[&signer]).unwrap();
    publisher.commit(&[11]);
    world.files = served(&publisher.repository);
    consumer.find(&mut world, "shop/web:1.0").unwrap().unwrap();
    assert_eq!(consumer.version("timestamp.json"), Some(before + 1));
}

/// Covers: TRU-21
#[test]
fn an_added_online_key_does_not_make_clients_forget_and_a_removed_one_does() {
    for (keys_after, forgotten) in [(vec![4_u8, 8], false), (vec![8], true)] {
        let mut world = crate::world::World::new();
        world.timestamp["version"] = serde_json::json!(9);
        world.publish_timestamp();
        let mut client = crate::world::Client::of(&world);
        client.refresh(&mut world).unwrap();
        world.root["keys"] = crate::world::keys(&[1, 2, 3, 4, 8]);
        world.root["roles"]["timestamp"] = crate::world::role(&keys_after, 1);
        world.next_root();
        world.timestamp["version"] = serde_json::json!(2);
        world.timestamp_signers = vec![8];
        world.publish_timestamp();
        assert_eq!(client.refresh(&mut world).is_ok(), forgotten, "{keys_after:?}");
    }
}
