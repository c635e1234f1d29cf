//! Roots of several holders: made, signed by drafts, recovered after every possible loss.

use tests::publisher::{
    Holder, consumer, demand, machine, publisher, push, put_blob, put_manifest, root_of, signed,
};
use tests::{Registry, Site};

/// A repository whose root needs two of three: this machine, a phrase on paper, and alice.
struct Ceremony {
    registry: Registry,
    publisher: Site,
    alice: Holder,
    name: String,
    phrase: String,
}

impl Ceremony {
    fn new() -> Self {
        let registry = Registry::embedded();
        let publisher = publisher(&registry);
        let alice = Holder::new(&publisher, "alice");
        let (name, phrase) = (registry.name("team/app"), "paper.txt".to_owned());
        publisher
            .run(&[
                "trust",
                "init",
                "--threshold",
                "2-of-3",
                "--recovery-file",
                &phrase,
                "--holder",
                &alice.named("alice"),
                &name,
            ])
            .ok()
            .says("Successfully initialized");
        publisher.run(&["trust", "sign", &registry.name("team/app:v1")]).ok();
        let phrase = publisher.path().join(phrase).display().to_string();
        Self { registry, publisher, alice, name, phrase }
    }

    /// Somebody who pinned the first root, and saw the first image.
    fn consumer(&self) -> Site {
        let site = consumer(&self.name, &root_of(&self.publisher), "");
        site.run(&["verify", &self.registry.name("team/app:v1")]).ok();
        site
    }

    /// A new tag is pushed and signed from this machine, and the consumer accepts it as it is.
    fn publishes(&self, from: &Site, consumer: &Site, tag: &str) {
        let name = push(&self.publisher, &self.registry, tag);
        from.run(&["trust", "sign", &name]).ok();
        consumer.run(&["verify", &name]).ok().says("verified");
    }
}

/// Covers: TRU-38
#[test]
fn a_lost_machine_is_replaced_by_paper_and_a_second_person_without_consumer_action() {
    let ceremony = Ceremony::new();
    let consumer = ceremony.consumer();
    let new = machine();
    let (name, phrase, alice) = (&ceremony.name, &ceremony.phrase, ceremony.alice.signer());
    let alone = new.run(&["trust", "recover", "--phrase", phrase, name]);
    alone.fails_with(&["root", "2 of its keys are needed", "1 are here"]);
    new.run(&["trust", "recover", "--phrase", phrase, "--signer", &alice, name])
        .ok()
        .says("replaced device; new keys here for targets, snapshot, timestamp");
    ceremony.publishes(&new, &consumer, "v2");
    // What the thief of the old machine signs counts for nothing.
    let stolen = push(&ceremony.publisher, &ceremony.registry, "v3");
    ceremony.publisher.run(&["trust", "sign", &stolen]).fails_with(&["cannot sign"]);
    assert_eq!(consumer.run(&["verify", &stolen]).code, Some(3));
}

/// Covers: TRU-38
#[test]
fn a_lost_phrase_is_replaced_by_the_machine_and_a_second_person() {
    let ceremony = Ceremony::new();
    let (consumer, site) = (ceremony.consumer(), &ceremony.publisher);
    let (name, alice) = (&ceremony.name, ceremony.alice.signer());
    let recover = ["trust", "recover", "--lost", "recovery phrase", "--signer", &alice];
    // The new phrase goes to a terminal or to a file, never into a log.
    site.run(&[&recover[..], &[name]].concat()).fails_with(&["terminal", "--recovery-file"]);
    site.run(&[&recover[..], &["--recovery-file", "new.txt", name]].concat())
        .ok()
        .says("replaced recovery phrase\n");
    ceremony.publishes(site, &consumer, "v2");
    let doctor = |paper: &str| {
        site.run(&["trust", "doctor", "--format", "json", "--phrase", paper, name]).json()
    };
    let outcome =
        |found: serde_json::Value| found[0]["Losses"][0]["Outcome"].as_str().map(str::to_owned);
    assert_eq!(
        outcome(doctor(&ceremony.phrase)).as_deref(),
        Some("needs"),
        "the old phrase is void"
    );
    let all = site.run(&["trust", "doctor", "--phrase", "new.txt", "--signer", &alice, name]).ok();
    assert_eq!(all.stdout.matches("recovered in rehearsal").count(), 3, "{all}");
}

/// Covers: TRU-38
#[test]
fn a_person_who_lost_their_key_gets_a_new_one_from_the_machine_and_paper() {
    let ceremony = Ceremony::new();
    let (consumer, site) = (ceremony.consumer(), &ceremony.publisher);
    let new = Holder::new(site, "alice2");
    let recover = ["trust", "recover", "--lost", "alice", "--phrase", &ceremony.phrase];
    site.run(&[&recover[..], &[&ceremony.name]].concat()).fails_with(&["alice", "--holder"]);
    let key = new.named("alice");
    site.run(&[&recover[..], &["--holder", &key, &ceremony.name]].concat())
        .ok()
        .says("replaced alice");
    ceremony.publishes(site, &consumer, "v2");
    let nobody = ["trust", "recover", "--lost", "bob", &ceremony.name];
    site.run(&nobody).fails_with(&["bob", "device", "recovery phrase", "alice"]);
}

/// Covers: TRU-38
#[test]
fn a_draft_collects_signatures_on_machines_that_never_meet() {
    let ceremony = Ceremony::new();
    let (consumer, new, alice) = (ceremony.consumer(), machine(), machine());
    let (name, phrase) = (&ceremony.name, &ceremony.phrase);
    new.run(&["trust", "recover", "--phrase", phrase, "--draft", "draft.json", name])
        .ok()
        .says("the previous root: 1 of 2 keys");
    new.run(&["trust", "draft", "publish", "draft.json", name]).fails_with(&["root", "1 of the 2"]);
    // It travels as a file; alice signs a copy.
    let copy = std::fs::read(new.path().join("draft.json")).expect("the draft");
    alice.write("copy.json", &copy);
    alice.run(&["trust", "draft", "sign", "copy.json"]).fails_with(&["no key that is here"]);
    alice.run(&["trust", "draft", "sign", "--signer", &ceremony.alice.signer(), "copy.json"]).ok();
    new.write("back.json", std::fs::read(alice.path().join("copy.json")).expect("the copy"));
    new.run(&["trust", "draft", "merge", "draft.json", "back.json"]).ok().says("complete");
    new.run(&["trust", "draft", "show", "draft.json"]).ok().says("x-wherry-root-keys");
    new.run(&["trust", "draft", "publish", "draft.json", name]).ok();
    ceremony.publishes(&new, &consumer, "v2");
    // A draft that was overtaken is refused.
    new.run(&["trust", "draft", "publish", "draft.json", name]).fails_with(&["version"]);
}

#[test]
fn a_root_of_one_key_has_no_way_back_until_holders_are_added() {
    let registry = Registry::embedded();
    let site = signed(&registry);
    let name = registry.name("team/app");
    let consumer = consumer(&name, &root_of(&site), "");
    let found = site.run(&["trust", "doctor", &name]).exits(1);
    assert!(found.stdout.contains("no way back") && found.stdout.contains("timestamp"), "{found}");
    let alice = Holder::new(&site, "alice");
    let rotate = ["trust", "rotate", "--threshold", "2-of-3", "--holder", &alice.named("alice")];
    site.run(&[&rotate[..], &["root", &name]].concat()).fails_with(&["2 of 3", "2 are named"]);
    site.run(&[&rotate[..], &["--recovery-file", "p.txt", "root", &name]].concat()).ok();
    let alice = alice.signer();
    let found = site.run(&["trust", "doctor", "--phrase", "p.txt", "--signer", &alice]).ok();
    assert_eq!(found.stdout.matches("recovered in rehearsal").count(), 3, "{found}");
    // Two of three: one new key alone would put the other holders out.
    site.run(&["trust", "rotate", "root", &name]).fails_with(&["3 keys", "trust recover"]);
    consumer.run(&["verify", &registry.name("team/app:v1")]).ok();
}

#[test]
fn a_phrase_is_for_its_owner_alone_and_goes_nowhere_when_nothing_was_made() {
    use std::os::unix::fs::PermissionsExt;
    let ceremony = Ceremony::new();
    let mode = std::fs::metadata(&ceremony.phrase).expect("the phrase").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let site = &ceremony.publisher;
    let init = ["trust", "init", "--threshold", "1-of-2"];
    site.run(&[&init[..], &["--recovery-phrase", &ceremony.registry.name("team/new")]].concat())
        .fails_with(&["terminal"]);
    // The repository exists already: the file of its phrase does not stay.
    site.run(&[&init[..], &["--recovery-file", "second.txt", &ceremony.name]].concat())
        .fails_with(&["already"]);
    assert!(!site.path().join("second.txt").exists());
    let before = std::fs::read(&ceremony.phrase).expect("read");
    site.run(&[&init[..], &["--recovery-file", &ceremony.phrase, &ceremony.name]].concat())
        .fails_with(&["paper.txt"]);
    assert_eq!(std::fs::read(&ceremony.phrase).expect("read"), before);
    site.write("wrong.txt", "0000-0000");
    site.run(&["trust", "recover", "--phrase", "wrong.txt", &ceremony.name])
        .fails_with(&["recovery phrase", "fourteen groups"]);
}

/// Covers: TRU-74
#[test]
fn a_signer_program_that_fails_or_lies_signs_nothing() {
    let ceremony = Ceremony::new();
    let site = &ceremony.publisher;
    for (script, words) in [
        ("#!/bin/sh\necho the token is not there >&2; exit 3\n", "the token is not there"),
        ("#!/bin/sh\necho '{}'\n", "signer helper"),
    ] {
        let path = site.write("bad-device", script);
        site.shell(&format!("chmod 755 {}", path.display())).ok();
        let signer = format!("exec:{}", path.display());
        site.run(&["trust", "refresh", "--signer", &signer, &ceremony.name]).fails_with(&[words]);
    }
    site.run(&["trust", "refresh", "--signer", "exec:/no/such", &ceremony.name])
        .fails_with(&["/no/such"]);
    site.run(&["trust", "refresh", "--signer", "pkcs11:x", &ceremony.name])
        .fails_with(&["exec:PROGRAM"]);
}

#[test]
fn one_role_is_renewed_and_consumers_go_on() {
    let registry = Registry::embedded();
    let site = signed(&registry);
    let name = registry.name("team/app");
    let consumer = consumer(&name, &root_of(&site), "");
    consumer.run(&["verify", &registry.name("team/app:v1")]).ok();
    let files = || registry.get("/v2/team/app/manifests/_trust").text();
    assert!(!files().contains("2.root.json"));
    let targets = files().contains("\"3.targets.json\"");
    site.run(&["trust", "refresh", "--role", "root", "--role", "targets", &name]).ok();
    assert!(files().contains("2.root.json"), "{}", files());
    assert!(files().contains("\"3.targets.json\"") && !targets, "{}", files());
    site.run(&["trust", "refresh", "--role", "nobody", &name]).fails_with(&["nobody"]);
    consumer.run(&["verify", &registry.name("team/app:v1")]).ok();
}

/// Covers: TRU-48
#[test]
fn root_and_repository_keys_have_passphrase_variables_of_their_own() {
    let registry = Registry::embedded();
    let mut site = Site::with_busybox();
    let name = registry.name("team/app:v1");
    site.run(&["tag", "busybox", &name]).ok();
    // Nobody to ask, nothing set: the message names the variable and ours.
    site.run(&["trust", "sign", &name])
        .fails_with(&["DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", "WHERRY_TRUST_PASSPHRASE"]);
    site.set_env("DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", "the root's own");
    site.run(&["trust", "sign", &name])
        .fails_with(&["DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE", "WHERRY_TRUST_PASSPHRASE"]);
    site.set_env("DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE", "the repository's own");
    site.run(&["trust", "sign", &name]).ok();
    // Signing again needs the repository's passphrase alone; the root stays locked.
    site.set_env("DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", "wrong");
    site.run(&["trust", "sign", &name]).ok();
    site.run(&["trust", "rotate", "snapshot", &registry.name("team/app")])
        .fails_with(&["wrong passphrase", "root"]);
    site.set_env("DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE", "wrong too");
    site.run(&["trust", "sign", &name]).fails_with(&["wrong passphrase"]);
}

/// Covers: TRU-74
#[test]
fn a_wrong_passphrase_is_noticed_before_anything_is_pushed() {
    let registry = Registry::embedded();
    let mut site = signed(&registry);
    let name = registry.name("team/app:v2");
    site.run(&["tag", "busybox", &name]).ok();
    site.set_env("WHERRY_TRUST_PASSPHRASE", "not the passphrase");
    site.run(&["trust", "sign", &name]).fails_with(&["wrong passphrase"]);
    site.set_env("DOCKER_CONTENT_TRUST", "1");
    site.run(&["push", &name]).fails_with(&["wrong passphrase"]);
    assert_eq!(registry.get("/v2/team/app/manifests/v2").status, 404);
}

/// Covers: TRU-50
#[test]
fn a_repository_of_docker_content_trust_moves_over_with_its_keys_and_digests() {
    let registry = Registry::embedded();
    let mut site = Site::new();
    site.set_env("DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", "rootpass1");
    site.set_env("DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE", "repopass1");
    let folder = xtask::shell::workspace_root().join("testdata/trust/notary");
    let manifest = std::fs::read(folder.join("manifest-v1.json")).expect("the signed manifest");
    put_blob(&registry, "team/dct", b"{}");
    put_manifest(&registry, "team/dct", "moved-meanwhile", &manifest);
    let (from, name) = (folder.display().to_string(), registry.name("team/dct"));
    let migrate = ["trust", "migrate", "dct", "--from", &from];
    site.run(&[&migrate[..], &[&name]].concat()).fails_with(&["--gun", "targets.json"]);
    let migrate = [&migrate[..], &["--gun", "docker.io/team/dct", &name]].concat();
    let run = site.run(&migrate).ok();
    for words in [
        "Imported root key",
        "Imported targets key",
        "Imported nigel key",
        "Signed v1",
        "1 tags signed",
    ] {
        assert!(run.stdout.contains(words), "{run}");
    }
    assert!(run.stderr.contains("gone is not signed"), "{run}");
    site.run(&migrate).fails_with(&["already"]);
    let shown = site.run(&["trust", "inspect", "--pretty", &name]).ok();
    let line = shown.stdout.lines().find(|line| line.starts_with("v1 ")).expect("v1");
    assert!(line.contains("1ccb399e44f3") && line.contains("nigel"), "{shown}");
    // Consumers pin the new root, and the tag means the digest that Notary had signed.
    put_manifest(&registry, "team/dct", "v1", &manifest);
    let consumer = consumer(&name, &root_of(&site), "signers = [\"nigel\"]\n");
    consumer.run(&["verify", &registry.name("team/dct:v1")]).ok();
    let mut stranger = Site::new();
    stranger.set_env("WHERRY_TRUST_PASSPHRASE", "wrong");
    let elsewhere = registry.name("team/elsewhere");
    let migrate =
        ["trust", "migrate", "dct", "--from", &from, "--gun", "docker.io/team/dct", &elsewhere];
    stranger.run(&migrate).fails_with(&["wrong passphrase"]);
    assert_eq!(registry.get("/v2/team/elsewhere/manifests/_trust").status, 404);
}

/// The first key of a role that is handed to others is theirs alone.
#[test]
fn a_role_is_handed_to_keys_of_others() {
    let registry = Registry::embedded();
    let site = signed(&registry);
    let robot = Holder::new(&site, "robot");
    let name = registry.name("team/app");
    let key = robot.named("robot");
    site.run(&["trust", "rotate", "--holder", &key, "timestamp", &name])
        .fails_with(&["timestamp", "1 of its keys are needed"]);
    let signer = robot.signer();
    site.run(&["trust", "rotate", "--signer", &signer, "timestamp", &name]).ok();
    site.run(&["trust", "refresh", &name]).fails_with(&["timestamp"]);
    site.run(&["trust", "refresh", "--signer", &signer, &name]).ok();
    let consumer = machine();
    demand(&consumer, &name, &root_of(&site), "");
    consumer.run(&["verify", &registry.name("team/app:v1")]).ok();
}
