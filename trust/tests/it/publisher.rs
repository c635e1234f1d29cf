//! A publisher with keys, and the repository that they publish.

use jiff::Timestamp;
use oci::{Descriptor, MediaType};
use trust::key::{Ed25519Signer, Signer};
use trust::tuf::{Commit, Creation, Lifetimes, Repository, RoleSetup};

use crate::world::{key, now};

pub(crate) const NAME: &str = "shop/web";

pub(crate) fn manifest(content: &str) -> Descriptor {
    Descriptor::of(MediaType::OciManifest, content.as_bytes())
}

/// Keys 1 root, 2 targets, 3 snapshot, 4 timestamp; 11 and 12 are signers.
pub(crate) struct Publisher {
    pub(crate) repository: Repository,
    pub(crate) now: Timestamp,
}

pub(crate) fn creation(name: &str) -> Creation {
    Creation {
        repository: name.to_owned(),
        root: RoleSetup::single(key(1).public()),
        targets: RoleSetup::single(key(2).public()),
        snapshot: RoleSetup::single(key(3).public()),
        timestamp: RoleSetup::single(key(4).public()),
    }
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self::of(NAME)
    }

    pub(crate) fn of(name: &str) -> Self {
        let repository = Repository::create(&creation(name)).unwrap();
        let mut publisher = Self { repository, now: now() };
        publisher.commit(&[1, 2, 3, 4]);
        publisher
    }

    pub(crate) fn try_commit(&mut self, what: Commit, seeds: &[u8]) -> trust::Result<()> {
        let signers: Vec<Ed25519Signer> = seeds.iter().map(|seed| key(*seed)).collect();
        let signers: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
        self.repository.commit(what, &signers, Lifetimes::default(), self.now).map(|_| ())
    }

    pub(crate) fn commit(&mut self, seeds: &[u8]) {
        self.try_commit(Commit::Edits, seeds).unwrap();
    }

    /// Signs a tag in the roles that these keys may sign, and publishes.
    pub(crate) fn sign(&mut self, tag: &str, content: &str, seeds: &[u8]) {
        let signers: Vec<Ed25519Signer> = seeds.iter().map(|seed| key(*seed)).collect();
        let refs: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
        self.repository.sign(tag, &manifest(content), &refs).unwrap();
        self.commit(&[seeds, &[3, 4]].concat());
    }

    pub(crate) fn add_signer(&mut self, name: &str, seed: u8) {
        self.repository
            .add_signer(&name.parse().unwrap(), std::slice::from_ref(key(seed).public()))
            .unwrap();
        self.commit(&[2, 3, 4]);
    }

    pub(crate) fn revoke(&mut self, tag: &str, seeds: &[u8]) {
        let signers: Vec<Ed25519Signer> = seeds.iter().map(|seed| key(*seed)).collect();
        let refs: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
        self.repository.revoke(tag, &refs).unwrap();
        self.commit(&[seeds, &[3, 4]].concat());
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        self.repository.files()["1.root.json"].to_vec()
    }
}
