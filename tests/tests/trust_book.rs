//! Content trust as the books print it, with `wherry` for `docker`, against the embedded registry.

use tests::publisher::PASSPHRASE;
use tests::{Need, Registry, Run, Site, have};

/// A site that knows the passphrases, with an image `name:tag` made by `docker build` before the walk begins.
fn reader(registry: &Registry, tag: &str) -> Site {
    let mut site = Site::with_busybox();
    site.set_env("DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", PASSPHRASE);
    site.set_env("DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE", PASSPHRASE);
    site.run(&["tag", "busybox", &registry.name(&format!("nigelpoulton/dct:{tag}"))]).ok();
    site
}

#[track_caller]
fn says(run: &Run, lines: &[&str]) {
    for line in lines {
        assert!(run.stdout.contains(line), "does not say {line:?}: {run}");
    }
}

/// Covers: B15-34, B15-36, B15-37, B15-39, N3-236, N3-238, N3-239, N3-240
#[test]
fn the_walk_through_of_content_trust_runs_as_printed() {
    let registry = Registry::embedded();
    let site = reader(&registry, "signed");
    let (repository, name) =
        (registry.name("nigelpoulton/dct"), registry.name("nigelpoulton/dct:signed"));

    let run = site.wherry("trust key generate nigel").ok();
    let public =
        site.path().join("nigel.pub").canonicalize().expect("nigel.pub in the working folder");
    says(
        &run,
        &[
            "Generating key for nigel...",
            "Successfully generated and loaded private key. Corresponding public key available: ",
            &public.display().to_string(),
        ],
    );

    // The repository need not exist: nothing has been pushed yet.
    let run =
        site.run(&["trust", "signer", "add", "--key", "nigel.pub", "nigel", &repository]).ok();
    says(
        &run,
        &[
            &format!("Adding signer \"nigel\" to {repository}..."),
            &format!("Successfully initialized \"{repository}\""),
            &format!("Successfully added signer: nigel to {repository}"),
        ],
    );

    let run = site.run(&["trust", "sign", &name]).ok();
    says(
        &run,
        &[
            &format!(
                "Signing and pushing trust data for local image {name}, may overwrite remote trust data"
            ),
            &format!("The push refers to repository [{repository}]"),
            "signed: digest: sha256:",
            "Signing and pushing trust metadata",
            &format!("Successfully signed {name}"),
        ],
    );
    let digest = registry.digest("nigelpoulton/dct", "signed");

    let run = site.run(&["trust", "inspect", &name, "--pretty"]).ok();
    says(
        &run,
        &[
            &format!("Signatures for {name}"),
            "SIGNED TAG",
            "List of signers and their keys",
            "Administrative keys",
            "Repository Key:",
            "Root Key:",
        ],
    );
    let row: Vec<&str> = run
        .stdout
        .lines()
        .find(|line| line.starts_with("signed "))
        .expect("the tag's row")
        .split_whitespace()
        .collect();
    assert_eq!(row, ["signed", &digest["sha256:".len()..], "nigel"], "{run}");
}

/// Push signs, pull verifies; what is unsigned cannot be pulled or used.
///
/// Covers: B15-32, B15-40, N3-199, N3-235, N3-241
#[test]
fn with_content_trust_push_signs_and_pull_verifies() {
    let registry = Registry::embedded();
    let mut site = reader(&registry, "signed");
    let name = registry.name("nigelpoulton/dct:signed");
    site.run(&["trust", "sign", &name]).ok();
    let unsigned = registry.name("nigelpoulton/dct:unsigned");
    site.run(&["tag", "busybox", &unsigned]).ok();
    site.run(&["push", &unsigned]).ok();
    site.set_env("DOCKER_CONTENT_TRUST", "1");
    site.run(&["pull", &unsigned]).fails_with(&["unsigned", "not signed"]);
    site.run(&["pull", &name]).ok();
    if have(&[Need::Root]) {
        let run = site.run(&["run", "--rm", "--network", "none", &unsigned, "true"]);
        assert_eq!(run.code, Some(125), "{run}");
        site.run(&["run", "--rm", "--network", "none", &name, "true"]).ok();
    }
    let third = registry.name("nigelpoulton/dct:third");
    site.set_env("DOCKER_CONTENT_TRUST", "0");
    site.run(&["tag", "busybox", &third]).ok();
    site.set_env("DOCKER_CONTENT_TRUST", "1");
    let run = site.run(&["push", &third]).ok();
    says(&run, &["Signing and pushing trust metadata", "Successfully signed"]);
    site.run(&["pull", &third]).ok();
    // One push without a signature, asked for by name.
    let fourth = registry.name("nigelpoulton/dct:fourth");
    site.set_env("DOCKER_CONTENT_TRUST", "false");
    site.run(&["tag", "busybox", &fourth]).ok();
    site.set_env("DOCKER_CONTENT_TRUST", "on");
    site.run(&["push", "--disable-content-trust", &fourth])
        .ok()
        .does_not_say("Successfully signed");
    site.run(&["pull", &fourth]).fails_with(&["not signed"]);
}

/// Covers: B15-35, N3-237, TRU-41
#[test]
fn an_existing_key_is_loaded_under_a_name() {
    let registry = Registry::embedded();
    let site = reader(&registry, "signed");
    site.shell("openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out key.pub").ok();
    site.shell("chmod 600 key.pem").ok();
    let run = site.wherry("trust key load key.pem --name nigel").ok();
    says(&run, &["Loading key from \"key.pem\"...", "Successfully imported key from key.pem"]);
    let (repository, name) =
        (registry.name("nigelpoulton/dct"), registry.name("nigelpoulton/dct:signed"));
    site.run(&["trust", "signer", "add", "--key", "key.pub", "nigel", &repository]).ok();
    site.run(&["trust", "sign", &name]).ok();
    let shown = site.run(&["trust", "inspect", "--pretty", &name]).ok();
    assert!(
        shown.stdout.lines().any(|line| line.starts_with("signed ") && line.ends_with("nigel")),
        "{shown}"
    );
    site.wherry("trust key load key.pub --name other").fails_with(&["signer add"]);
}

/// What a signature says about its context: a superseded tag is one whose signed digest is another one now.
///
/// Covers: B15-33
#[test]
fn a_signature_shows_what_is_signed_for_which_purpose_and_what_is_stale() {
    let registry = Registry::embedded();
    let site = reader(&registry, "prod");
    let name = registry.name("nigelpoulton/dct:prod");
    site.run(&["trust", "sign", &name]).ok();
    let digest = registry.digest("nigelpoulton/dct", "prod");
    let dev = registry.name("nigelpoulton/dct:dev");
    site.dockerfile("FROM busybox\nCOPY Dockerfile /next\n");
    site.build(&dev, "");
    site.run(&["trust", "sign", &dev]).ok();
    // The new one goes to production under the old tag, without a signature yet.
    site.run(&["tag", &dev, &name]).ok();
    site.run(&["push", &name]).ok();
    let shown =
        site.run(&["trust", "inspect", "--pretty", &registry.name("nigelpoulton/dct")]).ok();
    let row = |tag: &str| {
        shown.stdout.lines().find(|line| line.starts_with(tag)).map(str::to_owned).expect("a row")
    };
    assert!(row("prod").contains(&digest[7..]), "prod is still signed as the old one: {shown}");
    assert!(row("dev").contains(&registry.digest("nigelpoulton/dct", "dev")[7..]), "{shown}");
    let mut gate = site;
    gate.set_env("DOCKER_CONTENT_TRUST", "1");
    gate.run(&["verify", &name]).exits(3).says("content-changed");
    gate.run(&["verify", &dev]).ok();
}
