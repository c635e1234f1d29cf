//! Who signed what, and what happens to the rest.

use tests::publisher::{PASSPHRASE, consumer, publisher, root_of, signed};
use tests::{Need, Registry, Site, have};

/// Asserts that nothing of this name gets in or starts.
#[track_caller]
fn refused(site: &Site, name: &str) {
    for verb in ["verify", "pull"] {
        let run = site.run(&[verb, name]);
        assert!(run.code.is_some_and(|code| code != 0), "{verb} let it in: {run}");
        assert!(run.all().contains(name) && run.all().contains("refused"), "{run}");
    }
    let run = site.run(&["run", "--rm", "--network", "none", name, "true"]);
    assert_eq!(run.code, Some(125), "{run}");
    assert_eq!(site.wherry("images -q").ok().stdout, "", "a refused image got a name");
    site.check_store();
}

#[test]
fn a_signed_image_is_verified_pulled_and_run() {
    if !have(&[Need::Root]) {
        return;
    }
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let site = consumer(&registry.name("team/app"), &root_of(&publisher), "");
    let name = registry.name("team/app:v1");
    site.run(&["verify", &name]).ok();
    site.run(&["pull", &name]).ok();
    let run = site.run(&["run", "--rm", "--network", "none", &name, "echo", "trusted"]).ok();
    assert_eq!(run.out(), "trusted");
}

#[test]
fn an_unsigned_image_is_refused_everywhere() {
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let unsigned = registry.name("team/app:unsigned");
    publisher.run(&["tag", "busybox", &unsigned]).ok();
    publisher.run(&["push", &unsigned]).ok();
    let site = consumer(&registry.name("team/app"), &root_of(&publisher), "");
    refused(&site, &unsigned);
    let elsewhere = registry.name("team/other:v1");
    publisher.run(&["tag", "busybox", &elsewhere]).ok();
    publisher.run(&["push", &elsewhere]).ok();
    refused(&site, &elsewhere);
}

#[test]
fn a_tag_that_was_replaced_after_signing_is_refused() {
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let name = registry.name("team/app:v1");
    publisher.dockerfile("FROM busybox\nCOPY Dockerfile /tampered\n");
    publisher.build(&name, "");
    publisher.run(&["push", &name]).ok();
    let site = consumer(&registry.name("team/app"), &root_of(&publisher), "");
    refused(&site, &name);
}

#[test]
fn signatures_by_other_keys_are_refused() {
    let (registry, other) = (Registry::embedded(), Registry::embedded());
    let publisher = signed(&registry);
    let stranger = signed(&other);
    assert_ne!(root_of(&publisher), root_of(&stranger));
    let site = consumer(&registry.name("team/app"), &root_of(&stranger), "");
    refused(&site, &registry.name("team/app:v1"));
}

#[test]
fn an_image_that_was_changed_on_disk_does_not_start() {
    if !have(&[Need::Root]) {
        return;
    }
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let name = registry.name("team/app:v1");
    let site = consumer(&registry.name("team/app"), &root_of(&publisher), "");
    site.run(&["pull", &name]).ok();
    // Another image takes the name behind the store's back.
    let index = site.root().join("index.json");
    let config = site.image_id(&name);
    let before = std::fs::read_to_string(&index).expect("the names");
    let evil = Site::with_busybox();
    evil.dockerfile("FROM busybox\nRUN echo evil > /evil\n");
    evil.build("evil", "");
    let blobs = evil.root().join("blobs/sha256");
    for entry in std::fs::read_dir(blobs).expect("blobs").flatten() {
        let _ =
            std::fs::copy(entry.path(), site.root().join("blobs/sha256").join(entry.file_name()));
    }
    let evil_index: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(evil.root().join("index.json")).expect("names"),
    )
    .expect("JSON");
    let evil_manifest = evil_index["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|m| {
            m["annotations"]["org.opencontainers.image.ref.name"]
                .as_str()
                .is_some_and(|n| n.contains("evil"))
        })
        .expect("the evil image");
    let mut names: serde_json::Value = serde_json::from_str(&before).expect("JSON");
    for field in ["digest", "size", "mediaType"] {
        names["manifests"][0][field] = evil_manifest[field].clone();
    }
    std::fs::write(&index, names.to_string()).expect("write the names");
    let run = site.run(&["run", "--rm", "--network", "none", &name, "true"]);
    assert_eq!(run.code, Some(125), "{config} was replaced: {run}");
}

#[test]
fn a_wrong_passphrase_is_one_clear_error_and_shows_no_secret() {
    let registry = Registry::embedded();
    let mut site = signed(&registry);
    site.set_env("WHERRY_TRUST_PASSPHRASE", "not the passphrase");
    let run =
        site.run(&["trust", "sign", &registry.name("team/app:v1")]).fails_with(&["passphrase"]);
    for secret in [PASSPHRASE, "not the passphrase"] {
        assert!(!run.all().contains(secret), "{run}");
    }
}

#[test]
fn private_keys_are_encrypted_at_rest_and_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let registry = Registry::embedded();
    let site = signed(&registry);
    let folder = site.path().join("config/trust/private");
    let mut keys = 0;
    for entry in std::fs::read_dir(&folder).expect("the key folder").flatten() {
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
        let bytes = std::fs::read(entry.path()).expect("a key file");
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(PASSPHRASE) && !text.contains("BEGIN PRIVATE KEY"),
            "{}",
            entry.path().display()
        );
        keys += 1;
    }
    assert!(keys >= 2, "a root key and others: {keys}");
}

#[test]
fn trust_data_are_shown() {
    let registry = Registry::embedded();
    let site = signed(&registry);
    let run = site.run(&["trust", "inspect", "--pretty", &registry.name("team/app")]).ok();
    assert!(run.stdout.contains("v1"), "{run}");
    let run = site.run(&["trust", "inspect", &registry.name("team/app")]).ok();
    let digest = registry.digest("team/app", "v1");
    assert!(run.stdout.contains(&digest[7..]), "{run}");
    site.run(&["trust", "inspect", &registry.name("team/nothing")]).fails_with(&["team/nothing"]);
}

#[test]
fn a_revoked_tag_is_refused() {
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let name = registry.name("team/app:v1");
    publisher.run(&["trust", "revoke", &name]).ok();
    refused(&consumer(&registry.name("team/app"), &root_of(&publisher), ""), &name);
}

#[test]
fn a_policy_with_a_mistake_denies_and_says_where() {
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let name = registry.name("team/app:v1");
    let site = consumer(&registry.name("team/app"), &root_of(&publisher), "sigend-as = \"x\"\n");
    let run = site.run(&["pull", &name]).fails_with(&["policy.toml", "line", "sigend-as"]);
    assert_ne!(run.code, Some(0));
    assert_eq!(site.wherry("images -q").ok().stdout, "");
    let mut missing = Site::new();
    missing.set_env("WHERRY_POLICY", "/no/such/policy.toml");
    missing.run(&["pull", &name]).fails_with(&["/no/such/policy.toml"]);
}

#[test]
fn a_policy_that_warns_lets_in_and_says_so() {
    let registry = Registry::embedded();
    publisher(&registry);
    let site = Site::new();
    site.write("config/policy.toml", "version = 1\ndefault = \"reject\"\nmode = \"warn\"\n");
    let run = site.run(&["pull", &registry.name("team/app:v1")]).ok();
    assert!(run.stderr.to_lowercase().contains("warning"), "{run}");
    assert_eq!(site.wherry("images -q").ok().lines().len(), 1);
}

#[test]
fn base_images_of_a_build_pass_the_same_gate() {
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let unsigned = registry.name("team/app:unsigned");
    publisher.run(&["tag", "busybox", &unsigned]).ok();
    publisher.run(&["push", &unsigned]).ok();
    let site = consumer(&registry.name("team/app"), &root_of(&publisher), "");
    site.dockerfile(&format!("FROM {unsigned}\nCOPY Dockerfile /\n"));
    site.try_build("child", "").fails_with(&["team/app:unsigned"]);
    site.dockerfile(&format!("FROM {}\nCOPY Dockerfile /\n", registry.name("team/app:v1")));
    site.build("child", "");
}

#[test]
fn a_mirror_holds_the_signature_too() {
    let (registry, mirror) = (Registry::embedded(), Registry::embedded());
    let publisher = signed(&registry);
    let (from, to) = (registry.name("team/app:v1"), mirror.name("mirrored/app:v1"));
    publisher.run(&["copy", &from, &to]).ok();
    let signed_as = "signed-as = \"team/app\"\n";
    let site = consumer(&mirror.name("mirrored/app"), &root_of(&publisher), signed_as);
    drop(registry);
    site.run(&["verify", &to]).ok();
    site.run(&["pull", &to]).ok();
}

#[test]
fn signing_works_on_a_registry_of_others() {
    if !have(&[Need::DockerRegistry]) {
        return;
    }
    let registry = Registry::peer();
    let publisher = signed(&registry);
    let site = consumer(&registry.name("team/app"), &root_of(&publisher), "");
    site.run(&["verify", &registry.name("team/app:v1")]).ok();
}
