//! A TUF repository made of plain JSON, so that a test can publish anything, right or wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use trust::key::{Ed25519Signer, Signer};
use trust::tuf::{Change, Fetch, FetchError, Freshness, Request, TrustedState, Updater, drive};

pub(crate) fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

pub(crate) const LATER: &str = "2031-01-01T00:00:00Z";
pub(crate) const PAST: &str = "2029-12-31T23:59:59Z";

pub(crate) fn key(seed: u8) -> Ed25519Signer {
    Ed25519Signer::from_seed(&[seed; 32])
}

pub(crate) fn id(seed: u8) -> String {
    key(seed).public().id().to_string()
}

pub(crate) fn keys(seeds: &[u8]) -> Value {
    Value::Object(
        seeds.iter().map(|s| (id(*s), serde_json::to_value(key(*s).public()).unwrap())).collect(),
    )
}

pub(crate) fn role(seeds: &[u8], threshold: u64) -> Value {
    json!({ "keyids": seeds.iter().map(|s| id(*s)).collect::<Vec<_>>(), "threshold": threshold })
}

/// Canonical form, written independently of the crate's own.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let quoted = |text: &str| {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")).into_bytes()
    };
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let entries: Vec<Vec<u8>> = sorted
                .into_iter()
                .map(|(key, value)| [quoted(key), canonical(value)].join(&b':'))
                .collect();
            [b"{", entries.join(&b',').as_slice(), b"}"].concat()
        }
        Value::Array(items) => {
            let items: Vec<Vec<u8>> = items.iter().map(canonical).collect();
            [b"[", items.join(&b',').as_slice(), b"]"].concat()
        }
        Value::String(text) => quoted(text),
        other => other.to_string().into_bytes(),
    }
}

pub(crate) fn signature(signed: &Value, seed: u8) -> Value {
    let sig = key(seed).sign(&canonical(signed)).unwrap();
    json!({ "keyid": id(seed), "sig": hex::encode(sig) })
}

pub(crate) fn sign(signed: &Value, seeds: &[u8]) -> Vec<u8> {
    let signatures: Vec<Value> = seeds.iter().map(|seed| signature(signed, *seed)).collect();
    serde_json::to_vec_pretty(&json!({ "signatures": signatures, "signed": signed })).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    oci::Digest::sha256(bytes).hex().to_owned()
}

pub(crate) fn target(content: &[u8]) -> Value {
    json!({ "length": content.len(), "hashes": { "sha256": sha256(content) } })
}

pub(crate) fn targets(entries: &[(&str, &[u8])]) -> Value {
    let entries: serde_json::Map<String, Value> =
        entries.iter().map(|(path, content)| ((*path).to_owned(), target(content))).collect();
    json!({
        "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": LATER,
        "targets": entries,
    })
}

pub(crate) fn delegation(name: &str, seeds: &[u8], paths: &[&str], terminating: bool) -> Value {
    json!({
        "name": name, "keyids": seeds.iter().map(|s| id(*s)).collect::<Vec<_>>(), "threshold": 1,
        "terminating": terminating, "paths": paths,
    })
}

pub(crate) fn delegations(seeds: &[u8], roles: Vec<Value>) -> Value {
    json!({ "keys": keys(seeds), "roles": roles })
}

/// The documents as they will be published next, and the files as they are served.
pub(crate) struct World {
    pub(crate) root: Value,
    pub(crate) timestamp: Value,
    pub(crate) snapshot: Value,
    /// Targets roles by name, each with the seeds that sign it.
    pub(crate) roles: BTreeMap<String, (Value, Vec<u8>)>,
    pub(crate) root_signers: Vec<u8>,
    pub(crate) timestamp_signers: Vec<u8>,
    pub(crate) snapshot_signers: Vec<u8>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) requests: Vec<String>,
    /// The request that fails with a transport error.
    pub(crate) broken: Option<String>,
}

impl World {
    /// Root key 1, targets 2, snapshot 3, timestamp 4; one target `lib/web:1` with content `web`.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            root: json!({
                "_type": "root", "spec_version": "1.0.31", "version": 1, "expires": LATER,
                "consistent_snapshot": true,
                "keys": keys(&[1, 2, 3, 4]),
                "roles": {
                    "root": role(&[1], 1), "targets": role(&[2], 1),
                    "snapshot": role(&[3], 1), "timestamp": role(&[4], 1),
                },
            }),
            timestamp: json!({
                "_type": "timestamp", "spec_version": "1.0.31", "version": 1, "expires": LATER,
                "meta": { "snapshot.json": { "version": 1 } },
            }),
            snapshot: json!({
                "_type": "snapshot", "spec_version": "1.0.31", "version": 1, "expires": LATER,
                "meta": {},
            }),
            roles: BTreeMap::from([(
                "targets".to_owned(),
                (targets(&[("lib/web:1", b"web")]), vec![2]),
            )]),
            root_signers: vec![1],
            timestamp_signers: vec![4],
            snapshot_signers: vec![3],
            files: BTreeMap::new(),
            requests: Vec::new(),
            broken: None,
        };
        world.publish_root();
        world.publish();
        world
    }

    /// The document of a targets role.
    pub(crate) fn role(&mut self, name: &str) -> &mut Value {
        &mut self.roles.get_mut(name).unwrap().0
    }

    pub(crate) fn add_role(&mut self, name: &str, document: Value, seeds: &[u8]) {
        self.roles.insert(name.to_owned(), (document, seeds.to_vec()));
    }

    /// Signs and serves the root under its version.
    pub(crate) fn publish_root(&mut self) {
        let name = format!("{}.root.json", self.root["version"]);
        self.files.insert(name, sign(&self.root, &self.root_signers));
    }

    /// Raises the root's version and serves it.
    pub(crate) fn next_root(&mut self) {
        bump(&mut self.root);
        self.publish_root();
    }

    /// Serves every role, listing each in snapshot with its version.
    pub(crate) fn publish(&mut self) {
        for (name, (document, _)) in &self.roles {
            let version = document["version"].clone();
            self.snapshot["meta"][format!("{name}.json")] = json!({ "version": version });
        }
        self.publish_as_listed();
    }

    /// Serves every role; what snapshot and timestamp list is left as the test made it.
    pub(crate) fn publish_as_listed(&mut self) {
        for (name, (document, seeds)) in &self.roles {
            let name = trust::tuf::RoleName::new(name.as_str()).unwrap();
            let file = name.served(document["version"].as_u64());
            self.files.insert(file, sign(document, seeds));
        }
        let snapshot = sign(&self.snapshot, &self.snapshot_signers);
        self.files.insert(format!("{}.snapshot.json", self.snapshot["version"]), snapshot);
        self.publish_timestamp();
    }

    pub(crate) fn publish_timestamp(&mut self) {
        let timestamp = sign(&self.timestamp, &self.timestamp_signers);
        self.files.insert("timestamp.json".to_owned(), timestamp);
    }

    /// A new snapshot and timestamp over the roles as they are.
    pub(crate) fn release(&mut self) {
        bump(&mut self.snapshot);
        bump(&mut self.timestamp);
        self.timestamp["meta"]["snapshot.json"]["version"] = self.snapshot["version"].clone();
        self.publish();
    }

    pub(crate) fn anchor(&self) -> Vec<u8> {
        self.files["1.root.json"].clone()
    }
}

pub(crate) fn bump(document: &mut Value) {
    document["version"] = json!(document["version"].as_u64().unwrap() + 1);
}

impl Fetch for World {
    fn fetch(&mut self, request: &Request) -> Result<Option<Vec<u8>>, FetchError> {
        self.requests.push(request.file.clone());
        if self.broken.as_ref() == Some(&request.file) {
            return Err("connection reset".into());
        }
        Ok(self.files.get(&request.file).cloned())
    }
}

/// A client with its trusted state, as it would be kept on disk.
pub(crate) struct Client {
    pub(crate) anchor: Vec<u8>,
    pub(crate) state: TrustedState,
    pub(crate) now: Timestamp,
    /// Every change ever kept.
    pub(crate) kept: Vec<Change>,
}

impl Client {
    pub(crate) fn of(world: &World) -> Self {
        Self { anchor: world.anchor(), state: TrustedState::new(), now: now(), kept: Vec::new() }
    }

    pub(crate) fn at(mut self, time: &str) -> Self {
        self.now = time.parse().unwrap();
        self
    }

    /// Refreshes; whatever the result, the changes are kept as a client would.
    pub(crate) fn refresh(&mut self, world: &mut World) -> trust::Result<Updater> {
        self.run(world, |_, _| Ok(()))
    }

    /// Refreshes and searches; gives the content's hash and the role.
    pub(crate) fn find(
        &mut self,
        world: &mut World,
        path: &str,
    ) -> trust::Result<Option<(String, String)>> {
        let mut found = None;
        self.run(world, |updater, world| {
            found = updater.find(path, world)?;
            Ok(())
        })?;
        Ok(found.map(|found| (found.file.hashes["sha256"].clone(), found.role.to_string())))
    }

    fn run(
        &mut self,
        world: &mut World,
        then: impl FnOnce(&mut Updater, &mut World) -> trust::Result<()>,
    ) -> trust::Result<Updater> {
        let mut updater =
            Updater::start(&self.anchor, self.state.clone(), Freshness::Fetch, self.now)?;
        let result = drive(&mut updater, world).and_then(|()| then(&mut updater, world));
        for change in updater.take_changes() {
            self.state.apply(&change);
            self.kept.push(change);
        }
        result.map(|()| updater)
    }

    pub(crate) fn has(&self, file: &str) -> Option<&Arc<[u8]>> {
        self.state.get(file)
    }

    /// The version of a kept file.
    pub(crate) fn version(&self, file: &str) -> Option<u64> {
        let document: Value = serde_json::from_slice(self.has(file)?).unwrap();
        document["signed"]["version"].as_u64()
    }
}
