//! `create`: from an allowed image to a container that can be started.

use std::path::PathBuf;
use std::str::FromStr;

use oci::{Descriptor, Platform, Reference};
use runtime::{
    Access, ContainerId, CreateRequest, MountKind, MountRequest, RootFs, RunOptions, VolumeFlag,
    VolumeSource,
};
use store::{Image, Mounts, Name, SnapshotKey};

use crate::Engine;
use crate::error::{Error, Result};
use crate::images::find::{self, Found};

/// What to make a container of.
#[derive(Clone, Debug)]
pub struct CreateContainer {
    /// The image as the user named it.
    pub image: String,
    /// Which platform of it.
    pub platform: Option<Platform>,
    /// `--name`.
    pub name: Option<String>,
    /// `-v` and `--mount type=bind|volume`, as written.
    pub volumes: Vec<VolumeFlag>,
    /// `--volumes-from`, as written.
    pub volumes_from: Vec<String>,
    /// Everything else.
    pub options: RunOptions,
}

/// The image of a container, allowed to start.
struct Allowed {
    image: Image,
    text: String,
}

/// Makes a container. The image must be in the store.
pub(crate) fn create(engine: &Engine, request: CreateContainer) -> Result<ContainerId> {
    let runtime = engine.containers().runtime()?;
    let allowed = allow(engine, &request)?;
    let lease = engine.store().lease("create")?;
    lease.hold(allowed.image.root().digest())?;
    engine.store().layers().unpack(&allowed.image.layers(), &lease)?;

    let shared = mounts_of_others(engine, &request)?;
    let mut options = request.options;
    options.mounts.extend(shared);
    let volumes = volume_mounts(engine, &request.volumes, &options.mounts, &allowed.image)?;
    options.mounts.extend(volumes.mounts);
    options.own_volumes = volumes.own;
    let own_volumes = options.own_volumes.clone();
    let id = ContainerId::generate()?;
    let key = SnapshotKey::from_str(&id.to_string())?;
    let snapshots = engine.store().snapshots();
    let mounts = snapshots.prepare(&key, allowed.image.top().as_ref())?;
    let created = runtime.create(CreateRequest {
        id: id.clone(),
        name: request.name,
        image: allowed.text,
        image_id: allowed.image.id().to_string(),
        image_config: allowed.image.config().config.clone(),
        options,
        rootfs: root_fs(mounts),
        cleanup: vec![snapshot_folder(engine, &key)],
    });
    match created {
        Ok(id) => Ok(id),
        Err(error) => {
            // Nothing of a container that was refused stays.
            snapshots.remove(&key)?;
            for folder in own_volumes {
                std::fs::remove_dir_all(&folder).map_err(|e| Error::io("remove", folder, e))?;
            }
            Err(error.into())
        }
    }
}

/// `--volumes-from CONTAINER[:ro|rw]`: its volumes and paths of the host at the same places, unless something else is asked for
/// there.
fn mounts_of_others(engine: &Engine, request: &CreateContainer) -> Result<Vec<MountRequest>> {
    let own = &request.options.mounts;
    let mut mounts: Vec<MountRequest> = Vec::new();
    for text in &request.volumes_from {
        let (reference, access) = match text.rsplit_once(':') {
            Some((reference, "ro")) => (reference, Some(Access::ReadOnly)),
            Some((reference, "rw" | "z" | "Z")) => (reference, None),
            Some((_, mode)) => {
                return Err(Error::Invalid(format!("invalid mode for volumes-from: {mode}")));
            }
            None => (text.as_str(), None),
        };
        for mut mount in engine.containers().get(reference)?.record.options.mounts {
            let is_taken = own.iter().chain(&mounts).any(|other| other.target == mount.target)
                || request.volumes.iter().any(|flag| flag.target == mount.target);
            if is_taken || matches!(mount.kind, MountKind::Tmpfs { .. }) {
                continue;
            }
            mount.access = access.unwrap_or(mount.access);
            mounts.push(mount);
        }
    }
    Ok(mounts)
}

/// What a container has of volumes.
struct VolumeMounts {
    mounts: Vec<MountRequest>,
    /// The folders of those that are its own.
    own: Vec<PathBuf>,
}

/// What the user mounts, and an anonymous volume for each place that the image declares and the
/// user did not mount on.
fn volume_mounts(
    engine: &Engine,
    flags: &[VolumeFlag],
    other: &[MountRequest],
    image: &Image,
) -> Result<VolumeMounts> {
    let mut flags = flags.to_vec();
    for path in image.config().config.volumes.keys() {
        let target = PathBuf::from(path);
        let mounted = flags.iter().any(|flag| flag.target == target)
            || other.iter().any(|mount| mount.target == target);
        if !mounted {
            flags.push(VolumeFlag::new(VolumeSource::Anonymous, target));
        }
    }
    // Without its own /proc a container neither sees its processes nor keeps the masks over the host's.
    if let Some(flag) = flags.iter().find(|flag| flag.target.starts_with("/proc")) {
        return Err(Error::Invalid(format!(
            "create: a volume cannot be mounted on {}: /proc is the container's own",
            flag.target.display()
        )));
    }
    let mounts = engine.volumes().mounts(&flags, image)?;
    let own =
        flags.iter().zip(&mounts).filter_map(|(flag, mount)| match (&flag.source, &mount.kind) {
            // By its name: the files of one may be a folder of the host.
            (VolumeSource::Anonymous, MountKind::Volume { name, .. }) => {
                Some(engine.store().root().join("volumes").join(name))
            }
            _ => None,
        });
    Ok(VolumeMounts { own: own.collect(), mounts })
}

/// The image by what the user typed, after the gate.
fn allow(engine: &Engine, request: &CreateContainer) -> Result<Allowed> {
    let found = find::find(engine.store(), &request.image)?;
    let target = found
        .target()
        .cloned()
        .ok_or_else(|| Error::NoSuchImage { name: request.image.clone() })?;
    judge(engine, "run", &found, &target)?;
    let image = find::open(engine.store(), &target, request.platform.as_ref())?;
    Ok(Allowed { image, text: request.image.clone() })
}

/// An image is judged under the name it was asked for by; by id, any of its names will do.
pub(crate) fn judge(
    engine: &Engine,
    act: &'static str,
    found: &Found,
    target: &Descriptor,
) -> Result<()> {
    let names: Vec<Reference> = match found {
        Found::ByName(named) => named.name.as_ref().and_then(Name::reference).into_iter().collect(),
        Found::ById(entries) => {
            entries.iter().filter_map(|e| e.name.as_ref().and_then(Name::reference)).collect()
        }
    };
    let nameless: Reference = "localhost/unnamed".parse::<Reference>()?;
    let names = match names.is_empty() {
        true => vec![nameless.with_digest(target.digest().clone())],
        false => names,
    };
    let mut refusal = None;
    for name in &names {
        match engine.gate().judge_start(act, name, target) {
            Ok(_) => return Ok(()),
            Err(error) => refusal = Some(error),
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// Where the store keeps a snapshot: whoever removes the container removes it.
fn snapshot_folder(engine: &Engine, key: &SnapshotKey) -> PathBuf {
    engine.store().root().join("snapshots").join(key.as_str())
}

fn root_fs(mounts: Mounts) -> RootFs {
    match mounts {
        Mounts::Overlay { lower, upper: Some((upper, work)) } => {
            RootFs::Overlay { lowers: lower, upper, work }
        }
        // A prepared snapshot is writable; only the copying driver gives a plain folder.
        Mounts::Overlay { lower, upper: None } => {
            RootFs::Path { path: lower.into_iter().next().unwrap_or_default() }
        }
        Mounts::Bind { source, .. } => RootFs::Path { path: source },
    }
}
