//! `testdata/trust`: one folder per attack, read as any client would read it.
//!
//! The folders are written by this file (`UPDATE_EXPECT=1 cargo test -p trust fixtures`) and read by
//! every client that wants to be tried on them, this crate's first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trust::tuf::TrustedState;

use crate::publisher::Publisher;
use crate::world::*;

const TARGET: &str = "lib/web:1";

struct Case {
    name: &'static str,
    /// The advisory or the clause that the attack stands for.
    about: &'static str,
    /// `ok`, `not-found`, or the name of the error.
    expect: &'static str,
    anchor: Vec<u8>,
    trusted: TrustedState,
    served: BTreeMap<String, Vec<u8>>,
}

/// What a client that trusts `before` sees when `attack` has been at work.
fn case(
    (name, about, expect): (&'static str, &'static str, &'static str),
    before: impl FnOnce(&mut World),
    attack: impl FnOnce(&mut World),
) -> Case {
    let mut world = World::new();
    before(&mut world);
    let mut client = Client::of(&world);
    if !world.requests.is_empty() || world.timestamp["version"] != json!(1) {
        client.find(&mut world, TARGET).unwrap();
    }
    attack(&mut world);
    Case { name, about, expect, anchor: client.anchor, trusted: client.state, served: world.files }
}

/// The world moves on once, so that [`case`] lets the client trust what it has seen.
fn seen(world: &mut World) {
    world.release();
}

fn delegated(world: &mut World) {
    world.role("targets")["targets"] = json!({});
    world.role("targets")["delegations"] =
        delegations(&[5], vec![delegation("team", &[5], &["lib/*"], false)]);
    world.add_role("team", targets(&[(TARGET, b"web")]), &[5]);
    world.release();
}

fn fresh(_: &mut World) {}

fn root_cases() -> Vec<Case> {
    vec![
        case(
            ("root-version-skipped", "CVE-2025-2885, TUF 5.3.5", "WrongVersion"),
            fresh,
            |world| {
                world.root["version"] = json!(9);
                let forged = sign(&world.root, &[1]);
                world.files.insert("2.root.json".to_owned(), forged);
            },
        ),
        case(("root-not-signed-by-old-keys", "TUF 5.3.4", "Threshold"), fresh, |world| {
            world.root["keys"] = keys(&[2, 3, 4, 66]);
            world.root["roles"]["root"] = role(&[66], 1);
            world.root_signers = vec![66];
            world.next_root();
        }),
        case(("root-expired", "TUF 5.3.10", "RoleExpired"), fresh, |world| {
            world.root["expires"] = json!(PAST);
            world.next_root();
        }),
        case(("threshold-zero", "GHSA-fphv-w9fq-2525", "Malformed"), fresh, |world| {
            world.root["roles"]["timestamp"] = role(&[], 0);
            world.next_root();
            world.timestamp_signers = vec![];
            world.publish_timestamp();
        }),
        case(
            ("fast-forward-recovered", "TUF 5.3.11", "ok"),
            |world| {
                world.timestamp["version"] = json!(1_u64 << 31);
                world.snapshot["version"] = json!(1_u64 << 31);
                world.timestamp["meta"]["snapshot.json"]["version"] = json!(1_u64 << 31);
                world.publish();
            },
            |world| {
                world.root["keys"] = keys(&[1, 2, 3, 4, 9]);
                world.root["roles"]["snapshot"] = role(&[9], 1);
                world.next_root();
                world.snapshot_signers = vec![9];
                world.timestamp["version"] = json!(1);
                world.snapshot["version"] = json!(1);
                world.timestamp["meta"]["snapshot.json"]["version"] = json!(1);
                world.publish();
            },
        ),
    ]
}

fn signature_cases() -> Vec<Case> {
    let repeat = |world: &mut World| {
        world.root["keys"] = keys(&[1, 2, 3, 4, 5]);
        world.root["roles"]["timestamp"] = role(&[4, 5], 2);
        world.next_root();
        world.timestamp_signers = vec![4, 4];
        world.publish_timestamp();
    };
    vec![
        case(("duplicate-signature", "TUF 4.2.1", "Threshold"), fresh, repeat),
        case(
            ("duplicate-signature-of-a-delegated-role", "CVE-2026-6966", "Threshold"),
            delegated,
            |world| {
                world.role("targets")["delegations"]["keys"] = keys(&[5, 6]);
                let role = &mut world.role("targets")["delegations"]["roles"][0];
                role["keyids"] = json!([id(5), id(6)]);
                role["threshold"] = json!(2);
                bump(world.role("targets"));
                bump(world.role("team"));
                world.roles.get_mut("team").unwrap().1 = vec![5, 5];
                world.release();
            },
        ),
        case(("one-key-under-two-ids", "TUF 4.2.2", "Threshold"), fresh, |world| {
            world.root["keys"]["alias"] = world.root["keys"][id(4)].clone();
            world.root["roles"]["timestamp"] =
                json!({ "keyids": [id(4), "alias"], "threshold": 2 });
            world.next_root();
            let mut other = signature(&world.timestamp, 4);
            other["keyid"] = json!("alias");
            let signatures = [signature(&world.timestamp, 4), other];
            let forged = json!({ "signatures": signatures, "signed": world.timestamp });
            world.files.insert("timestamp.json".to_owned(), forged.to_string().into_bytes());
        }),
        case(("bad-signature-beside-a-good-one", "TUF 4.2.1", "ok"), fresh, |world| {
            let bad = json!({ "keyid": id(5), "sig": "00" });
            let signatures = [bad, signature(&world.timestamp, 4)];
            let document = json!({ "signatures": signatures, "signed": world.timestamp });
            world.files.insert("timestamp.json".to_owned(), document.to_string().into_bytes());
        }),
        case(("duplicate-json-key", "two meanings of one signed text", "Json"), fresh, |world| {
            let text = String::from_utf8(world.files["timestamp.json"].clone()).unwrap();
            let doubled = text.replacen("\"version\":", "\"version\": 7, \"version\":", 1);
            world.files.insert("timestamp.json".to_owned(), doubled.into_bytes());
        }),
    ]
}

fn time_cases() -> Vec<Case> {
    vec![
        case(("timestamp-rollback", "TUF 5.4.3", "Rollback"), seen, |world| {
            world.timestamp["version"] = json!(1);
            world.publish_timestamp();
        }),
        case(
            ("snapshot-rollback-in-a-newer-timestamp", "CVE-2025-2888, TUF 5.4.3.2", "Rollback"),
            seen,
            |world| {
                bump(&mut world.timestamp);
                world.timestamp["meta"]["snapshot.json"]["version"] = json!(1);
                world.publish_timestamp();
            },
        ),
        case(("freeze", "TUF 5.4.4", "RoleExpired"), seen, |world| {
            bump(&mut world.timestamp);
            world.timestamp["expires"] = json!(PAST);
            world.publish_timestamp();
        }),
        case(("mix-and-match", "TUF 5.5.4", "WrongVersion"), fresh, |world| {
            let first = world.files["1.snapshot.json"].clone();
            world.release();
            world.files.insert("2.snapshot.json".to_owned(), first);
        }),
        case(("snapshot-hash-mismatch", "TUF 5.5.2", "HashMismatch"), fresh, |world| {
            world.timestamp["meta"]["snapshot.json"]["hashes"] = json!({ "sha256": sha256(b"") });
            world.publish_timestamp();
        }),
        case(("role-removed-from-snapshot", "TUF 5.5.5", "RoleRemoved"), delegated, |world| {
            world.roles.remove("team");
            world.snapshot["meta"].as_object_mut().unwrap().remove("team.json");
            world.release();
        }),
        case(
            ("delegated-role-rollback", "CVE-2025-2887, TUF 5.5.5", "Rollback"),
            |world| {
                delegated(world);
                world.role("team")["version"] = json!(3);
                world.release();
            },
            |world| {
                world.role("team")["version"] = json!(2);
                world.release();
            },
        ),
    ]
}

fn delegation_cases() -> Vec<Case> {
    let broken = |change: fn(&mut Value)| {
        move |world: &mut World| {
            bump(world.role("team"));
            change(world.role("team"));
            world.release();
        }
    };
    vec![
        case(
            ("delegated-role-expired", "CVE-2026-6967, TUF 5.6.5", "RoleExpired"),
            delegated,
            broken(|role| role["expires"] = json!(PAST)),
        ),
        case(
            ("delegated-role-hash-mismatch", "CVE-2026-6967, TUF 5.6.2", "HashMismatch"),
            delegated,
            |world| {
                bump(world.role("team"));
                bump(&mut world.snapshot);
                world.snapshot["meta"]["team.json"] =
                    json!({ "version": 2, "hashes": { "sha256": sha256(b"") } });
                bump(&mut world.timestamp);
                world.timestamp["meta"]["snapshot.json"]["version"] =
                    world.snapshot["version"].clone();
                world.publish_as_listed();
            },
        ),
        case(
            ("terminating-delegation", "CVE-2025-2886, TUF 5.6.7.2", "not-found"),
            fresh,
            |world| {
                world.role("targets")["targets"] = json!({});
                world.role("targets")["delegations"] = delegations(
                    &[5],
                    vec![
                        delegation("a", &[5], &["*/*"], false),
                        delegation("d", &[5], &["*/*"], false),
                    ],
                );
                let mut a = targets(&[]);
                a["delegations"] = delegations(&[5], vec![delegation("b", &[5], &["*/*"], true)]);
                world.add_role("a", a, &[5]);
                world.add_role("b", targets(&[]), &[5]);
                world.add_role("d", targets(&[(TARGET, b"evil")]), &[5]);
                world.publish();
            },
        ),
        case(("delegation-cycle", "TUF 5.6.7.1", "not-found"), fresh, |world| {
            world.role("targets")["targets"] = json!({});
            for (from, to) in [("targets", "a"), ("a", "b"), ("b", "a")] {
                if from != "targets" {
                    world.add_role(from, targets(&[]), &[5]);
                }
                world.role(from)["delegations"] =
                    delegations(&[5], vec![delegation(to, &[5], &["*/*"], false)]);
            }
            world.publish();
        }),
    ]
}

fn path_cases() -> Vec<Case> {
    vec![
        case(("diamond-with-other-keys", "TUF 5.6.3", "Threshold"), fresh, |world| {
            world.role("targets")["targets"] = json!({});
            world.role("targets")["delegations"] = delegations(
                &[5],
                vec![
                    delegation("a", &[5], &["*/*"], false),
                    delegation("b", &[5], &["*/*"], false),
                ],
            );
            for (name, seed) in [("a", 5), ("b", 6)] {
                let mut document = targets(&[]);
                document["delegations"] =
                    delegations(&[seed], vec![delegation("c", &[seed], &["*/*"], false)]);
                world.add_role(name, document, &[5]);
            }
            world.add_role("c", targets(&[]), &[5]);
            world.publish();
        }),
        case(("delegation-not-in-snapshot", "TUF 5.6.1", "MetadataMissing"), fresh, |world| {
            world.role("targets")["targets"] = json!({});
            world.role("targets")["delegations"] =
                delegations(&[5], vec![delegation("team", &[5], &["lib/*"], false)]);
            world.publish();
            world.add_role("team", targets(&[(TARGET, b"evil")]), &[5]);
            world.publish_as_listed();
        }),
        case(("path-not-delegated", "TUF 4.5", "not-found"), fresh, |world| {
            world.role("targets")["targets"] = json!({});
            world.role("targets")["delegations"] =
                delegations(&[5], vec![delegation("team", &[5], &["*", "other/*"], false)]);
            world.add_role("team", targets(&[(TARGET, b"evil")]), &[5]);
            world.publish();
        }),
        case(("role-name-traversal", "CVE-2021-41131, CVE-2026-6968", "ok"), fresh, |world| {
            world.role("targets")["targets"] = json!({});
            world.role("targets")["delegations"] =
                delegations(&[5], vec![delegation("../../x", &[5], &["lib/*"], false)]);
            world.add_role("../../x", targets(&[(TARGET, b"web")]), &[5]);
            world.publish();
        }),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = root_cases();
    cases.extend(signature_cases());
    cases.extend(time_cases());
    cases.extend(delegation_cases());
    cases.extend(path_cases());
    cases
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/trust")
}

/// Everything in a folder by relative path.
fn read_all(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn expected_files(case: &Case) -> BTreeMap<String, Vec<u8>> {
    let about = json!({
        "about": case.about, "find": TARGET, "now": now().to_string(), "expect": case.expect,
    });
    let mut files = BTreeMap::from([
        ("pinned.root.json".to_owned(), case.anchor.clone()),
        ("case.json".to_owned(), format!("{about:#}\n").into_bytes()),
    ]);
    for (name, bytes) in case.trusted.files() {
        files.insert(format!("trusted/{name}"), bytes.to_vec());
    }
    for (name, bytes) in &case.served {
        files.insert(format!("served/{name}"), bytes.clone());
    }
    files
}

fn check_folder(name: &str, expected: &BTreeMap<String, Vec<u8>>) {
    let root = folder().join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let _ = fs::remove_dir_all(&root);
        for (file, bytes) in expected {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let found = read_all(&root);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(expected), "{name}: run with UPDATE_EXPECT=1 to rewrite");
    for (file, bytes) in expected {
        assert_eq!(&found[file], bytes, "{name}/{file}: run with UPDATE_EXPECT=1 to rewrite");
    }
}

#[test]
fn the_folders_hold_what_is_generated_and_no_other_folder_stands_there() {
    let mut names: Vec<String> =
        ["keys", "notary", "published", "written-by-python-tuf"].map(str::to_owned).to_vec();
    for case in cases() {
        check_folder(case.name, &expected_files(&case));
        names.push(case.name.to_owned());
    }
    names.sort();
    let mut found: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names);
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    for name in names {
        assert!(readme.contains(&format!("`{name}`")), "README.md does not name {name}");
    }
}

/// An attack folder as it was read: name, case, trusted files, served files, pinned root.
pub(crate) type Attack =
    (String, Value, BTreeMap<String, Vec<u8>>, BTreeMap<String, Vec<u8>>, Vec<u8>);

/// Every attack folder, by name.
pub(crate) fn attack_folders() -> Vec<Attack> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let root = entry.unwrap().path();
        let Ok(case) = fs::read(root.join("case.json")) else { continue };
        folders.push((
            root.file_name().unwrap().to_str().unwrap().to_owned(),
            serde_json::from_slice(&case).unwrap(),
            read_all(&root.join("trusted")),
            read_all(&root.join("served")),
            fs::read(root.join("pinned.root.json")).unwrap(),
        ));
    }
    folders.sort_by(|a, b| a.0.cmp(&b.0));
    folders
}

/// Covers: TRU-2, TRU-6, TRU-7, TRU-14, TRU-19, TRU-22, TRU-24, TRU-30
#[test]
fn every_attack_folder_ends_as_its_case_says() {
    let attacks = attack_folders();
    assert_eq!(attacks.len(), cases().len());
    for (name, case, trusted, served, anchor) in attacks {
        let mut state = TrustedState::new();
        for (file, bytes) in trusted {
            state.insert(file, bytes);
        }
        let mut world = World::new();
        world.files = served;
        let mut client = Client { anchor, state, now: now(), kept: Vec::new() };
        let found = client.find(&mut world, case["find"].as_str().unwrap());
        let outcome = match &found {
            Ok(Some(_)) => "ok".to_owned(),
            Ok(None) => "not-found".to_owned(),
            Err(error) => {
                let text = format!("{error:?}");
                text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
            }
        };
        assert_eq!(outcome, case["expect"].as_str().unwrap(), "{name}: {found:?}");
    }
}

/// A repository that was published with one signer and one tag, `shop/web:1.0`.
pub(crate) fn published_files() -> BTreeMap<String, Vec<u8>> {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    let files = publisher.repository.files().iter();
    files.map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect()
}

/// The bytes we publish do not change by accident: clients everywhere have verified them.
#[test]
fn a_published_repository_is_byte_for_byte_the_golden_one() {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.sign("1.0", "one", &[11]);
    let mut files: BTreeMap<String, Vec<u8>> = publisher
        .repository
        .files()
        .iter()
        .map(|(name, bytes)| (name.clone(), bytes.to_vec()))
        .collect();
    let packed = trust::artifact::pack(publisher.repository.files()).unwrap();
    files.insert("_trust.manifest.json".to_owned(), packed.manifest.bytes().to_vec());
    check_folder("published", &files);
}

/// Covers: TRU-3, TRU-9, TRU-29
#[test]
fn a_repository_that_python_tuf_wrote_verifies_with_all_its_keys_and_bins() {
    let root = folder().join("written-by-python-tuf");
    let mut world = World::new();
    world.files = read_all(&root);
    let mut client = Client::of(&world);
    for (path, content, role) in [
        ("lib/top:1", "top", Some("targets")),
        ("lib/team:1", "team", Some("team/one")),
        ("lib/binned:7", "binned 7", Some("bin-")),
        ("lib/binned:99", "", None),
        ("other/binned:7", "", None),
    ] {
        let found = client.find(&mut world, path).unwrap();
        match role {
            Some(role) => {
                let (hash, found) = found.unwrap();
                assert_eq!(hash, sha256(content.as_bytes()));
                assert!(found.starts_with(role), "{found}");
            }
            None => assert_eq!(found, None),
        }
    }
    assert_eq!(client.version("root.json"), Some(2));
    // One changed byte of any signed file is noticed.
    for file in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let genuine = world.files[file].clone();
        let changed = String::from_utf8(genuine.clone()).unwrap().replace("2035-", "2036-");
        world.files.insert(file.to_owned(), changed.into_bytes());
        assert!(Client::of(&world).refresh(&mut world).is_err(), "{file}");
        world.files.insert(file.to_owned(), genuine);
    }
}
