//! The differential corpus: what peers made of a Dockerfile, Wherry makes of it too.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tests::corpus::expected::Seen;
use tests::corpus::peers::{Family, Peer};
use tests::corpus::{Case, area, areas, folder, image};
use tests::crash::Moments;
use tests::{Need, Run, Site, have};
use xtask::images::Base;

/// Cases that the live peer builds in one run of the tests.
const SAMPLE: usize = 10;

fn site() -> Site {
    let mut site = Site::new();
    site.set_env("SOURCE_DATE_EPOCH", "1700000000");
    site.import(Base::Busybox, "busybox");
    site
}

fn build(site: &Site, case: &Case) -> Run {
    let laid = case.lay(site.path());
    let context = laid.context.display().to_string();
    let one = |dockerfile: &Path, tag: &str| {
        let dockerfile = dockerfile.display().to_string();
        let mut args = vec!["build", "--progress=plain", "-t", tag, "-f", &dockerfile];
        args.extend(laid.args.iter().map(String::as_str));
        args.push(&context);
        site.run(&args)
    };
    if let Some((dockerfile, name)) = &laid.parent {
        one(dockerfile, name).ok();
    }
    one(&laid.dockerfile, &case.tag())
}

/// Builds a case in two roots, and gives everything that is wrong with it.
fn judge(case: &Case, sites: &[Site; 2]) -> Vec<String> {
    let runs = [build(&sites[0], case), build(&sites[1], case)];
    if let Some(failed) = runs.iter().find(|run| run.code != Some(0)) {
        return vec![format!("{}: does not build: {failed}", case.name)];
    }
    let name = format!("docker.io/{}", case.tag());
    let images = sites.each_ref().map(|site| image::of_layout(&site.root(), &name));
    let mut wrong = Vec::new();
    let digests = sites.each_ref().map(|site| image::digest_of(&site.root(), &name));
    if digests[0] != digests[1] {
        wrong.push(format!("{}: two roots give two images", case.name));
    }
    let expected = case.expected();
    let mut ours = Seen::of(&images[0]);
    if expected.peer.starts_with("buildah") {
        ours = ours.without_family();
    }
    let mut intended: BTreeMap<&str, bool> =
        case.differs.iter().map(|(what, _)| (what.as_str(), false)).collect();
    for (what, how) in ours.differences(&expected.seen) {
        match intended.get_mut(what.as_str()) {
            Some(seen) => *seen = true,
            None => wrong.push(format!("{}: {what}: {how}", case.name)),
        }
    }
    for what in intended.iter().filter(|(_, seen)| !**seen).map(|(what, _)| what) {
        wrong.push(format!("{}: {what}: is as the peer has it; drop 'differs'", case.name));
    }
    wrong
}

/// Judges every case of an area, two at a time.
#[track_caller]
fn agrees(name: &str) {
    if !have(&[Need::Root]) {
        return;
    }
    let sites = [site(), site()];
    let cases = Mutex::new(area(name));
    let wrong = Mutex::new(Vec::new());
    let next = || cases.lock().expect("nobody panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let found = judge(&case, &sites);
                    wrong.lock().expect("nobody panics with it").extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nobody panics with it");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Covers: BLD-1, BLD-3, BLD-4, BLD-5, BLD-6, BLD-7, B08-05
#[test]
fn what_is_read_gives_the_peers_image() {
    agrees("parser");
}

/// Covers: BLD-8, BLD-9, BLD-10, BLD-11
#[test]
fn what_is_expanded_gives_the_peers_image() {
    agrees("expand");
}

/// Covers: BLD-18, BLD-19, BLD-21, BLD-22, BLD-24
#[test]
fn arguments_give_the_peers_image() {
    agrees("args");
}

/// Covers: BLD-15, BLD-16, BLD-17, BLD-43, B08-38, B08-40, B08-41, B08-45
#[test]
fn stages_give_the_peers_image() {
    agrees("stages");
}

/// Covers: BLD-26, BLD-35, BLD-51, BLD-58, BLD-59, BLD-64, BLD-90, BLD-91, B08-09
#[test]
fn commands_give_the_peers_image() {
    agrees("run");
}

/// Covers: BLD-28, BLD-29, BLD-32, BLD-33
#[test]
fn mounts_give_the_peers_image() {
    agrees("mounts");
}

/// Covers: BLD-40, BLD-41, BLD-42, BLD-43, BLD-44, BLD-45, BLD-46, BLD-48, BLD-51, BLD-52, BLD-73, B08-10
#[test]
fn copies_give_the_peers_image() {
    agrees("copy");
}

/// Covers: BLD-53, B08-11
#[test]
fn additions_give_the_peers_image() {
    agrees("add");
}

/// Covers: BLD-24, BLD-25, BLD-58, BLD-59, BLD-60, BLD-61, BLD-62, BLD-63, BLD-64, BLD-65, BLD-66, BLD-68, B08-12, B08-13, B08-14, B08-15, B08-17
#[test]
fn metadata_gives_the_peers_image() {
    agrees("metadata");
}

/// Covers: BLD-67, B08-16
#[test]
fn triggers_give_the_peers_image() {
    agrees("onbuild");
}

/// Covers: BLD-69, BLD-70, B08-04, B08-20
#[test]
fn ignored_files_give_the_peers_image() {
    agrees("context");
}

/// Covers: BLD-41, BLD-44, BLD-54
#[test]
fn what_a_peer_refuses_is_refused_with_line_and_caret() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = site();
    let home = folder().join("expected/wrong");
    let peers = std::fs::read_to_string(home.join("peers.json")).expect("recorded verdicts");
    let peers: BTreeMap<String, Vec<String>> = serde_json::from_str(&peers).expect("a map");
    let mut wrong = Vec::new();
    for case in area("wrong") {
        let run = build(&site, &case);
        if run.code.is_none_or(|code| code == 0) || run.stderr.contains("panicked at") {
            wrong.push(format!("{}: should have been refused: {run}", case.name));
            continue;
        }
        if peers.get(&case.name).is_none_or(Vec::is_empty) && case.differs.is_empty() {
            wrong.push(format!("{}: every peer builds it, and no reason is given", case.name));
        }
        let said = message(&run, &site);
        let path = home.join(format!("{}.txt", case.name.trim_start_matches("wrong/")));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &said).expect("write an expectation");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if said != expected {
            wrong.push(format!("{}: says\n{said}instead of\n{expected}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let images = site.wherry("images --quiet").ok();
    assert_eq!(images.lines().len(), 1, "nothing half-built has a name: {images}");
}

/// The error as people read it: what comes after the progress, without names of this run.
fn message(run: &Run, site: &Site) -> String {
    let said = run.stderr.replace(&site.path().display().to_string(), "SITE");
    let kept = said.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    kept.map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn a_live_peer_still_makes_what_was_recorded() {
    if !have(&[Need::Root, Need::Buildah]) {
        return;
    }
    let home = tempfile::tempdir().expect("make a temporary folder");
    let peer = Peer::start(Family::Buildah, Path::new("buildah"), home.path())
        .unwrap_or_else(|said| panic!("{said}"));
    let recorded = |case: &Case| {
        let expected = case.expected();
        expected.peer == peer.name || expected.also.contains(&peer.name)
    };
    let mut cases: Vec<Case> =
        areas().iter().flat_map(|name| area(name)).filter(recorded).collect();
    assert!(
        cases.len() >= SAMPLE,
        "{} agrees with {} recorded results only; another version needs cargo xtask golden corpus",
        peer.name,
        cases.len()
    );
    let seed = seed();
    let mut moments = Moments::new(seed);
    for _ in 0..SAMPLE {
        let at = usize::try_from(moments.below(cases.len() as u64)).expect("it is below a length");
        let case = cases.swap_remove(at);
        let built = peer.build(&case, &case.lay(home.path())).and_then(|()| peer.image(&case));
        let built = built.unwrap_or_else(|said| panic!("{} (seed {seed}): {said}", case.name));
        let seen = Seen::of(&built).without_family();
        let found = seen.differences(&case.expected().seen.without_family());
        assert!(found.is_empty(), "{} (WHERRY_CORPUS_SEED={seed}): {found:?}", case.name);
    }
}

/// `WHERRY_CORPUS_SEED`, else the day.
fn seed() -> u64 {
    let asked = std::env::var("WHERRY_CORPUS_SEED").ok().and_then(|text| text.parse().ok());
    let day =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() / 86400);
    asked.unwrap_or_else(day)
}
