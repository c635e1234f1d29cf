//! Transfers that survive: connections that are cut, tokens that expire, limits, kill -9 of either side.
//!
//! `WHERRY_CHAOS_SECONDS` says how long the mixed storm lasts, `WHERRY_CHAOS_SEED` where it starts.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::chaos::{Fault, Proxy};
use tests::crash::{Moments, Victim, kill_after};
use tests::fixture::{Layer, Layout, digest};
use tests::seed::{architecture, noise, push, put_blob, tags};
use tests::site::{eventually, wait_within};
use tests::{Registry, Site};

/// Seconds of the storm in the suite.
const STORM_SECONDS: u64 = 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A layer of bytes that do not compress.
fn bulk(seed: u64, length: usize) -> Layer {
    let text: String = noise(seed, length).iter().map(|byte| char::from(byte % 95 + 32)).collect();
    Layer::new().file(&format!("bulk{seed}"), &text)
}

/// An image with one large layer, in the site's store under `name`; gives the size of its blobs.
fn large(site: &Site, name: &str, seed: u64, length: usize) -> u64 {
    site.write("context/bulk.tar", bulk(seed, length).tar());
    site.dockerfile("FROM scratch\nADD bulk.tar /\n");
    site.build(name, "");
    let registry = Registry::embedded();
    let there = registry.name("size:v1");
    site.run(&["tag", name, &there]).ok();
    site.run(&["push", "-q", &there]).ok();
    let manifest = registry.get("/v2/size/manifests/v1").json();
    site.run(&["rmi", &there]).ok();
    manifest["layers"].as_array().expect("layers").iter().filter_map(|l| l["size"].as_u64()).sum()
}

/// A bit more than the blob: heads of requests, the documents, what was on its way when the connection broke.
#[track_caller]
fn little_twice(what: &str, carried: u64, size: u64) {
    let most = size + size / 50 + 64 * 1024;
    assert!(carried >= size, "{what}: {carried} bytes of {size}: they went another way");
    assert!(carried <= most, "{what}: {carried} bytes for a blob of {size}");
}

/// Covers: DST-58, DST-6
#[test]
fn a_pull_that_is_cut_again_and_again_fetches_little_twice() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let size = large(&site, "bulk:v1", 1, 24 << 20);
    let name = registry.name("team/bulk:v1");
    site.run(&["tag", "bulk:v1", &name]).ok();
    site.run(&["push", "-q", &name]).ok();
    let proxy = Proxy::new(registry.address(), Fault::CutAfter(5_000_000), u64::MAX);
    let other = Site::new();
    other.run(&["pull", "-q", &proxy.name("team/bulk:v1")]).ok();
    assert!(proxy.harmed() >= 3, "{} cuts", proxy.harmed());
    little_twice("pull", proxy.carried(), size);
    other.check_store();
}

/// Covers: DST-12, DST-32
#[test]
fn a_push_that_is_cut_again_and_again_sends_little_twice() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let size = large(&site, "bulk:v1", 2, 24 << 20);
    let proxy = Proxy::new(registry.address(), Fault::CutUploadAfter(5_000_000), u64::MAX);
    let name = proxy.name("team/bulk:v1");
    site.run(&["tag", "bulk:v1", &name]).ok();
    site.run(&["push", "-q", &name]).ok();
    assert!(proxy.harmed() >= 3, "{} cuts", proxy.harmed());
    little_twice("push", proxy.sent(), size);
    Site::new().run(&["pull", "-q", &registry.name("team/bulk:v1")]).ok();
}

/// Covers: DST-59
#[test]
fn a_push_that_was_killed_goes_on_where_it_was() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let size = large(&site, "bulk:v1", 3, 40 << 20);
    let slow = Proxy::new(registry.address(), Fault::None, 0);
    let name = slow.name("team/bulk:v1");
    site.run(&["tag", "bulk:v1", &name]).ok();
    let mut kills = 0;
    // It dies after so many bytes more; the third one may end.
    for part in [size / 3, 2 * size / 3] {
        let mut push = site.spawn(&format!("push -q {name}"));
        let far = eventually(Duration::from_secs(60), || {
            slow.sent() >= part || wait_within(&mut push, Duration::ZERO).is_some()
        });
        assert!(far, "the push makes progress");
        kills += u32::from(push.try_wait().expect("look").is_none());
        let _ = push.kill();
        let _ = push.wait();
    }
    assert!(kills > 0, "no push was killed before its end");
    site.run(&["push", "-q", &name]).ok();
    // What the kernel took and the registry had not seen is lost each time; it is not the blob again.
    let most = size + u64::from(kills) * 6 * 1024 * 1024;
    assert!(slow.sent() < most, "{} bytes for {size} after {kills} kills", slow.sent());
    Site::new().run(&["pull", "-q", &registry.name("team/bulk:v1")]).ok();
    let journal = site.root().join("uploads");
    assert_eq!(std::fs::read_dir(journal).map_or(0, Iterator::count), 0, "nothing is remembered");
}

/// Covers: DST-58
#[test]
fn a_pull_that_was_killed_goes_on_where_it_was() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let size = large(&site, "bulk:v1", 4, 24 << 20);
    let name = registry.name("team/bulk:v1");
    site.run(&["tag", "bulk:v1", &name]).ok();
    site.run(&["push", "-q", &name]).ok();
    let slow = Proxy::new(registry.address(), Fault::Throttle(24_000_000), 0);
    let other = Site::new();
    let through = slow.name("team/bulk:v1");
    let mut kills = 0;
    for part in [size / 3, 2 * size / 3] {
        let mut pull = other.spawn(&format!("pull -q {through}"));
        let far = eventually(Duration::from_secs(60), || {
            slow.carried() >= part || wait_within(&mut pull, Duration::ZERO).is_some()
        });
        assert!(far, "the pull makes progress");
        kills += u32::from(pull.try_wait().expect("look").is_none());
        let _ = pull.kill();
        let _ = pull.wait();
        other.check_store();
    }
    assert!(kills > 0, "no pull was killed before its end");
    other.run(&["pull", "-q", &through]).ok();
    let most = size + u64::from(kills) * 6 * 1024 * 1024;
    assert!(slow.carried() < most, "{} bytes for {size} after {kills} kills", slow.carried());
    other.check_store();
}

/// Whether anything that was acknowledged is lost.
struct Fleet {
    site: Site,
    registry: Registry,
    acknowledged: Vec<(String, String)>,
}

impl Fleet {
    fn check(&self, context: &str) {
        for (tag, expected) in &self.acknowledged {
            let answer = self.registry.get(&format!("/v2/team/bulk/manifests/{tag}"));
            let found = answer.header("docker-content-digest").unwrap_or_default();
            assert_eq!(found, expected, "{context}: {tag} was acknowledged and is lost");
        }
    }
}

/// Covers: DST-5, DST-58, DST-59, DST-71
#[test]
fn a_storm_with_kills_of_both_sides_loses_nothing() {
    let seed = setting("WHERRY_CHAOS_SEED", 0x5eed);
    let end = Instant::now() + Duration::from_secs(setting("WHERRY_CHAOS_SECONDS", STORM_SECONDS));
    let mut moments = Moments::new(seed);
    let mut fleet =
        Fleet { site: Site::new(), registry: Registry::embedded(), acknowledged: Vec::new() };
    let layout = Layout::new(&fleet.site.path().join("layout"));
    let (mut round, mut failures, mut kills) = (0_u64, 0_u64, 0_u64);
    while Instant::now() < end || round < 4 {
        round += 1;
        let context = format!("seed={seed:#x} round={round}");
        let tag = format!("v{}", round % 7);
        let layers = vec![bulk(round % 3, 2 << 20), bulk(100 + round, 1 << 20)];
        let manifest = layout.image(layers, architecture(), serde_json::json!({}));
        let proxy = Proxy::new(fleet.registry.address(), Fault::Mixed(seed ^ round), u64::MAX);
        let name = proxy.name(&format!("team/bulk:{tag}"));
        let source = format!("oci:{}:{tag}", layout.path().display());
        let mut named = Layout::new(&fleet.site.path().join("layout"));
        named.tag(&manifest, &tag);
        fleet.acknowledged.retain(|(known, _)| *known != tag);

        let copy = ["copy", "-q", &source, &name];
        if round % 3 == 0 {
            let moment = moments.within(Duration::from_millis(400));
            kills += u64::from(kill_after(&mut fleet.site.command(&copy), moment, Victim::Process));
        }
        if round % 4 == 0 {
            let mut running = fleet.site.command(&copy);
            running.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut running = running.spawn().expect("start a copy");
            let over = wait_within(&mut running, moments.within(Duration::from_millis(300)));
            fleet.registry.kill_and_restart();
            let over = over.or_else(|| wait_within(&mut running, Duration::from_secs(120)));
            assert!(over.is_some(), "{context}: the copy hangs");
            kills += 1;
        }
        let mut pushed = fleet.site.run(&copy);
        while pushed.code != Some(0) {
            failures += 1;
            assert!(!pushed.all().contains("panicked"), "{context}: {pushed}");
            assert!(failures < 50 * round, "{context}: nothing gets through: {pushed}");
            pushed = fleet.site.run(&copy);
        }
        assert_eq!(pushed.out(), digest(&manifest), "{context}");
        fleet.acknowledged.push((tag.clone(), digest(&manifest)));
        fleet.check(&context);

        let store = format!("store:pulled:{tag}");
        let mut pulled = fleet.site.run(&["copy", "-q", &name, &store]);
        while pulled.code != Some(0) {
            failures += 1;
            assert!(!pulled.all().contains("panicked"), "{context}: {pulled}");
            assert!(failures < 50 * round, "{context}: nothing gets through: {pulled}");
            pulled = fleet.site.run(&["copy", "-q", &name, &store]);
        }
    }
    fleet.site.check_store();
    let root = fleet.registry.root().display().to_string();
    fleet.site.run(&["--root", &root, "store", "check"]).ok();
    assert!(kills > 0, "nothing was killed");
    eprintln!("{round} rounds, {kills} kills, {failures} failed tries, nothing lost");
}

/// Covers: DST-25, DST-32
#[test]
fn a_push_with_tokens_that_expire_and_limits_sends_little_twice() {
    let site = Site::new();
    let size = large(&site, "bulk:v1", 5, 24 << 20);
    let registry = Registry::guarded("[auth.token]\ntoken-seconds = 1", "**");
    let limits = Proxy::new(registry.address(), Fault::Limit(1), 2);
    let name = limits.name("team/bulk:v1");
    let login = ["login", "-u", "pilot", "--password-stdin", limits.address()];
    site.run_with_input(&login, b"harbour-pass\n").ok();
    site.run(&["tag", "bulk:v1", &name]).ok();
    site.run(&["push", "-q", &name]).ok();
    assert_eq!(limits.harmed(), 2);
    little_twice("push", limits.sent(), size);
}

#[test]
fn an_upload_into_a_repository_is_no_blob_of_another() {
    let registry = Registry::embedded();
    let kept = put_blob(registry.address(), "team/one", b"content");
    assert_eq!(registry.get(&format!("/v2/team/two/blobs/{kept}")).status, 404);
    let layout = Layout::new(&tempfile::tempdir().expect("a folder").keep());
    let manifest = layout.image(vec![bulk(1, 1000)], architecture(), serde_json::json!({}));
    push(&registry, "team/one", &layout, &manifest, "v1");
    assert_eq!(tags(&registry, "team/two"), Vec::<String>::new());
    std::fs::remove_dir_all(layout.path()).expect("removed");
}
