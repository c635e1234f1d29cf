//! kill -9 in the middle: the store stays sound, and the same command succeeds the next time.
//!
//! `WHERRY_CRASH_ROUNDS` sets the number of moments of each test, `WHERRY_CRASH_SEED` where the sequence starts.

use std::time::Duration;

use tests::crash::{Moments, Victim, kill_after, time};
use tests::fixture::Layer;
use tests::{Need, Registry, Site, have};

/// Moments of each of the three tests.
const ROUNDS: u64 = 50;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What is done in every round.
struct Round<'a> {
    site: &'a Site,
    args: &'a [&'a str],
    /// Puts the world back to before the command.
    reset: &'a dyn Fn(&Site),
}

/// Kills the command at moments from a seed. After each: the store is sound, nothing half-done has a name.
fn storm(what: &str, round: &Round<'_>, names: &dyn Fn(&Site) -> Vec<String>) {
    let seed = setting("WHERRY_CRASH_SEED", 0x5eed);
    let mut moments = Moments::new(seed);
    (round.reset)(round.site);
    let whole = time(&mut round.site.command(round.args));
    let complete = names(round.site);
    let mut killed = 0;
    for n in 0..setting("WHERRY_CRASH_ROUNDS", ROUNDS) {
        (round.reset)(round.site);
        let before = names(round.site);
        let moment = moments.within(whole + Duration::from_millis(20));
        let victim = if n % 2 == 0 { Victim::Group } else { Victim::Process };
        killed += u64::from(kill_after(&mut round.site.command(round.args), moment, victim));
        let context =
            format!("{what}: seed={seed:#x} round={n} moment={moment:?} victim={victim:?}");
        let check = round.site.wherry("store check");
        assert_eq!(check.code, Some(0), "{context}: {check}");
        let after = names(round.site);
        assert!(after == before || after == complete, "{context}: {before:?} became {after:?}");
        let again = round.site.run(round.args);
        assert_eq!(again.code, Some(0), "{context}: the next run fails: {again}");
        assert_eq!(names(round.site), complete, "{context}");
    }
    assert!(killed > 0, "{what}: no moment hit the command, which takes {whole:?}");
    round.site.check_store();
}

fn image_names(site: &Site) -> Vec<String> {
    let run = site.wherry("images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'").ok();
    let mut names: Vec<String> =
        run.stdout.lines().filter(|l| !l.contains("<none>")).map(str::to_owned).collect();
    names.sort();
    names
}

/// Some megabytes that compress badly, so that a transfer takes a while.
fn bulk(salt: u64) -> String {
    (0..400_000_u64).map(|n| (n ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string()).collect()
}

/// An image of several layers, in a registry of its own.
fn image_in_a_registry(site: &Site, registry: &Registry) -> String {
    for n in 0..4_u64 {
        let layer = Layer::new().file(&format!("bulk{n}"), &bulk(n)).tar();
        site.write(&format!("context/layer{n}.tar"), layer);
    }
    site.dockerfile(
        "FROM scratch\nADD layer0.tar /\nADD layer1.tar /\nADD layer2.tar /\nADD layer3.tar /\n",
    );
    let name = registry.name("team/bulk:v1");
    site.build(&name, "");
    name
}

#[test]
fn a_killed_pull_leaves_a_sound_store() {
    let (source, registry) = (Site::new(), Registry::embedded());
    let name = image_in_a_registry(&source, &registry);
    source.run(&["push", &name]).ok();
    let site = Site::new();
    let reset = |site: &Site| {
        site.run(&["rmi", "-f", &name]);
    };
    storm("pull", &Round { site: &site, args: &["pull", &name], reset: &reset }, &image_names);
}

#[test]
fn a_killed_push_leaves_both_stores_sound() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let name = image_in_a_registry(&site, &registry);
    let root = registry.root().display().to_string();
    let reset = |_: &Site| {
        let tags = registry.get("/v2/team/bulk/manifests/v1");
        if let Some(digest) = tags.header("docker-content-digest") {
            let path = format!("/v2/team/bulk/manifests/{digest}");
            tests::http::request(registry.address(), "DELETE", &path, &[], b"").expect("DELETE");
        }
    };
    let remote = |_: &Site| {
        let answer = registry.get("/v2/team/bulk/manifests/v1");
        answer.header("docker-content-digest").map(str::to_owned).into_iter().collect::<Vec<_>>()
    };
    storm("push", &Round { site: &site, args: &["push", &name], reset: &reset }, &remote);
    site.run(&["--root", &root, "store", "check"]).ok();
    Site::new().run(&["pull", &name]).ok();
}

#[test]
fn a_killed_build_leaves_a_sound_store() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.write("context/bulk", bulk(1));
    site.dockerfile(
        "FROM busybox\nCOPY bulk /bulk\nRUN cat /bulk /bulk > /twice\nRUN mkdir /many && for i in $(seq 300); do echo $i > /many/$i; done\nRUN sha256sum /twice > /sum\n",
    );
    let context = site.context("").display().to_string();
    let reset = |site: &Site| {
        site.wherry("rmi -f built");
    };
    // The time of creation is part of an image: it must not differ between rounds.
    let mut site = site;
    site.set_env("SOURCE_DATE_EPOCH", "1700000000");
    storm(
        "build",
        &Round {
            site: &site,
            args: &["build", "--no-cache", "-t", "built", &context],
            reset: &reset,
        },
        &image_names,
    );
}
