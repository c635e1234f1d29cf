//! The chapter on volumes, as printed: a volume that outlives its container, one that is in use, and prune.

use std::fs;

use serde_json::Value;
use tests::{Need, Site, have};

fn names(site: &Site) -> Vec<String> {
    site.wherry("volume ls -q").ok().lines().into_iter().map(str::to_owned).collect()
}

fn described(site: &Site, name: &str) -> Value {
    site.wherry(&format!("volume inspect {name}")).ok().json()[0].clone()
}

/// Covers: B13-06, B13-07, B13-08, B13-09, B13-10, N3-113, N3-114, N3-115
#[test]
fn a_volume_is_created_listed_and_described() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::new();
    assert_eq!(site.wherry("volume create myvol").ok().out(), "myvol");
    let table = site.wherry("volume ls").ok();
    assert_eq!(table.lines(), ["DRIVER    VOLUME NAME", "local     myvol"]);
    let volume = described(&site, "myvol");
    let keys: Vec<&String> = volume.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"],
        "{volume}"
    );
    assert_eq!(volume["Driver"], "local");
    assert_eq!(volume["Scope"], "local");
    assert_eq!(volume["Labels"], Value::Null);
    assert_eq!(volume["Options"], Value::Null);
    let created = volume["CreatedAt"].as_str().unwrap();
    assert!(created.parse::<jiff::Timestamp>().is_ok(), "{created}");
    let place = site.root().join("volumes/myvol/_data");
    assert_eq!(volume["Mountpoint"], place.to_str().unwrap());
    assert!(place.is_dir());
    site.wherry("volume create -d local second").ok();
    site.wherry("volume create -d pure third").fails_with(&["pure", "local"]);
    assert_eq!(names(&site), ["myvol", "second"]);
}

/// Covers: B13-04, B13-05, B13-11, B13-12, B13-14, B13-15, B13-16, B13-17, N3-107, N3-119, N3-120, N3-121, N3-122, N3-125
#[test]
fn bizvol_outlives_voltainer_and_hellcat_finds_its_file() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    let run = "container run -dit --network none";
    let id = site
        .wherry(&format!("{run} --name voltainer --mount source=bizvol,target=/vol busybox sh"))
        .ok()
        .out()
        .to_owned();
    assert_eq!(names(&site), ["bizvol"], "made without being asked for");
    site.wherry("volume rm bizvol")
        .exits(5)
        .fails_with(&[&format!("remove bizvol: volume is in use - [{id}]")]);
    let short = &id[..3];
    let script = "echo I promise to leave a review > /vol/file1; echo gone > /elsewhere";
    site.wherry(&format!("container exec {short} sh -c '{script}'")).ok();
    let file = site.root().join("volumes/bizvol/_data/file1");
    assert_eq!(fs::read_to_string(&file).unwrap(), "I promise to leave a review\n");
    fs::write(&file, "edited on the host\n").unwrap();
    let seen = site.wherry("container exec voltainer cat /vol/file1").ok();
    assert_eq!(seen.out(), "edited on the host");

    site.wherry("container rm voltainer -f").ok();
    assert_eq!(site.wherry("container ls -aq").ok().out(), "");
    assert_eq!(names(&site), ["bizvol"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "edited on the host\n");

    site.wherry(&format!("{run} --name hellcat --mount source=bizvol,target=/vol busybox sh")).ok();
    assert_eq!(site.wherry("exec hellcat cat /vol/file1").ok().out(), "edited on the host");
    site.wherry("exec hellcat ls /elsewhere").exits(1);
    site.wherry("rm -f hellcat").ok();
    assert_eq!(site.wherry("volume rm bizvol").ok().out(), "bizvol");
    assert!(names(&site).is_empty());
    assert!(!file.exists());
}

/// Covers: B13-18, B13-19, N3-132
#[test]
fn several_containers_share_a_volume_and_nobody_orders_their_writes() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    for name in ["left", "right"] {
        site.wherry(&format!(
            "run -d --network none --name {name} -v shared:/data busybox sleep 1000"
        ))
        .ok();
    }
    site.wherry("exec left sh -c 'echo left > /data/file'").ok();
    assert_eq!(site.wherry("exec right cat /data/file").ok().out(), "left");
    site.wherry("exec right sh -c 'echo right > /data/file'").ok();
    assert_eq!(site.wherry("exec left cat /data/file").ok().out(), "right");
}

/// Covers: B13-01, B13-02, N3-106, N3-108, N3-109, N3-110
#[test]
fn what_a_container_writes_is_its_own_and_goes_with_it() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    let before = site.image_id("busybox");
    for name in ["one", "two"] {
        site.wherry(&format!("run -d --network none --name {name} busybox sleep 1000")).ok();
    }
    // A new file, and one of the image's that is changed: it is copied up, and the image stays.
    site.wherry("exec one sh -c 'echo mine > /mine; echo changed >> /etc/passwd'").ok();
    site.wherry("exec two ls /mine").exits(1);
    site.wherry("exec two grep changed /etc/passwd").exits(1);
    site.wherry("exec one grep changed /etc/passwd").ok();
    site.wherry("rm -f one").ok();
    site.wherry("run --rm --network none --name one busybox ls /mine").exits(1);
    site.wherry("run --rm --network none busybox grep changed /etc/passwd").exits(1);
    assert_eq!(site.image_id("busybox"), before);
    site.check_store();
}

/// Covers: B13-13, B13-14, N3-116, N3-117
#[test]
fn prune_asks_first_and_takes_no_volume_that_a_container_uses() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.wherry("volume create unused").ok();
    site.wherry("create --network none --name user -v used:/data busybox true").ok();
    let question = "WARNING! This will remove all local volumes not used by at least one container.\n\
                    Are you sure you want to continue? [y/N]";
    let refused = site.run_with_input(&["volume", "prune", "-a"], b"n\n");
    assert!(refused.all().contains(question), "{refused}");
    assert_eq!(names(&site), ["unused", "used"]);
    let taken = site.run_with_input(&["volume", "prune", "-a"], b"y\n").ok();
    assert!(
        taken.stdout.ends_with("Deleted Volumes:\nunused\n\nTotal reclaimed space: 0B\n"),
        "{taken}"
    );
    assert_eq!(names(&site), ["used"]);
    site.wherry("volume rm").exits(2).fails_with(&["requires at least 1 argument"]);
    site.wherry("rm user").ok();
    site.wherry("volume create other").ok();
    site.wherry("volume rm used").ok();
    assert_eq!(names(&site), ["other"], "exactly the one that was named");
}

/// Covers: B13-20, B13-23, N3-118
#[test]
fn an_image_names_the_place_of_a_volume_and_the_run_decides_what_lies_there() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.dockerfile("FROM busybox\nRUN mkdir /data && echo first > /data/file\nVOLUME /data\nCMD [\"cat\", \"/data/file\"]\n");
    site.build("keeper", "");
    // Without a command the image's own is run; the volume begins with what the image has there.
    assert_eq!(site.wherry("run --network none --name c1 keeper").ok().out(), "first");
    let anonymous = names(&site);
    assert_eq!(anonymous.len(), 1);
    assert_eq!(anonymous[0].len(), 64, "{anonymous:?}");
    let host = site.path().join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "from the host\n").unwrap();
    let bind = format!("run --rm --network none -v {}:/data keeper", host.display());
    assert_eq!(site.wherry(&bind).ok().out(), "from the host");
    assert_eq!(names(&site), anonymous, "a folder of the host is no volume");
    site.dockerfile("FROM busybox\nVOLUME [\"/host:/data\"]\n");
    site.build("literal", "");
    let places = site.inspect("literal")["Config"]["Volumes"].clone();
    assert_eq!(
        places,
        serde_json::json!({"/host:/data": {}}),
        "a place in the container, whatever its name"
    );
}
