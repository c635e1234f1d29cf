//! Every way in, and every attack: the table of `docs/denials.md` is what the program says.
//!
//! The trust data of this file are made in this process, so that they can be expired, signed by others or of another
//! repository; the gate is the program's.

use jiff::{SignedDuration, Timestamp};
use oci::{Descriptor, MediaType};
use tests::publisher::{put_blob, put_manifest};
use tests::{Need, Registry, Run, Site, have};
use trust::key::{Ed25519Signer, Signer};
use trust::tuf::{Commit, Creation, Lifetimes, Repository, RoleSetup};

/// What is wrong with the image or its trust data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    Unsigned,
    WrongSigner,
    Revoked,
    Expired,
    Tampered,
    TagMoved,
    OtherRepository,
}

const ATTACKS: [(Attack, &str); 7] = [
    (Attack::Unsigned, "unsigned"),
    (Attack::WrongSigner, "wrong signer"),
    (Attack::Revoked, "revoked"),
    (Attack::Expired, "expired"),
    (Attack::Tampered, "tampered on disk"),
    (Attack::TagMoved, "tag moved"),
    (Attack::OtherRepository, "metadata of another repository"),
];

const WAYS: [&str; 8] = ["pull", "copy", "load", "import", "commit", "build FROM", "tag", "run"];

const KEYS: [u8; 4] = [1, 2, 3, 4];

fn key(seed: u8) -> Ed25519Signer {
    Ed25519Signer::from_seed(&[seed; 32])
}

/// Trust data of a repository under keys of these seeds, with these tags, made at `now`.
fn metadata(
    name: &str,
    seeds: [u8; 4],
    tags: &[(&str, &Descriptor)],
    now: Timestamp,
) -> Repository {
    let [root, targets, snapshot, timestamp] = seeds.map(key);
    let mut made = Repository::create(&Creation {
        repository: name.to_owned(),
        root: RoleSetup::single(root.public()),
        targets: RoleSetup::single(targets.public()),
        snapshot: RoleSetup::single(snapshot.public()),
        timestamp: RoleSetup::single(timestamp.public()),
    })
    .expect("a repository");
    commit(&mut made, seeds, tags, now);
    made
}

fn commit(made: &mut Repository, seeds: [u8; 4], tags: &[(&str, &Descriptor)], now: Timestamp) {
    let keys = seeds.map(key);
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
    for (tag, descriptor) in tags {
        made.sign(tag, descriptor, &signers).expect("sign");
    }
    made.commit(Commit::Refresh, &signers, Lifetimes::default(), now).expect("commit");
}

/// Puts trust data beside the images of `team/app`.
fn publish(registry: &Registry, made: &Repository) {
    let packed = trust::artifact::pack(made.files()).expect("pack");
    for (_, bytes) in &packed.blobs {
        put_blob(registry, "team/app", bytes);
    }
    put_manifest(registry, "team/app", "_trust", packed.manifest.bytes());
}

/// A registry with the image, and a consumer who has it already, from before there was a policy.
struct Scene {
    registry: Registry,
    site: Site,
    evil: Site,
    name: String,
    good: Descriptor,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::embedded();
        let name = registry.name("team/app:v1");
        let site = Site::with_busybox();
        site.run(&["tag", "busybox", &name]).ok();
        site.run(&["push", &name]).ok();
        site.run(&["save", "-o", "good.tar", &name]).ok();
        site.run(&["create", "--name", "held", &name, "true"]).ok();
        let evil = Site::with_busybox();
        evil.dockerfile("FROM busybox\nCOPY Dockerfile /evil\n");
        evil.build(&name, "");
        evil.run(&["save", "-o", "evil.tar", &name]).ok();
        let manifest = registry.get("/v2/team/app/manifests/v1").body;
        let good = Descriptor::of(MediaType::OciManifest, &manifest);
        Self { registry, site, evil, name, good }
    }

    /// Arranges the attack, puts the policy in force, and lets the consumer look once.
    fn arrange(&self, attack: Attack) {
        let now = Timestamp::now();
        let tags: &[(&str, &Descriptor)] = &[("v1", &self.good)];
        let honest = metadata("team/app", KEYS, tags, now);
        self.demand(attack, &honest.files()["1.root.json"]);
        let look = || self.site.run(&["verify", &self.name]);
        match attack {
            Attack::Unsigned => {}
            Attack::WrongSigner => {
                publish(&self.registry, &metadata("team/app", [5, 6, 7, 8], tags, now));
            }
            Attack::Revoked => {
                let mut honest = honest;
                publish(&self.registry, &honest);
                look().ok();
                let targets = key(KEYS[1]);
                honest.revoke("v1", &[&targets]).expect("revoke");
                commit(&mut honest, KEYS, &[], now);
                publish(&self.registry, &honest);
            }
            Attack::Expired => {
                let past = now - SignedDuration::from_hours(24 * 15);
                publish(&self.registry, &metadata("team/app", KEYS, tags, past));
            }
            Attack::Tampered => {
                publish(&self.registry, &honest);
                look().ok();
            }
            Attack::TagMoved => {
                publish(&self.registry, &honest);
                look().ok();
                self.evil.run(&["push", &self.name]).ok();
            }
            Attack::OtherRepository => {
                let other = metadata("team/other", KEYS, tags, now);
                publish(&self.registry, &other);
            }
        }
        if attack != Attack::Tampered && attack != Attack::Unsigned {
            look().exits(3);
        }
    }

    fn demand(&self, attack: Attack, root: &[u8]) {
        self.site.write("config/root.json", root);
        let pin = match attack {
            // A root by its keys would be taken from any repository that they signed.
            Attack::OtherRepository => {
                format!("root-keyids = [\"{}\"]", key(KEYS[0]).public().id())
            }
            _ => "root-file = \"root.json\"".to_owned(),
        };
        let scope = self.registry.name("team/app");
        let policy = format!(
            "version = 1\ndefault = \"allow\"\nbuilt-here = \"reject\"\n[[scope]]\nprefix = \"{scope}\"\n[[scope.tuf]]\n{pin}\n"
        );
        self.site.write("config/policy.toml", policy);
    }

    /// Goes one way, and gives the reason for which it is closed.
    fn go(&self, attack: Attack, way: &str) -> String {
        let (site, name) = (&self.site, self.name.as_str());
        let foreign = matches!(attack, Attack::Tampered | Attack::TagMoved);
        let run = match way {
            "pull" if attack == Attack::Tampered => {
                self.damage_registry();
                self.with_empty_store(&["pull", name])
            }
            "pull" => site.run(&["pull", name]),
            "copy" if attack == Attack::Tampered => {
                self.with_empty_store(&["copy", "--image-only", name, &format!("store:{name}")])
            }
            "copy" => site.run(&["copy", "--image-only", name, &format!("store:{name}")]),
            "load" if attack == Attack::Tampered => {
                self.with_empty_store(&["load", "-i", &self.archive(attack)])
            }
            "load" => site.run(&["load", "-i", &self.archive(attack)]),
            "import" => {
                let tar = tests::site::base_tar(xtask::images::Base::Busybox);
                site.run(&["import", &tar.display().to_string(), name])
            }
            "commit" => site.run(&["commit", "held", name]),
            "build FROM" => {
                if foreign {
                    self.replace_name();
                }
                site.dockerfile(&format!("FROM {name}\nCOPY Dockerfile /x\n"));
                site.try_build("child", "")
            }
            "tag" => {
                site.dockerfile("FROM scratch\nCOPY Dockerfile /y\n");
                site.build("localhost/other", "");
                site.run(&["tag", "localhost/other", name])
            }
            "run" => {
                if foreign {
                    self.replace_name();
                }
                site.run(&["run", "--rm", "--network", "none", name, "true"])
            }
            other => panic!("no such way: {other}"),
        };
        reason(&run)
    }

    /// A command over a store that has no good copy of anything.
    fn with_empty_store(&self, args: &[&str]) -> Run {
        let kept = self.site.path().join("kept");
        std::fs::rename(self.site.root(), &kept).expect("set the store aside");
        let run = self.site.run(args);
        std::fs::remove_dir_all(self.site.root()).expect("remove what is left");
        std::fs::rename(&kept, self.site.root()).expect("put the store back");
        run
    }

    /// The archive that is loaded: the honest one, one with other content, or a damaged one.
    fn archive(&self, attack: Attack) -> String {
        match attack {
            Attack::TagMoved => self.evil.path().join("evil.tar").display().to_string(),
            Attack::Tampered => {
                let mut bytes = std::fs::read(self.site.path().join("good.tar")).expect("read");
                let half = bytes.len() / 2;
                bytes[half] ^= 1;
                self.site.write("damaged.tar", bytes).display().to_string()
            }
            _ => self.site.path().join("good.tar").display().to_string(),
        }
    }

    /// Changes one byte of the image's layer on the registry's disk.
    fn damage_registry(&self) {
        let manifest = self.registry.get("/v2/team/app/manifests/v1").json();
        let digest = manifest["layers"][0]["digest"].as_str().expect("a layer").to_owned();
        let hex = digest.strip_prefix("sha256:").expect("SHA-256");
        let blob = self.registry.root().join("blobs/sha256").join(hex);
        let mut bytes = std::fs::read(&blob).expect("the blob in the registry");
        let half = bytes.len() / 2;
        bytes[half] ^= 1;
        std::fs::write(&blob, bytes).expect("damage");
    }

    /// Another image takes the name behind the store's back.
    fn replace_name(&self) {
        let blobs = self.evil.root().join("blobs/sha256");
        for entry in std::fs::read_dir(blobs).expect("blobs").flatten() {
            let to = self.site.root().join("blobs/sha256").join(entry.file_name());
            if !to.exists() {
                std::fs::copy(entry.path(), to).expect("copy a blob");
            }
        }
        let evil = entry(&self.evil, &self.name);
        let path = self.site.root().join("index.json");
        let text = std::fs::read_to_string(&path).expect("the names");
        let mut index: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for one in index["manifests"].as_array_mut().expect("a list") {
            if one["annotations"] == evil["annotations"] {
                for field in ["digest", "size", "mediaType"] {
                    one[field] = evil[field].clone();
                }
            }
        }
        std::fs::write(&path, index.to_string()).expect("write the names");
    }
}

/// What a store's index says about a name.
fn entry(site: &Site, name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(site.root().join("index.json")).expect("the names");
    let index: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let all = index["manifests"].as_array().expect("a list").clone();
    let named = |one: &serde_json::Value| {
        one["annotations"]["org.opencontainers.image.ref.name"].as_str() == Some(name)
    };
    all.into_iter().find(named).unwrap_or_else(|| panic!("{name} is not in {text}"))
}

/// The typed reason of a refusal; content that is not what its digest says is refused before the policy is asked.
#[track_caller]
fn reason(run: &Run) -> String {
    assert!(run.code.is_some_and(|code| code != 0), "it got in: {run}");
    assert!(!run.stderr.contains("panicked"), "{run}");
    match run.stderr.split_once("refused by policy (") {
        Some((_, told)) => {
            let (file, told) = told.split_once("): ").expect("the policy is named");
            assert!(file.ends_with("policy.toml"), "{run}");
            told.split(':').next().expect("a reason").to_owned()
        }
        None => {
            let told = run.stderr.to_lowercase();
            assert!(told.contains("digest") || told.contains("corrupt"), "no typed reason: {run}");
            "digest".to_owned()
        }
    }
}

/// Covers: TRU-72, TRU-55, TRU-69, TRU-63
#[test]
fn every_way_in_is_closed_to_every_attack() {
    if !have(&[Need::Root]) {
        return;
    }
    let mut table = String::from(HEAD);
    table.push_str(&format!("| | {} |\n|---|{}\n", WAYS.join(" | "), "---|".repeat(WAYS.len())));
    for (attack, title) in ATTACKS {
        let scene = Scene::new();
        scene.arrange(attack);
        let before = entry(&scene.site, &scene.name);
        let cells: Vec<String> = WAYS.iter().map(|way| scene.go(attack, way)).collect();
        if !matches!(attack, Attack::Tampered | Attack::TagMoved) {
            assert_eq!(entry(&scene.site, &scene.name), before, "{attack:?}: the name was moved");
        }
        table.push_str(&format!("| {title} | {} |\n", cells.join(" | ")));
    }
    let path = xtask::shell::workspace_root().join("docs/denials.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &table).expect("write the table");
    }
    let written = std::fs::read_to_string(&path).expect("the table");
    assert_eq!(written, table, "UPDATE_EXPECT=1 writes {}", path.display());
}

const HEAD: &str = "\
# What is refused, on which way, and for which reason

Written by `UPDATE_EXPECT=1 cargo test -p tests --test trust_denials`: each cell is what the program says, with a policy that asks
for a signed tag of this repository. `digest` means that the content is not what its digest says, which is
found before the policy is asked; the other words are the reasons of `docs/format/policy.md`.

`copy` is `copy --image-only NAME store:NAME`. `load`, `import`, `commit` and `tag` make no connection: they know what an
earlier `pull` or `verify` has seen, and `load` what its archive carries.

";
