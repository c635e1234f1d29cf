//! Statements about what was built: written before the image gets its name, kept beside it in the store, pushed with
//! it as its referrers.

use std::fs;
use std::path::{Path, PathBuf};

use builder::BuiltImage;
use builder::attest::packages::Databases;
use builder::attest::{
    MEDIA_TYPE, Mode, PREDICATE_ANNOTATION, Predicate, Provenance, Subject, sbom, statement,
};
use builder::solve::secret_in;
use jiff::Timestamp;
use oci::{Descriptor, Digest, Manifest, MediaType, Raw};
use store::{Lease, Store};

use super::BuildImage;
use crate::Engine;
use crate::error::{Error, Result};
use crate::trust::state;

/// Which statements a build makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attestations {
    /// How it was made.
    pub provenance: Option<ProvenanceRequest>,
    /// What is in it.
    pub contents: Option<ContentsRequest>,
}

impl Attestations {
    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `--provenance`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenanceRequest {
    /// How much is told.
    pub mode: Mode,
    /// `builder-id`.
    pub builder: Option<String>,
}

/// `--sbom`: the package databases of the image, as SPDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentsRequest;

/// A build that statements are made of.
pub(super) struct Attesting<'a> {
    pub(super) engine: &'a Engine,
    pub(super) build: &'a BuildImage,
    pub(super) lease: &'a Lease,
    pub(super) started: Timestamp,
}

impl Attesting<'_> {
    /// Makes the statements about one image, and keeps them beside it.
    pub(super) fn attest(&self, image: &BuiltImage) -> Result<Vec<Descriptor>> {
        let subject = Subject {
            names: self.build.tags.clone(),
            platform: image.platform.clone(),
            digest: image.manifest.digest().clone(),
        };
        let mut referrers = Vec::new();
        for predicate in self.predicates(image, &subject)? {
            referrers.push(self.put(image, &subject, &predicate)?);
        }
        Kept::new(self.engine.store()).add(image.manifest.digest(), &referrers)?;
        Ok(referrers)
    }

    fn predicates(&self, image: &BuiltImage, subject: &Subject) -> Result<Vec<Predicate>> {
        let version = env!("CARGO_PKG_VERSION");
        let asked = &self.build.attestations;
        let mut predicates = Vec::new();
        if asked.contents.is_some() {
            let store = self.engine.store();
            let manifest = store.content().manifest(image.manifest.digest())?;
            let layers = manifest.as_manifest().map(Manifest::layers).unwrap_or_default();
            let packages = Databases::read(store, layers)?.packages();
            let made = match image.graph.epoch {
                Some(epoch) => Timestamp::from_second(epoch).unwrap_or(self.started),
                None => self.started,
            };
            predicates.push(sbom::document(subject, &packages, made, version));
        }
        if let Some(provenance) = &asked.provenance {
            let provenance = Provenance {
                mode: provenance.mode,
                builder: provenance.builder.clone(),
                version: version.to_owned(),
                started: self.started,
                finished: crate::clock::now(),
            };
            predicates.push(provenance.of(&self.build.request, image));
        }
        Ok(predicates)
    }

    /// Writes one statement as an artifact that refers to the image's manifest.
    fn put(
        &self,
        image: &BuiltImage,
        subject: &Subject,
        predicate: &Predicate,
    ) -> Result<Descriptor> {
        let text = statement(subject, predicate).to_string();
        if let Some(id) = secret_in(&self.build.request.credentials, text.as_bytes()) {
            return Err(Error::Build(builder::Error::SecretLeaked {
                id,
                place: format!("the attestation {}", predicate.kind),
            }));
        }
        let content = self.engine.store().content();
        let layer = Descriptor::of(MediaType::from(MEDIA_TYPE), text.as_bytes())
            .with_annotation(PREDICATE_ANNOTATION, predicate.kind);
        let annotations =
            [(PREDICATE_ANNOTATION.to_owned(), predicate.kind.to_owned())].into_iter().collect();
        let manifest = Manifest::artifact(MEDIA_TYPE, vec![layer.clone()])
            .with_subject(image.manifest.clone())
            .with_annotations(annotations);
        let manifest = Raw::encode(&manifest).map_err(|e| Error::Invalid(e.to_string()))?;
        let empty = Descriptor::empty();
        for descriptor in [&empty, &layer, &manifest.descriptor()] {
            self.lease.hold(descriptor.digest())?;
        }
        content.put(&empty, b"{}")?;
        content.put(&layer, text.as_bytes())?;
        let kept = content.put_raw(&manifest)?;
        Ok(kept.with_annotation(PREDICATE_ANNOTATION, predicate.kind))
    }
}

/// Which statements are kept for which image: one small file per image, `attestations/ALGORITHM/HEX.json`.
pub(crate) struct Kept {
    folder: PathBuf,
    store: Store,
}

impl Kept {
    pub(crate) fn new(store: &Store) -> Self {
        Self { folder: store.root().join("attestations"), store: store.clone() }
    }

    fn file(&self, subject: &Digest) -> PathBuf {
        self.folder.join(subject.algorithm().as_str()).join(format!("{}.json", subject.hex()))
    }

    /// The referrers that are kept for an image.
    pub(crate) fn of(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        read(&self.file(subject))
    }

    /// Adds to them.
    fn add(&self, subject: &Digest, new: &[Descriptor]) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let file = self.file(subject);
        let folder = file.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let mut all = self.of(subject)?;
        // A later build of the same image says it anew.
        let kind = |d: &Descriptor| d.annotation(PREDICATE_ANNOTATION).map(str::to_owned);
        all.retain(|old| new.iter().all(|one| kind(one) != kind(old)));
        all.extend(new.iter().cloned());
        let bytes = serde_json::to_vec(&all).map_err(|e| Error::Invalid(e.to_string()))?;
        state::write(&file, &bytes)
    }

    /// What keeps statements alive: those of images that are here. Records of others are removed.
    pub(crate) fn roots(&self) -> Result<Vec<Digest>> {
        let mut roots = Vec::new();
        for algorithm in [oci::Algorithm::Sha256, oci::Algorithm::Sha512] {
            let folder = self.folder.join(algorithm.as_str());
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("list", folder, e)),
            };
            for entry in entries {
                let path = entry.map_err(|e| Error::io("list", &folder, e))?.path();
                let Some(subject) = subject_of(algorithm, &path) else { continue };
                // Looked at without relying on it: a record must not keep its own image.
                if self.store.content().path(&subject).exists() {
                    roots.extend(read(&path)?.iter().map(|d| d.digest().clone()));
                } else {
                    fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
                }
            }
        }
        Ok(roots)
    }
}

fn subject_of(algorithm: oci::Algorithm, path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
    format!("{algorithm}:{name}").parse().ok()
}

fn read(path: &Path) -> Result<Vec<Descriptor>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Configuration {
            file: path.display().to_string(),
            reason: error.to_string(),
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("read", path, e)),
    }
}
