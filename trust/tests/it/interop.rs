//! `tough` as a second client: it loads what we publish, and we load what it signs.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::signature::Ed25519KeyPair;
use bytes::Bytes;
use futures_util::stream;
use tough::editor::RepositoryEditor;
use tough::key_source::KeySource;
use tough::schema::{Hashes, Target};
use tough::sign::Sign;
use tough::{
    DefaultTransport, ExpirationEnforcement, RepositoryLoader, TargetName, Transport,
    TransportError, TransportErrorKind, TransportStream,
};
use trust::tuf::MetadataFiles;
use url::Url;

use crate::publisher::*;

#[derive(Clone, Debug)]
struct Memory(Arc<BTreeMap<String, Arc<[u8]>>>);

#[async_trait]
impl Transport for Memory {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let name = url.path().rsplit('/').next().unwrap_or_default().to_owned();
        match self.0.get(&name) {
            Some(bytes) => {
                let chunk = Bytes::copy_from_slice(bytes);
                Ok(Box::pin(stream::iter([Ok(chunk)])))
            }
            None => Err(TransportError::new(TransportErrorKind::FileNotFound, url)),
        }
    }
}

async fn load(
    files: &MetadataFiles,
    root: &[u8],
) -> Result<tough::Repository, tough::error::Error> {
    let base = Url::parse("memory://repository/metadata/").unwrap();
    let targets = Url::parse("memory://repository/targets/").unwrap();
    RepositoryLoader::new(&root, base, targets)
        .transport(Memory(Arc::new(files.clone())))
        // The test's time is fixed; tough knows only the machine's.
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load()
        .await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn tough_loads_the_repository_with_its_signers_rotations_and_tags() {
    let _ = DefaultTransport::new();
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.add_signer("maria", 12);
    publisher.sign("1.0", "one", &[11]);
    publisher.sign("2.0", "two", &[11, 12]);
    let setup = trust::tuf::RoleSetup::single(trust::key::Signer::public(&crate::world::key(9)));
    publisher
        .repository
        .rotate(&trust::tuf::RotateRole { role: "root".to_owned(), setup })
        .unwrap();
    publisher.commit(&[1, 9, 3, 4]);
    let files = publisher.repository.files();
    let repository = block_on(load(files, &publisher.root())).unwrap();
    assert_eq!(repository.root().signed.version.get(), 2);
    let name = TargetName::new("shop/web:2.0").unwrap();
    let target = repository.targets().signed.find_target(&name, false).unwrap();
    assert_eq!(hex::encode(&target.hashes.sha256), manifest("two").digest().hex());
    assert_eq!(target.length, 3);
}

#[test]
fn tough_refuses_what_we_refuse() {
    let mut publisher = Publisher::new();
    publisher.sign("1.0", "one", &[2]);
    for file in publisher.repository.files().keys() {
        let mut files = publisher.repository.files().clone();
        let text = String::from_utf8(files[file].to_vec()).unwrap();
        let changed = text.replacen("\"version\":", "\"x\":1,\"version\":", 1);
        assert_ne!(changed, text);
        files.insert(file.clone(), changed.into_bytes().into());
        let root = files["1.root.json"].clone();
        assert!(block_on(load(&files, &root)).is_err(), "{file}");
        let trusted = trust::tuf::Repository::load_trusted(NAME, files, &root);
        assert!(trusted.is_err(), "{file}");
    }
}

/// A key that `tough` signs with.
#[derive(Debug)]
struct ToughKey(u8);

#[async_trait]
impl KeySource for ToughKey {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Box::new(Ed25519KeyPair::from_seed_unchecked(&[self.0; 32])?))
    }

    async fn write(
        &self,
        _: &str,
        _: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("the keys of a test are not written".into())
    }
}

fn tough_target(content: &[u8]) -> Target {
    let sha256 = hex::decode(crate::world::sha256(content)).unwrap();
    Target {
        length: content.len() as u64,
        hashes: Hashes { sha256: sha256.into(), _extra: HashMap::new() },
        custom: HashMap::new(),
        _extra: HashMap::new(),
    }
}

#[test]
fn we_load_what_tough_signs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.json");
    let publisher = Publisher::new();
    std::fs::write(&root, publisher.root()).unwrap();
    let one = NonZeroU64::new(1).unwrap();
    let later = crate::world::LATER.parse().unwrap();
    let keys: Vec<Box<dyn KeySource>> =
        [1, 2, 3, 4].map(|seed| Box::new(ToughKey(seed)) as Box<dyn KeySource>).into();
    block_on(async {
        let mut editor = RepositoryEditor::new(&root).await.unwrap();
        editor
            .targets_version(one)
            .unwrap()
            .targets_expires(later)
            .unwrap()
            .snapshot_version(one)
            .snapshot_expires(later)
            .timestamp_version(one)
            .timestamp_expires(later);
        editor.add_target("lib/web:1", tough_target(b"web")).unwrap();
        let signed = editor.sign(&keys).await.unwrap();
        signed.write(folder.path().join("metadata")).await.unwrap();
    });
    let mut world = crate::world::World::new();
    world.files = std::fs::read_dir(folder.path().join("metadata"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    let mut client = crate::world::Client::of(&world);
    let (hash, role) = client.find(&mut world, "lib/web:1").unwrap().unwrap();
    assert_eq!((hash, role.as_str()), (crate::world::sha256(b"web"), "targets"));
    assert_eq!(client.find(&mut world, "lib/web:2").unwrap(), None);
}

/// What `tough` makes of the attack folders: the differences are why the rules are our own.
#[test]
fn tough_agrees_on_the_attack_folders_but_for_a_known_list() {
    let mut different = Vec::new();
    for (name, case, trusted, served, anchor) in crate::fixtures::attack_folders() {
        let datastore = tempfile::tempdir().unwrap();
        for (file, bytes) in &trusted {
            std::fs::write(datastore.path().join(file), bytes).unwrap();
        }
        let served: MetadataFiles =
            served.into_iter().map(|(file, bytes)| (file, bytes.into())).collect();
        let path = case["find"].as_str().unwrap();
        let found = block_on(async {
            let base = Url::parse("memory://repository/metadata/").unwrap();
            let repository = RepositoryLoader::new(&anchor, base.clone(), base)
                .transport(Memory(Arc::new(served)))
                .datastore(datastore.path())
                .expiration_enforcement(ExpirationEnforcement::Unsafe)
                .load()
                .await?;
            let target = TargetName::new(path)?;
            let found = repository.targets().signed.find_target(&target, false).is_ok();
            Ok::<bool, tough::error::Error>(found)
        });
        let accepted = matches!(found, Ok(true));
        if accepted != (case["expect"] == "ok") {
            different.push((name, accepted));
        }
    }
    let different: Vec<(&str, bool)> =
        different.iter().map(|(name, accepted)| (name.as_str(), *accepted)).collect();
    assert_eq!(
        different,
        [
            // Expiry is switched off for it, see `load`.
            ("delegated-role-expired", true),
            ("freeze", true),
            // Its `*` matches `/` too.
            ("path-not-delegated", true),
            ("root-expired", true),
        ]
    );
}
