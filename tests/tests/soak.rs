//! Eight processes at once over one root and one registry, pushing, pulling, building, pruning and
//! collecting, killed at random: afterwards no blob is missing anywhere.
//!
//! `WHERRY_SOAK_SECONDS` sets how long, `WHERRY_SOAK_SEED` where the sequence starts.

use std::time::{Duration, Instant};

use tests::crash::{Moments, Victim, kill_after};
use tests::fixture::Layer;
use tests::{Registry, Site};

const PROCESSES: u64 = 8;
const SECONDS: u64 = 20;
const TAGS: u64 = 6;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Images that share layers, so that what one process deletes another one still needs.
fn publish(site: &Site, registry: &Registry) -> Vec<String> {
    for n in 0..TAGS {
        let text: String = (0..40_000_u64)
            .map(|i| (i ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string())
            .collect();
        let layer = Layer::new().file(&format!("file{n}"), &text).tar();
        site.write(&format!("context/layer{n}.tar"), layer);
    }
    let name = |n: u64| registry.name(&format!("team/app{}:v{n}", n % 2));
    (0..TAGS)
        .map(|n| {
            let next = (n + 1) % TAGS;
            site.dockerfile(&format!("FROM scratch\nADD layer{n}.tar /\nADD layer{next}.tar /\n"));
            site.build(&name(n), "");
            site.run(&["push", &name(n)]).ok();
            name(n)
        })
        .collect()
}

/// One thing that a process does, by a number of the sequence.
fn act(moments: &mut Moments, names: &[String], context: &str) -> Vec<String> {
    let name = names[moments.below(names.len() as u64) as usize].clone();
    let other = names[moments.below(names.len() as u64) as usize].clone();
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    match moments.below(10) {
        0..=2 => words(&["pull", "-q", &name]),
        3 | 4 => words(&["push", "-q", &name]),
        5 => words(&["build", "-q", "-t", &name, context]),
        6 => words(&["rmi", "-f", &name]),
        7 => words(&["tag", &name, &other]),
        8 => words(&["image", "prune", "-f"]),
        _ => words(&["store", "gc"]),
    }
}

/// Covers: DST-58
#[test]
fn nothing_is_lost_by_eight_processes_that_are_killed_at_random() {
    let (publisher, registry) = (Site::new(), Registry::embedded());
    let names = publish(&publisher, &registry);
    let site = Site::new();
    for n in 0..TAGS {
        let from = publisher.path().join(format!("context/layer{n}.tar"));
        site.write(&format!("context/layer{n}.tar"), std::fs::read(from).expect("a layer"));
    }
    site.dockerfile("FROM scratch\nADD layer0.tar /\nADD layer3.tar /\n");
    let context = site.context("").display().to_string();
    let seed = setting("WHERRY_SOAK_SEED", 0x50a1);
    let end = Instant::now() + Duration::from_secs(setting("WHERRY_SOAK_SECONDS", SECONDS));

    let (acts, kills) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PROCESSES)
            .map(|worker| {
                let (site, names, context) = (&site, &names, &context);
                scope.spawn(move || {
                    let mut moments = Moments::new(seed + worker);
                    let (mut acts, mut kills) = (0_u64, 0_u64);
                    while Instant::now() < end {
                        let args = act(&mut moments, names, context);
                        acts += 1;
                        if moments.below(4) == 0 {
                            let moment = moments.within(Duration::from_millis(300));
                            let victim = Victim::Process;
                            kills +=
                                u64::from(kill_after(&mut site.command(&args), moment, victim));
                        } else {
                            // It may well fail: the image it names may just have been removed.
                            site.run(&args);
                        }
                    }
                    (acts, kills)
                })
            })
            .collect();
        workers.into_iter().fold((0, 0), |(acts, kills), worker| {
            let (a, k) = worker.join().expect("a worker");
            (acts + a, kills + k)
        })
    });
    println!("seed={seed:#x}: {acts} commands, {kills} of them killed");
    assert!(kills > 0, "no command was killed");

    // Whatever still has a name is whole, in the store and in the registry.
    site.check_store();
    let listed = site.wherry("images --format {{.Repository}}:{{.Tag}}").ok().stdout;
    for name in listed.lines().filter(|name| !name.contains("<none>")) {
        site.run(&["save", "-o", "/dev/null", name]).ok();
    }
    let root = registry.root().display().to_string();
    site.run(&["--root", &root, "store", "check"]).ok();
    let fresh = Site::new();
    for name in &names {
        fresh.run(&["pull", "-q", name]).ok();
    }
    fresh.check_store();
}
