//! One image, one policy, its evidence: one verdict.

use jiff::Timestamp;
use oci::{Descriptor, Index, MediaType, Raw, Reference};
use trust::key::Signer;
use trust::policy::Pin;
use trust::tuf::{Commit, MetadataFiles, RoleSetup, RotateRole, TrustedState};
use trust::{
    Evidence, Judgement, NotVerified, Origin, Policy, Proof, Reason, Subject, Verdict, Waiver,
    danger, judge,
};

use crate::policies::parse;
use crate::publisher::*;
use crate::world::{id, key, now};

fn policy(tuf: &str) -> Policy {
    parse(&format!(
        "version = 1\ndefault = \"reject\"\nbuilt-here = \"reject\"\n\
         [[scope]]\nprefix = \"localhost:5000/shop\"\n[[scope.tuf]]\n{tuf}"
    ))
    .unwrap()
}

fn pinned() -> Policy {
    policy("root-file = \"root.json\"")
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A consumer who keeps the trusted state between judgements.
struct Consumer {
    policy: Policy,
    state: TrustedState,
    now: Timestamp,
}

impl Consumer {
    fn new(policy: Policy) -> Self {
        Self { policy, state: TrustedState::new(), now: now() }
    }

    fn judge(
        &mut self,
        name: &str,
        descriptor: &Descriptor,
        files: Option<&MetadataFiles>,
    ) -> Judgement {
        let reference = reference(name);
        let mut source = files;
        let mut evidence = Evidence::none();
        if let Some(files) = &mut source {
            evidence = evidence.with_tuf(files);
        }
        let pins: Vec<Pin> =
            self.policy.pins(reference.repository()).into_iter().cloned().collect();
        for pin in &pins {
            evidence = evidence.with_state(pin, self.state.clone());
        }
        let subject = Subject { reference: &reference, descriptor, origin: Origin::Elsewhere };
        let judgement = judge(&self.policy, subject, &mut evidence, self.now);
        for update in judgement.state_updates() {
            update.changes.iter().for_each(|change| self.state.apply(change));
        }
        judgement
    }
}

fn reasons(judgement: &Judgement) -> Vec<&'static str> {
    judgement.verdict().reasons().iter().map(Reason::code).collect()
}

fn denied(judgement: &Judgement) -> &'static str {
    assert!(matches!(judgement.verdict(), Verdict::Denied { .. }), "{:?}", judgement.verdict());
    assert!(judgement.verified().is_err());
    assert!(danger::accept_unsigned(judgement).is_err(), "denied means denied");
    let reasons = reasons(judgement);
    assert_eq!(reasons.len(), 1);
    reasons[0]
}

/// Covers: TRU-37
#[test]
fn a_signed_tag_proves_the_descriptor_that_was_signed() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    let files = publisher.repository.files();
    let mut consumer = Consumer::new(pinned());
    let judgement = consumer.judge("localhost:5000/shop/web:1.0", &manifest("one"), Some(files));
    let Verdict::Proven { proofs } = judgement.verdict() else { panic!("{judgement:?}") };
    assert_eq!(
        proofs,
        &[Proof::Tuf {
            role: "targets/releases".to_owned(),
            signers: vec!["nigel".to_owned()],
            snapshot_version: 3,
            expires: "2030-01-15T00:00:00Z".parse().unwrap(),
        }]
    );
    let verified = judgement.verified().unwrap();
    assert_eq!(verified.digest(), manifest("one").digest());
    assert_eq!(verified.record().snapshot_version(), Some(3));
    // A digest reference holds through the tag that is signed as it.
    let by_digest = format!("localhost:5000/shop/web@{}", manifest("one").digest());
    assert!(consumer.judge(&by_digest, &manifest("one"), Some(files)).verified().is_ok());
    // And offline, from what was kept.
    assert!(
        consumer.judge("localhost:5000/shop/web:1.0", &manifest("one"), None).verified().is_ok()
    );
}

/// Covers: TRU-33, TRU-63
#[test]
fn every_attack_on_a_signed_image_is_denied_with_its_reason() {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    publisher.sign("2.0", "two", &[2]);
    let files = publisher.repository.files().clone();
    let name = "localhost:5000/shop/web:1.0";
    let fresh = || Consumer::new(pinned());

    // No trust data.
    assert_eq!(denied(&fresh().judge(name, &manifest("one"), None)), "unsigned");
    // Never signed.
    let unknown = "localhost:5000/shop/web:3.0";
    assert_eq!(denied(&fresh().judge(unknown, &manifest("one"), Some(&files))), "not-signed");
    // The tag was moved to an image that is signed under another tag.
    assert_eq!(denied(&fresh().judge(name, &manifest("two"), Some(&files))), "content-changed");
    // Tampered content.
    assert_eq!(denied(&fresh().judge(name, &manifest("0ne"), Some(&files))), "content-changed");
    // Same digest, another length.
    let longer = Descriptor::new(MediaType::OciManifest, manifest("one").digest().clone(), 9);
    assert_eq!(denied(&fresh().judge(name, &longer, Some(&files))), "content-changed");
    // A digest that no tag is signed as.
    let by_digest = format!("localhost:5000/shop/web@{}", manifest("x").digest());
    assert_eq!(denied(&fresh().judge(&by_digest, &manifest("x"), Some(&files))), "not-signed");
    // Another publisher's trust data.
    let mut mallory = Publisher::new();
    let mut other = creation(NAME);
    other.root = RoleSetup::single(key(66).public());
    mallory.repository = trust::tuf::Repository::create(&other).unwrap();
    mallory.commit(&[66, 2, 3, 4]);
    let mut foreign = mallory.repository.files().clone();
    let walked = foreign["1.root.json"].clone();
    foreign.insert("2.root.json".to_owned(), walked);
    assert_eq!(denied(&fresh().judge(name, &manifest("one"), Some(&foreign))), "wrong-signer");
    // Expired.
    let mut late = fresh();
    late.now = "2030-02-01T00:00:00Z".parse().unwrap();
    assert_eq!(denied(&late.judge(name, &manifest("one"), Some(&files))), "expired");
    // Damaged.
    let mut damaged = files.clone();
    damaged.insert("timestamp.json".to_owned(), b"{".to_vec().into());
    assert_eq!(denied(&fresh().judge(name, &manifest("one"), Some(&damaged))), "malformed");
    // A repository that the policy does not know.
    let elsewhere = "localhost:5000/other:1";
    assert_eq!(denied(&fresh().judge(elsewhere, &manifest("one"), Some(&files))), "policy-rejects");
}

#[test]
fn metadata_of_another_repository_of_the_same_publisher_are_denied() {
    let mut api = Publisher::of("shop/api");
    api.sign("1.0", "api", &[2]);
    // The keys are the same, so pinning by key does not tell the two apart: the root does.
    let policy = policy(&format!("root-keyids = [\"{}\"]", id(1)));
    let mut consumer = Consumer::new(policy);
    let files = api.repository.files();
    let judgement = consumer.judge("localhost:5000/shop/web:1.0", &manifest("api"), Some(files));
    assert_eq!(denied(&judgement), "other-repository");
    let mut consumer = Consumer::new(consumer.policy);
    let judgement = consumer.judge("localhost:5000/shop/api:1.0", &manifest("api"), Some(files));
    assert!(judgement.verified().is_ok());
}

#[test]
fn a_mirror_under_another_host_verifies_and_a_renamed_one_needs_to_be_told() {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    let files = publisher.repository.files();
    let mirror = |extra: &str| {
        parse(&format!(
            "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"mirror.local\"\n\
             [[scope.tuf]]\nroot-file = \"root.json\"\n{extra}"
        ))
        .unwrap()
    };
    let same =
        Consumer::new(mirror("")).judge("mirror.local/shop/web:1.0", &manifest("one"), Some(files));
    assert!(same.verified().is_ok());
    let renamed =
        Consumer::new(mirror("")).judge("mirror.local/m/web:1.0", &manifest("one"), Some(files));
    assert_eq!(denied(&renamed), "other-repository");
    let told = Consumer::new(mirror("signed-as = \"shop/web\"")).judge(
        "mirror.local/m/web:1.0",
        &manifest("one"),
        Some(files),
    );
    assert!(told.verified().is_ok());
}

/// Covers: TRU-45
#[test]
fn a_revoked_tag_is_denied_after_the_next_refresh_and_old_metadata_do_not_bring_it_back() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    let before = publisher.repository.files().clone();
    let name = "localhost:5000/shop/web:1.0";
    let mut consumer = Consumer::new(pinned());
    assert!(consumer.judge(name, &manifest("one"), Some(&before)).verified().is_ok());
    publisher.revoke("1.0", &[11]);
    let after = publisher.repository.files().clone();
    // Who has not asked again still trusts what was kept, until it expires.
    assert!(consumer.judge(name, &manifest("one"), None).verified().is_ok());
    assert_eq!(denied(&consumer.judge(name, &manifest("one"), Some(&after))), "not-signed");
    // A registry that serves yesterday's metadata is caught by what was trusted since.
    assert_eq!(denied(&consumer.judge(name, &manifest("one"), Some(&before))), "rolled-back");
    assert_eq!(denied(&consumer.judge(name, &manifest("one"), None)), "not-signed");
}

#[test]
fn a_repository_whose_signers_have_not_signed_yet_signs_nothing() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    let files = publisher.repository.files();
    let mut consumer = Consumer::new(pinned());
    let judgement = consumer.judge("localhost:5000/shop/web:1.0", &manifest("one"), Some(files));
    assert_eq!(denied(&judgement), "not-signed");
}

/// Covers: TRU-46
#[test]
fn a_tag_in_a_signers_own_role_alone_does_not_count() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    // Releases loses the tag, nigel's own role keeps it.
    let signer = key(11);
    publisher.repository.revoke("1.0", &[&signer]).unwrap();
    publisher.commit(&[11, 3, 4]);
    let mut crafted = crate::world::World::new();
    let mut top: serde_json::Value =
        serde_json::from_slice(&publisher.repository.files()["2.targets.json"]).unwrap();
    crafted.roles.clear();
    crafted.add_role("targets", top["signed"].take(), &[2]);
    crafted.add_role("targets/releases", crate::world::targets(&[]), &[11]);
    crafted.add_role("targets/nigel", crate::world::targets(&[("shop/web:1.0", b"one")]), &[11]);
    crafted.publish();
    let found = crate::world::Client::of(&crafted).find(&mut crafted, "shop/web:1.0").unwrap();
    assert_eq!(found, None, "releases ends the search");
}

#[test]
fn a_policy_may_ask_for_certain_signers_and_for_several() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.add_signer("maria", 12);
    publisher.sign("one", "one", &[11]);
    publisher.sign("both", "both", &[11, 12]);
    // Maria signs other content under the same tag: her signature does not count for nigel's.
    publisher.sign("split", "hers", &[12]);
    publisher.sign("split", "his", &[11]);
    let files = publisher.repository.files();
    for (rule, tag, content, accepted) in [
        ("signers = [\"nigel\"]", "one", "one", true),
        ("signers = [\"maria\"]", "one", "one", false),
        ("signers = [\"nigel\", \"maria\"]", "one", "one", false),
        ("signers = [\"nigel\", \"maria\"]", "both", "both", true),
        ("minimum-signers = 2", "one", "one", false),
        ("minimum-signers = 2", "both", "both", true),
        ("minimum-signers = 2", "split", "his", false),
        ("minimum-signers = 1", "split", "his", true),
    ] {
        let mut consumer = Consumer::new(policy(&format!("root-file = \"root.json\"\n{rule}")));
        let name = format!("localhost:5000/shop/web:{tag}");
        let judgement = consumer.judge(&name, &manifest(content), Some(files));
        assert_eq!(judgement.verified().is_ok(), accepted, "{rule} {tag}");
        if !accepted {
            assert_eq!(denied(&judgement), "signers-missing");
        }
    }
}

#[test]
fn every_way_to_pin_a_root_accepts_its_root_and_no_other() {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    let files = publisher.repository.files().clone();
    let sha = oci::Digest::sha256(&publisher.root()).hex().to_owned();
    let zeros = "0".repeat(64);
    for (pin, expected) in [
        ("root-file = \"root.json\"".to_owned(), None),
        (format!("root-sha256 = \"{sha}\""), None),
        (format!("root-sha256 = \"{zeros}\""), Some("pin-mismatch")),
        (format!("root-keyids = [\"{}\"]", id(1)), None),
        (format!("root-keyids = [\"{}\"]", id(2)), Some("pin-mismatch")),
        (format!("root-keyids = [\"{}\", \"{}\"]", id(1), id(5)), None),
        (
            format!("root-keyids = [\"{}\", \"{}\"]\nroot-threshold = 2", id(1), id(5)),
            Some("pin-mismatch"),
        ),
        ("trust-on-first-use = true".to_owned(), None),
    ] {
        let mut consumer = Consumer::new(policy(&pin));
        let judgement =
            consumer.judge("localhost:5000/shop/web:1.0", &manifest("one"), Some(&files));
        match expected {
            None => assert!(judgement.verified().is_ok(), "{pin}: {:?}", judgement.verdict()),
            Some(reason) => assert_eq!(denied(&judgement), reason, "{pin}"),
        }
    }
}

#[test]
fn a_key_that_borrows_the_id_of_a_pinned_key_is_not_the_pinned_key() {
    // Ids inside metadata are opaque: mallory names her own key by the pinned id.
    let mut world = crate::world::World::new();
    world.root["keys"][id(1)] = serde_json::to_value(key(66).public()).unwrap();
    let sig = key(66).sign(&crate::world::canonical(&world.root)).unwrap();
    let forged = serde_json::json!({
        "signatures": [{ "keyid": id(1), "sig": hex::encode(sig) }], "signed": world.root,
    });
    world.files.insert("1.root.json".to_owned(), forged.to_string().into_bytes());
    let files: MetadataFiles =
        world.files.iter().map(|(name, bytes)| (name.clone(), bytes.clone().into())).collect();
    let mut consumer = Consumer::new(policy(&format!("root-keyids = [\"{}\"]", id(1))));
    let judgement = consumer.judge("localhost:5000/shop/web:1.0", &manifest("one"), Some(&files));
    assert_eq!(denied(&judgement), "pin-mismatch");
}

#[test]
fn a_rotated_root_is_followed_from_the_pinned_one() {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    for (old, new) in [(1, 51), (51, 52)] {
        let setup = RoleSetup::single(key(new).public());
        publisher.repository.rotate(&RotateRole { role: "root".to_owned(), setup }).unwrap();
        publisher.try_commit(Commit::Edits, &[old, new, 3, 4]).unwrap();
    }
    let files = publisher.repository.files();
    let mut consumer = Consumer::new(pinned());
    let judgement = consumer.judge("localhost:5000/shop/web:1.0", &manifest("one"), Some(files));
    assert!(judgement.verified().is_ok(), "{:?}", judgement.verdict());
}

/// Covers: TRU-73
#[test]
fn warn_mode_accepts_what_enforce_denies_and_says_why() {
    let text = "version = 1\ndefault = \"reject\"\nmode = \"warn\"";
    let mut consumer = Consumer::new(parse(text).unwrap());
    let judgement = consumer.judge("localhost:5000/shop/web:1.0", &manifest("one"), None);
    let Verdict::Waived { waiver: Waiver::PolicyWarns, reasons } = judgement.verdict() else {
        panic!("{judgement:?}")
    };
    assert_eq!(reasons[0].code(), "policy-rejects");
    assert!(matches!(judgement.verified(), Err(NotVerified::Waived { .. })), "it is no proof");
    assert!(danger::accept_unsigned(&judgement).is_ok());
}

#[test]
fn without_a_policy_everything_is_accepted_and_nothing_is_proven() {
    let mut consumer = Consumer::new(Policy::none());
    let judgement = consumer.judge("ubuntu:latest", &manifest("one"), None);
    assert_eq!(
        judgement.verdict(),
        &Verdict::Waived { waiver: Waiver::PolicyAllows, reasons: Vec::new() }
    );
    assert!(judgement.verified().is_err());
}

#[test]
fn what_was_built_here_is_accepted_only_where_the_policy_says_so() {
    let reference = reference("localhost:5000/shop/web:1.0");
    let descriptor = manifest("one");
    let subject =
        Subject { reference: &reference, descriptor: &descriptor, origin: Origin::BuiltHere };
    for (built_here, accepted) in [("allow", true), ("reject", false)] {
        let policy =
            parse(&format!("version = 1\ndefault = \"reject\"\nbuilt-here = \"{built_here}\""))
                .unwrap();
        let judgement = judge(&policy, subject, &mut Evidence::none(), now());
        assert_eq!(danger::accept_unsigned(&judgement).is_ok(), accepted);
        assert!(judgement.verified().is_err());
    }
}

/// Covers: TRU-67
#[test]
fn a_signature_on_an_index_covers_the_manifests_it_lists_and_no_other() {
    let child = manifest("arm64");
    let index = Raw::encode(&Index::new(vec![child.clone(), manifest("amd64")])).unwrap();
    let outer = Raw::encode(&Index::new(vec![index.descriptor()])).unwrap();
    let mut publisher = Publisher::new();
    let signer = key(2);
    publisher.repository.sign("multi", &outer.descriptor(), &[&signer]).unwrap();
    publisher.commit(&[2, 3, 4]);
    let files = publisher.repository.files();
    let judged = |descriptor: &Descriptor, parents: &[&[u8]]| {
        let reference: Reference =
            format!("localhost:5000/shop/web@{}", descriptor.digest()).parse().unwrap();
        let mut source = files;
        let mut evidence = Evidence::none().with_tuf(&mut source);
        for parent in parents {
            evidence = evidence.with_parent(parent.to_vec());
        }
        let subject = Subject { reference: &reference, descriptor, origin: Origin::Elsewhere };
        judge(&pinned(), subject, &mut evidence, now()).verified().is_ok()
    };
    assert!(judged(&outer.descriptor(), &[]));
    assert!(judged(&child, &[index.bytes(), outer.bytes()]));
    assert!(judged(&child, &[outer.bytes(), index.bytes()]), "in any order");
    assert!(!judged(&child, &[]));
    assert!(!judged(&child, &[index.bytes()]), "the chain must reach what is signed");
    assert!(!judged(&manifest("stranger"), &[index.bytes(), outer.bytes()]));

    // The proof of an index descends to its children alone.
    let reference = reference("localhost:5000/shop/web:multi");
    let mut source = files;
    let mut evidence = Evidence::none().with_tuf(&mut source);
    let descriptor = outer.descriptor();
    let subject =
        Subject { reference: &reference, descriptor: &descriptor, origin: Origin::Elsewhere };
    let verified = judge(&pinned(), subject, &mut evidence, now()).verified().unwrap();
    assert!(verified.descend(&outer, &index.descriptor()).is_some());
    assert!(verified.descend(&outer, &child).is_none());
    assert!(verified.descend(&index, &child).is_none());
}

#[test]
fn all_requirements_of_a_scope_must_hold_and_all_that_fail_are_told() {
    let policy = parse(
        "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"localhost:5000/shop\"\n\
         [[scope.tuf]]\nroot-file = \"root.json\"\n\
         [[scope.cosign]]\nkey-files = [\"key.pub\"]\n",
    )
    .unwrap();
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    let files = publisher.repository.files();
    let name = "localhost:5000/shop/web:1.0";
    let half = Consumer::new(policy.clone()).judge(name, &manifest("one"), Some(files));
    assert_eq!(reasons(&half), ["unsigned"]);
    let none = Consumer::new(policy).judge(name, &manifest("two"), Some(files));
    assert_eq!(reasons(&none), ["content-changed", "unsigned"]);
}

/// Covers: TRU-13
#[test]
fn setting_the_clock_back_does_not_revive_older_metadata() {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    let old = publisher.repository.files().clone();
    publisher.now = "2030-03-01T00:00:00Z".parse().unwrap();
    publisher.sign("1.0", "two", &[2]);
    let name = "localhost:5000/shop/web:1.0";
    let mut consumer = Consumer::new(pinned());
    consumer.now = publisher.now;
    let judgement = consumer.judge(name, &manifest("two"), Some(publisher.repository.files()));
    assert!(judgement.verified().is_ok());
    consumer.now = now();
    assert_eq!(denied(&consumer.judge(name, &manifest("one"), Some(&old))), "rolled-back");
}
