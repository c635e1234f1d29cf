//! Credentials, and looking at a registry without pulling.

use tests::{Registry, Site};

/// Covers: B08-29, B08-34
#[test]
fn a_login_opens_what_was_closed_and_a_logout_closes_it() {
    let site = Site::with_busybox();
    let registry = Registry::guarded("[auth.basic]", "team/**");
    let (address, name) = (registry.address(), registry.name("team/app:v1"));
    site.run(&["tag", "busybox", &name]).ok();
    site.run(&["push", &name]).fails_with(&[&name[..name.len() - 3]]).exits(3);

    let wrong = ["login", "-u", "pilot", "--password-stdin", address];
    let refused = site.run_with_input(&wrong, b"not the password\n");
    refused.exits(3).does_not_say("not the password");
    site.run(&["push", &name]).exits(3);

    let run = site.run_with_input(&wrong, b"harbour-pass\n").ok();
    assert_eq!(run.out(), "Login Succeeded");
    assert!(run.stderr.contains("stored unencrypted"), "{run}");
    assert!(!run.all().contains("harbour-pass"), "{run}");
    site.run(&["push", &name]).ok();
    let elsewhere = format!("{address}/other/app:v1");
    site.run(&["tag", "busybox", &elsewhere]).ok();
    site.run(&["push", &elsewhere]).exits(3);

    let run = site.run(&["logout", address]).ok();
    assert_eq!(run.out(), format!("Removing login credentials for {address}"));
    site.run(&["pull", &name]).exits(3);
    assert_eq!(site.run(&["logout", address]).ok().out(), format!("Not logged in to {address}"));
}

/// Covers: B06-38
#[test]
fn a_digest_is_known_without_pulling() {
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    let name = registry.name("team/app:v1");
    site.run(&["tag", "busybox", &name]).ok();
    site.run(&["push", &name]).ok();
    let other = Site::new();
    let digest = registry.digest("team/app", "v1");
    assert_eq!(other.run(&["digest", &name]).ok().out(), digest);
    assert_eq!(other.run(&["tags", &registry.name("team/app")]).ok().out(), "v1");
    other.run(&["digest", &registry.name("team/app:v2")]).exits(4);
    assert_eq!(other.wherry("images -q").ok().stdout, "", "nothing was pulled");
}
