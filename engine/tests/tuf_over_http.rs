//! The TUF client over HTTP against a server of files, good and bad.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use engine::oci::{Descriptor, MediaType};
use engine::trust::TufClient;
use trust::key::{Ed25519Signer, Signer};
use trust::tuf::{Commit, Creation, Lifetimes, Repository, RoleSetup};

/// What the server has, by path.
type Files = Arc<Mutex<BTreeMap<String, Served>>>;

#[derive(Clone)]
enum Served {
    File(Vec<u8>),
    /// Bytes for as long as somebody reads them.
    Endless,
    /// The first half, and then the connection is gone.
    Half(Vec<u8>),
}

/// Serves files to whoever asks, one request a connection. Ends with the process.
fn serve(files: Files) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Clients that go away in the middle are part of the tests.
            let _ = answer(stream, &files);
        }
    });
    address
}

fn answer(mut stream: TcpStream, files: &Files) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let served = files.lock().expect("lock").get(&path).cloned();
    let head = |length: usize| {
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
    };
    match served {
        None => stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        Some(Served::File(bytes)) => {
            stream.write_all(head(bytes.len()).as_bytes())?;
            stream.write_all(&bytes)
        }
        Some(Served::Half(bytes)) => {
            stream.write_all(head(bytes.len()).as_bytes())?;
            stream.write_all(&bytes[..bytes.len() / 2])
        }
        Some(Served::Endless) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 8192])?;
            }
        }
    }
}

const CONTENT: &[u8] = b"what was signed";

struct World {
    dir: tempfile::TempDir,
    files: Files,
    address: SocketAddr,
    repository: Repository,
    key: Ed25519Signer,
}

impl World {
    /// A repository `app` with one target `app:1`, served.
    fn new() -> Self {
        let key = Ed25519Signer::from_seed(&[7; 32]);
        let role = || RoleSetup::single(key.public());
        let mut repository = Repository::create(&Creation {
            repository: "app".to_owned(),
            root: role(),
            targets: role(),
            snapshot: role(),
            timestamp: role(),
        })
        .expect("create");
        let target = Descriptor::of(MediaType::OciManifest, CONTENT);
        repository.sign("1", &target, &[&key]).expect("sign");
        let files = Files::default();
        let address = serve(files.clone());
        let dir = tempfile::tempdir().expect("tempdir");
        let mut world = Self { dir, files, address, repository, key };
        world.commit();
        let served = format!("/targets/{}.app:1", target.digest().hex());
        world.put(&served, Served::File(CONTENT.to_vec()));
        let root = world.repository.files()["1.root.json"].clone();
        std::fs::write(world.path("pinned.json"), root).expect("write");
        world.client().init(&world.path("pinned.json")).expect("init");
        world
    }

    fn commit(&mut self) {
        let signers: [&dyn Signer; 1] = [&self.key];
        let now = jiff::Timestamp::now();
        self.repository.commit(Commit::Edits, &signers, Lifetimes::default(), now).expect("commit");
        for (name, bytes) in self.repository.files() {
            self.put(&format!("/metadata/{name}"), Served::File(bytes.to_vec()));
        }
    }

    fn put(&self, path: &str, served: Served) {
        self.files.lock().expect("lock").insert(path.to_owned(), served);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn client(&self) -> TufClient {
        TufClient::new(self.path("metadata"))
    }

    fn refresh(&self) -> engine::Result<()> {
        self.client().refresh(&format!("http://{}/metadata", self.address))
    }

    fn download(&self, target: &str) -> engine::Result<PathBuf> {
        let url = |folder: &str| format!("http://{}/{folder}/", self.address);
        self.client().download(&url("metadata"), target, &url("targets"), &self.path("out"))
    }

    /// The metadata that are trusted, by file name.
    fn trusted(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path("metadata")).expect("list").flatten();
        entries
            .map(|entry| {
                let name = entry.file_name().into_string().expect("text");
                (name, std::fs::read(entry.path()).expect("read"))
            })
            .collect()
    }
}

#[test]
fn metadata_are_kept_under_their_role_names_byte_for_byte() {
    let world = World::new();
    assert_eq!(world.trusted().into_keys().collect::<Vec<_>>(), ["root.json"]);
    world.refresh().expect("refresh");
    let served = world.repository.files();
    let expected = [
        ("root.json", "1.root.json"),
        ("snapshot.json", "1.snapshot.json"),
        ("targets.json", "1.targets.json"),
        ("timestamp.json", "timestamp.json"),
    ];
    let trusted = world.trusted();
    assert_eq!(trusted.len(), expected.len());
    for (kept, name) in expected {
        assert_eq!(trusted[kept][..], served[name][..], "{kept}");
    }
    let again = world.client().init(&world.path("pinned.json"));
    assert!(matches!(again, Err(engine::Error::Conflict(_))), "{again:?}");
}

#[test]
fn a_target_is_fetched_once_and_only_as_it_was_signed() {
    let world = World::new();
    let path = world.download("app:1").expect("download");
    assert_eq!(path, world.path("out/app%3A1"));
    assert_eq!(std::fs::read(&path).expect("read"), CONTENT);
    let names: Vec<String> = world.files.lock().expect("lock").keys().cloned().collect();
    let target = names.into_iter().find(|name| name.starts_with("/targets/")).expect("served");
    // What is there already and right is not asked for again.
    world.files.lock().expect("lock").remove(&target);
    world.download("app:1").expect("from the folder");
    std::fs::remove_file(&path).expect("remove");
    for bad in [
        Served::File(b"what was forged".to_vec()),
        Served::File(b"what was signed and then some".to_vec()),
        Served::Half(CONTENT.to_vec()),
        Served::Endless,
    ] {
        world.put(&target, bad);
        world.download("app:1").expect_err("not what was signed");
        assert_eq!(std::fs::read_dir(world.path("out")).expect("list").count(), 0);
    }
    let missing = world.download("app:2").expect_err("not signed").to_string();
    assert!(missing.contains("no trusted role lists"), "{missing}");
}

/// Covers: TRU-32
#[test]
fn old_and_endless_and_broken_metadata_are_refused_and_change_nothing() {
    let mut world = World::new();
    let old = world.repository.files()["timestamp.json"].to_vec();
    world.repository.revoke("1", &[&Ed25519Signer::from_seed(&[7; 32])]).expect("revoke");
    world.commit();
    world.refresh().expect("refresh");
    let before = world.trusted();
    for bad in [Served::File(old.clone()), Served::Endless, Served::Half(old)] {
        world.put("/metadata/timestamp.json", bad);
        world.refresh().expect_err("refused");
        assert_eq!(world.trusted(), before);
    }
}
