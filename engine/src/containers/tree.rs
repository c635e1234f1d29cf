//! A container's files from outside: `commit`, `export`, `diff`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::str::FromStr;

use oci::{ContainerConfig, Digest, History, ImageConfig, Manifest, Raw, Reference};
use runtime::{Container, RootFs};
use serde_json::Value;
use store::{DiffOptions, Image, SnapshotKey, Stack};
use trust::Origin;

use crate::Engine;
use crate::error::{Error, Result};
use crate::images::import::name_it;
use crate::images::{change, find};

/// What `commit` makes.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// The new image's name; without one it is dangling.
    pub reference: Option<Reference>,
    /// `--author`.
    pub author: Option<String>,
    /// `--message`.
    pub message: Option<String>,
    /// Dockerfile instructions that change the container's own settings.
    pub changes: Vec<String>,
}

/// How a path differs from the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It, or something in it, is not as it was.
    Changed,
    /// It is gone.
    Deleted,
}

/// One line of `diff`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How it differs.
    pub kind: ChangeKind,
    /// The absolute path in the container.
    pub path: String,
}

/// Makes an image of a container's files. Returns its id.
pub(crate) fn commit(
    engine: &Engine,
    container: &Container,
    request: &CommitRequest,
) -> Result<Digest> {
    let settings = change::changed(settings(container), &request.changes)?;
    let store = engine.store();
    let lease = store.lease("commit")?;
    let base = base(engine, container)?;
    lease.hold(base.root().digest())?;
    let key = SnapshotKey::from_str(container.id().as_str())?;
    let layer = store.snapshots().diff(&key, &DiffOptions::default())?;
    lease.hold(layer.descriptor.digest())?;

    let created = crate::clock::now().to_string();
    let mut config: ImageConfig = (**base.config()).clone();
    config.created = Some(created.clone());
    config.author = request.author.clone().or(config.author);
    config.config = settings;
    config.rootfs.diff_ids.push(layer.diff_id.clone());
    config.history.push(History {
        created: Some(created),
        author: request.author.clone(),
        created_by: Some(container.record.args.join(" ")),
        comment: request.message.clone(),
        empty_layer: false,
    });
    let mut layers = base.manifest().layers().to_vec();
    layers.push(layer.descriptor);
    let config = Raw::encode(&config).map_err(|e| Error::Invalid(e.to_string()))?;
    let manifest = Raw::encode(&Manifest::new(config.descriptor(), layers))
        .map_err(|e| Error::Invalid(e.to_string()))?;
    for descriptor in [config.descriptor(), manifest.descriptor()] {
        lease.hold(descriptor.digest())?;
    }
    store.content().put_raw(&config)?;
    store.content().put_raw(&manifest)?;
    // The layer is unpacked by whoever runs the image: most are pushed and never run here.
    let name = request.reference.as_ref();
    name_it(engine, "commit", name, &manifest.descriptor(), Origin::BuiltHere)?;
    Ok(config.digest())
}

/// The settings that a container runs with, as an image keeps them.
fn settings(container: &Container) -> ContainerConfig {
    let record = &container.record;
    let list = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let mut config = record.image_config.clone();
    config.env.clone_from(&record.env);
    config.entrypoint = list(record.entrypoint());
    config.cmd = list(record.command());
    config.labels.clone_from(&record.labels);
    config.user.clone_from(&record.user);
    config.working_dir = record.workdir.display().to_string();
    if config.working_dir == "/" && record.image_config.working_dir.is_empty() {
        config.working_dir.clear();
    }
    config.on_build = Vec::new();
    for mount in &record.options.mounts {
        if let runtime::MountKind::Volume { .. } = mount.kind {
            let target = mount.target.display().to_string();
            config.volumes.insert(target, Value::Object(serde_json::Map::new()));
        }
    }
    config
}

fn base(engine: &Engine, container: &Container) -> Result<Image> {
    let found = find::find(engine.store(), &container.record.image_id)?;
    let target = found
        .target()
        .ok_or_else(|| Error::NoSuchImage { name: container.record.image_id.clone() })?;
    find::open(engine.store(), target, None)
}

/// Writes the container's files as a tar.
pub(crate) fn export(engine: &Engine, container: &Container, out: &mut dyn Write) -> Result<()> {
    let layers = engine.store().layers();
    match &container.record.rootfs {
        RootFs::Path { path } => Ok(layers.export_tree(path, None, out)?),
        RootFs::Overlay { lowers, upper, .. } => {
            let stack = std::iter::once(upper).chain(lowers).cloned().collect();
            Ok(layers.export_stack(&Stack::new(stack), None, out)?)
        }
    }
}

/// What the container changed, in the order of the paths.
pub(crate) fn diff(container: &Container) -> Result<Vec<Change>> {
    let RootFs::Overlay { lowers, upper, .. } = &container.record.rootfs else {
        return Err(Error::Invalid(
            "diff: this container's files are a plain copy; only overlay keeps changes apart"
                .to_owned(),
        ));
    };
    let below = Stack::new(lowers.clone());
    let mut changes = Vec::new();
    walk(upper, Path::new("/"), &below, &mut changes)?;
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(changes)
}

fn walk(dir: &Path, at: &Path, below: &Stack, changes: &mut Vec<Change>) -> Result<()> {
    let fail = |e| Error::io("list", dir, e);
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let meta = entry.metadata().map_err(fail)?;
        let path = at.join(entry.file_name());
        let text = path.display().to_string();
        let known = below.resolve(&text).map_err(fail)?.is_some();
        let whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
        let kind = match (whiteout, known) {
            (true, _) => ChangeKind::Deleted,
            (false, true) => ChangeKind::Changed,
            (false, false) => ChangeKind::Added,
        };
        changes.push(Change { kind, path: text });
        if meta.is_dir() {
            walk(&entry.path(), &path, below, changes)?;
        }
    }
    Ok(())
}
