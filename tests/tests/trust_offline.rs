//! Offline is offline, mirrors keep signatures, and other people's TUF repositories are read.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use tests::publisher::{consumer, publisher, root_of, signed};
use tests::{Need, Registry, Site, have};

/// Covers: TRU-55
#[test]
fn verifying_what_is_here_makes_no_connection_even_where_there_is_no_interface() {
    if !have(&[Need::Root]) {
        return;
    }
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let (scope, name) = (registry.name("team/app"), registry.name("team/app:v1"));
    let site = consumer(&scope, &root_of(&publisher), "");
    site.run(&["pull", &name]).ok();
    drop(registry);
    let trace = "strace -f -e trace=connect,sendto,sendmsg -o calls";
    let traced = Path::new("/usr/bin/strace").exists();
    let prefix = if traced { trace } else { "" };
    let run =
        site.shell(&format!("unshare --net {prefix} wherry verify --local --json {name}")).ok();
    assert_eq!(run.json()["proven"], true, "{run}");
    if traced {
        let calls = std::fs::read_to_string(site.path().join("calls")).expect("the trace");
        let calls: Vec<&str> = calls
            .lines()
            .filter(|line| line.contains("connect(") || line.contains("send"))
            .collect();
        assert!(calls.is_empty(), "it spoke to somebody: {calls:?}");
    }
    // What is not known here needs the registry, and says so.
    let other = name.replace(":v1", ":v2");
    site.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /x\n");
    let run = site.shell(&format!("unshare --net wherry verify {other}"));
    assert!(run.code.is_some_and(|code| code != 0), "{run}");
}

/// Covers: TRU-57
#[test]
fn a_copy_moves_every_kind_of_signature() {
    let (registry, mirror) = (Registry::embedded(), Registry::embedded());
    let publisher = signed(&registry);
    publisher.run(&["trust", "key", "generate", "ci"]).ok();
    let (from, to) = (registry.name("team/app:v1"), mirror.name("team/app:v1"));
    publisher.run(&["sign", "--format", "cosign", "--key", "ci", &from]).ok();
    publisher.write("p.json", "{\"a\":1}");
    let attest =
        ["attest", "--predicate", "p.json", "--type", "https://x.example/p", "--key", "ci", &from];
    publisher.run(&attest).ok();
    publisher.run(&["copy", &from, &to]).ok();
    drop(registry);
    let more = "[[scope.cosign]]\nkey-files = [\"ci.pub\"]\nsigned-as = \"SIGNED\"\n[[scope.attestation]]\n\
                key-files = [\"ci.pub\"]\npredicate-type = \"https://x.example/p\"\n";
    let scope = mirror.name("team/app");
    let origin = from.trim_end_matches(":v1");
    let site = consumer(&scope, &root_of(&publisher), &more.replace("SIGNED", origin));
    site.write("config/ci.pub", std::fs::read(publisher.path().join("ci.pub")).expect("the key"));
    let run = site.run(&["verify", "--json", &to]).ok();
    let proofs = run.json()["result"]["proofs"].as_array().expect("proofs").clone();
    let dialects: Vec<&str> = proofs.iter().filter_map(|proof| proof["dialect"].as_str()).collect();
    assert_eq!(dialects, ["tuf", "cosign", "attestation"], "{run}");
    site.run(&["pull", &to]).ok();
}

/// Files below a folder, over HTTP, until the test ends.
struct Files {
    address: String,
}

impl Files {
    fn serve(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0_u8; 4096];
                let Ok(count) = stream.read(&mut head) else { continue };
                let text = String::from_utf8_lossy(&head[..count]).into_owned();
                let path = text.split_whitespace().nth(1).unwrap_or("/").to_owned();
                // The files of python-tuf are named as they are asked for, encoded.
                let found = std::fs::read(folder.join(path.trim_start_matches('/')));
                let (status, body) = match found {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { address }
    }
}

#[test]
fn the_command_for_tuf_repositories_reads_what_python_tuf_wrote() {
    let folder = xtask::shell::workspace_root().join("testdata/trust/written-by-python-tuf");
    let server = Files::serve(folder.clone());
    let site = Site::new();
    let root = folder.join("1.root.json").display().to_string();
    let url = format!("http://{}/", server.address);
    let tuf = |words: &[&str]| {
        site.run(&[&["tuf", "--metadata-dir", "md", "--metadata-url", &url][..], words].concat())
    };
    tuf(&["refresh"]).exits(1).fails_with(&["init TRUSTED_ROOT"]);
    tuf(&["init", &root]).ok();
    tuf(&["refresh"]).ok();
    let kept = std::fs::read(site.path().join("md/root.json")).expect("the root");
    assert_eq!(kept, std::fs::read(folder.join("2.root.json")).expect("the newest root"));
    for role in ["timestamp", "snapshot", "targets"] {
        assert!(site.path().join(format!("md/{role}.json")).exists(), "{role}");
    }
    let download = |name: &str| {
        tuf(&["download", "--target-name", name, "--target-base-url", &url, "--target-dir", "out"])
    };
    download("no/such/target").exits(1).fails_with(&["no/such/target"]);
    tuf(&["init", &root]).exits(1).fails_with(&["exists already"]);
}

#[test]
fn the_store_of_one_image_is_verified_without_its_registry_and_a_stranger_is_not() {
    let registry = Registry::embedded();
    let publisher = publisher(&registry);
    publisher.run(&["trust", "sign", &registry.name("team/app:v1")]).ok();
    let name = registry.name("team/app:v1");
    let site = consumer(&registry.name("team/app"), &root_of(&publisher), "");
    publisher.run(&["save", "-o", "image.tar", &name]).ok();
    let image = publisher.path().join("image.tar").display().to_string();
    // Nothing was trusted here yet: an archive alone proves nothing.
    site.run(&["load", "-i", &image]).exits(3).fails_with(&["unsigned"]);
    site.run(&["verify", &name]).ok();
    drop(registry);
    site.run(&["load", "-i", &image]).ok();
    site.run(&["verify", "--local", &name]).ok();
}

/// An archive for a machine that cannot ask: image, trust data, cosign signature and statement in one file.
///
/// Covers: TRU-55, TRU-57
#[test]
fn an_archive_that_carries_its_signatures_proves_itself_without_a_registry() {
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let (scope, name) = (registry.name("team/app"), registry.name("team/app:v1"));
    publisher.run(&["trust", "key", "generate", "ci"]).ok();
    publisher.run(&["sign", "--format", "cosign", "--key", "ci", &name]).ok();
    publisher.run(&["copy", &name, "oci:layout:v1"]).ok();
    let root = root_of(&publisher);
    drop(registry);
    let path = publisher.path().join("layout/index.json");
    let text = std::fs::read_to_string(&path).expect("the index");
    let mut index: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let entries = index["manifests"].as_array_mut().expect("a list");
    for entry in entries.iter_mut() {
        if entry["annotations"]["org.opencontainers.image.ref.name"] == "v1" {
            entry["annotations"]["org.opencontainers.image.ref.name"] = name.clone().into();
        }
    }
    assert_eq!(entries.len(), 3, "the image, its signature, the trust data: {text}");
    let archive = |index: &serde_json::Value, file: &str| {
        std::fs::write(&path, index.to_string()).expect("write the index");
        publisher.shell(&format!("tar -C layout -cf {file} .")).ok();
        publisher.path().join(file).display().to_string()
    };
    let whole = archive(&index, "whole.tar");
    let only_image = |index: &mut serde_json::Value| {
        let entries = index["manifests"].as_array_mut().expect("a list");
        entries.retain(|entry| {
            entry["annotations"]["org.opencontainers.image.ref.name"] == name.as_str()
        });
    };
    only_image(&mut index);
    let bare = archive(&index, "bare.tar");
    let key = std::fs::read(publisher.path().join("ci.pub")).expect("the key");
    let wanted = "[[scope.cosign]]\nkey-files = [\"ci.pub\"]\n";
    let machine = || {
        let site = consumer(&scope, &root, "");
        site.write("config/ci.pub", &key);
        tests::publisher::demand(&site, &scope, &root, wanted);
        site
    };
    machine().run(&["load", "-i", &bare]).exits(3).fails_with(&["unsigned", "cosign"]);
    let site = machine();
    let run = site.run(&["load", "-i", &whole]).ok();
    assert_eq!(run.lines(), [format!("Loaded image: {name}")], "evidence is no image: {run}");
    site.check_store();
    // A stranger's root and key are not satisfied by what the archive brings along.
    let stranger = signed(&Registry::embedded());
    let other = consumer(&scope, &root_of(&stranger), "");
    other.run(&["load", "-i", &whole]).exits(3).fails_with(&["wrong-signer"]);
}
