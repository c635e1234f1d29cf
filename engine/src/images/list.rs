//! `images`, `inspect` and `history`: what is in the store, as Docker shows it.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use oci::{Descriptor, Digest, History, Reference};
use serde_json::{Value, json};
use store::{Image, Name, Named, Store};

use super::filter::Filters;
use super::find;
use crate::error::Result;
use crate::parallel;

/// One row of `images`.
#[derive(Clone, Debug)]
pub struct Summary {
    /// IMAGE ID.
    pub id: Digest,
    /// The repository as Docker shows it, or `None` for `<none>`.
    pub repository: Option<String>,
    /// The tag, or `None` for `<none>`.
    pub tag: Option<String>,
    /// The manifest's or index's digest.
    pub digest: Digest,
    /// When the image was made.
    pub created: Option<Timestamp>,
    /// The size of its files.
    pub size_bytes: u64,
    /// The labels.
    pub labels: Vec<(String, String)>,
    /// The name it is filed under.
    pub reference: Option<Reference>,
}

/// The rows that pass the filters, newest first (C-32).
pub fn list(store: &Store, filters: &Filters) -> Result<Vec<Summary>> {
    let rows = entries(store)?.into_iter().map(|(_, row)| row).collect();
    let mut rows = filters.apply(store, rows)?;
    rows.sort_by_key(|row| std::cmp::Reverse(row.created));
    Ok(rows)
}

/// Every name, and every image without one, beside its row, in the order of the index.
pub(crate) fn entries(store: &Store) -> Result<Vec<(Named, Summary)>> {
    let entries = store.names().list()?;
    let mut targets: Vec<&Descriptor> = entries.iter().map(|entry| &entry.descriptor).collect();
    targets.sort_by_key(|target| target.digest());
    targets.dedup_by_key(|target| target.digest());
    let described = Mutex::new(HashMap::with_capacity(targets.len()));
    let images = store.images();
    if targets.len() > FEW {
        images.look_ahead()?;
    }
    parallel::each(targets.len(), threads(targets.len()), |index| {
        let row = describe(store, &images, targets[index])?;
        let mut described = described.lock().unwrap_or_else(PoisonError::into_inner);
        described.insert(targets[index].digest(), row);
        Ok(())
    })?;
    let described = described.into_inner().unwrap_or_else(PoisonError::into_inner);
    let row = |entry: &Named| {
        let row = described.get(entry.descriptor.digest()).cloned();
        row.map(|row| (entry.clone(), named(row, entry)))
    };
    Ok(entries.iter().filter_map(row).collect())
}

/// A thread, or a look at a folder, costs as much as a few images.
const FEW: usize = 16;

fn threads(images: usize) -> usize {
    match images {
        0..=FEW => 1,
        _ => std::thread::available_parallelism().map_or(1, NonZero::get),
    }
}

fn named(mut row: Summary, entry: &Named) -> Summary {
    row.reference = entry.name.as_ref().and_then(Name::reference);
    row.repository = row.reference.as_ref().map(Reference::familiar_repository);
    row.tag = row.reference.as_ref().and_then(|r| r.tag().map(str::to_owned));
    row
}

fn describe(store: &Store, images: &store::Images, target: &Descriptor) -> Result<Summary> {
    let image = find::open(store, target, None).ok();
    let labels =
        image.as_ref().map(|image| image.config().config.labels.clone()).unwrap_or_default();
    Ok(Summary {
        id: image.as_ref().map_or(target.digest(), Image::id).clone(),
        repository: None,
        tag: None,
        digest: target.digest().clone(),
        created: image.as_ref().and_then(created),
        size_bytes: image.as_ref().map_or(Ok(0), |image| images.bytes(image))?,
        labels: labels.into_iter().collect(),
        reference: None,
    })
}

/// When the image was made, where its config says so.
pub fn created(image: &Image) -> Option<Timestamp> {
    image.config().created.as_deref().and_then(|text| text.parse().ok())
}

/// All names of an image, as Docker shows them.
pub struct Names {
    /// `repo:tag`.
    pub tags: Vec<String>,
    /// `repo@digest`.
    pub digests: Vec<String>,
}

/// Names of the image with this id.
pub fn names_of(store: &Store, id: &Digest) -> Result<Names> {
    let mut names = Names { tags: Vec::new(), digests: Vec::new() };
    for entry in store.names().list()? {
        let Some(reference) = entry.name.as_ref().and_then(Name::reference) else { continue };
        if find::id_of(store, &entry.descriptor)? != *id {
            continue;
        }
        if reference.tag().is_some() {
            names.tags.push(reference.familiar());
        }
        let pinned = reference.with_digest(entry.descriptor.digest().clone()).familiar();
        if !names.digests.contains(&pinned) {
            names.digests.push(pinned);
        }
    }
    Ok(names)
}

/// What `inspect` prints of an image.
pub fn inspect(store: &Store, image: &Image) -> Result<Value> {
    let names = names_of(store, image.id())?;
    let size = store.images().bytes(image)?;
    Ok(document(image.id(), &names, image.config(), size, image.root()))
}

/// An image in Docker's words.
pub(super) fn document(
    id: &Digest,
    names: &Names,
    config: &oci::ImageConfig,
    size: u64,
    root: &Descriptor,
) -> Value {
    let layers: Vec<String> = config.diff_ids().iter().map(ToString::to_string).collect();
    let mut document = json!({
        "Id": id.to_string(),
        "RepoTags": names.tags,
        "RepoDigests": names.digests,
        "Parent": "",
        "Comment": config.history.last().and_then(|h| h.comment.clone()).unwrap_or_default(),
        "Created": config.created,
        "DockerVersion": "",
        "Author": config.author.clone().unwrap_or_default(),
        "Config": container_config(config),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size,
        "VirtualSize": size,
        "GraphDriver": {"Data": Value::Null, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": layers},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": root,
    });
    if let (Some(variant), Some(object)) = (&config.variant, document.as_object_mut()) {
        object.insert("Variant".to_owned(), json!(variant));
    }
    document
}

/// The `Config` object with every field that Docker always prints.
fn container_config(config: &oci::ImageConfig) -> Value {
    let inner = &config.config;
    let none_if_empty = |empty: bool, value: Value| if empty { Value::Null } else { value };
    let mut document = json!({
        "Hostname": "", "Domainname": "", "User": inner.user,
        "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
        "Tty": false, "OpenStdin": false, "StdinOnce": false,
        "Env": none_if_empty(inner.env.is_empty(), json!(inner.env)),
        "Cmd": inner.cmd, "Image": "",
        "Volumes": none_if_empty(inner.volumes.is_empty(), json!(inner.volumes)),
        "WorkingDir": inner.working_dir, "Entrypoint": inner.entrypoint,
        "OnBuild": none_if_empty(inner.on_build.is_empty(), json!(inner.on_build)),
        "Labels": none_if_empty(inner.labels.is_empty(), json!(inner.labels)),
    });
    let Some(object) = document.as_object_mut() else { return document };
    let mut optional = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), value);
        }
    };
    optional("ExposedPorts", (!inner.exposed_ports.is_empty()).then(|| json!(inner.exposed_ports)));
    optional("Healthcheck", inner.healthcheck.as_ref().map(|check| json!(check)));
    optional("StopSignal", inner.stop_signal.as_ref().map(|signal| json!(signal)));
    optional("Shell", inner.shell.as_ref().map(|shell| json!(shell)));
    document
}

/// One row of `history`.
#[derive(Clone, Debug)]
pub struct HistoryRow {
    /// The image id on the newest row.
    pub id: Option<Digest>,
    /// The step.
    pub step: History,
    /// The size of what the step added.
    pub size_bytes: u64,
    /// Tags, on the newest row.
    pub tags: Vec<String>,
}

/// How the image was made, newest first.
pub fn history(store: &Store, image: &Image) -> Result<Vec<HistoryRow>> {
    let lines = store.images().history(image)?;
    let mut rows: Vec<HistoryRow> = lines
        .into_iter()
        .map(|line| HistoryRow {
            id: None,
            step: line.step,
            size_bytes: line.bytes,
            tags: Vec::new(),
        })
        .collect();
    if let Some(newest) = rows.first_mut() {
        newest.id = Some(image.id().clone());
        newest.tags = names_of(store, image.id())?.tags;
    }
    Ok(rows)
}
