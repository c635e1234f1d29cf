//! Processes killed at any moment: what they leave is sound, and others go on.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use oci::{Descriptor, Digest};
use store::{Collection, Displaced, Roots, Store};

use crate::support::{Tar, store};

const ROOT: &str = "STORE_CRASH_ROOT";

/// What the killed processes do, for ever: push, unpack, commit, retag, delete, collect. A line
/// on the way tells the killer where it is. Does nothing in a normal run of the tests.
#[test]
fn a_busy_process() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let store = Store::open(root).expect("opens");
    for round in 0u64.. {
        work(&store, u64::from(std::process::id()) * 7 + round);
    }
}

fn tell(what: &str) {
    let mut out = std::io::stderr().lock();
    writeln!(out, "at {what}").expect("somebody listens");
}

fn work(store: &Store, seed: u64) {
    let lease = store.lease("push").expect("lease");
    let tar = Tar::new().file("a", &vec![seed as u8; 20_000]).file("d/b", b"x").build();
    let diff_id = Digest::sha256(&tar);
    tell("compress");
    let diff = store.layers().add_tar(&tar[..], &store::DiffOptions::default()).expect("writes");
    lease.hold(diff.descriptor.digest()).expect("holds");
    let mut config = oci::ImageConfig::scratch(&oci::Platform::host());
    config.rootfs.diff_ids = vec![diff_id.clone()];
    let config = oci::Raw::encode(&config).expect("encodes");
    let manifest = oci::Manifest::new(config.descriptor(), vec![diff.descriptor.clone()]);
    let manifest = oci::Raw::encode(&manifest).expect("encodes");
    for digest in [config.digest(), manifest.digest()] {
        lease.hold(&digest).expect("holds");
    }
    tell("put");
    store.content().put_raw(&config).expect("stores");
    let descriptor: Descriptor = store.content().put_raw(&manifest).expect("stores");
    tell("unpack");
    let layer = store::LayerBlob { descriptor: diff.descriptor, diff_id };
    store.layers().unpack(&[layer], &lease).expect("unpacks");
    let name: store::Name = format!("app:{}", seed % 5).parse().expect("a name");
    tell("name");
    store.names().set(&name, &descriptor, Displaced::KeepDangling).expect("is complete");
    drop(lease);
    if seed.is_multiple_of(3) {
        tell("remove");
        store.names().remove(&name, Displaced::Forget).expect("removes");
    }
    if seed.is_multiple_of(2) {
        tell("collect");
        let roots = || Ok(Roots::default());
        let what = Collection { stamped_since: None, partials_since: None, roots: &roots };
        store.prune(&what).expect("collects");
    }
}

fn start(root: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "crash::a_busy_process", "--nocapture"])
        .env(ROOT, root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// Kills a process after it has told `lines` lines; gives what it said if it died of itself.
fn kill_after(mut child: Child, lines: usize) -> Option<String> {
    let mut reader = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut said = Vec::new();
    for _ in 0..lines {
        match reader.next() {
            Some(line) => said.push(line.expect("text")),
            None => return Some(said.join("\n")),
        }
    }
    child.kill().expect("kills");
    child.wait().expect("is gone");
    None
}

/// Covers: DST-81, DST-83, DST-69
#[test]
fn processes_killed_at_any_moment_leave_a_sound_store() {
    let store = store();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) % bound
    };
    for round in 0..8 {
        let children: Vec<(Child, usize)> =
            (0..3).map(|_| (start(&store.root()), 1 + random(60) as usize)).collect();
        let died: Vec<_> = std::thread::scope(|scope| {
            let killers: Vec<_> = children
                .into_iter()
                .map(|(child, lines)| scope.spawn(move || kill_after(child, lines)))
                .collect();
            killers.into_iter().filter_map(|killer| killer.join().expect("kills")).collect()
        });
        assert!(died.is_empty(), "round {round}: a process failed of itself:\n{}", died.join("\n"));
        let report = store.check(None).expect("checks");
        assert!(report.is_sound(), "round {round}: {:?}", report.findings);
        for entry in store.names().list().expect("lists") {
            assert_eq!(store.content().first_missing(&entry.descriptor).expect("looks"), None);
        }
    }
    // Whatever they left, one more of each kind of work succeeds, and nothing stays behind.
    (0..6).for_each(|seed| work(&store, seed));
    for folder in ["leases", "staging", "ingest"] {
        let left = std::fs::read_dir(store.root().join(folder)).expect("lists").count();
        assert_eq!(left, 0, "{folder}");
    }
}
