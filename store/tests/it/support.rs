//! Stores in temporary folders, and archives made byte by byte.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use oci::{Compression, Descriptor, Digest, ImageConfig, Manifest, MediaType, Platform, Raw};
use store::tar::{Entry, Kind, Writer};
use store::{Disk, LayerBlob, LayerId, Lease, Store};

/// A store that disappears with its test.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

impl std::ops::Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

pub(crate) fn store() -> TestStore {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(dir.path().join("root")).expect("new store");
    TestStore { store, dir }
}

impl TestStore {
    /// A store on a disk that fails on cue; in memory where the system has such a place, since
    /// these tests sync by the thousand.
    pub(crate) fn on(disk: Disk) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.expect("temporary directory");
        let store = Store::open_on(dir.path().join("root"), disk).expect("new store");
        Self { store, dir }
    }

    /// Another handle on the same root, as another process has it.
    pub(crate) fn again(&self) -> Store {
        Store::open(self.store.root()).expect("existing store")
    }

    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).expect("scratch directory");
        path
    }

    /// Stores a blob.
    pub(crate) fn blob(&self, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(MediaType::OciLayer(Compression::None), bytes);
        self.content().put(&descriptor, bytes).expect("stores");
        descriptor
    }

    /// Stores an image of these tars as plain layers; gives its manifest.
    pub(crate) fn image(&self, tars: &[Vec<u8>]) -> Descriptor {
        let layers: Vec<Descriptor> = tars.iter().map(|tar| self.blob(tar)).collect();
        let mut config = ImageConfig::scratch(&Platform::host());
        config.rootfs.diff_ids = tars.iter().map(|tar| Digest::sha256(tar)).collect();
        let config = Raw::encode(&config).expect("encodes");
        let described = self.content().put_raw(&config).expect("stores");
        let manifest = Raw::encode(&Manifest::new(described, layers)).expect("encodes");
        self.content().put_raw(&manifest).expect("stores")
    }

    /// Unpacks tars as the layers of an image.
    pub(crate) fn unpack(&self, tars: &[Vec<u8>]) -> store::Result<Option<LayerId>> {
        let lease = self.lease("test").expect("lease");
        self.unpack_under(tars, &lease)
    }

    pub(crate) fn unpack_under(
        &self,
        tars: &[Vec<u8>],
        lease: &Lease,
    ) -> store::Result<Option<LayerId>> {
        let blobs: Vec<LayerBlob> = tars
            .iter()
            .map(|tar| LayerBlob { descriptor: self.blob(tar), diff_id: Digest::sha256(tar) })
            .collect();
        self.layers().unpack(&blobs, lease)
    }

    /// The folder of one unpacked tar.
    pub(crate) fn unpacked(&self, tar: &[u8]) -> PathBuf {
        let id = self.unpack(&[tar.to_vec()]).expect("unpacks").expect("one layer");
        self.layers().require(&id).expect("is there").fs().clone()
    }
}

/// A small archive made of entries and contents.
#[derive(Default)]
pub(crate) struct Tar(Vec<(Entry, Vec<u8>)>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn entry(mut self, entry: Entry) -> Self {
        self.0.push((entry, Vec::new()));
        self
    }

    pub(crate) fn file(mut self, path: &str, content: &[u8]) -> Self {
        let mut entry = Entry::new(Kind::File, path);
        (entry.mode, entry.size) = (0o644, content.len() as u64);
        self.0.push((entry, content.to_vec()));
        self
    }

    pub(crate) fn dir(self, path: &str, mode: u32) -> Self {
        let mut entry = Entry::new(Kind::Directory, path);
        entry.mode = mode;
        self.entry(entry)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        let mut entry = Entry::new(Kind::Symlink, path);
        entry.link = target.into();
        self.entry(entry)
    }

    pub(crate) fn hardlink(self, path: &str, target: &str) -> Self {
        let mut entry = Entry::new(Kind::HardLink, path);
        entry.link = target.into();
        self.entry(entry)
    }

    pub(crate) fn build(self) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, content) in self.0 {
            writer.entry(&entry).expect("writes");
            writer.data(&content).expect("writes");
        }
        writer.finish().expect("writes")
    }
}

/// What is in a folder: relative path to a short description.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    for entry in std::fs::read_dir(dir).expect("lists") {
        let path = entry.expect("lists").path();
        let meta = std::fs::symlink_metadata(&path).expect("looks");
        let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
        let kind = meta.file_type();
        let text = if kind.is_dir() {
            walk(root, &path, found);
            format!("dir {:o}", meta.mode() & 0o7777)
        } else if kind.is_symlink() {
            format!("-> {}", std::fs::read_link(&path).expect("reads").display())
        } else if kind.is_char_device() && meta.rdev() == 0 {
            "whiteout".to_owned()
        } else if kind.is_char_device() {
            format!("char {}", meta.rdev())
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            String::from_utf8_lossy(&std::fs::read(&path).expect("reads")).into_owned()
        };
        found.insert(name, text);
    }
}

/// A description as `(path, description)` pairs.
pub(crate) fn is_tree(root: &Path, expected: &[(&str, &str)]) {
    let found = tree(root);
    let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(found, expected);
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("deflates");
    encoder.finish().expect("deflates")
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).expect("inflates");
    out
}

pub(crate) fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0u8; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

pub(crate) fn is_opaque(path: &Path) -> bool {
    xattr(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
}
