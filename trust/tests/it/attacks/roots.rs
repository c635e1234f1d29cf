//! TUF 5.3: the root role.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};
use trust::Error;
use trust::key::{EcdsaSigner, PublicKey, Signer};

use crate::world::*;

/// Covers: TRU-1, TRU-12
#[test]
fn a_client_walks_every_root_until_there_is_no_next_one() {
    let mut world = World::new();
    for _ in 0..5 {
        world.next_root();
    }
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();
    assert_eq!(client.version("root.json"), Some(6));
    assert_eq!(
        &world.requests[..7],
        [
            "2.root.json",
            "3.root.json",
            "4.root.json",
            "5.root.json",
            "6.root.json",
            "7.root.json",
            "timestamp.json"
        ]
    );
    // Kept bytes are the served bytes.
    assert_eq!(client.has("root.json").unwrap()[..], world.files["6.root.json"]);
    assert_eq!(client.has("timestamp.json").unwrap()[..], world.files["timestamp.json"]);
    assert_eq!(client.has("snapshot.json").unwrap()[..], world.files["1.snapshot.json"]);
    assert_eq!(client.has("targets.json").unwrap()[..], world.files["1.targets.json"]);
}

/// Covers: TRU-1
#[test]
fn a_failing_transport_is_not_the_end_of_the_root_chain() {
    let mut world = World::new();
    world.broken = Some("2.root.json".to_owned());
    let mut client = Client::of(&world);
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(error, Error::Transport { file, .. } if file == "2.root.json"));
    assert_eq!(client.version("timestamp.json"), None);
}

/// Covers: TRU-2
#[test]
fn a_root_of_any_version_but_the_next_is_refused() {
    for wrong in [1, 3, 4, 1 << 31] {
        let mut world = World::new();
        world.root["version"] = json!(wrong);
        let forged = sign(&world.root, &[1]);
        world.files.insert("2.root.json".to_owned(), forged);
        let mut client = Client::of(&world);
        let error = client.refresh(&mut world).err().unwrap();
        assert!(
            matches!(error, Error::WrongVersion { expected: 2, found, .. } if found == wrong),
            "{error}"
        );
        assert_eq!(client.version("root.json"), Some(1));
    }
}

/// Covers: TRU-3
#[test]
fn a_root_needs_the_old_threshold_and_the_new_one() {
    // (old keys, old threshold, new keys, new threshold, who signs, accepted)
    type Case = (&'static [u8], u64, &'static [u8], u64, &'static [u8], bool);
    let table: &[Case] = &[
        (&[1], 1, &[1], 1, &[1], true),
        (&[1], 1, &[5], 1, &[1, 5], true),
        (&[1], 1, &[5], 1, &[5], false),
        (&[1], 1, &[5], 1, &[1], false),
        (&[1, 5], 2, &[1, 5], 2, &[1, 5], true),
        (&[1, 5], 2, &[1, 5], 2, &[1], false),
        (&[1, 5], 2, &[5, 6], 2, &[1, 5, 6], true),
        (&[1, 5], 2, &[5, 6], 2, &[5, 6], false),
        (&[1], 1, &[1, 5], 2, &[1], false),
        (&[1], 1, &[1, 5], 2, &[1, 5], true),
        (&[1, 5], 2, &[1, 5], 1, &[1], false),
        (&[1, 5], 2, &[1], 1, &[1, 5], true),
        (&[1, 5, 6], 2, &[1, 5, 6], 2, &[5, 6], true),
        (&[1, 5, 6], 2, &[7, 8, 9], 2, &[5, 6, 7, 9], true),
        (&[1, 5, 6], 2, &[7, 8, 9], 2, &[5, 7, 8], false),
    ];
    for (old, old_threshold, new, new_threshold, signers, accepted) in table {
        let mut world = World::new();
        world.root["keys"] = keys(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        world.root["roles"]["root"] = role(old, *old_threshold);
        world.root_signers = old.to_vec();
        world.publish_root();
        world.root["roles"]["root"] = role(new, *new_threshold);
        world.root_signers = signers.to_vec();
        world.next_root();
        let result = Client::of(&world).refresh(&mut world);
        assert_eq!(
            result.is_ok(),
            *accepted,
            "{old:?}/{old_threshold} -> {new:?}/{new_threshold} signed by {signers:?}"
        );
    }
}

/// Covers: TRU-4
#[test]
fn only_the_last_root_must_not_have_expired_and_the_walked_ones_stay() {
    let mut world = World::new();
    world.root["expires"] = json!(PAST);
    world.publish_root();
    world.next_root();
    world.root["expires"] = json!(LATER);
    world.next_root();
    let mut client = Client::of(&world);
    client.refresh(&mut world).unwrap();
    assert_eq!(client.version("root.json"), Some(3));

    world.root["expires"] = json!(PAST);
    world.next_root();
    let error = client.refresh(&mut world).err().unwrap();
    assert!(matches!(error, Error::RoleExpired { ref role, .. } if role == "root"), "{error}");
    assert_eq!(client.version("root.json"), Some(4), "the expired root was walked and is kept");
    world.root["expires"] = json!(LATER);
    world.next_root();
    client.refresh(&mut world).unwrap();
}

/// Covers: TRU-6, TRU-7
#[test]
fn repeated_signatures_and_repeated_keys_do_not_reach_a_threshold() {
    // One key signs twice.
    let mut world = World::new();
    world.root["keys"] = keys(&[1, 2, 3, 4, 5]);
    world.root["roles"]["timestamp"] = role(&[4, 5], 2);
    world.publish_root();
    world.timestamp_signers = vec![4, 4];
    world.publish_timestamp();
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(error, Error::Threshold { needed: 2, valid: 1, .. }), "{error}");
    world.timestamp_signers = vec![4, 5];
    world.publish_timestamp();
    Client::of(&world).refresh(&mut world).unwrap();

    // One key under two ids.
    let mut world = World::new();
    world.root["keys"]["alias"] = world.root["keys"][id(4)].clone();
    world.root["roles"]["timestamp"] = json!({ "keyids": [id(4), "alias"], "threshold": 2 });
    world.publish_root();
    let mut other = signature(&world.timestamp, 4);
    other["keyid"] = json!("alias");
    let signatures = [signature(&world.timestamp, 4), other];
    let forged = json!({ "signatures": signatures, "signed": world.timestamp });
    world.files.insert("timestamp.json".to_owned(), forged.to_string().into_bytes());
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(error, Error::Threshold { needed: 2, valid: 1, .. }), "{error}");

    // No signature at all is not enough for a threshold of zero, which is no threshold.
    for threshold in [json!(0), json!(-1)] {
        let mut world = World::new();
        world.root["roles"]["timestamp"]["threshold"] = threshold;
        world.publish_root();
        let error = Client::of(&world).refresh(&mut world).err().unwrap();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }
}

/// Covers: TRU-8
#[test]
fn a_bad_signature_beside_a_good_one_is_harmless() {
    let mut world = World::new();
    world.root["keys"] = keys(&[1, 2, 3, 4, 5]);
    world.root["roles"]["timestamp"] = role(&[4, 5], 1);
    world.publish_root();
    let bad = json!({ "keyid": id(5), "sig": "00" });
    let junk = json!({ "keyid": id(5), "sig": "not hex" });
    let unknown = json!({ "keyid": "nobody", "sig": hex::encode([1; 64]) });
    let signatures = [bad, junk, unknown, signature(&world.timestamp, 4)];
    let document = json!({ "signatures": signatures, "signed": world.timestamp });
    world.files.insert("timestamp.json".to_owned(), document.to_string().into_bytes());
    Client::of(&world).refresh(&mut world).unwrap();
}

fn ecdsa() -> EcdsaSigner {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    EcdsaSigner::from_der(&trust::Secret::new(pair.to_pkcs8v1().unwrap().as_ref())).unwrap()
}

fn with_timestamp_key(world: &mut World, keyid: &str, public: Value, sig: &[u8]) {
    world.root["keys"][keyid] = public;
    world.root["roles"]["timestamp"] = json!({ "keyids": [keyid], "threshold": 1 });
    world.publish_root();
    let signatures = [json!({ "keyid": keyid, "sig": hex::encode(sig) })];
    let document = json!({ "signatures": signatures, "signed": world.timestamp });
    world.files.insert("timestamp.json".to_owned(), document.to_string().into_bytes());
}

/// Covers: TRU-9
#[test]
fn ecdsa_and_rsa_keys_verify_in_every_spelling_and_only_with_their_own_scheme() {
    let signer = ecdsa();
    let public = serde_json::to_value(signer.public()).unwrap();
    for (keytype, scheme, accepted) in [
        ("ecdsa", "ecdsa-sha2-nistp256", true),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", true),
        ("ecdsa", "ecdsa-sha2-nistp384", false),
        ("ed25519", "ecdsa-sha2-nistp256", false),
        ("rsa", "ecdsa-sha2-nistp256", false),
    ] {
        let mut world = World::new();
        let mut public = public.clone();
        public["keytype"] = json!(keytype);
        public["scheme"] = json!(scheme);
        let sig = signer.sign(&canonical(&world.timestamp)).unwrap();
        with_timestamp_key(&mut world, "k", public, &sig);
        let result = Client::of(&world).refresh(&mut world);
        assert_eq!(result.is_ok(), accepted, "{keytype} {scheme}");
    }

    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = pair.public_key().as_der().unwrap();
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    let mut world = World::new();
    let message = canonical(&world.timestamp);
    let mut sig = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), &message, &mut sig).unwrap();
    let public = serde_json::to_value(PublicKey::new("rsa", "rsassa-pss-sha256", pem)).unwrap();
    with_timestamp_key(&mut world, "k", public.clone(), &sig);
    Client::of(&world).refresh(&mut world).unwrap();
    sig[10] ^= 1;
    with_timestamp_key(&mut world, "k", public, &sig);
    assert!(Client::of(&world).refresh(&mut world).is_err());
}

/// Covers: TRU-10
#[test]
fn a_key_id_is_an_opaque_name() {
    let mut world = World::new();
    let mut public = serde_json::to_value(key(4).public()).unwrap();
    public["keyid_hash_algorithms"] = json!(["md5"]);
    let sig = key(4).sign(&canonical(&world.timestamp)).unwrap();
    with_timestamp_key(&mut world, "any name/at all", public, &sig);
    Client::of(&world).refresh(&mut world).unwrap();
}

/// Covers: TRU-11
#[test]
fn unknown_fields_at_every_level_are_covered_by_the_signature() {
    let mut world = World::new();
    world.root["x-top"] = json!({ "deep": [1, { "deeper": null }] });
    world.root["keys"][id(2)]["x-key"] = json!("é\n");
    world.root["keys"][id(2)]["keyval"]["x-value"] = json!(-3);
    world.root["roles"]["targets"]["x-role"] = json!(true);
    world.timestamp["meta"]["snapshot.json"]["x-meta"] = json!([]);
    world.role("targets")["targets"]["lib/web:1"]["x-target"] = json!({});
    world.publish_root();
    world.publish();
    Client::of(&world).refresh(&mut world).unwrap();

    // And dropping one breaks it.
    let served = String::from_utf8(world.files["timestamp.json"].clone()).unwrap();
    let dropped = served.replace("\"x-meta\": []", "\"x-mete\": []");
    assert_ne!(served, dropped);
    world.files.insert("timestamp.json".to_owned(), dropped.into_bytes());
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(error, Error::Threshold { .. }), "{error}");
}

#[test]
fn an_anchor_that_does_not_vouch_for_itself_is_refused() {
    let mut world = World::new();
    world.root_signers = vec![2];
    world.publish_root();
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(matches!(error, Error::Threshold { .. }), "{error}");
}

#[test]
fn metadata_of_a_future_specification_are_refused() {
    let mut world = World::new();
    world.timestamp["spec_version"] = json!("2.0.0");
    world.publish_timestamp();
    let error = Client::of(&world).refresh(&mut world).err().unwrap();
    assert!(error.to_string().contains("2.0.0"), "{error}");
}
