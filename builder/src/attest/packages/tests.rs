use store::tar::{Entry, Kind, Reader, Writer};

use super::*;

fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, text) in files {
        let mut entry = Entry::new(Kind::File, *path);
        entry.size = text.len() as u64;
        entry.mode = 0o644;
        writer.entry(&entry).unwrap();
        writer.data(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn purls(layers: &[Vec<u8>]) -> Vec<String> {
    let mut found = Databases::default();
    for bytes in layers {
        found.apply(Reader::new(&bytes[..])).unwrap();
    }
    found.packages().into_iter().map(|package| package.purl).collect()
}

const STATUS: &str = "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2+b2\nArchitecture: amd64\n\
Maintainer: Matthias Klose <doko@debian.org>\nDescription: shell\n long text\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n";

/// Covers: BLD-95
#[test]
fn debian_python_and_npm_packages_are_found() {
    let base = layer(&[
        ("./usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        ("./var/lib/dpkg/status", STATUS),
        (
            "usr/lib/python3/dist-packages/Some_Thing-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Some_Thing\nVersion: 1.0\n\nName: not this\n",
        ),
        ("usr/lib/python3/dist-packages/old.egg-info", "Name: old\nVersion: 0.1\n"),
        (
            "srv/node_modules/@scope/name/package.json",
            "{\"name\":\"@scope/name\",\"version\":\"2.0.0\"}",
        ),
        ("srv/node_modules/name/package.json", "{\"name\":\"name\",\"version\":\"3.0.0\"}"),
        ("srv/node_modules/name/lib/package.json", "{\"name\":\"inner\",\"version\":\"1\"}"),
        ("srv/package.json", "{\"name\":\"own\",\"version\":\"1\"}"),
    ]);
    assert_eq!(
        purls(&[base]),
        [
            "pkg:deb/debian/bash@5.2.15-2%2Bb2?arch=amd64&distro=debian-12",
            "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12",
            "pkg:npm/%40scope/name@2.0.0",
            "pkg:npm/name@3.0.0",
            "pkg:pypi/old@0.1",
            "pkg:pypi/some-thing@1.0",
        ]
    );
}

/// Covers: BLD-95
#[test]
fn later_layers_replace_and_remove_what_earlier_ones_recorded() {
    let meta = |name: &str| format!("usr/lib/python3/{name}.dist-info/METADATA");
    let said = |name: &str, version: &str| format!("Name: {name}\nVersion: {version}\n");
    let base = layer(&[
        (&meta("a"), &said("a", "1")),
        (&meta("b"), &said("b", "1")),
        (&meta("c"), &said("c", "1")),
    ]);
    let next = layer(&[("usr/lib/python3/.wh.a.dist-info", ""), (&meta("b"), &said("b", "2"))]);
    assert_eq!(purls(&[base.clone(), next]), ["pkg:pypi/b@2", "pkg:pypi/c@1"]);
    // An opaque mark hides what lies below, and nothing of its own layer, wherever it stands in it.
    let opaque = layer(&[(&meta("d"), &said("d", "1")), ("usr/lib/python3/.wh..wh..opq", "")]);
    assert_eq!(purls(&[base.clone(), opaque]), ["pkg:pypi/d@1"]);
    let replaced = layer(&[("usr/lib/python3", "a file now")]);
    assert_eq!(purls(&[base, replaced]), [""; 0]);
}

proptest::proptest! {
    #[test]
    fn no_database_makes_the_reader_panic(
        text in "(Package: [a-z+.]{0,4}\n|Version: .{0,4}\n|Status: [a-z ]{0,12}\n|Name: .{0,4}\n|[{}\":,a-z\n]{0,9}|\n){0,12}",
    ) {
        let paths = ["var/lib/dpkg/status", "a.egg-info", "x/node_modules/@s/n/package.json", "etc/os-release"];
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (*path, text.as_str())).collect();
        for purl in purls(&[layer(&files)]) {
            proptest::prop_assert!(purl.starts_with("pkg:") && !purl.contains([' ', '\n']), "{purl}");
        }
    }
}
