//! Manifest lists made by hand: which manifests of a registry are one image for several platforms.
//!
//! A list is a file of this installation until it is pushed, as with `docker manifest create`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use oci::limits::CONFIG_BYTES_MAX;
use oci::{
    Descriptor, Digest, Document, ImageConfig, Index, Manifest, ManifestOrIndex, MediaType,
    Platform, Raw, Reference,
};
use registry_client::Selector;
use registry_client::blocking::BlockingRepository;
use registry_client::copy::{CopyOptions, copy as copy_graph};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Engine;
use crate::error::{Error, Result};

/// The lists of one engine that are not pushed yet, or were kept after a push.
#[derive(Clone, Copy)]
pub struct ManifestLists<'a> {
    pub(crate) engine: &'a Engine,
}

/// A list under construction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManifestList {
    /// Where it will be pushed to.
    #[serde(with = "text")]
    reference: Reference,
    entries: Vec<ListedManifest>,
}

/// One manifest of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedManifest {
    /// The name that it was added by.
    #[serde(with = "text")]
    reference: Reference,
    /// What the registry has under it.
    descriptor: Descriptor,
    /// For what it is: from its config, or as annotated.
    platform: Map<String, Value>,
}

/// Whether a list that exists may get more entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amend {
    /// It may not: an old list under the name is a mistake.
    No,
    /// It may.
    Yes,
}

/// What becomes of the list when it was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterPush {
    /// It stays, to be pushed again.
    Keep,
    /// It is removed.
    Purge,
}

/// What `annotate` sets; what is `None` or empty stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Annotation {
    /// The architecture in Go's spelling.
    pub architecture: Option<String>,
    /// The operating system.
    pub os: Option<String>,
    /// Its features.
    pub os_features: Vec<String>,
    /// Its version.
    pub os_version: Option<String>,
    /// The architecture's variant.
    pub variant: Option<String>,
}

impl ManifestLists<'_> {
    /// Makes a list of manifests that registries have; gives the list's whole name.
    pub fn create(
        &self,
        list: &Reference,
        manifests: &[Reference],
        amend: Amend,
    ) -> Result<Reference> {
        let list = whole(list)?;
        let mut entries = Vec::with_capacity(manifests.len());
        for manifest in manifests {
            entries.push(self.look_up(manifest)?);
        }
        self.change(&list, |known| {
            let mut made = match (known, amend) {
                (Some(known), Amend::Yes) => known,
                (Some(_), Amend::No) => {
                    return Err(Error::Conflict(format!(
                        "refusing to amend an existing manifest list with no --amend flag: {list}"
                    )));
                }
                (None, _) => ManifestList { reference: list.clone(), entries: Vec::new() },
            };
            for entry in entries {
                made.entries.retain(|known| known.reference != entry.reference);
                made.entries.push(entry);
            }
            Ok(made)
        })?;
        Ok(list)
    }

    /// Says of one manifest of a list for what it is.
    pub fn annotate(
        &self,
        list: &Reference,
        manifest: &Reference,
        annotation: &Annotation,
    ) -> Result<()> {
        let (list, manifest) = (whole(list)?, manifest.clone().or_latest());
        self.change(&list, |known| {
            let mut known = known.ok_or_else(|| no_list(&list))?;
            let entry = known.entries.iter_mut().find(|entry| entry.reference == manifest);
            let entry = entry.ok_or_else(|| {
                Error::Invalid(format!("manifest for image {manifest} does not exist in {list}"))
            })?;
            annotation.apply(&mut entry.platform);
            entry.described()?;
            Ok(known)
        })
    }

    /// The list of this name, where there is one.
    pub fn get(&self, list: &Reference) -> Result<Option<ManifestList>> {
        read(&self.path(&whole(list)?))
    }

    /// Copies what the registry lacks of the manifests, then writes the list under its name.
    /// `told` hears of each manifest. Gives the list's digest.
    pub fn push(
        &self,
        list: &Reference,
        after: AfterPush,
        told: &mut dyn FnMut(&Reference, &Digest),
    ) -> Result<Digest> {
        let list = self.get(list)?.ok_or_else(|| no_list(list))?;
        let target = self.end(&list.reference)?;
        for entry in &list.entries {
            let mut target = self.end(&list.reference)?;
            let from = entry.reference.repository();
            if from.registry() == list.reference.registry() {
                target = target.with_mount_sources(vec![from.clone()]);
            }
            let source = self.end(&entry.reference)?;
            copy_graph(&source, &target, &entry.descriptor, &CopyOptions::into_registry())?;
            let pushed = list.reference.repository().pinned(entry.descriptor.digest().clone());
            told(&pushed, entry.descriptor.digest());
        }
        let index = list.document()?;
        let tag = list.reference.tag().unwrap_or_default().to_owned();
        let bytes = Bytes::copy_from_slice(index.bytes());
        target.put_manifest(&Selector::Tag(tag), &index.descriptor(), bytes)?;
        if after == AfterPush::Purge {
            self.remove(&list.reference)?;
        }
        Ok(index.digest())
    }

    /// Forgets a list; what was pushed stays in the registry.
    pub fn remove(&self, list: &Reference) -> Result<()> {
        let path = self.path(&whole(list)?);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_list(list)),
            other => other.map_err(|error| Error::io("remove", path, error)),
        }
    }

    /// What a registry has under a name, and for what it is.
    fn look_up(&self, reference: &Reference) -> Result<ListedManifest> {
        let reference = reference.clone().or_latest();
        let transport = self.engine.transport();
        let repository = transport.client()?.repository(reference.repository());
        let selector = Selector::of(&reference)
            .ok_or_else(|| Error::Invalid(format!("{reference}: neither tag nor digest")))?;
        let fetched = transport.block_on(repository.manifest(&selector))??;
        let unreadable = |error: oci::RawError| Error::Invalid(format!("{reference}: {error}"));
        let document: Raw<ManifestOrIndex> = Raw::parse(&*fetched.bytes).map_err(unreadable)?;
        if document.as_index().is_some() {
            return Err(Error::Invalid(format!(
                "{reference} is a manifest list: name the manifests that it lists"
            )));
        }
        let manifest: Raw<Manifest> = Raw::parse(&*fetched.bytes).map_err(unreadable)?;
        let config = repository.fetch_blob(manifest.config(), CONFIG_BYTES_MAX);
        let config = transport.block_on(config)??;
        let platform = ImageConfig::from_bytes(&config).map_err(unreadable)?.platform();
        let platform = match serde_json::to_value(platform) {
            Ok(Value::Object(platform)) => platform,
            _ => Map::new(),
        };
        Ok(ListedManifest { reference, descriptor: fetched.descriptor.bare(), platform })
    }

    fn end(&self, reference: &Reference) -> Result<BlockingRepository> {
        let transport = self.engine.transport();
        let client = transport.client()?.repository(reference.repository());
        Ok(BlockingRepository::new(client, transport.runtime()?.handle().clone()))
    }

    fn folder(&self) -> PathBuf {
        self.engine.config().root.join("manifest-lists")
    }

    /// No reference contains a plus sign before its digest, so no two lists share a file.
    fn path(&self, list: &Reference) -> PathBuf {
        self.folder().join(format!("{}.json", list.to_string().replace('/', "+")))
    }

    /// Changes one list as one step, under a lock between processes.
    fn change(
        &self,
        list: &Reference,
        change: impl FnOnce(Option<ManifestList>) -> Result<ManifestList>,
    ) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(|e| Error::io("create directory", &folder, e))?;
        let lock = File::open(&folder).map_err(|e| Error::io("open", &folder, e))?;
        lock.lock().map_err(|e| Error::io("lock", &folder, e))?;
        let path = self.path(list);
        let changed = change(read(&path)?)?;
        let bytes = serde_json::to_vec_pretty(&changed).map_err(|e| damaged(&path, &e))?;
        let beside = folder.join(".new");
        fs::write(&beside, bytes).map_err(|e| Error::io("write", &beside, e))?;
        fs::rename(&beside, &path).map_err(|e| Error::io("write", &path, e))
    }
}

impl ManifestList {
    /// What is pushed under the list's name: an OCI index, or Docker's list where all that it
    /// lists are Docker's.
    pub fn document(&self) -> Result<Raw<Index>> {
        let entries: Vec<Descriptor> =
            self.entries.iter().map(ListedManifest::described).collect::<Result<_>>()?;
        let all_dockers = entries.iter().all(|e| *e.media_type() == MediaType::DockerManifest);
        let index = match all_dockers && !entries.is_empty() {
            true => Index::docker(entries),
            false => Index::new(entries),
        };
        Raw::encode(&index).map_err(|error| Error::Invalid(format!("{}: {error}", self.reference)))
    }

    /// Where it will be pushed to.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The entry that was added by this name.
    pub fn entry(&self, manifest: &Reference) -> Option<&ListedManifest> {
        let manifest = manifest.clone().or_latest();
        self.entries.iter().find(|entry| entry.reference == manifest)
    }
}

impl ListedManifest {
    /// The entry as it will stand in the list.
    pub fn described(&self) -> Result<Descriptor> {
        let platform: Platform = serde_json::from_value(Value::Object(self.platform.clone()))
            .map_err(|error| Error::Invalid(format!("platform of {}: {error}", self.reference)))?;
        if platform.os().is_empty() || platform.architecture().is_empty() {
            return Err(Error::Invalid(format!(
                "manifest entry for image has unsupported os/arch combination: {}/{} ({}); set both with \
                 `manifest annotate --os OS --arch ARCH`",
                platform.os(),
                platform.architecture(),
                self.reference
            )));
        }
        Ok(self.descriptor.clone().with_platform(platform))
    }
}

impl Annotation {
    fn apply(&self, platform: &mut Map<String, Value>) {
        let texts = [
            ("architecture", &self.architecture),
            ("os", &self.os),
            ("os.version", &self.os_version),
            ("variant", &self.variant),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                platform.insert(key.to_owned(), Value::from(value.as_str()));
            }
        }
        if !self.os_features.is_empty() {
            platform.insert("os.features".to_owned(), Value::from(self.os_features.clone()));
        }
    }
}

/// The list's name with its tag; a digest cannot be chosen.
fn whole(list: &Reference) -> Result<Reference> {
    match list.digest() {
        None => Ok(list.clone().or_latest()),
        Some(_) => Err(Error::Invalid(format!("{list}: a manifest list is named by a tag"))),
    }
}

fn no_list(list: &Reference) -> Error {
    Error::NoSuchObject { name: list.clone().or_latest().to_string() }
}

fn read(path: &Path) -> Result<Option<ManifestList>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(path, &e)),
    }
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Configuration {
        file: path.display().to_string(),
        reason: format!("{reason}; `wherry manifest rm` removes the list"),
    }
}

/// References as text.
mod text {
    use oci::Reference;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        reference: &Reference,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(reference)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Reference, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
