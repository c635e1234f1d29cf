//! What is mounted into a container: the grammars of `-v`, `--mount` and `--tmpfs`, and the request they end in.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One mount, with its source resolved to a path of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// What it is.
    pub kind: MountKind,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether it can be written.
    pub access: Access,
    /// `rprivate` unless said otherwise.
    pub propagation: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum MountKind {
    /// A path of the host.
    Bind {
        /// The path.
        source: PathBuf,
        /// What to do when it is not there.
        missing: MissingSource,
    },
    /// A folder that a volume store made; the name is for `inspect`.
    Volume {
        /// Name of the volume.
        name: String,
        /// Its folder on the host.
        source: PathBuf,
        /// What of it is mounted, looked up inside it at each start; all of it where nothing is said.
        #[serde(default)]
        subpath: Option<PathBuf>,
    },
    /// Memory.
    Tmpfs {
        /// Options such as `size=64m,mode=1777`, without those that tmpfs always gets here.
        options: Vec<String>,
    },
}

/// `-v` makes a missing source, `--mount` refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingSource {
    /// Make a folder.
    Create,
    /// Say that it is not there.
    Refuse,
}

/// Whether a mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// `rw`.
    ReadWrite,
    /// `ro`.
    ReadOnly,
}

/// What `-v` and `--mount` can name as a source before a volume store has been asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A path of the host.
    Path(PathBuf),
    /// A volume's name.
    Named(String),
    /// A volume without a name.
    Anonymous,
}

/// A `-v` or a `--mount type=volume|bind` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFlag {
    /// Where it comes from.
    pub source: VolumeSource,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether it can be written.
    pub access: Access,
    /// `rprivate` unless said otherwise.
    pub propagation: String,
    /// `volume-nocopy` or `:nocopy`.
    pub no_copy: bool,
    /// What to do with a missing source.
    pub missing: MissingSource,
    /// `volume-subpath`.
    pub subpath: Option<PathBuf>,
    /// `volume-label`, for a volume that is made.
    pub labels: BTreeMap<String, String>,
    /// `volume-opt`, for a volume that is made.
    pub options: BTreeMap<String, String>,
}

impl VolumeFlag {
    /// A mount of `source` that can be written, with nothing else said.
    pub fn new(source: VolumeSource, target: impl Into<PathBuf>) -> Self {
        Self {
            source,
            target: target.into(),
            access: Access::ReadWrite,
            propagation: "rprivate".to_owned(),
            no_copy: false,
            missing: MissingSource::Create,
            subpath: None,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        }
    }
}

/// A `--mount` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountFlag {
    /// `type=bind` or `type=volume`.
    Volume(VolumeFlag),
    /// `type=tmpfs`.
    Tmpfs(MountRequest),
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// `-v [SOURCE:]TARGET[:OPTIONS]`.
///
/// # Errors
/// What cannot be meant, with what would be right.
pub fn parse_volume(text: &str) -> Result<VolumeFlag> {
    let bad = |reason: &str| Error::invalid("-v", text, reason);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (VolumeSource::Anonymous, *target, ""),
        [source, target] => (
            parse_source(source)
                .ok_or_else(|| bad("a source is an absolute path or a volume name"))?,
            *target,
            "",
        ),
        [source, target, options] => (
            parse_source(source)
                .ok_or_else(|| bad("a source is an absolute path or a volume name"))?,
            *target,
            *options,
        ),
        _ => return Err(bad("write [SOURCE:]TARGET[:OPTIONS]")),
    };
    let mut flag = VolumeFlag::new(source, parse_target("-v", text, target)?);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" => flag.access = Access::ReadWrite,
            "ro" => flag.access = Access::ReadOnly,
            "nocopy" => flag.no_copy = true,
            "z" | "Z" => {}
            _ if PROPAGATIONS.contains(&option) => flag.propagation = option.to_owned(),
            _ => {
                return Err(bad(
                    "known options are rw, ro, nocopy, z, Z and a propagation such as rslave",
                ));
            }
        }
    }
    Ok(flag)
}

/// `--mount type=…,source=…,target=…[,…]`.
///
/// # Errors
/// What cannot be meant, with what would be right.
pub fn parse_mount(text: &str) -> Result<MountFlag> {
    let mut fields = MountFields::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, "true"));
        fields.take(&key.to_ascii_lowercase(), value).map_err(|reason| {
            let reason = if reason.is_empty() {
                format!("unexpected key '{key}' in '{field}'")
            } else {
                reason
            };
            Error::invalid("--mount", text, reason)
        })?;
    }
    fields.finish(text)
}

/// The fields of a `--mount` as they come.
#[derive(Debug, Default)]
struct MountFields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    no_copy: bool,
    tmpfs: Vec<String>,
    subpath: Option<PathBuf>,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
}

impl MountFields {
    /// Takes one field; an empty reason means that there is no such key.
    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let truth = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{key} is true or false")),
        };
        let pair = || match value.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (value.to_owned(), String::new()),
        };
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "destination" | "dst" => self.target = Some(value.to_owned()),
            "readonly" | "ro" => self.read_only = truth()?,
            "bind-propagation" if PROPAGATIONS.contains(&value) => {
                self.propagation = Some(value.to_owned());
            }
            "bind-propagation" => return Err(format!("propagation is one of {PROPAGATIONS:?}")),
            // Both are what always happens: everything below is bound, and read-only with it.
            "bind-recursive" if matches!(value, "enabled" | "readonly") => {}
            "bind-recursive" => {
                return Err("bind-recursive is enabled or readonly here: mounts below the source come along, and cannot be \
                            written where it cannot"
                    .to_owned());
            }
            "consistency" => {}
            "volume-nocopy" => self.no_copy = truth()?,
            "volume-subpath" => self.subpath = Some(subpath(value)?),
            "volume-label" => self.labels.extend([pair()]),
            "volume-opt" => self.options.extend([pair()]),
            "volume-driver" if value == "local" => {}
            "volume-driver" => {
                return Err(format!("volume driver {value:?} is not there; the driver is local"));
            }
            "tmpfs-size" => self.tmpfs.push(format!("size={value}")),
            "tmpfs-mode" => self.tmpfs.push(format!("mode={value}")),
            _ => return Err(String::new()),
        }
        Ok(())
    }

    fn finish(self, text: &str) -> Result<MountFlag> {
        let bad = |reason: &str| Error::invalid("--mount", text, reason);
        let target = self.target.as_deref().ok_or_else(|| bad("a target is required"))?;
        let target = parse_target("--mount", text, target)?;
        let access = if self.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let propagation = self.propagation.clone().unwrap_or_else(|| "rprivate".to_owned());
        let kind = self.kind.as_deref().unwrap_or("volume");
        if kind != "tmpfs" && !self.tmpfs.is_empty() {
            return Err(bad("tmpfs-size and tmpfs-mode belong to type=tmpfs"));
        }
        let of_volume = self.no_copy
            || self.subpath.is_some()
            || !self.labels.is_empty()
            || !self.options.is_empty();
        if kind != "volume" && of_volume {
            return Err(bad("options of a volume belong to type=volume"));
        }
        if kind != "bind" && self.propagation.is_some() {
            return Err(bad("bind-propagation belongs to type=bind"));
        }
        let source = match (kind, self.source.as_deref()) {
            ("tmpfs", None) => {
                let kind = MountKind::Tmpfs { options: self.tmpfs };
                return Ok(MountFlag::Tmpfs(MountRequest { kind, target, access, propagation }));
            }
            ("tmpfs", Some(_)) => return Err(bad("type=tmpfs has no source")),
            ("bind", Some(path)) if path.starts_with('/') => VolumeSource::Path(path.into()),
            ("bind", _) => return Err(bad("type=bind needs source=/absolute/path")),
            ("volume", None | Some("")) => VolumeSource::Anonymous,
            ("volume", Some(name)) if is_volume_name(name) => VolumeSource::Named(name.to_owned()),
            ("volume", Some(_)) => {
                return Err(bad("type=volume needs the name of a volume as its source"));
            }
            (kind, _) => {
                return Err(bad(&format!(
                    "mount type '{kind}' is unknown; use bind, volume or tmpfs"
                )));
            }
        };
        Ok(MountFlag::Volume(VolumeFlag {
            access,
            propagation,
            no_copy: self.no_copy,
            missing: MissingSource::Refuse,
            subpath: self.subpath,
            labels: self.labels,
            options: self.options,
            ..VolumeFlag::new(source, target)
        }))
    }
}

/// A path below a volume: not absolute, and with nothing that leads up.
fn subpath(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    match path.components().all(|part| matches!(part, Component::Normal(_))) && !text.is_empty() {
        true => Ok(path.to_owned()),
        false => Err("volume-subpath must be a relative path inside the volume".to_owned()),
    }
}

/// `--tmpfs TARGET[:OPTIONS]`.
///
/// # Errors
/// A target that is not absolute.
pub fn parse_tmpfs(text: &str) -> Result<MountRequest> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut access = Access::ReadWrite;
    let mut kept = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => access = Access::ReadOnly,
            "rw" => access = Access::ReadWrite,
            _ => kept.push(option.to_owned()),
        }
    }
    Ok(MountRequest {
        kind: MountKind::Tmpfs { options: kept },
        target: parse_target("--tmpfs", text, target)?,
        access,
        propagation: "rprivate".to_owned(),
    })
}

impl VolumeFlag {
    /// The mount of a host path as it stands; `None` for volumes, which a volume store must make first.
    pub fn as_bind(&self) -> Option<MountRequest> {
        let VolumeSource::Path(path) = &self.source else { return None };
        Some(MountRequest {
            kind: MountKind::Bind { source: path.clone(), missing: self.missing },
            target: self.target.clone(),
            access: self.access,
            propagation: self.propagation.clone(),
        })
    }
}

fn parse_source(text: &str) -> Option<VolumeSource> {
    if text.starts_with('/') {
        return Some(VolumeSource::Path(text.into()));
    }
    is_volume_name(text).then(|| VolumeSource::Named(text.to_owned()))
}

fn is_volume_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.len() > 1
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// A target is absolute, is not the root, and is kept without `.` and `..` so that it cannot be read two ways.
fn parse_target(option: &'static str, text: &str, target: &str) -> Result<PathBuf> {
    if !target.starts_with('/') {
        return Err(Error::invalid(option, text, "the path in the container must be absolute"));
    }
    let mut clean = PathBuf::from("/");
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    if clean == Path::new("/") {
        return Err(Error::invalid(option, text, "destination can't be '/'"));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-45
    #[test]
    fn v_reads_paths_names_and_options() {
        let flag = parse_volume("/srv/data:/data:ro,rslave").unwrap();
        assert_eq!(flag.source, VolumeSource::Path("/srv/data".into()));
        assert_eq!((flag.access, flag.propagation.as_str()), (Access::ReadOnly, "rslave"));
        assert_eq!(flag.missing, MissingSource::Create);
        assert_eq!(parse_volume("data:/data").unwrap().source, VolumeSource::Named("data".into()));
        assert_eq!(parse_volume("/data").unwrap().source, VolumeSource::Anonymous);
        assert_eq!(parse_volume("/a:/b/../c/./d").unwrap().target, Path::new("/c/d"));
        for bad in ["", "relative/path:/x", "/a:b", "/a:/", "/a:/b:bogus", "/a:/b:ro:x", "/a:/b/.."]
        {
            assert!(parse_volume(bad).is_err(), "{bad:?} must be refused");
        }
    }

    /// Covers: RUN-45
    #[test]
    fn mount_refuses_a_missing_source_and_unknown_keys() {
        let MountFlag::Volume(flag) =
            parse_mount("type=bind,source=/srv,target=/data,readonly").unwrap()
        else {
            panic!("a bind mount expected");
        };
        assert_eq!((flag.missing, flag.access), (MissingSource::Refuse, Access::ReadOnly));
        let MountFlag::Tmpfs(request) = parse_mount("type=tmpfs,dst=/t,tmpfs-size=64m").unwrap()
        else {
            panic!("a tmpfs expected");
        };
        assert_eq!(request.kind, MountKind::Tmpfs { options: vec!["size=64m".into()] });
        let MountFlag::Volume(flag) =
            parse_mount("source=data,target=/x,volume-subpath=a/b,volume-label=k=v").unwrap()
        else {
            panic!("a volume expected");
        };
        assert_eq!(flag.subpath.as_deref(), Some(Path::new("a/b")));
        assert_eq!(flag.labels["k"], "v");
        for bad in [
            "source=data,target=/x,volume-subpath=../up",
            "source=data,target=/x,volume-subpath=/abs",
            "type=bind,source=/srv,target=/x,volume-nocopy",
            "type=bind,source=/srv,target=/x,bind-recursive=writable",
            "source=data,target=/x,volume-driver=nfs",
            "type=bind,target=/x",
            "source=/srv,target=/x",
            "type=tmpfs,src=/a,dst=/b",
            "type=nfs,dst=/b",
            "dst=/b,colour=red",
        ] {
            assert!(parse_mount(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
