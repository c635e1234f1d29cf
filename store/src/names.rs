//! Names: the entries of the image layout's `index.json`.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use oci::{Descriptor, Digest, Reference, annotation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::content::Content;
use crate::error::{Error, Result, at};
use crate::lease::Lease;
use crate::limits::{NAME_BYTES_MAX, NAMES_BYTES_MAX};
use crate::lock::Lock;

/// A name of an image, usually a canonical reference (`docker.io/library/alpine:latest`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a reference, where it is one.
    pub fn reference(&self) -> Option<Reference> {
        self.0.parse().ok()
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse =
            |reason| Err(Error::InvalidName { text: text.chars().take(80).collect(), reason });
        match text {
            "" => refuse("it is empty"),
            long if long.len() > NAME_BYTES_MAX => refuse("it is too long"),
            odd if odd.chars().any(|c| c.is_control() || c.is_whitespace()) => {
                refuse("it contains spaces or control characters")
            }
            _ => Ok(Self(text.into())),
        }
    }
}

impl From<&Reference> for Name {
    fn from(reference: &Reference) -> Self {
        Self(reference.to_string().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entry of the index: an image and its name, or `None` for one that lost its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: Option<Name>,
    /// The manifest or index.
    pub descriptor: Descriptor,
}

/// What becomes of an image when its last name moves away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Displaced {
    /// It goes out of the index; the collector may take it.
    Forget,
    /// It stays in the index without a name (`<none>:<none>`).
    KeepDangling,
}

/// The names of a store. Every change is one atomic rename under a lock between processes.
#[derive(Clone, Debug)]
pub struct Names {
    content: Content,
}

impl Names {
    pub(crate) fn new(content: Content) -> Self {
        Self { content }
    }

    /// Every entry, in the order they were made.
    pub fn list(&self) -> Result<Vec<Named>> {
        Ok(self.read()?.manifests.into_iter().map(from_descriptor).collect())
    }

    /// What a name points at.
    pub fn get(&self, name: &Name) -> Result<Option<Descriptor>> {
        let entries = self.list()?;
        Ok(entries.into_iter().find(|e| e.name.as_ref() == Some(name)).map(|e| e.descriptor))
    }

    /// Points `name` at an image all of whose content is in the store; returns what it pointed
    /// at before.
    pub fn set(
        &self,
        name: &Name,
        descriptor: &Descriptor,
        displaced: Displaced,
    ) -> Result<Option<Descriptor>> {
        let _lease = self.complete(name.as_str(), descriptor)?;
        self.update(|entries| Ok(point(entries, name, descriptor, displaced)))
    }

    /// Takes a name away; returns what it pointed at.
    pub fn remove(&self, name: &Name, displaced: Displaced) -> Result<Option<Descriptor>> {
        self.update(|entries| Ok(unpoint(entries, name, displaced)))
    }

    /// Records an image without a name, as a build without `-t` makes one.
    pub fn keep_dangling(&self, descriptor: &Descriptor) -> Result<()> {
        let _lease = self.complete("<none>", descriptor)?;
        self.update(|entries| {
            keep(entries, descriptor.clone());
            Ok(())
        })
    }

    /// Forgets the entry without a name for this digest; says whether there was one.
    pub fn forget_dangling(&self, digest: &Digest) -> Result<bool> {
        self.update(|entries| {
            let before = entries.len();
            entries.retain(|e| e.name.is_some() || e.descriptor.digest() != digest);
            Ok(entries.len() < before)
        })
    }

    /// Makes sure that all of an image is there, and stays while the lease is held.
    fn complete(&self, name: &str, descriptor: &Descriptor) -> Result<Lease> {
        let lease = Lease::create(self.content.layout(), self.content.disk(), "name")?;
        lease.hold(descriptor.digest())?;
        match self.content.first_missing(descriptor)? {
            Some(missing) => Err(Error::Incomplete { name: name.to_owned(), missing }),
            None => Ok(lease),
        }
    }

    /// Changes the entries as one step: other processes see all of it or nothing. New entries
    /// must point at complete images ([`Content::first_missing`]) that a lease of the caller holds. An error changes nothing.
    pub fn update<T>(&self, change: impl FnOnce(&mut Vec<Named>) -> Result<T>) -> Result<T> {
        let (layout, disk) = (self.content.layout(), self.content.disk());
        let _lock = Lock::exclusive(disk, &layout.lock("names"))?;
        let mut file = self.read()?;
        let before: Vec<Named> = file.manifests.drain(..).map(from_descriptor).collect();
        let mut entries = before.clone();
        let answer = change(&mut entries)?;
        if entries != before {
            file.manifests = entries.iter().map(to_descriptor).collect();
            let path = layout.names_file();
            let bytes = serde_json::to_vec(&file)
                .map_err(|e| Error::Record { path: path.clone(), reason: e.to_string() })?;
            match disk.replace(&path, &bytes) {
                // On a full disk the copy gives its place: else not even a name could be removed to make room.
                Err(Error::Full { .. })
                    if disk.remove_file_if_there(&layout.names_backup()).unwrap_or(false) =>
                {
                    disk.replace(&path, &bytes)?;
                }
                replaced => replaced?,
            }
            // The change is made. The copy is for the day on which something damages the file,
            // and that it could not be written is no reason to say that nothing was changed.
            let _ = disk.replace_lazily(&layout.names_backup(), &bytes);
        }
        Ok(answer)
    }

    /// Puts a readable file in the place of one that is not: the copy that the last change left,
    /// or the images that `rebuild` finds, without names. The damaged file is kept beside.
    pub(crate) fn restore(&self, rebuild: impl FnOnce() -> Result<Vec<Descriptor>>) -> Result<()> {
        let (layout, disk) = (self.content.layout(), self.content.disk());
        let _lock = Lock::exclusive(disk, &layout.lock("names"))?;
        if self.read().is_ok() {
            return Ok(());
        }
        let path = layout.names_file();
        let file = match read_index(&layout.names_backup()) {
            Ok(file) => file,
            Err(_) => IndexFile::of(rebuild()?),
        };
        let bytes = serde_json::to_vec(&file)
            .map_err(|e| Error::Record { path: path.clone(), reason: e.to_string() })?;
        let damaged = path.with_extension("json.damaged");
        disk.remove_file_if_there(&damaged)?;
        match std::fs::hard_link(&path, &damaged) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(at("keep", &damaged))?,
        }
        disk.replace(&path, &bytes)
    }

    fn read(&self) -> Result<IndexFile> {
        read_index(&self.content.layout().names_file())
    }
}

fn read_index(path: &Path) -> Result<IndexFile> {
    let damaged = |reason: &dyn fmt::Display| Error::Names {
        path: path.to_path_buf(),
        reason: reason.to_string(),
    };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(damaged(&"it is missing"));
        }
        other => other.map_err(at("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(NAMES_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(at("read", path))?;
    if bytes.len() as u64 > NAMES_BYTES_MAX {
        return Err(damaged(&"it is too large"));
    }
    serde_json::from_slice(&bytes).map_err(|error| damaged(&error))
}

fn point(
    entries: &mut Vec<Named>,
    name: &Name,
    descriptor: &Descriptor,
    displaced: Displaced,
) -> Option<Descriptor> {
    let before = entries.iter().find(|e| e.name.as_ref() == Some(name)).cloned();
    if before.as_ref().is_some_and(|e| e.descriptor == *descriptor) {
        return before.map(|e| e.descriptor);
    }
    entries.retain(|e| {
        e.name.as_ref() != Some(name)
            && !(e.name.is_none() && e.descriptor.digest() == descriptor.digest())
    });
    entries.push(Named { name: Some(name.clone()), descriptor: descriptor.clone() });
    if let (Some(old), Displaced::KeepDangling) = (&before, displaced) {
        keep(entries, old.descriptor.clone());
    }
    before.map(|e| e.descriptor)
}

fn unpoint(entries: &mut Vec<Named>, name: &Name, displaced: Displaced) -> Option<Descriptor> {
    let at = entries.iter().position(|e| e.name.as_ref() == Some(name))?;
    let old = entries.remove(at).descriptor;
    if displaced == Displaced::KeepDangling {
        keep(entries, old.clone());
    }
    Some(old)
}

/// Adds a nameless entry unless some entry holds the image already.
fn keep(entries: &mut Vec<Named>, descriptor: Descriptor) {
    if !entries.iter().any(|e| e.descriptor.digest() == descriptor.digest()) {
        entries.push(Named { name: None, descriptor });
    }
}

/// `index.json`, with the fields that other tools may have put there.
#[derive(Serialize, Deserialize)]
struct IndexFile {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl IndexFile {
    fn of(manifests: Vec<Descriptor>) -> Self {
        let media_type = Value::from("application/vnd.oci.image.index.v1+json");
        let extra = Map::from_iter([("mediaType".to_owned(), media_type)]);
        Self { schema_version: 2, manifests, extra }
    }
}

fn from_descriptor(descriptor: Descriptor) -> Named {
    let mut annotations = descriptor.annotations().clone();
    let name = annotations.get(annotation::REF_NAME).and_then(|text| text.parse().ok());
    if name.is_some() {
        annotations.remove(annotation::REF_NAME);
    }
    Named { name, descriptor: descriptor.with_annotations(annotations) }
}

fn to_descriptor(entry: &Named) -> Descriptor {
    match &entry.name {
        Some(name) => entry.descriptor.clone().with_annotation(annotation::REF_NAME, name.as_str()),
        None => entry.descriptor.clone(),
    }
}
