//! Stores written by earlier versions are read for ever.

use std::process::Command;

use store::{Persistence, Store, unmount};

use crate::support::tree;

/// A store of an earlier format, in a temporary folder.
fn fixture(name: &str) -> (tempfile::TempDir, Store) {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/store/");
    let dir = tempfile::tempdir().expect("temporary directory");
    let done = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "-xzf"])
        .arg(format!("{archive}{name}"))
        .arg("-C")
        .arg(dir.path())
        .output()
        .expect("GNU tar runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let store = Store::open(dir.path()).expect("a format that is known");
    (dir, store)
}

#[test]
fn a_store_of_format_1_is_read_mounted_and_found_sound() {
    let (dir, store) = fixture("wherry-store-1.tar.gz");
    let names: Vec<String> = store
        .names()
        .list()
        .expect("lists")
        .iter()
        .filter_map(|entry| entry.name.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(names, ["docker.io/library/fixture:v1", "example.com/team/fixture:v2"]);
    let root = &store.names().list().expect("lists")[0].descriptor;
    let image = store.images().open(root, &oci::Platform::host()).expect("opens");
    assert_eq!(image.id().short(), "9c90ec3b61c7");
    assert_eq!(store.images().bytes(&image).expect("adds up"), 19);
    let report = store.check(None).expect("checks");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let key = "container".parse().expect("a key");
    let mounts = store.snapshots().mounts(&key).expect("is there");
    let target = dir.path().join("mounted");
    std::fs::create_dir(&target).expect("creates");
    mounts.mount(&target, Persistence::Durable).expect("mounts");
    let found = tree(&target);
    unmount(&target).expect("unmounts");
    let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        found,
        [
            ("etc", "dir 755"),
            ("etc/name", "upper\n"),
            ("link", "-> etc/name"),
            ("mine", "changed"),
            ("opt", "dir 755"),
            ("opt/new", "new"),
        ]
    );
}
