//! A builder with a store in a temporary root, base images made on the spot, and a worker that carries out a few
//! commands of its own in the mounted root.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use builder::frontend;
use builder::graph::BaseImage;
use builder::lower::ImageResolver;
use builder::ports::{
    Clock, Download, Event, EventKind, Fetched, Fetcher, GitSource, ImageSource, LogStream,
    Progress, StepExit, StepMountSource, StepRun, Validators, Worker,
};
use builder::{BuildRequest, BuildResult, Builder, Error, PortError, Ports};
use jiff::Timestamp;
use oci::{Compression, Descriptor, Digest, ImageConfig, Platform, Reference};
use store::{DiffOptions, LayerBlob, LayerId, Lease, Store};

/// Everything a test needs.
pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) context: PathBuf,
    pub(crate) store: Store,
    pub(crate) images: Images,
    pub(crate) worker: FakeWorker,
    pub(crate) fetcher: FakeFetcher,
    pub(crate) clock: TickingClock,
    pub(crate) progress: Recorder,
}

impl World {
    pub(crate) fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store")).unwrap();
        let context = root.path().join("context");
        std::fs::create_dir(&context).unwrap();
        let images = Images::new(&store);
        World {
            root,
            context,
            images,
            store,
            worker: FakeWorker::default(),
            fetcher: FakeFetcher::default(),
            clock: TickingClock::default(),
            progress: Recorder::default(),
        }
    }

    /// Writes a file of the context.
    pub(crate) fn file(&self, path: &str, content: &str) -> &Self {
        let path = self.context.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn request(&self, dockerfile: &str) -> BuildRequest {
        let file = frontend::parse(dockerfile).unwrap_or_else(|e| panic!("{e}"));
        BuildRequest::new(file, Some(self.context.clone()), "linux/amd64".parse().unwrap())
    }

    pub(crate) fn ports(&self) -> Ports<'_> {
        Ports {
            images: &self.images,
            worker: &self.worker,
            fetcher: Some(&self.fetcher),
            clock: &self.clock,
            progress: &self.progress,
        }
    }

    pub(crate) fn build(&self, dockerfile: &str) -> Result<BuildResult, Error> {
        self.build_request(&self.request(dockerfile))
    }

    pub(crate) fn build_request(&self, request: &BuildRequest) -> Result<BuildResult, Error> {
        self.progress.0.lock().unwrap().clear();
        let lease = self.store.lease("build").unwrap();
        Builder::new(&self.store, self.ports()).unwrap().build(request, &lease)
    }

    /// Builds, and says how many steps came from the cache and how many ran.
    pub(crate) fn steps(&self, dockerfile: &str) -> (usize, usize) {
        let built = self.build(dockerfile).unwrap_or_else(|e| panic!("{e}"));
        (built.images[0].steps.cached, built.images[0].steps.ran)
    }

    /// Every path of the result with kind, mode, owner and content.
    pub(crate) fn tree(&self, built: &BuildResult) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        let image = &built.images[0];
        let mut out = Vec::new();
        let lease = self.store.lease("test").unwrap();
        let manifest = self.store.content().manifest(image.manifest.digest()).unwrap();
        let layers = manifest.as_manifest().unwrap().layers().to_vec();
        let blobs: Vec<LayerBlob> = layers
            .into_iter()
            .zip(image.config.diff_ids())
            .map(|(descriptor, diff_id)| LayerBlob { descriptor, diff_id: diff_id.clone() })
            .collect();
        // Unpacked afresh in another store, so that the blobs are what is looked at.
        let other = Store::open(
            self.root
                .path()
                .join(format!("other-{}", self.worker.count.fetch_add(1000, Ordering::SeqCst))),
        )
        .unwrap();
        for blob in &blobs {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(
                &mut self.store.content().open(blob.descriptor.digest()).unwrap(),
                &mut bytes,
            )
            .unwrap();
            other.content().put(&blob.descriptor, &bytes).unwrap();
        }
        let other_lease = other.lease("test").unwrap();
        let top = other.layers().unpack(&blobs, &other_lease).unwrap();
        other.layers().export(top.as_ref(), None, &mut out).unwrap();
        drop(lease);
        let mut reader = store::tar::Reader::new(out.as_slice());
        while let Some(entry) = reader.next_entry().unwrap() {
            let path =
                String::from_utf8(entry.path.clone()).unwrap().trim_end_matches('/').to_owned();
            let mut text = format!("{:?} {:o} {}:{}", entry.kind, entry.mode, entry.uid, entry.gid);
            if !entry.link.is_empty() {
                text += &format!(" -> {}", String::from_utf8_lossy(&entry.link));
            }
            if entry.size > 0 {
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut reader.data(), &mut content).unwrap();
                text += &format!(" {:?}", String::from_utf8_lossy(&content));
            }
            tree.insert(path, text);
        }
        tree
    }
}

/// Base images: `base` has accounts and a few files, `empty` nothing, `onbuild` triggers.
pub(crate) struct Images {
    store: Store,
    made: Mutex<BTreeMap<String, BaseImage>>,
    pub(crate) unpacked: AtomicUsize,
}

impl Images {
    fn new(store: &Store) -> Self {
        Images { store: store.clone(), made: Mutex::default(), unpacked: AtomicUsize::new(0) }
    }

    fn make(&self, reference: &Reference, platform: &Platform) -> Option<BaseImage> {
        let name = reference.familiar_repository();
        let mut config = ImageConfig::scratch(platform);
        config.created = Some("2020-01-01T00:00:00Z".to_owned());
        config.config.env = vec!["PATH=/bin".to_owned()];
        config.config.cmd = Some(vec!["sh".to_owned()]);
        let files: &[(&str, &str)] = match name.as_str() {
            "base" | "onbuild" => &[
                ("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"),
                ("etc/group", "app:x:1000:\n"),
                ("data/a", "base a"),
            ],
            "other" => &[("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), ("marker", "other")],
            "empty" => &[],
            _ => return None,
        };
        if name == "onbuild" {
            config.config.on_build =
                vec!["COPY hello /onbuild/".to_owned(), "ENV TRIGGERED=yes".to_owned()];
        }
        let mut layers = Vec::new();
        if !files.is_empty() {
            let mut tar = tar::Builder::new(Vec::new());
            for (path, content) in files {
                let mut header = tar::Header::new_gnu();
                header.set_size(content.len() as u64);
                header.set_mode(0o644);
                header.set_cksum();
                tar.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
            let mut link = tar::Header::new_gnu();
            link.set_entry_type(tar::EntryType::Symlink);
            link.set_size(0);
            link.set_mode(0o777);
            link.set_cksum();
            tar.append_link(&mut link, "escape", "/../../../../tmp").unwrap();
            let bytes = tar.into_inner().unwrap();
            let options = DiffOptions { compression: Compression::Gzip, ..DiffOptions::default() };
            let diff = self.store.layers().add_tar(bytes.as_slice(), &options).unwrap();
            config.rootfs.diff_ids.push(diff.diff_id.clone());
            layers.push(diff.descriptor);
            config.history.push(oci::History {
                created: config.created.clone(),
                created_by: Some("ADD file:base in /".to_owned()),
                ..oci::History::default()
            });
        }
        let manifest = Descriptor::of(
            oci::MediaType::OciManifest,
            format!("{name} {platform} manifest").as_bytes(),
        );
        Some(BaseImage { reference: reference.clone(), manifest, config, layers })
    }
}

impl ImageResolver for Images {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, PortError> {
        let key = format!("{reference} {platform}");
        let mut made = self.made.lock().unwrap();
        if let Some(image) = made.get(&key) {
            return Ok(image.clone());
        }
        let image = self.make(reference, platform).ok_or("no such image")?;
        made.insert(key, image.clone());
        Ok(image)
    }
}

impl ImageSource for Images {
    fn unpack(&self, image: &BaseImage, lease: &Lease) -> Result<Option<LayerId>, PortError> {
        self.unpacked.fetch_add(1, Ordering::SeqCst);
        let blobs: Vec<LayerBlob> = image
            .layers
            .iter()
            .zip(image.config.diff_ids())
            .map(|(descriptor, diff_id)| LayerBlob {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
            })
            .collect();
        Ok(self.store.layers().unpack(&blobs, lease)?)
    }

    fn fetch(&self, _: &BaseImage, _: &Lease) -> Result<(), PortError> {
        Ok(())
    }
}

/// One call of the worker.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    pub(crate) uid: u32,
    pub(crate) hostname: String,
    pub(crate) network: &'static str,
    pub(crate) mounts: Vec<String>,
    pub(crate) memory: Option<u64>,
    pub(crate) hosts: Vec<(String, String)>,
}

/// Carries out the last argument, words separated by `;`: `write P T`, `append P T`, `rm P`, `mkdir P`, `read P`, `say T`,
/// `exit N`, `ls P`, `meet N` (waits until N steps have met).
#[derive(Default)]
pub(crate) struct FakeWorker {
    pub(crate) calls: Mutex<Vec<Call>>,
    pub(crate) count: AtomicUsize,
    pub(crate) met: AtomicUsize,
}

impl FakeWorker {
    pub(crate) fn commands(&self) -> Vec<String> {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .map(|c| c.args.last().cloned().unwrap_or_default())
            .collect()
    }

    pub(crate) fn forget(&self) {
        self.calls.lock().unwrap().clear();
    }

    /// The host path of a path in the step, through its mounts.
    fn path(step: &StepRun<'_>, path: &str) -> PathBuf {
        let path =
            if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", step.cwd) };
        for mount in step.mounts.iter().rev() {
            let StepMountSource::Bind { path: host, .. } = &mount.source else { continue };
            if path == mount.target {
                return host.clone();
            }
            if let Some(rest) = path.strip_prefix(&format!("{}/", mount.target)) {
                return host.join(rest);
            }
        }
        step.rootfs.join(path.trim_start_matches('/'))
    }

    fn command(
        &self,
        step: &StepRun<'_>,
        words: &[&str],
        log: &mut dyn FnMut(LogStream, &[u8]),
    ) -> std::io::Result<i32> {
        let at = |n: usize| Self::path(step, words[n]);
        match words {
            ["write", _, text @ ..] => {
                std::fs::create_dir_all(at(1).parent().unwrap())?;
                std::fs::write(at(1), text.join(" "))?;
            }
            ["append", _, text @ ..] => std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(at(1))?
                .write_all(text.join(" ").as_bytes())?,
            ["rm", _] => {
                if at(1).is_dir() {
                    std::fs::remove_dir_all(at(1))?
                } else {
                    std::fs::remove_file(at(1))?
                }
            }
            ["mkdir", _] => std::fs::create_dir_all(at(1))?,
            ["chmod", mode, _] => std::fs::set_permissions(
                at(2),
                std::fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap()),
            )?,
            ["touch", _] => std::fs::File::options()
                .append(true)
                .open(at(1))?
                .set_modified(std::time::SystemTime::now())?,
            ["read", _] => log(LogStream::Stdout, &std::fs::read(at(1))?),
            ["env", name] => {
                let value = step
                    .env
                    .iter()
                    .find(|(k, _)| k == name)
                    .map(|(_, v)| v.as_str())
                    .unwrap_or("unset");
                log(LogStream::Stdout, value.as_bytes());
            }
            ["ls", _] => {
                let mut names: Vec<String> = std::fs::read_dir(at(1))?
                    .map(|e| e.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.sort();
                log(LogStream::Stdout, names.join(" ").as_bytes());
            }
            ["count", _] => {
                std::fs::write(at(1), self.count.fetch_add(1, Ordering::SeqCst).to_string())?
            }
            ["say", text @ ..] => log(LogStream::Stderr, text.join(" ").as_bytes()),
            ["exit", code] => return Ok(code.parse().unwrap()),
            ["meet", number] => {
                self.met.fetch_add(1, Ordering::SeqCst);
                let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
                while self.met.load(Ordering::SeqCst) < number.parse().unwrap() {
                    if std::time::Instant::now() > deadline {
                        return Ok(99);
                    }
                    std::thread::yield_now();
                }
            }
            _ => {}
        }
        Ok(0)
    }
}

impl Worker for FakeWorker {
    fn run(
        &self,
        step: &StepRun<'_>,
        log: &mut dyn FnMut(LogStream, &[u8]),
    ) -> Result<StepExit, PortError> {
        // A runtime makes its mount points; so does this.
        for target in ["proc", "dev", "etc"] {
            std::fs::create_dir_all(step.rootfs.join(target))?;
        }
        if !step.rootfs.join("etc/resolv.conf").exists() {
            std::fs::write(step.rootfs.join("etc/resolv.conf"), "")?;
        }
        for mount in step.mounts {
            let target = step.rootfs.join(mount.target.trim_start_matches('/'));
            match &mount.source {
                StepMountSource::Bind { path, .. } if !path.is_dir() => {
                    std::fs::create_dir_all(target.parent().unwrap())?;
                    if !target.exists() {
                        std::fs::write(target, "")?;
                    }
                }
                _ => std::fs::create_dir_all(target)?,
            }
        }
        self.calls.lock().unwrap().push(Call {
            args: step.args.to_vec(),
            env: step.env.iter().cloned().collect(),
            cwd: step.cwd.to_owned(),
            uid: step.user.uid,
            hostname: step.hostname.to_owned(),
            network: step.network.as_str(),
            mounts: step.mounts.iter().map(|m| m.target.clone()).collect(),
            memory: step.limits.memory,
            hosts: step.extra_hosts.to_vec(),
        });
        let script = step.args.last().cloned().unwrap_or_default();
        for command in script.split([';', '\n']) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let code = match self.command(step, &words, log) {
                Ok(code) => code,
                Err(error) => {
                    log(LogStream::Stderr, format!("{command}: {error}\n").as_bytes());
                    1
                }
            };
            if code != 0 {
                return Ok(StepExit { code, out_of_memory: false });
            }
        }
        Ok(StepExit { code: 0, out_of_memory: false })
    }
}

/// Serves what it was given.
#[derive(Default)]
pub(crate) struct FakeFetcher {
    pub(crate) files: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) opened: AtomicUsize,
    pub(crate) sent: AtomicUsize,
    pub(crate) checkouts: AtomicUsize,
}

impl Fetcher for FakeFetcher {
    fn open(&self, url: &str, known: Option<&Validators>) -> Result<Fetched, PortError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let bytes = self.files.lock().unwrap().get(url).cloned().ok_or("404 Not Found")?;
        let etag = Some(Digest::sha256(&bytes).to_string());
        let validators = Validators { etag, last_modified: None };
        if known == Some(&validators) {
            return Ok(Fetched::Unchanged);
        }
        self.sent.fetch_add(1, Ordering::SeqCst);
        Ok(Fetched::File(Download {
            content: Box::new(std::io::Cursor::new(bytes)),
            last_modified: Some(1_000_000_000),
            validators,
        }))
    }

    fn commit(&self, _: &GitSource<'_>) -> Result<String, PortError> {
        Ok("0123456789abcdef0123456789abcdef01234567".to_owned())
    }

    fn checkout(&self, source: &GitSource<'_>, _: &str, into: &Path) -> Result<(), PortError> {
        self.checkouts.fetch_add(1, Ordering::SeqCst);
        std::fs::create_dir(into.join("sub"))?;
        std::fs::write(into.join("README"), source.remote)?;
        std::fs::write(into.join("sub/file"), source.reference.unwrap_or("HEAD"))?;
        Ok(())
    }
}

/// Every look at it is a second later.
#[derive(Default)]
pub(crate) struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        // Far ahead of the files' times, so that the stat cache trusts them.
        Timestamp::from_second(4_000_000_000 + self.0.fetch_add(1, Ordering::SeqCst)).unwrap()
    }
}

/// Keeps what happened as text.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Mutex<Vec<String>>);

impl Recorder {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Progress for Recorder {
    fn event(&self, event: Event<'_>) {
        let name = event.vertex.name;
        let text = match event.kind {
            EventKind::Started => format!("start {name}"),
            EventKind::Cached => format!("cached {name}"),
            EventKind::Log(_, bytes) => format!("log {name}: {}", String::from_utf8_lossy(bytes)),
            EventKind::Status { text, .. } => format!("status {name}: {text}"),
            EventKind::Finished => format!("done {name}"),
            EventKind::Failed(error) => format!("failed {name}: {error}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

/// The digest of a text, for comparisons.
pub(crate) fn sha256(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}
