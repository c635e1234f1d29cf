//! What is damaged, missing or unreferenced in a store; and how much there is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci::limits::INDEX_DEPTH_MAX;
use oci::{Algorithm, Descriptor, Digest, Sink};

use crate::Store;
use crate::content::digests_in;
use crate::error::{Error, ErrorKind, Result, at};
use crate::gc::Roots;
use crate::layer::{LayerId, LayerRecord, record};
use crate::lease::Item;
use crate::names::{Name, Named};
use crate::snapshot::SnapshotKey;

/// Fetches content again: gets what is wanted and the names that need it, gives a stream of
/// the whole content, or `None` where no source is known.
pub type Refetch<'a> = dyn Fn(&Descriptor, &[Name]) -> Result<Option<Box<dyn Read + Send>>> + 'a;

/// What is wrong with something in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A blob is not what its name says.
    DamagedBlob,
    /// A document does not parse, although it is what its name says.
    DamagedDocument,
    /// An unpacked layer has no readable record, no folder, or nothing below it where there
    /// should be something.
    DamagedLayer,
    /// The file of the names cannot be read: what is referenced cannot be told.
    DamagedNames,
    /// A name needs a blob that is not there.
    MissingBlob,
    /// A file that does not belong where it is.
    StrayFile,
    /// Nothing needs it: the collector will take it.
    Unreferenced,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// With what: a digest or a path.
    pub subject: String,
    /// The names that need it.
    pub names: Vec<Name>,
    /// Whether it was repaired.
    pub repaired: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Everything found, sorted.
    pub findings: Vec<Finding>,
    /// How many blobs were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Report {
    /// Whether nothing is wrong that was not repaired. What is merely unreferenced is not wrong.
    pub fn is_sound(&self) -> bool {
        let wrong =
            |finding: &&Finding| finding.problem != Problem::Unreferenced && !finding.repaired;
        !self.findings.iter().any(|finding| wrong(&finding))
    }
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// How many unpacked layers.
    pub layers: u64,
    /// Bytes of their files.
    pub layer_bytes: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// Bytes of the files that they changed.
    pub snapshot_bytes: u64,
    /// Bytes of partial downloads.
    pub partial_bytes: u64,
    /// Bytes of what was condemned and not removed yet.
    pub condemned_bytes: u64,
}

/// A blob that something names: how, and by which names.
#[derive(Clone, Debug)]
struct Needed {
    descriptor: Descriptor,
    names: BTreeSet<Name>,
    /// Whether its absence is damage; an index may list what is not here.
    required: bool,
}

impl Store {
    /// Reads everything and reports what is wrong. With `refetch`, damaged and missing blobs
    /// are fetched again where a source is known; a damaged layer folder is put aside, to be
    /// unpacked anew.
    pub fn check(&self, refetch: Option<&Refetch<'_>>) -> Result<Report> {
        self.check_keeping(&Roots::default(), refetch)
    }

    /// The same, where more than names, leases and snapshots needs things: a build cache.
    pub fn check_keeping(&self, roots: &Roots, refetch: Option<&Refetch<'_>>) -> Result<Report> {
        let mut report = Report::default();
        let (present, stray) = self.present_blobs()?;
        let damaged = self.damaged_blobs(&present, &mut report)?;
        let mut needed = BTreeMap::new();
        let mut layers = BTreeSet::new();
        let names = self.readable_names(refetch.is_some(), &mut report)?;
        let known = names.is_some();
        self.trace_names(names.unwrap_or_default(), &mut needed, &mut layers, &mut report)?;
        let kept = self.trace_roots(roots, &mut layers)?;
        for (digest, needed) in &needed {
            let problem = match (present.contains(digest), damaged.contains(digest)) {
                (_, true) => Problem::DamagedBlob,
                (false, _) if needed.required => Problem::MissingBlob,
                _ => continue,
            };
            let names: Vec<Name> = needed.names.iter().cloned().collect();
            let repaired = match refetch {
                Some(refetch) => self.repair(&needed.descriptor, &names, refetch)?,
                None => false,
            };
            report.add(problem, digest, names, repaired);
        }
        let unneeded = present
            .iter()
            .filter(|digest| !needed.contains_key(*digest))
            .filter(|digest| !kept.contains(*digest) || damaged.contains(*digest));
        self.check_unneeded(unneeded, &damaged, refetch.is_some(), &mut report)?;
        for path in stray {
            report.add(Problem::StrayFile, &path, Vec::new(), false);
        }
        self.check_layers(&layers, refetch.is_some(), &mut report)?;
        if !known {
            report.findings.retain(|finding| finding.problem != Problem::Unreferenced);
        }
        report.findings.sort_by(|a, b| (a.problem, &a.subject).cmp(&(b.problem, &b.subject)));
        Ok(report)
    }

    fn check_unneeded<'a>(
        &self,
        digests: impl Iterator<Item = &'a Digest>,
        damaged: &BTreeSet<Digest>,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        let held = crate::lease::held(self.layout(), self.disk())?;
        for digest in digests {
            let problem = match damaged.contains(digest) {
                true => Problem::DamagedBlob,
                false if held.contains(&Item::Blob(digest.clone())) => continue,
                false => Problem::Unreferenced,
            };
            let repaired = problem == Problem::DamagedBlob && repair;
            if repaired {
                self.disk().remove_file_if_there(&self.content().path(digest))?;
            }
            report.add(problem, digest, Vec::new(), repaired);
        }
        Ok(())
    }

    fn present_blobs(&self) -> Result<(BTreeSet<Digest>, Vec<String>)> {
        let (mut present, mut stray) = (BTreeSet::new(), Vec::new());
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.layout().blobs(algorithm);
            present.extend(digests_in(&dir, algorithm)?);
            for entry in std::fs::read_dir(&dir).map_err(at("list", &dir))? {
                let entry = entry.map_err(at("list", &dir))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if format!("{algorithm}:{name}").parse::<Digest>().is_err() {
                    stray.push(entry.path().display().to_string());
                }
            }
        }
        Ok((present, stray))
    }

    /// Hashes every blob, on all processors.
    fn damaged_blobs(
        &self,
        present: &BTreeSet<Digest>,
        report: &mut Report,
    ) -> Result<BTreeSet<Digest>> {
        let list: Vec<&Digest> = present.iter().collect();
        let next = AtomicUsize::new(0);
        let outcome = Mutex::new((BTreeSet::new(), 0u64, None));
        let work = || {
            while let Some(digest) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                let hashed = self.hash(digest);
                let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                match hashed {
                    Ok(Some((bytes, found))) => {
                        outcome.1 += bytes;
                        if found != **digest {
                            outcome.0.insert((*digest).clone());
                        }
                    }
                    // The collector took it meanwhile.
                    Ok(None) => {}
                    Err(error) => drop(outcome.2.get_or_insert(error)),
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(list.len()) {
                scope.spawn(work);
            }
            work();
        });
        let (damaged, bytes, error) =
            outcome.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        report.blobs = list.len() as u64;
        report.bytes = bytes;
        match error {
            Some(error) => Err(error),
            None => Ok(damaged),
        }
    }

    fn hash(&self, digest: &Digest) -> Result<Option<(u64, Digest)>> {
        let path = self.content().path(digest);
        let mut blob = match self.content().open(digest) {
            Err(Error::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let mut hasher = oci::Hasher::new(digest.algorithm());
        let (mut buffer, mut bytes) = (vec![0; 256 * 1024], 0);
        loop {
            // A sector that cannot be read is damage, not a reason to stop.
            let count = match blob.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(5) => 0,
                Err(error) => return Err(Error::io("read", &path, error)),
            };
            if count == 0 {
                return Ok(Some((bytes, hasher.finish())));
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
    }

    /// The names, restored where they were damaged and may be repaired; `None` where they stay so.
    fn readable_names(&self, repair: bool, report: &mut Report) -> Result<Option<Vec<Named>>> {
        let path = match self.names().list() {
            Err(Error::Names { path, .. }) => path,
            other => return other.map(Some),
        };
        if repair {
            self.restore_names()?;
        }
        report.add(Problem::DamagedNames, &path.display(), Vec::new(), repair);
        repair.then(|| self.names().list()).transpose()
    }

    fn trace_names(
        &self,
        names: Vec<Named>,
        needed: &mut BTreeMap<Digest, Needed>,
        layers: &mut BTreeSet<LayerId>,
        report: &mut Report,
    ) -> Result<()> {
        for entry in names {
            let mut todo = vec![(entry.descriptor.clone(), true, 0)];
            while let Some((descriptor, required, depth)) = todo.pop() {
                let known = needed.entry(descriptor.digest().clone()).or_insert_with(|| Needed {
                    descriptor: descriptor.clone(),
                    names: BTreeSet::new(),
                    required,
                });
                known.required |= required;
                known.names.extend(entry.name.clone());
                if depth <= INDEX_DEPTH_MAX {
                    let children = self.children(&descriptor, layers, report)?;
                    todo.extend(children.into_iter().map(|(child, must)| (child, must, depth + 1)));
                }
            }
        }
        Ok(())
    }

    /// What the caller keeps, and what that names.
    fn trace_roots(
        &self,
        roots: &Roots,
        layers: &mut BTreeSet<LayerId>,
    ) -> Result<BTreeSet<Digest>> {
        layers.extend(roots.layers.iter().cloned());
        let (mut kept, mut todo) = (BTreeSet::new(), roots.blobs.clone());
        while let Some(digest) = todo.pop() {
            if kept.insert(digest.clone()) {
                match self.content().manifest(&digest) {
                    Ok(document) => {
                        todo.extend(document.children().iter().map(|child| child.digest().clone()));
                    }
                    // What is no document names nothing.
                    Err(error) if error.kind() != ErrorKind::Other => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(kept)
    }

    /// Layers, those below them, and those whose folders they use.
    fn add_chain(&self, mut todo: Vec<LayerId>, used: &mut BTreeSet<LayerId>) {
        while let Some(id) = todo.pop() {
            if used.insert(id.clone()) {
                let path = self.layout().layer(&id).join("layer.json");
                // A damaged record is reported for itself.
                let record = record::read::<LayerRecord>(&path).unwrap_or_default();
                let below = record.into_iter().flat_map(|r| r.parent.into_iter().chain(r.same_as));
                todo.extend(below.map(LayerId::from));
            }
        }
    }

    /// What a document names. What cannot be read is reported once, by whoever finds it.
    fn children(
        &self,
        descriptor: &Descriptor,
        layers: &mut BTreeSet<LayerId>,
        report: &mut Report,
    ) -> Result<Vec<(Descriptor, bool)>> {
        let media_type = descriptor.media_type();
        if !(media_type.is_index() || media_type.is_manifest()) {
            return Ok(Vec::new());
        }
        let document = match self.content().manifest(descriptor.digest()) {
            Err(Error::NotFound { .. } | Error::Content(_)) => return Ok(Vec::new()),
            Err(Error::Document { digest, .. }) => {
                report.add(Problem::DamagedDocument, &digest, Vec::new(), false);
                return Ok(Vec::new());
            }
            other => other?,
        };
        if let Ok(image) = self.images().open_manifest(descriptor) {
            layers.extend(image.config().chain_ids().iter().map(LayerId::from));
        }
        let sparse = media_type.is_index();
        let children = document.children().into_iter();
        Ok(children
            .map(|child| (child.clone(), !sparse && !child.media_type().is_non_distributable()))
            .collect())
    }

    fn repair(&self, wanted: &Descriptor, names: &[Name], refetch: &Refetch<'_>) -> Result<bool> {
        let Some(mut stream) = refetch(wanted, names)? else { return Ok(false) };
        self.disk().remove_file_if_there(&self.content().path(wanted.digest()))?;
        match self.content().accept(wanted, &mut stream).map_err(Error::from) {
            // A source that fails leaves this blob missing, not the others unchecked.
            Err(error) if !matches!(error.kind(), ErrorKind::Full | ErrorKind::Denied) => Ok(false),
            other => other.map(|()| true),
        }
    }

    fn check_layers(
        &self,
        named: &BTreeSet<LayerId>,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        let layers = self.layers();
        let mut used = BTreeSet::new();
        let tops = named.iter().cloned().chain(crate::snapshot::parents(&layers)?);
        self.add_chain(tops.collect(), &mut used);
        let held = crate::lease::held(self.layout(), self.disk())?;
        for id in layers.list()? {
            let home = self.layout().layer(&id);
            let sound = match record::read::<LayerRecord>(&home.join("layer.json")) {
                // One that a restart made worthless is discarded by whoever looks for it.
                Ok(Some(record)) if record.is_stale() => continue,
                Ok(Some(_)) => layers
                    .chain(Some(&id))
                    .is_ok_and(|chain| chain.first().is_some_and(|layer| layer.fs().is_dir())),
                Ok(None) | Err(Error::Record { .. }) => false,
                Err(error) => return Err(error),
            };
            if !sound {
                if repair {
                    // Away at once: the next use unpacks it anew.
                    let staging = layers.staging()?;
                    self.disk().rename_if_there(&home, &staging.path().join("damaged"))?;
                }
                report.add(Problem::DamagedLayer, &id, Vec::new(), repair);
            } else if !used.contains(&id) && !held.contains(&Item::Layer(id.clone())) {
                let subject = format!("layer {id}");
                report.add(Problem::Unreferenced, &subject, Vec::new(), false);
            }
        }
        Ok(())
    }

    /// Bytes of the files in a snapshot: what was changed, or the whole tree where it is a copy.
    pub fn snapshot_bytes(&self, key: &SnapshotKey) -> Result<u64> {
        bytes_in(&self.layout().snapshots().join(key.as_str()))
    }

    /// How much the store holds.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        let layers = self.layers();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for digest in digests_in(&self.layout().blobs(algorithm), algorithm)? {
                usage.blobs += 1;
                usage.blob_bytes += self.content().stat(&digest)?.unwrap_or(0);
            }
            usage.condemned_bytes += bytes_in(&self.layout().dead_blobs(algorithm))?;
        }
        for id in layers.list()? {
            // One that is damaged or just going counts as nothing.
            if let Ok(Some(record)) =
                record::read::<LayerRecord>(&self.layout().layer(&id).join("layer.json"))
            {
                usage.layers += 1;
                usage.layer_bytes += if record.same_as.is_none() { record.bytes } else { 0 };
            }
        }
        usage.snapshots = crate::snapshot::keys(&layers)?.len() as u64;
        usage.snapshot_bytes = bytes_in(&self.layout().snapshots())?;
        usage.partial_bytes = bytes_in(&self.layout().ingest())?;
        Ok(usage)
    }
}

impl Report {
    fn add(
        &mut self,
        problem: Problem,
        subject: &dyn std::fmt::Display,
        names: Vec<Name>,
        repaired: bool,
    ) {
        self.findings.push(Finding { problem, subject: subject.to_string(), names, repaired });
    }
}

/// Bytes of all files below a folder; what goes meanwhile counts as nothing.
fn bytes_in(dir: &Path) -> Result<u64> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(at("list", dir))?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.map_err(at("list", dir))?;
        bytes += match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_in(&entry.path())?,
            Ok(meta) if meta.is_file() => meta.len(),
            _ => 0,
        };
    }
    Ok(bytes)
}
