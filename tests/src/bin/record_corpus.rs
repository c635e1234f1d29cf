//! `cargo xtask golden corpus`: records what peers make of the differential corpus. Nothing of Wherry runs here.
//!
//! Arguments: `buildkit=PROGRAM` and `buildah=PROGRAM`, in order of preference (else a daemon that `DOCKER_HOST` names and the
//! machine's buildah), and the beginnings of the names of the cases to record (else all).

use std::collections::BTreeMap;
use std::path::Path;

use tests::corpus::expected::{Expected, Seen};
use tests::corpus::peers::{Family, Peer};
use tests::corpus::{Case, area, areas, folder};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (peers, names): (Vec<String>, Vec<String>) =
        args.into_iter().partition(|arg| arg.contains('='));
    let home = tempfile::tempdir().expect("make a temporary folder");
    let peers = start(&peers, home.path());
    let wanted = |case: &Case| names.is_empty() || names.iter().any(|n| case.name.starts_with(n));
    let mut missing = Vec::new();
    for case in areas().iter().flat_map(|name| area(name)).filter(wanted) {
        if !record(&case, &peers, home.path()) {
            missing.push(case.name);
        }
    }
    let wrong: Vec<Case> = area("wrong").into_iter().filter(wanted).collect();
    record_wrong(&wrong, &peers, home.path());
    for name in &missing {
        println!("no peer builds {name}");
    }
    std::process::exit(i32::from(!missing.is_empty()));
}

fn start(asked: &[String], home: &Path) -> Vec<Peer> {
    let mut asked = asked.to_vec();
    if asked.is_empty() {
        if std::env::var_os("DOCKER_HOST").is_some() {
            asked.push("buildkit=docker".to_owned());
        }
        asked.push("buildah=buildah".to_owned());
    }
    let one = |(number, text): (usize, &String)| {
        let (family, program) = text.split_once('=').expect("FAMILY=PROGRAM");
        let family = match family {
            "buildkit" => Family::BuildKit,
            "buildah" => Family::Buildah,
            other => panic!("unknown family '{other}': buildkit or buildah"),
        };
        let peer = Peer::start(family, Path::new(program), &home.join(number.to_string()));
        peer.unwrap_or_else(|said| panic!("{text}: {said}"))
    };
    asked.iter().enumerate().map(one).collect()
}

/// Builds a case by every peer; false when none can. BuildKit's word is not replaced by a run without BuildKit.
fn record(case: &Case, peers: &[Peer], home: &Path) -> bool {
    let asked = |name: &str| peers.iter().any(|peer| peer.family == Family::of(name));
    let mut first: Option<Expected> = case
        .is_recorded()
        .then(|| case.expected())
        .filter(|old| Family::of(&old.peer) == Family::BuildKit && !asked(&old.peer));
    if let Some(old) = &mut first {
        old.also.retain(|name| !asked(name));
    }
    for (number, peer) in peers.iter().enumerate() {
        let laid = case.lay(&home.join(format!("laid-{number}")));
        let built = peer.build(case, &laid).and_then(|()| peer.image(case));
        let Ok(image) = &built else {
            let said = built.err().unwrap_or_default();
            let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
            println!("{}: {} refuses: {}", case.name, peer.name, said.last().unwrap_or(&""));
            continue;
        };
        let mut seen = Seen::of(image);
        if peer.family == Family::Buildah {
            seen = seen.without_family();
        }
        match &mut first {
            None => first = Some(Expected { peer: peer.name.clone(), also: Vec::new(), seen }),
            Some(expected) => {
                let found = seen.differences(&expected.seen.clone().without_family());
                for (what, how) in &found {
                    println!("{}: {} differs: {what}: {how}", case.name, peer.name);
                }
                if found.is_empty() {
                    expected.also.push(peer.name.clone());
                }
            }
        }
    }
    if let Some(expected) = &first {
        case.record(expected);
    }
    first.is_some()
}

fn record_wrong(cases: &[Case], peers: &[Peer], home: &Path) {
    let path = folder().join("expected/wrong/peers.json");
    let old = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
    let mut all: BTreeMap<String, Vec<String>> =
        serde_json::from_str(&old).expect("a map of names");
    for case in cases {
        let mut refusing = Vec::new();
        for (number, peer) in peers.iter().enumerate() {
            let laid = case.lay(&home.join(format!("laid-{number}")));
            match peer.build(case, &laid) {
                Ok(()) => println!("{}: {} builds it", case.name, peer.name),
                Err(_) => refusing.push(peer.name.clone()),
            }
        }
        let others = all.remove(&case.name).unwrap_or_default();
        let asked = |name: &str| peers.iter().any(|peer| peer.family == Family::of(name));
        refusing.extend(others.into_iter().filter(|name| !asked(name)));
        refusing.sort();
        all.insert(case.name.clone(), refusing);
    }
    std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("make the folder");
    let mut text = serde_json::to_string_pretty(&all).expect("a map prints");
    text.push('\n');
    std::fs::write(&path, text).expect("write the verdicts");
}
