//! Volumes: data that outlives containers.

use std::collections::BTreeMap;
use std::str::FromStr;

use runtime::{MountKind, MountRequest, VolumeFlag, VolumeSource};
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
        Ok(self.engine.store().volumes().create(&VolumeRecord {
            name,
            created: crate::clock::now().to_string(),
            labels: request.labels.clone(),
            options: BTreeMap::new(),
            anonymous,
        })?)
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
            names.push(volume.record.name.to_string());
        }
        Ok((names, bytes))
    }

    /// What `volume inspect` prints of one volume.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let volume = self.get(name)?;
        let labels = &volume.record.labels;
        let labels = if labels.is_empty() { Value::Null } else { json!(labels) };
        Ok(json!({
            "CreatedAt": volume.record.created,
            "Driver": "local",
            "Labels": labels,
            "Mountpoint": volume.mountpoint,
            "Name": volume.record.name,
            "Options": Value::Null,
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
        let volume = self.create(&CreateVolume { name, labels: BTreeMap::new() })?;
        if !flag.no_copy {
            let path = flag.target.to_string_lossy();
            self.engine.store().volumes().fill(&volume, image.top().as_ref(), &path)?;
        }
        Ok(MountRequest {
            kind: MountKind::Volume {
                name: volume.record.name.to_string(),
                source: volume.mountpoint,
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
