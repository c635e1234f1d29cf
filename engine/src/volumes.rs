//! Volumes: data that outlives containers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use runtime::{EventKind, MountKind, MountRequest, VolumeFlag, VolumeSource};
use serde_json::{Value, json};
use store::{Image, Volume, VolumeName, VolumeRecord};

use crate::Engine;
use crate::error::{Error, Result};

/// The volumes of one engine.
#[derive(Clone, Copy)]
pub struct Volumes<'a> {
    pub(crate) engine: &'a Engine,
}

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct CreateVolume {
    /// Its name; 64 random hex digits where none is given.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the `local` driver: a folder of the host in place of one of the store's.
    pub options: BTreeMap<String, String>,
}

/// What the options of the `local` driver mean.
///
/// # Errors
/// Options that are none, or file systems that would have to be mounted for all containers at once.
fn folder_of_host(options: &BTreeMap<String, String>) -> Result<Option<PathBuf>> {
    if options.is_empty() {
        return Ok(None);
    }
    let refuse = |text: String| Err(Error::Invalid(format!("volume create: {text}")));
    if let Some(unknown) =
        options.keys().find(|key| !["type", "o", "device"].contains(&key.as_str()))
    {
        return refuse(format!(
            "invalid option: {unknown:?}; the local driver has type, o and device"
        ));
    }
    let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let is_bind = get("o").split(',').any(|word| word == "bind" || word == "rbind");
    match (get("type"), is_bind, get("device")) {
        (_, _, "") => refuse("missing device in volume options".to_owned()),
        ("" | "none" | "bind", true, device) if device.starts_with('/') => Ok(Some(device.into())),
        ("" | "none" | "bind", true, device) => {
            refuse(format!("device {device:?} is no absolute path"))
        }
        (kind, _, _) => refuse(format!(
            "type {kind:?} would be mounted on the host for all containers at once, which nobody here would unmount; \
             use type=none with o=bind, or --tmpfs"
        )),
    }
}

/// Which volumes a prune takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumePrune {
    /// Those that containers made for themselves (C-15: what Docker does since version 23).
    Anonymous,
    /// Every one that no container uses.
    All,
}

impl Volumes<'_> {
    /// Makes a volume; one that exists stays as it is.
    pub fn create(&self, request: &CreateVolume) -> Result<Volume> {
        let (name, anonymous) = match &request.name {
            Some(name) => (VolumeName::from_str(name)?, false),
            None => (random_name()?, true),
        };
        folder_of_host(&request.options)?;
        if let Some(present) = self.engine.store().volumes().get(&name)? {
            return Ok(present);
        }
        let made = self.engine.store().volumes().create(&VolumeRecord {
            name,
            created: crate::clock::now().to_string(),
            labels: request.labels.clone(),
            options: request.options.clone(),
            anonymous,
        })?;
        self.note("create", &made.record.name);
        Ok(made)
    }

    fn note(&self, action: &str, name: &VolumeName) {
        let attributes = [("driver", "local")];
        self.engine.journal().note(EventKind::Volume, action, name.as_str(), &attributes);
    }

    /// All volumes, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        Ok(self.engine.store().volumes().list()?)
    }

    /// One volume.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let found = match VolumeName::from_str(name) {
            Ok(name) => self.engine.store().volumes().get(&name)?,
            Err(_) => None,
        };
        found.ok_or_else(|| Error::NoSuchVolume { name: name.to_owned() })
    }

    /// How many bytes a volume's files hold.
    pub fn bytes(&self, volume: &Volume) -> Result<u64> {
        Ok(self.engine.store().volumes().bytes(volume)?)
    }

    /// Which containers use a volume.
    pub fn users(&self, name: &VolumeName) -> Result<Vec<String>> {
        let containers = self.engine.containers().runtime()?.list()?;
        let uses = |mount: &MountRequest| matches!(&mount.kind, MountKind::Volume { name: used, .. } if used == name.as_str());
        Ok(containers
            .iter()
            .filter(|container| container.record.options.mounts.iter().any(uses))
            .map(|container| container.record.id.to_string())
            .collect())
    }

    /// Removes a volume that no container uses.
    pub fn remove(&self, name: &str) -> Result<()> {
        let volume = self.get(name)?;
        let users = self.users(&volume.record.name)?;
        if !users.is_empty() {
            return Err(Error::Conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            )));
        }
        self.engine.store().volumes().remove(&volume.record.name)?;
        self.note("destroy", &volume.record.name);
        Ok(())
    }

    /// Removes unused volumes; their names and how many bytes they held.
    pub fn prune(&self, scope: VolumePrune) -> Result<(Vec<String>, u64)> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        for volume in self.list()? {
            let in_scope = scope == VolumePrune::All || volume.record.anonymous;
            if !in_scope || !self.users(&volume.record.name)?.is_empty() {
                continue;
            }
            bytes += self.engine.store().volumes().bytes(&volume)?;
            self.engine.store().volumes().remove(&volume.record.name)?;
            self.note("destroy", &volume.record.name);
            names.push(volume.record.name.to_string());
        }
        Ok((names, bytes))
    }

    /// What `volume inspect` prints of one volume.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let volume = self.get(name)?;
        let labels = &volume.record.labels;
        let labels = if labels.is_empty() { Value::Null } else { json!(labels) };
        let options = &volume.record.options;
        let options = if options.is_empty() { Value::Null } else { json!(options) };
        Ok(json!({
            "CreatedAt": volume.record.created,
            "Driver": "local",
            "Labels": labels,
            "Mountpoint": volume.mountpoint,
            "Name": volume.record.name,
            "Options": options,
            "Scope": "local",
        }))
    }

    /// Turns what the user wrote into mounts: volumes are made where they are missing, and an
    /// empty one gets what the image has at its place.
    pub(crate) fn mounts(&self, flags: &[VolumeFlag], image: &Image) -> Result<Vec<MountRequest>> {
        let mut mounts = Vec::new();
        for flag in flags {
            mounts.push(match flag.as_bind() {
                Some(bind) => bind,
                None => self.volume_mount(flag, image)?,
            });
        }
        Ok(mounts)
    }

    fn volume_mount(&self, flag: &VolumeFlag, image: &Image) -> Result<MountRequest> {
        let name = match &flag.source {
            VolumeSource::Named(name) => Some(name.clone()),
            VolumeSource::Anonymous | VolumeSource::Path(_) => None,
        };
        let volume = self.create(&CreateVolume {
            name,
            labels: flag.labels.clone(),
            options: flag.options.clone(),
        })?;
        let of_host = folder_of_host(&volume.record.options)?;
        if let Some(folder) = of_host.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(Error::Invalid(format!(
                "failed to mount local volume: mount {}:{}: no such file or directory",
                folder.display(),
                volume.mountpoint.display()
            )));
        }
        if !flag.no_copy && of_host.is_none() {
            let path = flag.target.to_string_lossy();
            self.engine.store().volumes().fill(&volume, image.top().as_ref(), &path)?;
        }
        Ok(MountRequest {
            kind: MountKind::Volume {
                name: volume.record.name.to_string(),
                source: of_host.unwrap_or(volume.mountpoint),
                subpath: flag.subpath.clone(),
            },
            target: flag.target.clone(),
            access: flag.access,
            propagation: flag.propagation.clone(),
        })
    }
}

/// 64 hex digits, as Docker names a volume that nobody named.
fn random_name() -> Result<VolumeName> {
    Ok(VolumeName::from_str(&runtime::ContainerId::generate()?.to_string())?)
}
